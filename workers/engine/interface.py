"""What an engine is: a function that runs a program over a batch of sequences."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from genomes.program import Program


class Engine(Protocol):
    """Runs a program; differentiable in ``flat``, ``x`` and ``state``."""

    def __call__(
        self,
        program: Program,
        flat: Tensor,
        x: Tensor,
        state: Tensor,
        lengths: Tensor | None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run all time steps.

        Args:
            program: The lowered cell.
            flat: All weights in one vector, placed by ``genomes.program.layout``.
            x: Inputs, (T, B, input), T >= 1.
            state: Initial states, (S, B, hidden).
            lengths: (B,), from 1 to T, of the sequences; None if all are T long.
            mask: (S, B, hidden): linears read the earlier states times this (recurrent dropout,
                one mask for all steps); None for none.

        Returns:
            Outputs (T, B, hidden), zero past the end of a sequence, and the states
            (S, B, hidden) after each sequence's last step.
        """
        ...


def alive_steps(lengths: Tensor | None, steps: int) -> Tensor | None:
    """(T, B, 1) bool, False past the end of a sequence; None if all are T long."""
    if lengths is None:
        return None
    times = torch.arange(steps, device=lengths.device)
    return (times[:, None] < lengths[None, :])[:, :, None]


def keep_finished(alive: Tensor, new: list[Tensor], old: list[Tensor]) -> list[Tensor]:
    """The new states, but the old ones for sequences that have ended (``alive`` is (B, 1))."""
    return [torch.where(alive, n, o) for n, o in zip(new, old, strict=True)]
