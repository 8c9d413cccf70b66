"""Lineages and tables of a run as text for a terminal, as JSON and as DOT. Pure functions."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Sequence
from typing import Any

from evo_nas.errors import RecordError
from evo_nas.lineage import Entry, OperatorRow, Step
from evo_nas.record.header import Header
from evo_nas.record.json_text import parsed
from genomes.readable import joined, readable


def path_text(steps: Sequence[Step], header: Header) -> str:
    """A lineage: each birth with its mutation, its figures and the equations that changed."""
    lines = [
        f"lineage of birth {steps[-1].entry.birth}, generation {steps[-1].entry.generation}, "
        f"task {header.task}",
        f"metric: {metric_name(header)}; gain: fitness minus the parent's, positive is better",
    ]
    for step in steps:
        entry = step.entry
        origin = "" if entry.parent is None else f" of {entry.parent}"
        lines += ["", f"birth {entry.birth} (generation {entry.generation}): {_how(entry)}{origin}"]
        lines.append("  " + ", ".join(_figures(entry)))
        if entry.parent is None:
            lines += [f"    {line}" for line in step.equations]
        elif not step.changed:
            lines.append("    no equation changed")
        for before, after in step.changed:
            lines.append(f"    before  {before if before is not None else '(nothing)'}")
            lines.append(f"    after   {after if after is not None else '(nothing)'}")
    return joined(lines)


def entries_text(entries: Sequence[Entry], header: Header) -> str:
    """Births as a table, one row each; the metric is the birth's own, the fitness its cell's.

    Where one of them was stopped at a hurdle, the step at which each was measured stands before.
    """
    stops = any(entry.status == "stopped" for entry in entries)
    rows = [
        (
            str(entry.birth),
            "-" if entry.parent is None else str(entry.parent),
            str(entry.generation),
            entry.digest[:8],
            entry.status,
            *((str(entry.own_steps),) if stops else ()),
            _number(entry.metric),
            *((str(entry.steps),) if stops else ()),
            _number(entry.fitness),
            str(entry.evaluations),
            f"{entry.gain:+.4f}" if entry.gain is not None else "-",
            f"{entry.parameters:,}" if entry.parameters else "-",
            "-" if entry.seconds is None else f"{entry.seconds:.1f}",
            _how(entry),
        )
        for entry in entries
    ]
    names = (
        *("birth", "parent", "generation", "digest", "status"),
        *(("step", "metric", "step", "fitness") if stops else ("metric", "fitness")),
        *("evaluations", "gain", "parameters", "seconds", "mutation"),
    )
    left = (3, 4, len(names) - 1)
    return f"metric: {readable(metric_name(header))}\n" + table(names, rows, left)


def mutations_text(rows: Sequence[OperatorRow]) -> str:
    """The table of operators."""
    names = ("mutation", "children", "running", "failed", "mean gain", "improved")
    cells = [
        (
            row.operator,
            str(row.count),
            str(row.running),
            str(row.failures),
            "-" if row.mean_gain is None else f"{row.mean_gain:+.4f}",
            "-" if row.improvements is None else f"{row.improvements:.0%}",
        )
        for row in rows
    ]
    return table(names, cells, left=(0,))


def to_json(rows: Sequence[Entry | Step | OperatorRow]) -> str:
    """A JSON list, one row a line; a step is its entry with ``equations`` and ``changed`` beside.

    Indented it would take three times as long: only Python's slower encoder indents.
    """
    lines = ",\n".join(json.dumps(as_plain(row), allow_nan=False) for row in rows)
    return f"[\n{lines}\n]" if lines else "[]"


def as_plain(row: Entry | Step | OperatorRow) -> dict[str, Any]:
    """One row as JSON-plain data; genomes are nested objects, not text in text."""
    if isinstance(row, Step):
        changed = [{"before": before, "after": after} for before, after in row.changed]
        return as_plain(row.entry) | {"equations": list(row.equations), "changed": changed}
    # One level deep, unlike dataclasses.asdict: what is below is plain already.
    document = {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}
    if isinstance(row, Entry):
        try:
            document["genome"] = parsed(row.genome)
        except ValueError as error:
            raise RecordError(f"the genome of birth {row.birth} is no JSON: {error}.") from None
    return document


def to_dot(entries: Sequence[Entry], marked: Collection[int] = ()) -> str:
    """The family tree as a DOT graph: an arrow from parent to child, ``marked`` births bold."""
    shown = {entry.birth for entry in entries}
    lines = ["digraph lineage {", '  node [shape=box, fontname="monospace"];']
    for entry in entries:
        value = entry.status if entry.metric is None else f"{_number(entry.metric)}{_at(entry)}"
        label = "\\n".join(_escaped(part) for part in (f"birth {entry.birth}", _how(entry), value))
        style = ", style=bold" if entry.birth in marked else ""
        lines.append(f'  {entry.birth} [label="{label}"{style}];')
    for entry in entries:
        if entry.parent in shown:
            lines.append(f"  {entry.parent} -> {entry.birth};")
    return joined([*lines, "}"])


def table(names: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[int] = ()) -> str:
    """Aligned columns, numbers to the right; the columns ``left`` to the left."""
    shown = [[readable(cell) for cell in row] for row in (names, *rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in shown
    )


def metric_name(header: Header) -> str:
    """For example ``cross-entropy in nats/char, lower is better``."""
    unit = f" in {header.unit}" if header.unit else ""
    return f"{header.metric}{unit}, {'higher' if header.higher_is_better else 'lower'} is better"


def _figures(entry: Entry) -> list[str]:
    if entry.status == "running":
        return ["running"]
    parts = [f"metric {_number(entry.metric)}{_at(entry)}"]
    if entry.metric is None:
        why = entry.message.strip().splitlines()[-1:]
        parts = [f"failed, {entry.status}" + (f": {why[0]}" if why else "")]
    if entry.evaluations > 1:
        parts.append(f"mean fitness {_number(entry.fitness)} of {entry.evaluations} evaluations")
    if entry.steps != entry.own_steps and entry.metric is not None:
        parts.append(f"in another evaluation {_number(entry.fitness)} at step {entry.steps}")
    if entry.gain is not None:
        parts.append(f"gain {entry.gain:+.4f}")
    if entry.parameters:
        parts.append(f"{entry.parameters:,} parameters")
    if entry.seconds is not None:
        parts.append(f"{entry.seconds:.1f} s")
    return parts


def _at(entry: Entry) -> str:
    return f" at step {entry.own_steps}, stopped" if entry.status == "stopped" else ""


def _how(entry: Entry) -> str:
    name = entry.mutation.get("name")
    return f"{entry.operator} {name}" if entry.operator == "published" else entry.operator


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
