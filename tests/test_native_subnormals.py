"""Subnormal numbers count as zero inside the native engine, on all its threads, and only there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from native_cases import EVERYTHING, TINY, feature_batches, forecast_task, models

from genomes import parse_equations
from workers import RecurrentLayer
from workers.engine.native import cell
from workers.fused import FusedTrainer
from workers.training import TorchTrainer, Trainer

SUBNORMAL = 3e-39
"""Of float32; the smallest number with full precision is 1.2e-38."""
CELL = parse_equations("h' = relu(linear(x, h, bias=False))")


@pytest.fixture(autouse=True)
def _threads_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every call is divided, however small it is."""
    monkeypatch.setattr(cell, "WORTH_WAKING", 0)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def outside() -> bool:
    """Whether the calling thread computes with subnormal numbers."""
    return bool(torch.tensor([SUBNORMAL]) * 0.5 > 0)


def all_halves(engine: str) -> RecurrentLayer:
    layer = RecurrentLayer(CELL, 8, 8, engine=engine)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.fill_(0.5)
    return layer


@pytest.mark.parametrize("threads", [1, 3])
def test_a_layer_takes_subnormal_inputs_and_gradients_for_zero(threads: int) -> None:
    torch.set_num_threads(threads)
    found = {}
    for engine in ("native", "torch"):
        x = torch.full((4, 12, 8), SUBNORMAL, requires_grad=True)
        y, _ = all_halves(engine)(x)
        above = torch.ones(4, 12, 8, requires_grad=True)
        z, _ = all_halves(engine)(above)
        z.backward(torch.full_like(z, SUBNORMAL))
        found[engine] = y.count_nonzero(), above.grad.count_nonzero()
    assert found == {"native": (0, 0), "torch": (4 * 12 * 8, 4 * 12 * 8)}
    assert outside()


@pytest.mark.parametrize("threads", [1, 3])
def test_whole_steps_take_subnormal_gradients_for_zero(threads: int) -> None:
    torch.set_num_threads(threads)
    task = forecast_task()
    (batch,) = feature_batches(task, 0, 6, 12, 1)
    batch = replace(batch, inputs=torch.full_like(batch.inputs, SUBNORMAL))

    def learned(trainer: Trainer) -> int:
        weight = trainer.model.front_end.weight
        with torch.no_grad():
            weight.zero_()
        trainer.run([batch], [1e-2])
        return int(weight.count_nonzero())

    torch_model, native_model = models(EVERYTHING, task, TINY, 0, torch.float32)
    # Adam divides by the gradient's size, so that a subnormal one moves a weight that is zero.
    assert learned(TorchTrainer(torch_model, task, 1.0)) == torch_model.front_end.weight.numel()
    assert learned(FusedTrainer(native_model, 1.0)) == 0
    assert outside()
