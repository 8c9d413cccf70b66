"""Searches whose evaluations are made up: the real loop, strategy and record round any pool."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evaluators import ENGINE, made_up

from evo_nas import __version__
from evo_nas.config import resolved, to_dict
from evo_nas.config_tables import BudgetConfig, CompareConfig, SearchConfig, TaskConfig
from evo_nas.events import Event, Told
from evo_nas.interrupt import Interrupt
from evo_nas.loop import Budget, Clock, Loop
from evo_nas.order import Arrival, FixedLag
from evo_nas.record import create_run
from evo_nas.record.header import Header, now
from evo_nas.setting import load
from evo_nas.strategies import make_strategy
from workers.limits import Pool
from workers.messages import Progress, Request, Result


@dataclass
class FreePool:
    """Every request it was given is settled at the next poll, and costs nothing."""

    capacity: int
    requests: list[Request] = field(default_factory=list)
    workers: int = 1

    def free(self) -> int:
        """How many requests it would take now."""
        return self.capacity - len(self.requests)

    def busy(self) -> int:
        """Nobody is."""
        return 0

    def begun(self) -> frozenset[int]:
        """Nothing, for evaluations begin and end within `poll`."""
        return frozenset()

    def submit(self, request: Request) -> None:
        """Take a request."""
        self.requests.append(request)

    def poll(self, timeout: float) -> list[Result]:
        """A result for each of them."""
        settled, self.requests = self.requests, []
        return [made_up(request) for request in settled]

    def running(self) -> list[Progress]:
        """Nothing ever is."""
        return []

    def close(self) -> None:
        """Nothing to do."""


class Forgetful:
    """Records nothing: what the search would do without a record."""

    def append(self, events: Sequence[Event]) -> None:
        """Drop the events."""


@dataclass(frozen=True, slots=True)
class Searched:
    """What a search took.

    Attributes:
        told: Results, in order.
        seconds: Wall-clock seconds from the first request to the last result on disk.
    """

    told: list[Told]
    seconds: float


def config_of(folder: Path, births: int, lag: int = 0, seed: int = 0) -> SearchConfig:
    """A search on a small text in the folder; deterministic if there is a lag.

    Another seed meets other genomes, whose canonical forms no cache holds.
    """
    data = folder / "text.txt"
    if not data.exists():
        data.write_text("".join(f"{n} is {n * n} squared. " for n in range(400)))
    config = SearchConfig(
        task=TaskConfig(data=str(data)),
        budget=BudgetConfig(evaluations=births),
        compare=CompareConfig(seeds=0),
        seed=seed,
    )
    if lag:
        evolution = replace(config.evolution, deterministic=True, lag=lag)
        config = replace(config, evolution=evolution)
    return resolved(config)


def search(pool: Pool, config: SearchConfig, run: Path | None) -> Searched:
    """Search until the budget is spent, into a run directory or into nothing."""
    strategy = make_strategy(config)
    told: list[Told] = []
    record: Any = Forgetful() if run is None else create_run(run, header_of(config))
    loop = Loop(
        strategy=strategy,
        pool=pool,
        saver=record,
        order=FixedLag(config.evolution.lag, ENGINE.split(" ")[0], 3)
        if config.evolution.deterministic
        else Arrival(),
        training=config.training,
        budget=Budget(config.budget.evaluations),
        waiting=deque(),
        clock=Clock(),
        interrupt=Interrupt(),
        grace_seconds=0,
        on_told=told.extend,
    )
    started = time.perf_counter()
    loop.run()
    seconds = time.perf_counter() - started
    if run is not None:
        record.close()
    return Searched(told, seconds)


def header_of(config: SearchConfig) -> Header:
    """The header of a real run of this configuration, so that it can be resumed."""
    task = load(config)
    metric = task.metric
    return Header(
        config=to_dict(config),
        task=task.name,
        data_sha256=task.data_sha256,
        metric=metric.name,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        program=__version__,
        created=now(),
        engine=ENGINE.split(" ")[0],
    )
