"""Parquet tables, whose few kilobytes may stand for gigabytes: sizes are looked at first.

A column of one repeated value is stored once, with how often it is meant. So neither the size of
the file nor that of its pages says what reading it takes; the numbers of values do.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.tasks.errors import TaskError
from workers.tasks.files import most_unpacked

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}
"""Bytes of a value in memory, by physical type; of texts only where they stand in a dictionary."""
_PLACE = 4


def read_parquet(content: bytes, path: str) -> Any:
    """The table, texts decoded.

    Raises:
        TaskError: A column holds lists or records, or the table would take more memory than
            `workers.tasks.files.most_unpacked` allows.
        pyarrow.ArrowException, OSError, ValueError: It is no Parquet file, or damaged.
    """
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        schema, most = file.schema_arrow, most_unpacked(len(content))
        for field in schema:
            if pa.types.is_nested(field.type):
                raise TaskError(
                    f"{path}: column {field.name!r} holds {field.type}, not single values. Leave "
                    "it out of the file."
                )
        _refuse_larger(_bytes_of(file), most, path)
    texts = [f.name for f in schema if _is_text(f.type)]
    # As dictionaries: a text that comes up a million times is there once.
    with pq.ParquetFile(pa.BufferReader(content), read_dictionary=texts) as file:
        table = file.read(use_threads=False)
    _refuse_larger(sum(_decoded_bytes(column) for column in table.columns), most, path)
    return pa.table([_decoded(column) for column in table.columns], names=table.column_names)


def _bytes_of(file: pq.ParquetFile) -> int:
    """Memory that the columns take, from what the file says of them before any page is read."""
    total = 0
    for group in range(file.num_row_groups):
        row_group = file.metadata.row_group(group)
        for number in range(row_group.num_columns):
            column, leaf = row_group.column(number), file.schema.column(number)
            width = _WIDTHS.get(column.physical_type, _PLACE)
            if column.physical_type == "FIXED_LEN_BYTE_ARRAY":
                width = max(1, leaf.length)
            values = max(column.num_values, row_group.num_rows)
            total += max(values * width, column.total_uncompressed_size)
    return total


def _decoded_bytes(column: Any) -> int:
    """Bytes of a column of texts without its dictionary; 0 for other types."""
    total = 0
    for chunk in column.chunks:
        if pa.types.is_dictionary(chunk.type):
            lengths = pc.binary_length(chunk.dictionary).take(chunk.indices)
            total += pc.sum(lengths).as_py() or 0
    return total


def _decoded(column: Any) -> Any:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _is_text(kind: Any) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_dictionary(kind)
    )


def _refuse_larger(size: int, most: int, path: str) -> None:
    if size > most:
        raise TaskError(
            f"{path}: its table takes {size:,} bytes of memory; from a file of this size at most "
            f"{most:,} are read. If that is meant, write it as CSV."
        )
