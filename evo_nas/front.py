"""The Pareto front of a multi-objective run: cells than which none is better in one and as good in
all other objectives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evo_nas.births import Births
from evo_nas.columns import Floats, Ints
from evo_nas.config import from_dict
from evo_nas.record.header import Header


@dataclass(frozen=True, slots=True)
class FrontRow:
    """A cell of the front.

    Attributes:
        birth: The first birth of its digest that was scored.
        digest: Of the cell.
        fitness: Mean over the evaluations of its digest.
        costs: By objective: ``parameters`` of the recurrent layers, ``multiply_adds`` of a step.
    """

    birth: int
    digest: str
    fitness: float
    costs: dict[str, int]


def pareto_front(header: Header, births: Births) -> tuple[FrontRow, ...]:
    """The front of a run of strategy ``nsga2``, the best metric first; of others there is none."""
    config = from_dict(header.config)
    if config.evolution.strategy != "nsga2":
        return ()
    scored = np.flatnonzero(births.scored)
    _, first = np.unique(births.cell[scored], return_index=True)
    rows = scored[np.sort(first)]
    costs = _costs(births, rows, config.evolution.objectives, config.training.num_layers)
    if not costs:
        return ()
    kept = not_dominated(births.fitness[rows], np.array(list(costs.values()), float).T)
    return tuple(
        FrontRow(
            birth=int(births.birth[rows[k]]),
            digest=str(births.digests[births.cell[rows[k]]]),
            fitness=float(births.fitness[rows[k]]),
            costs={name: int(values[k]) for name, values in costs.items()},
        )
        for k in kept
    )


def not_dominated(fitness: Floats, costs: Floats) -> list[int]:
    """Which rows no other row dominates, the highest fitness first.

    Args:
        fitness: (N,) higher is better.
        costs: (N, C) lower is better.
    """
    # Equal rows are one: a metric with few values makes thousands of them.
    different, which = np.unique(np.column_stack([-fitness, costs]), axis=0, return_inverse=True)
    alike: dict[int, list[int]] = {}
    for row, group in enumerate(which.reshape(-1).tolist()):
        alike.setdefault(group, []).append(row)
    kept: list[int] = []
    for group in range(len(different)):
        # Those kept are at least as good in fitness, so only the costs can still save a row.
        if not (different[kept, 1:] <= different[group, 1:]).all(axis=1).any():
            kept.append(group)
    return [row for group in kept for row in alike[group]]


def _costs(
    births: Births, rows: Ints, objectives: Sequence[str], layers: int
) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for name in objectives:
        if name == "parameters":
            found[name] = births.recurrent_parameters[rows].tolist()
        else:
            found[name] = _multiply_adds(births, rows, layers)
    return found


def _multiply_adds(births: Births, rows: Ints, layers: int) -> list[int]:
    from genomes.canonical import canonical
    from genomes.cost import recurrent_multiply_adds
    from genomes.genome import Genome

    sizes = births.hidden_size[rows].tolist()
    cells = [canonical(Genome.from_json(details.genome)) for details in births.details(rows)]
    return [
        recurrent_multiply_adds(cell, size, layers) for cell, size in zip(cells, sizes, strict=True)
    ]
