"""What many replays show: regret with its uncertainty, and how it compares with random search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evo_nas.bench.replay import Trace
from evo_nas.bench.table import Table
from evo_nas.intervals import Interval, bootstrap_interval
from genomes.readable import joined

CONTROL = "random"
CHECKPOINTS = (50, 100, 200, 400)
DRAWS = 10_000

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A strategy after so many evaluations, over all seeds.

    Attributes:
        evaluations: After so many.
        mean: Regret, with its bootstrap interval.
        median: Regret of the middle seed.
        ratio: Mean regret divided by that of random search, with its bootstrap interval; None
            without the control, for the control itself, and where its regret is 0.
        wins: Share of seeds with less regret than random search of the same seed, ties half;
            None as above.
        found: Share of seeds that hold the table's best cell.
    """

    evaluations: int
    mean: Interval
    median: float
    ratio: Interval | None
    wins: float | None
    found: float


@dataclass(frozen=True, slots=True)
class Standing:
    """How a strategy did.

    Attributes:
        strategy: Its name.
        checkpoints: Ascending.
        reaches: After how many evaluations its mean regret is that of random search after
            `Summary.reached`; None if never, or without the control.
        failed: Share of its evaluations that failed.
        duplicates: Draws thrown away, per evaluation.
        seconds: Of one replay, mean.
        curve: Mean regret after each evaluation; ``low`` and ``high`` its interval.
    """

    strategy: str
    checkpoints: tuple[Checkpoint, ...]
    reaches: int | None
    failed: float
    duplicates: float
    seconds: float
    curve: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """All strategies on one table.

    Attributes:
        table: Its name; ``cells`` how many it has, ``failing`` how many failed in every run.
        unit: Of regret.
        best: Mean fitness of its best cell.
        gap: By how much the best cell is better than the second.
        seeds: Replays of each strategy.
        reached: Evaluations after which random search sets the level of ``Standing.reaches``.
        standings: In the order that was asked for.
    """

    table: str
    unit: str
    cells: int
    failing: int
    best: float
    gap: float
    seeds: int
    reached: int
    standings: tuple[Standing, ...]


def summary_of(table: Table, traces: Sequence[Trace]) -> Summary:
    """Sum up the replays of one or more strategies, each with the same seeds."""
    names = list(dict.fromkeys(trace.strategy for trace in traces))
    regret = {
        name: np.array([trace.regret for trace in traces if trace.strategy == name])
        for name in names
    }
    seeds, evaluations = regret[names[0]].shape
    at = [n for n in CHECKPOINTS if n < evaluations] + [evaluations]
    if evaluations in CHECKPOINTS:
        at = [n for n in CHECKPOINTS if n <= evaluations]
    level = 200 if evaluations >= 200 else evaluations
    means = sorted((c.mean for c in table.cells.values() if c.mean is not None), reverse=True)
    control = regret.get(CONTROL)
    standings = []
    for name in names:
        own = [trace for trace in traces if trace.strategy == name]
        other = None if name == CONTROL else control
        low, high = _band(regret[name])
        standings.append(
            Standing(
                strategy=name,
                checkpoints=tuple(_checkpoint(n, regret[name], other) for n in at),
                reaches=_reaches(regret[name], control, level),
                failed=sum(trace.failed for trace in own) / (seeds * evaluations),
                duplicates=sum(trace.duplicates for trace in own) / (seeds * evaluations),
                seconds=sum(trace.seconds for trace in own) / seeds,
                curve=tuple(regret[name].mean(axis=0).tolist()),
                low=tuple(low.tolist()),
                high=tuple(high.tolist()),
            )
        )
    return Summary(
        table=table.name,
        unit=table.unit,
        cells=len(table.cells),
        failing=len(table.cells) - len(means),
        best=table.best,
        gap=means[0] - means[1] if len(means) > 1 else 0.0,
        seeds=seeds,
        reached=level,
        standings=tuple(standings),
    )


def _checkpoint(evaluations: int, regret: Matrix, control: Matrix | None) -> Checkpoint:
    own = regret[:, evaluations - 1]
    ratio = wins = None
    if control is not None:
        other = control[:, evaluations - 1]
        ratio = _ratio(own, other)
        wins = float((own < other).mean() + (own == other).mean() / 2)
    return Checkpoint(
        evaluations=evaluations,
        mean=_interval(own),
        median=float(np.median(own)),
        ratio=ratio,
        wins=wins,
        found=float((own == 0).mean()),
    )


def _interval(values: Matrix) -> Interval:
    if len(values) < 2:
        return Interval(float(values[0]), float(values[0]), float(values[0]), 1)
    return bootstrap_interval(values.tolist(), _generator(), draws=DRAWS)


def _ratio(own: Matrix, control: Matrix) -> Interval | None:
    """Of two means, by drawing seeds of both, pairs kept together."""
    if not control.mean() > 0:
        return None
    rows = _generator().integers(len(own), size=(DRAWS, len(own)))
    below = control[rows].mean(axis=1)
    ratios = own[rows].mean(axis=1) / np.where(below > 0, below, np.nan)
    low, high = np.nanquantile(ratios, [0.025, 0.975])
    return Interval(float(own.mean() / control.mean()), float(low), float(high), len(own))


def _band(regret: Matrix) -> tuple[Matrix, Matrix]:
    """Bootstrap interval of the mean after each evaluation, for the plot: with fewer draws."""
    rows = _generator().integers(len(regret), size=(1000, len(regret)))
    counts = np.zeros((1000, len(regret)))
    np.add.at(counts, (np.arange(1000)[:, None], rows), 1.0)
    low, high = np.quantile(counts @ regret / len(regret), [0.025, 0.975], axis=0)
    return low, high


def _reaches(regret: Matrix, control: Matrix | None, level: int) -> int | None:
    if control is None:
        return None
    below: Any = np.flatnonzero(regret.mean(axis=0) <= control[:, level - 1].mean())
    return int(below[0]) + 1 if len(below) else None


def _generator() -> np.random.Generator:
    """The same draws every time, so that the same replays print the same table."""
    return np.random.default_rng(0)


def to_text(summary: Summary) -> str:
    """The table for a terminal."""
    unit = f" {summary.unit}" if summary.unit else ""
    lines = [
        f"{summary.table}: {summary.cells:,} cells, {summary.failing:,} of them failed in every "
        f"run; the best is better than the second by {summary.gap:.4f}{unit}",
        f"regret{unit}: mean over {summary.seeds} seeds [bootstrap 95 %], in brackets its ratio to "
        "random search",
        f"{'strategy':<12} {'evaluations':>11} {'mean regret':>26} {'median':>8} "
        f"{'ratio to random':>20} {'wins':>6} {'best found':>10}",
    ]
    for standing in summary.standings:
        for check in standing.checkpoints:
            ratio = "" if check.ratio is None else _bracketed(check.ratio, 2)
            wins = "" if check.wins is None else f"{check.wins:.1%}"
            lines.append(
                f"{standing.strategy:<12} {check.evaluations:>11} {_bracketed(check.mean, 4):>26} "
                f"{check.median:>8.4f} {ratio:>20} {wins:>6} {check.found:>10.1%}"
            )
    lines.append("")
    for standing in summary.standings:
        reach = ""
        if standing.reaches is not None and standing.strategy != CONTROL:
            reach = (
                f"reaches the mean of random search at {summary.reached} after {standing.reaches}; "
            )
        lines.append(
            f"{standing.strategy}: {reach}{standing.failed:.1%} of its evaluations failed, "
            f"{standing.duplicates:.2f} duplicates avoided an evaluation, "
            f"{standing.seconds:.1f} s a replay"
        )
    return joined(lines)


def _bracketed(interval: Interval, digits: int) -> str:
    numbers = (f"{value:.{digits}f}" for value in (interval.mean, interval.low, interval.high))
    mean, low, high = numbers
    return f"{mean} [{low}, {high}]"
