"""The fused path: whole optimiser steps inside the native library, where model and task fit it.

Embedding or projection, recurrent layers, head, loss, backward, clipping and Adam of several
batches are one call. With an embedding the products with x are made once for each distinct token
of a batch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workers.engine import engine_label
from workers.engine.native.cell import ROWS_IN_BLOCK, Handle, library, native_cell, threads
from workers.engine.native.memory import BUFFERS
from workers.form import HEADS, IGNORED, LOSSES, checked, fused_form, linear_of
from workers.model import SequenceModel
from workers.tasks.base import Batch
from workers.tasks.heads import StepHead


class _Step(ctypes.Structure):
    """``struct Step`` of ``source/trainer.h``."""

    _fields_ = (
        ("steps", ctypes.c_int64),
        ("batch", ctypes.c_int64),
        ("carry", ctypes.c_int64),
        ("inputs", ctypes.c_void_p),
        ("targets", ctypes.c_void_p),
        ("alive", ctypes.c_void_p),
        ("lengths", ctypes.c_void_p),
        ("order", ctypes.c_void_p),
        ("input_masks", ctypes.c_void_p),
        ("state_masks", ctypes.c_void_p),
        ("between_masks", ctypes.c_void_p),
        ("rate", ctypes.c_double),
        ("clip", ctypes.c_double),
    )


class FusedTrainer:
    """Trains a model in place; the counterpart of :class:`workers.training.TorchTrainer`.

    The model's parameters become views of one flat vector, which the library updates; `release`
    gives them memory of their own again.

    Args:
        model: A model that has a fused form; the task's rules for its batches hold.
        clip_norm: Upper limit of the gradient norm.

    Raises:
        ValueError: If the model does not fit.
    """

    def __init__(self, model: SequenceModel, clip_norm: float) -> None:
        form = fused_form(model)
        if form is None:
            raise ValueError("this model does not fit the fused path; see fused_form.")
        self.model, self.form, self.clip_norm = model, form, clip_norm
        self.label = f"{engine_label('native')} fused"
        self.layers = model.recurrent.recurrent_layers()
        layer = self.layers[0]
        self.dtype = layer.weights.dtype
        self.flat, offsets = _flattened(model)
        self.gradient, self.first, self.second = (torch.zeros_like(self.flat) for _ in range(3))
        self.state: Tensor | None = None
        self.done = 0
        self.bytes_by_size: dict[tuple[int, int], int] = {}
        masked = layer.recurrent_dropout > 0
        self.drops = bool(model.recurrent.dropout or layer.input_dropout or masked)
        cell = native_cell(layer.program, layer.input_size, layer.hidden_size, masked)
        self._cell = cell  # the library reads it as long as it trains
        front, head = model.front_end, linear_of(model.head)
        plan = [
            int(form.front == "projection"),
            form.symbols,
            len(self.layers),
            form.head,
            LOSSES[form.loss],
            form.outputs,
            offsets[front.weight],  # type: ignore[index]
            offsets[front.bias] if form.front == "projection" else -1,  # type: ignore[index]
            offsets[head.weight],
            offsets[head.bias],
            len(self.flat),
            IGNORED,
            ROWS_IN_BLOCK,
        ]
        functions = library().typed[self.dtype]
        numbers = np.array(plan, dtype=np.int64)
        starts = np.array([offsets[layer.weights] for layer in self.layers], dtype=np.int64)
        address = functions.trainer_new(
            cell.handle.address, numbers.ctypes.data, starts.ctypes.data
        )
        self._handle = Handle(address, functions.trainer_free)

    def run(self, batches: Sequence[Batch], rates: Sequence[float]) -> list[float]:
        """One optimiser step for each batch.

        Args:
            batches: The training batches; state is carried where they say so.
            rates: The learning rate of each step.

        Returns:
            The loss of each step; shorter than ``batches`` if one was not a finite number, which
            is then the last and changed nothing.

        Raises:
            IndexError: If a token or target does not exist.
            ValueError: If a batch does not fit the model, or does not go on from the one before.
            NotEnoughMemory: If a batch does not fit into memory.
        """
        if not self.model.training:
            self.model.train()
        losses: list[float] = []
        for chunk in self._chunks(list(zip(batches, rates, strict=True))):
            losses += self._run(chunk)
            if len(losses) < len(batches) and not np.isfinite(losses[-1]):
                break
        return losses

    def release(self) -> None:
        """End the training: a model whose parameters are views is saved with all of them."""
        for parameter in self.model.parameters():
            parameter.data = parameter.data.clone()

    def _chunks(self, steps: list[tuple[Batch, float]]) -> Iterator[list[tuple[Batch, float]]]:
        """All at once, but step by step where masks are drawn or the number of sequences changes:
        the state that is carried has one size."""
        if self.drops:
            yield from ([step] for step in steps)
            return
        chunk: list[tuple[Batch, float]] = []
        for step in steps:
            if chunk and chunk[0][0].inputs.shape[1] != step[0].inputs.shape[1]:
                yield chunk
                chunk = []
            chunk.append(step)
        if chunk:
            yield chunk

    def _run(self, chunk: list[tuple[Batch, float]]) -> list[float]:
        keep: list[Tensor] = []  # what the steps point to must live until the call returns
        steps = (_Step * len(chunk))()
        for step, (batch, rate) in zip(steps, chunk, strict=True):
            self._fill(step, batch, rate, keep)
        functions = library().typed[self.dtype]
        needed = max(self._bytes_of(step) for step in steps)
        memory = BUFFERS.lend(needed, self._what)
        losses = np.zeros(len(chunk))
        state = self._state_for(chunk[0][0])
        ran = functions.trainer_run(
            self._handle.address,
            ctypes.addressof(steps),
            len(chunk),
            self.done,
            self.flat.data_ptr(),
            self.gradient.data_ptr(),
            self.first.data_ptr(),
            self.second.data_ptr(),
            state.data_ptr(),
            memory.data_ptr(),
            losses.ctypes.data,
            threads(torch.get_num_threads()),
        )
        if ran < 0:
            self.done += -1 - ran
            self._refuse(chunk[-1 - ran][0])
        self.done += ran - (not np.isfinite(losses[ran - 1]))
        return [float(loss) for loss in losses[:ran]]

    def _bytes_of(self, step: Any) -> int:
        """What a step takes at most: by its sizes, for whether there are masks never changes."""
        sizes = step.steps, step.batch
        if sizes not in self.bytes_by_size:
            self.bytes_by_size[sizes] = (
                library()
                .typed[self.dtype]
                .trainer_bytes(self._handle.address, ctypes.addressof(step))
            )
        return self.bytes_by_size[sizes]

    def _what(self) -> str:
        layer = self.layers[0]
        return f"training {len(self.layers)} layers of hidden size {layer.hidden_size}"

    def _fill(self, step: Any, batch: Batch, rate: float, keep: list[Tensor]) -> None:
        inputs, targets, lengths = checked(self.form, batch)
        inputs = inputs.to(self.dtype if self.form.front == "projection" else torch.int64)
        targets = targets.to(torch.int64 if self.form.loss == "cross_entropy" else self.dtype)
        order = None
        if lengths is not None:
            # The longest first, as the library wants it.
            order = torch.sort(lengths, descending=True, stable=True).indices
            lengths = lengths[order]
            inputs = inputs[:, order]
            targets = targets[:, order] if self.form.head == HEADS[StepHead] else targets[order]
            times = torch.arange(inputs.shape[0], device=lengths.device)[:, None]
            alive = (lengths[None, :] > times).sum(1).to(torch.int32)
            keep += [alive, lengths.to(torch.int32), order.to(torch.int32)]
            step.alive, step.lengths, step.order = (t.data_ptr() for t in keep[-3:])
        inputs, targets = inputs.contiguous(), targets.contiguous()
        keep += [inputs, targets]
        step.steps, step.batch, step.carry = *inputs.shape[:2], batch.carry_state
        step.inputs, step.targets = inputs.data_ptr(), targets.data_ptr()
        step.rate, step.clip = rate, self.clip_norm
        if self.drops:
            self._fill_masks(step, inputs.shape[0], inputs.shape[1], order, keep)

    def _fill_masks(
        self, step: Any, steps: int, batch: int, order: Tensor | None, keep: list[Tensor]
    ) -> None:
        """Draws in the order in which the layers themselves would."""
        stack = self.model.recurrent
        between, of_x, of_states = [], [], []
        for level, layer in enumerate(self.layers):
            between.append(stack.mask_between(level, (steps, batch, layer.hidden_size)))
            x_mask, mask = layer.masks(batch)
            of_x.append(x_mask)
            of_states.append(mask)
        for name, masks in (
            ("between_masks", between[1:]),
            ("input_masks", of_x),
            ("state_masks", of_states),
        ):
            drawn = [m for m in masks if m is not None]
            if drawn:
                stacked = torch.stack(drawn)
                if order is not None:
                    stacked = stacked.index_select(stacked.dim() - 2, order)
                keep.append(stacked)
                setattr(step, name, stacked.data_ptr())

    def _state_for(self, first: Batch) -> Tensor:
        """The carried state (layers, S, B, hidden), begun anew for another number of sequences."""
        layer = self.layers[0]
        shape = (len(self.layers), layer.genome.states, first.inputs.shape[1], layer.hidden_size)
        if self.state is None or self.state.shape != shape:
            if first.carry_state and self.state is not None:
                raise ValueError(
                    f"a batch of {shape[2]} sequences cannot carry on the state of "
                    f"{self.state.shape[2]}."
                )
            self.state = self.flat.new_zeros(shape)
        return self.state

    def _refuse(self, batch: Batch) -> None:
        symbols, outputs = self.form.symbols, self.form.outputs
        if self.form.front == "embedding":
            low, high = int(batch.inputs.min()), int(batch.inputs.max())
            if low < 0 or high >= symbols:
                raise IndexError(
                    f"tokens go from {low} to {high}, but must lie in 0..{symbols - 1}."
                )
        raise IndexError(
            f"targets go from {int(batch.targets.min())} to {int(batch.targets.max())}, but must "
            f"lie in 0..{outputs - 1} or be {IGNORED}."
        )


def _flattened(model: nn.Module) -> tuple[Tensor, dict[Tensor, int]]:
    """All parameters as views of one flat vector, and where each begins in it."""
    parameters = list(model.parameters())
    flat = torch.cat([p.detach().flatten() for p in parameters])
    offsets: dict[Tensor, int] = {}
    begin = 0
    for p in parameters:
        offsets[p] = begin
        p.data = flat[begin : begin + p.numel()].view(p.shape)
        begin += p.numel()
    return flat, offsets
