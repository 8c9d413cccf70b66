"""What the library writes, and what it leaves behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from native_cases import (
    EVERYTHING,
    F64,
    RAW,
    SHAPES,
    TINY,
    RegressionTask,
    TaggingTask,
    blocks,
    classes_task,
    feature_batches,
    forecast_task,
    models,
    pair,
    run,
    text_task,
    token_batches,
)
from torch import Tensor

from genomes import Genome, published
from workers import RecurrentLayer
from workers.engine.native.cell import ROWS_IN_BLOCK
from workers.engine.native.memory import Buffers
from workers.fused import FusedTrainer
from workers.tasks.base import Batch, Task

GRU = published("gru")
MEGABYTE = 1 << 20

GUARD = 512
"""Bytes before and behind each buffer that nobody may write to."""


class Guarded:
    """Buffers of exactly the size asked for, between guards, and full of one byte."""

    def __init__(self) -> None:
        self.content = 0
        self.lent: list[Tensor] = []

    def lend(self, size: int, what: object) -> Tensor:
        whole = torch.full((size + 2 * GUARD,), 0xA5, dtype=torch.uint8)
        self.lent.append(whole)
        return whole[GUARD : GUARD + size].fill_(self.content)

    def check(self, compute: Callable[[], list[Tensor]]) -> None:
        """What is computed stays inside and is the same whatever a buffer held before."""
        found = []
        for self.content in (0x00, 0xFF, 0x7E):  # zeros, NaN, huge numbers
            self.lent.clear()
            found.append(compute())
            assert self.lent
            for whole in self.lent:
                assert bool((whole[:GUARD] == 0xA5).all()), "written before the buffer"
                assert bool((whole[-GUARD:] == 0xA5).all()), "written behind the buffer"
        for other in found[1:]:
            for k, (one, two) in enumerate(zip(found[0], other, strict=True)):
                assert one.isfinite().all(), k
                assert torch.equal(one, two), k


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Guarded:
    """All buffers lent are guarded ones."""
    found = Guarded()
    monkeypatch.setattr(Buffers, "lend", lambda home, size, what: found.lend(size, what))
    return found


@pytest.mark.parametrize(
    ("dtype", "hidden"), [(torch.float32, 1), (torch.float32, 33), (F64, 3), (F64, 17)]
)
def test_a_layer_keeps_to_its_buffers_and_needs_nothing_that_was_in_them(
    guarded: Guarded, dtype: torch.dtype, hidden: int
) -> None:
    lengths = torch.tensor([2, 5, 1, 5, 3])
    for genome in SHAPES.values():
        for dropped in (0.0, 0.3):
            layer = pair(genome, hidden, hidden, recurrent_dropout=dropped)[1].to(dtype)
            for steps, batch, given in (
                (5, 5, None),
                (5, 5, lengths),
                (blocks(5, 1), 5, None),
                (1, 1, None),
                (4, 16, None),
                (2, ROWS_IN_BLOCK + 1, None),
            ):
                x = torch.randn(steps, batch, hidden, generator=torch.Generator().manual_seed(1))
                x = 0.3 * x.to(dtype)

                def compute(
                    layer: RecurrentLayer = layer, x: Tensor = x, given: Tensor | None = given
                ) -> list[Tensor]:
                    with torch.no_grad():
                        scored = layer.eval()(x, lengths=given)
                    return [*scored, *run(layer.train(), x, None, given).values()]

                guarded.check(compute)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_training_keeps_to_its_buffers_and_needs_nothing_that_was_in_them(
    guarded: Guarded, layers: int, dtype: torch.dtype
) -> None:
    def check(genome: Genome, task: Task, batches: list[Batch], **options: object) -> None:
        training = replace(TINY, num_layers=layers, **options)

        def compute() -> list[Tensor]:
            _, model = models(genome, task, training, dtype=dtype)
            trainer = FusedTrainer(model, 1.0)
            losses = trainer.run(batches, [0.01] * len(batches))
            return [torch.tensor(losses), trainer.flat, trainer.state, trainer.gradient]

        guarded.check(compute)

    tasks = (classes_task(), forecast_task(), TaggingTask(2, 19), RegressionTask(2, 3))
    for options in ({}, {"input_dropout": 0.2}, {"dropout": 0.2, "recurrent_dropout": 0.2}):
        for hidden in (5, 33):
            for lengths in (False, True):
                for symbols in (11, 100):
                    batches = token_batches(1, 7, 5, 2, symbols=symbols, lengths=lengths)
                    check(EVERYTHING, text_task(symbols), batches, hidden_size=hidden, **options)
                for task in tasks:
                    batches = feature_batches(task, 1, 5, 3, 2, lengths=lengths, dtype=dtype)
                    check(EVERYTHING, task, batches, hidden_size=hidden, **options)
    for steps, batch in ((1, 1), (4, 16), (16, 32), (45, 13), (3, ROWS_IN_BLOCK + 1)):
        for genome in (EVERYTHING, RAW, published("mgu")):
            for symbols in (11, 40, 300):
                batches = token_batches(1, steps, batch, 2, symbols=symbols)
                check(genome, text_task(symbols), batches, hidden_size=9)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="there is no /proc")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="asan keeps what is freed")
def test_trainers_that_are_gone_leave_nothing_behind() -> None:
    task = text_task(100_000)
    batches = token_batches(1, 2, 2, 1)

    def trained() -> None:
        _, model = models(GRU, task, replace(TINY, hidden_size=1), dtype=torch.float32)
        FusedTrainer(model, 1.0).run(batches, [0.01])

    for _ in range(5):
        trained()
    before = resident()
    for _ in range(80):  # 400 KB each, were the table of tokens left
        trained()
    assert resident() - before < 12 * MEGABYTE
