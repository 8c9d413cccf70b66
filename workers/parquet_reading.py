"""Parquet tables from anywhere, read within a bound of memory.

A value that repeats is stored once, with how often it is meant. So neither the size of a file nor
that of its pages says what reading takes; the numbers of values do (`workers.parquet_pages`), and
for texts, which are read as dictionaries, the lengths of the entries.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.parquet_pages import sizes_of

_PLACE = 4
"""Bytes for the place of a text in its dictionary."""
_LIST = 12
"""Bytes that a list may take beside its items."""
MOST_COLUMNS = 100_000
"""Each takes some kilobytes of memory, and of pyarrow more time than the one before."""
_TEXTS = frozenset(
    kind.id
    for kind in (
        *(pa.string(), pa.large_string(), pa.string_view()),
        *(pa.binary(), pa.large_binary(), pa.binary_view()),
        pa.dictionary(pa.int32(), pa.string()),
    )
)
_OTHERS = frozenset(
    kind.id
    for kind in (
        *(pa.null(), pa.bool_(), pa.binary(1)),
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
        *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float16(), pa.float32(), pa.float64()),
        *(pa.decimal32(1), pa.decimal64(1), pa.decimal128(1), pa.decimal256(1)),
        *(pa.date32(), pa.date64(), pa.time32("s"), pa.time64("us")),
        *(pa.timestamp("s"), pa.duration("s")),
    )
)
"""What else is read: each value has its width. A type that is not listed may take any memory."""


class NotRead(ValueError):
    """A table takes too much memory, or holds what is not read: says what, and what to do."""


def read_within(
    content: bytes, most: int, columns: Collection[str] | None = None, *, nested: bool = False
) -> pa.Table:
    """A table, or some columns of it, whose texts are dictionaries.

    Args:
        content: The file.
        most: Bytes of memory that it may take, repeated texts counted as often as they are meant.
        columns: Read these, as far as there are any; None: all.
        nested: Whether columns may hold lists and records.

    Raises:
        NotRead: It takes more, or a column holds what is not read.
        pyarrow.ArrowException, OSError, ValueError: It is no Parquet file, or damaged.
    """
    sizes = sizes_of(content)
    _refuse_larger(sizes.unpacked, most)
    if len(sizes.values) > MOST_COLUMNS:
        raise NotRead(f"has {len(sizes.values):,} columns, and at most {MOST_COLUMNS:,} are read.")
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        metadata, stored = file.metadata, file.schema
        leaves = [
            (field, kind, lists)
            for field in file.schema_arrow
            for kind, lists in _leaves(field.type)
        ]
    values = sizes.values or (0,) * len(leaves)  # without rows there need be no columns either
    if not len(leaves) == len(stored) == len(values):
        raise NotRead("its columns are not those that it names. Write it anew.")
    texts, size = [], 0
    for number, (field, kind, lists) in enumerate(leaves):
        if columns is not None and field.name.split(".")[0] not in columns:  # as pyarrow picks them
            continue
        column = stored.column(number)
        if (kind != field.type and not nested) or not _is_read(kind, column):
            raise NotRead(
                f"column {field.name!r} holds {field.type}, which is not read. Leave it out of "
                "the file, or make it numbers or texts."
            )
        if is_text(kind):
            texts.append(number)
        width = _PLACE if is_text(kind) else max(_width(kind), column.length)
        size += max(sizes.rows, values[number]) * (width + _LIST * lists)
    _refuse_larger(size, most)
    # As dictionaries: a text that comes up a million times is there once.
    with pq.ParquetFile(pa.BufferReader(content), metadata=metadata, read_dictionary=texts) as file:
        try:
            table = file.read(columns and list(columns), use_threads=False)
        except (pa.ArrowException, OSError) as error:
            if "Not yet implemented" not in str(error):
                raise
            # Such as DELTA_BYTE_ARRAY, in which a text may take more than all pages together.
            raise NotRead(
                "the encoding of its texts cannot be read into a dictionary. Write it with the "
                f"default encodings, or as text. ({error})"
            ) from None
    _refuse_larger(bytes_decoded(table), most)
    return table


def bytes_decoded(table: pa.Table) -> int:
    """Bytes of the texts that are dictionaries, each as often as it is meant."""
    total = 0
    for batch in table.to_batches():
        for part in _parts(batch):
            if pa.types.is_dictionary(part.type):
                lengths = pc.binary_length(part.dictionary).take(part.indices)
                total += pc.sum(lengths).as_py() or 0
    return total


def values_in(batch: pa.RecordBatch) -> int:
    """Numbers and texts in all columns, those in lists and records too, empty ones counted."""
    return sum(len(part) for part in _parts(batch))


def decoded(table: pa.Table) -> pa.Table:
    """The table without dictionaries."""
    fields = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type can be read as a dictionary."""
    return kind.id in _TEXTS


def _is_read(kind: pa.DataType, column: pq.ColumnSchema) -> bool:
    if is_text(kind) or column.physical_type == "BYTE_ARRAY":  # which a decimal may be too
        return is_text(kind)
    return kind.id in _OTHERS


def _width(kind: pa.DataType) -> int:
    """Bytes of a value, at least one."""
    return 1 if pa.types.is_null(kind) else -(-kind.bit_width // 8)


def _leaves(kind: pa.DataType, lists: int = 0) -> Iterator[tuple[pa.DataType, int]]:
    """What a type is made of, as Parquet stores it, and in how many lists each part is."""
    if isinstance(kind, pa.BaseExtensionType):
        yield from ((kind, lists) for _ in _leaves(kind.storage_type))
    elif pa.types.is_nested(kind):
        for number in range(kind.num_fields):
            yield from _leaves(kind.field(number).type, lists + (not pa.types.is_struct(kind)))
    else:
        yield kind, lists


def _parts(batch: pa.RecordBatch) -> Iterator[pa.Array]:
    """What its columns are made of."""
    waiting = list(batch.columns)
    while waiting:
        array = waiting.pop()
        if pa.types.is_struct(array.type):
            waiting += array.flatten()
        elif pa.types.is_nested(array.type):
            waiting.append(array.flatten())
        else:
            yield array


def _refuse_larger(size: int, most: int) -> None:
    if size > most:
        raise NotRead(
            f"its table takes {size:,} bytes of memory; from a file of this size at most "
            f"{most:,} are read. If that is meant, write it as text."
        )
