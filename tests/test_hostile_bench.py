"""Tables of results from strangers for `evo-nas bench`: refused in a line, at a bounded price."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evo_nas.bench.table import read_table
from tests.hostile import MiB, bounded, refused, unchanged, written

RECIPE = json.dumps({"h_new_0": {"op": "linear", "input": ["x", "h_prev_0"]}})
ROW = json.dumps({"recipe": RECIPE, "test_loss": 3.0}) + "\n"


def parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd", store_schema=False)
    return buffer.getvalue()


def same(text: str, count: int) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([text]))


def lists(count: int, width: int) -> Any:
    """``count`` rows, the last of which has a list of so many records."""
    records = pa.StructArray.from_arrays([pa.array(np.zeros(width))], ["test_loss"])
    return pa.ListArray.from_arrays(pa.array([0] * count + [width], pa.int32()), records)


HOSTILE: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "a long text, repeated": (
        "a.parquet",
        lambda: parquet(recipe=same(RECIPE + " " * MiB, 100), test_loss=np.zeros(100)),
        "bytes of memory; from a file of this size at most 67,108,864 are read",
    ),
    "a long text in records, repeated": (
        "a.parquet",
        lambda: parquet(recipe=pa.StructArray.from_arrays([same("x" * MiB, 100)], ["h_new_0"])),
        "bytes of memory; from a file of this size at most 67,108,864 are read",
    ),
    "very many runs of one cell": (
        "a.parquet",
        lambda: parquet(recipe=[RECIPE], runs=lists(1, 10_000_000)),
        "bytes of memory; from a file of this size at most 67,108,864 are read",
    ),
    "many runs of one cell": (
        "a.parquet",
        lambda: parquet(recipe=[RECIPE], runs=lists(1, 2_000_000)),
        "a row has more values than those of any table",
    ),
    "a column of documents": (
        "a.parquet",
        lambda: _documents(),
        "column 'recipe' holds extension<arrow.json>, which is not read",
    ),
    "other columns": (
        "a.parquet",
        lambda: parquet(a=[1]),
        "has none of the columns recepie, recipe, runs, test_loss, final_val_loss",
    ),
    "no Parquet": ("a.parquet", lambda: b"PAR1" * 9, "cannot be read as a Parquet table"),
    "an endless line": ("a.jsonl", lambda: b"[" * 5 * MiB, "a row more than any table has"),
    "a nested line": ("a.jsonl", lambda: b"[" * MiB + b"\n", "cannot be read as lines of JSON"),
    "a line of terminal codes": ("a.jsonl", lambda: b'"\x1b[2J"\n', "cannot be read as lines"),
    "lines of gigabytes in few": (
        "a.jsonl.gz",
        lambda: gzip.compress((ROW.strip() + " " * MiB + "\n").encode() * 65, 1),
        ", row 64: it unpacks to more than any table has",
    ),
}


def _documents() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"recipe": pa.array([RECIPE] * 9, pa.json_())}), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_table_of_results_is_refused(tmp_path: Path, case: str) -> None:
    name, content, message = HOSTILE[case]
    path = written(tmp_path, name, content())
    with unchanged(tmp_path), bounded(200 * MiB):
        said = refused("bench", str(path))
    assert said.startswith(str(path))
    assert message in said


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_a_table_of_a_terabyte_is_refused_unread(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, b"")
    os.truncate(path, 2**40)  # sparse
    with bounded(100 * MiB):
        assert "has 1,099,511,627,776 bytes, more than any table has" in refused("bench", str(path))
    path.unlink()
    os.mkfifo(path)
    assert "there is no such table" in refused("bench", str(path))


def test_columns_that_nobody_asks_for_cost_nothing(tmp_path: Path) -> None:
    content = parquet(
        recipe=[RECIPE] * 2,
        test_loss=[3.0, 4.0],
        curve=lists(2, 10_000_000),
        other=pa.array([RECIPE] * 2),
    )
    with bounded(100 * MiB):
        (cell,) = read_table(written(tmp_path, "a.parquet", content)).cells.values()
    assert cell.runs == (-3.0, -4.0)
