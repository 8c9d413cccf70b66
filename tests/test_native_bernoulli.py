"""The loss ``bernoulli`` inside the library: values, gradients, padding, what is no number."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from native_cases import (
    EVERYTHING,
    F64,
    RAW,
    TINY,
    UsersTask,
    assert_close,
    blocks,
    compare_training,
    models,
)
from torch import Tensor, nn
from torch.nn import functional

from genomes import published
from workers.form import checked, fused_form
from workers.fused import FusedTrainer
from workers.messages import Training
from workers.tasks.base import Batch
from workers.tasks.heads import HorizonHead, SequenceHead
from workers.training import TorchTrainer

GRU = published("gru")


class RollTask(UsersTask):
    """Several yes or no at each step."""

    training_loss: ClassVar[str] = "bernoulli"

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Sequence by sequence, to the end of each: another way than the library's."""
        steps, sequences = prediction.shape[:2]
        ends = [steps] * sequences if batch.lengths is None else batch.lengths.tolist()
        pairs = [(prediction[:n, b], batch.targets[:n, b]) for b, n in enumerate(ends)]
        logits, targets = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        each = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return each.sum(dim=1).mean()


class TagsTask(UsersTask):
    """Several yes or no for each sequence."""

    training_loss: ClassVar[str] = "bernoulli"

    def head(self, hidden_size: int) -> nn.Module:
        return SequenceHead(hidden_size, self.outputs)

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        each = functional.binary_cross_entropy_with_logits(
            prediction, batch.targets, reduction="none"
        )
        return each.sum(dim=1).mean()


def batches_for(
    task: UsersTask, seed: int, steps: int, batch: int, count: int = 3, lengths: bool = False
) -> list[Batch]:
    rng = np.random.default_rng(seed)
    shape = (steps, batch) if isinstance(task, RollTask) else (batch,)
    made = []
    for _ in range(count):
        inputs = torch.from_numpy(rng.normal(size=(steps, batch, task.front)))
        targets = torch.from_numpy((rng.random((*shape, task.outputs)) < 0.3).astype(np.float64))
        drawn = torch.from_numpy(rng.integers(1, steps + 1, size=batch)) if lengths else None
        made.append(Batch(inputs, targets, drawn))
    return made


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("kind", [RollTask, TagsTask])
def test_training_follows_torch(kind: type[UsersTask], lengths: bool) -> None:
    task = kind(3, 4)
    for layers in (1, 2):
        training = replace(TINY, num_layers=layers)
        for genome in (EVERYTHING, RAW, published("lstm")):
            compare_training(genome, task, batches_for(task, 1, 5, 3, lengths=lengths), training)
    masked = replace(TINY, num_layers=2, dropout=0.2, input_dropout=0.2, recurrent_dropout=0.3)
    compare_training(EVERYTHING, task, batches_for(task, 2, 5, 4, lengths=lengths), masked)


@pytest.mark.parametrize("outputs", [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 88, 100])
def test_any_number_of_outputs(outputs: int) -> None:
    task = RollTask(outputs, outputs)
    compare_training(GRU, task, batches_for(task, 1, 3, 3, 2, lengths=True))


def test_batches_of_several_blocks() -> None:
    task = RollTask(3, 5)
    batches = batches_for(task, 1, blocks(13), 13, 2, lengths=True)
    compare_training(published("mgu"), task, batches, replace(TINY, num_layers=2))


def test_float32_is_close_to_torchs() -> None:
    task = RollTask(88, 88)
    batches = [
        replace(b, inputs=b.inputs.float(), targets=b.targets.float())
        for b in batches_for(task, 1, 9, 5, 6, lengths=True)
    ]
    compare_training(published("lstm"), task, batches, tolerance=2e-3, dtype=torch.float32)


@pytest.mark.parametrize("padding", [math.nan, math.inf, 1e30])
def test_what_stands_in_the_padding_changes_nothing(padding: float) -> None:
    task = RollTask(3, 4)
    (batch,) = batches_for(task, 1, 6, 3, 1)
    batch = replace(batch, lengths=torch.tensor([2, 6, 1]))
    other = batch.targets.clone()
    other[2:, 0] = other[1:, 2] = padding
    found = []
    for targets in (batch.targets, other):
        _, model = models(EVERYTHING, task, TINY)
        trainer = FusedTrainer(model, 1.0)
        found.append((trainer.run([replace(batch, targets=targets)], [0.1]), trainer.flat))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


def test_a_longer_padding_changes_nothing() -> None:
    task = RollTask(3, 4)
    (batch,) = batches_for(task, 1, 6, 3, 1)
    batch = replace(batch, lengths=torch.tensor([2, 6, 1]))
    longer = Batch(
        functional.pad(batch.inputs, (0, 0, 0, 0, 0, 9)),
        functional.pad(batch.targets, (0, 0, 0, 0, 0, 9)),
        batch.lengths,
    )
    flats = []
    for given_batch in (batch, longer):
        _, model = models(EVERYTHING, task, TINY)
        trainer = FusedTrainer(model, 1.0)
        trainer.run([given_batch] * 2, [0.1] * 2)
        flats.append(trainer.flat)
    assert_close(flats[1], flats[0])


def logits_only(
    dtype: torch.dtype, logits: list[float], targets: list[float]
) -> tuple[float, Tensor, bool]:
    """Of a model whose logits are its head's bias: the loss, its gradient by the logits, and
    whether a step left the parameters as they were."""
    task = RollTask(2, len(logits))
    _, model = models(GRU, task, TINY, dtype=dtype)
    with torch.no_grad():
        model.head.linear.weight.zero_()
        model.head.linear.bias.copy_(torch.tensor(logits, dtype=F64))
    trainer = FusedTrainer(model, 1e30)
    wanted = torch.tensor(targets, dtype=dtype).expand(3, 2, -1)
    before = trainer.flat.clone()
    (loss,) = trainer.run([Batch(torch.ones(3, 2, 2, dtype=dtype), wanted)], [0.1])
    # the head's parameters are the last, its bias behind its weight
    assert [name for name, _ in model.named_parameters()][-1] == "head.linear.bias"
    unchanged = np.array_equal(trainer.flat, before, equal_nan=True)
    return loss, trainer.gradient[-len(logits) :], unchanged


@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=str)
@settings(deadline=None)
@given(
    pairs=st.lists(
        st.tuples(st.floats(-80, 80, width=32), st.sampled_from([0.0, 1.0, 0.25])),
        min_size=1,
        max_size=37,
    )
)
@example(pairs=[(-50.0, 0.0), (50.0, 1.0), (-80.0, 0.0)])  # near certain: 1 + e alone would be 1
@example(pairs=[(0.0, 1.0), (-0.0, 0.0)])
def test_value_and_gradient_keep_their_digits(
    dtype: torch.dtype, pairs: list[tuple[float, float]]
) -> None:
    logits, targets = (list(column) for column in zip(*pairs, strict=True))
    loss, gradient, _ = logits_only(dtype, logits, targets)
    small = [math.log1p(math.exp(-abs(x))) for x in logits]
    wanted = math.fsum(
        max(x, 0.0) - x * t + rest for x, t, rest in zip(logits, targets, small, strict=True)
    )
    close = 1e-6 if dtype == torch.float32 else 2e-15
    assert loss == pytest.approx(wanted, rel=close, abs=0)
    for x, t, got in zip(logits, targets, gradient.tolist(), strict=True):
        exact = 1 / (1 + math.exp(-x)) - t if x < 0 or t != 1 else -1 / (1 + math.exp(x))
        assert got == pytest.approx(exact, rel=3 * close, abs=close * 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=str)
def test_huge_logits_have_a_finite_loss(dtype: torch.dtype) -> None:
    loss, gradient, _ = logits_only(dtype, [1e30, -1e30, 1e30, -1e30], [1.0, 0.0, 0.0, 1.0])
    assert loss == pytest.approx(2e30, rel=1e-6)
    assert gradient.tolist() == pytest.approx([0, 0, 1, -1])


@pytest.mark.parametrize("place", [0, 3, 8, 16, 18])
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_a_nan_stays_one_and_changes_nothing(place: int, target: float) -> None:
    for dtype in (torch.float32, F64):
        for wrong in (math.nan, math.inf):
            logits = [0.5] * 19
            logits[place] = wrong if target == 0 else -wrong
            loss, _, unchanged = logits_only(dtype, logits, [target] * 19)
            assert not math.isfinite(loss)
            assert unchanged
        targets = [target] * 19
        targets[place] = math.nan
        loss, _, unchanged = logits_only(dtype, [0.5] * 19, targets)
        assert math.isnan(loss)
        assert unchanged


def test_what_comes_after_a_loss_that_is_no_number_is_not_run() -> None:
    task = RollTask(3, 4)
    batches = batches_for(task, 1, 4, 3, 4)
    batches[1].targets[2, 1, 3] = math.nan
    reference, native = models(GRU, task, TINY)
    trainers = TorchTrainer(reference, task, 1.0), FusedTrainer(native, 1.0)
    found = [trainer.run(batches, [0.01] * 4) for trainer in trainers]
    assert [len(losses) for losses in found] == [2, 2]
    for one, other in zip(native.parameters(), reference.parameters(), strict=True):
        assert_close(one.detach(), other.detach(), 1e-9)


def form_of(task: UsersTask) -> object:
    return fused_form(models(GRU, task, TINY)[1])


def test_heads_of_steps_and_sequences_fit_and_those_of_horizons_do_not() -> None:
    for task in (RollTask(3, 4), TagsTask(3, 4)):
        assert form_of(task).loss == "bernoulli"

    class Horizon(RollTask):
        training_loss = "bernoulli"
        loss = RollTask.loss

        def head(self, hidden_size: int) -> nn.Module:
            return HorizonHead(hidden_size, 2, 2)

    assert form_of(Horizon(3, 4)) is None


def test_targets_that_do_not_fit_are_refused_by_shape_and_type() -> None:
    task = RollTask(3, 4)
    (batch,) = batches_for(task, 1, 5, 3, 1)
    form = form_of(task)
    with pytest.raises(ValueError, match=r"targets have shape \(5, 3\), not \(5, 3, 4\)"):
        checked(form, replace(batch, targets=batch.targets[..., 0]))
    with pytest.raises(ValueError, match=r"targets are torch.int64; this model takes floating"):
        checked(form, replace(batch, targets=batch.targets.long()))
    form = form_of(TagsTask(3, 4))
    with pytest.raises(ValueError, match=r"targets have shape \(5, 3, 4\), not \(3, 4\)"):
        checked(form, batch)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    task = RollTask(88, 88)
    batches = batches_for(task, 1, 40, 7, 2, lengths=True)
    drawn = [models(GRU, task, Training(hidden_size=33))[1] for _ in range(3)]
    trainers = [FusedTrainer(model, 1.0) for model in drawn]
    before = torch.get_num_threads()
    try:
        for count, trainer in enumerate(trainers, start=1):
            torch.set_num_threads(count)
            trainer.run(batches, [0.01] * 2)
    finally:
        torch.set_num_threads(before)
    for trainer in trainers[1:]:
        assert torch.equal(trainer.flat, trainers[0].flat)
