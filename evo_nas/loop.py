"""The thin loop between a strategy and a pool: ask, submit, poll, record.

What a poll brings is told to the strategy, and then everything that came of it, results and new
candidates, is on disk in one segment before anything leaves this process: before a candidate is
submitted and before a result is reported. If it cannot be written, the search ends there.

Candidates asked for while nothing comes in are written with the next results: they are a function
of what was told before them, so a crash loses none that a resumed run would not ask for again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from evo_nas.events import Asked, Event, Status, Told
from evo_nas.history import Exhausted
from evo_nas.interrupt import Interrupt
from evo_nas.order import Order, Unrepeatable
from evo_nas.strategies import Strategy
from workers.limits import Pool
from workers.messages import Part, Request, Result, Training

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
        strategy: Asked and told; everything recorded so far has been brought to it.
        pool: Trains and scores.
        saver: The record.
        order: When to ask, and which result counts next.
        training: How candidates are trained (hidden size, steps and, where it has its own, the
            learning rate come with the candidate).
        budget: When to stop asking.
        waiting: Candidates asked for and not submitted: those of an earlier session go first.
        unsaved: What no segment holds yet, in order.
        clock: Seconds of search.
        interrupt: The user's wish to stop.
        grace_seconds: How long running evaluations may go on after an interrupt.
        part: Which part of the data gives the metric.
        on_told: Called after each poll that brought results.
        on_tick: Called after every poll.
        note: Why the search space was exhausted, if it was.
    """

    strategy: Strategy
    pool: Pool
    saver: Saver
    order: Order
    training: Training
    budget: Budget
    waiting: deque[Asked]
    clock: Clock
    interrupt: Interrupt
    grace_seconds: float
    part: Part = "validation"
    on_told: Callable[[Sequence[Told]], None] = lambda told: None
    on_tick: Callable[[], None] = lambda: None
    unsaved: list[Event] = field(default_factory=list)
    note: str = ""
    _begun: bool = False
    _finishing: frozenset[int] | None = None
    _running: dict[int, Asked] = field(default_factory=dict)
    _recorded: dict[int, Asked] = field(default_factory=dict)

    def run(self) -> Reason:
        """Run until the budget is spent and everything asked is settled, or until interrupted.

        Raises:
            Unrepeatable: If the order says so.
            OSError: If the record cannot be written.
        """
        while True:
            if not self.interrupt.requested:
                self._fill()
            if not self._running or self.interrupt.over(self.grace_seconds):
                break
            if self._finishing is not None and self._finishing.isdisjoint(self._running):
                break
            if self.unsaved and not self._begun:
                self._save()  # so that a reader sees what runs before the first result is in
            self._settle(self.pool.poll(POLL_SECONDS))
            self.on_tick()
            # After a poll, so that what was handed over before the signal has begun.
            if self.interrupt.requested and self._finishing is None:
                self._finishing = self.pool.begun()
        if self.unsaved:
            self._save()
        if self.interrupt.requested:
            return "interrupted"
        return "exhausted" if self.note else "finished"

    def catch_up(self, events: Sequence[Event]) -> None:
        """Bring strategy and order past the last events of a record, before `run`.

        A candidate that was due between them and is not there, because the budget was smaller
        then, is asked for now: a raised budget gives the history it would have given from the
        start. If it was raised before, such candidates stand later in the record than they were
        due; they count from when they were due.
        """
        self._recorded = {event.birth: event for event in events if isinstance(event, Asked)}
        told: set[int] = set()
        for event in events:
            if isinstance(event, Told):
                self._ask_due()
                self.strategy.tell(event)
                told.add(event.birth)
            elif event.birth in self._recorded:
                self._ask_one()
        self.waiting = deque(asked for asked in self.waiting if asked.birth not in told)

    def _fill(self) -> None:
        """Give the pool as much as it takes."""
        self._ask_due()
        while self.pool.free() > 0:
            if not self.waiting:
                self._ask_one()
            if not self.waiting:
                return
            asked = self.waiting.popleft()
            self._running[asked.birth] = asked
            self.pool.submit(self._request(asked))

    def _ask_due(self) -> None:
        """Ask for all that is due, if the order does not wait for a worker to be free."""
        while self.order.eager and self._ask_one():
            pass

    def _ask_one(self) -> bool:
        """Ask for a candidate, if one is due and there is a budget for it."""
        births, told = self.strategy.history.births, self.strategy.history.told
        if not self.order.may_ask(births, told):
            return False
        if (recorded := self._recorded.pop(births, None)) is not None:
            self.strategy.note(recorded)
            self.waiting.append(recorded)
            return True
        if self.note or self.budget.spent(births, self.clock.elapsed()):
            return False
        try:
            asked = self.strategy.ask()
        except Exhausted as error:
            self.note = str(error)
            return False
        self.strategy.note(asked)
        self.unsaved.append(asked)
        self.waiting.append(asked)
        return True

    def _request(self, asked: Asked) -> Request:
        training = replace(self.training, hidden_size=asked.hidden_size, steps=asked.budget)
        if asked.learning_rate is not None:
            training = replace(training, learning_rate=asked.learning_rate)
        cost = float(asked.recurrent_parameters * asked.budget)
        return Request(
            asked.birth, asked.genome, asked.seed, training, self.part, asked.hurdles, cost
        )

    def _settle(self, results: Sequence[Result]) -> None:
        problem: Unrepeatable | None = None
        for result in results:
            asked = self._running.pop(result.birth)
            try:
                if not self.order.arrived(result):
                    self.waiting.appendleft(asked)
            except Unrepeatable as error:
                problem = error
        told: list[Told] = []
        while (next_result := self.order.next(self.strategy.history.told)) is not None:
            event = told_of(next_result, self.clock.elapsed())
            told.append(event)
            self.unsaved.append(event)
            self.strategy.tell(event)
            self._ask_due()
        if told:
            self._save()
            self.on_told(told)
        if problem is not None:
            raise problem

    def _save(self) -> None:
        self.saver.append(self.unsaved)
        self.unsaved.clear()
        self._begun = True


def told_of(result: Result, elapsed: float) -> Told:
    """A worker's result as an event of the record."""
    failure = result.failure
    status: Status = "stopped" if result.stopped else "ok"
    if failure is not None:
        status = failure.kind
    return Told(
        birth=result.birth,
        status=status,
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
        steps=result.steps,
        rungs=result.rungs,
    )
