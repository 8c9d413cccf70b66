"""What the supervisor knows of one worker and of one request. No Ray."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from workers.limits import Limits
from workers.messages import FailureKind, Progress, Request, Result, failed

Fate = Literal["died", "stalled", "broke down"]


@dataclass(frozen=True, slots=True)
class Loss:
    """A worker was lost over a job.

    Attributes:
        kind: What the job fails with if it loses all its workers alike.
        fate: What became of the worker.
        worker: The name of the worker.
        why: The cause, as far as it is known.
    """

    kind: FailureKind
    fate: Fate
    worker: str
    why: str


class End(NamedTuple):
    """When patience with a worker ends, whether it then counts as lost, and what to say."""

    at: float
    is_lost: bool
    why: str


@dataclass(eq=False)
class Job:
    """A request on its way to being settled.

    Attributes:
        request: The request.
        progress: What it last reported.
        curve: Pairs (step, loss) reported in the present attempt.
        losses: The attempts that lost their workers.
    """

    request: Request
    progress: Progress
    curve: list[tuple[int, float]] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)

    def report(self, progress: Progress) -> None:
        """Note a progress."""
        self.progress = progress
        self.curve.append((progress.step, progress.loss))

    def verdict(self) -> tuple[FailureKind, str]:
        """The failure, and what to say, when no more workers are to be lost over it.

        Workers lost in different ways have no cause in common but that they were lost.
        """
        kinds = {loss.kind for loss in self.losses}
        kind = kinds.pop() if len(kinds) == 1 else "worker_lost"
        fates = Counter(loss.fate for loss in self.losses)
        counted = [f"{n} worker{'s' * (n > 1)} {fate}" for fate, n in fates.items()]
        last = self.losses[-1]
        return kind, f"{' and '.join(counted)} over it; the last, {last.worker}: {last.why}"

    def failed(self, kind: FailureKind, message: str, seconds: float, worker: str) -> Result:
        """The result of a request that its worker gave none for."""
        known = {"curve": tuple(self.curve), "seconds": seconds, "worker": worker}
        return failed(self.request, kind, message, steps=self.progress.step, **known)


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

    def deadline(self, limits: Limits) -> End | None:
        """When patience with the worker ends; None if never."""
        if self.starting is not None:
            seconds = limits.start_seconds
            why = f"{self.name} was not ready within {seconds:g} s."
            return End(self.since + seconds, True, why)
        if self.job is None:
            return None
        ends = []
        if (limit := limits.evaluation_seconds) is not None:
            why = f"the evaluation took longer than {limit:g} s."
            ends.append(End(self.since + limit, False, why))
        if (stall := limits.stall_seconds) is not None:
            progress = self.job.progress
            why = f"it gave no sign of life for {stall:g} s, the last at step "
            ends.append(End(self.sign + stall, True, f"{why}{progress.step} of {progress.steps}."))
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
