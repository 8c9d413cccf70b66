"""Parquet tables from strangers, whose few kilobytes may stand for gigabytes: one line, no more."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hostile import MiB, bounded, refused_data, written
from tests.parquet_bytes import parquet as columns
from tests.parquet_bytes import varint
from workers import parquet_reading
from workers.tasks import load_task


def parquet(packed: str = "zstd", **columns: Any) -> bytes:
    return stored(pa.table(columns), compression=packed)


def stored(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def same(value: Any, count: int, kind: Any = None) -> Any:
    """A column of one repeated value, made without having it a million times."""
    indices = pa.array(np.zeros(count, np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array([value], kind))


def lying(rows: int, said: int) -> bytes:
    """A column of zeros; of its rows all but the header of its page says something else."""
    content = stored(pa.table({"a": np.zeros(rows)}), row_group_size=rows, write_statistics=False)
    true = varint(2 * rows)
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    assert content[footer:].count(true) >= 3, "of the file, its row group, the column"
    return content[:footer] + content[footer:].replace(true, varint(2 * said, len(true)))


def as_decimal(content: bytes) -> bytes:
    """What is a text becomes a decimal number of ten digits, two of them behind the point."""
    text, decimal = b"\x25\0\x4c\x1c\0\0\0", b"\x25\x0a\x15\x04\x15\x14\0"
    assert content.count(text) == 1
    return content.replace(text, decimal)


def twins() -> bytes:
    columns = [same("x" * MiB, 100), same("y", 100)]
    table = pa.Table.from_arrays(columns, names=["a", "a"])
    return stored(table, compression="zstd", store_schema=False)


PARQUET: dict[str, Callable[[], bytes]] = {
    "one number ten million times": lambda: parquet(a=np.zeros(10_000_000)),
    "a number of rows that lies": lambda: lying(10_000_000, 9),
    "a number of rows beyond all": lambda: lying(1_100_000, 100_000_000),
    "one long text as a view": lambda: parquet(a=pa.array(["x" * MiB] * 80, pa.string_view())),
    "one long text in a column of two": twins,
    "one long text a hundred thousand times": lambda: parquet(a=same("x" * MiB, 100_000)),
    "one text of gigabytes when repeated": lambda: parquet(a=same("x" * 100, 5_000_000)),
    "a long text": lambda: parquet(a=["x" * 70 * MiB]),
    "a long text in a few bytes": lambda: parquet("brotli", a=["x" * 70 * MiB]),
}


@pytest.mark.parametrize("kind", ["classification", "forecasting"])
@pytest.mark.parametrize("case", PARQUET)
def test_a_small_parquet_file_that_decodes_to_much_more_is_refused(
    tmp_path: Path, case: str, kind: str
) -> None:
    path = written(tmp_path, "a.parquet", PARQUET[case]())
    assert path.stat().st_size < MiB
    with bounded(100 * MiB):
        assert "bytes of memory; from a file of this size at most" in refused_data(path, kind)


NOT_READ: dict[str, Callable[[], bytes]] = {
    "lists": lambda: parquet(a=[[1], [2]]),
    "records": lambda: parquet(a=[{"b": 1}, {"b": 2}]),
    "documents": lambda: parquet(a=pa.array(["x"] * 9, pa.json_())),
    "tensors": lambda: parquet(
        a=pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.int8(), [2]), pa.array([[1, 2]] * 9, pa.list_(pa.int8(), 2))
        )
    ),
    "decimals stored as texts": lambda: as_decimal(
        stored(pa.table({"a": ["1"] * 9}), store_schema=False, write_statistics=False)
    ),
}


@pytest.mark.parametrize("case", NOT_READ)
def test_a_parquet_column_of_another_type_is_refused_unread(tmp_path: Path, case: str) -> None:
    path = written(tmp_path, "a.parquet", NOT_READ[case]())
    for kind in ("classification", "forecasting"):
        said = refused_data(path, kind)
        assert said.startswith(f"{path}: column 'a' holds ")
        assert said.endswith("not read. Leave it out of the file, or make it numbers or texts.")


def whole(numbers: list[int], kind: Any) -> Any:
    return pa.array(numbers * 30, pa.int64() if kind.bit_width == 64 else pa.int32()).view(kind)


BEYOND_PYTHON = {
    "times of nanoseconds": lambda: pa.array([5, 6] * 30, pa.time64("ns")),
    "durations of nanoseconds": lambda: pa.array([5, 6] * 30, pa.duration("ns")),
    "moments of nanoseconds": lambda: whole([2**63 - 1, 5], pa.timestamp("ns")),
    "days millions of years away": lambda: whole([2**31 - 1, -(2**31)], pa.date32()),
    "an unknown time zone": lambda: whole([5, 6], pa.timestamp("us", "No/Where")),
}


@pytest.mark.parametrize("case", BEYOND_PYTHON)
def test_times_that_python_has_none_for_are_refused_as_labels(tmp_path: Path, case: str) -> None:
    if "nanoseconds" in case and find_spec("pandas"):
        pytest.skip("pandas has such times")
    content = parquet(a=BEYOND_PYTHON[case](), b=list(range(60)))
    path = written(tmp_path, "a.parquet", content)
    said = refused_data(path, "classification", label="a")
    assert said.startswith(f"{path}: column 'a' holds ")
    assert "Make it numbers or texts, or leave the column out." in said
    if case.endswith("of nanoseconds") and not case.startswith("moments"):
        assert refused_data(path, "forecasting", window=2, horizon=1) == said


def test_texts_that_are_stored_by_what_they_share_are_refused_with_what_to_do(
    tmp_path: Path,
) -> None:
    table = pa.table({"a": ["x" * MiB] * 80, "b": [1, 2] * 40})
    shared = {"a": "DELTA_BYTE_ARRAY", "b": "PLAIN"}
    content = stored(table, compression="zstd", use_dictionary=False, column_encoding=shared)
    path = written(tmp_path, "a.parquet", content)
    with bounded(50 * MiB):
        assert "Write it with the default encodings" in refused_data(path, "forecasting")


def test_texts_of_any_width_and_of_views_are_read(tmp_path: Path) -> None:
    columns = {
        "a": [float(n) for n in range(60)],
        "b": pa.array(["1", "2"] * 30, pa.large_string()),
        "c": pa.array(["1", "2"] * 30, pa.string_view()),
        "d": pa.array([b"1", b"2"] * 30, pa.binary()),
    }
    path = written(tmp_path, "a.parquet", parquet(**columns))
    assert len(load_task("classification", str(path), {}).classes) == 2  # type: ignore[attr-defined]


def test_what_a_packed_file_of_packed_tables_gives_is_bounded_by_its_own_size(
    tmp_path: Path,
) -> None:
    table = pa.table({"a": np.zeros(10_000_000)}, metadata={"much": "0" * 2 * MiB})
    path = written(tmp_path, "a.parquet.gz", gzip.compress(stored(table)))
    with bounded(100 * MiB):
        assert "at most 67,108,864 are read" in refused_data(path, "forecasting")


def test_texts_of_a_parquet_file_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    wrong = pa.array([b"\xff\xfe"] * 9, pa.binary()).view(pa.string())
    path = written(tmp_path, "a.parquet", parquet(a=list(range(9)), b=wrong))
    for kind in ("classification", "forecasting"):
        assert refused_data(path, kind).startswith(f"{path}: ")


def test_a_parquet_table_with_very_many_columns_is_refused_before_it_is_opened(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, "a.parquet", columns(b"", 100_001))
    with bounded(50 * MiB):
        said = refused_data(path, "forecasting")
    assert said == f"{path}: has 100,001 columns, and at most 100,000 are read."


def test_pages_that_are_of_other_columns_than_the_table_names_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of no file known: the two readings of one footer would have to differ."""
    sizes = parquet_reading.sizes_of(content := parquet(a=[1, 2], b=[1, 2]))
    monkeypatch.setattr(
        parquet_reading, "sizes_of", lambda _: replace(sizes, values=sizes.values[:1])
    )
    path = written(tmp_path, "a.parquet", content)
    said = refused_data(path, "forecasting")
    assert "its columns are not those that it names. Write it anew." in said
