"""The engine ``native``: the C++ library as a differentiable function of weights, x and state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable

from genomes.program import Program
from workers.engine.native.cell import (
    SUFFIX,
    NativeCell,
    layer_bytes,
    library,
    native_cell,
    sizes_of,
    threads,
)
from workers.engine.native.memory import BUFFERS
from workers.engine.torch_engine import run_torch

SCORED_STEPS = 32
"""Steps run together where no gradient is wanted, so that memory does not grow with the length."""


def engine_cannot_see() -> bool:
    """Whether torch is recording or transforming what is called, and sees only its own operations.

    True while tracing, compiling, or inside ``torch.func``.
    """
    return (
        torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or torch.compiler.is_compiling()
        or torch._C._functorch.maybe_current_level() is not None
    )


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
    if engine_cannot_see():
        raise ValueError(
            "engine 'native' works on numbers in memory, so torch cannot trace, compile or "
            "transform it. Use engine 'auto' or 'torch'."
        )
    if x.shape[1] == 0:  # nothing to compute, but whoever differentiates wants a graph
        return run_torch(program, flat, x, state, lengths, mask)
    cell = native_cell(program, x.shape[2], state.shape[2], mask is not None)
    if lengths is None:
        return _run(cell, flat, x, state, mask, None)
    # The library wants the longest first: those alive at a step are then the first rows.
    order = torch.sort(lengths, descending=True, stable=True).indices
    back = torch.argsort(order)
    alive = (
        (lengths[None, :] > torch.arange(x.shape[0], device=x.device)[:, None])
        .sum(1)
        .to(torch.int32)
    )
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
    if wanted or forward_ad._current_level >= 0:  # which then says that there is no such derivative
        result: tuple[Tensor, Tensor] = _Run.apply(  # type: ignore[no-untyped-call]
            cell, flat, x, state, mask, alive
        )
        return result
    outputs, begin = [], 0
    while begin < x.shape[0]:
        end = min(begin + SCORED_STEPS, x.shape[0])
        # Past the end of the last sequence nothing changes but the outputs, which are zero.
        part = None if alive is None else alive[begin:end].contiguous()
        if part is not None and int(part[0]) == 0:
            outputs.append(x.new_zeros(x.shape[0] - begin, x.shape[1], state.shape[2]))
            break
        # Only these two: values kept here would keep the next part from their buffer.
        y, new = _forward(cell, flat, x[begin:end], state, mask, part)[:2]
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
) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs, final states, and the values to keep for the backward pass."""
    flat, x, state = flat.contiguous(), x.contiguous(), state.contiguous()
    mask = None if mask is None else mask.contiguous()
    steps, batch, _ = x.shape
    hidden = state.shape[2]
    needed = layer_bytes(cell, steps, batch, mask is not None, x.dtype)
    values = BUFFERS.lend(needed[0], lambda: _what(steps, batch, hidden))
    scratch = BUFFERS.lend(needed[1], lambda: _what(steps, batch, hidden))
    y = x.new_empty(steps, batch, hidden)
    final = torch.empty_like(state)
    library().typed[x.dtype].layer_forward(
        cell.handle.address,
        sizes_of(steps, batch).ctypes.data,
        _address(alive),
        _address(mask),
        flat.data_ptr(),
        x.data_ptr(),
        state.data_ptr(),
        y.data_ptr(),
        final.data_ptr(),
        values.data_ptr(),
        scratch.data_ptr(),
        threads(torch.get_num_threads()),
    )
    return y, final, values


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        cell: NativeCell,
        flat: Tensor,
        x: Tensor,
        state: Tensor,
        mask: Tensor | None,
        alive: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        y, final, values = _forward(cell, flat, x, state, mask, alive)
        ctx.save_for_backward(flat, values)
        ctx.set_materialize_grads(False)  # None says zero without a tensor of zeros
        ctx.cell, ctx.alive, ctx.masked = cell, alive, mask is not None
        ctx.shapes = x.shape, state.shape
        return y, final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, dfinal: Tensor | None) -> tuple[Tensor | None, ...]:
        cell: NativeCell = ctx.cell
        flat, values = ctx.saved_tensors
        flat = flat.contiguous()
        dy = None if dy is None else dy.contiguous()
        dfinal = None if dfinal is None else dfinal.contiguous()
        x_shape, state_shape = ctx.shapes
        steps, batch, _ = x_shape
        needed = layer_bytes(cell, steps, batch, ctx.masked, flat.dtype)
        scratch = BUFFERS.lend(needed[2], lambda: _what(steps, batch, state_shape[2]))
        dflat = torch.empty_like(flat) if cell.complete else torch.zeros_like(flat)
        dx = flat.new_empty(x_shape) if ctx.needs_input_grad[2] else None
        dstate = flat.new_empty(state_shape) if ctx.needs_input_grad[3] else None
        library().typed[flat.dtype].layer_backward(
            cell.handle.address,
            sizes_of(steps, batch).ctypes.data,
            _address(ctx.alive),
            flat.data_ptr() if ctx.masked else None,  # a flag: the mask lies among the values
            flat.data_ptr(),
            _address(dy),
            _address(dfinal),
            dflat.data_ptr(),
            _address(dx),
            _address(dstate),
            values.data_ptr(),
            scratch.data_ptr(),
            threads(torch.get_num_threads()),
        )
        return None, dflat, dx, dstate, None, None


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _what(steps: int, batch: int, hidden: int) -> str:
    return f"a layer of hidden size {hidden} over {steps} steps of {batch} sequences"
