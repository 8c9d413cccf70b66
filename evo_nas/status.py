"""How a run stands: counts, the best cell so far and the pace, from its record alone."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evo_nas.events import Event, Told
from evo_nas.lineage import Entry, best, entries
from evo_nas.lineage_output import as_plain, entries_text, metric_name, table
from evo_nas.record import Header


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A summary of the record.

    Attributes:
        statuses: Evaluations told, by status, the most frequent first.
        in_flight: Births asked for and not told.
        best: The best cell so far.
        published: Mean fitness of the published cells among generation 0, best first.
        evaluations_per_hour: Evaluations told per hour in which anything ran; None if nothing
            did. Pauses between an interrupt and a resume do not count.
        duplicates: Draws thrown away because their digest was known.
        operators: Births by mutation operator (``published`` and ``random`` included).
        last_failure: Message of the newest failure, empty if there is none.
    """

    task: str
    created: str
    evaluations: int
    statuses: dict[str, int]
    in_flight: tuple[int, ...]
    best: Entry | None
    published: dict[str, float]
    evaluations_per_hour: float | None
    duplicates: int
    operators: dict[str, int]
    last_failure: str


def summary(header: Header, events: Sequence[Event]) -> RunStatus:
    """Sum up a run."""
    births = entries(events)
    told = [event for event in events if isinstance(event, Told)]
    leaders = best(events, 1)
    references = {
        str(entry.mutation["name"]): entry.fitness
        for entry in births
        if entry.operator == "published" and entry.fitness is not None
    }
    failures = [event.message for event in told if event.status != "ok"]
    hours = busy_seconds(told) / 3600
    return RunStatus(
        task=header.task,
        created=header.created,
        evaluations=len(told),
        statuses=dict(Counter(str(event.status) for event in told).most_common()),
        in_flight=tuple(entry.birth for entry in births if entry.status == "running"),
        best=leaders[0] if leaders else None,
        published=dict(sorted(references.items(), key=lambda item: -item[1])),
        evaluations_per_hour=len(told) / hours if hours > 0 else None,
        duplicates=sum(entry.duplicates for entry in births),
        operators=dict(Counter(entry.operator for entry in births).most_common()),
        last_failure=failures[-1] if failures else "",
    )


def busy_seconds(told: Iterable[Told]) -> float:
    """How long at least one evaluation ran: the length of the union of their intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted((e.finished - e.seconds, e.finished) for e in told):
        if end > reached:
            total += end - max(start, reached)
            reached = end
    return total


def to_text(status: RunStatus, header: Header) -> str:
    """The summary for a terminal."""
    pace = status.evaluations_per_hour
    failed = {kind: n for kind, n in status.statuses.items() if kind != "ok"}
    lines = [
        f"task {status.task}, begun {status.created}",
        f"metric: {metric_name(header)}",
        f"evaluations: {status.evaluations}" + ("" if pace is None else f" ({pace:,.0f}/hour)"),
        f"failed: {_counts(failed) or 'none'}",
        f"running: {_births(status.in_flight)}",
        f"duplicates avoided: {status.duplicates}",
        f"births by mutation: {_counts(status.operators) or 'none'}",
    ]
    if message := status.last_failure.strip():
        lines.append(f"last failure: {message.splitlines()[-1]}")
    if status.best is None:
        return "\n".join([*lines, "best: no evaluation has finished well yet"])
    lines += ["", "best so far", entries_text([status.best], header).split("\n", 1)[1]]
    if status.published:
        rows = [
            (name, f"{fitness:.4f}", f"{(status.best.fitness or 0.0) - fitness:+.4f}")
            for name, fitness in status.published.items()
        ]
        lines += ["", table(("published cell", "fitness", "best minus it"), rows, left=(0,))]
    return "\n".join(lines)


def to_json(status: RunStatus) -> str:
    """The summary as a JSON object."""
    document = {field.name: getattr(status, field.name) for field in dataclasses.fields(status)}
    document["best"] = None if status.best is None else as_plain(status.best)
    return json.dumps(document, indent=2, allow_nan=False)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items())


def _births(births: Sequence[int]) -> str:
    if not births:
        return "nothing recorded"
    return f"{len(births)} (births {', '.join(map(str, births[:8]))}{'...' * (len(births) > 8)})"
