"""Reads a record: which files are whole, their rows in order, without ever changing anything.

Readers take no lock, also while a search writes and rolls files up: the folder is listed, the
files that cover it are opened, and if one of them went meanwhile, the folder is listed again.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from evo_nas.errors import RecordError
from evo_nas.events import Event
from evo_nas.record.checkpoint import Manifest, read_manifest
from evo_nas.record.header import Header, read_header
from evo_nas.record.layout import SEGMENTS, Part, cover, parts_in, segment_count
from evo_nas.record.outside import what_is_wrong
from evo_nas.record.paths import RunPath, run_path
from evo_nas.record.segments import SCHEMA, DamagedSegment, decode, decode_rows, events_of
from evo_nas.record.storage import contents

LISTINGS = 5
"""In how many listings of the folder the same file is not there before it counts as missing."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The events of a run as columns, and what was found out on the way.

    Attributes:
        table: The rows in order, in the columns asked for.
        parts: The files they came from, in order.
        rows: How many each of them gave.
        manifest: The newest checkpoint's, if there is one.
        next_segment: Number of the next segment to be written.
        torn: A damaged newest segment that was left out.
        warnings: What the user should know.
    """

    table: pa.Table
    parts: tuple[Part, ...]
    rows: tuple[int, ...]
    manifest: Manifest | None
    next_segment: int
    torn: RunPath | None
    warnings: tuple[str, ...]


class _Gone(Exception):
    """A listed file is not there: it was rolled up meanwhile, or it is missing."""

    def __init__(self, path: RunPath, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.message = message


def read_events(directory: str | RunPath) -> tuple[list[Event], list[str]]:
    """Everything recorded so far, in order, and warnings to be shown to the user.

    A damaged newest segment (a disk may tear one, a killed process cannot) is left out with a
    warning: what it held counts as never told.

    Raises:
        RecordError: If there is no run, a segment is missing, or one that has a successor, or
            that a checkpoint wrote, is damaged.
    """
    root = run_path(directory)
    header = read_header(root)
    reading = read_table(root)
    return events_in(root, header, reading.table), list(reading.warnings)


def events_in(root: RunPath, header: Header, table: pa.Table) -> list[Event]:
    """The rows of a table of all columns as events.

    Raises:
        RecordError: If a row is none.
    """
    try:
        return events_of(table, budget_of(header))
    except DamagedSegment as error:
        raise RecordError(
            f"{root / SEGMENTS}: {error}. Restore it from a copy of the run."
        ) from None


def budget_of(header: Header) -> int:
    """The budget of candidates whose row holds none, as in format 1."""
    training: Any = header.config.get("training", {})
    steps = training.get("steps", 0) if isinstance(training, dict) else None
    if type(steps) is not int or not 0 <= steps < 2**63:
        raise RecordError(f"its header says that candidates have {steps!r} steps.")
    return steps


def read_table(root: RunPath, columns: Sequence[str] | None = None) -> Reading:
    """The rows of a run, of all columns or of some.

    Raises:
        RecordError: As `read_events`.
    """
    # A writer that rolls up faster than this reads takes away another file each time, one that
    # is missing stays the same. So this ends, and a reader on a slow disk is not told of damage.
    times: Counter[RunPath] = Counter()
    while True:
        try:
            return _read(root, columns)
        except _Gone as gone:
            times[gone.path] += 1
            if times[gone.path] == LISTINGS:
                raise RecordError(gone.message) from None
            time.sleep(0.01 * (times[gone.path] - 1))


def _read(root: RunPath, columns: Sequence[str] | None) -> Reading:
    folder = root / SEGMENTS
    manifest, warnings = read_manifest(root)
    try:
        parts = set(parts_in(folder))
    except FileNotFoundError:
        raise RecordError(f"{folder} is missing. Restore it from a copy.") from None
    count = segment_count(parts)
    # The manifest was read before the folder, where no number that was there ever goes.
    listed = 0 if manifest is None else segment_count(file.part for file in manifest.files)
    if listed > count:
        raise _Gone(
            folder,
            f"{folder}: a checkpoint lists segments up to {listed - 1}, but "
            f"{f'only those up to {count - 1} are' if count else 'none is'} there. "
            "Restore them from a copy of the run.",
        )
    torn: RunPath | None = None
    done: dict[Part, pa.Table] = {}
    while True:
        chosen, missing = cover(parts)
        if missing is not None:
            path = folder / Part(missing, missing, False).name
            raise _Gone(
                path,
                f"{path} is missing, but segments up to {count - 1} exist. "
                "Restore it from a copy of the run: later events build on it.",
            )
        damage = _decode(folder, chosen, manifest, columns, done)
        if damage is None:
            break
        part, why = damage
        parts.discard(part)
        if _covers(parts, part.last):
            warnings.append(
                f"{folder / part.name} is damaged ({why}); other files hold its events."
            )
        elif part.last == count - 1 and not part.rolled:
            torn, count = folder / part.name, count - 1
            warnings.append(
                f"{torn} is damaged ({why}); it is the newest segment and was left out."
            )
        else:
            raise RecordError(_cannot_be_left_out(folder, part, why))
    tables = [done[part] for part in chosen]
    table = pa.concat_tables([nothing(columns), *tables])
    if wrong := what_is_wrong(table):
        raise RecordError(f"{folder}: {wrong}. Restore it from a copy of the run.")
    return Reading(
        table=table,
        parts=tuple(chosen),
        rows=tuple(table.num_rows for table in tables),
        manifest=manifest,
        next_segment=count,
        torn=torn,
        warnings=tuple(warnings),
    )


def read_rows(
    root: RunPath, reading: Reading, rows: Sequence[int], columns: Sequence[str] | None = None
) -> pa.Table:
    """Some rows of a reading, in the order asked for.

    Of a rolled file only the row groups that hold them are read. Files may have been rolled up
    since; what stands in a row never changes.

    Args:
        root: The run directory.
        reading: Of any columns.
        rows: Positions in its table.
        columns: What of the rows is wanted; all columns if left out.

    Raises:
        RecordError: As `read_events`.
    """
    for _ in range(LISTINGS):
        try:
            return _some_rows(root / SEGMENTS, reading, rows, columns)
        except (DamagedSegment, FileNotFoundError) as error:
            why = str(error)
            reading = read_table(root, ("sequence",))
    raise RecordError(f"{root} changed each time it was read ({why}). Try again.")


def _some_rows(
    folder: RunPath, reading: Reading, rows: Sequence[int], columns: Sequence[str] | None
) -> pa.Table:
    wanted = sorted({*rows})
    inside: dict[Part, list[int]] = {}
    start = at = 0
    for part, count in zip(reading.parts, reading.rows, strict=True):
        before, at = at, bisect_left(wanted, start + count)
        if at > before:
            inside[part] = [row - start for row in wanted[before:at]]
        start += count
    files = contents([folder / part.name for part in inside])
    found = zip(files, inside.values(), strict=True)
    tables = [nothing(columns), *(decode_rows(file, here, columns) for file, here in found)]
    places = {row: k for k, row in enumerate(wanted)}
    return pa.concat_tables(tables).take(pa.array([places[row] for row in rows], pa.int64()))


def nothing(columns: Sequence[str] | None = None) -> pa.Table:
    """No rows, in the columns asked for."""
    wanted = SCHEMA if columns is None else pa.schema([SCHEMA.field(name) for name in columns])
    return wanted.empty_table()


def _decode(
    folder: RunPath,
    chosen: Sequence[Part],
    manifest: Manifest | None,
    columns: Sequence[str] | None,
    done: dict[Part, pa.Table],
) -> tuple[Part, str] | None:
    """Read the chosen files into ``done``; the first that is damaged, and how."""
    sequence = 0
    read = contents([folder / part.name for part in chosen])
    for part in chosen:
        try:
            content = next(read)
            table = _rows(content, part, manifest, columns, newest=part == chosen[-1])
            _check_numbers(table, sequence)
        except FileNotFoundError:
            path = folder / part.name
            raise _Gone(
                path, f"{path} is missing, but it was there. Restore it from a copy of the run."
            ) from None
        except DamagedSegment as error:
            return part, str(error)
        sequence += table.num_rows
        done[part] = table if columns is None else table.select(list(columns))
    return None


def _rows(
    content: bytes,
    part: Part,
    manifest: Manifest | None,
    columns: Sequence[str] | None,
    newest: bool,
) -> pa.Table:
    listed = manifest.listed(part) if manifest is not None and part.rolled else None
    if listed is not None:
        if not listed.holds(content):
            raise DamagedSegment("its SHA-256 is not the one its checkpoint wrote down")
        return decode(
            content, None if columns is None else [*{"sequence": 0} | dict.fromkeys(columns)]
        )
    # Nobody vouches for it: everything is decoded, and so every checksum compared.
    table = decode(content)
    if newest:
        events_of(table)
    return table


def _check_numbers(table: pa.Table, sequence: int) -> None:
    numbers = table.column("sequence").to_numpy()
    expected = np.arange(sequence, sequence + len(numbers))
    if not len(numbers) or not np.array_equal(numbers, expected):
        raise DamagedSegment(f"its events are not numbered from {sequence} on")


def _covers(parts: Iterable[Part], last: int) -> bool:
    chosen, missing = cover(parts)
    return bool(chosen) and chosen[-1].last >= last and (missing is None or missing > last)


def _cannot_be_left_out(folder: RunPath, part: Part, why: str) -> str:
    if part.rolled:
        return (
            f"{folder / part.name} is damaged ({why}), and the {part.last - part.first + 1} "
            "segments that were rolled into it are gone. Restore it from a copy of the run."
        )
    return (
        f"{folder / part.name} is damaged ({why}) and has successors, so it cannot be left out. "
        "Restore it from a copy of the run, or move it and every later segment away "
        "to go on from before it."
    )
