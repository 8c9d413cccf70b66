"""Who takes part: the best cells of the run and of a random search, baselines; all at one size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from evo_nas.births import Births
from evo_nas.comparison.terms import Terms
from evo_nas.config_tables import SearchConfig
from evo_nas.errors import SearchError
from evo_nas.lineage import Entry, best_finished
from evo_nas.record import Header, RunPath
from genomes.canonical import canonical
from genomes.cost import recurrent_parameters
from genomes.genome import Genome
from genomes.published import published

if TYPE_CHECKING:
    from workers.tasks.base import Metric, Task

SEARCH, BASELINE, CONTROL = "search", "baseline", "random"
"""What a cell takes part as; one cell may be several of them."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a cell with one learning rate of the tuning.

    Attributes:
        learning_rate: Peak learning rate.
        metrics: On the validation part, of the seeds that did not fail.
        failed: Seeds that did.
    """

    learning_rate: float
    metrics: tuple[float, ...]
    failed: int


@dataclass(frozen=True, slots=True)
class Entrant:
    """A row to be: a cell at the size, and in the end with the learning rate, it is trained at.

    Attributes:
        name: ``birth 17``, the baseline's name, ``random search``; ``gru (birth 3)`` for a cell
            that is two of them.
        roles: Of `SEARCH`, `BASELINE` and `CONTROL`.
        genome: As JSON.
        digest: Of its canonical form.
        hidden_size: Width whose whole model comes nearest to the parameters of the run's best.
        recurrent_parameters: Of its recurrent layers at that width.
        search_metric: Mean of what a search had measured of it; None if none did.
        learning_rate: Peak learning rate; None for the run's.
        tuned: What the tuning found, in the order of the grid; empty without one.
    """

    name: str
    roles: tuple[str, ...]
    genome: str
    digest: str
    hidden_size: int
    recurrent_parameters: int
    search_metric: float | None
    learning_rate: float | None = None
    tuned: tuple[Trial, ...] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """Everybody who takes part, and what was chosen before the final trainings.

    Attributes:
        entrants: In the order of training: the run's best first.
        target: Parameters of the whole model that all are to have: those of the run's best.
        judged: Number of the run's cell that the verdict is on.
        rival: Number of the baseline that it is judged against; None if none was chosen.
        control: What is known of the random search: ``run``, ``evaluations``, ``birth`` and
            ``mutation`` of its best; or ``left_out``, why there is none.
    """

    entrants: tuple[Entrant, ...]
    target: int
    judged: int
    rival: int | None
    control: Mapping[str, Any]

    def plain(self) -> dict[str, Any]:
        """As a header holds it."""
        return asdict(self) | {"control": dict(self.control)}


def mean_metric(entry: Entry, direction: Header | Metric) -> float:
    """The mean metric over all evaluations of a finished cell's digest."""
    assert entry.fitness is not None, "only finished cells are ranked"
    return metric_of(entry.fitness, direction)


def metric_of(fitness: float, direction: Header | Metric) -> float:
    """The metric that a fitness was made from."""
    return fitness if direction.higher_is_better else -fitness


def field_of(
    config: SearchConfig,
    terms: Terms,
    births: Births,
    task: Task,
    control: tuple[RunPath, Births] | None = None,
    left_out: str = "",
) -> Field | None:
    """Everybody, all at the parameters of the run's best cell.

    Args:
        control: Directory and births of a random search.
        left_out: Why there is none.

    Returns:
        None if the run holds no finished evaluation.

    Raises:
        SearchError: If a cell has no size of so many parameters.
    """
    leaders = best_finished(births, terms.top)
    if not leaders:
        return None
    target = leaders[0].parameters
    found = [
        _unsized(
            _name_of(entry), SEARCH, entry.genome, entry.digest, mean_metric(entry, task.metric)
        )
        for entry in leaders
    ]
    for name in terms.baselines:
        cell = published(name)
        fitness = births.mean_fitness(cell.digest)
        measured = None if fitness is None else metric_of(fitness, task.metric)
        _join(found, _unsized(name, BASELINE, cell.to_json(), cell.digest, measured))
    known: dict[str, Any] = {"left_out": left_out}
    if control is not None:
        directory, others = control
        known = {"run": str(directory), "evaluations": others.evaluated}
        for entry in best_finished(others, 1):
            measured = mean_metric(entry, task.metric)
            _join(found, _unsized("random search", CONTROL, entry.genome, entry.digest, measured))
            known |= {"birth": entry.birth, "mutation": entry.mutation}
        if "birth" not in known:
            known["left_out"] = f"none of its {others.evaluated} evaluations finished well"
    # The one that sets the target keeps its size, whatever else comes as near to it.
    first = _sized(config, found[0], leaders[0].hidden_size)
    entrants = (first, *(_at_target(config, entrant, task, target) for entrant in found[1:]))
    return Field(entrants, target, judged=0, rival=None, control=known)


def _name_of(entry: Entry) -> str:
    name = f" ({entry.mutation['name']})" if entry.operator == "published" else ""
    return f"birth {entry.birth}{name}"


def _unsized(name: str, role: str, genome: str, digest: str, measured: float | None) -> Entrant:
    return Entrant(name, (role,), genome, digest, 0, 0, measured)


def _join(found: list[Entrant], entrant: Entrant) -> None:
    """Add one more, or give its role and name to the one that is the same cell."""
    for k, other in enumerate(found):
        if other.digest == entrant.digest:  # one training serves both
            if BASELINE in entrant.roles:
                name = f"{entrant.name} ({other.name.split(' (')[0]})"
            else:
                name = f"{other.name} ({entrant.name})"
            found[k] = replace(other, name=name, roles=(*other.roles, *entrant.roles))
            return
    found.append(entrant)


def _at_target(config: SearchConfig, entrant: Entrant, task: Task, target: int) -> Entrant:
    from workers.model import hidden_size_for_model

    genome = Genome.from_json(entrant.genome)
    try:
        hidden = hidden_size_for_model(genome, task, config.training, target)
    except ValueError as error:
        raise SearchError(
            f"{entrant.name} cannot be compared at equal parameters: {error} "
            "Leave it out ([compare] top, baselines, verdict_baselines)."
        ) from error
    return _sized(config, entrant, hidden)


def _sized(config: SearchConfig, entrant: Entrant, hidden: int) -> Entrant:
    cell = canonical(Genome.from_json(entrant.genome))
    numbers = recurrent_parameters(cell, hidden, config.training.num_layers)
    return replace(entrant, hidden_size=hidden, recurrent_parameters=numbers)
