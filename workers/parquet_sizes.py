"""What a Parquet file takes in memory, found out before it is decoded.

A value that repeats is stored once, with how often it is meant. So neither the size of a file nor
that of its pages (`workers.parquet_pages`) says what reading takes; the numbers of values do, and
for texts, read as dictionaries, the lengths of the entries.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}
"""Bytes of a value in memory, by physical type; of texts only where they stand in a dictionary."""
_PLACE = 4


def bytes_of(file: pq.ParquetFile) -> int:
    """Memory that the columns take, from what the file says of them before any page is read.

    Texts count by their places alone, lists by one item. Nothing is asked of single columns: on a
    file whose footer is damaged there, pyarrow ends the whole process.
    """
    leaves = [file.schema.column(number) for number in range(len(file.schema))]
    widths = [
        max(1, leaf.length)
        if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY"
        else _WIDTHS.get(leaf.physical_type, _PLACE)
        for leaf in leaves
    ]
    return int(file.metadata.num_rows) * sum(widths)


def bytes_decoded(table: pa.Table) -> int:
    """Bytes of the columns that are dictionaries of texts, without their dictionaries."""
    total = 0
    for column in table.columns:
        for chunk in column.chunks:
            if pa.types.is_dictionary(chunk.type):
                lengths = pc.binary_length(chunk.dictionary).take(chunk.indices)
                total += pc.sum(lengths).as_py() or 0
    return total


def decoded(table: pa.Table) -> pa.Table:
    """The table without dictionaries."""
    fields = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


def is_text(kind: Any) -> bool:
    """Whether a column of this type can be read as a dictionary."""
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_dictionary(kind)
    )
