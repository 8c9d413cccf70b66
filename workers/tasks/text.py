"""Language modelling of a text file: predict the next character or word."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from workers.tasks.base import Batch, Metric, TaskError
from workers.tasks.files import read_text

PYDOC_TOPICS = "builtin:pydoc-topics"
"""Data that every machine has: the reference text shipped with CPython."""
UNKNOWN = 0
"""The symbol of everything the training part does not contain."""
SPLIT = (0.8, 0.1, 0.1)
SCORING_STREAMS = 32
SCORING_LENGTH = 128

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class TextTask:
    """Contiguous parts of a text as symbol codes; the metric is cross-entropy in nats a symbol.

    Attributes:
        name: ``text``.
        data_sha256: Of the text in UTF-8.
        symbols: Number of symbols, the unknown one included.
        parts: Codes of the parts ``train``, ``validation`` and ``test``, (symbols of the part,).
        length: Time steps of one training batch: gradients reach this far back.
        metric: Cross-entropy, nats/char or nats/word.
    """

    name: str
    data_sha256: str
    symbols: int
    parts: dict[str, Codes]
    length: int
    metric: Metric

    def front_end(self, hidden_size: int) -> nn.Module:
        """An embedding: codes (T, B) to (T, B, hidden)."""
        return nn.Embedding(self.symbols, hidden_size)

    def head(self, hidden_size: int) -> nn.Module:
        """Logits (T, B, symbols) at every step."""
        return _Head(hidden_size, self.symbols)

    def training_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
        """The training part cut into ``batch_size`` streams that are read on and on.

        Each pass begins at a new offset, so that batches are cut at other places; the state
        carries over within a pass.

        Raises:
            TaskError: If the training part is too short for that many streams.
        """
        codes = self.parts["train"]
        longest = (len(codes) - 1) // batch_size
        if longest < 2:
            raise TaskError(
                f"the training part has {len(codes):,} symbols, too few for {batch_size} streams. "
                "Give a longer text or a smaller batch_size."
            )
        length = min(self.length, longest // 2)
        while True:
            offset = int(rng.integers(length))
            yield from _batches(codes[offset:], batch_size, length, whole=True)

    def scoring_batches(self, part: Literal["validation", "test"]) -> Iterator[Batch]:
        """One pass over a part in parallel streams; a stream's first symbol is not predicted."""
        codes = self.parts[part]
        streams = max(1, min(SCORING_STREAMS, (len(codes) - 1) // 16))
        yield from _batches(codes, streams, SCORING_LENGTH, whole=False)

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy in nats."""
        return F.cross_entropy(prediction.flatten(0, 1), batch.targets.flatten())

    def score(self, prediction: Tensor, batch: Batch) -> tuple[float, int]:
        """Summed cross-entropy in nats, and the number of predicted symbols."""
        total = F.cross_entropy(prediction.flatten(0, 1), batch.targets.flatten(), reduction="sum")
        return total.item(), batch.targets.numel()


class _Head(nn.Module):
    def __init__(self, hidden_size: int, symbols: int) -> None:
        super().__init__()
        self.logits = nn.Linear(hidden_size, symbols)

    def forward(self, states: Tensor, lengths: Tensor | None) -> Tensor:
        logits: Tensor = self.logits(states)
        return logits


def _batches(codes: Codes, streams: int, length: int, whole: bool) -> Iterator[Batch]:
    """Consecutive chunks of parallel streams; ``whole`` leaves out a shorter last chunk."""
    steps = (len(codes) - 1) // streams
    inputs = codes[: streams * steps].reshape(streams, steps).T
    targets = codes[1 : streams * steps + 1].reshape(streams, steps).T
    for start in range(0, steps - length + 1 if whole else steps, length):
        yield Batch(
            # ascontiguousarray copies: the arrays of a worker are read-only shared memory.
            torch.from_numpy(np.ascontiguousarray(inputs[start : start + length])),
            torch.from_numpy(np.ascontiguousarray(targets[start : start + length])),
            carry_state=start > 0,
        )


def text_task(
    data: str | None,
    *,
    level: str = "char",
    length: int = 64,
    vocabulary: int = 10_000,
) -> TextTask:
    """A language modelling task.

    Args:
        data: Path of a UTF-8 file (plain, .gz or .xz), or ``builtin:pydoc-topics``.
        level: ``char``, or ``word`` for words split at white space, a line end being one too.
        length: Time steps of one training batch.
        vocabulary: Most symbols besides the unknown one, the most frequent of the training part.

    Raises:
        TaskError: If the file cannot be read or is too short, or an option is wrong.
    """
    if data is None:
        raise TaskError(f"task text needs data: the path of a text file, or {PYDOC_TOPICS}.")
    if level not in ("char", "word"):
        raise TaskError(f"task text: level is {level!r}; it is 'char' or 'word'.")
    for option, value in (("length", length), ("vocabulary", vocabulary)):
        if type(value) is not int or value < 1:
            raise TaskError(f"task text: {option} is {value!r}; it is an integer from 1 on.")
    text = pydoc_topics() if data == PYDOC_TOPICS else read_text(data)
    symbols: Sequence[str] = text if level == "char" else _words(text)
    ends = [math.floor(len(symbols) * share) for share in (SPLIT[0], SPLIT[0] + SPLIT[1])]
    if ends[0] < 2 or ends[1] - ends[0] < 2 or len(symbols) - ends[1] < 2:
        raise TaskError(
            f"{data}: has {len(symbols)} {level}s, too few for parts of 80, 10 and 10 percent."
        )
    frequent = Counter(symbols[: ends[0]]).most_common(vocabulary)
    codes = {symbol: k for k, (symbol, _) in enumerate(sorted(frequent), start=1)}
    coded = np.fromiter((codes.get(s, UNKNOWN) for s in symbols), np.int64, len(symbols))
    return TextTask(
        name="text",
        data_sha256=hashlib.sha256(text.encode()).hexdigest(),
        symbols=len(codes) + 1,
        parts={
            "train": coded[: ends[0]],
            "validation": coded[ends[0] : ends[1]],
            "test": coded[ends[1] :],
        },
        length=length,
        metric=Metric("cross-entropy", f"nats/{level}", higher_is_better=False),
    )


def pydoc_topics() -> str:
    """The reference text of this Python, about 470,000 characters; it differs by version."""
    from pydoc_data.topics import topics

    return "\n".join(text for _, text in sorted(topics.items()))


def _words(text: str) -> list[str]:
    return [word for line in text.splitlines() for word in [*line.split(), "\n"]]
