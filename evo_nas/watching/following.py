"""Reads a record again and again, and each time only what is new.

The first reading is whole; later ones decode the files with segments that were not read yet.
Anything out of the ordinary (a damaged file, one that is gone, a number missing) is left to
another whole reading, which knows what it means and says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from evo_nas.births import COLUMNS, Births, Source, births_of
from evo_nas.record.checkpoint import read_manifest
from evo_nas.record.header import read_header
from evo_nas.record.layout import SEGMENTS, Part, cover, parts_in
from evo_nas.record.outside import read_whole
from evo_nas.record.paths import RunPath, run_path
from evo_nas.record.reading import Reading, budget_of, events_in, read_rows, read_table
from evo_nas.record.segments import DamagedSegment, decode


class _Unexpected(Exception):
    """The files do not go on where the last reading ended."""


class Following:
    """A run that others may be writing.

    Attributes:
        root: The run directory.
        header: Its header.
        warnings: What the user should know of the last whole reading.

    Raises:
        RecordError: If there is no run.
    """

    def __init__(self, directory: str | RunPath) -> None:
        self.root = run_path(directory)
        self.header = read_header(self.root)
        self.warnings: tuple[str, ...] = ()
        self._reading: Reading | None = None

    def read(self) -> bool:
        """Read what is new; whether there was anything.

        Raises:
            RecordError: As `evo_nas.record.reading.read_events`.
        """
        before = self._reading
        if before is None:
            self._reading = self._whole()
            return True
        try:
            self._reading = self._gone_on(before)
        except (DamagedSegment, FileNotFoundError, _Unexpected):
            self._reading = self._whole()
        new: bool = self._reading.table.num_rows != before.table.num_rows
        return new

    def births(self) -> Births:
        """The births as of the last `read`.

        Raises:
            LineageError: As `births_of`.
        """
        reading = self._reading
        assert reading is not None

        def rows(wanted: Sequence[int], columns: Sequence[str] | None) -> pa.Table:
            return read_rows(self.root, reading, wanted, columns)

        source = Source(rows, lambda table: events_in(self.root, self.header, table))
        return births_of(reading.table, source, budget_of(self.header))

    def _whole(self) -> Reading:
        reading = read_table(self.root, COLUMNS)
        self.warnings = reading.warnings
        return reading

    def _gone_on(self, before: Reading) -> Reading:
        chosen, missing = cover(parts_in(self.root / SEGMENTS))
        ends = _ends(before)
        if missing is not None or not chosen or chosen[-1].last < max(ends):
            raise _Unexpected
        tables = [before.table]
        total = before.table.num_rows
        for part in chosen:
            if part.last in ends:
                continue
            table, start = self._decoded(part), ends[part.first - 1]
            numbers = table["sequence"].to_numpy()
            if not np.array_equal(numbers, np.arange(start, start + len(numbers))):
                raise _Unexpected
            # Of a file that was rolled up meanwhile, the first rows may be known.
            tables.append(table.slice(total - start).select(list(COLUMNS)))
            total = ends[part.last] = start + len(numbers)
        if len(tables) == 1 and tuple(chosen) == before.parts:
            return before
        return Reading(
            table=pa.concat_tables(tables).combine_chunks(),
            parts=tuple(chosen),
            rows=tuple(ends[part.last] - ends[part.first - 1] for part in chosen),
            manifest=None,
            next_segment=chosen[-1].last + 1,
            torn=None,
            warnings=(),
        )

    def _decoded(self, part: Part) -> pa.Table:
        content = read_whole(self.root / SEGMENTS / part.name)
        if part.rolled:
            manifest, _ = read_manifest(self.root)
            listed = None if manifest is None else manifest.listed(part)
            if listed is not None and listed.holds(content):
                return decode(content, [*{"sequence": 0} | dict.fromkeys(COLUMNS)])
        return decode(content)  # nobody vouches for it: every checksum is compared


def _ends(reading: Reading) -> dict[int, int]:
    """How many rows there are up to the end of a segment, for those that ended a file."""
    ends, total = {-1: 0}, 0
    for part, count in zip(reading.parts, reading.rows, strict=True):
        total += count
        ends[part.last] = total
    return ends
