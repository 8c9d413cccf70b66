"""Tables of recorded results: what each of many cells scored, with its noise and its failures.

Read are NAS-Bench-NLP's results (Klyuchnikov et al. 2020; rows with a recipe and losses) and any
run's own record. Cells of one digest are one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evo_nas.bench.rows import LOSSES, RECIPES, RUNS, rows_of
from evo_nas.errors import BenchError
from evo_nas.events import Asked
from evo_nas.record import HEADER, read_events, read_header
from genomes.canonical import canonical
from genomes.genome import Genome
from genomes.nas_bench_nlp import from_recipe


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table.

    Attributes:
        genome: Its canonical form.
        runs: The fitness of each recorded run, higher is better; None for one that failed.
    """

    genome: Genome
    runs: tuple[float | None, ...]

    @property
    def mean(self) -> float | None:
        """Over the runs that did not fail; None if all did."""
        values = [value for value in self.runs if value is not None]
        return math.fsum(values) / len(values) if values else None


@dataclass(frozen=True, eq=False)
class Table:
    """Cells that can be looked up instead of trained.

    Attributes:
        name: For headings.
        unit: Of the metric.
        cells: By digest, in the order of the table.
    """

    name: str
    unit: str
    cells: Mapping[str, Cell]

    @cached_property
    def digests(self) -> list[str]:
        """All digests, in the order of the table."""
        return list(self.cells)

    @cached_property
    def best(self) -> float:
        """The highest mean fitness."""
        return max(cell.mean for cell in self.cells.values() if cell.mean is not None)

    @cached_property
    def worst(self) -> float:
        """The lowest mean fitness."""
        return min(cell.mean for cell in self.cells.values() if cell.mean is not None)

    def look_up(self, digest: str, rng: np.random.Generator) -> float | None:
        """The fitness of one of the cell's runs, picked at random; None if that one failed."""
        runs = self.cells[digest].runs
        return runs[int(rng.integers(len(runs)))]

    def regret(self, digest: str | None) -> float:
        """By how much the cell's mean fitness falls short of the best of the table; who has found
        no cell at all stands as with the worst."""
        if digest is None:
            return self.best - self.worst
        mean = self.cells[digest].mean
        assert mean is not None, "a cell without a fitness is never the best found"
        return self.best - mean

    def part(self, number: int, of: int) -> Table:
        """One of several parts of the table, by hash of the digest.

        Raises:
            BenchError: If no cell of that part has a fitness.
        """
        kept = {
            digest: cell
            for digest, cell in self.cells.items()
            if int(hashlib.sha256(digest.encode()).hexdigest(), 16) % of == number - 1
        }
        return _checked(Table(f"{self.name}, part {number} of {of}", self.unit, kept), self.name)


def read_table(path: Path) -> Table:
    """Read a table, or a run directory as one.

    Raises:
        BenchError: If it is neither, or holds no cell with a fitness; the message names the line.
        RecordError: If it is a run with a damaged record.
    """
    if (path / HEADER).exists():
        return _checked(_from_run(path), str(path))
    if not path.is_file():
        raise BenchError(f"{path}: there is no such table, and no run directory.")
    runs: dict[str, tuple[Genome, list[float | None]]] = {}
    for number, row in enumerate(rows_of(path), start=1):
        genome, losses = _cell_of(row, f"{path}, row {number}")
        known = runs.setdefault(genome.digest, (genome, []))
        known[1].extend(None if loss is None else -loss for loss in losses)
    cells = {
        digest: Cell(canonical(genome), tuple(fitness))
        for digest, (genome, fitness) in runs.items()
    }
    return _checked(Table(path.parent.name or path.name, "nats", cells), str(path))


def _checked(table: Table, where: str) -> Table:
    if not any(cell.mean is not None for cell in table.cells.values()):
        raise BenchError(f"{where}: holds no cell with a fitness, so there is nothing to search.")
    return table


def _cell_of(row: Mapping[str, Any], where: str) -> tuple[Genome, list[float | None]]:
    recipe = next((row[name] for name in RECIPES if name in row), None)
    runs = row.get(RUNS, [row])
    try:
        if isinstance(recipe, str):
            recipe = json.loads(recipe)
        if isinstance(recipe, dict):
            # Parquet gives every node of a struct the keys of all others, empty.
            recipe = {name: node for name, node in recipe.items() if node is not None}
        if recipe is None:
            raise BenchError("it has no 'recepie' or 'recipe'")
        genome = from_recipe(recipe)
        losses = [_loss(run) for run in runs]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise BenchError(
            f"{where}: {error}. A row needs a recipe of NAS-Bench-NLP and {' or '.join(LOSSES)}, "
            "itself or in each of its 'runs'."
        ) from error
    return genome, losses


def _loss(run: Mapping[str, Any]) -> float | None:
    key = next((key for key in LOSSES if key in run), None)
    if key is None:
        raise BenchError(f"a run has none of {', '.join(LOSSES)}")
    loss = run[key]
    return None if loss is None or not math.isfinite(loss) else float(loss)


def _from_run(directory: Path) -> Table:
    header = read_header(directory)
    events, _ = read_events(directory)
    asked: dict[int, Asked] = {}
    runs: dict[str, tuple[Genome, list[float | None]]] = {}
    for event in events:
        if isinstance(event, Asked):
            asked[event.birth] = event
        elif event.status != "stopped":  # its fitness is that of another budget
            candidate = asked[event.birth]
            genome = Genome.from_json(candidate.genome)
            known = runs.setdefault(candidate.digest, (canonical(genome), []))
            known[1].append(event.fitness)
    cells = {digest: Cell(genome, tuple(values)) for digest, (genome, values) in runs.items()}
    return Table(directory.name, header.unit or header.metric, cells)


def operations(cells: Iterable[Cell]) -> set[str]:
    """The operations that occur in some cells."""
    return {node.op for cell in cells for node in cell.genome.nodes}
