"""Heads: modules called as ``head(states, lengths)`` on states ``(T, B, hidden)``."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def last_valid(states: Tensor, lengths: Tensor | None) -> Tensor:
    """The state ``(B, hidden)`` at the end of each sequence."""
    if lengths is None:
        return states[-1]
    sequence = torch.arange(states.shape[1], device=states.device)
    return states[lengths.to(states.device) - 1, sequence]


def mean_valid(states: Tensor, lengths: Tensor | None) -> Tensor:
    """The mean state ``(B, hidden)`` over the steps of each sequence, padding left out."""
    if lengths is None:
        return states.mean(dim=0)
    lengths = lengths.to(states.device)
    steps = torch.arange(states.shape[0], device=states.device)
    valid = (steps.unsqueeze(1) < lengths).unsqueeze(2)
    # where, not times 0: an infinite state in the padding must not make the mean NaN
    return torch.where(valid, states, 0.0).sum(dim=0) / lengths.unsqueeze(1)


class StepHead(nn.Module):
    """A linear map of the state at each step: ``(T, B, outputs)``."""

    def __init__(self, hidden_size: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, outputs)

    def forward(self, states: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.linear(states)  # type: ignore[no-any-return]


class SequenceHead(nn.Module):
    """A linear map of [mean over the valid steps ; last valid state]: ``(B, outputs)``."""

    def __init__(self, hidden_size: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * hidden_size, outputs)

    def forward(self, states: Tensor, lengths: Tensor | None = None) -> Tensor:
        both = torch.cat([mean_valid(states, lengths), last_valid(states, lengths)], dim=1)
        return self.linear(both)  # type: ignore[no-any-return]


class HorizonHead(nn.Module):
    """A linear map of the last valid state: ``(horizon, B, targets)``."""

    def __init__(self, hidden_size: int, horizon: int, targets: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, horizon * targets)
        self.shape = (horizon, targets)

    def forward(self, states: Tensor, lengths: Tensor | None = None) -> Tensor:
        flat: Tensor = self.linear(last_valid(states, lengths))
        return flat.reshape(len(flat), *self.shape).transpose(0, 1)
