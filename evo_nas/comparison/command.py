"""``evo-nas compare``: the full comparison of a run, with its verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from evo_nas.births import Births, read_births
from evo_nas.comparison.folders import times_opened
from evo_nas.comparison.reading import Comparison
from evo_nas.comparison.running import Stages, same_comparison, unfinished
from evo_nas.comparison.terms import OWN, Terms, full_terms
from evo_nas.config import with_overrides
from evo_nas.config_tables import SearchConfig
from evo_nas.errors import SearchError
from evo_nas.interrupt import Interrupt
from evo_nas.lineage import best_finished
from evo_nas.record import RunPath
from evo_nas.record.outside import refuse_links
from evo_nas.record.storage import patient
from evo_nas.sessions import last_config
from evo_nas.setting import load_same_data, pool_of, prepare_engine
from evo_nas.strangers import refuse_unsaid
from evo_nas.terminal import put_error, warn
from evo_nas.watching.session import logged_session
from workers.messages import Part


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may ask of a comparison beside the configuration.

    Attributes:
        part: Part of the data that gives the final metrics.
        steps: Optimiser steps of each training; None for the run's.
        control: A run directory whose random search serves; None for one of the run's own.
        with_control: Whether a random search takes part.
        tune: Whether each cell gets a learning rate of its own.
    """

    part: Part = "validation"
    steps: int | None = None
    control: RunPath | None = None
    with_control: bool = True
    tune: bool = True


def compare_run(
    directory: RunPath, overrides: dict[str, Any], options: Options
) -> tuple[Comparison | None, bool]:
    """Compare the best cells of a run with the baselines and with random search.

    The same comparison is not made twice: if it is recorded, that is what comes back.

    Returns:
        The comparison (None if it did not come to the final trainings), and whether the user
        stopped it.

    Raises:
        SearchError: If the run holds no finished evaluation, the data differ, a baseline is not
            known, the random search does not fit the run, or the run names code or a cluster that
            ``overrides`` do not (`evo_nas.strangers`).
    """
    header, births, warnings = read_births(directory)
    said = {name: overrides.get(name) for name in ("task", "address")}
    flags = {name: value for name, value in overrides.items() if name != "task"}
    config = with_overrides(last_config(directory, header), **flags)
    warn(warnings)
    if not best_finished(births, 1):
        raise SearchError(f"{directory} holds no finished evaluation to compare.")
    control = None
    if options.with_control:
        control = OWN if options.control is None else str(options.control.resolve())
    terms = full_terms(config, options.part, control, options.steps, options.tune)
    _refuse_unknown_baselines(terms)
    _warn_if_opened(directory, terms, births)
    if (found := same_comparison(directory, terms, births)) is not None:
        put_error(f"this comparison is recorded in {found.directory}")
        return found, False
    refuse_unsaid(config, str(directory), **said)
    refuse_links(directory)
    # A new comparison may be trained by another engine than the search; its rows are by one.
    now_trained_by = replace(header, engine=prepare_engine(config, births.engines))
    task = load_same_data(config, header)
    put_error(_announcement(config, terms, births))
    with (
        Interrupt() as interrupt,
        logged_session(directory, "compare", config) as session,
        pool_of(config, task, session.warn) as pool,
    ):
        stages = Stages(config, patient(directory), now_trained_by, births, task, pool, interrupt)
        comparison = session.compare(terms.part, lambda: stages.run(terms))
        session.reason = "interrupted" if interrupt.requested else "finished"
        return comparison, interrupt.requested


def _refuse_unknown_baselines(terms: Terms) -> None:
    from genomes.published import published

    try:
        for name in terms.baselines:
            published(name)
    except ValueError as error:
        raise SearchError(str(error)) from error


def _warn_if_opened(directory: RunPath, terms: Terms, births: Births) -> None:
    """The test part is opened once; going on with what opened it is no second time."""
    if terms.part != "test":
        return
    opened = times_opened(directory, "test")
    going_on = (
        unfinished(directory, terms, births) is not None
        and same_comparison(directory, terms, births) is None
    )
    if opened > going_on:
        warn(
            [
                f"the test part of this run was opened before ({opened - going_on}x). A cell "
                "chosen after looking at it is no longer an honest result."
            ]
        )


def _announcement(config: SearchConfig, terms: Terms, births: Births) -> str:
    """How many trainings there will be at most."""
    cells = terms.top + len(terms.baselines) + (terms.control is not None)
    parts = []
    if terms.control == OWN and config.evolution.strategy != "random":
        parts.append(f"a random search of {births.evaluated} evaluations")
    if terms.learning_rates:
        tunings = cells * len(terms.learning_rates) * terms.tuning_seeds
        parts.append(f"{tunings} trainings to tune the learning rates")
    parts.append(f"{cells * terms.seeds} final trainings on the {terms.part} part")
    return f"comparison: up to {', '.join(parts)}, each of {terms.steps} steps"
