"""How a run stands: counts, the best cell so far and the pace, from its record alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evo_nas.births import Births
from evo_nas.columns import NONE, Floats, Ints
from evo_nas.events import SCORED
from evo_nas.front import FrontRow, pareto_front
from evo_nas.lineage import Entry, best
from evo_nas.lineage_output import as_plain, entries_text, metric_name, table
from evo_nas.record.header import Header
from genomes.readable import joined


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A summary of the record.

    Attributes:
        statuses: Evaluations told, by status, the most frequent first.
        stopped: Evaluations stopped at a hurdle, by the step they had come to, in its order.
        steps: Optimiser steps that were made.
        whole_steps: What these trainings would have made of them had none been stopped.
        in_flight: Births asked for and not told.
        best: The best cell so far.
        published: Mean fitness of the published cells among generation 0 that came to the same
            step as the best cell, best first.
        evaluations_per_hour: Evaluations told per hour in which anything ran; None if nothing
            did. Pauses between an interrupt and a resume do not count.
        duplicates: Draws thrown away because their digest was known.
        operators: Births by mutation operator (``published`` and ``random`` included).
        last_failure: Message of the newest failure, empty if there is none.
        front: The Pareto front of a multi-objective run; empty for others.
    """

    task: str
    created: str
    evaluations: int
    statuses: dict[str, int]
    stopped: dict[int, int]
    steps: int
    whole_steps: int
    in_flight: tuple[int, ...]
    best: Entry | None
    published: dict[str, float]
    evaluations_per_hour: float | None
    duplicates: int
    operators: dict[str, int]
    last_failure: str
    front: tuple[FrontRow, ...]


def summary(header: Header, births: Births) -> RunStatus:
    """Sum up a run.

    Raises:
        RecordError: If a file changed since it was read.
    """
    leaders = best(births, 1)
    told = births.told
    hours = busy_seconds(births.finished[told], births.seconds[told]) / 3600
    return RunStatus(
        task=header.task,
        created=header.created,
        evaluations=births.evaluated,
        statuses=_most_common(births.status[told], births.statuses),
        stopped=_stopped(births),
        steps=int(births.own_steps.sum()),
        whole_steps=int(np.where(births.stopped, births.budget, births.own_steps).sum()),
        in_flight=tuple(births.birth[~told].tolist()),
        best=leaders[0] if leaders else None,
        published=_published(births, leaders[0].steps if leaders else 0),
        evaluations_per_hour=births.evaluated / hours if hours > 0 else None,
        duplicates=int(births.duplicates.sum()),
        operators=_most_common(births.operator, births.operators),
        last_failure=_last_failure(births),
        front=pareto_front(header, births),
    )


def busy_seconds(finished: Floats, seconds: Floats) -> float:
    """How long at least one evaluation ran: the length of the union of their intervals.

    Args:
        finished: (T,) when each ended, in seconds.
        seconds: (T,) how long each took.
    """
    if not len(finished):
        return 0.0
    starts = finished - seconds
    order = np.lexsort((finished, starts))
    starts, ends = starts[order], finished[order]
    reached = np.concatenate([[-np.inf], np.maximum.accumulate(ends)[:-1]])
    parts = np.where(ends > reached, ends - np.maximum(starts, reached), 0.0)
    return float(np.cumsum(parts)[-1])


def _most_common(numbers: Ints, names: Sequence[str]) -> dict[str, int]:
    """How often each name occurs, the most frequent first."""
    counts = np.bincount(numbers, minlength=len(names)).tolist()
    return dict(sorted(zip(names, counts, strict=True), key=lambda item: -item[1]))


def _stopped(births: Births) -> dict[int, int]:
    """How many evaluations were stopped at each step."""
    steps, counts = np.unique(births.own_steps[births.stopped], return_counts=True)
    return dict(zip(steps.tolist(), counts.tolist(), strict=True))


def _published(births: Births, steps: int) -> dict[str, float]:
    """Mean fitness of the published cells of generation 0 that came to a step, best first."""
    number = births.operators.index("published") if "published" in births.operators else NONE
    came = (births.steps == steps) & ~np.isnan(births.fitness)
    rows = np.flatnonzero((births.operator == number) & came)
    names = [str(details.mutation.get("name")) for details in births.details(rows)]
    found = dict(zip(names, births.fitness[rows].tolist(), strict=True))
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _last_failure(births: Births) -> str:
    """Message of the failure that was told last; empty if there is none."""
    failed = np.flatnonzero(births.told & ~births.scored)
    if not len(failed):
        return ""
    last = failed[[births.told_at[failed].argmax()]]
    return births.details(last)[0].message


def to_text(status: RunStatus, header: Header) -> str:
    """The summary for a terminal."""
    pace = status.evaluations_per_hour
    failed = {kind: n for kind, n in status.statuses.items() if kind not in SCORED}
    lines = [
        f"task {status.task}, begun {status.created}",
        f"metric: {metric_name(header)}",
        f"evaluations: {status.evaluations}" + ("" if pace is None else f" ({pace:,.0f}/hour)"),
        f"failed: {_counts(failed) or 'none'}",
        *_stops(status),
        f"running: {_births(status.in_flight)}",
        f"duplicates avoided: {status.duplicates}",
        f"births by mutation: {_counts(status.operators) or 'none'}",
    ]
    if message := status.last_failure.strip():
        lines.append(f"last failure: {message.splitlines()[-1]}")
    if status.best is None:
        return joined([*lines, "best: no evaluation has finished well yet"])
    lines += ["", "best so far", *entries_text([status.best], header).split("\n")[1:]]
    if status.published:
        rows = [
            (name, f"{fitness:.4f}", f"{(status.best.fitness or 0.0) - fitness:+.4f}")
            for name, fitness in status.published.items()
        ]
        heads = ("published cell", "fitness", "best minus it")
        lines += ["", *table(heads, rows, left=(0,)).split("\n")]
    return joined(lines + _front(status))


def _front(status: RunStatus) -> list[str]:
    if not status.front:
        return []
    names = list(status.front[0].costs)
    rows = [
        (
            str(row.birth),
            row.digest[:8],
            f"{row.fitness:.4f}",
            *(f"{c:,}" for c in row.costs.values()),
        )
        for row in status.front
    ]
    heads = ("birth", "digest", "fitness", *(name.replace("_", "-") for name in names))
    return ["", "Pareto front", *table(heads, rows, left=(1,)).split("\n")]


def _stops(status: RunStatus) -> list[str]:
    if not status.stopped:
        return []
    steps = ", ".join(f"at step {step}: {count}" for step, count in status.stopped.items())
    share = status.steps / status.whole_steps
    return [
        f"stopped: {sum(status.stopped.values())} ({steps})",
        f"optimiser steps: {status.steps:,} instead of {status.whole_steps:,} ({share:.0%})",
    ]


def as_document(status: RunStatus) -> dict[str, Any]:
    """The summary as JSON-plain data."""
    document = {field.name: getattr(status, field.name) for field in dataclasses.fields(status)}
    document["front"] = [dataclasses.asdict(row) for row in status.front]
    document["best"] = None if status.best is None else as_plain(status.best)
    return document


def to_json(status: RunStatus) -> str:
    """The summary as a JSON object."""
    return json.dumps(as_document(status), indent=2, allow_nan=False)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items())


def _births(births: Sequence[int]) -> str:
    if not births:
        return "nothing recorded"
    return f"{len(births)} (births {', '.join(map(str, births[:8]))}{'...' * (len(births) > 8)})"
