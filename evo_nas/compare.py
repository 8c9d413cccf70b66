"""The honest table: the best cells and the baselines, trained anew under the same budget.

The metric a search found a cell with is too good: it is the best of many draws of luck. So the
best cells are trained again with fresh seeds, the same seeds for every row, next to the published
baselines at the winner's number of parameters.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evo_nas.births import Births
from evo_nas.config_tables import CompareConfig, SearchConfig
from evo_nas.events import Asked, Told
from evo_nas.lineage import Entry, best
from evo_nas.record import HEADER, Header, read_events, read_header
from evo_nas.record.durable import make_directory
from genomes.genome import Genome
from genomes.published import published
from workers.messages import Part

if TYPE_CHECKING:
    from workers.tasks.base import Metric, Task

FOLDER = "comparisons"
TOLERANCE = 0.02
"""Baselines whose parameters are further off than this are pointed out."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """A row to be: a cell at the size it is trained at."""

    name: str
    genome: Genome
    hidden_size: int
    search_metric: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """A cell's line of the table.

    Attributes:
        name: ``birth 17`` or the baseline's name.
        digest: Of the cell.
        hidden_size: Width it was trained at.
        parameters: Trainable numbers of the whole model.
        metrics: One for each seed that did not fail.
        failed: Seeds that failed.
        search_metric: Mean of what the search had measured; None for a cell it never finished.
    """

    name: str
    digest: str
    hidden_size: int
    parameters: int
    metrics: tuple[float, ...]
    failed: int
    search_metric: float | None

    @property
    def mean(self) -> float | None:
        """Mean over the seeds; None if all failed."""
        return statistics.fmean(self.metrics) if self.metrics else None

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over the seeds; None for fewer than two."""
        return statistics.stdev(self.metrics) if len(self.metrics) > 1 else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A finished table: rows best first, the part of the data, and where it is recorded.

    Attributes:
        target: Parameters of the search's best, which the baselines are to have too.
        warnings: What of its record is damaged and was left out.
    """

    rows: tuple[Row, ...]
    target: int
    part: str
    seeds: int
    metric: str
    unit: str
    directory: Path
    complete: bool
    warnings: tuple[str, ...] = ()


def comparison_seconds(config: CompareConfig, mean_seconds: float, capacity: int) -> float:
    """How long the comparison will take, to keep that much of a time budget for it.

    Args:
        mean_seconds: Of an evaluation of the search.
        capacity: How many trainings run at once.
    """
    trainings = config.seeds * (config.top + len(config.baselines))
    return -(-trainings // capacity) * mean_seconds


def entrants(config: SearchConfig, births: Births, task: Task) -> list[Entrant]:
    """The best cells of the record, and the baselines at the winner's number of parameters."""
    from workers.model import hidden_size_for_model

    leaders = best(births, config.compare.top)
    found = [
        Entrant(
            f"birth {entry.birth}",
            Genome.from_json(entry.genome),
            entry.hidden_size,
            mean_metric(entry, task.metric),
        )
        for entry in leaders
    ]
    for name in config.compare.baselines if leaders else ():
        genome = published(name)
        hidden = hidden_size_for_model(genome, task, config.training, leaders[0].parameters)
        same = [
            k
            for k, entrant in enumerate(found)
            if (entrant.genome.digest, entrant.hidden_size) == (genome.digest, hidden)
        ]
        if same:  # the baseline is itself among the best: one training serves both
            found[same[0]] = replace(found[same[0]], name=f"{name} ({found[same[0]].name})")
        else:
            fitness = births.mean_fitness(genome.digest)
            measured = None if fitness is None else _metric(fitness, task.metric)
            found.append(Entrant(name, genome, hidden, measured))
    return found


def mean_metric(entry: Entry, direction: Header | Metric) -> float:
    """The mean metric over all evaluations of a finished cell's digest."""
    assert entry.fitness is not None, "only finished cells are ranked"
    return _metric(entry.fitness, direction)


def _metric(fitness: float, direction: Header | Metric) -> float:
    return fitness if direction.higher_is_better else -fitness


def next_folder(directory: Path) -> Path:
    """A folder for one more comparison of a run: ``comparisons/001``, ``002``, ..."""
    root = directory / FOLDER
    make_directory(root)
    taken = [int(p.name) for p in root.iterdir() if p.name.isdigit()]
    return root / f"{max(taken, default=0) + 1:03}"


def read_comparison(folder: Path) -> Comparison:
    """A recorded comparison, as the table it gave; one that was interrupted has what is there."""
    header = read_header(folder)
    events, warnings = read_events(folder)
    names = [str(name) for name in header.config["entrants"]]
    asked = {event.birth: event for event in events if isinstance(event, Asked)}
    told = {event.birth: event for event in events if isinstance(event, Told)}
    # Births go through the entrants again and again, once with each seed.
    rows = [
        _row(
            name,
            asked[number],
            [told[birth] for birth in sorted(told) if birth % len(names) == number],
        )
        for number, name in enumerate(names)
        if number in asked
    ]
    target = next((row.parameters for row in rows if row.name == names[0]), 0)
    rows.sort(key=lambda row: _rank(row, header.higher_is_better))
    seeds = int(header.config["seeds"])
    return Comparison(
        rows=tuple(rows),
        target=target,
        part=str(header.config["part"]),
        seeds=seeds,
        metric=header.metric,
        unit=header.unit,
        directory=folder,
        complete=len(told) == seeds * len(names),
        warnings=tuple(warnings),
    )


def _row(name: str, asked: Asked, told: Sequence[Told]) -> Row:
    metrics = tuple(event.metric for event in told if event.metric is not None)
    return Row(
        name=name,
        digest=asked.digest,
        hidden_size=asked.hidden_size,
        parameters=max((event.parameters for event in told), default=0),
        metrics=metrics,
        failed=len(told) - len(metrics),
        search_metric=asked.mutation["search_metric"],
    )


def _rank(row: Row, higher_is_better: bool) -> tuple[int, float]:
    # A cell that fails on some seeds is not better than one that never does, whatever the mean
    # over its lucky ones says; one that has no result yet comes last.
    mean = row.mean
    if mean is None:
        return (row.failed, math.inf)
    return (row.failed, -mean if higher_is_better else mean)


def folders_of(directory: Path) -> list[Path]:
    """The folders of a run's comparisons in order; one killed before it began does not count."""
    found = [p for p in (directory / FOLDER).glob("*") if p.name.isdigit()]
    return sorted((p for p in found if (p / HEADER).exists()), key=lambda p: int(p.name))


def times_opened(directory: Path, part: Part) -> int:
    """How many comparisons of a run looked at a part of the data."""
    return sum(read_header(f).config.get("part") == part for f in folders_of(directory))


def about(config: SearchConfig, births: Births, part: Part) -> dict[str, Any]:
    """What makes two comparisons of a run the same: the record decides on everything else."""
    return {
        "part": part,
        "seeds": config.compare.seeds,
        "evaluations": births.evaluated,
        "baselines": list(config.compare.baselines),
        "top": config.compare.top,
    }


def last_folder(directory: Path, wanted: Mapping[str, Any]) -> Path | None:
    """The folder of the last comparison if it is the one that is wanted, complete or not."""
    for folder in folders_of(directory)[-1:]:
        config = read_header(folder).config
        if all(config.get(key) == value for key, value in wanted.items()):
            return folder
    return None


def same_comparison(config: SearchConfig, directory: Path, births: Births) -> Comparison | None:
    """The last comparison, if it is complete and the one that would be made again now."""
    folder = last_folder(directory, about(config, births, "validation"))
    found = None if folder is None else read_comparison(folder)
    return found if found is not None and found.complete else None


def table(comparison: Comparison) -> str:
    """The table as text."""
    unit = f" ({comparison.unit})" if comparison.unit else ""
    lines = [
        f"{comparison.part} {comparison.metric}{unit}, each cell trained anew with "
        f"{comparison.seeds} seeds, baselines at the parameters of the search's best",
        f"{'cell':<18} {'digest':<9} {'mean':>9} {'± sd':>8} {'in search':>10} "
        f"{'parameters':>11} {'hidden':>7} {'failed':>7}",
    ]
    for row in comparison.rows:
        lines.append(
            f"{row.name:<18} {row.digest[:8]:<9} {_number(row.mean):>9} "
            f"{_number(row.deviation):>8} {_number(row.search_metric):>10} "
            f"{row.parameters:>11,} {row.hidden_size:>7} {row.failed:>7}"
        )
    lines += _unequal(comparison)
    if not comparison.complete:
        lines.append("(interrupted: some trainings are missing)")
    return "\n".join(lines)


def _unequal(comparison: Comparison) -> list[str]:
    """A line for each baseline whose parameters no hidden size brings near the winner's."""
    return [
        f"({row.name} has {row.parameters / comparison.target - 1:+.1%} parameters: no hidden size "
        "comes nearer)"
        for row in comparison.rows
        if "birth" not in row.name and row.parameters and comparison.target
        if abs(row.parameters / comparison.target - 1) > TOLERANCE
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
