"""Every birth of a run as columns, so that a run of 100,000 is counted and ranked at once.

Only light columns of the record are read and nothing is built for each birth. What is large
(genomes, mutations, messages) is fetched for the few births that are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evo_nas.columns import (
    NONE,
    Flags,
    Floats,
    Ints,
    coded,
    group_means,
    parent_rows,
    refuse_repeats,
    rows_of,
    spread,
)
from evo_nas.errors import LineageError, RecordError
from evo_nas.events import Asked, Event, Told
from evo_nas.record.header import Header, read_header
from evo_nas.record.outside import mutation_from
from evo_nas.record.paths import RunPath, run_path
from evo_nas.record.reading import budget_of, events_in, read_rows, read_table
from evo_nas.record.segments import events_of, table_of

_ASKED = ("parent", "generation", "hidden_size", "recurrent_parameters", "duplicates", "budget")
_NAMES = ("operator", "digest", "status", "engine")
_TOLD = ("metric", "fitness", "parameters", "seconds", "finished", "steps")
COLUMNS = ("event", "birth", *_ASKED, *_NAMES, *_TOLD)
"""What is read of every event."""

_DETAILS = ("genome", "mutation", "message")


@dataclass(frozen=True, slots=True)
class Details:
    """What is large, of one birth.

    Attributes:
        genome: As JSON.
        mutation: As in `Asked`.
        message: As in `Told`; empty if nothing was told yet.
    """

    genome: str
    mutation: dict[str, Any]
    message: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where the rows of a record are fetched from.

    Attributes:
        rows: The rows at some positions, in the columns named (all if None).
        events: Rows of all columns as events.
    """

    rows: Callable[[Sequence[int], Sequence[str] | None], pa.Table]
    events: Callable[[pa.Table], list[Event]]


@dataclass(frozen=True, slots=True, eq=False)
class Births:
    """The N births of a record in the order of asking, one row each; D cells among them.

    Attributes:
        birth: (N,) ascending.
        parent: (N,) row of the parent; `NONE` in generation 0.
        generation: (N,)
        hidden_size: (N,) width it is trained at.
        recurrent_parameters: (N,)
        duplicates: (N,) draws thrown away before it because their digest was known.
        operator: (N,) number of the mutation operator among ``operators``.
        operators: Their names, in the order in which they came up.
        cell: (N,) number of its digest among ``digests``.
        digests: (D,) text.
        status: (N,) number of its status among ``statuses``; `NONE` while it runs.
        statuses: Their names, in the order in which they were told.
        scored: (N,) whether its own evaluation gave a fitness, at the end or where it was stopped.
        metric: (N,) of its own evaluation; NaN without a fitness.
        own_fitness: (N,) likewise, as fitness.
        budget: (N,) optimiser steps it is trained for.
        own_steps: (N,) those its own evaluation made; 0 without a result, and where a failure's
            were not written down.
        parameters: (N,) of the whole model; 0 without a result.
        seconds: (N,) length of its evaluation; NaN without a result.
        finished: (N,) when its result was in, in seconds since 1970 (UTC); NaN without one.
        steps: (N,) the furthest step at which an evaluation of its digest has a fitness; 0 if none.
        fitness: (N,) mean over the evaluations of its digest that came so far; NaN if none.
        evaluations: (N,) how many evaluations that mean is over.
        gain: (N,) fitness minus the parent's. NaN without a parent, for the parent's own cell
            trained again, unless this birth's evaluation and one of the parent's have a fitness,
            and where the two cells did not come to the same step.
        engines: Names of the engines that ran.
        asked_at: (N,) position in the record.
        told_at: (N,) position of its result; `NONE` while it runs.
        source: Where everything else of a birth is.
    """

    birth: Ints
    parent: Ints
    generation: Ints
    hidden_size: Ints
    recurrent_parameters: Ints
    duplicates: Ints
    operator: Ints
    operators: tuple[str, ...]
    cell: Ints
    digests: pa.Array
    status: Ints
    statuses: tuple[str, ...]
    scored: Flags
    metric: Floats
    own_fitness: Floats
    budget: Ints
    own_steps: Ints
    parameters: Ints
    seconds: Floats
    finished: Floats
    steps: Ints
    fitness: Floats
    evaluations: Ints
    gain: Floats
    engines: tuple[str, ...]
    asked_at: Ints
    told_at: Ints
    source: Source

    def __len__(self) -> int:
        return len(self.birth)

    @property
    def told(self) -> Flags:
        """(N,) whether there is a result."""
        told: Flags = self.told_at != NONE
        return told

    @property
    def evaluated(self) -> int:
        """Results told, failures included."""
        return int(np.count_nonzero(self.told))

    @property
    def failed(self) -> int:
        """Results told that are failures."""
        return self.evaluated - int(np.count_nonzero(self.scored))

    @property
    def stopped(self) -> Flags:
        """(N,) whether its own evaluation was stopped at a hurdle."""
        return self.has_status("stopped")

    def has_status(self, name: str) -> Flags:
        """(N,) whether its own evaluation ended so."""
        known = name in self.statuses
        found: Flags = self.status == (self.statuses.index(name) if known else len(self.statuses))
        return found

    def row(self, birth: int) -> int:
        """The row of a birth.

        Raises:
            LineageError: If there is no such birth.
        """
        (row,) = rows_of(self.birth, np.array([birth])).tolist()
        if row != NONE:
            return int(row)
        if not len(self):
            raise LineageError(f"there is no birth {birth}: the run has no births yet.")
        raise LineageError(
            f"there is no birth {birth}: the run has births {self.birth[0]} to {self.birth[-1]}."
        )

    def mean_fitness(self, digest: str) -> float | None:
        """The mean over the evaluations of a digest that were trained to the end; None if none."""
        cell = pc.index(self.digests, digest).as_py()
        values = self.fitness[(self.cell == cell) & self.has_status("ok")]
        return float(values[0]) if len(values) else None

    def details(self, rows: Ints) -> list[Details]:
        """What is large, of the births in some rows.

        Raises:
            RecordError: If a file changed since.
        """
        told_at, count = self.told_at[rows], len(rows)
        wanted = np.concatenate([self.asked_at[rows], told_at[told_at != NONE]])
        columns = self.source.rows(wanted.tolist(), _DETAILS).to_pydict()
        genomes, mutations = columns["genome"][:count], columns["mutation"][:count]
        told = iter(columns["message"][count:])
        messages = ["" if place == NONE else next(told) for place in told_at.tolist()]
        return [
            Details(genome, _mutation(mutation), message)
            for genome, mutation, message in zip(genomes, mutations, messages, strict=True)
        ]

    def events(self, birth: int) -> tuple[Asked, Told | None]:
        """All that was recorded of a birth.

        Raises:
            LineageError: If there is no such birth.
            RecordError: If a file changed since.
        """
        row = self.row(birth)
        places = [int(self.asked_at[row]), int(self.told_at[row])]
        wanted = [place for place in places if place != NONE]
        asked, *results = self.source.events(self.source.rows(wanted, None))
        assert isinstance(asked, Asked)
        told = results[0] if results else None
        assert not isinstance(told, Asked)
        return asked, told


def read_births(directory: str | RunPath) -> tuple[Header, Births, list[str]]:
    """The header of a run, its births so far, and warnings to be shown to the user.

    Raises:
        RecordError: As `evo_nas.record.reading.read_events`, and `refuse_comparison`.
        LineageError: As `births_of`.
    """
    root = run_path(directory)
    header = read_header(root)
    refuse_comparison(root, header)
    reading = read_table(root, COLUMNS)

    def rows(wanted: Sequence[int], columns: Sequence[str] | None) -> pa.Table:
        return read_rows(root, reading, wanted, columns)

    source = Source(rows, lambda table: events_in(root, header, table))
    births = births_of(reading.table, source, budget_of(header))
    return header, births, list(reading.warnings)


def refuse_comparison(directory: str | RunPath, header: Header) -> None:
    """Refuse what has the form of a run and is part of a comparison.

    Raises:
        RecordError: If it is.
    """
    if "baselines" in header.config:
        raise RecordError(
            f"{directory} belongs to a comparison, not to a search. Give the run that it lies in: "
            "'evo-nas compare RUN --last' shows it, 'evo-nas compare RUN' goes on with it."
        )


def births_in(events: Sequence[Event]) -> Births:
    """The births of events in memory.

    Raises:
        LineageError: As `births_of`.
    """
    table = table_of(events)

    def rows(wanted: Sequence[int], columns: Sequence[str] | None) -> pa.Table:
        found = table.take(pa.array(wanted, pa.int64()))
        return found if columns is None else found.select(list(columns))

    return births_of(table.select(list(COLUMNS)), Source(rows, events_of))


def births_of(table: pa.Table, source: Source, budget: int = 0) -> Births:
    """The births of a record.

    Args:
        table: Its rows in order, of `COLUMNS` at least.
        source: Of the other columns of the same rows.
        budget: Of candidates whose row holds none (format 1).

    Raises:
        LineageError: If the record contradicts itself: a birth asked for or told twice, told
            but not asked for, or born of a parent that nobody asked for.
        RecordError: If a row is no event.
    """
    table = table.combine_chunks()  # hundreds of pieces, one for each segment, would take longer
    is_asked, is_told = (pc.equal(table["event"], kind).to_numpy() for kind in ("asked", "told"))
    if not (is_asked | is_told).all():
        raise RecordError("a row of the record is neither asked nor told: it is damaged.")
    asked_at, told_at = np.flatnonzero(is_asked), np.flatnonzero(is_told)
    asked, told = table.filter(pa.array(is_asked)), table.filter(pa.array(is_told))
    birth, told_birth = asked["birth"].to_numpy(), told["birth"].to_numpy()
    refuse_repeats(birth, asked_at, told_birth, told_at)
    if (birth[1:] < birth[:-1]).any():
        order = np.argsort(birth, kind="stable")
        asked, asked_at, birth = asked.take(pa.array(order)), asked_at[order], birth[order]
    row = rows_of(birth, told_birth)
    if (row == NONE).any():
        stranger = told_birth[row == NONE].min()
        raise LineageError(
            f"the record contradicts itself: {stranger} was told but never asked for."
        )
    parent = parent_rows(birth, asked["parent"])
    operator, operators = coded(asked["operator"])
    cell, digests = coded(asked["digest"])
    told_status, statuses = coded(told["status"])
    status = spread(len(birth), row, told_status, NONE)
    own_fitness = spread(len(birth), row, told["fitness"].to_numpy(), np.nan)
    scored = ~np.isnan(own_fitness)
    budgets = asked["budget"].fill_null(budget).to_numpy()
    own_steps = _own_steps(row, told["steps"].to_numpy(), scored, budgets)
    steps = np.zeros(len(digests), np.int64)
    np.maximum.at(steps, cell[scored], own_steps[scored])
    furthest = np.where(own_steps == steps[cell], own_fitness, np.nan)
    means, evaluations = group_means(cell, furthest, len(digests))
    # Training the same cell again gains nothing: it corrects the mean of both. And what two cells
    # reached at different steps says nothing of either.
    other = cell[parent]
    gains = scored & (parent != NONE) & (other != cell) & (steps[other] == steps[cell])
    return Births(
        birth=birth,
        parent=parent,
        generation=asked["generation"].to_numpy(),
        hidden_size=asked["hidden_size"].to_numpy(),
        recurrent_parameters=asked["recurrent_parameters"].to_numpy(),
        duplicates=asked["duplicates"].to_numpy(),
        operator=operator,
        operators=tuple(operators.to_pylist()),
        cell=cell,
        digests=digests,
        status=status,
        statuses=tuple(statuses.to_pylist()),
        scored=scored,
        metric=spread(len(birth), row, told["metric"].to_numpy(), np.nan),
        own_fitness=own_fitness,
        budget=budgets,
        own_steps=own_steps,
        parameters=spread(len(birth), row, told["parameters"].to_numpy(), 0),
        seconds=spread(len(birth), row, told["seconds"].to_numpy(), np.nan),
        finished=spread(len(birth), row, told["finished"].to_numpy(), np.nan),
        steps=steps[cell],
        fitness=means[cell],
        evaluations=evaluations[cell],
        gain=np.where(gains, means[cell] - means[other], np.nan),
        engines=tuple(name for name in told["engine"].unique().to_pylist() if name),
        asked_at=asked_at,
        told_at=spread(len(birth), row, told_at, NONE),
        source=source,
    )


def _mutation(text: str) -> dict[str, Any]:
    try:
        return mutation_from(text)
    except ValueError as error:
        raise RecordError(f"a row of the record is damaged: {error}.") from None


def _own_steps(rows: Ints, made: Floats | Ints, scored: Flags, budgets: Ints) -> Ints:
    """(N,) the steps each evaluation made: all of its budget where a success says nothing else.

    Args:
        rows: (T,) row of each result.
        made: (T,) steps that it tells; NaN where nobody wrote them down.
        scored: (N,)
        budgets: (N,)
    """
    counted = ~np.isnan(made)
    steps = np.where(scored, budgets, 0)
    steps[rows[counted]] = made[counted]
    return steps
