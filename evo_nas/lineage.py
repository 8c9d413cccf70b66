"""Where the cells of a run come from, and which mutations paid. Pure functions of its births.

Reads only the record: no torch, no Ray, no clock, so an answer takes a fraction of a second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from evo_nas.births import Births
from evo_nas.columns import NONE, Floats, Ints
from evo_nas.events import Status


@dataclass(frozen=True, slots=True)
class Entry:
    """All the record knows of one birth.

    Attributes:
        status: ``running`` if it was asked for and nothing was told yet.
        metric: Of this birth's own evaluation, at the last step it made; None if it failed.
        own_fitness: Likewise, as fitness.
        own_steps: Optimiser steps that evaluation made; 0 if that is not known.
        steps: The furthest step at which an evaluation of its digest has a fitness; 0 if none.
        fitness: Mean over the evaluations of its digest that came so far; None if none.
        evaluations: How many evaluations that mean is over.
        gain: Fitness minus the parent's; None without a parent, for the parent's own cell
            trained again, unless this birth's evaluation and one of the parent's have a fitness,
            and where the two cells did not come to the same step.
        hidden_size: Width it is trained at.
        recurrent_parameters: Parameters of the recurrent layers.
        parameters: Of the whole model; 0 if it was never built.
        duplicates: Draws thrown away before it because their digest was known.
    """

    birth: int
    parent: int | None
    generation: int
    mutation: dict[str, Any]
    genome: str
    digest: str
    status: Status | Literal["running"]
    metric: float | None
    own_fitness: float | None
    own_steps: int
    steps: int
    fitness: float | None
    evaluations: int
    gain: float | None
    hidden_size: int
    recurrent_parameters: int
    parameters: int
    duplicates: int
    seconds: float | None
    message: str

    @property
    def operator(self) -> str:
        """Name of the mutation operator (or ``published``, ``random``)."""
        return str(self.mutation["operator"])


@dataclass(frozen=True, slots=True)
class Step:
    """One birth on the way from generation 0.

    Attributes:
        equations: The cell, one line for each named value.
        changed: Pairs (before, after) of the lines that differ from the parent's, None where a
            line came or went; empty in generation 0.
    """

    entry: Entry
    equations: tuple[str, ...]
    changed: tuple[tuple[str | None, str | None], ...]


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """What one mutation operator brought.

    Attributes:
        count: Children it made.
        running: Those of them without a result yet.
        failures: Those of them whose evaluation failed.
        mean_gain: Mean fitness difference to the parent; None if none has one.
        improvements: Share of those with a gain that are better than their parent.
    """

    operator: str
    count: int
    running: int
    failures: int
    mean_gain: float | None
    improvements: float | None


def entries(births: Births) -> list[Entry]:
    """Every birth of the record, in the order of asking.

    Raises:
        RecordError: If a file changed since it was read.
    """
    return entries_at(births, np.arange(len(births)))


def entries_at(births: Births, rows: Ints) -> list[Entry]:
    """The births in some rows.

    Raises:
        RecordError: If a file changed since it was read.
    """
    parents = births.parent[rows]
    columns: dict[str, list[Any]] = {
        "birth": births.birth[rows].tolist(),
        "parent": [
            None if row == NONE else birth
            for row, birth in zip(parents, births.birth[parents].tolist(), strict=True)
        ],
        "generation": births.generation[rows].tolist(),
        "digest": births.digests.take(births.cell[rows]).to_pylist(),
        "status": [
            "running" if status == NONE else births.statuses[status]
            for status in births.status[rows]
        ],
        "metric": _or_none(births.metric[rows]),
        "own_fitness": _or_none(births.own_fitness[rows]),
        "own_steps": births.own_steps[rows].tolist(),
        "steps": births.steps[rows].tolist(),
        "fitness": _or_none(births.fitness[rows]),
        "evaluations": births.evaluations[rows].tolist(),
        "gain": _or_none(births.gain[rows]),
        "hidden_size": births.hidden_size[rows].tolist(),
        "recurrent_parameters": births.recurrent_parameters[rows].tolist(),
        "parameters": births.parameters[rows].tolist(),
        "duplicates": births.duplicates[rows].tolist(),
        "seconds": _or_none(births.seconds[rows]),
    }
    details = births.details(rows)
    return [
        Entry(
            genome=detail.genome,
            mutation=detail.mutation,
            message=detail.message,
            **{name: values[k] for name, values in columns.items()},
        )
        for k, detail in enumerate(details)
    ]


def path(births: Births, birth: int) -> list[Step]:
    """The ancestors of a birth and itself, generation 0 first.

    Raises:
        LineageError: If there is no such birth.
    """
    from genomes.equations import lineage_equations
    from genomes.genome_json import from_json_all

    line = [births.row(birth)]
    while (parent := int(births.parent[line[-1]])) != NONE:
        line.append(parent)
    found = entries_at(births, np.array(line[::-1]))
    written = lineage_equations(from_json_all(entry.genome for entry in found))
    return [
        Step(entry, tuple(equations), tuple(changed))
        for entry, (equations, changed) in zip(found, written, strict=True)
    ]


def children(births: Births, birth: int) -> list[Entry]:
    """The births whose parent is ``birth``, in the order of asking.

    Raises:
        LineageError: If there is no such birth.
    """
    return entries_at(births, np.flatnonzero(births.parent == births.row(birth)))


def best(births: Births, n: int) -> list[Entry]:
    """The n best cells, best first: who came further is better, then whose mean fitness there is
    higher (the older one first where they agree). Of each digest it is the first birth that came
    so far."""
    came = np.flatnonzero(births.scored & (births.own_steps == births.steps))
    _, first = np.unique(births.cell[came], return_index=True)
    rows = came[first]
    ranked = rows[np.lexsort((rows, -births.fitness[rows], -births.steps[rows]))]
    return entries_at(births, ranked[: max(n, 0)])


def best_finished(births: Births, n: int) -> list[Entry]:
    """As `best`, those alone that were trained to the end of their budget; where nobody was, those
    that came furthest."""
    leaders = best(births, n)
    return [entry for entry in leaders if entry.status == "ok"] or [
        entry for entry in leaders if entry.steps == leaders[0].steps
    ]


def mutation_table(births: Births) -> list[OperatorRow]:
    """Which operator paid: one row for each that made a child, the most used first."""
    made = births.parent != NONE
    rows = [
        _operator_row(births, operator, np.flatnonzero(made & (births.operator == number)))
        for number, operator in enumerate(births.operators)
    ]
    return sorted((row for row in rows if row.count), key=lambda row: (-row.count, row.operator))


def _operator_row(births: Births, operator: str, rows: Ints) -> OperatorRow:
    gains = births.gain[rows]
    gains = gains[~np.isnan(gains)]
    told = int(np.count_nonzero(births.told[rows]))
    return OperatorRow(
        operator,
        count=len(rows),
        running=len(rows) - told,
        failures=told - int(np.count_nonzero(births.scored[rows])),
        mean_gain=math.fsum(gains.tolist()) / len(gains) if len(gains) else None,
        improvements=int(np.count_nonzero(gains > 0)) / len(gains) if len(gains) else None,
    )


def _or_none(values: Floats) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values.tolist()]
