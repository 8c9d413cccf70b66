"""What is compared and how: what makes two comparisons of a run the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evo_nas.config_tables import CompareConfig, SearchConfig
from workers.messages import Part

OWN = "own"
"""The random search that belongs to the run; anything else names another run."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Of one comparison.

    Attributes:
        part: Part of the data that gives the final metrics.
        baselines: Published cells.
        seeds: Final trainings of each cell.
        top: How many of the run's best cells take part.
        steps: Optimiser steps of each training.
        learning_rates: The grid of the tuning, in learning rates of the run; empty for no tuning.
        tuning_seeds: Trainings for each of them.
        control: `OWN`, or the run directory of a random search; None for none.
        left_out: Why there is none; empty where nobody would expect one.
    """

    part: Part
    baselines: tuple[str, ...]
    seeds: int
    top: int
    steps: int
    learning_rates: tuple[float, ...] = ()
    tuning_seeds: int = 0
    control: str | None = None
    left_out: str = ""


def quick_terms(config: SearchConfig) -> Terms:
    """At the end of a search: no tuning, no random search, few seeds."""
    compare = config.compare
    return Terms(
        part="validation",
        baselines=compare.baselines,
        seeds=compare.seeds,
        top=compare.top,
        steps=config.training.steps,
    )


def full_terms(
    config: SearchConfig, part: Part, control: str | None, steps: int | None, tune: bool = True
) -> Terms:
    """Of ``evo-nas compare``; ``steps`` None is the run's own budget."""
    compare = config.compare
    rates = compare.learning_rates if tune else ()
    return Terms(
        part=part,
        baselines=compare.verdict_baselines,
        seeds=compare.verdict_seeds,
        top=compare.top,
        steps=config.training.steps if steps is None else steps,
        learning_rates=rates,
        tuning_seeds=compare.tuning_seeds if rates else 0,
        control=control,
        left_out="it was left out (--no-random)" if control is None else "",
    )


def about_tuning(terms: Terms, evaluations: int) -> dict[str, Any]:
    """What the header of a tuning holds of its terms: all that decides its outcome.

    Args:
        evaluations: That the run had when its best cells were chosen.
    """
    return {
        "evaluations": evaluations,
        "baselines": list(terms.baselines),
        "top": terms.top,
        "steps": terms.steps,
        "sizes": "equal",
        "learning_rates": list(terms.learning_rates),
        "tuning_seeds": terms.tuning_seeds,
        "random": terms.control,
    }


def about(terms: Terms, evaluations: int) -> dict[str, Any]:
    """What the header of a comparison holds of its terms."""
    return about_tuning(terms, evaluations) | {"part": terms.part, "seeds": terms.seeds}


def comparison_seconds(config: CompareConfig, mean_seconds: float, workers: int) -> float:
    """How long the quick comparison will take, to keep that much of a time budget for it.

    Args:
        mean_seconds: Of an evaluation of the search.
        workers: How many trainings run at once.
    """
    trainings = config.seeds * (config.top + len(config.baselines))
    return -(-trainings // workers) * mean_seconds
