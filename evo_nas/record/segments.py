"""Segments: immutable Parquet files that hold the events of a run in order."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from evo_nas.events import Asked, Event, Told
from evo_nas.record.outside import MOST_BYTES, mutation_from
from workers.parquet_pages import sizes_of
from workers.parquet_reading import bytes_decoded, decoded

_ASKED = tuple(Asked.__dataclass_fields__)
_TOLD = tuple(Told.__dataclass_fields__)

SCHEMA = pa.schema(
    [
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("event", pa.string(), nullable=False),
        pa.field("birth", pa.int64(), nullable=False),
        ("parent", pa.int64()),
        ("generation", pa.int64()),
        ("operator", pa.string()),
        ("mutation", pa.string()),
        ("genome", pa.string()),
        ("digest", pa.string()),
        ("seed", pa.uint64()),
        ("budget", pa.int64()),
        ("hidden_size", pa.int64()),
        ("recurrent_parameters", pa.int64()),
        ("duplicates", pa.int64()),
        ("status", pa.string()),
        ("metric", pa.float64()),
        ("fitness", pa.float64()),
        ("message", pa.string()),
        ("curve_steps", pa.list_(pa.int64())),
        ("curve_losses", pa.list_(pa.float64())),
        ("parameters", pa.int64()),
        ("seconds", pa.float64()),
        ("worker", pa.string()),
        ("engine", pa.string()),
        ("finished", pa.float64()),
        ("elapsed", pa.float64()),
        ("learning_rate", pa.float64()),
        ("hurdle_steps", pa.list_(pa.int64())),
        ("hurdle_fitness", pa.list_(pa.float64())),
        ("steps", pa.int64()),
        ("rung_steps", pa.list_(pa.int64())),
        ("rung_metrics", pa.list_(pa.float64())),
    ]
)
"""One row per event: ``sequence`` counts the events of the run from 0, ``event`` is ``asked`` or
``told``, and the columns of the other kind are null. ``operator`` repeats what ``mutation`` says,
for those who count."""

NEW_IN_2 = ("operator", "budget")
"""Columns that segments of format 1 lack."""

NEW_IN_3 = (
    "learning_rate",
    "hurdle_steps",
    "hurdle_fitness",
    "steps",
    "rung_steps",
    "rung_metrics",
)
"""Columns that segments of formats 1 and 2 lack."""

SCHEMA_2 = pa.schema([field for field in SCHEMA if field.name not in NEW_IN_3])
SCHEMA_1 = pa.schema([field for field in SCHEMA_2 if field.name not in NEW_IN_2])

PAIRS = {
    "curve": ("curve_steps", "curve_losses"),
    "hurdles": ("hurdle_steps", "hurdle_fitness"),
    "rungs": ("rung_steps", "rung_metrics"),
}
"""Attributes of events that are pairs, and the two columns that hold them."""

SEAL, UNSEALED = b"sha256", b"0" * 64
"""Key and, while the digest is taken, value of a file's SHA-256 in its metadata: hexadecimal."""

REMEMBERED = 2**15
"""Bytes of a file up to which the size of its pages is looked at once in a process."""
ALWAYS_DECODED = 2**20
"""Bytes to which even the smallest file may decode."""
MOST_PACKED = 100
"""How many bytes one byte of a larger file may stand for: usual are 5, and not quite 100 where all
candidates fail with one message."""
ROW_BYTES = 8 * len(SCHEMA)
"""Of a row, its texts and lists not counted."""
ROW_GROUP = 2048
"""Rows of a rolled file that are read together: who wants one genome need not read them all."""

_TEXTS = [field.name for field in SCHEMA if field.type == pa.string()]
_REPEATING = ["event", "operator", "status", "message", "worker", "engine"]


class DamagedSegment(ValueError):
    """A segment's bytes are not what was written; the message says what does not fit."""


def table_of(events: Sequence[Event], sequence: int = 0) -> pa.Table:
    """The events as rows of `SCHEMA`; the first gets the number ``sequence``."""
    rows = [{"sequence": sequence + i} | _row(event) for i, event in enumerate(events)]
    return pa.Table.from_pylist(rows, SCHEMA)


def encode(table: pa.Table) -> bytes:
    """A few rows as a Parquet file."""
    # A segment is a few kilobytes: codec and dictionaries would cost more than they save.
    return _written(table, compression="none", use_dictionary=False)


def encode_rolled(table: pa.Table) -> bytes:
    """The rows of many segments as one Parquet file."""
    return _written(table, compression="zstd", use_dictionary=_REPEATING)


def _written(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    checked = {"write_statistics": False, "store_schema": False, "write_page_checksum": True}
    with pq.ParquetWriter(sink, table.schema, **checked, **options) as writer:
        writer.write_table(table, row_group_size=ROW_GROUP)
        writer.add_key_value_metadata({SEAL: UNSEALED})
    content: bytes = sink.getvalue().to_pybytes()
    return _with_seal(content, UNSEALED, hashlib.sha256(content).hexdigest().encode())


def _with_seal(content: bytes, before: bytes, after: bytes) -> bytes:
    at = content.rindex(before)  # metadata stand at the end of the file
    return content[:at] + after + content[at + len(before) :]


def _check_seal(content: bytes, file: pq.ParquetFile) -> None:
    """Parquet has checksums of pages alone: one flipped bit in what says where a column begins, and
    it is read from the pages of another.

    Raises:
        DamagedSegment: If the content does not give its seal.
    """
    seal = (file.metadata.metadata or {}).get(SEAL)
    if seal is None:
        return  # of a time when files had none
    blank = _with_seal(content, seal, UNSEALED)
    if hashlib.sha256(blank).hexdigest().encode() != seal:
        raise DamagedSegment("its content does not give its SHA-256")


def decode(content: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of one file, in the columns of `SCHEMA`; those it lacks (format 1) are null.

    Args:
        content: The file.
        columns: Read these alone; then only their checksums are looked at, not the file's own.

    Raises:
        DamagedSegment: If this is no Parquet, a checksum is wrong, or columns are not `SCHEMA`.
    """
    try:
        # Every part of a run is small, and one thread decodes it faster than several.
        file, missing = _opened(content)
        wanted = None if columns is None else _present(columns, missing)
        if columns is None:
            _check_seal(content, file)
        table = _undone(file.read(wanted, use_threads=False), len(content))
    except DamagedSegment:
        raise
    except (pa.ArrowException, OSError, MemoryError, ValueError) as error:
        raise DamagedSegment(str(error).split("\n")[0]) from error
    table = _upgraded(table, missing)
    return table if columns is None else table.select(list(columns))


def decode_rows(
    content: bytes, rows: Sequence[int], columns: Sequence[str] | None = None
) -> pa.Table:
    """Some rows of a file; only the row groups that hold them are read.

    Args:
        content: The file.
        rows: Their positions, ascending.
        columns: Of these alone; all if left out.

    Raises:
        DamagedSegment: As `decode`.
    """
    try:
        file, missing = _opened(content)
        wanted = None if columns is None else _present(columns, missing)
        tables, start = [], 0
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            inside = rows[bisect_left(rows, start) : bisect_left(rows, end)]
            if inside:
                table = file.read_row_group(group, wanted, use_threads=False)
                table = _undone(table, len(content))
                tables.append(table.take([row - start for row in inside]))
            start = end
        table = pa.concat_tables(tables)
    except (pa.ArrowException, OSError, MemoryError, ValueError) as error:
        raise DamagedSegment(str(error).split("\n")[0]) from error
    table = _upgraded(table, missing)
    return table if columns is None else table.select(list(columns))


def _opened(content: bytes) -> tuple[pq.ParquetFile, tuple[str, ...]]:
    """A file before any page of it is read, and the columns it lacks.

    Raises:
        DamagedSegment: If it is no segment, or says of itself that it takes too much memory.
    """
    sizes = _remembered(content) if len(content) < REMEMBERED else sizes_of(content)
    metadata = pq.read_metadata(pa.BufferReader(content))
    missing = _missing(metadata.schema.to_arrow_schema())
    most = _most_decoded(len(content))
    # A text is no longer than all pages together, but may be meant once in each row. Where that
    # could come to much, texts are read as dictionaries: one that repeats is there once.
    repeated = [name for name in _TEXTS if name not in missing]
    file = pq.ParquetFile(
        pa.BufferReader(content),
        metadata=metadata,
        page_checksum_verification=True,
        read_dictionary=repeated if sizes.rows * sizes.unpacked > most // 8 else (),
    )
    # An item of a list has 8 bytes; rows and pages count both, as either may lie.
    if max(sizes.rows * ROW_BYTES, 8 * sum(sizes.values), sizes.unpacked) > most:
        raise DamagedSegment("it decodes to more than any segment of its size")
    return file, missing


def _most_decoded(size: int) -> int:
    return min(MOST_BYTES, max(ALWAYS_DECODED, MOST_PACKED * size))


_remembered = lru_cache(maxsize=1024)(sizes_of)
"""Who reads while a search rolls files up reads the same small ones again and again."""


def _undone(table: pa.Table, size: int) -> pa.Table:
    """A table whose texts may have been read as dictionaries, without these; of a file's size."""
    if any(pa.types.is_dictionary(field.type) for field in table.schema):
        if bytes_decoded(table) > _most_decoded(size):
            raise DamagedSegment("its texts decode to more than those of any segment of its size")
        table = decoded(table)
    return table.replace_schema_metadata(None)


def _missing(schema: pa.Schema) -> tuple[str, ...]:
    """The columns of `SCHEMA` that a file of an older format lacks."""
    for known, missing in ((SCHEMA, ()), (SCHEMA_2, NEW_IN_3), (SCHEMA_1, NEW_IN_2 + NEW_IN_3)):
        if schema.equals(known):
            return missing
    raise DamagedSegment("its columns are not those of a segment")


def _present(columns: Sequence[str], missing: Sequence[str]) -> list[str]:
    if not missing:
        return list(columns)
    # `operator` is made from `mutation`, and a table without columns would have no rows.
    return [*{*columns, "sequence", "event", "mutation"} - set(missing)]


def _upgraded(table: pa.Table, missing: Sequence[str]) -> pa.Table:
    if not missing:
        return table
    rows = table.num_rows
    new = {name: pa.nulls(rows, SCHEMA.field(name).type) for name in missing}
    if "operator" in new:
        mutations = table.column("mutation").to_pylist()
        try:
            operators = [None if m is None else mutation_from(m)["operator"] for m in mutations]
        except ValueError as error:
            raise DamagedSegment(str(error)) from error
        new["operator"] = pa.array(operators, pa.string())
    present = [field for field in SCHEMA if field.name in new or field.name in table.column_names]
    columns = [new[f.name] if f.name in new else table.column(f.name) for f in present]
    return pa.table(columns, schema=pa.schema(present))


def events_of(table: pa.Table, budget: int = 0) -> list[Event]:
    """The rows of a table as events, in order.

    Args:
        table: Of all columns.
        budget: Of candidates whose row holds none (format 1).

    Raises:
        DamagedSegment: If a row lacks what its kind of event has.
    """
    columns = table.to_pydict()
    kinds: list[str] = columns["event"]
    columns["budget"] = [budget if b is None else b for b in columns["budget"]]
    try:
        columns["mutation"] = [m and mutation_from(m) for m in columns["mutation"]]
        for name, (firsts, seconds) in PAIRS.items():
            columns[name] = [
                () if a is None else tuple(zip(a, b, strict=True))
                for a, b in zip(columns[firsts], columns[seconds], strict=True)
            ]
    except ValueError as error:
        raise DamagedSegment(f"a row is no event: {error}") from error
    # Whole columns instead of a dict for each row: the readers promise an answer at once.
    asked = zip(*(columns[name] for name in _ASKED), strict=True)
    told = zip(*(columns[name] for name in _TOLD), strict=True)
    makers: dict[str, Callable[..., Event]] = {"asked": Asked, "told": Told}
    try:
        return [
            makers[kind](*(a if kind == "asked" else t))
            for kind, a, t in zip(kinds, asked, told, strict=True)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedSegment(f"a row is no event: {error!r}") from error


def _row(event: Event) -> dict[str, Any]:
    names = _ASKED if isinstance(event, Asked) else _TOLD
    row: dict[str, Any] = {name: getattr(event, name) for name in names}
    for pairs, (firsts, seconds) in PAIRS.items():
        if pairs in row:
            both = row.pop(pairs)
            row |= {firsts: [a for a, _ in both], seconds: [b for _, b in both]}
    if isinstance(event, Asked):
        mutation = json.dumps(event.mutation, allow_nan=False)
        return row | {"event": "asked", "operator": event.operator, "mutation": mutation}
    return row | {"event": "told"}
