"""Which models fit the fused path: what the native library knows to train as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from workers.engine import engine_for
from workers.engine.native.cell import SUFFIX
from workers.layers import RecurrentLayer
from workers.model import SequenceModel
from workers.tasks.base import Batch
from workers.tasks.heads import HorizonHead, SequenceHead, StepHead

IGNORED = -100
"""Target that counts for nothing, as in torch's cross-entropy."""
LOSSES = {"cross_entropy": 0, "squared_error": 1, "bernoulli": 2}
HEADS: dict[type[nn.Module], int] = {StepHead: 0, HorizonHead: 1, SequenceHead: 2}


@dataclass(frozen=True, slots=True)
class Form:
    """What the fused path needs to know of a model that fits it.

    Attributes:
        front: ``embedding`` or ``projection``.
        symbols: Rows of the embedding, or features of the projection.
        head: Index into the heads of ``source/trainer.h``.
        outputs: Predicted numbers in a row.
        horizon: Shape (horizon, targets) of a row of a ``HorizonHead``, else empty.
        loss: Which loss, as ``Task.training_loss`` calls it.
    """

    front: Literal["embedding", "projection"]
    symbols: int
    head: int
    outputs: int
    loss: str
    horizon: tuple[int, ...] = ()


def fused_form(model: SequenceModel) -> Form | None:
    """How a model fits the fused path, or None if it does not.

    It fits if

    - its layers run on the native engine, one way in time;
    - its front end is a plain ``nn.Embedding`` or an ``nn.Linear`` with bias, and its head one of
      ``workers.tasks.heads``, of the layers' size;
    - its task names the loss (``training_loss``);
    - all its parameters are trained, none serves twice, and all lie on the CPU as float32 or all as
      float64;
    - nothing hooks into its modules, for the library would not call it.
    """
    layers, front, head = model.recurrent.recurrent_layers(), model.front_end, model.head
    hidden = layers[0].hidden_size
    if not all(_native(layer) for layer in layers) or model.recurrent.directions != 1:
        return None
    if not _plain(model, layers[0].weights.dtype):
        return None
    kind, loss = HEADS.get(type(head)), model.training_loss
    if kind is None or loss not in LOSSES:
        return None
    if type(head) is HorizonHead and loss != "squared_error":
        return None
    linear = linear_of(head)
    read = hidden * (2 if type(head) is SequenceHead else 1)
    if type(linear) is not nn.Linear or linear.bias is None or linear.in_features != read:
        return None
    horizon = head.shape if isinstance(head, HorizonHead) else ()
    if type(front) is nn.Embedding and front.embedding_dim == hidden:
        special = front.padding_idx, front.max_norm, front.scale_grad_by_freq, front.sparse
        if special == (None, None, False, False):
            return Form("embedding", front.num_embeddings, kind, linear.out_features, loss, horizon)
    if type(front) is nn.Linear and front.bias is not None and front.out_features == hidden:
        return Form("projection", front.in_features, kind, linear.out_features, loss, horizon)
    return None


def _native(layer: RecurrentLayer) -> bool:
    weights = layer.weights
    if type(layer) is not RecurrentLayer or layer.input_size != layer.hidden_size:
        return False
    # By name, "native" is the answer for any device.
    return (
        weights.device.type == "cpu"
        and engine_for(layer.engine, weights.device, weights.dtype) == "native"
    )


def _plain(model: SequenceModel, dtype: torch.dtype) -> bool:
    """Whether training all parameters by themselves is what torch would do."""
    parameters = [p for _, p in model.named_parameters(remove_duplicate=False)]
    if dtype not in SUFFIX or len({id(p) for p in parameters}) < len(parameters):
        return False
    if not all(p.requires_grad and p.dtype == dtype and p.is_cpu for p in parameters):
        return False
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return not any(getattr(module, name) for module in model.modules() for name in hooks)


def linear_of(head: nn.Module) -> nn.Linear:
    """Of any head of ``workers.tasks.heads``."""
    linear = head.get_submodule("linear")
    assert isinstance(linear, nn.Linear)
    return linear


def checked(form: Form, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
    """Inputs, targets and lengths of a batch as the library reads them: nothing but addresses
    reaches it.

    Returns:
        Inputs (T, B) int64 or (T, B, features); targets in rows as the head predicts them,
        int64 or (..., outputs); lengths (B,) int64 or None.

    Raises:
        ValueError: If a shape or type does not fit the model, or a length its sequence.
    """
    inputs, targets, lengths = batch.inputs, batch.targets, batch.lengths
    tokens = form.front == "embedding"
    if inputs.dim() != (2 if tokens else 3) or 0 in inputs.shape[:2]:
        wanted = "(T, B)" if tokens else f"(T, B, {form.symbols})"
        raise ValueError(f"inputs have shape {tuple(inputs.shape)}; this model takes {wanted}.")
    steps, sequences = inputs.shape[:2]
    if not tokens and inputs.shape[2] != form.symbols:
        raise ValueError(
            f"inputs have {inputs.shape[2]} features; this model takes {form.symbols}."
        )
    shape: tuple[int, ...] = (steps, sequences) if form.head == HEADS[StepHead] else (sequences,)
    if form.horizon:
        shape = (form.horizon[0], sequences, form.horizon[1])
    elif form.loss != "cross_entropy":
        shape = (*shape, form.outputs)
    if targets.shape != shape:
        raise ValueError(f"targets have shape {tuple(targets.shape)}, not {shape}.")
    if form.horizon:
        targets = targets.transpose(0, 1).flatten(1)  # of each sequence, all it predicts in a row
    if lengths is not None and (
        lengths.shape != (sequences,) or int(lengths.min()) < 1 or int(lengths.max()) > steps
    ):
        raise ValueError(f"lengths must be {sequences} numbers from 1 to {steps}, the time steps.")
    for name, given, whole in (
        ("inputs", inputs, tokens),
        ("targets", targets, form.loss == "cross_entropy"),
    ):
        if whole == (given.is_floating_point() or given.is_complex()):
            kind = "whole" if whole else "floating-point"
            raise ValueError(f"{name} are {given.dtype}; this model takes {kind} numbers.")
    return inputs, targets, None if lengths is None else lengths.to(torch.int64)
