"""What can drive the pool: strategies behind one ask/tell, one file each."""

from __future__ import annotations

from typing import Protocol

from evo_nas.config_tables import SearchConfig
from evo_nas.events import Asked, Told
from evo_nas.history import History, Rules
from evo_nas.past import Past
from genomes.space import SearchSpace


class Strategy(Protocol):
    """Decides what to evaluate next; knows no Ray, clock or file.

    Attributes:
        history: What was asked and told.
        memory: How many of the last individuals with a fitness it wants to be given by `restore`.

    ``ask`` is a deterministic function of the seed, the birth and what was told so far.
    """

    history: History
    memory: int

    def ask(self) -> Asked:
        """The next candidate; call ``note`` with it before asking again."""
        ...

    def note(self, event: Asked) -> None:
        """Take note of a candidate that was asked for (or is replayed from a record)."""
        ...

    def restore(self, past: Past) -> None:
        """Know what a record says, as if all of it had been noted and told one by one."""
        ...

    def tell(self, event: Told) -> None:
        """Learn how a candidate did."""
        ...


class Indifferent:
    """What a strategy does that learns nothing from results: it only remembers them."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.memory = 0

    def note(self, event: Asked) -> None:
        """See ``Strategy``."""
        self.history.note_asked(event)

    def restore(self, past: Past) -> None:
        """See ``Strategy``."""
        self.history.restore(past)

    def tell(self, event: Told) -> None:
        """See ``Strategy``."""
        self.history.note_told(event)


def rules_of(config: SearchConfig) -> Rules:
    """The rules a configuration sets for its candidates."""
    return Rules(
        space=SearchSpace.from_dict(config.space),
        seed=config.seed,
        hidden_size=config.training.hidden_size,
        num_layers=config.training.num_layers,
        steps=config.training.steps,
        parameter_limit=config.evolution.parameter_limit,
        equal_parameters=config.evolution.equal_parameters,
        identity_limit=config.evolution.identity_limit,
        duplicate_draws=config.evolution.duplicate_draws,
    )


def make_strategy(config: SearchConfig) -> Strategy:
    """The strategy a configuration names, with nothing told yet."""
    from evo_nas.evolution import RegularizedEvolution
    from evo_nas.strategies.random_search import RandomSearch

    history = History(rules_of(config))
    if config.evolution.strategy == "random":
        return RandomSearch(config, history)
    return RegularizedEvolution(config, history)
