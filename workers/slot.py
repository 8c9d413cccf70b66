"""What the supervisor knows of one worker and of one request. No Ray."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from workers.evaluator import nothing_yet
from workers.limits import Limits
from workers.losses import Blame, Loss, Losses
from workers.messages import FailureKind, Progress, Request, Result, failed


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
        last: The latest of them.
        reached: The step that it last reported before that.
        alone: Whether it goes without others, so that it is known whose doing a loss is.
    """

    request: Request
    progress: Progress
    curve: list[tuple[int, float]] = field(default_factory=list)
    losses: Losses = field(default_factory=Losses)
    last: Loss | None = None
    reached: int = 0
    alone: bool = False

    def report(self, progress: Progress) -> None:
        """Note a progress."""
        self.progress = progress
        if progress.on_curve:
            self.curve.append((progress.step, progress.loss))

    def lost(self, loss: Loss, blame: Blame) -> None:
        """An attempt ended with its worker; the next one begins anew, and alone."""
        self.losses.add(loss, blame)
        self.last, self.reached = loss, self.progress.step
        self.begin_again(alone=blame != "drained")

    def begin_again(self, *, alone: bool = False) -> None:
        """Forget what it reported; from now on it may have to go ``alone``."""
        self.progress = nothing_yet(self.request)
        self.alone = self.alone or alone

    def may_begin(self, limits: Limits) -> bool:
        """Whether the next attempt may begin, whatever comes of losses that are open."""
        return not self.losses.may_be(limits.attempts)

    def given_up(self, limits: Limits) -> Result | None:
        """Its failure, if it has lost all it may lose."""
        if len(self.losses.own) >= limits.attempts:
            kind, message = self.losses.said()
        elif len(self.losses.machines) >= limits.machines:
            kind, message = "worker_lost", self.losses.said_of_machines()
        else:
            return None
        assert self.last is not None
        known = {"curve": tuple(self.curve), "seconds": self.last.seconds, "steps": self.reached}
        return failed(self.request, kind, message, worker=self.last.worker, **known)

    def failed(self, kind: FailureKind, message: str, seconds: float, worker: str) -> Result:
        """The result of a request that its worker gave none for."""
        known = {"curve": tuple(self.curve), "seconds": seconds, "worker": worker}
        return failed(self.request, kind, message, steps=self.progress.step, **known)


@dataclass(eq=False)
class Slot:
    """A place for one worker: starting, idle, or running a cohort of jobs.

    Attributes:
        actor: Its handle.
        since: When the worker was asked for, or the first of its jobs began (``time.monotonic``).
        starting: What it answers when it is ready; None once it has.
        name: How it calls itself; a provisional name until it is ready.
        jobs: The jobs of its cohort that have not settled; it runs the first of them. Empty if
            it is idle.
        stream: What it yields for the jobs.
        sign: When it last showed a sign of life.
        node: The machine it is on, by Ray's identifier; empty until it is ready.
        leaving: Whether it is to end with its jobs, for its machine is about to go.
        asked: When the worker was asked for; ``since`` may be moved while it waits for room.
        surplus: Since when there has been nothing for it to do; None if there is.
        told: Whether it was said that it waits for room.
    """

    actor: Any
    since: float
    starting: Any
    name: str
    jobs: list[Job] = field(default_factory=list)
    stream: Any = None
    sign: float = 0.0
    node: str = ""
    leaving: bool = False
    asked: float = 0.0
    surplus: float | None = None
    told: bool = False

    @property
    def awaited(self) -> Any:
        """What the supervisor waits for: the start, the stream, or None."""
        return self.starting if self.starting is not None else self.stream

    @property
    def idle(self) -> bool:
        """Whether it would take jobs at once."""
        return self.starting is None and not self.jobs and not self.leaving

    def begin(self, jobs: Sequence[Job], stream: Any, now: float) -> None:
        """Note that the worker was given a cohort."""
        self.jobs, self.stream, self.since, self.sign = list(jobs), stream, now, now

    def job(self, birth: int) -> Job | None:
        """The job of a birth; None if it has none that has not settled."""
        return next((job for job in self.jobs if job.request.birth == birth), None)

    def end(self, job: Job, now: float) -> None:
        """Note that a job has settled; the next one begins."""
        self.jobs.remove(job)
        self.since = now
        if not self.jobs:
            self.stream = None

    def give_up(self) -> list[Job]:
        """Take all its jobs from it."""
        jobs, self.jobs, self.stream = self.jobs, [], None
        return jobs

    def is_late(self, limits: Limits, now: float) -> bool:
        """Whether patience with the worker has ended."""
        end = self.deadline(limits)
        return end is not None and now >= end.at

    def deadline(self, limits: Limits) -> End | None:
        """When patience with the worker ends; None if never."""
        if self.starting is not None:
            seconds = limits.start_seconds
            why = f"{self.name} was not ready within {seconds:g} s."
            return End(self.since + seconds, True, why)
        if not self.jobs:
            return None
        ends = []
        if (limit := limits.evaluation_seconds) is not None:
            why = f"the evaluation took longer than {limit:g} s."
            ends.append(End(self.since + limit, False, why))
        if (stall := limits.stall_seconds) is not None:
            progress = self.jobs[0].progress
            why = f"it gave no sign of life for {stall:g} s, the last at step "
            ends.append(End(self.sign + stall, True, f"{why}{progress.step} of {progress.steps}."))
        return min(ends, default=None)


def until_next_limit(slots: Sequence[Slot], limits: Limits, now: float) -> float:
    """Seconds until patience with some worker ends, infinite if it never does."""
    ends = [slot.deadline(limits) for slot in slots]
    next_end = min((end.at for end in ends if end is not None), default=float("inf"))
    # Never 0: who waits counts in milliseconds and would spin through the last of them.
    return max(next_end - now, 0.002)


def cause(error: BaseException) -> str:
    """Ray's account of a death without its colours, identifiers and general advice."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    text = text.split("Some common causes include")[0]
    lines = [line.strip() for line in text.splitlines()]
    wanted = [
        line for line in lines if line and not re.match(r"(class_name|\w*_?id|name\w*|ip):", line)
    ]
    return f"{type(error).__name__}: {' '.join(wanted)}"[:1000].strip()
