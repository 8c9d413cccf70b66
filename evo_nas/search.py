"""Begins and resumes runs: puts task, record, strategy and pool together around the loop."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evo_nas import __version__
from evo_nas.births import Births, read_births, refuse_comparison
from evo_nas.cluster.runs import refuse_vanishing
from evo_nas.comparison.reading import Comparison
from evo_nas.comparison.running import Stages, same_comparison
from evo_nas.comparison.terms import comparison_seconds, quick_terms
from evo_nas.config import differences, from_dict, resolved, to_dict, with_overrides
from evo_nas.config_tables import SearchConfig
from evo_nas.errors import SearchError
from evo_nas.interrupt import Interrupt
from evo_nas.loop import Reason
from evo_nas.past import COLUMNS
from evo_nas.record import (
    Header,
    Record,
    RunPath,
    create_run,
    now,
    open_run,
    read_header,
)
from evo_nas.record.paths import absolute
from evo_nas.searching import search_in
from evo_nas.sessions import last_config, merged, note_session
from evo_nas.setting import (
    load,
    load_same_data,
    pool_of,
    prepare_engine,
    refuse_other_engine,
)
from evo_nas.strangers import refuse_unsaid, refuse_unsaid_scalars
from evo_nas.strategies import make_strategy
from evo_nas.terminal import put_error, warn
from evo_nas.watching.session import logged_session, scalars_of, watch_of
from genomes.readable import readable

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

    directory: RunPath
    header: Header
    births: Births
    reason: Reason
    comparison: Comparison | None
    config: SearchConfig
    note: str


def start(config: SearchConfig) -> Outcome:
    """Begin a run in ``config.run`` and search until the budget is spent.

    Raises:
        SearchError: If there is no budget.
        ClusterError: If this is a job of a cluster, which the directory would not outlive.
        RecordError: If the directory holds a run already.
        workers.tasks.TaskError: If the data cannot be used.
    """
    if config.run is None:
        raise SearchError("no run directory was given. Add --run DIR.")
    directory = config.run
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        refuse_vanishing(directory)
    _require_budget(config)
    config = resolved(_with_absolute_data(config))
    make_strategy(config)  # refuses a search space or limits that cannot work, before any file
    for earlier in config.evolution.warm_start:
        read_header(earlier)  # refuses what is no run
    _refuse_unknown_names(config)
    _refuse_undetermined(config)
    engine = prepare_engine(config)
    task = load(config)
    # A text too short for the batches would otherwise fail every candidate, one by one.
    next(task.training_batches(config.training.batch_size, np.random.default_rng(config.seed)))
    describe = getattr(task, "describe", None)
    if describe is not None:
        put_error(readable(describe()))  # it may quote the data: the names of their columns
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
        return _session("search", config, record, task)


def resume(
    directory: str | RunPath, overrides: dict[str, Any], wanted: SearchConfig | None = None
) -> Outcome:
    """Go on with a run: replay its record, finish what was in flight, spend what is left.

    Args:
        directory: The run directory.
        overrides: Flags of budget, workers and comparison, and ``task``, which says that the run's
            own task may be imported; None values are not given.
        wanted: A configuration the user expects the run to have; differences are refused.

    Raises:
        SearchError: If task, data, search space, training, evolution or seed differ, or the run
            names code, a cluster or a folder elsewhere that the flags do not
            (`evo_nas.strangers`).
        RecordError: If the record is damaged or another process writes to it.
    """
    refuse_comparison(directory, read_header(directory))
    with open_run(directory, COLUMNS) as record:
        warn(record.warnings)
        config = last_config(directory, record.header)
        if wanted is not None:
            # The population was fixed by the budget the run began with, not by a raised one.
            begun = from_dict(record.header.config, f"{directory}/run.json")
            different = differences(config, resolved(_with_absolute_data(wanted), begun.budget))
            if different:
                raise SearchError(
                    f"{directory} was written with another configuration:\n  "
                    + "\n  ".join(different)
                    + "\nResume without the file, or give a new --run."
                )
            config = merged(config, wanted)
        said = {name: overrides.get(name) for name in ("task", "address")}
        config = with_overrides(config, **{k: v for k, v in overrides.items() if k != "task"})
        refuse_unsaid(config, str(directory), **said)
        scalars = scalars_of(config, directory, record.header)
        refuse_unsaid_scalars(
            config,
            f"the configuration of {directory}",
            overrides.get("tensorboard"),
            known=scalars is not None and scalars.is_dir() and not scalars.is_symlink(),
        )
        _require_budget(config)
        if config.compare.seeds:
            _refuse_unknown_names(config)
        _refuse_undetermined(config)
        record.checkpoint_segments = config.record.checkpoint_segments
        config = _with_absolute_data(config)
        engine = prepare_engine(
            config, record.reading.table["engine"].drop_null().unique().to_pylist()
        )
        if config.evolution.deterministic:
            refuse_other_engine(directory, record.header, engine)
        task = load_same_data(config, record.header)
        note_session(record.directory, config, record.held)
        return _session("resume", config, record, task)


def _session(command: str, config: SearchConfig, record: Record, task: Task) -> Outcome:
    directory, header = record.directory, record.header

    def kept(mean_seconds: float, workers: int) -> float:
        return comparison_seconds(config.compare, mean_seconds, workers)

    comparison = None
    with (
        Interrupt() as interrupt,
        logged_session(directory, command, config) as session,
        pool_of(config, task, session.warn) as pool,
    ):
        watch = watch_of(session, config, directory, header)
        for warning in record.warnings:
            watch.warning(warning)
        reason, note = search_in(config, record, pool, interrupt, kept, watch)
        _, births, _ = read_births(directory)
        if reason != "interrupted" and config.compare.seeds > 0:
            terms = quick_terms(config)
            comparison = same_comparison(directory, terms, births)
            if comparison is None:
                stages = Stages(config, directory, header, births, task, pool, interrupt)
                comparison = session.compare(terms.part, lambda: stages.run(terms))
            if interrupt.requested:
                reason = "interrupted"
        session.reason = reason
    return Outcome(directory, header, births, reason, comparison, config, note)


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


def _with_absolute_data(config: SearchConfig) -> SearchConfig:
    """Paths made absolute, so that a run can be resumed from another directory."""
    runs = tuple(absolute(run) for run in config.evolution.warm_start)
    config = replace(config, evolution=replace(config.evolution, warm_start=runs))
    if folder := config.watching.tensorboard:
        watching = replace(config.watching, tensorboard=absolute(folder))
        config = replace(config, watching=watching)
    data = config.task.data
    if data is None or not Path(data).exists():
        return config
    return replace(config, task=replace(config.task, data=str(Path(data).resolve())))
