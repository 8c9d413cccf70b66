"""The record as its one writer sees it: begun, opened, appended to, rolled up now and then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType

import pyarrow as pa

from evo_nas.errors import RecordError
from evo_nas.events import Event
from evo_nas.record.checkpoint import write_checkpoint
from evo_nas.record.durable import TEMPORARY
from evo_nas.record.header import HEADER, Header, read_header, upgrade, write_header
from evo_nas.record.layout import SEGMENTS, Part
from evo_nas.record.outside import refuse_links
from evo_nas.record.paths import RunPath, run_path
from evo_nas.record.reading import Reading, read_table
from evo_nas.record.segments import encode, table_of
from evo_nas.record.storage import (
    OF_A_LOCK,
    Hold,
    hold,
    make_directory,
    move_durably,
    patient,
    write_durably,
)

CHECKPOINT_SEGMENTS = 256
"""After so many segments a checkpoint is written."""


class Record:
    """A run open for writing, by this process alone; made by `create_run` and `open_run`.

    Attributes:
        directory: The run directory.
        header: Its header.
        held: What keeps other managers out.
        reading: What was recorded when it was opened.
        warnings: What the user should know about opening it.
        checkpoint_segments: After so many segments a checkpoint is written.
        on_checkpoint: Called with the number of events up to a checkpoint when it is written.
    """

    def __init__(
        self,
        directory: RunPath,
        header: Header,
        held: Hold,
        reading: Reading,
        warnings: Sequence[str] = (),
        checkpoint_segments: int = CHECKPOINT_SEGMENTS,
    ) -> None:
        self.directory = directory
        self.header = header
        self.reading = reading
        self.warnings = [*warnings, *reading.warnings]
        self.held = held
        self.checkpoint_segments = checkpoint_segments
        self.on_checkpoint: Callable[[int], None] = lambda events: None
        self._sequence = sum(reading.rows)
        self._number = reading.next_segment
        self._parts = list(reading.parts)
        self._manifest = reading.manifest
        self._written: dict[Part, pa.Table] = {}

    def append(self, events: Sequence[Event]) -> None:
        """Write the events as one segment; when this returns they survive a power cut.

        After so many segments a checkpoint is written too.

        Raises:
            ValueError: If there are none.
            OSError: If the disk refuses. Unless the segment file is there, none of the events is
                recorded; the record must be opened again to go on.
        """
        if not events:
            raise ValueError("there is nothing to append.")
        table = table_of(events, self._sequence)
        part = Part(self._number, self._number, False)
        write_durably(self.directory / SEGMENTS / part.name, encode(table), self.held)
        self._parts.append(part)
        self._written[part] = table
        self._number += 1
        self._sequence += len(events)
        if sum(not part.rolled for part in self._parts) >= self.checkpoint_segments:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Roll up what stands in single segments, and write down what is whole.

        Raises:
            OSError: If the disk refuses; nothing recorded is lost.
        """
        self._manifest = write_checkpoint(
            self.directory, self._parts, self._manifest, self._written, self.held
        )
        self._parts = [file.part for file in self._manifest.files]
        self._written.clear()
        self.on_checkpoint(self._manifest.events)

    def close(self) -> None:
        """Let other managers in."""
        self.held.release()

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def create_run(
    directory: str | RunPath, header: Header, checkpoint_segments: int = CHECKPOINT_SEGMENTS
) -> Record:
    """Begin a run in a new or empty directory.

    Raises:
        RecordError: If a run, anything else, or a file is there.
        RunLocked: If another process begins one there right now.
    """
    root = run_path(directory)
    _refuse_used(root)
    make_directory(root / SEGMENTS)
    lock = hold(root)
    try:
        _refuse_used(root)  # again: another process may have been faster
        write_header(root, header, lock)
        return Record(patient(root), header, lock, read_table(root), (), checkpoint_segments)
    except BaseException:
        lock.release()
        raise


def open_run(
    directory: str | RunPath,
    columns: Sequence[str] | None = None,
    checkpoint_segments: int = CHECKPOINT_SEGMENTS,
) -> Record:
    """Open an existing run to go on with it.

    A torn newest segment is renamed (never deleted), so that its number is free again. A run of an
    older format is brought to this one.

    Args:
        directory: The run.
        columns: What ``Record.reading`` holds; None for all.
        checkpoint_segments: After so many segments a checkpoint is written.

    Raises:
        RecordError: As `read_header` and `read_events`.
        RunLocked: If another process writes to it; the message names its pid.
    """
    root = run_path(directory)
    header = read_header(root)
    refuse_links(root)
    lock = hold(root)
    try:
        reading = read_table(root, columns)
        warnings = [text] if (text := upgrade(root, lock)) else []
        record = Record(patient(root), header, lock, reading, warnings, checkpoint_segments)
        if reading.torn is not None:
            aside = _free_name(reading.torn.with_name(reading.torn.name + ".torn"))
            move_durably(reading.torn, aside, lock)
            record.warnings.append(f"It was kept as {aside}.")
        return record
    except BaseException:
        lock.release()
        raise


def _refuse_used(root: RunPath) -> None:
    if root.is_dir():
        if (root / HEADER).exists():
            raise RecordError(
                f"{root} already holds a run. Go on with it by: evo-nas resume {root} "
                "(or give a new --run)"
            )
        # What a creation leaves that was killed before its header.
        harmless = {*OF_A_LOCK, HEADER + TEMPORARY}
        others = [p.name for p in root.iterdir() if p.name not in harmless | {SEGMENTS}]
        segments = root / SEGMENTS
        if others or (segments.exists() and (not segments.is_dir() or any(segments.iterdir()))):
            found = others[0] if others else SEGMENTS
            raise RecordError(
                f"{root} is not empty (it has {found!r}) and holds no run. "
                "Give a new or empty directory as --run."
            )
    elif root.exists():
        raise RecordError(f"{root} is a file. Give a new or empty directory as --run.")


def _free_name(path: RunPath) -> str:
    name, n = path.name, 1
    while path.with_name(name).exists():
        name, n = f"{path.name}{n}", n + 1
    return name
