"""Task kind ``speech``: tell which word is said in a short recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor, nn

from workers.tasks.base import Metric
from workers.tasks.batches import scale_of, scaled
from workers.tasks.classification import ClassificationTask, Labelled
from workers.tasks.errors import TaskError, did_you_mean
from workers.tasks.files import sha256_of
from workers.tasks.log_mel import log_mel
from workers.tasks.options import require
from workers.tasks.sequences import Floats, class_names
from workers.tasks.wav_files import Recording, read_recordings
from workers.unpacked import MAX_BYTES

PARTS = ("training", "validation", "test")
WIDTH = 5
"""Frames that a step of the convolution reads."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the kind ``speech``. The part of a recording follows from the index in its name.

    Attributes:
        test_indices: First and last index of the test part.
        validation_indices: First and last index of the validation part; all others train. The
            defaults of both are the official test part of the Free Spoken Digit Dataset, and
            what comes next.
        bands: Features of a frame; see `workers.tasks.log_mel`.
        frame: Length of a frame, in milliseconds.
        hop: From one frame to the next, in milliseconds: one time step.
        front_end: ``linear`` maps each frame by itself; ``convolution`` reads two frames before and
            two after it as well, and ends in a ReLU.
    """

    test_indices: tuple[int, int] = (0, 4)
    validation_indices: tuple[int, int] = (5, 9)
    bands: int = 40
    frame: float = 25.0
    hop: float = 10.0
    front_end: Literal["linear", "convolution"] = "linear"

    def __post_init__(self) -> None:
        for name in ("test_indices", "validation_indices"):
            first, last = getattr(self, name)
            wanted = "two whole numbers from 0 on, the first not the larger"
            require(0 <= first <= last, "speech", name, wanted, [first, last])
        apart = self.test_indices[1] < self.validation_indices[0] or (
            self.validation_indices[1] < self.test_indices[0]
        )
        wanted = f"apart from validation_indices, {list(self.validation_indices)}"
        require(apart, "speech", "test_indices", wanted, list(self.test_indices))
        require(self.bands >= 1, "speech", "bands", "at least 1", self.bands)
        for name in ("frame", "hop"):
            value = getattr(self, name)
            require(0 < value <= 1000, "speech", name, "more than 0 and at most 1000", value)

    def part_of(self, index: int) -> str:
        if self.test_indices[0] <= index <= self.test_indices[1]:
            return "test"
        first, last = self.validation_indices
        return "validation" if first <= index <= last else "training"


class Convolution(nn.Module):
    """Frames ``(T, B, bands)`` to ``(T, B, hidden)``, each from those around it; silence of the
    training mean, which is zero, surrounds a sequence."""

    def __init__(self, bands: int, hidden_size: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(bands, hidden_size, WIDTH, padding=WIDTH // 2)

    def forward(self, frames: Tensor) -> Tensor:
        features: Tensor = self.convolution(frames.permute(1, 2, 0)).relu()
        return features.permute(2, 0, 1).contiguous()


@dataclass(eq=False)
class SpeechTask(ClassificationTask):
    """Keyword spotting on log-mel features; the metric is the accuracy, a share from 0 to 1.

    Attributes:
        front: As the option ``front_end``.
    """

    front: Literal["linear", "convolution"]

    def front_end(self, hidden_size: int) -> nn.Module:
        if self.front == "linear":
            return super().front_end(hidden_size)
        return Convolution(self.training.values.shape[1], hidden_size)


def make(data: str, options: Options) -> SpeechTask:
    """Reads recordings; see :func:`workers.tasks.wav_files.read_recordings`.

    Raises:
        TaskError: A recording cannot be used, they differ in rate, or a part lacks what it needs.
    """
    recordings = read_recordings(data)
    given = list(recordings.values())
    for recording in given:
        if recording.rate != given[0].rate:
            raise TaskError(
                f"{recording.where}: has {recording.rate:,} samples a second, but {given[0].where} "
                f"has {given[0].rate:,}. Bring all to one rate, for example with sox."
            )
    parts: dict[str, list[Recording]] = {name: [] for name in PARTS}
    for recording in given:
        parts[options.part_of(recording.index)].append(recording)
    for name, members in parts.items():
        if not members:
            raise TaskError(
                f"{data}: none of its {len(given)} recordings is of the {name} part: their indices "
                f"go from {min(r.index for r in given)} to {max(r.index for r in given)}. Give the "
                "options test_indices and validation_indices."
            )
    classes = class_names(recording.label for recording in parts["training"])
    if len(classes) < 2:
        raise TaskError(f"{data}: all recordings that train are of one class, {classes[0]!r}.")
    code = {label: number for number, label in enumerate(classes)}
    for name in PARTS:
        for recording in parts[name]:
            if recording.label not in code:
                raise TaskError(
                    f"{recording.where}: the {name} part has the label {recording.label!r}, which "
                    f"the training part lacks.{did_you_mean(recording.label, classes)}"
                )
    made = log_mel(given[0].rate, options.bands, options.frame, options.hop)
    steps = sum(1 + len(recording.samples) // made.hop for recording in given)
    if 8 * steps * options.bands > MAX_BYTES:
        raise TaskError(
            f"{data}: {steps:,} frames of {options.bands} bands are too much to hold in memory. "
            "Raise the option hop or lower bands."
        )
    features = {
        name: made.features([recording.samples for recording in members])
        for name, members in parts.items()
    }
    scale = scale_of(np.concatenate(features["training"]))
    labelled = {
        name: _labelled(features[name], [code[r.label] for r in parts[name]], *scale, data)
        for name in PARTS
    }
    return SpeechTask(
        name="speech",
        metric=Metric("accuracy", "", higher_is_better=True),
        data_sha256=sha256_of(*(c for n, r in recordings.items() for c in (n.encode(), r.content))),
        classes=tuple(classes),
        **labelled,
        front=options.front_end,
    )


def _labelled(
    features: list[Floats], labels: list[int], mean: Floats, deviation: Floats, path: str
) -> Labelled:
    rows = scaled(np.concatenate(features), mean, deviation, path)
    lengths = np.array([len(sequence) for sequence in features], dtype=np.int64)
    return Labelled(rows, lengths, np.array(labels, dtype=np.int64))
