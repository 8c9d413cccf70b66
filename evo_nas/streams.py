"""Counter-based randomness: every draw comes from (seed, stream, number), never from a state.

So a checkpoint holds no generator, and what one candidate draws does not depend on how much
randomness any other consumed (Salmon et al. 2011 on counter-based generators; here through
NumPy's ``SeedSequence`` with a spawn key).
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a draw is for; the numbers are part of the record's meaning and never change."""

    CANDIDATE = 0
    TRAINING = 1
    COMPARISON = 2
    TUNING = 3
    CONTROL = 4


def generator(seed: int, stream: Stream, number: int) -> np.random.Generator:
    """A generator that depends on its arguments alone."""
    return np.random.default_rng(_sequence(seed, stream, number))


def training_seed(seed: int, stream: Stream, number: int) -> int:
    """A seed below 2^31 for one training."""
    return int(_sequence(seed, stream, number).generate_state(1)[0] >> 1)


def _sequence(seed: int, stream: Stream, number: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(int(stream), number))
