"""Task kind ``forecasting``: predict the next values of the user's own series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.tasks.base import Batch, Metric
from workers.tasks.batches import SCORED_TOGETHER, scale_of, scaled, shuffled
from workers.tasks.errors import TaskError
from workers.tasks.files import format_of, sha256_of
from workers.tasks.heads import HorizonHead
from workers.tasks.options import require
from workers.tasks.splits import DEFAULT_SPLIT, Indices, Split, contiguous
from workers.tasks.tables import TABLE_FORMATS, Table, read_table

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.datetime64]
Names = tuple[str | int, ...]

PARTS = ("training", "validation", "test")
_DAY, _WEEK, _YEAR = 86_400.0, 7 * 86_400.0, 365.2425 * 86_400.0


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the kind ``forecasting``.

    Attributes:
        columns: What is read as input; None: all columns but dates. A date column named here
            enters as sine and cosine of the time of day, of week and of year.
        targets: What is predicted; None: ``columns`` without dates.
        window: Rows of input.
        horizon: Rows predicted, those right after the window.
        split: Training, validation, test, contiguous: fractions, or whole numbers of rows.
        stride: Rows from one scored window to the next; training uses every window.
        relative: Whether values are read and predicted as differences from the last row of the
            window (NLinear of Zeng et al. 2023, AAAI): for series whose level moves away from that
            of the training part. The metric is the same either way.
        delimiter: CSV: one character; None: a tab in ``.tsv``, else a comma.
        header: CSV: whether the first line names the columns; without, they are 1, 2, 3, …
        skip_lines: CSV: lines before the table.
    """

    columns: Names | None = None
    targets: Names | None = None
    window: int = 96
    horizon: int = 24
    split: Split = DEFAULT_SPLIT
    stride: int = 1
    relative: bool = False
    delimiter: str | None = None
    header: bool = True
    skip_lines: int = 0

    def __post_init__(self) -> None:
        for name, least in (("window", 1), ("horizon", 1), ("stride", 1), ("skip_lines", 0)):
            value = getattr(self, name)
            require(value >= least, "forecasting", name, f"at least {least}", value)


@dataclass(eq=False)
class ForecastingTask:
    """Direct multi-step forecasting; the metric is the mean squared error of standardised values.

    Attributes:
        columns: Names of the inputs, of which dates are six.
        targets: Names of what is predicted.
        inputs: ``(rows, columns)`` float32, standardised with the training rows.
        outputs: ``(rows, targets)`` float32, likewise.
        relative: As the option.
        moving: Which inputs are series, not waves of the calendar.
        rows: First row and end of the training, validation and test part.
    """

    name: str
    metric: Metric
    data_sha256: str
    columns: tuple[str, ...]
    targets: tuple[str, ...]
    window: int
    horizon: int
    stride: int
    inputs: npt.NDArray[np.float32]
    outputs: npt.NDArray[np.float32]
    relative: bool
    moving: npt.NDArray[np.bool_]
    rows: dict[str, tuple[int, int]]

    training_loss: ClassVar[str] = "squared_error"

    def describe(self) -> str:
        sizes = " / ".join(f"{end - begin:,}" for begin, end in self.rows.values())
        return (
            f"{self.name}: {sizes} rows to train / validate / test, {self.window} rows of "
            f"{', '.join(self.columns)} predict {self.horizon} rows of {', '.join(self.targets)}"
        )

    def front_end(self, hidden_size: int) -> nn.Module:
        return nn.Linear(len(self.columns), hidden_size)

    def head(self, hidden_size: int) -> nn.Module:
        return HorizonHead(hidden_size, self.horizon, len(self.targets))

    def training_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
        """Batches of ``min(batch_size, windows)`` windows, shuffled anew in each pass."""
        windows = self.rows["training"][1] - self.window - self.horizon + 1
        for chosen in shuffled(windows, batch_size, rng):
            yield self._batch(chosen + self.window)

    def scoring_batches(self, part: Literal["validation", "test"]) -> Iterator[Batch]:
        """Each ``stride``-th window whose predicted rows all lie in the part, in order.

        The input of the first ones reaches back into the part before, as it would in use.
        """
        begin, end = self.rows[part]
        firsts = np.arange(begin, end - self.horizon + 1, self.stride)
        for start in range(0, len(firsts), SCORED_TOGETHER):
            yield self._batch(firsts[start : start + SCORED_TOGETHER])

    def _batch(self, firsts: Indices) -> Batch:
        """Inputs ``(window, B, columns)``, targets ``(horizon, B, targets)`` from ``firsts`` on."""
        before = firsts + np.arange(-self.window, 0)[:, None]
        after = firsts + np.arange(self.horizon)[:, None]
        inputs, targets = self.inputs[before], self.outputs[after]
        if self.relative:
            last = firsts - 1
            inputs -= self.inputs[last] * self.moving
            targets -= self.outputs[last]
        return Batch(inputs=torch.from_numpy(inputs), targets=torch.from_numpy(targets))

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Mean squared error of ``(horizon, B, targets)``."""
        return functional.mse_loss(prediction, batch.targets)

    def score(self, prediction: Tensor, batch: Batch) -> tuple[float, int]:
        error = prediction.double() - batch.targets.double()
        return float(error.square().sum()), error.numel()


def make(data: str, options: Options) -> ForecastingTask:
    """Reads a CSV or Parquet table, one row per time step, the oldest first.

    Raises:
        TaskError: The table cannot be read, a cell is not a number, or a part is too short.
    """
    if format_of(data) not in TABLE_FORMATS:
        raise TaskError(
            f"{data}: the suffix {format_of(data)!r} tells no known format. Known: "
            f"{', '.join(TABLE_FORMATS)}, each also with .gz or .xz."
        )
    table = read_table(
        data, delimiter=options.delimiter, header=options.header, skip_lines=options.skip_lines
    )
    times = {name: table.times(name) for name in _named(table, options.columns)}
    chosen = [name for name in times if options.columns is not None or times[name] is None]
    series = [name for name in chosen if times[name] is None]
    targets = series if options.targets is None else [str(name) for name in options.targets]
    if not targets:
        raise TaskError(f"{data}: nothing to predict: all columns are dates.")
    inputs = {
        name: values for column in chosen for name, values in _input(table, column, times[column])
    }
    outputs = {name: _series(table, name) for name in targets}

    parts = contiguous(table.rows, options.split, "rows")
    window, horizon = options.window, options.horizon
    # only the first part has nothing before it that its windows could reach back into
    for part, name, needed in zip(
        parts,
        PARTS,
        (window + horizon, horizon, horizon),
        strict=True,
    ):
        if len(part) < needed:
            raise TaskError(
                f"{data}: the {name} part has {len(part)} of {table.rows} rows, but window = "
                f"{window} and horizon = {horizon} need {needed}. Lower them or change split."
            )
    training = parts[0].stop
    return ForecastingTask(
        name="forecasting",
        metric=Metric("MSE", "standardised", higher_is_better=False),
        data_sha256=sha256_of(table.content),
        columns=tuple(inputs),
        targets=tuple(outputs),
        window=window,
        horizon=horizon,
        stride=options.stride,
        inputs=_standardised(inputs, training, data),
        outputs=_standardised(outputs, training, data),
        relative=options.relative,
        moving=np.array([name in series for name in inputs]),
        rows={name: (part.start, part.stop) for name, part in zip(PARTS, parts, strict=True)},
    )


def _named(table: Table, columns: Names | None) -> list[str]:
    return list(table.columns) if columns is None else [str(name) for name in columns]


def _input(table: Table, name: str, times: Times | None) -> list[tuple[str, Floats]]:
    if times is None:
        return [(name, _series(table, name))]
    seconds = times.astype(np.int64) / 1e6
    angles = {"day": _DAY, "week": _WEEK, "year": _YEAR}
    return [
        (f"{name} {wave.__name__} {period}", wave(2 * np.pi * seconds / length))
        for period, length in angles.items()
        for wave in (np.sin, np.cos)
    ]


def _series(table: Table, name: str) -> Floats:
    values, empty = table.numbers(name)
    if empty.any():
        raise TaskError(
            f"{table.path}: row {int(empty.argmax()) + 1}, column {name!r} is empty. Fill the gap, "
            "cut the table, or leave the column out (option columns)."
        )
    return values


def _standardised(series: dict[str, Floats], training: int, path: str) -> npt.NDArray[np.float32]:
    rows = np.stack(list(series.values()), axis=1)
    return scaled(rows, *scale_of(rows[:training]), path)
