"""A pool without workers: results cost nothing and come in an order drawn at random."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from workers.messages import FailureKind, Progress, Request, Result, failed


def scored(request: Request) -> Result:
    """A result that depends on the request alone; one in eight diverges."""
    draw = random.Random(f"{request.genome} {request.seed}").random()
    if draw < 0.125:
        return failed(request, "diverged", "the loss is nan", engine="free", worker="nobody")
    metric = 1.0 + draw
    curve = ((10, 2 * metric), (20, metric))
    return Result(
        request.birth, request.seed, metric, -metric, None, curve, 9, 0.1, "nobody", "free"
    )


@dataclass
class FreePool:
    """Settles at each poll at least one of what it was given, in any order.

    Attributes:
        capacity: How many requests it holds.
        rng: Decides how many are settled, and which.
        score: Makes the results.
        workers: How many workers it says it has.
    """

    capacity: int
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    score: Callable[[Request], Result] = scored
    requests: list[Request] = field(default_factory=list)
    workers: int = 1

    def free(self) -> int:
        return self.capacity - len(self.requests)

    def busy(self) -> int:
        return int(bool(self.requests))

    def begun(self) -> frozenset[int]:
        return frozenset(request.birth for request in self.requests)

    def submit(self, request: Request) -> None:
        assert self.free() > 0
        self.requests.append(request)

    def poll(self, timeout: float) -> list[Result]:
        self.rng.shuffle(self.requests)
        count = self.rng.randint(1, len(self.requests))
        now, self.requests = self.requests[:count], self.requests[count:]
        return [self.score(request) for request in now]

    def running(self) -> list[Progress]:
        return []

    def close(self) -> None:
        self.requests.clear()


def failing(
    kind: FailureKind, birth: int, times: int, message: str = "it took too long"
) -> Callable[[Request], Result]:
    """Scores that fail so often for one birth."""
    left = [times]

    def score(request: Request) -> Result:
        if request.birth == birth and left[0] > 0:
            left[0] -= 1
            return failed(request, kind, message, worker="nobody", engine="")
        return scored(request)

    return score
