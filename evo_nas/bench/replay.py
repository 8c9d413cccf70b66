"""One strategy on a table, once: the same ask and tell as a search, results looked up."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

from evo_nas.bench.neighbours import Neighbours
from evo_nas.config import resolved, with_overrides
from evo_nas.config_tables import SearchConfig
from evo_nas.events import Asked, Told
from evo_nas.history import Exhausted, History
from evo_nas.strategies import make_strategy, rules_of
from evo_nas.strategies.regularized import tournament
from evo_nas.streams import Stream, generator

NO_LIMIT = 1e9
"""Parameters do not count: a table says itself how large its cells are."""


@dataclass(frozen=True, slots=True)
class Trace:
    """How a replay went.

    Attributes:
        strategy: Its name.
        seed: Of the replay.
        regret: After each evaluation, of the cell that had shown the best mean fitness by then.
        failed: Evaluations that failed.
        duplicates: Draws thrown away because their cell was known.
        seconds: Wall-clock time of the strategy.
    """

    strategy: str
    seed: int
    regret: tuple[float, ...]
    failed: int
    duplicates: int
    seconds: float


def replay(neighbours: Neighbours, config: SearchConfig) -> Trace:
    """Run the strategy of a configuration until its budget is spent or the table is exhausted.

    Selection sees one noisy run per evaluation; regret is counted on the mean of a cell's runs.
    """
    from deap import base

    table, evolution = neighbours.table, config.evolution
    started = time.perf_counter()
    history = History(rules_of(config), draw=neighbours.draw)
    toolbox = base.Toolbox()
    toolbox.register("select", tournament, sample_size=evolution.sample_size)
    toolbox.register("mutate", neighbours.mutate, identity_rate=evolution.identity_rate)
    strategy = make_strategy(config, history, toolbox)
    best: str | None = None
    regret: list[float] = []
    failed = 0
    assert config.budget.evaluations is not None, "the command line gives one"
    for birth in range(config.budget.evaluations):
        try:
            asked = strategy.ask()
        except Exhausted:
            break
        strategy.note(asked)
        fitness = table.look_up(asked.digest, generator(config.seed, Stream.TRAINING, birth))
        strategy.tell(_told(asked, fitness))
        failed += fitness is None
        if fitness is not None:
            best = _better(history, best, asked.digest)
        regret.append(table.regret(best))
    regret += regret[-1:] * (config.budget.evaluations - len(regret))
    seconds = time.perf_counter() - started
    return Trace(
        evolution.strategy, config.seed, tuple(regret), failed, history.duplicates, seconds
    )


def _better(history: History, best: str | None, digest: str) -> str:
    """The digest with the best mean so far; told again, the best may have become another."""
    if best is None or best == digest:
        return max(history.fitness, key=history.mean_fitness)
    return max(best, digest, key=history.mean_fitness)


def _told(asked: Asked, fitness: float | None) -> Told:
    return Told(
        birth=asked.birth,
        status="diverged" if fitness is None else "ok",
        metric=None if fitness is None else -fitness,
        fitness=fitness,
        message="" if fitness is not None else "the recorded run failed",
        curve=(),
        parameters=asked.recurrent_parameters,
        seconds=0.0,
        worker="table",
        engine="",
        finished=0.0,
    )


def configurations(
    config: SearchConfig, strategies: Iterable[str], seeds: int
) -> Iterator[SearchConfig]:
    """A configuration for each strategy and seed, all under the same rules."""
    for name in strategies:
        for seed in range(seeds):
            yield resolved(
                with_overrides(
                    config,
                    strategy=name,
                    seed=seed,
                    published=False,
                    parameter_limit=NO_LIMIT,
                )
            )


def replay_all(
    neighbours: Neighbours, configs: Iterable[SearchConfig], processes: int
) -> Iterator[Trace]:
    """Replay each configuration; the traces come in the same order."""
    if processes == 0:
        yield from map(partial(replay, neighbours), configs)
        return
    with ProcessPoolExecutor(
        processes, get_context("spawn"), initializer=_begin, initargs=(neighbours,)
    ) as pool:
        yield from pool.map(_replay, configs, chunksize=4)


_SHARED: list[Neighbours] = []
"""Of a process of the pool: the table is sent to it once, and its mutants are drawn once."""


def _begin(neighbours: Neighbours) -> None:
    _SHARED[:] = [neighbours]


def _replay(config: SearchConfig) -> Trace:
    return replay(_SHARED[0], config)
