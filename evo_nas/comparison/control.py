"""The random search that every search is held against (Li and Talwalkar 2019).

It has the run's task, training, rules and number of evaluations, and starts from the same published
cells if the run did; what differs is that nothing is learned from results. It is an ordinary run:
``evo-nas status RUN/random`` and all other commands work on it.
"""

from __future__ import annotations

from dataclasses import replace

from evo_nas.births import Births, read_births
from evo_nas.comparison.folders import RANDOM
from evo_nas.comparison.terms import OWN
from evo_nas.config import differences, from_dict, to_dict
from evo_nas.config_tables import BudgetConfig, SearchConfig, WatchingConfig
from evo_nas.errors import SearchError
from evo_nas.interrupt import Interrupt
from evo_nas.past import COLUMNS
from evo_nas.record import (
    HEADER,
    Header,
    Record,
    RunPath,
    create_run,
    now,
    open_run,
    read_header,
    run_path,
)
from evo_nas.searching import search_in
from evo_nas.setting import refuse_other_engine
from evo_nas.streams import Stream, training_seed
from evo_nas.terminal import put_error, warn
from workers.limits import Pool

_TABLES = ("task", "training", "space", "rungs")
_KEYS = (
    "evolution.published",
    "evolution.parameter_limit",
    "evolution.equal_parameters",
    "evolution.duplicate_draws",
)
"""What another run has to agree in to serve: all that a random search reads but its seed."""


def searched_at_random(
    config: SearchConfig,
    directory: RunPath,
    header: Header,
    evaluations: int,
    pool: Pool,
    interrupt: Interrupt,
) -> None:
    """Begin, or go on with, the random search of a run until it has as many evaluations.

    Args:
        config: The run's, with the workers of now.
        directory: The run; its random search lies in ``random/``.
        header: The run's, with the engine that trains now.
        evaluations: Of the run.

    Raises:
        SearchError: If what lies there is not the run's random search.
    """
    folder = directory / RANDOM
    wanted = replace(
        config,
        seed=training_seed(config.seed, Stream.CONTROL, 0),
        run=str(folder),
        evolution=replace(config.evolution, strategy="random", warm_start=()),
        budget=BudgetConfig(evaluations=evaluations),
        compare=replace(config.compare, seeds=0),
        watching=WatchingConfig(),
    )
    put_error(f"random search of {evaluations} evaluations in {folder}")
    with _opened(wanted, folder, header) as record:
        warn(record.warnings)
        record.checkpoint_segments = config.record.checkpoint_segments
        _, note = search_in(wanted, record, pool, interrupt)
    if note:
        put_error(f"the random search ended early: {note}")


def _opened(wanted: SearchConfig, folder: RunPath, header: Header) -> Record:
    if not (folder / HEADER).exists():
        return create_run(folder, replace(header, config=to_dict(wanted), created=now()))
    there = read_header(folder)
    before = from_dict(there.config, str(folder / HEADER))
    found = differences(before, wanted)
    if found or there.data_sha256 != header.data_sha256:
        raise SearchError(
            f"{folder} is not the random search of this run:\n  "
            + "\n  ".join(found or ["other data"])
            + "\nMove it away, or give --no-random, or another one by --random DIR."
        )
    if wanted.evolution.deterministic:
        refuse_other_engine(folder, there, header.engine)
    return open_run(folder, COLUMNS)


def control_births(
    config: SearchConfig, directory: RunPath, header: Header, evaluations: int, control: str
) -> tuple[RunPath, Births]:
    """The births of the run's random search, or of another run that is to serve as one.

    Raises:
        SearchError: If that run is no random search, has another task, data, training, space or
            limits, or fewer evaluations.
        RecordError: If it cannot be read.
    """
    if control == OWN:
        folder = directory / RANDOM
        _, births, _ = read_births(folder)
        return folder, births
    folder = run_path(control)
    other, births, warnings = read_births(folder)
    warn(warnings)
    theirs = from_dict(other.config, str(folder / HEADER))
    found = [
        text.replace(" in the run, ", " there, ").replace(" now", " here")
        for text in differences(theirs, config)
        if text.split(".")[0] in _TABLES or text.split(":")[0] in _KEYS
    ]
    if theirs.evolution.strategy != "random":
        found.insert(0, f"evolution.strategy: {theirs.evolution.strategy!r} there, not 'random'")
    if other.data_sha256 != header.data_sha256:
        found.insert(
            0, f"data: SHA-256 {other.data_sha256[:16]} there, {header.data_sha256[:16]} here"
        )
    if births.evaluated < evaluations:
        found.append(
            f"evaluations: {births.evaluated} there, {evaluations} here (evo-nas resume {folder} "
            f"--evaluations {evaluations})"
        )
    if found:
        raise SearchError(
            f"{folder} cannot be the random search that {directory} is held against:\n  "
            + "\n  ".join(found)
            + "\nLeave --random out to have one made, or give --no-random."
        )
    return folder, births
