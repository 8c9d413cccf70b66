"""The contenders: each a way to do whole training steps of the same model on the same batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from eager import EagerModel
from torch import Tensor, nn
from torch.nn import functional
from torch_cells import MODULES, TorchCellModel

from genomes.genome import Genome
from workers.fused import FusedTrainer
from workers.messages import Training
from workers.model import SequenceModel
from workers.tasks.base import Batch
from workers.tasks.text import TextTask

BATCHES = 8
"""Different batches that the steps cycle over; the state is carried from one to the next."""
CLIP_NORM = 1.0
"""Upper limit of the gradient norm."""
LEARNING_RATE = 1e-3
REPORTED = 20
"""Steps in one call of the fused trainer, as between two reports of a training of 400 steps."""


@dataclass(frozen=True)
class Start:
    """What all contenders of a case begin with.

    Attributes:
        name: Name of the cell.
        genome: Its canonical form.
        task: Gives front end and head.
        hidden_size: Width of the states.
        batches: The steps cycle over them.
        weights: Of the whole model, by the names of :class:`eager.EagerModel`; their type is
            the type that is computed in.
    """

    name: str
    genome: Genome
    task: TextTask
    hidden_size: int
    batches: Sequence[Batch]
    weights: Mapping[str, Tensor]

    def to(self, dtype: torch.dtype) -> Start:
        """The same in another type."""
        weights = {name: value.to(dtype) for name, value in self.weights.items()}
        return Start(self.name, self.genome, self.task, self.hidden_size, self.batches, weights)


class Contender(Protocol):
    """Does whole training steps, one after the other."""

    def steps(self, count: int) -> list[float]:
        """Do the next so many steps; returns their losses."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """Copies of the weights by the names of :class:`eager.EagerModel`."""
        ...


class TorchLoop:
    """The training loop a user writes, around any model called as ``model(batch, state)``."""

    def __init__(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        batches: Sequence[Batch],
        clip_norm: float,
    ) -> None:
        self.model, self.optimiser, self.batches = model, optimiser, batches
        self.clip_norm = clip_norm
        self.state: Any = None
        self.done = 0

    def steps(self, count: int) -> list[float]:
        losses = []
        for _ in range(count):
            batch = self.batches[self.done % len(self.batches)]
            loss, final = self.loss(batch, self.state if batch.carry_state else None)
            losses.append(loss.item())
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
            self.optimiser.step()
            self.state = _detached(final)
            self.done += 1
        return losses

    def loss(self, batch: Batch, state: Any) -> tuple[Tensor, Any]:
        """The loss of a batch, and the state after it."""
        prediction, final = self.model(batch, state)
        targets = batch.targets.flatten()
        return functional.cross_entropy(prediction.flatten(0, 1), targets), final

    def weights(self) -> dict[str, Tensor]:
        if isinstance(self.model, SequenceModel):
            return weights_of(self.model)
        return {name: p.detach().clone() for name, p in self.model.named_parameters()}


class FusedLoop:
    """The fused trainer, given a few batches at a time."""

    def __init__(
        self, model: SequenceModel, batches: Sequence[Batch], clip_norm: float = CLIP_NORM
    ) -> None:
        self.model, self.batches = model, batches
        self.trainer = FusedTrainer(model, clip_norm)
        self.done = 0

    def steps(self, count: int) -> list[float]:
        losses: list[float] = []
        while len(losses) < count:
            part = range(self.done, self.done + min(REPORTED, count - len(losses)))
            batches = [self.batches[k % len(self.batches)] for k in part]
            losses += self.trainer.run(batches, [LEARNING_RATE] * len(part))
            self.done += len(part)
        return losses

    def weights(self) -> dict[str, Tensor]:
        return weights_of(self.model)


def start(name: str, genome: Genome, task: TextTask, hidden_size: int, batch_size: int) -> Start:
    """Draw the weights (seed 0) and cut the batches of a case."""
    torch.manual_seed(0)
    model = SequenceModel(genome, task, Training(hidden_size=hidden_size, engine="torch"))
    batches = task.training_batches(batch_size, np.random.default_rng(0))
    return Start(name, genome, task, hidden_size, list(islice(batches, BATCHES)), weights_of(model))


def contenders(start: Start, clip_norm: float = CLIP_NORM) -> dict[str, Contender]:
    """``eager``, ``torch``, ``layer``, ``fused``, and ``nn`` where torch has the cell."""
    sizes, batches = (start.task.symbols, start.hidden_size), start.batches
    eager = EagerModel(start.genome, *sizes, start.weights)
    adam = torch.optim.Adam(eager.parameters(), lr=LEARNING_RATE)
    found: dict[str, Contender] = {
        "eager": TorchLoop(eager, adam, batches, clip_norm),
        "torch": fused_adam_loop(sequence_model(start, "torch"), batches, clip_norm),
        "layer": fused_adam_loop(sequence_model(start, "native"), batches, clip_norm),
        "fused": FusedLoop(sequence_model(start, "native"), batches, clip_norm),
    }
    if start.name in MODULES:
        module = TorchCellModel(start.name, start.genome, *sizes, start.weights)
        found["nn"] = fused_adam_loop(module, batches, clip_norm)
    return found


def fused_adam_loop(
    model: nn.Module, batches: Sequence[Batch], clip_norm: float = CLIP_NORM
) -> TorchLoop:
    """A model in a loop with torch's fastest Adam, as ``workers.training`` has it."""
    adam = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    return TorchLoop(model, adam, batches, clip_norm)


def sequence_model(start: Start, engine: str) -> SequenceModel:
    """This project's model with the given weights."""
    training = Training(hidden_size=start.hidden_size, engine=engine)
    model = SequenceModel(start.genome, start.task, training)
    model.to(next(iter(start.weights.values())).dtype)
    with torch.no_grad():
        for name, view in _views(model).items():
            view.copy_(start.weights[name])
    return model


def weights_of(model: SequenceModel) -> dict[str, Tensor]:
    """Copies of a model's weights by the names of :class:`eager.EagerModel`."""
    return {name: view.detach().clone() for name, view in _views(model).items()}


def _views(model: SequenceModel) -> dict[str, Tensor]:
    around = dict(model.named_parameters())
    (layer,) = model.recurrent.recurrent_layers()
    return {
        "embedding.weight": around["front_end.weight"],
        "head.weight": around["head.linear.weight"],
        "head.bias": around["head.linear.bias"],
    } | layer.named_weights()


def _detached(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state.detach()
    return tuple(part.detach() for part in state)
