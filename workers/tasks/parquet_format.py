"""Parquet tables of the user, whose few kilobytes may stand for gigabytes."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from workers.parquet_pages import sizes_of
from workers.parquet_sizes import bytes_decoded, bytes_of, decoded, is_text
from workers.tasks.errors import TaskError
from workers.tasks.files import most_unpacked


def read_parquet(content: bytes, path: str) -> pa.Table:
    """The table, texts decoded.

    Raises:
        TaskError: A column holds lists or records, or the table would take more memory than
            `workers.tasks.files.most_unpacked` allows.
        pyarrow.ArrowException, OSError, ValueError: It is no Parquet file, or damaged.
    """
    most = most_unpacked(len(content))
    _refuse_larger(sizes_of(content).unpacked, most, path)
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        schema = file.schema_arrow
        for field in schema:
            if pa.types.is_nested(field.type):
                raise TaskError(
                    f"{path}: column {field.name!r} holds {field.type}, not single values. Leave "
                    "it out of the file."
                )
        _refuse_larger(bytes_of(file), most, path)
    texts = [field.name for field in schema if is_text(field.type)]
    # As dictionaries: a text that comes up a million times is there once.
    with pq.ParquetFile(pa.BufferReader(content), read_dictionary=texts) as file:
        table = file.read(use_threads=False)
    _refuse_larger(bytes_decoded(table), most, path)
    return decoded(table)


def _refuse_larger(size: int, most: int, path: str) -> None:
    if size > most:
        raise TaskError(
            f"{path}: its table takes {size:,} bytes of memory; from a file of this size at most "
            f"{most:,} are read. If that is meant, write it as CSV."
        )
