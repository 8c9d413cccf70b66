"""Random search: the control every other strategy has to beat (Li and Talwalkar 2019)."""

from __future__ import annotations

from evo_nas.config_tables import SearchConfig
from evo_nas.events import Asked
from evo_nas.history import History
from evo_nas.initial import initial_proposals, propose_initial
from evo_nas.strategies import Indifferent


class RandomSearch(Indifferent):
    """Every candidate is drawn from the search space, under the same rules as evolution's.

    With ``evolution.published`` it starts from the same published cells as evolution does.
    """

    def __init__(self, config: SearchConfig, history: History) -> None:
        super().__init__(history)
        self._initial = initial_proposals(config, history.rules)

    def ask(self) -> Asked:
        """A random genome that is new."""
        return self.history.candidate(propose_initial(self.history, self._initial))
