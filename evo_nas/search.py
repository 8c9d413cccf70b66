"""Begins and resumes runs: puts task, record, strategy and pool together around the loop."""

from __future__ import annotations

import os
import re
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evo_nas import __version__
from evo_nas.compare import (
    Comparison,
    comparison_seconds,
    run_comparison,
    same_comparison,
    times_opened,
)
from evo_nas.config import differences, from_dict, resolved, to_dict, with_overrides
from evo_nas.config_tables import SearchConfig, WorkersConfig
from evo_nas.events import Event, Told
from evo_nas.interrupt import Interrupt
from evo_nas.loop import Budget, Clock, Loop, Reason, replay
from evo_nas.progress import ProgressLine
from evo_nas.record import (
    Header,
    Record,
    create_run,
    now,
    open_run,
    read_events,
    read_header,
)
from evo_nas.sessions import last_config, merged, note_session
from evo_nas.strategies import make_strategy
from workers.limits import Limits, Pool
from workers.messages import Part

if TYPE_CHECKING:
    from workers.tasks.base import Task


class SearchError(RuntimeError):
    """A search cannot begin or go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a session of a run ended.

    Attributes:
        directory: The run directory.
        header: Its header.
        events: Everything recorded.
        reason: Why the session ended.
        comparison: The comparison at its end, None if there was none.
        config: What the session was told to do.
        note: What the user should know of the reason; may be empty.
    """

    directory: Path
    header: Header
    events: list[Event]
    reason: Reason
    comparison: Comparison | None
    config: SearchConfig
    note: str


def start(config: SearchConfig) -> Outcome:
    """Begin a run in ``config.run`` and search until the budget is spent.

    Raises:
        SearchError: If there is no budget or the directory would not outlive a job.
        RecordError: If the directory holds a run already.
        workers.tasks.TaskError: If the data cannot be used.
    """
    if config.run is None:
        raise SearchError("no run directory was given. Add --run DIR.")
    directory = config.run
    _refuse_vanishing(directory)
    _require_budget(config)
    config = resolved(_with_absolute_data(config))
    make_strategy(config)  # refuses a search space or limits that cannot work, before any file
    _refuse_unknown_names(config)
    prepare_engine(config)
    task = load(config)
    # A text too short for the batches would otherwise fail every candidate, one by one.
    next(task.training_batches(config.training.batch_size, np.random.default_rng(config.seed)))
    describe = getattr(task, "describe", None)
    if describe is not None:
        print(describe(), file=sys.stderr)
    header = Header(
        config=to_dict(config),
        task=task.name,
        data_sha256=task.data_sha256,
        metric=task.metric.name,
        unit=task.metric.unit,
        higher_is_better=task.metric.higher_is_better,
        program=__version__,
        created=now(),
    )
    with create_run(directory, header) as record:
        return _session(config, record, task)


def resume(
    directory: str | Path, overrides: dict[str, Any], wanted: SearchConfig | None = None
) -> Outcome:
    """Go on with a run: replay its record, finish what was in flight, spend what is left.

    Args:
        directory: The run directory.
        overrides: Flags of budget, workers and comparison; None values are not given.
        wanted: A configuration the user expects the run to have; differences are refused.

    Raises:
        SearchError: If task, data, search space, training, evolution or seed differ.
        RecordError: If the record is damaged or another process writes to it.
    """
    with open_run(directory) as record:
        config = last_config(directory, record.header)
        if wanted is not None:
            # The population was fixed by the budget the run began with, not by a raised one.
            begun = from_dict(record.header.config, f"{directory}/run.json")
            different = differences(config, resolved(wanted, begun.budget))
            if different:
                raise SearchError(
                    f"{directory} was written with another configuration:\n  "
                    + "\n  ".join(different)
                    + "\nResume without the file, or give a new --run."
                )
            config = merged(config, wanted)
        config = with_overrides(config, **overrides)
        _require_budget(config)
        for warning in record.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        config = _with_absolute_data(config)
        prepare_engine(config, record.events)
        task = load_same_data(config, record.header)
        note_session(directory, config)
        return _session(config, record, task)


def compare_run(
    directory: str | Path, overrides: dict[str, Any], part: Part
) -> tuple[Comparison | None, bool]:
    """Compare the best cells of a run with the baselines, on a part of the data.

    Returns:
        The comparison (None if the run holds no finished evaluation), and whether it was
        interrupted.
    """
    header = read_header(directory)
    events, warnings = read_events(directory)
    config = with_overrides(last_config(directory, header), **overrides)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    opened = times_opened(Path(directory), "test") if part == "test" else 0
    if opened:
        print(
            f"warning: the test part of this run was opened before ({opened}x). A cell chosen "
            "after looking at it is no longer an honest result.",
            file=sys.stderr,
        )
    prepare_engine(config, events)
    task = load_same_data(config, header)
    with Interrupt() as interrupt, pool_of(config.workers, task) as pool:
        result = run_comparison(
            config, Path(directory), header, events, task, pool, interrupt, part
        )
        return result, interrupt.requested


def load(config: SearchConfig) -> Task:
    """The task of a configuration, its data read and hashed."""
    from workers.tasks import load_task

    return load_task(config.task.kind, config.task.data, config.task.options)


def load_same_data(config: SearchConfig, header: Header) -> Task:
    """The task of a run, its data checked to be those the run was searched on.

    Raises:
        SearchError: If they differ.
    """
    task = load(config)
    if task.data_sha256 != header.data_sha256:
        raise SearchError(
            f"the run was searched on other data: SHA-256 {header.data_sha256[:16]} then, "
            f"{task.data_sha256[:16]} in {config.task.data} now. "
            "Bring back the data (--data says where they lie), or begin a new run."
        )
    return task


@contextmanager
def pool_of(config: WorkersConfig, task: Task) -> Iterator[Pool]:
    """The pool a configuration asks for, closed at the end whatever happens."""
    from workers.open_pool import open_pool

    limits = Limits(config.evaluation_seconds, config.stall_seconds, config.attempts)
    pool = open_pool(
        config.workers,
        task,
        limits,
        address=config.address,
        workers_per_gpu=config.workers_per_gpu,
        dashboard=config.dashboard,
    )
    try:
        yield pool
    finally:
        pool.close()


def _session(config: SearchConfig, record: Record, task: Task) -> Outcome:
    strategy = make_strategy(config)
    waiting = replay(strategy, record.events)
    told = [event for event in record.events if isinstance(event, Told)]
    clock = Clock(before=max((event.elapsed for event in told), default=0.0))
    budget = Budget(config.budget.evaluations, _seconds(config))
    line = ProgressLine(strategy, budget, clock, record.header.unit, record.header.higher_is_better)
    line.told(told, here=False)
    if told or waiting:
        print(
            f"resuming {record.directory}: {len(told)} evaluations recorded, "
            f"{len(waiting)} in flight will be run again",
            file=sys.stderr,
        )
    comparison = None
    with Interrupt() as interrupt, pool_of(config.workers, task) as pool:
        clock.restart()
        seconds = [event.seconds for event in told if event.status == "ok"]

        def asking_budget() -> Budget:
            """The budget less what the comparison and the evaluations in flight will take."""
            if budget.seconds is None:
                return budget
            kept = comparison_seconds(config.compare, seconds, pool.capacity)
            kept += statistics.fmean(seconds) if seconds else 0.0
            return replace(budget, seconds=budget.seconds - kept)

        def on_told(events: Sequence[Told]) -> None:
            seconds.extend(event.seconds for event in events if event.status == "ok")
            line.told(events)
            loop.budget = asking_budget()

        loop = Loop(
            strategy=strategy,
            pool=pool,
            saver=record,
            training=config.training,
            budget=asking_budget(),
            waiting=waiting,
            clock=clock,
            interrupt=interrupt,
            grace_seconds=config.workers.grace_seconds,
            on_told=on_told,
            on_tick=line.show,
        )
        reason = loop.run()
        line.end()
        events, _ = read_events(record.directory)
        if reason != "interrupted" and config.compare.seeds > 0:
            comparison = same_comparison(config, record.directory, events) or run_comparison(
                config, record.directory, record.header, events, task, pool, interrupt
            )
            if interrupt.requested:
                reason = "interrupted"
    directory = record.directory
    return Outcome(directory, record.header, events, reason, comparison, config, loop.note)


def _seconds(config: SearchConfig) -> float | None:
    return None if config.budget.hours is None else 3600 * config.budget.hours


def _require_budget(config: SearchConfig) -> None:
    if config.budget.evaluations is None and config.budget.hours is None:
        raise SearchError("the search has no end. Add --evaluations N or --hours H.")


def _refuse_unknown_names(config: SearchConfig) -> None:
    """Baselines are needed late in a search; a typo is told before it begins."""
    from genomes.published import published

    try:
        for name in config.compare.baselines:
            published(name)
    except ValueError as error:
        raise SearchError(str(error)) from error


def prepare_engine(config: SearchConfig, events: Sequence[Event] = ()) -> None:
    """Refuse an engine that is not there, and say in one line what the user should know of the
    one that is: that it is the slow one, or not the one that ran so far (``events``).

    A library that is yet to be built is built here, once and not by each worker.
    """
    from workers.engine import check_engine, engine_here, why_slow
    from workers.engine.native.library import NativeUnavailable

    try:
        engine = check_engine(config.training.engine)
        here = engine_here(engine)
    except (ValueError, NativeUnavailable) as error:
        raise SearchError(str(error)) from error
    if reason := why_slow(engine):
        print(f"warning: candidates train more slowly, with torch: {reason}", file=sys.stderr)
    # "native/avx512 fused" is the engine native.
    before = {re.split("[/ ]", e.engine)[0] for e in events if isinstance(e, Told)} - {"", here}
    if before:
        print(
            f"warning: engine {', '.join(sorted(before))} ran before, here it is {here}: trainings "
            "of one seed differ between engines as much as between seeds.",
            file=sys.stderr,
        )


def _refuse_vanishing(directory: str) -> None:
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and not Path(directory).is_absolute():
        raise SearchError(
            f"--run {directory} is relative, but this is a Ray job, whose working directory "
            "vanishes with it. Give an absolute path on storage that stays."
        )


def _with_absolute_data(config: SearchConfig) -> SearchConfig:
    """Paths made absolute, so that a run can be resumed from another directory."""
    data = config.task.data
    if data is None or not Path(data).exists():
        return config
    return replace(config, task=replace(config.task, data=str(Path(data).resolve())))
