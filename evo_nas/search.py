"""Begins and resumes runs: puts task, record, strategy and pool together around the loop."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evo_nas import __version__
from evo_nas.births import Births, read_births
from evo_nas.compare import (
    Comparison,
    comparison_seconds,
    same_comparison,
    times_opened,
)
from evo_nas.comparing import run_comparison
from evo_nas.config import differences, from_dict, resolved, to_dict, with_overrides
from evo_nas.config_tables import SearchConfig
from evo_nas.errors import SearchError
from evo_nas.events import Told
from evo_nas.interrupt import Interrupt
from evo_nas.loop import Budget, Clock, Loop, Reason
from evo_nas.order import order_of
from evo_nas.past import COLUMNS, past_of
from evo_nas.progress import ProgressLine
from evo_nas.record import (
    Header,
    Record,
    create_run,
    now,
    open_run,
)
from evo_nas.sessions import last_config, merged, note_session
from evo_nas.setting import (
    load,
    load_same_data,
    pool_of,
    prepare_engine,
    refuse_other_engine,
)
from evo_nas.strategies import make_strategy
from workers.messages import Part

if TYPE_CHECKING:
    from workers.tasks.base import Task


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a session of a run ended.

    Attributes:
        directory: The run directory.
        header: Its header.
        births: Everything recorded.
        reason: Why the session ended.
        comparison: The comparison at its end, None if there was none.
        config: What the session was told to do.
        note: What the user should know of the reason; may be empty.
    """

    directory: Path
    header: Header
    births: Births
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
    _refuse_undetermined(config)
    engine = prepare_engine(config)
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
        engine=engine,
    )
    with create_run(directory, header, config.record.checkpoint_segments) as record:
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
    with open_run(directory, COLUMNS) as record:
        for warning in record.warnings:
            print(f"warning: {warning}", file=sys.stderr)
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
        _refuse_undetermined(config)
        record.checkpoint_segments = config.record.checkpoint_segments
        config = _with_absolute_data(config)
        engine = prepare_engine(
            config, record.reading.table["engine"].drop_null().unique().to_pylist()
        )
        if config.evolution.deterministic:
            refuse_other_engine(directory, record.header, engine)
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
    header, births, warnings = read_births(directory)
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
    # A new comparison may be trained by another engine than the search; its rows are by one.
    about = replace(header, engine=prepare_engine(config, births.engines))
    task = load_same_data(config, header)
    with Interrupt() as interrupt, pool_of(config, task) as pool:
        result = run_comparison(config, Path(directory), about, births, task, pool, interrupt, part)
        return result, interrupt.requested


def _session(config: SearchConfig, record: Record, task: Task) -> Outcome:
    directory, header = record.directory, record.header
    strategy = make_strategy(config)
    # What a raised budget would have asked for among the last results is found by replaying them.
    later = config.evolution.lag if config.evolution.deterministic else 0
    past, rest = past_of(directory, header, record.reading, strategy.memory, later)
    strategy.restore(past)
    totals = past.totals
    for event in rest:
        if isinstance(event, Told):
            totals.add(event)
    clock = Clock(before=totals.elapsed)
    budget = Budget(config.budget.evaluations, _seconds(config))
    line = ProgressLine(strategy, budget, clock, header.unit, header.higher_is_better, totals)
    comparison = None
    with Interrupt() as interrupt, pool_of(config, task) as pool:

        def asking_budget() -> Budget:
            """The budget less what the comparison and the evaluations in flight will take."""
            if budget.seconds is None:
                return budget
            kept = comparison_seconds(config.compare, totals.mean_seconds, pool.capacity)
            return replace(budget, seconds=budget.seconds - kept - totals.mean_seconds)

        def on_told(events: Sequence[Told]) -> None:
            line.told(events)
            loop.budget = asking_budget()

        loop = Loop(
            strategy=strategy,
            pool=pool,
            saver=record,
            order=order_of(config, header.engine),
            training=config.training,
            budget=asking_budget(),
            waiting=deque(past.waiting),
            clock=clock,
            interrupt=interrupt,
            grace_seconds=config.workers.grace_seconds,
            on_told=on_told,
            on_tick=line.show,
        )
        loop.catch_up(rest)
        in_flight = len(loop.waiting) - len(loop.unsaved)
        if totals.told or in_flight:
            print(
                f"resuming {directory}: {totals.told} evaluations recorded, "
                f"{in_flight} in flight will be run again",
                file=sys.stderr,
            )
        clock.restart()
        reason = loop.run()
        line.end()
        _, births, _ = read_births(directory)
        if reason != "interrupted" and config.compare.seeds > 0:
            comparison = same_comparison(config, directory, births) or run_comparison(
                config, directory, header, births, task, pool, interrupt
            )
            if interrupt.requested:
                reason = "interrupted"
    return Outcome(directory, header, births, reason, comparison, config, loop.note)


def _seconds(config: SearchConfig) -> float | None:
    return None if config.budget.hours is None else 3600 * config.budget.hours


def _require_budget(config: SearchConfig) -> None:
    if config.budget.evaluations is None and config.budget.hours is None:
        raise SearchError("the search has no end. Add --evaluations N or --hours H.")


def _refuse_undetermined(config: SearchConfig) -> None:
    """A deterministic run depends on no clock, and never has a worker too many.

    Raises:
        SearchError: If it has a budget in hours, or more workers than its lag.
    """
    if not config.evolution.deterministic:
        return
    if config.budget.hours is not None:
        raise SearchError(
            "a deterministic run has no budget in hours: how far it gets would depend on the "
            "machine. Give --evaluations instead."
        )
    workers, lag = config.workers.workers, config.evolution.lag
    if workers is not None and workers > lag:
        raise SearchError(
            f"{workers} workers are more than evolution.lag = {lag}: the others would never have "
            f"work. Use at most {lag} workers; a new run can have a larger lag (--lag {workers}), "
            "which is part of its history."
        )


def _refuse_unknown_names(config: SearchConfig) -> None:
    """Baselines are needed late in a search; a typo is told before it begins."""
    from genomes.published import published

    try:
        for name in config.compare.baselines:
            published(name)
    except ValueError as error:
        raise SearchError(str(error)) from error


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
