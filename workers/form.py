"""Which models fit the fused path: what the native library knows to train as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from workers.engine import engine_for
from workers.engine.native.cell import SUFFIX
from workers.model import SequenceModel
from workers.tasks.heads import HorizonHead, SequenceHead, StepHead

IGNORED = -100
"""Target that counts for nothing, as in torch's cross-entropy."""
LOSSES = {"cross_entropy": 0, "squared_error": 1}
HEADS: dict[type[nn.Module], int] = {StepHead: 0, HorizonHead: 1, SequenceHead: 2}


@dataclass(frozen=True, slots=True)
class Form:
    """What the fused path needs to know of a model that fits it.

    Attributes:
        front: ``embedding`` or ``projection``.
        symbols: Rows of the embedding, or features of the projection.
        head: Index into the heads of ``source/trainer.h``.
        outputs: Predicted numbers in a row.
        loss: Which loss, as ``Task.training_loss`` calls it.
    """

    front: Literal["embedding", "projection"]
    symbols: int
    head: int
    outputs: int
    loss: str


def fused_form(model: SequenceModel) -> Form | None:
    """How a model fits the fused path, or None if it does not.

    It fits if its parameters are float32 or float64 on the CPU, its layers run on the native
    engine, its front end is a plain ``nn.Embedding`` or an ``nn.Linear`` with bias, its head is one
    of ``workers.tasks.heads``, and its task names the loss (``training_loss``).
    """
    layers = model.recurrent.recurrent_layers()
    weights = layers[0].weights
    if engine_for(layers[0].engine, weights.device, weights.dtype) != "native":
        return None
    if weights.dtype not in SUFFIX or model.recurrent.directions != 1:
        return None
    front, head = model.front_end, model.head
    if type(head) not in HEADS or model.training_loss not in LOSSES:
        return None
    if type(head) is HorizonHead and model.training_loss != "squared_error":
        return None
    outputs = linear_of(head).out_features
    kind, loss = HEADS[type(head)], model.training_loss
    if type(front) is nn.Embedding:
        special = front.padding_idx, front.max_norm, front.scale_grad_by_freq, front.sparse
        if special == (None, None, False, False):
            return Form("embedding", front.num_embeddings, kind, outputs, loss)
    if type(front) is nn.Linear and front.bias is not None:
        return Form("projection", front.in_features, kind, outputs, loss)
    return None


def linear_of(head: nn.Module) -> nn.Linear:
    """Of any head of ``workers.tasks.heads``."""
    linear = head.get_submodule("linear")
    assert isinstance(linear, nn.Linear)
    return linear
