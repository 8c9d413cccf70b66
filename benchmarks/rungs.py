"""Rungs on recorded trainings: how often is the best cell kept to the end, and what does it cost?

    python benchmarks/rungs.py TABLE [--draws 500] [--search-draws 300]

``TABLE`` is NAS-Bench-NLP's WikiText-2 part (jsonl, jsonl.gz: cells with their validation curves of
50 epochs). Without rnn, lstm and gru. Of each class of isomorphic recipes one training is drawn at
random, classes are drawn without replacement, and arrive in random order; epochs are the steps.

Asynchronous: so many run at once, and the hurdles of each are made by `evo_nas.rungs.hurdles` of
those alone that had ended when it began. The cost is the epochs trained, as a share of 50 for each
cell; the best is the one with the lowest loss after the last epoch of all in the draw.

The setting is searched for on one half of the classes, with 27 cells a draw (a half has not the 54
of the other bar), and then looked at on the other half and on all.
"""

from __future__ import annotations

import argparse
import gzip
import heapq
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evo_nas.config_tables import RungsConfig
from evo_nas.rungs import Arrivals, Hurdles, hurdles, rung_steps

EPOCHS = 50
REFERENCES = (1000000, 1000001, 1000002)
AT_ONCE = (1, 8)
BARS = {54: (0.95, 0.18), 27: (0.93, 0.25)}
"""By cells a draw: the best kept so often at least, at such a share of the cost at most."""

LIMIT = 0.22
"""The most that a setting may cost in the search, with 27 cells: one draw of 54 costs about four
points less, for fewer of its cells come before there are hurdles."""

RUNGS = (
    *((2,), (3,), (5,), (2, 5), (2, 10), (3, 10), (4, 12), (5, 15), (1, 5, 15), (2, 5, 10)),
    *((2, 5, 15), (2, 10, 25), (3, 6, 12), (3, 10, 20), (3, 10, 25), (4, 8, 16), (4, 10, 20)),
    *((1, 2, 5, 10), (2, 4, 8, 16), (2, 5, 10, 20), (3, 5, 10, 20), (3, 6, 12, 25)),
    *((1, 2, 4, 8, 16, 32), (2, 3, 5, 7, 10, 15, 20, 30, 40)),
)
KEEPS = (0.15, 0.2, 0.25, 0.3, 0.33, 0.36, 0.4, 0.45, 0.5, 0.6)
LEASTS = (1, 2, 3)

Curve = Sequence[float]
"""Fitness after each epoch: the negative loss; -inf where there was no number."""
Rule = Callable[[Arrivals], Hurdles]


@dataclass(frozen=True)
class Score:
    """How often the best was kept, and the mean share of the cost, over some draws."""

    kept: float
    cost: float

    def __str__(self) -> str:
        return f"{self.kept:6.1%} {self.cost:6.1%}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--search-draws", type=int, default=300)
    options = parser.parse_args()
    classes = curves_by_class(options.table)
    names = np.random.default_rng(0).permutation(sorted(classes)).tolist()
    half = len(names) // 2
    groups = {"first half": names[:half], "other half": names[half:], "all": names}

    chosen, table = searched(classes, groups["first half"], options.search_draws, ours)
    other, _ = searched(classes, groups["first half"], options.search_draws, by_itself)
    print(f"search on the first half: {half} classes, 27 cells, 1 at once, {LIMIT:.0%} at most")
    print(f"{'epochs':<28} {'keep':>5} {'least':>5}   kept   cost")
    for rungs, score in table[:12]:
        print(f"{_named(rungs):<28} {rungs.keep:>5} {rungs.least:>5} {score}")

    print(f"\n{options.draws} draws: how often the best of the draw was kept, at what cost")
    columns = [f"{cells} of {group}" for group, cells in (*((g, 27) for g in groups), ("all", 54))]
    print(f"{'rule':<36} {'at once':>10} {' '.join(f'{c:>16}' for c in columns)}")
    for name, rule in rules(chosen, other):
        for at_once in AT_ONCE:
            row = [
                scored(drawn(classes, groups[group], cells, options.draws), rule, at_once)
                for group, cells in (*((g, 27) for g in groups), ("all", 54))
            ]
            print(f"{name:<36} {at_once:>10} {' '.join(f'{score!s:>16}' for score in row)}")
    row = [
        halved(drawn(classes, groups[group], cells, options.draws), chosen)
        for group, cells in (*((g, 27) for g in groups), ("all", 54))
    ]
    print(f"{'successive halving':<36} {'all':>10} {' '.join(f'{score!s:>16}' for score in row)}")
    for cells, (kept, cost) in BARS.items():
        print(f"bar of {cells} cells: kept at least {kept:.0%} at {cost:.0%} of the cost at most")


def curves_by_class(path: Path) -> dict[int, list[Curve]]:
    """The trainings of each class."""
    opener = gzip.open if path.suffix == ".gz" else open
    classes: dict[int, list[Curve]] = defaultdict(list)
    with opener(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["class_id"] not in REFERENCES and len(row["val_losses"]) == EPOCHS:
                losses = row["val_losses"]
                classes[row["class_id"]].append([-math.inf if v is None else -v for v in losses])
    return dict(classes)


def drawn(
    classes: dict[int, list[Curve]], names: Sequence[int], cells: int, draws: int
) -> Iterator[list[Curve]]:
    """Draws of so many cells in the order of their arrival; the same for every rule."""
    rng = np.random.default_rng(1)
    for _ in range(draws):
        found = rng.choice(names, cells, replace=False).tolist()
        yield [classes[name][rng.integers(len(classes[name]))] for name in found]


def searched(
    classes: dict[int, list[Curve]],
    names: Sequence[int],
    draws: int,
    make: Callable[[RungsConfig], Rule],
) -> tuple[RungsConfig, list[tuple[RungsConfig, Score]]]:
    """The setting that keeps the best most often at `LIMIT`, the cheapest of equals; and all that
    keep to it, in this order."""
    found = []
    for epochs, keep, least in itertools.product(RUNGS, KEEPS, LEASTS):
        rungs = RungsConfig(tuple(epoch / EPOCHS for epoch in epochs), keep, least)
        score = scored(drawn(classes, names, 27, draws), make(rungs), 1)
        if score.cost <= LIMIT:
            found.append((rungs, score))
    found.sort(key=lambda item: (-item[1].kept, item[1].cost))
    return found[0][0], found


def scored(draws: Iterator[list[Curve]], rule: Rule, at_once: int) -> Score:
    """What a rule makes of some draws."""
    results = [simulated(curves, rule, at_once) for curves in draws]
    return Score(*np.mean(results, axis=0).tolist())


def simulated(curves: Sequence[Curve], rule: Rule, at_once: int) -> tuple[bool, float]:
    """Whether the best was trained to the end, and the share of the cost."""
    arrivals, lengths = Arrivals(), [0] * len(curves)
    running: list[tuple[int, int, list[tuple[int, float]]]] = []
    for number, curve in enumerate(curves):
        now = 0
        if number >= at_once:
            now, _, rungs = heapq.heappop(running)
            arrivals.add(EPOCHS, rungs)
        epochs, rungs = climbed(curve, rule(arrivals))
        lengths[number] = epochs
        heapq.heappush(running, (now + epochs, number, rungs))
    best = max(range(len(curves)), key=lambda number: curves[number][-1])
    return lengths[best] == EPOCHS, sum(lengths) / (EPOCHS * len(curves))


def climbed(curve: Curve, given: Hurdles) -> tuple[int, list[tuple[int, float]]]:
    """Epochs until a hurdle is missed, and the fitness at each rung that was come to."""
    rungs: list[tuple[int, float]] = []
    for epoch, hurdle in given:
        rungs.append((epoch, curve[epoch - 1]))
        if hurdle is not None and curve[epoch - 1] < hurdle:
            return epoch, rungs
    return EPOCHS, rungs


def rules(chosen: RungsConfig, other: RungsConfig) -> Iterator[tuple[str, Rule]]:
    """What the table compares: the project's rule as it was chosen and as it is by default, ASHA's
    as it was chosen in the same way, and others at the same rungs."""
    default = RungsConfig(chosen.fractions)
    yield f"chosen: {_named(chosen)}, {chosen.keep}, {chosen.least}", ours(chosen)
    yield f"default: {default.keep}, {default.least}", ours(default)
    yield f"ASHA, chosen: {_named(other)}, {other.keep}, {other.least}", by_itself(other)
    yield "ASHA as ours", by_itself(chosen)
    yield "mean, as So et al.", absolute(chosen)
    yield "all trained to the end", ours(RungsConfig())


def ours(rungs: RungsConfig) -> Rule:
    """The project's rule."""
    return lambda arrivals: hurdles(rungs, arrivals, EPOCHS)


def by_itself(rungs: RungsConfig) -> Rule:
    """At each rung the share ``keep`` of those that came to it."""

    def rule(arrivals: Arrivals) -> Hurdles:
        found: list[tuple[int, float | None]] = []
        for step in rung_steps(rungs.fractions, EPOCHS):
            there = arrivals.there(EPOCHS, step)
            passing = max(1, math.ceil(rungs.keep * len(there) - 1e-9))
            found.append((step, there[-passing] if len(there) >= rungs.least else None))
        return tuple(found)

    return rule


def absolute(rungs: RungsConfig) -> Rule:
    """At each rung the mean of those that came to it."""

    def rule(arrivals: Arrivals) -> Hurdles:
        found: list[tuple[int, float | None]] = []
        for step in rung_steps(rungs.fractions, EPOCHS):
            there = [value for value in arrivals.there(EPOCHS, step) if math.isfinite(value)]
            found.append((step, sum(there) / len(there) if len(there) >= rungs.least else None))
        return tuple(found)

    return rule


def halved(draws: Iterator[list[Curve]], rungs: RungsConfig) -> Score:
    """The control: all cells are trained up to a rung, then the share ``keep`` goes on together."""
    results = []
    for curves in draws:
        left, cost, before = list(range(len(curves))), 0, 0
        for step in rung_steps(rungs.fractions, EPOCHS):
            cost, before = cost + len(left) * (step - before), step
            left.sort(key=lambda number: -curves[number][step - 1])
            left = left[: max(1, math.ceil(rungs.keep * len(left) - 1e-9))]
        cost += len(left) * (EPOCHS - before)
        best = max(range(len(curves)), key=lambda number: curves[number][-1])
        results.append((best in left, cost / (EPOCHS * len(curves))))
    return Score(*np.mean(results, axis=0).tolist())


def _named(rungs: RungsConfig) -> str:
    return " ".join(map(str, rung_steps(rungs.fractions, EPOCHS)))


if __name__ == "__main__":
    main()
