"""Task kind ``music``: predict which keys of a piano sound at the next step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.tasks.base import Batch, Metric
from workers.tasks.batches import SCORED_TOGETHER, shuffled
from workers.tasks.files import read_bytes, sha256_of
from workers.tasks.groups import groups
from workers.tasks.heads import StepHead
from workers.tasks.options import require
from workers.tasks.piano_rolls import KEYS, Pieces, parse_pieces
from workers.tasks.splits import Indices

SCORED_STEPS = 16_384
"""Steps of a scoring batch, padding counted, unless a single piece has more."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the kind ``music``.

    Attributes:
        length: Most steps that a training sequence predicts, the reach of back-propagation. A
            longer piece is cut into windows of nearly equal length, each trained on without what
            came before it. Scoring never cuts.
    """

    length: int = 200

    def __post_init__(self) -> None:
        require(self.length >= 1, "music", "length", "at least 1", self.length)


@dataclass(eq=False)
class MusicTask:
    """Polyphonic music as piano rolls (Boulanger-Lewandowski et al. 2012, ICML).

    The keys of step t + 1 are predicted from steps 1 to t, each by a Bernoulli distribution of its
    own. The metric is the negative log-likelihood of a step, summed over the 88 keys, in nats: the
    mean over all predicted steps of all pieces of the part, whichever piece they are of. That is
    the frame-level figure of Bai, Kolter and Koltun (2018). A mean of the pieces' means, which
    is reported as well, is lower where long pieces are harder (0.05 nats on the test part of the
    JSB chorales, for the keys' frequencies as prediction).

    Attributes:
        training: The pieces trained on; likewise ``validation`` and ``test``.
        length: Most steps that a training sequence predicts.
    """

    name: str
    metric: Metric
    data_sha256: str
    training: Pieces
    validation: Pieces
    test: Pieces
    length: int

    training_loss: ClassVar[str] = "bernoulli"

    def describe(self) -> str:
        parts = (self.training, self.validation, self.test)
        sizes = " / ".join(f"{len(part.lengths):,}" for part in parts)
        lengths = np.concatenate([part.lengths for part in parts])
        return (
            f"{self.name}: {sizes} pieces to train / validate / test, {lengths.min():,} to "
            f"{lengths.max():,} steps of {KEYS} keys"
        )

    def front_end(self, hidden_size: int) -> nn.Module:
        return nn.Linear(KEYS, hidden_size)

    def head(self, hidden_size: int) -> nn.Module:
        """Begins with how often each key sounds in the training part: most hardly ever do, and a
        short training would be spent on nothing but learning that."""
        head = StepHead(hidden_size, KEYS)
        share = (self.training.rolls.sum(axis=0) + 0.5) / (len(self.training.rolls) + 1)
        with torch.no_grad():
            head.linear.bias.copy_(torch.from_numpy(np.log(share / (1 - share))))
        return head

    def training_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
        """Batches of ``min(batch_size, windows)`` windows, shuffled anew in each pass.

        A pass predicts every step but the first of each piece exactly once.
        """
        starts, lengths = windows(self.training, self.length)
        for chosen in shuffled(len(starts), batch_size, rng):
            yield _batch(self.training.rolls, starts[chosen], lengths[chosen])

    def scoring_batches(self, part: Literal["validation", "test"]) -> Iterator[Batch]:
        """All pieces of the part once, each whole, the shortest first: little padding."""
        scored = self.validation if part == "validation" else self.test
        starts, lengths = windows(scored, int(scored.lengths.max()))
        for chosen in groups(lengths, SCORED_TOGETHER, SCORED_STEPS):
            yield _batch(scored.rolls, starts[chosen], lengths[chosen])

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Mean over the steps within ``lengths`` of the cross-entropy summed over the keys, of
        ``(T, B, 88)`` logits, in nats."""
        logits, targets = _within(prediction, batch)
        total = functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        return total / len(logits)

    def score(self, prediction: Tensor, batch: Batch) -> tuple[float, int]:
        logits, targets = _within(prediction, batch)
        each = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return float(each.double().sum()), len(logits)


def make(data: str, options: Options) -> MusicTask:
    """Reads pieces from JSON (``.gz``, ``.xz`` too); see `workers.tasks.piano_rolls`.

    Raises:
        TaskError: The file cannot be read or does not hold what it should.
    """
    content = read_bytes(data)
    training, validation, test = parse_pieces(content, data)
    return MusicTask(
        name="music",
        metric=Metric("negative log-likelihood", "nats/step", higher_is_better=False),
        data_sha256=sha256_of(content),
        training=training,
        validation=validation,
        test=test,
        length=options.length,
    )


def windows(pieces: Pieces, length: int) -> tuple[Indices, Indices]:
    """First steps, in ``pieces.rolls``, and numbers of predicted steps of windows.

    A piece of n steps predicts n - 1, in as few windows of at most ``length`` as will do, equal up
    to one step: no window is a short rest with hardly any context.
    """
    predicted = pieces.lengths - 1
    counts = -(-predicted // length)
    piece = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(piece)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = number * predicted[piece] // counts[piece]
    end = (number + 1) * predicted[piece] // counts[piece]
    return (np.cumsum(pieces.lengths) - pieces.lengths)[piece] + first, end - first


def _batch(rolls: npt.NDArray[np.uint8], starts: Indices, lengths: Indices) -> Batch:
    """Inputs and targets ``(T, B, 88)``, silence beyond each length."""
    steps = np.arange(int(lengths.max()))[:, None]
    inside = steps < lengths
    places = np.where(inside, starts + steps, 0)
    kept = inside[..., None].astype(np.float32)
    return Batch(
        inputs=torch.from_numpy(rolls[places] * kept),
        targets=torch.from_numpy(rolls[places + 1] * kept),
        lengths=None if bool(inside.all()) else torch.from_numpy(lengths),
    )


def _within(prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Rows ``(steps within the lengths, 88)`` of predictions and of targets."""
    if batch.lengths is None:
        return prediction.flatten(0, 1), batch.targets.flatten(0, 1)
    steps = torch.arange(len(prediction), device=prediction.device)
    inside = steps.unsqueeze(1) < batch.lengths.to(prediction.device)
    return prediction[inside], batch.targets[inside]
