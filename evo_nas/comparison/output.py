"""A comparison for a terminal, as Markdown and as JSON."""

from __future__ import annotations

import dataclasses
import json
from statistics import median
from typing import Any

from evo_nas.comparison.entrants import Trial
from evo_nas.comparison.folders import times_opened
from evo_nas.comparison.judging import (
    Difference,
    baseline_of_table,
    difference,
    number,
    phrase,
    unequal,
    verdict,
)
from evo_nas.comparison.reading import Comparison, Row
from evo_nas.intervals import Interval
from genomes.readable import joined, readable

_MARKDOWN = str.maketrans({sign: f"\\{sign}" for sign in "\\|<["})
LEFT = 2
"""The first columns of the table are text."""


def table(comparison: Comparison) -> str:
    """The table and what it says, as text."""
    cells = [[readable(cell) for cell in row] for row in _cells(comparison)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [*_title(comparison), *(_aligned(row, widths) for row in cells)]
    return joined([*lines, "", *_conclusions(comparison), *_in_parentheses(_notes(comparison))])


def markdown(comparison: Comparison) -> str:
    """The same as Markdown."""
    heads, *rows = ([_quoted(cell) for cell in row] for row in _cells(comparison))
    rule = ["---" if k < LEFT else "---:" for k in range(len(heads))]
    first, *others = map(_quoted, _conclusions(comparison))
    lines = [_quoted(" ".join(_title(comparison))), ""]
    lines += [f"| {' | '.join(row)} |" for row in (heads, rule, *rows)]
    lines += ["", f"**{first}**"]
    for other in others:
        lines += ["", other]
    return joined([*lines, "", *(f"- {_quoted(note)}" for note in _notes(comparison))])


def _quoted(text: str) -> str:
    """A text in Markdown: no name in it begins a cell, a tag, a link or a picture."""
    return text.translate(_MARKDOWN)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Everything: each metric by seed, intervals, differences, the verdict, what was tuned."""
    document = {field.name: getattr(comparison, field.name) for field in _fields(comparison)}
    document |= {"directory": str(comparison.directory), "control": dict(comparison.control)}
    base = baseline_of_table(comparison)
    found = verdict(comparison)
    return document | {
        "baseline": None if base is None else base.name,
        "rows": [_row_json(row, base, comparison) for row in comparison.rows],
        "verdict": None
        if found is None
        else {
            "sentence": found.sentence,
            "judged": found.judged,
            "against": [_difference_json(item) for item in found.against],
            "others": [_difference_json(item) for item in found.others],
        },
    }


def to_json(comparison: Comparison) -> str:
    """The same as text."""
    return json.dumps(as_json(comparison), indent=2, allow_nan=False)


def _title(comparison: Comparison) -> list[str]:
    unit = f" ({comparison.unit})" if comparison.unit else ""
    who = "all" if comparison.equal else "baselines"
    tuned = ", learning rate tuned for each" if comparison.tuned else ""
    return [
        f"{comparison.part} {comparison.metric}{unit}, each cell trained anew with "
        f"{comparison.seeds} seed{'s' * (comparison.seeds != 1)} for {comparison.steps} steps,",
        f"{who} at the parameters of the search's best{tuned}; ± is a 95 % interval",
    ]


def _cells(comparison: Comparison) -> list[list[str]]:
    base = baseline_of_table(comparison)
    heads = ["cell", "digest", "mean", "± 95 %"]
    if base is not None:
        heads += [f"better than {base.name} by", "± 95 %"]
    heads += ["in search", "parameters", "hidden", "rate", "seconds", "failed"]
    return [heads, *(_line(row, base, comparison) for row in comparison.rows)]


def _line(row: Row, base: Row | None, comparison: Comparison) -> list[str]:
    cells = [row.name, row.digest[:8], _number(row.mean), _half(row.interval)]
    if base is not None:
        item = difference(row, base, comparison.higher_is_better)
        same = row.name == base.name
        cells += ["", ""] if same else [_number(item.mean, "+"), _half(item.interval)]
    rate = comparison.run_rate if row.learning_rate is None else row.learning_rate
    return [
        *cells,
        _number(row.search_metric),
        f"{row.parameters:,}",
        str(row.hidden_size),
        f"{rate:.3g}",
        "-" if row.seconds is None else f"{row.seconds:.1f}",
        str(row.failed),
    ]


def _aligned(row: list[str], widths: list[int]) -> str:
    cells = [
        cell.ljust(width) if k < LEFT else cell.rjust(width)
        for k, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _conclusions(comparison: Comparison) -> list[str]:
    """The verdict, and what else there is to say of the judged cell; at least one line."""
    if not comparison.complete:
        return ["interrupted: some trainings are missing, so there is no verdict yet"]
    found = verdict(comparison)
    if found is None:
        return ["no verdict: there is no baseline to be compared with"]
    lines = [f"verdict: {found.sentence}"]
    return lines + [f"also: {phrase(item, comparison)}" for item in found.others]


def _notes(comparison: Comparison) -> list[str]:
    """What else a reader has to know."""
    notes = [
        f"{row.name} has {off:+.1%} parameters: no hidden size comes nearer"
        for row in comparison.rows
        if comparison.equal or "birth" not in row.name
        if (off := unequal(row, comparison.target))
    ]
    notes += [
        f"{row.name} failed on {row.failed} of {comparison.seeds} seeds: it stands after those "
        "that did not, and is compared on the seeds that are left"
        for row in comparison.rows
        if row.failed
    ]
    notes += [
        f"the seeds of {row.name} lie between {number(min(row.metrics))} and "
        f"{number(max(row.metrics))}, their median is {number(median(row.metrics))}: its mean and "
        "its interval say little"
        for row in comparison.rows
        if _far_apart(row)
    ]
    if comparison.tuned:
        notes += _of_tuning(comparison)
    elif comparison.equal:
        notes.append(
            f"one learning rate for all, tuned for none of them: evo-nas compare "
            f"{comparison.directory.parent.parent} tunes it for each"
        )
    if comparison.steps != comparison.run_steps:
        notes.append(f"the search trained for {comparison.run_steps} steps")
    notes += _of_control(comparison)
    if comparison.part == "validation" and comparison.tuned:
        opened = times_opened(comparison.directory.parent.parent, "test")
        test = f"was opened before ({opened}x)" if opened else "is still closed: --test opens it"
        notes.append(
            "on the part that the search and the tuning chose by, which flatters what they chose; "
            f"the test part {test}"
        )
    return notes


def _in_parentheses(notes: list[str]) -> list[str]:
    return [f"({note})" for note in notes]


def _of_tuning(comparison: Comparison) -> list[str]:
    edge = [row.name for row in comparison.rows if _at_the_edge(row)]
    lost = [row.name for row in comparison.rows if _failed_everywhere(row)]
    notes = []
    if edge:
        notes.append(
            f"the best learning rate lies at the edge of the grid for {', '.join(edge)}: there may "
            "be a better one beyond ([compare] learning_rates)"
        )
    if lost:
        notes.append(
            f"{', '.join(lost)} failed at every learning rate of the tuning and kept the run's own"
        )
    return notes


def _of_control(comparison: Comparison) -> list[str]:
    control = comparison.control
    if reason := control.get("left_out"):
        return [f"no random search: {reason}"]
    if "birth" not in control:
        return []
    mutation = control["mutation"]
    drawn = (
        f"published cell {mutation['name']}"
        if mutation["operator"] == "published"
        else "drawn at random"
    )
    return [
        f"random search: birth {control['birth']} ({drawn}), the best of the "
        f"{control['evaluations']} evaluations in {control['run']}"
    ]


def _far_apart(row: Row) -> bool:
    """Whether one seed alone decides the mean: the seeds differ by more than twice the median."""
    if len(row.metrics) < 2:
        return False
    return max(row.metrics) - min(row.metrics) > 2 * abs(median(row.metrics)) > 0


def _at_the_edge(row: Row) -> bool:
    """Whether the best learning rate is the smallest or the largest that was tried."""
    rates = [trial.learning_rate for trial in row.tuned]
    edges = {min(rates), max(rates)} if len(set(rates)) > 1 else set()
    return row.learning_rate in edges and not _failed_everywhere(row)


def _failed_everywhere(row: Row) -> bool:
    return bool(row.tuned) and not any(trial.metrics for trial in row.tuned)


def _row_json(row: Row, base: Row | None, comparison: Comparison) -> dict[str, Any]:
    item = None
    if base is not None and row.name != base.name:
        item = difference(row, base, comparison.higher_is_better)
    return {field.name: getattr(row, field.name) for field in _fields(row)} | {
        "metrics": row.metrics,
        "mean": row.mean,
        "deviation": row.deviation,
        "interval": _interval_json(row.interval),
        "difference": None if item is None else _difference_json(item),
        "tuned": [_trial_json(trial) for trial in row.tuned],
    }


def _difference_json(item: Difference) -> dict[str, Any]:
    return {field.name: getattr(item, field.name) for field in _fields(item)} | {
        "interval": _interval_json(item.interval)
    }


def _interval_json(interval: Interval | None) -> dict[str, Any] | None:
    if interval is None:
        return None
    return dataclasses.asdict(interval) | {"half_width": interval.half_width}


def _trial_json(trial: Trial) -> dict[str, Any]:
    return dataclasses.asdict(trial)


def _fields(instance: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(instance)


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else number(value, sign)


def _half(interval: Interval | None) -> str:
    return "-" if interval is None else number(interval.half_width)
