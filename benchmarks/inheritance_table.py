"""What `inheritance.py` shows of its trainings: differences, rank correlations, regret."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from published_losses import spearman

from evo_nas.intervals import Interval, t_interval

PARENT, SCRATCH, TRUTH = "parent", "scratch", "4x"
FROM_PARENT = {"edges": False, "edges + ends": True}
"""Kinds of training that begin with a parent's weights, and whether with its ends too."""
STEPS = {PARENT: 1, SCRATCH: 1, **dict.fromkeys(FROM_PARENT, 1), "scratch 2x": 2, TRUTH: 4}
"""All kinds, and their budgets as multiples of the run's."""

DRAWS = 2000
TOURNAMENT = 5
"""Children of a draw, of which the best is picked: about what a search compares at once."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of one training of a child; of its parent, where the kind says so.

    Attributes:
        birth: The child's.
        kind: One of `STEPS`.
        seed: The child's.
        fitness: None if the training failed.
    """

    birth: int
    kind: str
    seed: int
    fitness: float | None

    @property
    def key(self) -> tuple[int, str, int]:
        """What is trained once."""
        return self.birth, self.kind, self.seed


@dataclass(frozen=True, slots=True)
class Figures:
    """How one kind of training does, over S seeds. Fitness is higher for the better.

    Attributes:
        failed: Trainings that failed.
        fitness: Mean over the children that never failed, in any kind.
        gain: Fitness minus that from scratch of the same children and seed: means over the
            children, interval over the seeds. None for scratch itself.
        gain_of_children: The same, but means over the seeds, interval over the children.
        median_gain: Median over all children and seeds, failures included: one cell that explodes
            moves the means, not this. None for scratch itself.
        rank: Spearman correlation with the truth over the children; interval over the seeds.
        rank_gain: That minus the one of scratch of the same seed; None for scratch itself.
        regret: Truth of the best child minus truth of the one that this training says is best.
        regret_of_draws: The same where the choice is between `TOURNAMENT` children drawn at random.
        with_parent: Spearman correlation with the fitness of the children's parents.
    """

    failed: int
    fitness: float
    gain: Interval | None
    gain_of_children: Interval | None
    median_gain: float | None
    rank: Interval
    rank_gain: Interval | None
    regret: Interval
    regret_of_draws: Interval
    with_parent: Interval


def figures_of(rows: Sequence[Trained]) -> tuple[dict[str, Figures], int, float]:
    """Figures of all kinds but the truth, how many children they are of, and the regret of a
    choice between them at random.

    Children whose truth is not known, because a training failed, are left out; other failures rank
    last.
    """
    births = sorted({row.birth for row in rows})
    seeds = sorted({row.seed for row in rows})
    fitness = {row.key: -math.inf if row.fitness is None else row.fitness for row in rows}
    kinds = {
        kind: np.array([[fitness[birth, kind, seed] for birth in births] for seed in seeds])
        for kind in STEPS
    }
    known = np.isfinite(kinds[TRUTH]).all(axis=0)
    kinds = {kind: values[:, known] for kind, values in kinds.items()}
    truth = kinds.pop(TRUTH).mean(axis=0)
    whole = np.all([np.isfinite(values).all(axis=0) for values in kinds.values()], axis=0)
    draws = _draws(len(truth))
    figures = {kind: _figures(kind, kinds, truth, whole, draws) for kind in kinds}
    return figures, len(truth), float(truth.max() - truth.mean())


def _figures(
    kind: str,
    kinds: Mapping[str, Floats],
    truth: Floats,
    whole: npt.NDArray[np.bool_],
    draws: npt.NDArray[np.int64],
) -> Figures:
    own, scratch = kinds[kind], kinds[SCRATCH]
    gains = (own - scratch)[:, whole] if kind != SCRATCH else None
    ranks = [spearman(row.tolist(), truth.tolist()) for row in own]
    other_ranks = [spearman(row.tolist(), truth.tolist()) for row in scratch]
    picked = [truth[draws[np.arange(len(draws)), row[draws].argmax(axis=1)]] for row in own]
    best = truth[draws].max(axis=1)
    return Figures(
        failed=int(np.isinf(own).sum()),
        fitness=float(own[:, whole].mean()),
        gain=None if gains is None else t_interval(gains.mean(axis=1).tolist()),
        gain_of_children=None if gains is None else t_interval(gains.mean(axis=0).tolist()),
        median_gain=None if gains is None else float(np.median(_differences(own, scratch))),
        rank=t_interval(ranks),
        rank_gain=None
        if gains is None
        else t_interval([a - b for a, b in zip(ranks, other_ranks, strict=True)]),
        regret=t_interval([float(truth.max() - truth[row.argmax()]) for row in own]),
        regret_of_draws=t_interval([float((best - chosen).mean()) for chosen in picked]),
        with_parent=t_interval(
            [spearman(a.tolist(), b.tolist()) for a, b in zip(own, kinds[PARENT], strict=True)]
        ),
    )


def _differences(own: Floats, scratch: Floats) -> Floats:
    """Fitness minus that from scratch; 0 where both failed, infinite where one did."""
    both = np.isinf(own) & np.isinf(scratch)
    difference: Floats = np.where(both, 0.0, own) - np.where(both, 0.0, scratch)
    return difference


def _draws(children: int) -> npt.NDArray[np.int64]:
    """(DRAWS, TOURNAMENT) positions of children; the same for every kind."""
    rng = np.random.default_rng(0)
    size = min(TOURNAMENT, children)
    return np.array([rng.choice(children, size, replace=False) for _ in range(DRAWS)])


def table_of(rows: Sequence[Trained], lower_is_better: bool) -> str:
    """The figures as a Markdown table, fitness as the task's metric."""
    figures, children, at_random = figures_of(rows)
    sign = -1 if lower_is_better else 1
    lines = [
        "| weights, steps | failed | metric | - scratch, over seeds | over children | median "
        "| rank | rank - scratch | regret of all | regret of 5 | rank with parent |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, of_kind in figures.items():
        gains = [
            "" if gain is None else _shown(gain, 4, sign)
            for gain in (of_kind.gain, of_kind.gain_of_children)
        ]
        cells = [
            f"{kind}, {STEPS[kind]}x" if kind in FROM_PARENT or kind == PARENT else kind,
            str(of_kind.failed),
            f"{sign * of_kind.fitness:.4f}",
            *gains,
            "" if of_kind.median_gain is None else f"{sign * of_kind.median_gain:.4f}",
            _shown(of_kind.rank, 3),
            "" if of_kind.rank_gain is None else _shown(of_kind.rank_gain, 3),
            _shown(of_kind.regret, 4),
            _shown(of_kind.regret_of_draws, 4),
            "" if kind == PARENT else _shown(of_kind.with_parent, 3),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append(f"\n{children} children with a known truth; regret at random {at_random:.4f}")
    return "\n".join(lines)


def _shown(interval: Interval, digits: int, sign: int = 1) -> str:
    return f"{sign * interval.mean:.{digits}f} ± {interval.half_width:.{digits}f}"
