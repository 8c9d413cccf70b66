"""What a pool is, and how long it lets an evaluation run. No Ray."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from workers.messages import Progress, Request, Result


class PoolError(RuntimeError):
    """The workers cannot be had as asked for; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How a pool guards evaluations.

    Attributes:
        evaluation_seconds: Time limit of one evaluation; None for none.
        stall_seconds: A worker without a sign of life for so long counts as lost, and is replaced;
            None for never. A training gives one every ten seconds, or between 16 steps and after
            a batch that is scored if these take longer.
        attempts: How many workers may be lost over a request, whether they die, stall or break
            down, before it is settled with a failure. What loses a worker may be the machine's
            fault, so somebody else tries first; exceeding ``evaluation_seconds`` is the request's
            own and settles it at once.
        start_seconds: How long a worker may take from being asked for to being ready; on a
            cluster, from when there is room for it.
        machines: How many machines may go down under a request before it is settled with a
            failure, where nobody had told Ray that they would be taken away. Those cost none of
            its ``attempts``: so many only if it is what takes them down.
        idle_seconds: After so long without work a worker of a cluster is ended, so that its
            machine can be given back; it is made anew when there is work.

    Raises:
        PoolError: On construction, if a limit is not positive.
    """

    evaluation_seconds: float | None = None
    stall_seconds: float | None = 300.0
    attempts: int = 3
    start_seconds: float = 300.0
    machines: int = 10
    idle_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name in ("evaluation_seconds", "stall_seconds", "start_seconds", "idle_seconds"):
            value = getattr(self, name)
            if value is None and name in ("evaluation_seconds", "stall_seconds"):
                continue
            if not isinstance(value, int | float) or math.isnan(value) or value <= 0:
                raise PoolError(f"{name} is {value!r}; it must be a number of seconds above 0.")
        for name in ("attempts", "machines"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise PoolError(f"{name} is {value!r}; it must be a whole number from 1 up.")


class Pool(Protocol):
    """Runs requests and settles each of them exactly once.

    Attributes:
        workers: How many workers there are; on a cluster, the most there may be.
        capacity: How many requests it takes: a cohort for each worker.
    """

    workers: int
    capacity: int

    def free(self) -> int:
        """How many requests it would take now."""
        ...

    def busy(self) -> int:
        """How many workers have something to do."""
        ...

    def begun(self) -> frozenset[int]:
        """Births of the requests that are being evaluated; others wait for their turn."""
        ...

    def submit(self, request: Request) -> None:
        """Take a request, which begins when the pool is polled.

        Raises:
            RuntimeError: If nothing is free, or the pool is closed.
        """
        ...

    def poll(self, timeout: float) -> list[Result]:
        """Results settled since the last poll; waits at most ``timeout`` seconds for one.

        Returns at once if nothing was submitted that could settle. A pool that evaluates in
        process returns after the next evaluation, however long that takes.

        Raises:
            PoolError: If there is nobody who could go on: the workers do not start, or an
                evaluation in process broke the device. What has not settled never will.
        """
        ...

    def running(self) -> list[Progress]:
        """The last progress of each request taken and not settled (step 0, loss NaN at first)."""
        ...

    def close(self) -> None:
        """Stop everything that was started; requests that have not settled never will."""
        ...
