"""A recorded comparison as the table it gave; one that was interrupted has what is there."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evo_nas.comparison.entrants import BASELINE, SEARCH, Field, Trial
from evo_nas.comparison.recorded import field_from
from evo_nas.errors import RecordError
from evo_nas.events import Asked, Event, Told
from evo_nas.intervals import Interval, t_interval
from evo_nas.record import Header, RunPath, read_events, read_header
from workers.messages import LARGEST

MOST_TRAININGS = 1_000_000
"""Of one comparison: far above all use."""


@dataclass(frozen=True, slots=True)
class Row:
    """A cell's line of the table.

    Attributes:
        name: ``birth 17``, the baseline's name, ``random search``.
        roles: What it takes part as (`evo_nas.comparison.entrants`).
        digest: Of the cell.
        hidden_size: Width it was trained at.
        parameters: Trainable numbers of the whole model; 0 before its first result.
        learning_rate: Peak learning rate; None for the run's.
        by_seed: The metric with each seed; None where it failed or has no result yet.
        failed: Seeds that failed.
        seconds: Mean wall-clock seconds of a training that did not fail; None if none did.
        search_metric: Mean of what a search had measured; None for a cell it never finished.
        tuned: What the tuning found, in the order of the grid.
    """

    name: str
    roles: tuple[str, ...]
    digest: str
    hidden_size: int
    parameters: int
    learning_rate: float | None
    by_seed: tuple[float | None, ...]
    failed: int
    seconds: float | None
    search_metric: float | None
    tuned: tuple[Trial, ...] = ()

    @property
    def metrics(self) -> tuple[float, ...]:
        """One for each seed that did not fail."""
        return tuple(metric for metric in self.by_seed if metric is not None)

    @property
    def mean(self) -> float | None:
        """Mean over the seeds; None if all failed."""
        return statistics.fmean(self.metrics) if self.metrics else None

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over the seeds; None for fewer than two."""
        return statistics.stdev(self.metrics) if len(self.metrics) > 1 else None

    @property
    def interval(self) -> Interval | None:
        """Student's 95 % interval of the mean over seeds; None for fewer than two."""
        return t_interval(self.metrics) if len(self.metrics) > 1 else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A table: rows best first, the part of the data, and where it is recorded.

    Attributes:
        entrants: The names of the rows in the order of training: the run's best first.
        target: Parameters of the run's best, which all are to have; the baselines alone, where
            ``equal`` is false.
        seeds: Final trainings of each row.
        steps: Optimiser steps of each.
        run_steps: Those of the run's own evaluations.
        run_rate: Peak learning rate of the run.
        judged: Name of the run's cell that the verdict is on.
        rival: Name of the baseline that it is judged against; None if none was chosen.
        tuned: Whether each row has a learning rate of its own.
        control: See `evo_nas.comparison.entrants.Field`.
        equal: Whether all rows were brought to the target's size.
        warnings: What of its record is damaged and was left out.
    """

    rows: tuple[Row, ...]
    entrants: tuple[str, ...]
    target: int
    part: str
    seeds: int
    steps: int
    run_steps: int
    run_rate: float
    metric: str
    unit: str
    higher_is_better: bool
    directory: RunPath
    complete: bool
    judged: str
    rival: str | None
    tuned: bool
    control: Mapping[str, Any]
    equal: bool = True
    warnings: tuple[str, ...] = ()

    def having(self, role: str) -> list[Row]:
        """The rows of a role (`evo_nas.comparison.entrants`), in the order of training."""
        return sorted(
            (row for row in self.rows if role in row.roles),
            key=lambda row: self.entrants.index(row.name),
        )

    def row(self, name: str) -> Row | None:
        """The row of that name; None if it has no training yet."""
        return next((row for row in self.rows if row.name == name), None)


def read_comparison(folder: RunPath) -> Comparison:
    """A recorded comparison.

    Raises:
        RecordError: If its record cannot be read.
    """
    header = read_header(folder)
    events, warnings = read_events(folder)
    try:
        return _comparison(folder, header, events, warnings)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RecordError(
            f"{folder} is no comparison that this program wrote ({error!r}). Move it away."
        ) from error


def _comparison(
    folder: RunPath, header: Header, events: Sequence[Event], warnings: Sequence[str]
) -> Comparison:
    config = header.config
    names = [str(name) for name in config["entrants"]]
    field = field_from(header, folder) if "field" in config else None
    known = _known(field, names)
    asked = {event.birth: event for event in events if isinstance(event, Asked)}
    told = {event.birth: event for event in events if isinstance(event, Told)}
    seeds = int(config["seeds"])
    if not 0 <= seeds * len(names) <= MOST_TRAININGS:
        raise ValueError(f"{seeds} seeds of {len(names)} cells")
    # Births go through the entrants again and again, once with each seed.
    rows = [
        _row(
            known[number], asked[number], [told.get(number + k * len(names)) for k in range(seeds)]
        )
        for number in range(len(names))
        if number in asked
    ]
    first = next((row.parameters for row in rows if row.name == names[0]), 0)
    rows.sort(key=lambda row: _rank(row, header.higher_is_better))
    training = config["training"]
    return Comparison(
        rows=tuple(rows),
        entrants=tuple(names),
        target=field.target if field is not None else first,
        part=str(config["part"]),
        seeds=seeds,
        steps=int(config.get("steps", training["steps"])),
        run_steps=int(training["steps"]),
        run_rate=float(training["learning_rate"]),
        metric=header.metric,
        unit=header.unit,
        higher_is_better=header.higher_is_better,
        directory=folder,
        complete=len(told) == seeds * len(names),
        judged=names[field.judged if field is not None else 0],
        rival=names[field.rival] if field is not None and field.rival is not None else None,
        tuned=bool(config.get("learning_rates")),
        control=field.control if field is not None else {"left_out": ""},
        equal=field is not None,
        warnings=tuple(warnings),
    )


def _known(
    field: Field | None, names: Sequence[str]
) -> list[tuple[str, tuple[str, ...], tuple[Trial, ...]]]:
    """Name, roles and tuning of each entrant; before format 3 a name said it all."""
    if field is not None:
        return [(e.name, e.roles, e.tuned) for e in field.entrants]
    return [
        (
            name,
            (SEARCH,) * ("birth " in name) + (BASELINE,) * (not name.startswith("birth ")),
            (),
        )
        for name in names
    ]


def _row(
    known: tuple[str, tuple[str, ...], tuple[Trial, ...]], asked: Asked, told: Sequence[Told | None]
) -> Row:
    name, roles, tuned = known
    measured = asked.mutation.get("search_metric")
    if not (measured is None or type(measured) is float):
        raise TypeError("what a search measured is no number")
    there = [event for event in told if event is not None]
    good = [event.seconds for event in there if _metric(event) is not None]
    return Row(
        name=name,
        roles=roles,
        digest=asked.digest,
        hidden_size=asked.hidden_size,
        parameters=max((event.parameters for event in there), default=0),
        learning_rate=asked.learning_rate,
        by_seed=tuple(None if event is None else _metric(event) for event in told),
        failed=len(there) - len(good),
        seconds=statistics.fmean(good) if good else None,
        search_metric=measured,
        tuned=tuned,
    )


def _metric(event: Told) -> float | None:
    """The metric of a training; None if it failed, by what counts as a failure now."""
    return None if event.metric is None or abs(event.metric) > LARGEST else event.metric


def _rank(row: Row, higher_is_better: bool) -> tuple[int, float]:
    # A cell that fails on some seeds is not better than one that never does, whatever the mean
    # over its lucky ones says; one that has no result yet comes last.
    mean = row.mean
    if mean is None:
        return (row.failed, math.inf)
    return (row.failed, -mean if higher_is_better else mean)
