"""What the supervisor knows of one worker and of one request. No Ray."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from workers.limits import Limits
from workers.messages import FailureKind, Progress, Request, Result, failed


@dataclass(eq=False)
class Job:
    """A request on its way to being settled.

    Attributes:
        request: The request.
        progress: What it last reported.
        attempts: Workers it was given to.
        curve: Pairs (step, loss) reported in the present attempt.
    """

    request: Request
    progress: Progress
    attempts: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)

    def report(self, progress: Progress) -> None:
        """Note a progress."""
        self.progress = progress
        self.curve.append((progress.step, progress.loss))

    def failed(self, kind: FailureKind, message: str, seconds: float, worker: str) -> Result:
        """The result of a request that its worker gave none for."""
        known = {"curve": tuple(self.curve), "seconds": seconds, "worker": worker}
        return failed(self.request, kind, message, **known)


@dataclass(eq=False)
class Slot:
    """A place for one worker: starting, idle, or running a job.

    Attributes:
        number: Of the worker in it; never used twice.
        actor: Its handle.
        since: When the worker was asked for, or its job began (``time.monotonic``).
        starting: What it answers when it is ready; None once it has.
        name: How it calls itself; a provisional name until it is ready.
        job: What it runs; None if idle.
        stream: What it yields for the job.
        sign: When it last showed a sign of life.
    """

    number: int
    actor: Any
    since: float
    starting: Any
    name: str
    job: Job | None = None
    stream: Any = None
    sign: float = 0.0

    @property
    def awaited(self) -> Any:
        """What the supervisor waits for: the start, the stream, or None."""
        return self.starting if self.starting is not None else self.stream

    @property
    def idle(self) -> bool:
        """Whether it would take a job at once."""
        return self.starting is None and self.job is None

    def begin(self, job: Job, stream: Any, now: float) -> None:
        """Note that the worker was given a job."""
        self.job, self.stream, self.since, self.sign = job, stream, now, now

    def deadline(self, limits: Limits) -> tuple[float, str] | None:
        """When patience with the worker ends, and what to say then; None if never."""
        if self.starting is not None:
            seconds = limits.start_seconds
            return self.since + seconds, f"{self.name} was not ready within {seconds:g} s."
        if self.job is None:
            return None
        ends = []
        if (limit := limits.evaluation_seconds) is not None:
            ends.append((self.since + limit, f"the evaluation took longer than {limit:g} s."))
        if (stall := limits.stall_seconds) is not None:
            text = f"{self.name} gave no sign of life for {stall:g} s, the last at step "
            progress = self.job.progress
            ends.append((self.sign + stall, f"{text}{progress.step} of {progress.steps}."))
        return min(ends, default=None)


def cause(error: BaseException) -> str:
    """Ray's account of a death without its colours, identifiers and general advice."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    text = text.split("Some common causes include")[0]
    lines = [line.strip() for line in text.splitlines()]
    wanted = [
        line for line in lines if line and not re.match(r"(class_name|\w*_?id|name\w*|ip):", line)
    ]
    return f"{type(error).__name__}: {' '.join(wanted)}"[:1000].strip()
