"""The record of a run: a header and durable segments. Population and lineage are readings of it.

::

    DIR/run.json                     header: format, configuration, task, metric
    DIR/segments/00000000.parquet    events, one immutable file for each `Record.append`
    DIR/lock                         held by the manager that writes

Readers (`read_header`, `read_events`) take no lock and write nothing, also while a search runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from evo_nas.durable import TEMPORARY, Lock, make_directory, sync_directory, write_durably
from evo_nas.events import Event
from evo_nas.segments import DamagedSegment, decode, encode, events_of, segment_count, segment_name

FORMAT = "evo-nas-run"
VERSION = 1
HEADER, SEGMENTS, LOCK = "run.json", "segments", "lock"


class RecordError(RuntimeError):
    """A run directory cannot be used as asked; the message names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a run before its first evaluation; written once.

    Attributes:
        config: The configuration (`evo_nas.config.to_dict`).
        task: Name of the task.
        data_sha256: Hex SHA-256 of the task's data.
        metric: Name of the metric; ``unit`` its unit, ``higher_is_better`` its direction.
        program: Version of evo-nas that began the run.
        created: When, as ISO 8601 text in UTC.
    """

    config: Mapping[str, Any]
    task: str
    data_sha256: str
    metric: str
    unit: str
    higher_is_better: bool
    program: str
    created: str


def now() -> str:
    """The time as `Header.created` holds it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Record:
    """A run open for writing, by this process alone; made by `create_run` and `open_run`.

    Attributes:
        directory: The run directory.
        header: Its header.
        events: What was recorded when it was opened, in order.
        warnings: What the user should know about opening it.
    """

    def __init__(
        self, directory: Path, header: Header, lock: Lock, reading: tuple[list[Event], list[str]]
    ) -> None:
        self.directory = directory
        self.header = header
        self.events, self.warnings = reading
        self._lock = lock
        self._sequence = len(self.events)
        self._number = segment_count(directory / SEGMENTS)

    def append(self, events: Sequence[Event]) -> None:
        """Write the events as one segment; when this returns they survive a power cut.

        Raises:
            ValueError: If there are none.
            OSError: If the disk refuses; then none of them is recorded.
        """
        if not events:
            raise ValueError("there is nothing to append.")
        content = encode(events, self._sequence)
        write_durably(self.directory / SEGMENTS / segment_name(self._number), content)
        self._number += 1
        self._sequence += len(events)

    def close(self) -> None:
        """Let other managers in."""
        self._lock.release()

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def create_run(directory: str | Path, header: Header) -> Record:
    """Begin a run in a new or empty directory.

    Raises:
        RecordError: If a run, anything else, or a file is there.
        RunLocked: If another process begins one there right now.
    """
    root = Path(directory)
    _refuse_used(root)
    make_directory(root / SEGMENTS)
    lock = Lock(root / LOCK)
    try:
        _refuse_used(root)  # again: another process may have been faster
        document = {"format": FORMAT, "version": VERSION} | asdict(header)
        text = json.dumps(document, indent=2, allow_nan=False) + "\n"
        write_durably(root / HEADER, text.encode())
        return Record(root, header, lock, ([], []))
    except BaseException:
        lock.release()
        raise


def open_run(directory: str | Path) -> Record:
    """Open an existing run to go on with it.

    A torn newest segment is renamed (never deleted), so that its number is free again.

    Raises:
        RecordError: As `read_header` and `read_events`.
        RunLocked: If another process writes to it; the message names its pid.
    """
    root = Path(directory)
    header = read_header(root)
    lock = Lock(root / LOCK)
    try:
        events, warnings, torn = _read(root)
        if torn is not None:
            aside = _free_name(torn.with_name(torn.name + ".torn"))
            os.rename(torn, aside)
            sync_directory(torn.parent)
            warnings.append(f"It was kept as {aside.name}.")
        return Record(root, header, lock, (events, warnings))
    except BaseException:
        lock.release()
        raise


def read_header(directory: str | Path) -> Header:
    """The header of a run.

    Raises:
        RecordError: If there is no run, its header is damaged, or of another format version.
    """
    path = Path(directory) / HEADER
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise RecordError(
            f"{directory} holds no run: there is no {HEADER} in it. "
            f"Begin one with: evo-nas search --run {directory}"
        ) from None
    except ValueError as error:
        raise RecordError(f"{path} is damaged: {error}. Restore it from a copy.") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise RecordError(f"{path} was not written by evo-nas. Give another run directory.")
    if document.get("version") != VERSION:
        raise RecordError(
            f"{path} has format version {document.get('version')}, but this program reads "
            f"version {VERSION}. Use the evo-nas that wrote it ({document.get('program')}) "
            "or a newer one."
        )
    names = {field.name for field in fields(Header)}
    if missing := sorted(names - document.keys()):
        raise RecordError(f"{path} is damaged: {missing[0]!r} is missing. Restore it from a copy.")
    return Header(**{name: document[name] for name in names})


def read_events(directory: str | Path) -> tuple[list[Event], list[str]]:
    """Everything recorded so far, in order, and warnings to be shown to the user.

    A damaged newest segment (a disk may tear one, a killed process cannot) is left out with a
    warning: what it held counts as never told.

    Raises:
        RecordError: If there is no run, a segment is missing, or one that has a successor is
            damaged.
    """
    read_header(directory)
    events, warnings, _ = _read(Path(directory))
    return events, warnings


def _read(root: Path) -> tuple[list[Event], list[str], Path | None]:
    folder = root / SEGMENTS
    # Files are opened by number, not as listed: a listing made while a search writes may show
    # a segment and miss the one before it.
    try:
        count = segment_count(folder)
    except FileNotFoundError:
        raise RecordError(f"{folder} is missing. Restore it from a copy.") from None
    tables: list[Any] = []
    sequence = 0
    for number in range(count):
        path = folder / segment_name(number)
        try:
            table = decode(path.read_bytes())
            _check_sequence(table.column("sequence").to_pylist(), sequence)
            if number == count - 1:
                events_of([table])
        except FileNotFoundError:
            raise RecordError(
                f"{path} is missing, but segments up to {count - 1} exist. "
                "Restore it from a copy of the run: later events build on it."
            ) from None
        except DamagedSegment as error:
            if number < count - 1:
                raise RecordError(
                    f"{path} is damaged ({error}) and has successors, so it cannot be left out. "
                    "Restore it from a copy of the run, or move it and every later segment away "
                    "to go on from before it."
                ) from None
            warning = f"{path} is damaged ({error}); it is the newest segment and was left out."
            return events_of(tables), [warning], path
        sequence += table.num_rows
        tables.append(table)
    try:
        return events_of(tables), [], None
    except DamagedSegment as error:
        raise RecordError(f"{folder}: {error}. Restore it from a copy of the run.") from None


def _check_sequence(numbers: list[int], start: int) -> None:
    if not numbers or numbers != list(range(start, start + len(numbers))):
        raise DamagedSegment(f"its events are not numbered from {start} on")


def _refuse_used(root: Path) -> None:
    if root.is_dir():
        if (root / HEADER).exists():
            raise RecordError(
                f"{root} already holds a run. Go on with it by: evo-nas resume {root} "
                "(or give a new --run)"
            )
        # What a creation leaves that was killed before its header.
        harmless = {LOCK, HEADER + TEMPORARY}
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


def _free_name(path: Path) -> Path:
    candidate, n = path, 1
    while candidate.exists():
        candidate, n = path.with_name(f"{path.name}{n}"), n + 1
    return candidate
