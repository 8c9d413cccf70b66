"""What a search goes on from: the sum of a record, without replaying it event by event.

A run of 100,000 births is resumed in seconds because only a few columns of its record are read,
and the genomes of those individuals alone that may still become parents.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evo_nas.errors import RecordError
from evo_nas.events import Asked, Event, Told
from evo_nas.record.header import Header
from evo_nas.record.reading import Reading, events_in, read_rows

Numbers = npt.NDArray[Any]

COLUMNS = (
    "event",
    "birth",
    "digest",
    "duplicates",
    "status",
    "metric",
    "fitness",
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
        lowest: The lowest metric; None before the first.
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
        if event.metric is not None:
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
        fitness: The fitness values of each digest, in the order of telling.
        waiting: Candidates asked for and never told, in the order of asking.
        recent: The last that were told with a fitness, at most as many as were wanted, the
            oldest first.
        totals: For those who watch.
    """

    births: int
    duplicates: int
    asked: Counter[str]
    fitness: dict[str, list[float]]
    waiting: tuple[Asked, ...]
    recent: tuple[Asked, ...]
    totals: Totals


def past_of(
    root: Path, header: Header, reading: Reading, population: int, later: int = 0
) -> tuple[Past, list[Event]]:
    """Sum up a record.

    Args:
        root: The run directory.
        header: Its header.
        reading: Its rows, of `COLUMNS` at least.
        population: How many of the last individuals with a fitness are wanted.
        later: Results at the end that are left out, with everything after the first of them.

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
    recent_rows = asked_rows[births[has_fitness[-population:]]]
    rest = np.arange(cut, table.num_rows)
    wanted = np.concatenate([open_rows, recent_rows, rest]).tolist()
    events = events_in(root, header, read_rows(root, reading, wanted))
    first, second = len(open_rows), len(open_rows) + len(recent_rows)
    fitness: defaultdict[str, list[float]] = defaultdict(list)
    scored = zip(births[has_fitness], told["fitness"].drop_null().to_pylist(), strict=True)
    for birth, value in scored:
        fitness[digests[birth]].append(value)
    past = Past(
        births=len(asked_rows),
        duplicates=sum(asked["duplicates"].to_pylist()),
        asked=Counter(digests),
        fitness=fitness,
        waiting=tuple(cast("list[Asked]", events[:first])),
        recent=tuple(cast("list[Asked]", events[first:second])),
        totals=_totals(told),
    )
    return past, events[second:]


def _check(root: Path, asked: Numbers, told: Numbers) -> None:
    """Candidates are numbered in the order of asking, and each is told once at most."""
    if not np.array_equal(asked, np.arange(len(asked))):
        raise RecordError(f"{root}: the record contradicts itself: births are not in order.")
    if len(np.unique(told)) < len(told):
        raise RecordError(f"{root}: the record contradicts itself: a birth was told twice.")
    if len(told) and told.max() >= len(asked):
        raise RecordError(
            f"{root}: the record contradicts itself: birth {told.max()} was told but never asked."
        )


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
