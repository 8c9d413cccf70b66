"""What can drive the pool: strategies behind one ask/tell, one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from evo_nas.config_tables import SearchConfig
from evo_nas.errors import SearchError
from evo_nas.events import Asked, Told
from evo_nas.history import History, Rules
from evo_nas.past import Past
from evo_nas.rungs import rung_steps
from genomes.space import SearchSpace

if TYPE_CHECKING:
    from deap.base import Toolbox

    from evo_nas.predictor import Earlier


class Strategy(Protocol):
    """Decides what to evaluate next; knows no Ray, clock or file.

    Attributes:
        history: What was asked and told.
        memory: How many of the last individuals with a fitness it wants to be given by `restore`.
        failures: How many of the last that failed.

    ``ask`` is a deterministic function of the seed, the birth and what was told so far.
    """

    history: History
    memory: int
    failures: int

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
        self.memory = self.failures = 0

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
    """The rules a configuration sets for its candidates.

    Raises:
        SearchError: If its rungs do not fit its budget of steps.
    """
    rung_steps(config.rungs.fractions, config.training.steps)
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
        rungs=config.rungs,
    )


def make_strategy(
    config: SearchConfig,
    history: History | None = None,
    toolbox: Toolbox | None = None,
    earlier: Earlier = (),
) -> Strategy:
    """The strategy a configuration names, with nothing told yet.

    Args:
        config: Its table ``[evolution]`` names the strategy.
        history: Another than that of the configuration's rules.
        toolbox: Another select and mutate than the configuration's, for those that have them.
        earlier: What other runs found, for ``guided``.

    Raises:
        SearchError: If the configuration's tables do not go together.
    """
    from evo_nas.strategies.guided import GuidedEvolution
    from evo_nas.strategies.multi_objective import MultiObjectiveEvolution
    from evo_nas.strategies.non_ageing import NonAgeingEvolution
    from evo_nas.strategies.random_search import RandomSearch
    from evo_nas.strategies.regularized import RegularizedEvolution

    name = config.evolution.strategy
    if config.evolution.warm_start and name != "guided":
        raise SearchError(
            f"evolution.warm_start is of use to strategy 'guided' alone, not to {name!r}. "
            "Leave it out, or add --strategy guided."
        )
    if name == "nsga2" and config.rungs.fractions:
        raise SearchError(
            "strategy 'nsga2' weighs metrics against costs, and metrics at different rungs cannot "
            "be weighed. Leave out rungs.fractions (--rungs), or choose another strategy."
        )
    if name == "nsga2" and not config.evolution.objectives:
        raise SearchError(
            "strategy 'nsga2' has nothing to weigh the metric against: evolution.objectives is "
            'empty. Name "parameters", "multiply_adds" or both, or choose another strategy.'
        )
    if name == "nsga2" and len({*config.evolution.objectives}) < len(config.evolution.objectives):
        raise SearchError(
            f"evolution.objectives is {list(config.evolution.objectives)}: strategy 'nsga2' weighs "
            "each once. Name none twice."
        )
    history = history or History(rules_of(config))
    if name == "random":
        return RandomSearch(config, history)
    if name == "guided":
        return GuidedEvolution(config, history, toolbox, earlier)
    made = {
        "regularized": RegularizedEvolution,
        "non_ageing": NonAgeingEvolution,
        "nsga2": MultiObjectiveEvolution,
    }
    return made[name](config, history, toolbox)
