"""The engine ``native``: the C++ library as a differentiable function of weights, x and state."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomes.program import Program
from workers.engine.native.cell import (
    SUFFIX,
    NativeCell,
    function,
    native_cell,
    pointer,
    sizes_of,
    threads,
)
from workers.engine.native.memory import BUFFERS

SCORED_STEPS = 32
"""Steps run together where no gradient is wanted, so that memory does not grow with the length."""


def run_native(
    program: Program,
    flat: Tensor,
    x: Tensor,
    state: Tensor,
    lengths: Tensor | None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """See :class:`workers.engine.interface.Engine`.

    Runs on as many threads as ``torch.get_num_threads()`` says; the result does not depend on it.

    Raises:
        NativeUnavailable: If there is no library.
        ValueError: For anything but float32 or float64 on the CPU.
        NotEnoughMemory: If the values to keep for the backward pass do not fit into memory.
    """
    if x.device.type != "cpu" or x.dtype not in SUFFIX:
        raise ValueError(
            f"engine 'native' computes in float32 or float64 on the CPU, but x is {x.dtype} on "
            f"{x.device}. Use engine 'auto' or 'torch'."
        )
    for name, given in (("the weights", flat), ("the state", state), ("the mask", mask)):
        if given is not None and (given.dtype != x.dtype or given.device != x.device):
            raise ValueError(
                f"x is {x.dtype} on {x.device}, but {name} are {given.dtype} on {given.device}."
            )
    if x.shape[1] == 0:
        return x.new_zeros(x.shape[0], 0, state.shape[2]), state
    cell = native_cell(program, x.shape[2], state.shape[2], mask is not None)
    if lengths is None:
        return _run(cell, flat, x, state, mask, None)
    # The library wants the longest first: those alive at a step are then the first rows.
    order = torch.sort(lengths, descending=True, stable=True).indices
    back = torch.argsort(order)
    alive = (lengths[None, :] > torch.arange(x.shape[0])[:, None]).sum(1).to(torch.int32)
    sorted_mask = None if mask is None else mask[:, order]
    y, final = _run(cell, flat, x[:, order], state[:, order], sorted_mask, alive)
    return y[:, back], final[:, back]


def _run(
    cell: NativeCell,
    flat: Tensor,
    x: Tensor,
    state: Tensor,
    mask: Tensor | None,
    alive: Tensor | None,
) -> tuple[Tensor, Tensor]:
    wanted = torch.is_grad_enabled() and any(t.requires_grad for t in (flat, x, state))
    if wanted:
        result: tuple[Tensor, Tensor] = _Run.apply(cell, flat, x, state, mask, alive)
        return result
    outputs, begin = [], 0
    while begin < x.shape[0]:
        end = min(begin + SCORED_STEPS, x.shape[0])
        # Past the end of the last sequence nothing changes but the outputs, which are zero.
        part = None if alive is None else alive[begin:end].contiguous()
        if part is not None and int(part[0]) == 0:
            outputs.append(x.new_zeros(x.shape[0] - begin, x.shape[1], state.shape[2]))
            break
        y, new, _ = _forward(cell, flat, x[begin:end], state, mask, part)
        state = new if part is None else _ended(new, state, int(part[0]))
        outputs.append(y)
        begin = end
    return torch.cat(outputs), state


def _ended(new: Tensor, old: Tensor, alive: int) -> Tensor:
    """The states of the sequences that ran, and the old ones of those that had ended before."""
    return torch.cat([new[:, :alive], old[:, alive:]], 1)


def _forward(
    cell: NativeCell,
    flat: Tensor,
    x: Tensor,
    state: Tensor,
    mask: Tensor | None,
    alive: Tensor | None,
) -> tuple[Tensor, Tensor, Any]:
    flat, x, state = flat.contiguous(), x.contiguous(), state.contiguous()
    mask = None if mask is None else mask.contiguous()
    steps, batch = x.shape[:2]
    sizes = sizes_of(steps, batch)
    needed = np.zeros(3, dtype=np.int64)
    function("evo_layer_bytes", x.dtype)(
        pointer_of(cell), pointer(sizes), int(mask is not None), pointer(needed)
    )
    what = f"a layer of hidden size {state.shape[2]} over {steps} steps of {batch} sequences"
    values = BUFFERS.lend(int(needed[0]), what)
    scratch = BUFFERS.lend(int(needed[1]), what)
    y = x.new_empty(steps, batch, state.shape[2])
    final = torch.empty_like(state)
    function("evo_layer_forward", x.dtype)(
        pointer_of(cell),
        pointer(sizes),
        pointer(alive),
        pointer(mask),
        pointer(flat),
        pointer(x),
        pointer(state),
        pointer(y),
        pointer(final),
        pointer(values.buffer),
        pointer(scratch.buffer),
        _pool(),
    )
    return y, final, (values, int(needed[2]), what, sizes)


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        cell: NativeCell,
        flat: Tensor,
        x: Tensor,
        state: Tensor,
        mask: Tensor | None,
        alive: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        y, final, ctx.kept = _forward(cell, flat, x, state, mask, alive)
        ctx.save_for_backward(flat)
        ctx.cell, ctx.alive, ctx.masked = cell, alive, mask is not None
        ctx.shapes = x.shape, state.shape
        return y, final

    @staticmethod
    @once_differentiable  # type: ignore[misc, untyped-decorator]
    def backward(ctx: Any, dy: Tensor, dfinal: Tensor) -> tuple[Tensor | None, ...]:
        cell: NativeCell = ctx.cell
        (flat,) = ctx.saved_tensors
        values, bytes_needed, what, sizes = ctx.kept
        flat, dy, dfinal = flat.contiguous(), dy.contiguous(), dfinal.contiguous()
        scratch = BUFFERS.lend(bytes_needed, what)
        dflat = torch.empty_like(flat) if cell.complete else torch.zeros_like(flat)
        x_shape, state_shape = ctx.shapes
        dx = flat.new_empty(x_shape) if ctx.needs_input_grad[2] else None
        dstate = flat.new_empty(state_shape)
        function("evo_layer_backward", flat.dtype)(
            pointer_of(cell),
            pointer(sizes),
            pointer(ctx.alive),
            pointer(flat if ctx.masked else None),  # any address: the mask lies among the values
            pointer(flat),
            pointer(dy),
            pointer(dfinal),
            pointer(dflat),
            pointer(dx),
            pointer(dstate),
            pointer(values.buffer),
            pointer(scratch.buffer),
            _pool(),
        )
        return None, dflat, dx, dstate, None, None


def pointer_of(cell: NativeCell) -> Any:
    """The library's cell as an argument."""
    return ctypes.c_void_p(cell.handle.address)


def _pool() -> Any:
    return ctypes.c_void_p(threads(torch.get_num_threads()).address)
