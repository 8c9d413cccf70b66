"""Batches that whole training steps refuse, and those that only look odd."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import cache

import pytest
import torch
from native_cases import (
    F64,
    TINY,
    OwnLossTask,
    RegressionTask,
    classes_task,
    compare_training,
    feature_batches,
    forecast_task,
    models,
    text_task,
    token_batches,
)
from project import ROOT
from tiny import environment

from genomes import published
from workers.fused import FusedTrainer
from workers.tasks.base import Batch, Task
from workers.training import TorchTrainer

GRU = published("gru")


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("inputs", 11, r"tokens go from \d+ to 11, but must lie in 0\.\.10\."),
        ("inputs", -1, r"tokens go from -1 to \d+, but must lie in 0\.\.10\."),
        ("inputs", 2**40, rf"tokens go from \d+ to {2**40}, but must lie in 0\.\.10\."),
        ("targets", 11, r"targets go from \d+ to 11, but must lie in 0\.\.10 or be -100\."),
        ("targets", -1, r"targets go from -1 to \d+, but must lie in 0\.\.10 or be -100\."),
        ("targets", -(2**40), r"targets go from -1099511627776 to \d+, but must lie in 0\.\.10"),
    ],
)
@pytest.mark.parametrize("dropped", [0.0, 0.3])
def test_a_token_or_target_that_does_not_exist_is_an_index_error(
    where: str, value: int, message: str, dropped: float
) -> None:
    batches = token_batches(1, 5, 3, 3, lengths=True)
    getattr(batches[2], where)[4, 1] = value
    _, model = models(GRU, text_task(), replace(TINY, input_dropout=dropped))
    with pytest.raises(IndexError, match=message):
        FusedTrainer(model, 1.0).run(batches, [0.1] * 3)


def test_a_class_that_does_not_exist_is_an_index_error() -> None:
    task = classes_task()
    batches = feature_batches(task, 1, 5, 3, 4, dtype=F64)
    batches[1].targets[0] = 4
    _, model = models(GRU, task, TINY)
    with pytest.raises(IndexError, match=r"targets go from \d+ to 4, but must lie in 0\.\.3 or"):
        FusedTrainer(model, 1.0).run(batches, [0.1] * 4)


def test_a_batch_of_another_size_cannot_carry_on_the_state() -> None:
    _, model = models(GRU, text_task(), TINY)
    trainer = FusedTrainer(model, 1.0)
    batches = [*token_batches(1, 5, 3, 1), *token_batches(1, 5, 4, 1, carried=(True,))]
    message = "a batch of 4 sequences cannot carry on the state of 3"
    with pytest.raises(ValueError, match=message):
        trainer.run(batches, [0.1] * 2)


def test_a_model_that_does_not_fit_is_refused() -> None:
    _, model = models(GRU, OwnLossTask(2, 3), TINY)
    with pytest.raises(ValueError, match="does not fit the fused path"):
        FusedTrainer(model, 1.0)


MALFORMED = {
    "a length of 0": "lengths",
    "a negative length": "lengths",
    "a length beyond the steps": "lengths",
    "a length far beyond the steps": "lengths",
    "a length too few": "lengths",
    "no steps": "inputs|steps",
    "few features": "features|inputs",
    "many features": "features|inputs",
    "few outputs in the targets": "targets",
    "targets without their last axis": "targets",
    "few steps in the targets": "targets",
    "few classes in the targets": "targets",
    "horizon and targets the other way round": "targets",
    "targets of the wrong type": "targets",
    "tokens of the wrong type": "tokens|inputs",
}
"""Batches that torch refuses too, and what the message must name."""


def malformed(name: str) -> tuple[Task, Batch]:
    classes, regression = classes_task(), RegressionTask(3, 2)
    sequences = feature_batches(classes, 1, 5, 3, 1, lengths=True, dtype=F64)[0]
    tokens = token_batches(1, 5, 3, 1)[0]
    points = feature_batches(regression, 1, 5, 3, 1, dtype=F64)[0]
    wrong_lengths = {
        "a length of 0": [0, 3, 5],
        "a negative length": [-2, 3, 5],
        "a length beyond the steps": [6, 3, 5],
        "a length far beyond the steps": [10**6, 3, 5],
        "a length too few": [3, 5],
    }
    if name in wrong_lengths:
        return classes, replace(sequences, lengths=torch.tensor(wrong_lengths[name]))
    forecast = forecast_task(3, 2, 3)
    ahead = feature_batches(forecast, 1, 5, 3, 1, dtype=F64)[0]
    wide = torch.cat([sequences.inputs, sequences.inputs], 2)
    return {
        "no steps": (text_task(), token_batches(1, 0, 3, 1)[0]),
        "few features": (classes, replace(sequences, inputs=sequences.inputs[..., :2])),
        "many features": (classes, replace(sequences, inputs=wide)),
        "few outputs in the targets": (
            regression,
            replace(points, targets=torch.cat([points.targets] * 2, 2)[..., :3]),
        ),
        "targets without their last axis": (
            regression,
            replace(points, targets=points.targets[..., 0]),
        ),
        "few steps in the targets": (regression, replace(points, targets=points.targets[:3])),
        "few classes in the targets": (classes, replace(sequences, targets=sequences.targets[:2])),
        "targets of the wrong type": (
            text_task(),
            replace(tokens, targets=tokens.targets.double()),
        ),
        "tokens of the wrong type": (text_task(), replace(tokens, inputs=tokens.inputs.double())),
        "horizon and targets the other way round": (
            forecast,
            replace(ahead, targets=ahead.targets.transpose(0, 2)),
        ),
        "no sequences": (text_task(), token_batches(1, 5, 0, 1)[0]),
    }[name]


def refusal(trainer: TorchTrainer | FusedTrainer, batch: Batch) -> str:
    """What is raised, in one line; else the loss."""
    try:
        return f"loss {trainer.run([batch], [0.01])[0]}"
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"


def attempt(name: str) -> str:
    task, batch = malformed(name)
    return refusal(FusedTrainer(models(GRU, task, TINY)[1], 1.0), batch)


EACH_ALONE = """
import os, sys
import test_native_batches
for name in [*test_native_batches.MALFORMED, "no sequences"]:
    sys.stdout.flush()
    if not (child := os.fork()):
        print(name, "->", test_native_batches.attempt(name))
        sys.stdout.flush()
        os._exit(0)
    if ended := os.waitpid(child, 0)[1]:
        print(name, "->", "ended with status", ended)
"""
"""Each case in a process of its own: what reads beyond its memory may end it."""


@cache
def attempts() -> dict[str, str]:
    path = f"{ROOT / 'tests'}{':'}{environment()['PYTHONPATH']}"
    done = subprocess.run(
        [sys.executable, "-c", EACH_ALONE],
        env=environment() | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return dict(line.split(" -> ", 1) for line in done.stdout.splitlines() if " -> " in line)


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_batch_is_refused_by_name_and_never_read_beyond_its_end(name: str) -> None:
    task, batch = malformed(name)
    trainer = TorchTrainer(models(GRU, task, TINY)[0], task, 1.0)
    assert not refusal(trainer, batch).startswith("loss"), "torch refuses it as well"
    said = attempts()[name]
    kind, _, message = said.partition(": ")
    assert kind in ("ValueError", "TypeError", "IndexError", "RuntimeError"), said
    assert any(word in message for word in MALFORMED[name].split("|")), said


def test_a_batch_without_sequences_does_not_end_the_process() -> None:
    said = attempts()["no sequences"]
    assert said == "loss nan" or said.startswith("ValueError: "), said


def test_a_model_left_in_evaluation_mode_is_trained_as_any_other() -> None:
    training = replace(TINY, input_dropout=0.3, recurrent_dropout=0.3)
    losses = []
    for evaluating in (False, True):
        _, model = models(GRU, text_task(), training)
        model.train(not evaluating)
        trainer = FusedTrainer(model, 1.0)
        torch.manual_seed(0)
        losses.append(trainer.run(token_batches(1, 5, 3, 3), [0.01] * 3))
    assert losses[0] == losses[1]


def test_tokens_may_be_of_the_shorter_type_that_an_embedding_takes() -> None:
    batches = [replace(b, inputs=b.inputs.int()) for b in token_batches(1, 5, 3, 4)]
    for layers in (1, 2):
        compare_training(GRU, text_task(), batches, replace(TINY, num_layers=layers))


def test_targets_may_be_bytes_as_for_torchs_cross_entropy() -> None:
    batches = [replace(b, targets=b.targets.to(torch.uint8)) for b in token_batches(1, 5, 3, 4)]
    compare_training(GRU, text_task(), batches)
