"""What a configuration stands for: its task with the data, its engine, its pool of workers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from evo_nas.config_tables import SearchConfig
from evo_nas.errors import SearchError
from evo_nas.interrupt import ctrl_c_held_back
from evo_nas.record import Header, RunPath
from evo_nas.terminal import warn
from workers.limits import Limits, Pool

if TYPE_CHECKING:
    from workers.tasks.base import Task


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
def pool_of(config: SearchConfig, task: Task, warn: Callable[[str], None]) -> Iterator[Pool]:
    """The pool a configuration asks for, closed at the end whatever happens.

    Args:
        config: The configuration.
        task: What workers train for.
        warn: Takes what the user should know of the workers, as it happens.
    """
    from workers.open_pool import open_pool

    workers, evolution = config.workers, config.evolution
    pool = open_pool(
        workers.workers,
        task,
        Limits(
            workers.evaluation_seconds,
            workers.stall_seconds,
            workers.attempts,
            workers.start_seconds,
            machines=workers.machines,
            idle_seconds=workers.idle_seconds,
        ),
        address=workers.address,
        workers_per_gpu=workers.workers_per_gpu,
        dashboard=workers.dashboard,
        at_most=evolution.lag if evolution.deterministic else None,
        labels=workers.labels,
        cohort=workers.cohort,
        say=warn,
    )
    try:
        yield pool
    finally:
        pool.close()


def prepare_engine(config: SearchConfig, before: Iterable[str] = ()) -> str:
    """Refuse an engine that is not there, and say in one line what the user should know of the
    one that is: that it is the slow one, or not one of those that trained ``before``.

    A library that is yet to be built is built here, once and not by each worker.

    Returns:
        The engine with its variant, as results name it: ``native/avx512``.

    Raises:
        SearchError: If there is no such engine, or it cannot run here.
    """
    with ctrl_c_held_back():
        from workers.engine import check_engine, engine_here, engine_label, why_slow
        from workers.engine.native.library import NativeUnavailable

    try:
        engine = check_engine(config.training.engine)
        here = engine_here(engine)
        label = engine_label(here)
    except (ValueError, NativeUnavailable) as error:
        raise SearchError(str(error)) from error
    if reason := why_slow(engine):
        warn([f"candidates train more slowly, with torch: {reason}"])
    # "native/avx512 fused" is the engine native.
    others = {re.split("[/ ]", engine)[0] for engine in before} - {"", here}
    if others:
        warn(
            [
                f"engine {', '.join(sorted(others))} ran before, here it is {here}: trainings "
                "of one seed differ between engines as much as between seeds."
            ]
        )
    return label


def refuse_other_engine(directory: str | RunPath, header: Header, label: str) -> None:
    """A deterministic run goes on with the engine and variant it began with, or not at all.

    Raises:
        SearchError: If ``label`` is another.
    """
    if header.engine != label:
        raise SearchError(
            f"{directory} is deterministic and was trained by {header.engine}, but here it would "
            f"be {label}: their last bits differ. Resume it on a machine where evo-nas doctor "
            f"shows {header.engine}."
        )
