"""The check before every case: in float64 all contenders compute the same."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from contenders import Contender, Start, TorchLoop, contenders
from eager import EagerModel
from torch import Tensor
from torch_cells import TorchCellModel

LOSS_TOLERANCE = 1e-9
WEIGHT_TOLERANCE = 1e-7
"""Relative to the largest number of the same weight."""
CHECKED_STEPS = (1, 3)
CLIP_NORM = 0.05
"""Low enough that every checked step is clipped."""


class Disagreement(AssertionError):
    """A contender computes something else than the eager loop."""


def check(start: Start) -> None:
    """Compare losses, and weights after one and after three whole steps, with the eager loop's.

    Of torch's own modules, with a bias more for each gate, only the first loss and all
    gradients of the first batch are compared.

    Raises:
        Disagreement: Naming the contender, the cell and the number that differs.
    """
    found = contenders(start.to(torch.float64), CLIP_NORM)
    eager = found.pop("eager")
    module = found.pop("nn", None)
    if module is not None:
        _check_module(start, eager, module)
    done = 0
    for steps in CHECKED_STEPS:
        losses = eager.steps(steps - done)
        weights = eager.weights()
        for name, contender in found.items():
            where = f"{_case(start, name)}, step {steps}"
            for loss, expected in zip(contender.steps(steps - done), losses, strict=True):
                _check_loss(where, loss, expected)
            _check_tensors(f"{where}, weight", contender.weights(), weights)
        done = steps


def _check_module(start: Start, eager: Contender, module: Contender) -> None:
    assert isinstance(eager, TorchLoop) and isinstance(eager.model, EagerModel)
    assert isinstance(module, TorchLoop) and isinstance(module.model, TorchCellModel)
    losses = []
    for loop in (module, eager):
        loss, _ = loop.loss(start.batches[0], None)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item())
    where = f"{_case(start, 'nn')}, before any step"
    _check_loss(where, *losses)
    _check_tensors(f"{where}, gradient of", module.model.gradients(), eager.model.gradients())


def _case(start: Start, contender: str) -> str:
    steps, batch = start.batches[0].inputs.shape
    return f"{contender}: {start.name}, hidden {start.hidden_size}, {batch} x {steps}"


def _check_loss(where: str, loss: float, expected: float) -> None:
    if not abs(loss - expected) <= LOSS_TOLERANCE * abs(expected):
        raise Disagreement(f"{where}: the loss is {loss!r}, the eager loop's {expected!r}.")


def _check_tensors(where: str, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    if found.keys() != expected.keys():
        wrong = ", ".join(sorted(found.keys() ^ expected.keys()))
        raise Disagreement(f"{where}: only one side has {wrong}.")
    for name, values in expected.items():
        difference, size = (found[name] - values).abs().max(), values.abs().max()
        # Written so that NaN is a disagreement.
        if not difference <= WEIGHT_TOLERANCE * size:
            raise Disagreement(
                f"{where} {name} differs from the eager loop's by {difference:.3g}, "
                f"where the largest number is {size:.3g}."
            )
