"""Segments: immutable Parquet files that hold the events of a run in order."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from evo_nas.events import Asked, Event, Told

_NAME = re.compile(r"([0-9]{8,})\.parquet")
_ASKED = tuple(Asked.__dataclass_fields__)
_TOLD = tuple(Told.__dataclass_fields__)

SCHEMA = pa.schema(
    [
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("event", pa.string(), nullable=False),
        pa.field("birth", pa.int64(), nullable=False),
        ("parent", pa.int64()),
        ("generation", pa.int64()),
        ("mutation", pa.string()),
        ("genome", pa.string()),
        ("digest", pa.string()),
        ("seed", pa.uint64()),
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
    ]
)
"""One row per event: ``sequence`` counts the events of the run from 0, ``event`` is ``asked`` or
``told``, and the columns of the other kind are null."""


class DamagedSegment(ValueError):
    """A segment's bytes are not what was written; the message says what does not fit."""


def segment_name(number: int) -> str:
    """File name of a segment; segments are numbered from 0 without gaps."""
    return f"{number:08d}.parquet"


def segment_count(folder: Path) -> int:
    """One more than the highest number of a segment in the folder; other files do not count."""
    found = (_NAME.fullmatch(name.name) for name in folder.iterdir())
    return max((int(match[1]) + 1 for match in found if match), default=0)


def encode(events: Sequence[Event], sequence: int) -> bytes:
    """The events as a Parquet file; the first gets the number ``sequence``."""
    rows = [{"sequence": sequence + i} | _row(event) for i, event in enumerate(events)]
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_pylist(rows, SCHEMA),
        sink,
        compression="none",  # a segment is a few kilobytes: the codec would cost more
        use_dictionary=False,
        write_statistics=False,
        store_schema=False,
        write_page_checksum=True,
    )
    content: bytes = sink.getvalue().to_pybytes()
    return content


def decode(content: bytes) -> pa.Table:
    """The rows of one segment.

    Raises:
        DamagedSegment: If this is no Parquet, a checksum is wrong, or columns are not `SCHEMA`.
    """
    try:
        # Every part of a run is small, and one thread decodes it faster than several.
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        table = file.read(use_threads=False)
    except (pa.ArrowException, OSError, MemoryError, ValueError) as error:
        raise DamagedSegment(str(error).split("\n")[0]) from error
    if not table.schema.equals(SCHEMA):
        raise DamagedSegment("its columns are not those of a segment")
    return table


def events_of(tables: Sequence[pa.Table]) -> list[Event]:
    """The events of all segments, in order.

    Raises:
        DamagedSegment: If a row lacks what its kind of event has.
    """
    if not tables:
        return []
    columns = pa.concat_tables(tables).to_pydict()
    kinds: list[str] = columns["event"]
    columns["mutation"] = [None if m is None else json.loads(m) for m in columns["mutation"]]
    columns["curve"] = [
        None if steps is None else tuple(zip(steps, losses, strict=True))
        for steps, losses in zip(columns["curve_steps"], columns["curve_losses"], strict=True)
    ]
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
    if isinstance(event, Asked):
        return row | {"event": "asked", "mutation": json.dumps(event.mutation, allow_nan=False)}
    curve = row.pop("curve")
    return row | {
        "event": "told",
        "curve_steps": [step for step, _ in curve],
        "curve_losses": [loss for _, loss in curve],
    }
