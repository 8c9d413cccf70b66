"""Where the cells of a run come from, and which mutations paid. Pure functions of its events.

Reads only the record: no torch, no Ray, no clock, so an answer takes a fraction of a second.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evo_nas.events import Asked, Event, Status, Told


class LineageError(ValueError):
    """There is no answer to a question about the record; the message says what there is."""


@dataclass(frozen=True, slots=True)
class Entry:
    """All the record knows of one birth.

    Attributes:
        status: ``running`` if it was asked for and nothing was told yet.
        metric: Of this birth's own evaluation; None without one that succeeded.
        own_fitness: Likewise, as fitness.
        fitness: Mean over all evaluations of its digest; None if none succeeded.
        evaluations: How many succeeded evaluations that mean is over.
        gain: Fitness minus the parent's; None without a parent, for the parent's own cell
            trained again, or unless this birth's evaluation and one of the parent's succeeded.
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


def entries(events: Sequence[Event]) -> list[Entry]:
    """Every birth of the record, in the order of asking.

    Raises:
        LineageError: If the record contradicts itself: a birth asked for or told twice, told
            but not asked for, or born of a parent that nobody asked for.
    """
    asked: dict[int, Asked] = {}
    told: dict[int, Told] = {}
    for event in events:
        if isinstance(event, Asked):
            if event.birth in asked:
                raise LineageError(f"the record contradicts itself: {event.birth} was born twice.")
            asked[event.birth] = event
        else:
            if event.birth in told:
                raise LineageError(f"the record contradicts itself: {event.birth} was told twice.")
            told[event.birth] = event
    if strangers := told.keys() - asked.keys():
        raise LineageError(
            f"the record contradicts itself: {min(strangers)} was told but never asked for."
        )
    scores: dict[str, list[float]] = defaultdict(list)
    for birth, result in told.items():
        if result.fitness is not None:
            scores[asked[birth].digest].append(result.fitness)
    means = {digest: math.fsum(values) / len(values) for digest, values in scores.items()}
    found = []
    for birth in sorted(asked):
        candidate = asked[birth]
        parent = None
        if candidate.parent is not None:
            parent = asked.get(candidate.parent)
            if parent is None or candidate.parent >= birth:
                raise LineageError(
                    f"the record contradicts itself: the parent of {birth} is "
                    f"{candidate.parent}, which was not born before it."
                )
        found.append(_entry(candidate, told.get(birth), parent, scores, means))
    return found


def path(events: Sequence[Event], birth: int) -> list[Step]:
    """The ancestors of a birth and itself, generation 0 first.

    Raises:
        LineageError: If there is no such birth.
    """
    from genomes.equations import changed_equations, equations
    from genomes.genome import Genome

    known = {entry.birth: entry for entry in entries(events)}
    line = [_known(known, birth)]
    while (parent := line[-1].parent) is not None:
        line.append(known[parent])
    steps: list[Step] = []
    before: Genome | None = None
    for entry in reversed(line):
        genome = Genome.from_json(entry.genome)
        changed = () if before is None else tuple(changed_equations(before, genome))
        steps.append(Step(entry, tuple(equations(genome)), changed))
        before = genome
    return steps


def children(events: Sequence[Event], birth: int) -> list[Entry]:
    """The births whose parent is ``birth``, in the order of asking.

    Raises:
        LineageError: If there is no such birth.
    """
    known = {entry.birth: entry for entry in entries(events)}
    _known(known, birth)
    return [entry for entry in known.values() if entry.parent == birth]


def best(events: Sequence[Event], n: int) -> list[Entry]:
    """The n best cells, best first: of each digest its first birth with a result, ranked by the
    mean fitness over all evaluations of the digest (the older one first where they agree)."""
    first: dict[str, Entry] = {}
    for entry in entries(events):
        if entry.status == "ok":
            first.setdefault(entry.digest, entry)
    ranked = sorted(first.values(), key=lambda e: (-(e.fitness or 0.0), e.birth))
    return ranked[: max(n, 0)]


def mutation_table(events: Sequence[Event]) -> list[OperatorRow]:
    """Which operator paid: one row for each that made a child, the most used first."""
    made: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries(events):
        if entry.parent is not None:
            made[entry.operator].append(entry)
    rows = [_operator_row(operator, group) for operator, group in made.items()]
    return sorted(rows, key=lambda row: (-row.count, row.operator))


def _operator_row(operator: str, group: list[Entry]) -> OperatorRow:
    gains = [entry.gain for entry in group if entry.gain is not None]
    return OperatorRow(
        operator,
        count=len(group),
        running=sum(e.status == "running" for e in group),
        failures=sum(e.status not in ("ok", "running") for e in group),
        mean_gain=math.fsum(gains) / len(gains) if gains else None,
        improvements=sum(gain > 0 for gain in gains) / len(gains) if gains else None,
    )


def _known(known: dict[int, Entry], birth: int) -> Entry:
    if birth in known:
        return known[birth]
    if not known:
        raise LineageError(f"there is no birth {birth}: the run has no births yet.")
    raise LineageError(
        f"there is no birth {birth}: the run has births {min(known)} to {max(known)}."
    )


def _entry(
    asked: Asked,
    told: Told | None,
    parent: Asked | None,
    scores: dict[str, list[float]],
    means: dict[str, float],
) -> Entry:
    ok = told is not None and told.status == "ok"
    fitness = means.get(asked.digest)
    # Training the same cell again gains nothing: it corrects the mean of both.
    repeats = parent is not None and parent.digest == asked.digest
    origin = None if parent is None or repeats else means.get(parent.digest)
    return Entry(
        birth=asked.birth,
        parent=asked.parent,
        generation=asked.generation,
        mutation=asked.mutation,
        genome=asked.genome,
        digest=asked.digest,
        status="running" if told is None else told.status,
        metric=None if told is None else told.metric,
        own_fitness=None if told is None else told.fitness,
        fitness=fitness,
        evaluations=len(scores.get(asked.digest, ())),
        gain=fitness - origin if ok and fitness is not None and origin is not None else None,
        hidden_size=asked.hidden_size,
        recurrent_parameters=asked.recurrent_parameters,
        parameters=0 if told is None else told.parameters,
        duplicates=asked.duplicates,
        seconds=None if told is None else told.seconds,
        message="" if told is None else told.message,
    )
