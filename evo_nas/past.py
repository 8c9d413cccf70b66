"""What a search goes on from: the sum of a record, without replaying it event by event.

A run of 100,000 births is resumed in seconds because only a few columns of its record are read,
and the genomes of those individuals alone that may still become parents.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evo_nas.errors import RecordError
from evo_nas.events import Asked, Event, Told
from evo_nas.record.header import Header
from evo_nas.record.paths import RunPath
from evo_nas.record.reading import Reading, budget_of, events_in, read_rows
from evo_nas.rungs import Arrivals

Numbers = npt.NDArray[Any]

EVERYTHING = sys.maxsize
"""As many as there are, for those who want all individuals of a record."""

COLUMNS = (
    "event",
    "birth",
    "digest",
    "duplicates",
    "budget",
    "status",
    "metric",
    "fitness",
    "steps",
    "rung_steps",
    "rung_metrics",
    "seconds",
    "engine",
    "elapsed",
)
"""What `past_of` reads of every event."""


@dataclass
class Totals:
    """Sums over everything told, for those who watch a search.

    Attributes:
        statuses: Evaluations by status.
        seconds: Wall-clock seconds of the evaluations that ended ``ok``.
        lowest: The lowest metric of these; None before the first.
        highest: The highest.
        elapsed: Seconds of search.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    lowest: float | None = None
    highest: float | None = None
    elapsed: float = 0.0

    def add(self, event: Told) -> None:
        """Take one more result into account."""
        self.statuses[event.status] += 1
        self.elapsed = max(self.elapsed, event.elapsed)
        if event.status == "ok" and event.metric is not None:
            self.seconds += event.seconds
            self.lowest = event.metric if self.lowest is None else min(self.lowest, event.metric)
            self.highest = event.metric if self.highest is None else max(self.highest, event.metric)

    @property
    def told(self) -> int:
        """Evaluations told."""
        return self.statuses.total()

    @property
    def mean_seconds(self) -> float:
        """Mean length of an evaluation that ended ``ok``; 0 before the first."""
        ok = self.statuses["ok"]
        return self.seconds / ok if ok else 0.0


@dataclass(frozen=True, slots=True)
class Past:
    """What a strategy has to know of the events of a record.

    Attributes:
        births: How many candidates were asked for.
        duplicates: Draws thrown away because their digest was known.
        asked: How often each digest was asked for.
        reached: The furthest optimiser step at which each digest has a fitness.
        fitness: The fitness values of each digest there, in the order of telling.
        arrivals: The fitness of everyone at each rung.
        waiting: Candidates asked for and never told, in the order of asking.
        recent: The last that were told with a fitness, at most as many as were wanted, the
            oldest first.
        failed: The last that failed, likewise.
        totals: For those who watch.
    """

    births: int
    duplicates: int
    asked: Counter[str]
    reached: dict[str, int]
    fitness: dict[str, list[float]]
    arrivals: Arrivals
    waiting: tuple[Asked, ...]
    recent: tuple[Asked, ...]
    failed: tuple[Asked, ...]
    totals: Totals


def standing(
    reached: Mapping[str, int], fitness: Mapping[str, Sequence[float]], digest: str
) -> tuple[int, float]:
    """By what cells are compared: the furthest step that an evaluation of the digest reached, and
    the mean fitness of those that reached it."""
    values = fitness[digest]
    return reached[digest], sum(values) / len(values)


def past_of(
    root: RunPath,
    header: Header,
    reading: Reading,
    population: int,
    later: int = 0,
    failures: int = 0,
) -> tuple[Past, list[Event]]:
    """Sum up a record.

    Args:
        root: The run directory.
        header: Its header.
        reading: Its rows, of `COLUMNS` at least.
        population: How many of the last individuals with a fitness are wanted.
        later: Results at the end that are left out, with everything after the first of them.
        failures: How many of the last that failed are wanted.

    Returns:
        The sum, and the events that were left out.

    Raises:
        RecordError: If the record contradicts itself.
    """
    table = reading.table
    is_told = pc.equal(table["event"], "told").to_numpy()
    told_rows = np.flatnonzero(is_told)
    cut = table.num_rows
    if later:
        cut = int(told_rows[-later]) if later <= len(told_rows) else 0
    asked_rows = np.flatnonzero(~is_told[:cut])
    told_rows = told_rows[told_rows < cut]
    asked, told = table.take(asked_rows), table.take(told_rows)
    births = told["birth"].to_numpy()
    _check(root, asked["birth"].to_numpy(), births)
    digests: list[str] = asked["digest"].to_pylist()

    has_fitness = np.flatnonzero(told["fitness"].is_valid().to_numpy())
    open_rows = np.delete(asked_rows, births)
    recent_rows = asked_rows[_last(births[has_fitness], population)]
    failed_rows = asked_rows[_last(np.delete(births, has_fitness), failures)]
    rest = np.arange(cut, table.num_rows)
    groups = [open_rows, recent_rows, failed_rows, rest]
    events = events_in(root, header, read_rows(root, reading, np.concatenate(groups).tolist()))
    first, second, third = np.cumsum([len(group) for group in groups[:3]]).tolist()
    budgets = asked["budget"].fill_null(budget_of(header)).to_numpy()[births[has_fitness]]
    scored = told.take(has_fitness)
    reached, fitness = _standings(
        [digests[birth] for birth in births[has_fitness]],
        scored["steps"].to_numpy(),
        budgets,
        scored["fitness"].to_pylist(),
    )
    past = Past(
        births=len(asked_rows),
        duplicates=sum(asked["duplicates"].to_pylist()),
        asked=Counter(digests),
        reached=reached,
        fitness=fitness,
        arrivals=_arrivals(scored, budgets),
        waiting=tuple(cast("list[Asked]", events[:first])),
        recent=tuple(cast("list[Asked]", events[first:second])),
        failed=tuple(cast("list[Asked]", events[second:third])),
        totals=_totals(told),
    )
    return past, events[third:]


def _last(values: Numbers, count: int) -> Numbers:
    """The last of them; of none that is none, which ``values[-count:]`` is not."""
    return values[max(len(values) - count, 0) :]


def _check(root: RunPath, asked: Numbers, told: Numbers) -> None:
    """Candidates are numbered in the order of asking, and each is told once at most."""
    if not np.array_equal(asked, np.arange(len(asked))):
        raise RecordError(f"{root}: the record contradicts itself: births are not in order.")
    if len(np.unique(told)) < len(told):
        raise RecordError(f"{root}: the record contradicts itself: a birth was told twice.")
    if len(told) and told.max() >= len(asked):
        raise RecordError(
            f"{root}: the record contradicts itself: birth {told.max()} was told but never asked."
        )


def _standings(
    digests: Sequence[str], steps: Numbers, budgets: Numbers, values: Sequence[float]
) -> tuple[dict[str, int], dict[str, list[float]]]:
    """How far each digest came, and its fitness there.

    Args:
        digests: (F,) of the evaluations with a fitness, in the order of telling.
        steps: (F,) that each made, NaN where nobody wrote them down.
        budgets: (F,) that each had.
        values: (F,) the fitness.
    """
    made = np.where(np.isnan(steps), budgets, steps).astype(np.int64) if len(steps) else steps
    reached: dict[str, int] = {}
    fitness: dict[str, list[float]] = defaultdict(list)
    for digest, step, value in zip(digests, made.tolist(), values, strict=True):
        before = reached.get(digest, -1)
        if step > before:
            reached[digest], fitness[digest] = step, [value]
        elif step == before:
            fitness[digest].append(value)
    return reached, fitness


def _arrivals(scored: pa.Table, budgets: Numbers) -> Arrivals:
    """What `Arrivals.add` makes of each evaluation, by whole columns."""
    arrivals = Arrivals()
    lists = scored["rung_steps"].combine_chunks()
    owner = pc.list_parent_indices(lists).to_numpy()
    if not len(owner):
        return arrivals
    steps = pc.list_flatten(lists).to_numpy()
    metrics = pc.list_flatten(scored["rung_metrics"].combine_chunks()).to_numpy()
    # See `Told.rung_fitness`.
    ends = scored.select(["metric", "fitness"])
    negated = np.signbit(ends["metric"].to_numpy()) != np.signbit(ends["fitness"].to_numpy())
    fitness = np.where(negated[owner], -metrics, metrics)
    for budget in np.unique(budgets[owner]).tolist():
        for step in np.unique(steps[budgets[owner] == budget]).tolist():
            there = fitness[(budgets[owner] == budget) & (steps == step)]
            arrivals.at[budget, step] = np.sort(there).tolist()
    return arrivals


def _totals(told: pa.Table) -> Totals:
    ok = told.filter(pc.equal(told["status"], "ok"))
    metrics: list[float] = ok["metric"].to_pylist()
    return Totals(
        statuses=Counter(told["status"].to_pylist()),
        seconds=float(sum(ok["seconds"].to_pylist())),
        lowest=min(metrics, default=None),
        highest=max(metrics, default=None),
        elapsed=max(told["elapsed"].to_pylist(), default=0.0),
    )
