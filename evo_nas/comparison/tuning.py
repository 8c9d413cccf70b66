"""The learning rate of each cell, and with it who is judged against whom; all by validation.

Every cell gets the same grid and the same number of trainings, so nobody is tuned harder than
another. What these trainings measured also chooses, before any final seed is seen, the run's cell
that the verdict is on and the baseline that it has to beat: each the best of its kind at its best
learning rate, on seeds that the search did not know.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace

from evo_nas.comparison.entrants import BASELINE, SEARCH, Entrant, Field, Trial
from evo_nas.comparison.plans import rates_of
from evo_nas.comparison.terms import Terms
from evo_nas.config_tables import SearchConfig
from evo_nas.events import Told


def chosen(
    config: SearchConfig,
    terms: Terms,
    field: Field,
    told: Sequence[Told],
    higher_is_better: bool,
) -> Field:
    """The field with its learning rates, and with who is judged and against whom.

    A cell that failed at every rate keeps the run's own, and is never chosen if another was better.

    Args:
        told: All results of the tuning (`evo_nas.comparison.plans.tuning_plan`).
    """
    rates, count = rates_of(config, terms), len(field.entrants)
    of_rate: dict[tuple[int, int], list[Told]] = {}
    for event in sorted(told, key=lambda event: event.birth):
        number, place = event.birth % count, event.birth // count % len(rates)
        of_rate.setdefault((number, place), []).append(event)
    entrants = []
    for number, entrant in enumerate(field.entrants):
        trials = tuple(
            _trial(rate, of_rate.get((number, place), [])) for place, rate in enumerate(rates)
        )
        leader = min(trials, key=lambda trial: _order(trial, higher_is_better))
        rate = leader.learning_rate if leader.metrics else config.training.learning_rate
        entrants.append(replace(entrant, learning_rate=rate, tuned=trials))
    return replace(
        field,
        entrants=tuple(entrants),
        judged=_first(entrants, SEARCH, higher_is_better) or 0,
        rival=_first(entrants, BASELINE, higher_is_better),
    )


def _trial(rate: float, told: Sequence[Told]) -> Trial:
    metrics = tuple(event.metric for event in told if event.metric is not None)
    return Trial(rate, metrics, failed=len(told) - len(metrics))


def _first(entrants: Sequence[Entrant], role: str, higher_is_better: bool) -> int | None:
    """The number of the best of a kind; None if there is none."""
    found = [
        (min(_order(trial, higher_is_better) for trial in entrant.tuned), number)
        for number, entrant in enumerate(entrants)
        if role in entrant.roles
    ]
    return min(found)[1] if found else None


def _order(trial: Trial, higher_is_better: bool) -> tuple[float, float]:
    """Sorts the best first: who never failed, then who failed least, then by the mean."""
    if not trial.metrics:
        return (math.inf, math.inf)
    mean = statistics.fmean(trial.metrics)
    return (trial.failed, -mean if higher_is_better else mean)
