"""The thin loop between a strategy and a pool: ask, submit, poll, record, tell.

Results are in the record on disk before the strategy sees them. Candidates asked since are
written with the next results: they are a function of what was told before them, so a crash
loses none of them that a resumed run would not ask again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from evo_nas.events import Asked, Event, Told
from evo_nas.history import Exhausted
from evo_nas.interrupt import Interrupt
from evo_nas.strategies import Strategy
from workers.limits import Pool
from workers.messages import Request, Result, Training

POLL_SECONDS = 0.5
"""How long one poll waits: how late a signal or the end of the time budget may be noticed."""

Reason = Literal["finished", "interrupted", "exhausted"]


class Saver(Protocol):
    """What the loop needs of a record."""

    def append(self, events: Sequence[Event]) -> None:
        """Write events durably, all or none."""
        ...


@dataclass
class Clock:
    """Seconds of search, over all sessions of a run.

    Attributes:
        before: Seconds of earlier sessions.
    """

    before: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def restart(self) -> None:
        """Count from now on: starting workers and reading data are no search."""
        self.started = time.monotonic()

    def elapsed(self) -> float:
        """Seconds of search so far."""
        return self.before + time.monotonic() - self.started


@dataclass(frozen=True, slots=True)
class Budget:
    """When to stop asking.

    Attributes:
        evaluations: Candidates of the whole run, failed ones included.
        seconds: Seconds of search of the whole run.
    """

    evaluations: int | None = None
    seconds: float | None = None

    def spent(self, asked: int, elapsed: float) -> bool:
        """Whether no further candidate may be asked for."""
        if self.evaluations is not None and asked >= self.evaluations:
            return True
        return self.seconds is not None and elapsed >= self.seconds


@dataclass
class Loop:
    """Carries requests from a strategy to a pool and results back.

    Attributes:
        strategy: Asked and told; everything recorded so far has been replayed into it.
        pool: Trains and scores.
        saver: The record.
        training: How candidates are trained (the hidden size comes with the candidate).
        budget: When to stop asking.
        waiting: Candidates asked in an earlier session and never told: they go first.
        clock: Seconds of search.
        interrupt: The user's wish to stop.
        grace_seconds: How long running evaluations may go on after an interrupt.
        on_told: Called after each poll that brought results.
        on_tick: Called after every poll.
        note: Why the search space was exhausted, if it was.
    """

    strategy: Strategy
    pool: Pool
    saver: Saver
    training: Training
    budget: Budget
    waiting: deque[Asked]
    clock: Clock
    interrupt: Interrupt
    grace_seconds: float
    on_told: Callable[[Sequence[Told]], None] = lambda told: None
    on_tick: Callable[[], None] = lambda: None
    note: str = ""
    _saved: bool = False
    _unsaved: list[Asked] = field(default_factory=list)
    _running: int = 0

    def run(self) -> Reason:
        """Run until the budget is spent and everything asked is settled, or until interrupted."""
        reason: Reason = "finished"
        while True:
            if self.interrupt.requested:
                reason = "interrupted"
            elif reason == "finished":
                try:
                    self._fill()
                except Exhausted as error:
                    reason, self.note = "exhausted", str(error)
            if self._running == 0:
                break
            if self._unsaved and not self._saved:
                self._save(())  # so that a reader sees what runs before the first result is in
            if self.interrupt.requested and self.interrupt.seconds() > self.grace_seconds:
                break
            self._settle(self.pool.poll(POLL_SECONDS))
            self.on_tick()
        if self._unsaved:
            self._save(())
        return reason

    def _fill(self) -> None:
        while self.pool.free() > 0:
            asked = self._next()
            if asked is None:
                return
            self.pool.submit(self._request(asked))
            self._running += 1

    def _next(self) -> Asked | None:
        if self.waiting:
            return self.waiting.popleft()
        if self.budget.spent(self.strategy.history.next_birth(), self.clock.elapsed()):
            return None
        asked = self.strategy.ask()
        self.strategy.note(asked)
        self._unsaved.append(asked)
        return asked

    def _request(self, asked: Asked) -> Request:
        training = replace(self.training, hidden_size=asked.hidden_size)
        return Request(asked.birth, asked.genome, asked.seed, training)

    def _settle(self, results: Sequence[Result]) -> None:
        if not results:
            return
        told = [told_of(result, self.clock.elapsed()) for result in results]
        self._save(told)
        for event in told:
            self._running -= 1
            self.strategy.tell(event)
        self.on_told(told)

    def _save(self, told: Iterable[Told]) -> None:
        self.saver.append([*self._unsaved, *told])
        self._unsaved.clear()
        self._saved = True


def told_of(result: Result, elapsed: float) -> Told:
    """A worker's result as an event of the record."""
    failure = result.failure
    return Told(
        birth=result.birth,
        status="ok" if failure is None else failure.kind,
        metric=result.metric,
        fitness=result.fitness,
        message="" if failure is None else failure.message,
        curve=result.curve,
        parameters=result.parameters,
        seconds=result.seconds,
        worker=result.worker,
        engine=result.engine,
        finished=time.time(),
        elapsed=elapsed,
    )


def replay(strategy: Strategy, events: Iterable[Event]) -> deque[Asked]:
    """Bring a strategy to where a record ends; returns the candidates that were never told."""
    open_births: dict[int, Asked] = {}
    for event in events:
        if isinstance(event, Asked):
            strategy.note(event)
            open_births[event.birth] = event
        else:
            strategy.tell(event)
            del open_births[event.birth]
    return deque(open_births.values())
