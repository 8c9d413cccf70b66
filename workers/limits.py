"""What a pool is, and how long it lets an evaluation run. No Ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from workers.messages import Progress, Request, Result


@dataclass(frozen=True, slots=True)
class Limits:
    """How a pool guards evaluations.

    Attributes:
        evaluation_seconds: Time limit of one evaluation; None for none.
        stall_seconds: A worker without a sign of life for so long is replaced; None for never.
        attempts: How often a request is tried before it counts as ``worker_lost``.
    """

    evaluation_seconds: float | None = None
    stall_seconds: float | None = 300.0
    attempts: int = 3


class Pool(Protocol):
    """Runs requests and settles each of them exactly once.

    Attributes:
        capacity: How many requests run at once.
    """

    capacity: int

    def free(self) -> int:
        """How many requests it would take now."""
        ...

    def submit(self, request: Request) -> None:
        """Run a request; raises RuntimeError if nothing is free."""
        ...

    def poll(self, timeout: float) -> list[Result]:
        """Results settled since the last poll; waits at most ``timeout`` seconds for one."""
        ...

    def running(self) -> list[Progress]:
        """The last progress of what runs."""
        ...

    def close(self) -> None:
        """Stop everything that was started."""
        ...
