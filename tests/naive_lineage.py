"""The readers of a record, event by event and birth by birth: the yardstick for whole columns."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from evo_nas.errors import LineageError
from evo_nas.events import Asked, Event, Told
from evo_nas.lineage import Entry, OperatorRow


def naive_entries(events: Sequence[Event]) -> list[Entry]:
    """Every birth, in the order of asking."""
    asked: dict[int, Asked] = {}
    told: dict[int, Told] = {}
    for event in events:
        if isinstance(event, Asked):
            _refuse(event.birth in asked, f"{event.birth} was born twice.")
            asked[event.birth] = event
        else:
            _refuse(event.birth in told, f"{event.birth} was told twice.")
            told[event.birth] = event
    if strangers := told.keys() - asked.keys():
        _refuse(True, f"{min(strangers)} was told but never asked for.")
    scores: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for birth, result in told.items():
        if result.fitness is not None:
            reached = _made(result, asked[birth])
            scores[asked[birth].digest].append((reached, result.fitness))
    for birth in sorted(asked):
        parent = asked[birth].parent
        _refuse(
            parent is not None and (parent not in asked or parent >= birth),
            f"the parent of {birth} is {parent}, which was not born before it.",
        )
    return [_entry(asked[birth], told.get(birth), asked, scores) for birth in sorted(asked)]


def naive_best(events: Sequence[Event]) -> list[Entry]:
    """Of each digest that has a fitness the first birth that came furthest, best first."""
    first: dict[str, Entry] = {}
    for entry in naive_entries(events):
        if entry.metric is not None and entry.own_steps == entry.steps:
            first.setdefault(entry.digest, entry)
    return sorted(first.values(), key=lambda e: (-e.steps, -(e.fitness or 0.0), e.birth))


def naive_table(events: Sequence[Event]) -> list[OperatorRow]:
    """Which operator paid."""
    made: dict[str, list[Entry]] = defaultdict(list)
    for entry in naive_entries(events):
        if entry.parent is not None:
            made[entry.operator].append(entry)
    rows = []
    for operator, group in made.items():
        gains = [entry.gain for entry in group if entry.gain is not None]
        rows.append(
            OperatorRow(
                operator,
                count=len(group),
                running=sum(e.status == "running" for e in group),
                failures=sum(e.status not in ("ok", "stopped", "running") for e in group),
                mean_gain=math.fsum(gains) / len(gains) if gains else None,
                improvements=sum(gain > 0 for gain in gains) / len(gains) if gains else None,
            )
        )
    return sorted(rows, key=lambda row: (-row.count, row.operator))


def naive_counts(events: Sequence[Event]) -> dict[str, object]:
    """What a status says, under the names it has there."""
    births = naive_entries(events)
    told = [event for event in events if isinstance(event, Told)]
    failures = [event.message for event in told if event.fitness is None]
    stops = Counter(event.steps for event in told if event.status == "stopped")
    budgets = {event.birth: event.budget for event in events if isinstance(event, Asked)}
    made = {entry.birth: entry.own_steps for entry in births}
    lost = sum(budgets[e.birth] - made[e.birth] for e in told if e.status == "stopped")
    best = next(iter(naive_best(events)), None)
    hours = naive_busy_seconds(told) / 3600
    references = {
        str(entry.mutation["name"]): entry.fitness
        for entry in births
        if entry.operator == "published" and best is not None and entry.fitness is not None
        if entry.steps == best.steps
    }
    return {
        "evaluations": len(told),
        "statuses": Counter(event.status for event in told).most_common(),
        "stopped": sorted(stops.items()),
        "steps": sum(made.values()),
        "whole_steps": sum(made.values()) + lost,
        "in_flight": tuple(entry.birth for entry in births if entry.status == "running"),
        "published": sorted(references.items(), key=lambda item: -item[1]),
        "evaluations_per_hour": len(told) / hours if hours > 0 else None,
        "duplicates": sum(entry.duplicates for entry in births),
        "operators": Counter(entry.operator for entry in births).most_common(),
        "last_failure": failures[-1] if failures else "",
    }


def naive_busy_seconds(told: Sequence[Told]) -> float:
    """Length of the union of the evaluations' intervals."""
    total, reached = 0.0, -math.inf
    for start, end in sorted((e.finished - e.seconds, e.finished) for e in told):
        if end > reached:
            total += end - max(start, reached)
            reached = end
    return total


def _made(told: Told | None, asked: Asked) -> int:
    if told is None or (told.steps is None and told.fitness is None):
        return 0
    return asked.budget if told.steps is None else told.steps


def _refuse(contradiction: bool, what: str) -> None:
    if contradiction:
        raise LineageError(f"the record contradicts itself: {what}")


def _entry(
    candidate: Asked,
    told: Told | None,
    asked: dict[int, Asked],
    scores: dict[str, list[tuple[int, float]]],
) -> Entry:
    def furthest(digest: str) -> int:
        return max((step for step, _ in scores.get(digest, ())), default=0)

    def there(digest: str) -> list[float]:
        return [value for step, value in scores.get(digest, ()) if step == furthest(digest)]

    def mean(digest: str) -> float | None:
        return math.fsum(there(digest)) / len(there(digest)) if there(digest) else None

    fitness, gain = mean(candidate.digest), None
    if candidate.parent is not None and told is not None and told.fitness is not None:
        before = asked[candidate.parent].digest
        origin = mean(before)
        equal = furthest(before) == furthest(candidate.digest)
        if before != candidate.digest and origin is not None and fitness is not None and equal:
            gain = fitness - origin
    return Entry(
        birth=candidate.birth,
        parent=candidate.parent,
        generation=candidate.generation,
        mutation=candidate.mutation,
        genome=candidate.genome,
        digest=candidate.digest,
        status="running" if told is None else told.status,
        metric=None if told is None else told.metric,
        own_fitness=None if told is None else told.fitness,
        own_steps=_made(told, candidate),
        steps=furthest(candidate.digest),
        fitness=fitness,
        evaluations=len(there(candidate.digest)),
        gain=gain,
        hidden_size=candidate.hidden_size,
        recurrent_parameters=candidate.recurrent_parameters,
        parameters=0 if told is None else told.parameters,
        duplicates=candidate.duplicates,
        seconds=None if told is None else told.seconds,
        message="" if told is None else told.message,
    )
