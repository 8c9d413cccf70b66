"""The text that the engine benchmark trains on, where no file is given."""

from __future__ import annotations

import hashlib

import numpy as np

from workers.tasks.base import Metric
from workers.tasks.text import Options, TextTask, make

SYMBOLS = 65
CHARACTERS = 60_000
"""Enough for 8 batches of 32 streams of 70 steps, and more."""


def text_task(length: int, data: str | None = None) -> TextTask:
    """The task ``text`` with batches of ``length`` steps.

    Args:
        length: Steps in a batch.
        data: A UTF-8 text file (``.gz``, ``.xz`` too); None makes up a text of 65 symbols.

    Raises:
        TaskError: If the file cannot be read or is too short.
    """
    if data is not None:
        return make(data, Options(length=length))
    codes = made_codes(np.random.default_rng(0))
    return TextTask(
        name="text",
        metric=Metric("cross-entropy", "nats/char", higher_is_better=False),
        data_sha256=hashlib.sha256(codes.tobytes()).hexdigest(),
        training=codes,
        validation=codes,
        test=codes,
        symbols=SYMBOLS,
        length=length,
    )


def made_codes(rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """A Markov chain whose symbols are about as frequent as the characters of an English play.

    Each row of the transition matrix is the common falling curve, disturbed: so some pairs are
    frequent and most are rare, and a batch of 16 x 35 symbols holds about 48 different ones.
    """
    rank = np.arange(SYMBOLS)
    common = np.exp(-rank / 17) / np.sqrt(rank + 1)
    rows = np.cumsum(common * rng.exponential(size=(SYMBOLS, SYMBOLS)) ** 2, axis=1)
    rows /= rows[:, -1:]
    codes = np.empty(CHARACTERS, np.int32)
    code = 0
    for k, draw in enumerate(rng.random(CHARACTERS)):
        code = int(np.searchsorted(rows[code], draw))
        codes[k] = code
    return codes
