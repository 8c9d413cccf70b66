"""The same bits from run to run, on any number of threads, and whoever else computes."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from native_cases import (
    EVERYTHING,
    F64,
    RAW,
    TINY,
    classes_task,
    feature_batches,
    forecast_task,
    run,
    text_task,
    token_batches,
)
from project import ROOT
from tiny import environment
from torch import Tensor

from genomes import Genome, published
from workers import RecurrentLayer
from workers.engine.native import cell
from workers.fused import FusedTrainer
from workers.messages import Training
from workers.model import SequenceModel
from workers.tasks.base import Batch, Task


@pytest.fixture(autouse=True)
def _threads_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every call is divided, however small it is."""
    monkeypatch.setattr(cell, "WORTH_WAKING", 0)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


SHAPES = ((7, 1, 17), (5, 3, 33), (9, 16, 40), (11, 33, 66), (45, 16, 12))
"""Steps, sequences, hidden size; the last takes several blocks."""


def on_threads(count: int, compute: Callable[[], list[Tensor]]) -> list[Tensor]:
    torch.set_num_threads(count)
    try:
        return compute()
    finally:
        torch.set_num_threads(1)  # torch draws other orthogonal matrices on other numbers


def bits_of_a_layer(
    genome: Genome, steps: int, batch: int, hidden: int, unequal: bool
) -> Callable[[], list[Tensor]]:
    """All that a layer computes, anew at each call."""
    torch.manual_seed(0)
    layer = RecurrentLayer(genome, hidden, hidden, engine="native", recurrent_dropout=0.2)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(steps, batch, hidden, generator=generator)
    lengths = torch.randint(1, steps + 1, (batch,), generator=generator) if unequal else None

    def compute() -> list[Tensor]:
        with torch.no_grad():
            scored = layer.eval()(x, lengths=lengths)
        return [*run(layer.train(), x, None, lengths).values(), *scored]

    return compute


def bits_of_a_training(
    genome: Genome, task: Task, batches: list[Batch], training: Training
) -> Callable[[], list[Tensor]]:
    """Losses, weights and state after some steps from the same weights on."""
    torch.manual_seed(0)
    model = SequenceModel(genome, task, replace(training, engine="native"))

    def compute() -> list[Tensor]:
        trainer = FusedTrainer(copy.deepcopy(model), 0.5)
        torch.manual_seed(0)
        losses = trainer.run(batches, [0.01] * len(batches))
        return [torch.tensor(losses, dtype=F64), trainer.flat.clone(), trainer.state.clone()]

    return compute


def same_bits(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("unequal", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_layer_gives_the_same_bits_on_any_number_of_threads(
    shape: tuple[int, int, int], unequal: bool
) -> None:
    for genome in (EVERYTHING, RAW):
        compute = bits_of_a_layer(genome, *shape, unequal)
        found = [on_threads(count, compute) for count in (1, 1, 2, 3, 2)]
        assert all(same_bits(found[0], other) for other in found[1:])


@pytest.mark.parametrize("batch", [1, 3, 16, 33])
def test_whole_steps_give_the_same_bits_on_any_number_of_threads(batch: int) -> None:
    classes, forecast = classes_task(), forecast_task()
    cases = (
        (text_task(), token_batches(1, 13, batch, 2, ignored=0.1), {}),
        (text_task(), token_batches(1, 13, batch, 2, lengths=True), {"input_dropout": 0.2}),
        (text_task(70), token_batches(1, 6, batch, 2, symbols=70), {"recurrent_dropout": 0.2}),
        (classes, feature_batches(classes, 1, 13, batch, 2, lengths=True), {"dropout": 0.2}),
        (forecast, feature_batches(forecast, 1, 13, batch, 2), {}),
    )
    for k, (task, batches, options) in enumerate(cases):
        training = Training(hidden_size=17 if k % 2 else 40, num_layers=2, **options)
        compute = bits_of_a_training(EVERYTHING, task, batches, training)
        found = [on_threads(count, compute) for count in (1, 1, 2, 3, 2)]
        assert all(same_bits(found[0], other) for other in found[1:]), task.name


class Busy:
    """Another Python thread that keeps the engine's threads at work."""

    def __enter__(self) -> Busy:
        self.stop, self.working = threading.Event(), threading.Event()
        self.given = drawn_layer(published("lstm"), 48)
        self.thread = threading.Thread(target=self.work)
        self.thread.start()
        assert self.working.wait(30)
        return self

    def work(self) -> None:
        while not self.stop.is_set():
            gradients(*self.given)
            self.working.set()

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()


def drawn_layer(genome: Genome, hidden: int) -> tuple[RecurrentLayer, Tensor]:
    torch.manual_seed(hidden)
    layer = RecurrentLayer(genome, hidden, hidden, engine="native")
    return layer, torch.randn(12, 9, hidden)


def gradients(layer: RecurrentLayer, x: Tensor) -> list[Tensor]:
    """Without ``.grad`` and without the global generator, which threads would share."""
    x = x.clone().requires_grad_()
    y, final = layer(x)
    loss = y.square().sum() + final.sum()
    return [y.detach(), final.detach(), *torch.autograd.grad(loss, (x, layer.weights))]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_bits_are_the_same_while_another_thread_computes(threads: int) -> None:
    layer, x = drawn_layer(EVERYTHING, 24)
    batches = token_batches(1, 13, 16, 3)
    compute = bits_of_a_training(EVERYTHING, text_task(), batches, TINY)
    torch.set_num_threads(threads)
    wanted, steps = gradients(layer, x), compute()
    with Busy():
        for _ in range(10):
            assert same_bits(gradients(layer, x), wanted)
            assert same_bits(compute(), steps)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_two_python_threads_at_once_get_the_bits_of_one_after_the_other(
    threads: int, shared: bool
) -> None:
    first = drawn_layer(EVERYTHING, 24)
    second = first if shared else drawn_layer(published("lstm"), 30)
    torch.set_num_threads(threads)
    inputs = (first, (second[0], second[1].flip(0)))
    wanted = [gradients(*given) for given in inputs]
    wrong: list[int] = []
    start = threading.Barrier(2)

    def work(k: int) -> None:
        torch.set_num_threads(threads)
        start.wait()
        for _ in range(15):
            if not same_bits(gradients(*inputs[k]), wanted[k]):
                wrong.append(k)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


AFTER_A_FORK = """
import os, signal, torch
from genomes import published
from workers import RecurrentLayer
torch.set_num_threads(2)
layer = RecurrentLayer(published("gru"), 6, 6, engine="native")
x = torch.ones(5, 8, 6)
y = layer(x)[0]
if os.fork() == 0:
    signal.alarm(50)
    os._exit(not torch.equal(layer(x)[0], y))
os._exit(os.waitstatus_to_exitcode(os.wait()[1]) & 255)
"""
"""The threads of the engine stay behind in the parent; the child must not wait for them."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_computes_as_its_parent() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AFTER_A_FORK], env=environment(), cwd=ROOT, timeout=110
    )
    assert done.returncode == 0, "the child was ended by its alarm or computed something else"
