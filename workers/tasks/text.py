"""Task kind ``text``: predict the next character or word of the user's own text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.tasks.base import Batch, Metric
from workers.tasks.errors import TaskError, did_you_mean
from workers.tasks.files import decode, read_bytes, sha256_of
from workers.tasks.heads import StepHead
from workers.tasks.options import require
from workers.tasks.splits import DEFAULT_SPLIT, Split, contiguous

UNKNOWN = 0
"""Code of every symbol that the vocabulary lacks."""
UNKNOWN_WORD = "<unk>"
END_OF_LINE = "<eos>"
IGNORED = -100
"""Target of padding; torch's cross-entropy leaves it out."""
SCORED_STREAMS = 64
SCORED_STEPS = 128
SHORTEST_STREAM = 256

_PYDOC = "builtin:pydoc-topics"


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the kind ``text``.

    Attributes:
        level: ``char`` predicts characters; ``word`` predicts what stands between white space,
            and ``<eos>`` at the end of each line.
        length: Steps per training batch, the reach of truncated back-propagation.
        split: Training, validation, test, contiguous: fractions, or whole numbers of symbols.
        vocabulary: At most so many symbols, unknown included: the most frequent of the training
            part; None keeps all.
    """

    level: Literal["char", "word"] = "char"
    length: int = 64
    split: Split = DEFAULT_SPLIT
    vocabulary: int | None = None

    def __post_init__(self) -> None:
        require(self.length >= 1, "text", "length", "at least 1", self.length)
        if self.vocabulary is not None:
            require(self.vocabulary >= 2, "text", "vocabulary", "at least 2", self.vocabulary)


@dataclass(eq=False)
class TextTask:
    """Language modelling; the metric is the mean cross-entropy of the next symbol, in nats.

    Attributes:
        training: Codes ``(N,)`` of the training part, int32; likewise the other two.
        symbols: Size of the vocabulary, unknown (code 0) included.
        length: Steps per training batch.
    """

    name: str
    metric: Metric
    data_sha256: str
    training: npt.NDArray[np.int32]
    validation: npt.NDArray[np.int32]
    test: npt.NDArray[np.int32]
    symbols: int
    length: int

    training_loss: ClassVar[str] = "cross_entropy"

    def describe(self) -> str:
        unit = self.metric.unit.removeprefix("nats/")
        sizes = " / ".join(f"{len(p):,}" for p in (self.training, self.validation, self.test))
        return f"{self.name}: {sizes} {unit}s to train / validate / test, {self.symbols:,} symbols"

    def front_end(self, hidden_size: int) -> nn.Module:
        return nn.Embedding(self.symbols, hidden_size)

    def head(self, hidden_size: int) -> nn.Module:
        return StepHead(hidden_size, self.symbols)

    def training_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
        """Batches of ``length`` steps, inputs and targets ``(length, batch_size)``.

        The text is a ring, cut at a place drawn from ``rng`` into ``batch_size`` streams of
        equal length; consecutive batches continue the streams and carry the state. When the
        streams end, a new pass with a new cut begins, its first batch without carried state.

        Raises:
            TaskError: The training part is too short for this batch size.
        """
        stream = len(self.training) // batch_size
        if stream < self.length + 1:
            raise TaskError(
                f"the training part has {len(self.training):,} symbols, too short for {batch_size} "
                f"streams of length {self.length} + 1. Lower batch_size or the option length."
            )
        return self._passes(stream, batch_size, rng)

    def _passes(self, stream: int, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
        total, steps = len(self.training), np.arange(self.length + 1)[:, None]
        while True:
            starts = rng.integers(total) + stream * np.arange(batch_size)
            for begin in range(0, stream - self.length, self.length):
                codes = self.training[(starts + begin + steps) % total]
                yield _batch(codes[:-1], codes[1:], carry_state=begin > 0)

    def scoring_batches(self, part: Literal["validation", "test"]) -> Iterator[Batch]:
        """The whole part, read as up to 64 contiguous streams side by side.

        Every symbol of the part but its first is a target exactly once: the first input of a
        stream is the last target of the stream before. Streams begin without context. Where
        streams differ in length by one, the missing target is ``IGNORED``.
        """
        codes = self.validation if part == "validation" else self.test
        targets = len(codes) - 1
        streams = max(1, min(SCORED_STREAMS, targets // SHORTEST_STREAM))
        bounds = np.arange(streams + 1) * targets // streams
        starts, lengths = bounds[:-1], np.diff(bounds)
        for begin in range(0, int(lengths.max()), SCORED_STEPS):
            steps = np.arange(begin, min(begin + SCORED_STEPS, int(lengths.max())))[:, None]
            inside = steps < lengths
            places = np.where(inside, starts + steps, 0)
            following = np.where(inside, codes[places + 1], IGNORED)
            yield _batch(codes[places], following, carry_state=begin > 0)

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy of ``(T, B, symbols)`` logits, nats per symbol."""
        return functional.cross_entropy(
            prediction.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED
        )

    def score(self, prediction: Tensor, batch: Batch) -> tuple[float, int]:
        targets = batch.targets.flatten()
        each = functional.cross_entropy(
            prediction.flatten(0, 1), targets, ignore_index=IGNORED, reduction="none"
        )
        return float(each.double().sum()), int((targets != IGNORED).sum())


def make(data: str, options: Options) -> TextTask:
    """Reads a UTF-8 file (``.gz``, ``.xz`` too) or ``builtin:pydoc-topics``.

    Raises:
        TaskError: The file cannot be read, is not UTF-8, or is too short.
    """
    text = _builtin(data) if data.startswith("builtin:") else decode(read_bytes(data), data)
    symbols: Sequence[str] = text if options.level == "char" else _words(text)
    parts = contiguous(len(symbols), options.split, f"{options.level}s")
    for part, name, least in zip(
        parts, ("training", "validation", "test"), (options.length + 1, 2, 2), strict=True
    ):
        if len(part) < least:
            raise TaskError(
                f"{data}: too short: its {len(symbols):,} {options.level}s give the {name} part "
                f"{len(part)}, which needs at least {least}. Use a longer text, or another split "
                "or length."
            )
    pieces = [symbols[part.start : part.stop] for part in parts]
    codes = _vocabulary(pieces[0], options)
    training, validation, test = (
        np.fromiter((codes.get(s, UNKNOWN) for s in piece), np.int32, len(piece))
        for piece in pieces
    )
    return TextTask(
        name="text",
        metric=Metric("cross-entropy", f"nats/{options.level}", higher_is_better=False),
        data_sha256=sha256_of(text.encode()),
        training=training,
        validation=validation,
        test=test,
        symbols=max(codes.values()) + 1,
        length=options.length,
    )


def _vocabulary(training: Sequence[str], options: Options) -> dict[str, int]:
    """Codes from 1 by falling frequency; the corpus' own ``<unk>`` shares the code of unknown."""
    counts = Counter(training)
    reserved = {UNKNOWN_WORD: UNKNOWN} if options.level == "word" else {}
    ranked = sorted((s for s in counts if s not in reserved), key=lambda s: (-counts[s], s))
    kept = ranked if options.vocabulary is None else ranked[: options.vocabulary - 1]
    return reserved | {symbol: code for code, symbol in enumerate(kept, start=1)}


def _words(text: str) -> list[str]:
    words: list[str] = []
    for line in text.removesuffix("\n").split("\n"):
        words += line.split()
        words.append(END_OF_LINE)
    return words


def _builtin(name: str) -> str:
    if name != _PYDOC:
        raise TaskError(f"there is no text {name!r}.{did_you_mean(name, [_PYDOC])}")
    from pydoc_data.topics import topics

    return "\n\n".join(topics[key] for key in sorted(topics))


def _batch(
    inputs: npt.NDArray[np.int32], targets: npt.NDArray[np.int32], carry_state: bool
) -> Batch:
    # astype copies: arrays from an object store are read-only, and torch would warn
    return Batch(
        inputs=torch.from_numpy(inputs.astype(np.int64)),
        targets=torch.from_numpy(targets.astype(np.int64)),
        carry_state=carry_state,
    )
