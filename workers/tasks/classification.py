"""Task kind ``classification``: tell the class of the user's own sequences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.tasks.base import Batch, Metric
from workers.tasks.batches import SCORED_TOGETHER, scale_of, scaled, shuffled
from workers.tasks.errors import TaskError, did_you_mean
from workers.tasks.files import sha256_of
from workers.tasks.heads import SequenceHead
from workers.tasks.options import require
from workers.tasks.sequence_files import read_sequences
from workers.tasks.sequences import Floats, Sequences, class_names
from workers.tasks.splits import Indices, stratified
from workers.tasks.table_rows import Layout

TENTH, FIFTH = Fraction(1, 10), Fraction(1, 5)


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the kind ``classification``.

    Attributes:
        test_data: File of the test part, in the same format. With it, a fifth of the data is
            the validation part; without, the data is split 80/10/10. Both splits keep the
            mixture of classes and depend on nothing but the data.
        label: Table formats: name of the label column; None: the last one.
        features: Table formats: values per step; columns are x1, y1, x2, y2, … for 2.
        delimiter: CSV: one character; None: a tab in ``.tsv``, else a comma.
        header: CSV: whether the first line names the columns; without, they are 1, 2, 3, …
        skip_lines: CSV: lines before the table.
        standardise: Whether each feature is shifted and scaled to mean 0 and deviation 1 over
            all steps of the training part.
    """

    test_data: str | None = None
    label: str | int | None = None
    features: int = 1
    delimiter: str | None = None
    header: bool = True
    skip_lines: int = 0
    standardise: bool = True

    def __post_init__(self) -> None:
        require(self.features >= 1, "classification", "features", "at least 1", self.features)
        require(self.skip_lines >= 0, "classification", "skip_lines", "at least 0", self.skip_lines)

    def layout(self) -> Layout:
        label = None if self.label is None else str(self.label)
        return Layout(label, self.features, self.delimiter, self.header, self.skip_lines)


@dataclass(frozen=True, slots=True)
class Labelled:
    """One part of the data, the sequences behind each other.

    Attributes:
        values: ``(sum of lengths, features)`` float32.
        lengths: ``(N,)`` int64, in steps.
        labels: ``(N,)`` int64, index into the classes.
    """

    values: npt.NDArray[np.float32]
    lengths: Indices
    labels: Indices

    def batch(self, chosen: Indices) -> Batch:
        """Inputs ``(T, B, features)``, zero beyond each length; targets ``(B,)``."""
        lengths = self.lengths[chosen]
        ends = np.cumsum(self.lengths)[chosen]
        inputs = np.zeros((int(lengths.max()), len(chosen), self.values.shape[1]), np.float32)
        for place, (end, length) in enumerate(zip(ends, lengths, strict=True)):
            inputs[:length, place] = self.values[end - length : end]
        equal = bool((lengths == lengths[0]).all())
        return Batch(
            inputs=torch.from_numpy(inputs),
            targets=torch.from_numpy(self.labels[chosen]),
            lengths=None if equal else torch.from_numpy(lengths),
        )


@dataclass(eq=False)
class ClassificationTask:
    """Sequence classification; the metric is the accuracy, a share from 0 to 1.

    Attributes:
        classes: Names of the classes.
        training: The sequences trained on; likewise ``validation`` and ``test``.
    """

    name: str
    metric: Metric
    data_sha256: str
    classes: tuple[str, ...]
    training: Labelled
    validation: Labelled
    test: Labelled

    training_loss: ClassVar[str] = "cross_entropy"

    def describe(self) -> str:
        parts = (self.training, self.validation, self.test)
        sizes = " / ".join(f"{len(part.labels):,}" for part in parts)
        lengths = np.concatenate([part.lengths for part in parts])
        return (
            f"{self.name}: {sizes} sequences to train / validate / test, {lengths.min()} to "
            f"{lengths.max()} steps of {self.training.values.shape[1]} features, "
            f"{len(self.classes)} classes"
        )

    def front_end(self, hidden_size: int) -> nn.Module:
        return nn.Linear(self.training.values.shape[1], hidden_size)

    def head(self, hidden_size: int) -> nn.Module:
        return SequenceHead(hidden_size, len(self.classes))

    def training_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
        """Batches of ``min(batch_size, training sequences)``, shuffled anew in each pass."""
        for chosen in shuffled(len(self.training.labels), batch_size, rng):
            yield self.training.batch(chosen)

    def scoring_batches(self, part: Literal["validation", "test"]) -> Iterator[Batch]:
        """All sequences of the part once, the shortest first: little padding."""
        scored = self.validation if part == "validation" else self.test
        order = np.argsort(scored.lengths, kind="stable")
        for begin in range(0, len(order), SCORED_TOGETHER):
            yield scored.batch(order[begin : begin + SCORED_TOGETHER])

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy of ``(B, classes)`` logits, in nats."""
        return functional.cross_entropy(prediction, batch.targets)

    def score(self, prediction: Tensor, batch: Batch) -> tuple[float, int]:
        """How many are right; NaN if a prediction is not finite, as argmax would hide it."""
        count = len(batch.targets)
        if not bool(torch.isfinite(prediction).all()):
            return float("nan"), count
        return float((prediction.argmax(dim=1) == batch.targets).sum()), count


def make(data: str, options: Options) -> ClassificationTask:
    """Reads labelled sequences; formats: :func:`workers.tasks.sequence_files.read_sequences`.

    Raises:
        TaskError: The data cannot be read or split, or has a single class.
    """
    given = read_sequences(data, options.layout())
    classes = class_names(given.labels)
    if len(classes) < 2:
        raise TaskError(f"{data}: all sequences are of one class, {classes[0]!r}.")
    labels = _codes(given, classes)
    contents = [given.content]
    if options.test_data is None:
        chosen = stratified(given.keys(), labels, [TENTH, TENTH])
        parts = [_pick(given, labels, indices) for indices in chosen]
    else:
        tested = read_sequences(options.test_data, options.layout())
        if tested.features != given.features:
            raise TaskError(
                f"{options.test_data}: {tested.features} features, but {data} has {given.features}."
            )
        contents.append(tested.content)
        chosen = stratified(given.keys(), labels, [FIFTH])
        parts = [_pick(given, labels, indices) for indices in chosen]
        parts.append((tested.rows, tested.lengths, _codes(tested, classes)))
    for name, (_, lengths, _) in zip(("training", "validation", "test"), parts, strict=True):
        if not len(lengths):
            raise TaskError(
                f"{data}: {len(labels)} sequences of {len(classes)} classes are too few: "
                f"none is left for the {name} part. A class needs at least 3."
            )
    width = given.features
    mean, deviation = (
        scale_of(parts[0][0]) if options.standardise else (np.zeros(width), np.ones(width))
    )
    training, validation, test = (
        Labelled(scaled(rows, mean, deviation, data), lengths, codes)
        for rows, lengths, codes in parts
    )
    return ClassificationTask(
        name="classification",
        metric=Metric("accuracy", "", higher_is_better=True),
        data_sha256=sha256_of(*contents),
        classes=tuple(classes),
        training=training,
        validation=validation,
        test=test,
    )


def _codes(sequences: Sequences, classes: list[str]) -> Indices:
    code = {name: index for index, name in enumerate(classes)}
    for number, label in enumerate(sequences.labels, start=1):
        if label not in code:
            raise TaskError(
                f"{sequences.path}: sequence {number} has the label {label!r}, which the training "
                f"data lacks.{did_you_mean(label, classes)}"
            )
    return np.array([code[label] for label in sequences.labels], dtype=np.int64)


def _pick(given: Sequences, labels: Indices, indices: Indices) -> tuple[Floats, Indices, Indices]:
    """Rows, lengths and labels of some sequences, in the order of the file."""
    inside = np.zeros(len(labels), np.bool_)
    inside[indices] = True
    return given.rows[np.repeat(inside, given.lengths)], given.lengths[inside], labels[inside]
