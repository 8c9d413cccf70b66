"""Which models train in whole steps inside the library, and what `evaluate` says of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from native_cases import (
    F64,
    TINY,
    OwnLossTask,
    RegressionTask,
    TaggingTask,
    classes_task,
    forecast_task,
    models,
    text_task,
)
from torch import Tensor, nn

from genomes import published
from workers.engine.native.library import load
from workers.form import fused_form
from workers.fused import FusedTrainer
from workers.messages import Request, Training
from workers.model import SequenceModel
from workers.tasks.base import Batch, Task
from workers.tasks.heads import HorizonHead, StepHead
from workers.training import TorchTrainer, evaluate, trainer_for

GRU = published("gru")


class _Tokens(TaggingTask):
    """A tagging task whose parts a test replaces."""

    training_loss = "cross_entropy"
    loss = TaggingTask.loss

    def __init__(self) -> None:
        super().__init__(nn.Embedding(11, 5), 11)


class _Renamed(TaggingTask):
    """Inherits both the loss and what it is called."""


class _OtherLoss(TaggingTask):
    """Overrides the loss, and inherits what the other one was called."""

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        return 2 * super().loss(prediction, batch)


class _UnknownLoss(TaggingTask):
    training_loss = "hinge"
    loss = TaggingTask.loss


class _Wrapped:
    """A task around a task, with a loss of its own."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def __getattr__(self, name: str) -> object:
        return getattr(self._task, name)

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        return self._task.loss(prediction, batch) + 1


class _Head(StepHead):
    """A head of the user's own."""

    def forward(self, states: Tensor, lengths: Tensor | None = None) -> Tensor:
        return super().forward(states.tanh(), lengths)


class _Front(nn.Embedding):
    """A front end of the user's own."""


def form_of(task: object, engine: str = "native", dtype: torch.dtype = torch.float32) -> object:
    model = SequenceModel(GRU, task, replace(TINY, engine=engine)).to(dtype)  # type: ignore[arg-type]
    return fused_form(model)


def with_front(front: nn.Module) -> _Tokens:
    task = _Tokens()
    task.front = front
    return task


def with_head(head: nn.Module) -> _Tokens:
    task = _Tokens()
    task.head = lambda hidden: head  # type: ignore[method-assign]
    return task


def test_plain_models_fit_as_what_they_are() -> None:
    form = form_of(text_task())
    assert (form.front, form.symbols, form.outputs) == ("embedding", 11, 11)
    assert form.loss == "cross_entropy"
    form = form_of(classes_task(3, 4))
    assert (form.front, form.symbols, form.outputs) == ("projection", 3, 4)
    form = form_of(forecast_task(3, 2, 2))
    assert (form.front, form.symbols, form.outputs) == ("projection", 3, 4)
    assert form.loss == "squared_error"
    for task in (RegressionTask(2, 3), TaggingTask(2, 3), _Renamed(2, 3), _Tokens()):
        assert form_of(task) is not None
        assert form_of(task, "auto", F64) is not None


@pytest.mark.parametrize(
    "task",
    [
        OwnLossTask(2, 3),
        _OtherLoss(2, 3),
        _UnknownLoss(2, 3),
        _Wrapped(classes_task()),
        with_front(nn.Embedding(11, 5, padding_idx=0)),
        with_front(nn.Embedding(11, 5, max_norm=1.0)),
        with_front(nn.Embedding(11, 5, scale_grad_by_freq=True)),
        with_front(nn.Embedding(11, 5, sparse=True)),
        with_front(_Front(11, 5)),
        with_front(nn.Sequential(nn.Embedding(11, 5))),
        with_front(nn.Linear(2, 5, bias=False)),
        with_head(_Head(5, 11)),
        with_head(nn.Linear(5, 11)),
        with_head(HorizonHead(5, 1, 11)),
    ],
    ids=[
        "own loss",
        "overridden loss",
        "unknown loss",
        "wrapped task",
        "padding_idx",
        "max_norm",
        "scale_grad_by_freq",
        "sparse",
        "embedding of a subclass",
        "embedding in a sequence",
        "projection without bias",
        "head of a subclass",
        "head of another class",
        "cross-entropy of a horizon",
    ],
)
def test_other_models_are_torchs(task: object) -> None:
    assert form_of(task) is None


def test_models_of_other_engines_and_types_are_torchs() -> None:
    for engine in ("torch", "reference"):
        assert form_of(text_task(), engine) is None
    assert form_of(text_task(), "auto", torch.bfloat16) is None


def tied() -> _Tokens:
    front, head = nn.Embedding(11, 5), StepHead(5, 11)
    head.linear.weight = front.weight
    task = with_front(front)
    task.head = lambda hidden: head  # type: ignore[method-assign]
    return task


def hooked() -> nn.Module:
    front = nn.Embedding(11, 5)
    front.register_forward_hook(lambda module, inputs, output: output.tanh())
    return front


def headless(linear: nn.Module) -> StepHead:
    head = StepHead(5, 11)
    head.linear = linear  # type: ignore[assignment]
    return head


class _Scaled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


@pytest.mark.parametrize(
    "task",
    [
        tied(),
        with_front(nn.Embedding(11, 5).requires_grad_(False)),
        with_head(StepHead(5, 11).requires_grad_(False)),
        with_front(hooked()),
        with_head(headless(nn.Linear(5, 11, bias=False))),
        with_head(headless(_Scaled(5, 11))),
    ],
    ids=[
        "tied weights",
        "frozen embedding",
        "frozen head",
        "front end with a hook",
        "head without bias",
        "head with a linear of a subclass",
    ],
)
def test_what_the_library_would_not_see_is_left_to_torch(task: Task) -> None:
    """Had they a form, the library would train another model than the one that is there."""
    assert form_of(task) is None


def test_parts_of_different_types_are_left_to_torch() -> None:
    _, model = models(GRU, text_task(), TINY)
    model.front_end.float()
    assert fused_form(model) is None


# ---- through evaluate ----


def request(engine: str = "auto", **options: object) -> Request:
    fields = {"hidden_size": 6, "steps": 6, "batch_size": 4, "learning_rate": 1e-2}
    training = Training(**(fields | {"engine": engine} | options))  # type: ignore[arg-type]
    return Request(0, GRU.to_json(), 1, training)


def test_the_label_says_engine_variant_and_whether_steps_were_fused() -> None:
    variant = load().variant
    for task in (text_task(), classes_task(), forecast_task(), RegressionTask(2, 3)):
        for engine in ("auto", "native"):
            assert evaluate(request(engine), task).engine == f"native/{variant} fused"
        assert evaluate(request("torch"), task).engine == "torch"
        assert evaluate(request("reference"), task).engine == "reference"
    assert evaluate(request(), OwnLossTask(2, 3)).engine == f"native/{variant}"


@pytest.mark.parametrize("layers", [1, 2])
def test_the_same_request_gives_the_same_bits_and_close_to_torchs(layers: int) -> None:
    options = {"num_layers": layers, "dropout": 0.2, "input_dropout": 0.1}
    for task in (text_task(), classes_task(), forecast_task(), OwnLossTask(2, 3)):
        first, second = (evaluate(request(**options), task) for _ in range(2))
        assert replace(first, seconds=0.0) == replace(second, seconds=0.0)
        other = evaluate(request("torch", **options), task)
        assert first.metric == pytest.approx(other.metric, rel=1e-3)
        assert first.curve == pytest.approx(np.array(other.curve), rel=1e-3)
        assert first.parameters == other.parameters


def test_the_trainer_is_a_function_of_model_and_task() -> None:
    for task, kind in ((text_task(), FusedTrainer), (OwnLossTask(2, 3), TorchTrainer)):
        model = SequenceModel(GRU, task, TINY)
        assert type(trainer_for(model, task, TINY)) is kind


def test_a_fused_training_whose_numbers_explode_ends_as_diverged() -> None:
    result = evaluate(request(learning_rate=1e38), text_task())
    assert result.engine.endswith("fused")
    assert result.failure is not None
    assert result.failure.kind == "diverged"


def test_a_batch_out_of_range_is_the_callers_error(tmp_path: Path) -> None:
    task = replace_task(text_task(), symbols=5)
    with pytest.raises(IndexError, match=r"go from 0 to 10, but must lie in 0\.\.4"):
        evaluate(request(), task)


def replace_task(task: object, **fields: object) -> Task:
    for name, value in fields.items():
        setattr(task, name, value)
    return task  # type: ignore[return-value]
