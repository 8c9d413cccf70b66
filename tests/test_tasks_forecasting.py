"""The task kind ``forecasting``: columns, windows, parts, scale, what is refused."""

from __future__ import annotations

import gzip
import pickle
import warnings
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from shared_data import shared_data

from workers.tasks import TaskError, load_task
from workers.tasks.forecasting import ForecastingTask


def forecasting(data: Path, **options: object) -> ForecastingTask:
    task = load_task("forecasting", str(data), options)
    assert isinstance(task, ForecastingTask)
    return task


def refusal(data: Path, **options: object) -> str:
    with pytest.raises(TaskError) as caught:
        load_task("forecasting", str(data), {"window": 4, "horizon": 2} | options)
    return str(caught.value)


def written(folder: Path, content: str | bytes, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def table(rows: int = 100) -> pa.Table:
    hours = np.datetime64("2024-01-01T00:00") + np.arange(rows) * np.timedelta64(1, "h")
    return pa.table(
        {
            "date": hours.astype("datetime64[us]"),
            "load": np.arange(rows, dtype=np.float64),
            "price": np.arange(rows, dtype=np.int64) ** 2,
        }
    )


def csv_file(folder: Path, rows: int = 100) -> Path:
    pa.csv.write_csv(table(rows), folder / "table.csv")
    return folder / "table.csv"


def raw(values: torch.Tensor) -> np.ndarray:
    """The values of column ``load`` before they were standardised with 80 rows."""
    return np.rint(values.double().numpy() * np.arange(80).std() + np.arange(80).mean())


def test_csv_and_parquet_give_the_same_task(tmp_path: Path) -> None:
    pa.parquet.write_table(table(), tmp_path / "table.parquet")
    plain = csv_file(tmp_path)
    packed = written(tmp_path, gzip.compress(plain.read_bytes()), "table.csv.gz")
    paths = (plain, tmp_path / "table.parquet", packed)
    tasks = [forecasting(path, window=4, horizon=2) for path in paths]
    for task in tasks:
        assert task.columns == task.targets == ("load", "price")
        assert np.array_equal(task.inputs, tasks[0].inputs)
    assert tasks[0].data_sha256 == tasks[2].data_sha256


def test_the_horizon_follows_the_window(tmp_path: Path) -> None:
    task = forecasting(csv_file(tmp_path), columns="load", window=4, horizon=2)
    for batch in islice(task.training_batches(8, np.random.default_rng(0)), 5):
        assert batch.inputs.shape == (4, 8, 1)
        assert batch.targets.shape == (2, 8, 1)
        rows = np.concatenate([raw(batch.inputs), raw(batch.targets)])[:, :, 0]
        assert (np.diff(rows, axis=0) == 1).all()
        assert rows.max() < 80


def test_training_sees_every_window_once_a_pass_in_the_order_of_the_generator(
    tmp_path: Path,
) -> None:
    task = forecasting(csv_file(tmp_path), columns="load", window=4, horizon=2)

    def firsts(seed: int) -> list[float]:
        batches = islice(task.training_batches(15, np.random.default_rng(seed)), 5)
        return [first for batch in batches for first in raw(batch.inputs)[0, :, 0].tolist()]

    assert sorted(firsts(1)) == list(range(75))  # 80 - 4 - 2 + 1
    assert firsts(1) == firsts(1)
    assert firsts(1) != firsts(2)


@pytest.mark.parametrize(("part", "begin"), [("validation", 80), ("test", 90)])
def test_a_part_is_predicted_whole_and_its_first_window_reaches_back(
    tmp_path: Path, part: str, begin: int
) -> None:
    task = forecasting(csv_file(tmp_path), columns="load", window=4, horizon=2)
    batches = list(task.scoring_batches(part))  # type: ignore[arg-type]
    predicted = np.concatenate([raw(batch.targets)[:, :, 0] for batch in batches], axis=1)
    assert predicted[0].tolist() == list(range(begin, begin + 9))
    assert predicted[1].tolist() == list(range(begin + 1, begin + 10))
    assert raw(batches[0].inputs)[:, 0, 0].tolist() == list(range(begin - 4, begin))


def test_a_stride_leaves_out_scored_windows(tmp_path: Path) -> None:
    task = forecasting(csv_file(tmp_path), columns="load", window=4, horizon=2, stride=4)
    (batch,) = task.scoring_batches("test")
    assert raw(batch.targets)[0, :, 0].tolist() == [90, 94, 98]


def test_relative_values_are_differences_from_the_last_row_of_the_window(tmp_path: Path) -> None:
    options = {"columns": ["date", "price"], "targets": ["load"], "window": 4, "horizon": 2}
    plain, relative = (
        next(forecasting(csv_file(tmp_path), **options, relative=yes).scoring_batches("test"))
        for yes in (False, True)
    )
    price = plain.inputs[..., -1]
    assert torch.equal(relative.inputs[..., -1], price - price[-1])
    assert torch.equal(relative.inputs[..., :-1], plain.inputs[..., :-1])  # the calendar stays
    steps = relative.targets.double() * np.arange(80).std()
    assert torch.allclose(steps, torch.tensor([[[1.0]], [[2.0]]]).double(), atol=1e-4)


def test_the_metric_does_not_depend_on_whether_values_are_relative(tmp_path: Path) -> None:
    plain, relative = (
        forecasting(csv_file(tmp_path), window=4, horizon=2, relative=yes) for yes in (False, True)
    )
    persistence = [
        task.score(guess, batch)[0]
        for task in (plain, relative)
        for batch in task.scoring_batches("validation")
        for guess in [batch.inputs[-1:].expand_as(batch.targets)]
    ]
    assert persistence[0] == pytest.approx(persistence[1], rel=1e-4)


def test_only_the_training_rows_decide_the_scale(tmp_path: Path) -> None:
    task = forecasting(csv_file(tmp_path), window=4, horizon=2)
    assert task.inputs[:80].mean(axis=0) == pytest.approx([0, 0], abs=1e-6)
    assert task.inputs[:80].std(axis=0) == pytest.approx([1, 1], abs=1e-6)
    assert task.inputs[80:].mean() > 1


def test_targets_may_be_other_columns_than_the_inputs(tmp_path: Path) -> None:
    task = forecasting(csv_file(tmp_path), columns=["load"], targets=["price"], window=4, horizon=2)
    batch = next(task.scoring_batches("test"))
    assert (batch.inputs.shape[2], batch.targets.shape[2]) == (1, 1)
    states = task.front_end(5)(batch.inputs)
    assert task.head(5)(states, None).shape == batch.targets.shape
    assert task.targets == ("price",)


def test_a_date_column_enters_only_when_named_and_then_as_waves(tmp_path: Path) -> None:
    task = forecasting(csv_file(tmp_path), columns="date,load", window=4, horizon=2)
    assert task.targets == ("load",)
    assert task.columns[:2] == ("date sin day", "date cos day")
    assert len(task.columns) == 7
    midnights = task.inputs[::24, 1]
    assert np.ptp(midnights) < 1e-5
    assert midnights[0] == task.inputs[:, 1].max()


@pytest.mark.parametrize(
    "dates",
    [
        ["2024-01-01", "2024-01-02"],
        ["2024-01", "2024-02"],
        ["2024-01-01 00:00:00+00:00", "2024-01-01 00:30:00+00:00"],
        ["2024-01-01T00:00:00", "2024-01-01T01:00:00"],
    ],
)
def test_iso_dates_are_left_out_unasked(tmp_path: Path, dates: list[str]) -> None:
    rows = "".join(f"{dates[row % 2]},{row}\n" for row in range(40))
    task = forecasting(written(tmp_path, "when,value\n" + rows), window=4, horizon=2)
    assert task.columns == ("value",)


def test_the_metric_is_the_mean_over_horizon_windows_and_targets(tmp_path: Path) -> None:
    task = forecasting(csv_file(tmp_path), window=4, horizon=2)
    batch = next(task.scoring_batches("test"))
    total, count = task.score(batch.targets + 0.5, batch)
    assert count == 2 * 9 * 2
    assert total / count == pytest.approx(0.25, rel=1e-5)
    assert task.loss(batch.targets + 0.5, batch).item() == pytest.approx(0.25, rel=1e-5)


def test_a_pickled_task_with_read_only_arrays_trains_without_a_warning(tmp_path: Path) -> None:
    task = pickle.loads(pickle.dumps(forecasting(csv_file(tmp_path), window=4, horizon=2)))
    task.inputs.flags.writeable = False
    task.outputs.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next(task.training_batches(4, np.random.default_rng(0)))
        next(task.scoring_batches("validation"))


def lines(changed: dict[int, str] | None = None, header: str = "a,b") -> str:
    rows = {row: f"{row},{row * 2}" for row in range(1, 41)} | (changed or {})
    return "\n".join([header, *(rows[row] for row in sorted(rows))]) + "\n"


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (lines({7: "7,NaN"}), {}, "row 7, column 'b': nan is not a finite number"),
        (lines({7: "7,inf"}), {}, "row 7, column 'b': inf is not a finite number"),
        (lines({7: "7,oops"}), {}, "row 7, column 'b': 'oops' is not a number"),
        (lines({7: "7,"}), {}, "row 7, column 'b' is empty. Fill the gap"),
        (lines({7: "7,1e300"}), {}, "the value 1e+300 is too large to compute with"),
        (lines({7: "7"}), {}, "cannot be read as a table"),
        (lines().replace(",", ";"), {}, "is the separator ';'? Then give the option delimiter"),
        (lines(), {"targets": "c"}, "there is no column 'c'"),
        (lines(), {"columns": ["lode", "b"]}, "there is no column 'lode'"),
        (lines(), {"window": 31}, "the training part has 32 of 40 rows, but window = 31 and"),
        (lines(), {"horizon": 5}, "the validation part has 4 of 40 rows"),
        (lines(), {"split": [30, 10, 10]}, "whole numbers of rows with sum at most 40"),
        ("a,b\n", {}, "the table has no rows"),
        ("1,2\n3,4\n", {}, "Give header = false"),
        (b"PK\x03\x04\x00\x00", {}, "zero byte at position 4"),
        (b"", {}, "the file is empty"),
        (lines(), {"stride": 0}, "option stride must be at least 1, not 0"),
        (lines(), {"horizont": 3}, "has no option 'horizont'. Did you mean 'horizon'?"),
        (lines(), {"columns": []}, "option columns must be a list"),
    ],
)
def test_hostile_tables_are_refused(
    tmp_path: Path, content: str | bytes, options: dict[str, object], message: str
) -> None:
    assert message in refusal(written(tmp_path, content), **options)


def test_a_column_that_only_begins_with_a_date_is_none(tmp_path: Path) -> None:
    path = written(tmp_path, "when,load\n2024-01-01,1\n" + "later,2\n" * 40)
    assert "row 1, column 'when': '2024-01-01' is not a number" in refusal(path)


def test_what_is_no_date_is_found_out_once_and_from_its_first_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To parse a column as times is dear, and most hold numbers."""
    parsed: list[int] = []
    really = pa.compute.cast

    def cast(values: pa.Array, target: pa.DataType, **more: bool) -> pa.Array:
        parsed.extend([len(values)] if pa.types.is_timestamp(target) else [])
        return really(values, target, **more)

    path = csv_file(tmp_path)
    monkeypatch.setattr("workers.tasks.tables.pc.cast", cast)
    forecasting(path, window=4, horizon=2)
    assert sum(parsed) < 150  # 100 dates, and two columns of numbers


def test_a_table_of_dates_alone_has_nothing_to_predict(tmp_path: Path) -> None:
    path = written(tmp_path, "when\n" + "2024-01-01\n" * 40)
    assert "nothing to predict: all columns are dates" in refusal(path, columns="when")
    assert "nothing to predict: all columns are dates" in refusal(path)


def test_a_parquet_column_of_lists_is_refused(tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table({"a": [[1.0], [2.0]] * 20}), tmp_path / "lists.parquet")
    assert "column 'a' holds list<" in refusal(tmp_path / "lists.parquet")


def test_a_file_of_unknown_format_is_refused(tmp_path: Path) -> None:
    assert "the suffix '.xlsx' tells no known format" in refusal(written(tmp_path, "x", "a.xlsx"))


@pytest.mark.parametrize(
    ("name", "persistence", "seasonal"), [("ETTh1", 1.222, 0.424), ("ETTh2", 0.271, 0.266)]
)
def test_naive_forecasts_of_ett_have_the_known_errors(
    name: str, persistence: float, seasonal: float
) -> None:
    task = forecasting(
        shared_data("ett") / f"{name}.csv.xz", split="8640,2880,2880", window=24, horizon=24
    )
    assert task.columns == task.targets == ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
    errors, count = np.zeros(2), 0
    for batch in task.scoring_batches("test"):
        last, number = task.score(batch.inputs[-1:].expand_as(batch.targets), batch)
        yesterday, _ = task.score(batch.inputs, batch)
        errors, count = errors + np.array([last, yesterday]), count + number
    assert count == (2880 - 24 + 1) * 24 * 7
    assert errors / count == pytest.approx([persistence, seasonal], abs=5e-4)


def test_classic_series_are_read_or_refused_for_their_true_gaps() -> None:
    folder = shared_data("classic-series")
    spots = forecasting(folder / "sunspots.csv", columns="SUNACTIVITY", window=22, horizon=3)
    assert spots.inputs.shape == (309, 1)
    airline = forecasting(folder / "Airline.csv", window=12, horizon=3)
    assert airline.columns == ("Passengers",)
    macro = forecasting(folder / "macrodata.csv", targets="infl", window=8, horizon=1)
    assert len(macro.columns) == 14
    assert "row 7, column 'co2' is empty" in refusal(folder / "co2.csv", columns="co2")
    assert "row 1, column 'Month': '1991 Jul' is not a number" in refusal(
        folder / "PBS_dataset.csv"
    )
