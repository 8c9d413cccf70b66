"""Rows of a table in a file, ``.jsonl``, ``.jsonl.gz`` or ``.parquet``, at a price that its size
bounds."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evo_nas.errors import BenchError
from workers.unpacked import MAX_BYTES, most_unpacked

LONGEST_ROW = 2**22
"""Characters of a line of JSON; those of NAS-Bench-NLP, with all curves, have some thousands."""
TOGETHER = 64
"""Rows of a Parquet table that are made into Python's objects at once."""
MOST_VALUES = 2**20
"""Values that they may have, empty ones too; a cell of NAS-Bench-NLP has some hundreds."""

RECIPES = ("recepie", "recipe")
"""Keys of a cell's recipe: as the table spells it, and as others do."""
LOSSES = ("test_loss", "final_val_loss")
"""Keys of a run's loss, in nats: of the table of several runs, and of the one with curves."""
RUNS = "runs"


def rows_of(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of a file; of a Parquet table, the columns that are looked at.

    Raises:
        BenchError: It is none, or too large.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise BenchError(f"{path}: has {size:,} bytes, more than any table has.")
        most = most_unpacked(size)
        yield from _of_parquet(path, most) if path.suffix == ".parquet" else _of_json(path, most)
    except BenchError:
        raise
    except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
        what = "a Parquet table" if path.suffix == ".parquet" else "lines of JSON"
        raise BenchError(
            f"{path}: cannot be read as {what}: {error}. Give a .jsonl, .jsonl.gz or .parquet "
            "file, or a run directory."
        ) from error


def _of_json(path: Path, left: int) -> Iterator[Mapping[str, Any]]:
    with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as lines:
        number = 0
        while line := lines.readline(LONGEST_ROW + 1):
            number, left = number + 1, left - len(line)
            if left < 0 or len(line) > LONGEST_ROW:
                what = "a row" if left >= 0 else "it unpacks to"
                raise BenchError(f"{path}, row {number}: {what} more than any table has.")
            row = json.loads(line)
            if not isinstance(row, dict):
                raise BenchError(f"{path}, row {number}: is no JSON object.")
            yield row


def _of_parquet(path: Path, most: int) -> Iterator[Mapping[str, Any]]:
    import pyarrow as pa

    from workers.parquet_reading import NotRead, read_within, values_in

    wanted = (*RECIPES, RUNS, *LOSSES)
    try:
        table = read_within(path.read_bytes(), most, wanted, nested=True)
    except NotRead as error:
        raise BenchError(f"{path}: {error}") from error
    except pa.ArrowException as error:
        raise ValueError(error) from error
    if not table.column_names:
        raise BenchError(f"{path}: has none of the columns {', '.join(wanted)}.")
    for batch in table.to_batches(max_chunksize=TOGETHER):
        if values_in(batch) > MOST_VALUES:
            raise BenchError(f"{path}: a row has more values than those of any table.")
        yield from batch.to_pylist()
