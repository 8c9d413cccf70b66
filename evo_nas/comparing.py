"""Trains the rows of a comparison: a search whose candidates are known from the start.

It goes through the same loop and record as a search. So it is recorded as it goes, goes on where
it was killed, and is deterministic if its run is.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evo_nas.births import Births
from evo_nas.compare import (
    Comparison,
    Entrant,
    about,
    entrants,
    last_folder,
    next_folder,
    read_comparison,
)
from evo_nas.config_tables import SearchConfig
from evo_nas.events import Asked, Told
from evo_nas.history import History
from evo_nas.interrupt import Interrupt
from evo_nas.loop import Budget, Clock, Loop
from evo_nas.order import order_of
from evo_nas.past import COLUMNS, past_of
from evo_nas.record import Header, Record, create_run, now, open_run
from evo_nas.strategies import Indifferent, rules_of
from evo_nas.streams import Stream, training_seed
from genomes.canonical import canonical
from genomes.cost import recurrent_parameters
from workers.limits import Pool
from workers.messages import Part

if TYPE_CHECKING:
    from workers.tasks.base import Task


class Planned(Indifferent):
    """A strategy that asks for what is on its list, whatever comes of it."""

    def __init__(self, plan: Sequence[Asked], history: History) -> None:
        super().__init__(history)
        self._plan = plan

    def ask(self) -> Asked:
        """The next on the list."""
        return self._plan[self.history.births]


def run_comparison(
    config: SearchConfig,
    directory: Path,
    header: Header,
    births: Births,
    task: Task,
    pool: Pool,
    interrupt: Interrupt,
    part: Part = "validation",
) -> Comparison | None:
    """Train every entrant with the same fresh seeds and record the results beside the run.

    A comparison of the same cells that was interrupted is finished.

    Returns:
        The table; None if the record holds no finished cell.
    """
    contenders = entrants(config, births, task)
    if not contenders:
        return None
    plan = [
        _asked(number, contenders[number % len(contenders)], number // len(contenders), config)
        for number in range(len(contenders) * config.compare.seeds)
    ]
    with _opened(directory, header, about(config, births, part), contenders) as record:
        for warning in record.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        strategy = Planned(plan, History(rules_of(config)))
        past, _ = past_of(record.directory, record.header, record.reading, strategy.memory)
        strategy.restore(past)

        def on_told(told: Sequence[Told]) -> None:
            done = strategy.history.told
            print(f"comparison: {done} of {len(plan)} trainings", file=sys.stderr)

        Loop(
            strategy=strategy,
            pool=pool,
            saver=record,
            order=order_of(config, record.header.engine),
            training=config.training,
            part=part,
            budget=Budget(len(plan)),
            waiting=deque(past.waiting),
            clock=Clock(past.totals.elapsed),
            interrupt=interrupt,
            grace_seconds=config.workers.grace_seconds,
            on_told=on_told,
        ).run()
    return read_comparison(record.directory)


def _opened(
    directory: Path, header: Header, wanted: dict[str, Any], contenders: Sequence[Entrant]
) -> Record:
    """The last comparison if it is the same, else a new one."""
    folder = last_folder(directory, wanted)
    if folder is not None:
        return open_run(folder, COLUMNS)
    names = [entrant.name for entrant in contenders]
    config = {**header.config, **wanted, "entrants": names}
    return create_run(next_folder(directory), replace(header, config=config, created=now()))


def _asked(number: int, entrant: Entrant, seed_index: int, config: SearchConfig) -> Asked:
    layers = config.training.num_layers
    cell = canonical(entrant.genome)
    return Asked(
        birth=number,
        parent=None,
        generation=0,
        mutation={
            "operator": "comparison",
            "cell": entrant.name,
            "search_metric": entrant.search_metric,
        },
        genome=entrant.genome.to_json(),
        digest=entrant.genome.digest,
        seed=training_seed(config.seed, Stream.COMPARISON, seed_index),
        hidden_size=entrant.hidden_size,
        recurrent_parameters=recurrent_parameters(cell, entrant.hidden_size, layers),
        duplicates=0,
        budget=config.training.steps,
    )
