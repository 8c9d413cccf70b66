"""The tables of a configuration: one frozen dataclass each, with every default and range.

The defaults of ``[training]`` stand in `workers.messages.Training`, which crosses to the workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from evo_nas.config_check import Range
from workers.labels import check as check_labels
from workers.messages import Training


@dataclass(frozen=True, slots=True)
class TaskConfig:
    """Table ``[task]``: what the cells are trained on.

    Attributes:
        kind: ``text``, ``classification``, ``forecasting``, ``music``, ``speech`` or
            ``package.module:factory``.
        data: What the task reads, usually a path; None for the task's own default.
        options: Every other key of the table, passed on to the task, which checks them.
    """

    kind: str = "text"
    data: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


StrategyName = Literal["random", "regularized", "non_ageing", "guided", "nsga2"]


@dataclass(frozen=True, slots=True)
class EvolutionConfig:
    """Table ``[evolution]``: how candidates are chosen (Real et al. 2019, Algorithm 1).

    Attributes:
        strategy: ``regularized`` evolution, ``guided`` by a learned predictor, ``nsga2`` towards a
            Pareto front, ``random`` search, or ``non_ageing`` evolution (a control).
        population: P, the individuals told last; see `population_for`.
        sample_size: S, drawn with replacement; the best of them is the parent.
        identity_rate: Probability of training the parent's cell again instead of a child.
        identity_limit: How often one digest is trained again at most.
        duplicate_draws: How often a child whose digest is known is drawn again.
        published: Whether the initial population holds the published cells.
        parameter_limit: Most recurrent parameters, in those of ``lstm`` at the hidden size.
        equal_parameters: Solve the hidden size for each candidate, so that all have about
            as many recurrent parameters as ``lstm`` at the configured hidden size.
        deterministic: Whether the history is a function of the seed alone, the same for any
            number of workers (`evo_nas.order.FixedLag`); else it is as things happen to end.
        lag: L of a deterministic history: each candidate knows of all results but those of the
            L - 1 births before it. At least the number of workers.
        proposals: Children of which, with the newcomers, the predictor of ``guided`` picks one.
        newcomers: Random genomes among them.
        unguided: Share of births that it leaves to tournament and mutation.
        optimism: Its promise is the predicted mean and so many standard deviations.
        warm_start: Directories of earlier runs that it learns from too.
        objectives: Of ``nsga2``, beside the metric; each is to be small.
    """

    strategy: StrategyName = "regularized"
    population: int = 50
    sample_size: int = 10
    identity_rate: float = 0.05
    identity_limit: int = 3
    duplicate_draws: int = 20
    published: bool = True
    parameter_limit: float = 1.5
    equal_parameters: bool = False
    deterministic: bool = False
    lag: int = 8
    proposals: int = 10
    newcomers: int = 20
    unguided: float = 0.1
    optimism: float = 1.5
    warm_start: tuple[str, ...] = ()
    objectives: tuple[Literal["parameters", "multiply_adds"], ...] = ("parameters",)


PRESETS: Mapping[str, Mapping[str, int]] = {"real2019": {"population": 100, "sample_size": 25}}
"""Values of ``evolution.preset``; keys written beside it win. Real et al. 2019: P 100, S 25."""


@dataclass(frozen=True, slots=True)
class RungsConfig:
    """Table ``[rungs]``: where trainings that do badly end early; see `evo_nas.rungs`.

    Attributes:
        fractions: Shares of the budget at which a training is measured, ascending; empty for
            none: every candidate is trained to the end.
        keep: Share of the candidates that passes a rung. Of those that came to the first rung,
            ``keep`` to the power of n passes the n-th.
        least: How many must have come to the first rung before anyone is stopped.

    Raises:
        ValueError: If the fractions do not ascend.
    """

    fractions: tuple[float, ...] = ()
    keep: float = 0.36
    least: int = 2

    def __post_init__(self) -> None:
        if list(self.fractions) != sorted(set(self.fractions)):
            raise ValueError(f"fractions is {list(self.fractions)}, but must ascend.")


@dataclass(frozen=True, slots=True)
class BudgetConfig:
    """Table ``[budget]``: when the search ends; whichever limit is met first, None for none.

    Attributes:
        evaluations: Evaluations of the whole run, failed ones included.
        hours: Wall-clock hours of the whole run, the comparison at its end included; pauses
            between its sessions do not count.
    """

    evaluations: int | None = None
    hours: float | None = None


@dataclass(frozen=True, slots=True)
class WorkersConfig:
    """Table ``[workers]``: where and how evaluations run; none of it changes their outcome.

    Attributes:
        workers: Number of workers; None for one per core or GPU share, 0 for in process. A cluster
            may be asked for more than fit now.
        address: Address of a Ray cluster, ``auto`` for the one this machine is part of;
            ``local`` starts a Ray of its own.
        workers_per_gpu: n workers share a GPU, each 1/n of it.
        cohort: How many candidates a worker takes at once; on a CPU it trains one after the other.
            The search asks for as many more before it knows what came of those before them, so it
            pays only where an evaluation takes some milliseconds.
        labels: What the labels of the machines of a cluster have to be, so that workers go there:
            ``{"ray.io/accelerator-type" = "L4"}``; see `workers.labels`.
        evaluation_seconds: Time limit of one evaluation; None for none.
        stall_seconds: A worker without a sign of life for so long is replaced.
        start_seconds: How long a worker may take to be ready, from when there is room for it.
        attempts: How often a request is tried whose worker dies or stalls, before that counts
            as its failure.
        machines: How many machines may go down under a request before that counts as its failure.
        idle_seconds: After so long without work a worker of a cluster is ended; it is made anew
            when there is work.
        grace_seconds: After an interrupt, how long running evaluations may still finish.
        dashboard: Whether Ray's dashboard is started.

    Raises:
        ValueError: If a label is none.
    """

    workers: int | None = None
    address: str = "local"
    workers_per_gpu: int = 1
    cohort: int = 1
    labels: dict[str, str] = field(default_factory=dict)
    evaluation_seconds: float | None = None
    stall_seconds: float = 300.0
    start_seconds: float = 300.0
    attempts: int = 3
    machines: int = 10
    idle_seconds: float = 60.0
    grace_seconds: float = 20.0
    dashboard: bool = False

    def __post_init__(self) -> None:
        check_labels(self.labels)


@dataclass(frozen=True, slots=True)
class CompareConfig:
    """Table ``[compare]``: how the best cells are compared with the baselines.

    The first three keys are of the quick comparison at the end of a search, ``top`` of both; the
    others are of ``evo-nas compare``, which takes longer and ends with a verdict.

    Attributes:
        baselines: Published cells trained under the same budget at equal parameters.
        seeds: Seeds per cell; 0 for no comparison at the end of a search.
        top: How many of the best cells take part.
        verdict_baselines: The baselines of ``evo-nas compare``.
        verdict_seeds: Its seeds per cell.
        learning_rates: Its grid, in learning rates of the run: each cell is trained with each, and
            then with the one that was best for it. Empty for the run's own alone. (On text, at 400
            steps, gru and lstm are best at 6 and 10 times the default of ``[training]``.)
        tuning_seeds: Seeds per learning rate of that grid.
    """

    baselines: tuple[str, ...] = ("gru", "lstm")
    seeds: int = 3
    top: int = 3
    verdict_baselines: tuple[str, ...] = ("gru", "gru_reset_after", "lstm")
    verdict_seeds: int = 5
    learning_rates: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0)
    tuning_seeds: int = 1


@dataclass(frozen=True, slots=True)
class RecordConfig:
    """Table ``[record]``: how the record is kept; none of it changes what it says.

    Attributes:
        checkpoint_segments: After so many segments they are rolled into one file.
    """

    checkpoint_segments: int = 256


@dataclass(frozen=True, slots=True)
class WatchingConfig:
    """Table ``[watching]``: who else is shown a search; none of it changes what the record says.

    Attributes:
        tensorboard: A folder for TensorBoard; the run's scalars go into a folder of its name
            there. None, or an empty text, for no scalars.
    """

    tensorboard: str | None = None


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """Everything a run is configured by.

    Attributes:
        space: Fields of ``genomes.space.SearchSpace`` that differ from its defaults.
        run: The run directory; None if it was not given.
        seed: Every random draw of the search derives from it.
    """

    task: TaskConfig = field(default_factory=TaskConfig)
    training: Training = field(default_factory=Training)
    space: dict[str, Any] = field(default_factory=dict)
    evolution: EvolutionConfig = field(default_factory=EvolutionConfig)
    rungs: RungsConfig = field(default_factory=RungsConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    workers: WorkersConfig = field(default_factory=WorkersConfig)
    compare: CompareConfig = field(default_factory=CompareConfig)
    record: RecordConfig = field(default_factory=RecordConfig)
    watching: WatchingConfig = field(default_factory=WatchingConfig)
    run: str | None = None
    seed: int = 0


TABLES: Mapping[str, type] = {
    "task": TaskConfig,
    "training": Training,
    "evolution": EvolutionConfig,
    "rungs": RungsConfig,
    "budget": BudgetConfig,
    "workers": WorkersConfig,
    "compare": CompareConfig,
    "record": RecordConfig,
    "watching": WatchingConfig,
}
TOP_LEVEL: Mapping[str, Any] = {"run": str | None, "seed": int}
_COUNT = Range(at_least=1)
_NATURAL = Range(at_least=0)
_POSITIVE = Range(above=0)
_FEW = Range(at_least=0, ceiling=10_000)
_SOME = Range(at_least=1, ceiling=10_000)
_SECONDS = Range(above=0, ceiling=1e9)

RANGES: Mapping[str, Range] = {
    "hidden_size": Range(at_least=1, ceiling=65_536),
    "num_layers": Range(at_least=1, ceiling=1_000),
    "dropout": Range(at_least=0, below=1),
    "input_dropout": Range(at_least=0, below=1),
    "recurrent_dropout": Range(at_least=0, below=1),
    "batch_size": Range(at_least=1, ceiling=1_000_000),
    "steps": Range(at_least=1, ceiling=10**12),
    "learning_rate": _POSITIVE,
    "clip_norm": _POSITIVE,
    "population": Range(at_least=2, ceiling=1_000_000),
    "sample_size": Range(at_least=1, ceiling=1_000_000),
    "identity_rate": Range(at_least=0, at_most=1),
    "identity_limit": _NATURAL,
    "duplicate_draws": _FEW,
    "lag": _SOME,
    "proposals": _SOME,
    "newcomers": _FEW,
    "unguided": Range(at_least=0, at_most=1),
    "optimism": _NATURAL,
    "parameter_limit": Range(above=0, ceiling=1e12),
    "fractions": Range(above=0, below=1),
    "keep": Range(above=0, at_most=1),
    "least": _COUNT,
    "evaluations": Range(at_least=1, ceiling=10**9),
    "hours": Range(above=0, ceiling=1e6),
    "workers": _FEW,
    "workers_per_gpu": _SOME,
    "cohort": _SOME,
    "evaluation_seconds": _SECONDS,
    "stall_seconds": _SECONDS,
    "start_seconds": _SECONDS,
    "attempts": _SOME,
    "machines": _SOME,
    "idle_seconds": _SECONDS,
    "grace_seconds": Range(at_least=0, ceiling=1e9),
    "seeds": _FEW,
    "top": _SOME,
    "verdict_seeds": _SOME,
    "learning_rates": _POSITIVE,
    "tuning_seeds": _SOME,
    "checkpoint_segments": _COUNT,
    "seed": _NATURAL,
}
"""By key: no two tables share one."""
