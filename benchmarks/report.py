"""The tables of ``benchmarks/engine.py``."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cells import MEANT
from timing import Timed

RATIOS = (
    ("eager", "fused"),
    ("eager", "layer"),
    ("torch", "fused"),
    ("nn", "fused"),
    ("nn", "layer"),
)
FLOOR = "fused/floor"


@dataclass(frozen=True, slots=True)
class Case:
    """A cell at a hidden size and a setting, and what was measured.

    Attributes:
        cell: Name of the cell.
        hidden: Width of its states.
        batch: Sequences in a batch.
        length: Steps in a batch.
        multiply_adds: What a training step cannot do without.
        timed: Times of all rounds.
    """

    cell: str
    hidden: int
    batch: int
    length: int
    multiply_adds: float
    timed: Timed

    def ratios(self) -> dict[str, list[float]]:
        """The ratios of each round by name, ``fused/floor`` among them; missing ones are empty."""
        found = {f"{a}/{b}": self.timed.ratios(a, b) for a, b in RATIOS}
        return found | {FLOOR: self.timed.floor_ratios(self.multiply_adds)}

    def ratio(self, name: str) -> float:
        """Median of a ratio over the rounds, NaN where a contender is missing."""
        ratios = self.ratios()[name]
        return statistics.median(ratios) if ratios else math.nan

    def to_dict(self) -> dict[str, Any]:
        """All numbers, JSON-plain."""
        return {
            "cell": self.cell,
            "hidden": self.hidden,
            "batch": self.batch,
            "length": self.length,
            "multiply_adds": self.multiply_adds,
            "seconds": dict(self.timed.seconds),
            "gflops": self.timed.gflops,
            "ratios": self.ratios(),
        }


NAMES = (*(f"{a}/{b}" for a, b in RATIOS), FLOOR)


def header(hidden: int) -> str:
    """Title and head of a table."""
    columns = ("cell", "batch x length", *NAMES, "fused ms")
    return f"\n### hidden {hidden}\n\n{_line(columns)}\n{_line(['---'] * len(columns))}"


def row(case: Case) -> str:
    """A case as a row."""
    numbers = [_number(case.ratio(name)) for name in NAMES]
    milliseconds = 1e3 * statistics.median(case.timed.seconds["fused"])
    setting = f"{case.batch} x {case.length}"
    return _line([case.cell, setting, *numbers, f"{milliseconds:.3f}"])


def summary(cases: Sequence[Case]) -> str:
    """For each hidden size the geometric means, and the least advantage over torch's modules."""
    meant = ("eager/fused", "eager/layer", "torch/fused", FLOOR)
    least = ("nn/fused", "nn/layer")
    columns = ["hidden", *meant]
    modules = list(dict.fromkeys(c.cell for c in cases if "nn" in c.timed.seconds))
    columns += [f"least {name}, {cell}" for cell in modules for name in least]
    lines = [_line(columns), _line(["---"] * len(columns))]
    for hidden in dict.fromkeys(case.hidden for case in cases):
        here = [case for case in cases if case.hidden == hidden]
        numbers = [_geometric([c.ratio(n) for c in here if c.cell in MEANT]) for n in meant]
        numbers += [
            min(case.ratio(name) for case in here if case.cell == cell)
            for cell in modules
            for name in least
        ]
        lines.append(_line([str(hidden), *(_number(n) for n in numbers)]))
    title = "### Geometric means over cells (without gru_reset_after and readme) and settings"
    return "\n".join(["", title, "", *lines])


def _geometric(numbers: Sequence[float]) -> float:
    return statistics.geometric_mean(numbers) if numbers else math.nan


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
