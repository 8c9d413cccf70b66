"""Interleaved rounds: every contender in turn, so that a ratio holds while the machine drifts."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

from contenders import Contender
from machine import peaks

LEAST_SECONDS = 0.15
"""Of one measurement, unless a single step takes longer."""
WARM_UP = 2


@dataclass(frozen=True, slots=True)
class Timed:
    """What the rounds of a case gave.

    Attributes:
        seconds: For each contender its seconds per step, one for each round.
        gflops: The matrix peak of each round.
    """

    seconds: Mapping[str, list[float]]
    gflops: list[float]

    def ratios(self, above: str, below: str) -> list[float]:
        """One ratio for each round, of two contenders; none if one of them is missing."""
        pairs = zip(self.seconds.get(above, []), self.seconds.get(below, []), strict=False)
        return [a / b for a, b in pairs]

    def ratio(self, above: str, below: str) -> float:
        """The median of the ratios; NaN if there are none."""
        ratios = self.ratios(above, below)
        return statistics.median(ratios) if ratios else math.nan

    def floor_ratios(self, multiply_adds: float) -> list[float]:
        """Each round's fused step over the time of its multiply-adds at that round's peak."""
        return [
            seconds * gflops * 1e9 / (2 * multiply_adds)
            for seconds, gflops in zip(self.seconds["fused"], self.gflops, strict=True)
        ]


def time_in_turn(contenders: Mapping[str, Contender], rounds: int) -> Timed:
    """Time every contender once in each round, beginning with another one each time.

    Raises:
        ArithmeticError: If a loss is not finite at the end of the rounds: what was timed then is
            not the training that was meant.
    """
    counts = {name: _steps_to_time(contender) for name, contender in contenders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    gflops = []
    names = list(contenders)
    for round_ in range(rounds):
        gflops.append(max(peaks().values()))
        first = round_ % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(_seconds(contenders[name], counts[name]) / counts[name])
    for name, contender in contenders.items():
        (loss,) = contender.steps(1)
        if not math.isfinite(loss):
            raise ArithmeticError(f"{name}: the training diverged, its loss is {loss}.")
    return Timed(seconds, gflops)


def _steps_to_time(contender: Contender) -> int:
    contender.steps(WARM_UP)
    once = _seconds(contender, 1)
    if once < LEAST_SECONDS / 10:
        once = _seconds(contender, 10) / 10
    return max(1, math.ceil(LEAST_SECONDS / once))


def _seconds(contender: Contender, steps: int) -> float:
    started = time.perf_counter()
    contender.steps(steps)
    return time.perf_counter() - started
