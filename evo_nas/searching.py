"""One session of a search: from what is recorded to where the budget, or the user, ends it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from evo_nas.config_tables import SearchConfig
from evo_nas.events import Told
from evo_nas.interrupt import Interrupt
from evo_nas.loop import Budget, Clock, Loop, Reason
from evo_nas.order import order_of
from evo_nas.past import past_of
from evo_nas.progress import ProgressLine
from evo_nas.record import Record
from evo_nas.strategies import make_strategy
from evo_nas.terminal import put_error
from evo_nas.warm_start import earlier_of
from evo_nas.watching.session import Watch
from evo_nas.watching.view import View
from workers.limits import Pool

Kept = Callable[[float, int], float]
"""Seconds of the time budget that the search leaves to what comes after it, given the mean length
of an evaluation and how many run at once."""


def search_in(
    config: SearchConfig,
    record: Record,
    pool: Pool,
    interrupt: Interrupt,
    kept: Kept = lambda mean_seconds, workers: 0.0,
    watch: Watch | None = None,
) -> tuple[Reason, str]:
    """Search until the budget is spent and everything asked is settled, or until interrupted.

    Args:
        config: What this session is told to do.
        record: The run, open; what it holds is gone on from.
        pool: Trains and scores.
        interrupt: The user's wish to stop.
        kept: See `Kept`.
        watch: Who is told what happens; nobody if left out.

    Returns:
        Why it ended, and what the user should know of that; may be empty.

    Raises:
        RecordError: If the record contradicts itself.
        SearchError: If there is nothing to learn in an earlier run.
        Unrepeatable: If a deterministic run cannot go on here.
        OSError: If the record cannot be written.
    """
    directory, header = record.directory, record.header
    earlier = earlier_of(directory, config.evolution.warm_start, record.held)
    strategy = make_strategy(config, earlier=earlier)
    # What a raised budget would have asked for among the last results is found by replaying them.
    later = config.evolution.lag if config.evolution.deterministic else 0
    past, rest = past_of(
        directory, header, record.reading, strategy.memory, later, strategy.failures
    )
    strategy.restore(past)
    totals = past.totals
    for event in rest:
        if isinstance(event, Told):
            totals.add(event)
    clock = Clock(before=totals.elapsed)
    budget = Budget(config.budget.evaluations, _seconds(config))
    watch = Watch() if watch is None else watch
    line = ProgressLine(
        strategy,
        budget,
        clock,
        header.unit,
        header.higher_is_better,
        totals,
        on_warning=watch.warning,
    )

    def asking_budget() -> Budget:
        """The budget less what is kept, and what the evaluations in flight will take."""
        if budget.seconds is None:
            return budget
        # Of what each worker has taken, one is trained after the other.
        in_flight = totals.mean_seconds * pool.capacity / pool.workers
        left = budget.seconds - kept(totals.mean_seconds, pool.workers) - in_flight
        return replace(budget, seconds=left)

    def view() -> View:
        """How the search stands now."""
        return View(
            statuses=totals.statuses,
            best=line.best(),
            evaluations_per_hour=line.per_hour(),
            workers=pool.workers,
            busy=pool.busy(),
            waiting=len(loop.waiting),
        )

    def on_told(events: Sequence[Told]) -> None:
        line.told(events)
        watch.told(events, view())
        loop.budget = asking_budget()

    def on_tick() -> None:
        line.show()
        watch.tick(view())

    loop = Loop(
        strategy=strategy,
        pool=pool,
        saver=watch.saver(record),
        order=order_of(config, header.engine),
        training=config.training,
        budget=asking_budget(),
        waiting=deque(past.waiting),
        clock=clock,
        interrupt=interrupt,
        grace_seconds=config.workers.grace_seconds,
        on_told=on_told,
        on_tick=on_tick,
    )
    loop.catch_up(rest)
    in_flight = len(loop.waiting) - len(loop.unsaved)
    if totals.told or in_flight:
        put_error(
            f"resuming {directory}: {totals.told} evaluations recorded, "
            f"{in_flight} in flight will be run again"
        )
    watch.note(
        "search begun",
        evaluations=totals.told,
        in_flight=in_flight,
        seconds=round(clock.before, 3),
        workers=pool.workers,
    )
    clock.restart()
    try:
        reason = loop.run()
    finally:
        watch.end(view())
    line.end()
    watch.note(
        "search ended",
        reason=reason,
        note=loop.note,
        evaluations=totals.told,
        seconds=round(clock.elapsed(), 3),
    )
    return reason, loop.note


def _seconds(config: SearchConfig) -> float | None:
    return None if config.budget.hours is None else 3600 * config.budget.hours
