"""Mutations that stay inside a table.

A child that the table holds is itself. Any other becomes the cell of the table that is most similar
to it, its parent excluded: similarity is that of `genomes.features.labels`, the share of
neighbourhoods that two canonical graphs have in common (1 for equal ones). Of the cells of the
public NAS-Bench-NLP table on Penn Treebank a mutation meets another cell of it 3 times in 100.

The children of a cell are drawn once, `MUTANTS` of them by a generator of its own, and every
strategy and seed draws from these: mutating is what takes the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from evo_nas.bench.table import Table, operations
from genomes.canonical import canonical
from genomes.features import labels
from genomes.genome import Genome
from genomes.mutation import mutate
from genomes.ops import ACTIVATIONS, COMBINATIONS
from genomes.space import SearchSpace

MUTANTS = 100

Child = tuple[str, Mapping[str, Any]]


class Neighbours:
    """Where mutations of a table's cells lead.

    Args:
        table: The table.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        ops = operations(table.cells.values())
        cells = [cell.genome for cell in table.cells.values()]
        self.space = SearchSpace(
            max_states=max(cell.states for cell in cells),
            activations=tuple(op for op in ACTIVATIONS if op in ops),
            combinations=tuple(op for op in COMBINATIONS if op in ops),
            scales="scale" in ops,
        )
        self._labels = np.array([labels(cell) for cell in cells], dtype=np.float32).T.copy()
        self._place = {digest: place for place, digest in enumerate(table.digests)}
        self._children: dict[str, list[Child]] = {}

    def mutate(
        self, genome: Genome, *, rng: np.random.Generator, identity_rate: float
    ) -> tuple[Genome, dict[str, Any]]:
        """A child in the table, as `genomes.mutation.mutate` gives one."""
        if rng.random() < identity_rate:
            return genome, {"operator": "identity"}
        digest = genome.digest
        if digest not in self._children:
            self._children[digest] = self._drawn(genome)
        children = self._children[digest]
        child, record = children[int(rng.integers(len(children)))]
        return self.table.cells[child].genome, dict(record)

    def draw(self, rng: np.random.Generator) -> Genome:
        """Any cell of the table."""
        digests = self.table.digests
        return self.table.cells[digests[int(rng.integers(len(digests)))]].genome

    def _drawn(self, genome: Genome) -> list[Child]:
        digest = genome.digest
        rng = np.random.default_rng(int(digest[:16], 16))
        found: list[Child] = []
        for _ in range(MUTANTS):
            child, record = mutate(genome, self.space, rng, identity_rate=0.0)
            inside = child.digest in self._place and child.digest != digest
            found.append((child.digest if inside else self._nearest(child, digest), record))
        return found

    def _nearest(self, child: Genome, parent: str) -> str:
        vector = labels(canonical(child)).astype(np.float32)
        present = np.flatnonzero(vector)
        similar = vector[present] @ self._labels[present]
        similar[self._place[parent]] = -1.0
        return self.table.digests[int(similar.argmax())]
