"""Evaluators that train nothing: for pools whose manager is to be measured."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from typing import Any

from workers.messages import Progress, Request, Result

REPORTS = range(20, 401, 20)
"""Steps at which an evaluation of 400 steps reports its loss."""
ENGINE = "native/avx512 fused"


def made_up(request: Request, seconds: float = 0.0, worker: str = "nobody") -> Result:
    """A result as a real evaluation gives it, with a metric drawn from the request's seed."""
    rng = random.Random(request.seed)
    metric = 1.5 + rng.random()
    curve = tuple((step, metric + rng.random() / step) for step in REPORTS)
    return Result(
        request.birth, request.seed, metric, -metric, None, curve, 30_000, seconds, worker, ENGINE
    )


def free(request: Request, task: Any, worker: str) -> Iterator[Result]:
    """At once."""
    yield made_up(request)


def one_second(request: Request, task: Any, worker: str) -> Iterator[Progress | Result]:
    """After a second of sleep, with a sign of life each tenth."""
    yield from _sleeping(request, 1.0)


def about_one_second(request: Request, task: Any, worker: str) -> Iterator[Progress | Result]:
    """After half a second to one and a half, whatever the operating system draws."""
    yield from _sleeping(request, 0.5 + os.urandom(1)[0] / 255)


def _sleeping(request: Request, seconds: float) -> Iterator[Progress | Result]:
    started = time.perf_counter()
    for step in range(1, 11):
        time.sleep(max(0.0, started + step * seconds / 10 - time.perf_counter()))
        yield Progress(request.birth, step, 10, 1.0)
    yield made_up(request, time.perf_counter() - started)
