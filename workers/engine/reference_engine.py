"""The engine ``reference``: the readable step of ``genomes.reference`` in a loop."""

from __future__ import annotations

import torch
from torch import Tensor

from genomes.program import Program, layout
from genomes.reference import step
from workers.engine.interface import alive_steps, keep_finished


def run_reference(
    program: Program,
    flat: Tensor,
    x: Tensor,
    state: Tensor,
    lengths: Tensor | None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """See :class:`workers.engine.interface.Engine`."""
    weights = weight_views(program, flat, x.shape[2], state.shape[2])
    states = list(state.unbind(0))
    alive = alive_steps(lengths, x.shape[0])
    masks = None if mask is None else list(mask.unbind(0))
    outputs = []
    for t in range(x.shape[0]):
        new = step(program.genome, weights, x[t], states, masks)
        emitted = new[0]
        if alive is not None:
            emitted = torch.where(alive[t], emitted, torch.zeros_like(emitted))
            new = keep_finished(alive[t], new, states)
        states = new
        outputs.append(emitted)
    return torch.stack(outputs), torch.stack(states)


def weight_views(
    program: Program, flat: Tensor, input_size: int, hidden_size: int
) -> dict[str, Tensor]:
    """Views into the flat vector by weight name."""
    views = {}
    for weight in layout(program, input_size, hidden_size):
        numbers = hidden_size * (weight.shape[1] if len(weight.shape) == 2 else 1)
        part = flat[weight.offset : weight.offset + numbers]
        views[weight.name] = part.view(weight.shape)
    return views
