"""What is trained in which order: a list of candidates that is known from the start.

Births go through the entrants again and again, at the final stage once with each seed, in the
tuning once with each learning rate and then with the next seed. So what is there of an interrupted
comparison is as even as it can be.
"""

from __future__ import annotations

from collections.abc import Sequence

from evo_nas.comparison.entrants import Entrant
from evo_nas.comparison.terms import Terms
from evo_nas.config_tables import SearchConfig
from evo_nas.events import Asked
from evo_nas.history import History
from evo_nas.strategies import Indifferent
from evo_nas.streams import Stream, training_seed


class Planned(Indifferent):
    """A strategy that asks for what is on its list, whatever comes of it."""

    def __init__(self, plan: Sequence[Asked], history: History) -> None:
        super().__init__(history)
        self._plan = plan

    def ask(self) -> Asked:
        """The next on the list."""
        return self._plan[self.history.births]


def final_plan(config: SearchConfig, terms: Terms, entrants: Sequence[Entrant]) -> list[Asked]:
    """Each entrant, at its learning rate, with each seed."""
    return [
        _asked(
            birth=index * len(entrants) + number,
            entrant=entrant,
            operator="comparison",
            seed=training_seed(config.seed, Stream.COMPARISON, index),
            steps=terms.steps,
            learning_rate=entrant.learning_rate,
        )
        for index in range(terms.seeds)
        for number, entrant in enumerate(entrants)
    ]


def tuning_plan(config: SearchConfig, terms: Terms, entrants: Sequence[Entrant]) -> list[Asked]:
    """Each entrant with each learning rate of the grid, once for each seed of the tuning."""
    rates = rates_of(config, terms)
    return [
        _asked(
            birth=(index * len(rates) + place) * len(entrants) + number,
            entrant=entrant,
            operator="tuning",
            seed=training_seed(config.seed, Stream.TUNING, index),
            steps=terms.steps,
            learning_rate=rate,
        )
        for index in range(terms.tuning_seeds)
        for place, rate in enumerate(rates)
        for number, entrant in enumerate(entrants)
    ]


def rates_of(config: SearchConfig, terms: Terms) -> list[float]:
    """The grid as learning rates."""
    return [factor * config.training.learning_rate for factor in terms.learning_rates]


def _asked(
    birth: int,
    entrant: Entrant,
    operator: str,
    seed: int,
    steps: int,
    learning_rate: float | None,
) -> Asked:
    # No hurdles, whatever the search did: whoever takes part is trained to the end.
    return Asked(
        birth=birth,
        parent=None,
        generation=0,
        mutation={
            "operator": operator,
            "cell": entrant.name,
            "search_metric": entrant.search_metric,
        },
        genome=entrant.genome,
        digest=entrant.digest,
        seed=seed,
        hidden_size=entrant.hidden_size,
        recurrent_parameters=entrant.recurrent_parameters,
        duplicates=0,
        budget=steps,
        learning_rate=learning_rate,
    )
