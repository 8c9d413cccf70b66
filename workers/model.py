"""The model that is trained: front end, recurrent layers, head."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from genomes.canonical import canonical
from genomes.cost import nearest_size
from genomes.genome import Genome
from workers.layers import RecurrentStack
from workers.messages import Training
from workers.tasks.base import Batch, Task, declared_loss


class SequenceModel(nn.Module):
    """A task's front end and head around recurrent layers of the canonical form of a genome.

    Attributes:
        training_loss: What ``Task.loss`` computes, if the task says so; see `Task`.
    """

    def __init__(self, genome: Genome, task: Task, training: Training) -> None:
        super().__init__()
        hidden = training.hidden_size
        self.training_loss = declared_loss(task)
        self.front_end = task.front_end(hidden)
        self.recurrent = RecurrentStack(
            canonical(genome),
            hidden,
            hidden,
            training.num_layers,
            training.dropout,
            engine=training.engine,
            input_dropout=training.input_dropout,
            recurrent_dropout=training.recurrent_dropout,
        )
        self.head = task.head(hidden)

    def forward(self, batch: Batch, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The head's prediction, and the state after the last step (layers, S, B, hidden)."""
        features = self.front_end(batch.inputs)
        states, final = self.recurrent(features, state, batch.lengths)
        return self.head(states, batch.lengths), final

    @property
    def parameters_total(self) -> int:
        """Trainable numbers of the whole model."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def model_parameters(genome: Genome, task: Task, training: Training) -> int:
    """Trainable numbers of the whole model, without allocating it."""
    with torch.device("meta"):
        return SequenceModel(genome, task, training).parameters_total


def hidden_size_for_model(genome: Genome, task: Task, training: Training, target: int) -> int:
    """The hidden size whose whole model comes nearest to ``target`` parameters.

    Raises:
        ValueError: If no size reaches the target.
    """
    return nearest_size(
        lambda size: model_parameters(genome, task, replace(training, hidden_size=size)), target
    )
