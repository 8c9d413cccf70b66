"""What may be concluded from a comparison, and in which words.

The rule, so that nothing can be picked after the fact:

- One cell of the run is judged. It is chosen before any final seed is seen: the best of the run's
  ``top`` in the tuning, or without one the best by the search's own fitness. That other rows of the
  table may look better in the end changes nothing: the best of k means over a few seeds is lucky
  again, which is what the comparison is there to take out.
- It is judged against one baseline, chosen in the same way by the tuning: the best of the baselines
  at its own best learning rate. That is one interval, of the confidence it says.
- Without a tuning there is no such choice, and it is judged against every baseline, each named.
  "Better than every baseline" is said only if every interval lies above zero, which has an error
  of no more than one of them and wants no correction (an intersection-union test, Berger 1982).
- Differences are paired: the seeds are the same for every row, and only those count that failed
  for neither. The interval is Student's over these differences. One that holds zero shows no
  difference; it never shows that there is none.
- A cell that failed on some seeds is not called better, whatever its other seeds say.

Everything else that is printed (the other baselines after a tuning, the random search, the other
cells of the run) is a 95 % interval of its own and no part of the verdict: among many of them, one
in twenty misleads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from evo_nas.comparison.entrants import BASELINE, CONTROL
from evo_nas.comparison.reading import Comparison, Row
from evo_nas.intervals import Interval, t_interval

TOLERANCE = 0.02
"""Rows whose parameters are further off the target than this are pointed out."""

READABLE = 1e6
"""Numbers from here on get a power of ten: a cell may explode on a part of the data."""

BETTER, WORSE, NOT_SHOWN, SAME_CELL, FAILED, TOO_FEW = (
    "better",
    "worse",
    "not shown",
    "same cell",
    "failed",
    "too few seeds",
)


@dataclass(frozen=True, slots=True)
class Difference:
    """By how much one row is better than another, seed by seed; in units of the metric.

    Attributes:
        name: The one; ``other`` the other.
        values: For each common seed, positive where ``name`` is better, whatever the direction of
            the metric.
        mean: Of them; None without any.
        interval: Student's 95 % interval of their mean; None for fewer than two.
        conclusion: ``better``, ``worse``, ``not shown``; ``same cell`` if both are one row;
            ``failed`` if ``name`` failed on some seed and is not worse on the others; ``too few
            seeds``.
    """

    name: str
    other: str
    values: tuple[float, ...]
    mean: float | None
    interval: Interval | None
    conclusion: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a finished comparison says.

    Attributes:
        sentence: In one sentence.
        judged: Name of the cell it is on.
        against: What it rests on: the baseline chosen, or every baseline.
        others: The judged cell against the other baselines and the random search.
    """

    sentence: str
    judged: str
    against: tuple[Difference, ...]
    others: tuple[Difference, ...]


def difference(row: Row, other: Row, higher_is_better: bool) -> Difference:
    """By how much a row is better than another, on the seeds that failed for neither."""
    sign = 1.0 if higher_is_better else -1.0
    pairs = zip(row.by_seed, other.by_seed, strict=True)
    values = tuple(sign * (a - b) for a, b in pairs if a is not None and b is not None)
    interval = t_interval(values) if len(values) > 1 else None
    mean = math.fsum(values) / len(values) if values else None
    if row.name == other.name:
        conclusion = SAME_CELL
    elif interval is None:
        conclusion = FAILED if row.failed else TOO_FEW
    elif interval.high < 0:
        conclusion = WORSE
    elif row.failed:
        conclusion = FAILED
    else:
        conclusion = BETTER if interval.low > 0 else NOT_SHOWN
    return Difference(row.name, other.name, values, mean, interval, conclusion)


def baseline_of_table(comparison: Comparison) -> Row | None:
    """The baseline that every row of the table is compared with: the one chosen, else the first
    of the configuration."""
    if comparison.rival is not None:
        return comparison.row(comparison.rival)
    return next(iter(comparison.having(BASELINE)), None)


def verdict(comparison: Comparison) -> Verdict | None:
    """What the comparison says by the rule of this module; None until it is complete, or if there
    is nothing to compare with."""
    judged = comparison.row(comparison.judged)
    if judged is None or not comparison.complete:
        return None
    baselines, controls = comparison.having(BASELINE), comparison.having(CONTROL)
    rest: list[Row] = []
    main = baselines or controls
    if baselines and comparison.rival is not None:
        main = [row for row in baselines if row.name == comparison.rival]
        rest = [row for row in baselines if row.name != comparison.rival]
    if not main:
        return None
    rest += [row for row in controls if row not in main and row not in rest]
    higher = comparison.higher_is_better
    against = tuple(difference(judged, row, higher) for row in main)
    others = tuple(difference(judged, row, higher) for row in rest)
    return Verdict(_sentence(comparison, judged, against), judged.name, against, others)


def _sentence(comparison: Comparison, judged: Row, against: tuple[Difference, ...]) -> str:
    if any(item.conclusion == SAME_CELL for item in against) and comparison.rival is not None:
        return (
            f"the cell that the search found is a published one, {judged.name}: it found nothing "
            "better than that baseline."
        )
    rows = [comparison.row(name) for name in [judged.name, *(item.other for item in against)]]
    equal = not any(row is not None and unequal(row, comparison.target) for row in rows)
    end = (
        f"at {'equal' if equal else 'unequal'} parameters "
        f"({_seeds(comparison, against)}, {comparison.part} part)"
    )
    if len(against) == 1:
        return f"{phrase(against[0], comparison)} {end}."
    if all(item.conclusion == BETTER for item in against):
        by = " and ".join(f"than {item.other} by {_amount(item, comparison)}" for item in against)
        return f"{judged.name} is better than every baseline {end}: {by}."
    said = "; ".join(phrase(item, comparison) for item in against)
    return f"{judged.name} is not shown to be better than every baseline {end}: {said}."


def phrase(item: Difference, comparison: Comparison) -> str:
    """A difference in words."""
    name, other, amount = item.name, item.other, _amount(item, comparison)
    if item.conclusion == SAME_CELL:
        return f"{name} is {other} itself"
    if item.conclusion in (BETTER, WORSE):
        return f"{name} is {item.conclusion} than {other} by {amount}"
    direction = "worse" if item.mean is not None and item.mean < 0 else "better"
    measured = f"{amount} {direction}" if amount else "no seed in common"
    if item.conclusion == FAILED:
        row = comparison.row(name)
        failed = 0 if row is None else row.failed
        return (
            f"{name} failed on {failed} of {comparison.seeds} seeds, so it is not called better "
            f"than {other} (on common seeds: {measured})"
        )
    few = " with fewer than two common seeds" if item.conclusion == TOO_FEW else ""
    return f"no difference of {name} to {other} is shown{few}: {measured}{_won(item)}"


def unequal(row: Row, target: int) -> float:
    """By which share its parameters are off the target; 0 within the tolerance."""
    if not row.parameters or not target:
        return 0.0
    off = row.parameters / target - 1
    return off if abs(off) > TOLERANCE else 0.0


def _amount(item: Difference, comparison: Comparison) -> str:
    """The difference without its sign, and how far it may be off; empty if nothing was measured."""
    if item.mean is None:
        return ""
    half = "" if item.interval is None else f" ± {number(item.interval.half_width)}"
    return f"{number(abs(item.mean))}{half} {comparison.unit}".rstrip()


def number(value: float, sign: str = "") -> str:
    """A metric or a difference as text: four places, and no more digits than mean anything."""
    return f"{value:{sign}.4f}" if abs(value) < READABLE else f"{value:{sign}.3e}"


def _won(item: Difference) -> str:
    """On how many seeds the judged cell was better: what one seed that is far off cannot hide."""
    if len(item.values) < 2:
        return ""
    return f" (ahead on {sum(value > 0 for value in item.values)} of {len(item.values)} seeds)"


def _seeds(comparison: Comparison, against: tuple[Difference, ...]) -> str:
    fewest = min(len(item.values) for item in against)
    if fewest == comparison.seeds:
        return f"{fewest} seed{'s' * (fewest != 1)}"
    return f"{fewest} of {comparison.seeds} seeds, on which neither failed"
