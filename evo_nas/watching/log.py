"""The log of a run: one JSON object a line, one file for each session.

::

    DIR/logs/001.jsonl          of the first command that searched in the run or compared its cells
    DIR/logs/001-00000.jsonl    its first lines, where the run is in a bucket: no object grows

It is written for people and for what they collect logs with. The record knows nothing of it, and
nothing is read back from it: a torn last line does no harm, and it is not synced.

A log that cannot be written costs no result. What was refused is tried again with the next
results: until then the record, too, has been written, so that a disk that takes nothing ends the
search with the one line that the record gives. Only if the record could be written and the log
could not, for the second time, there is one warning, and the session goes on without a log.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol

from evo_nas.record import RunPath
from evo_nas.record.bucket import RemotePath
from evo_nas.record.layout import number_of
from evo_nas.record.storage import make_directory
from evo_nas.terminal import warn

LOGS = "logs"
"""The folder of a run that holds its logs."""

OBJECT_SECONDS, OBJECT_BYTES = 60.0, 1 << 18
"""In a bucket lines are put together for so long, or until they are so many bytes."""

Entry = Mapping[str, Any]


class Chunks(Protocol):
    """Where a log goes, chunk by chunk: each is some whole lines."""

    def append(self, pending: bytearray) -> None:
        """Take what is pending away, from the front: it is written, or will be by `close`.

        Raises:
            OSError: If not all of it could be written; what is left is still to be written.
        """
        ...

    def tick(self) -> None:
        """Write what has waited for more for long enough.

        Raises:
            OSError: If that is refused; it is still to be written.
        """
        ...

    def close(self) -> None:
        """No more comes.

        Raises:
            OSError: If what was taken could not be written.
        """
        ...


class LogFile:
    """A new file ``001.jsonl``, ``002.jsonl``, ... of a folder, opened with the first chunk.

    It goes past `evo_nas.record.durable`, which is for what has to survive.

    Attributes:
        path: The file; the folder before there is one.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self._file: IO[bytes] | None = None

    def append(self, pending: bytearray) -> None:
        """See `Chunks`."""
        if self._file is None:
            self._file = self._opened()
        while pending:
            del pending[: self._file.write(pending)]

    def tick(self) -> None:
        """Nothing: no line waits."""

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            self._file.close()

    def _opened(self) -> IO[bytes]:
        folder = self.path
        number = next_number(folder.iterdir())
        while True:
            path = folder / f"{number:03}.jsonl"
            try:
                # Without a buffer: who follows the file sees a line as soon as it is written.
                file = path.open("xb", buffering=0)
            except FileExistsError:
                number += 1
                continue  # another session began at the same time: a comparison beside a search
            self.path = path
            return file


class LogObjects:
    """New objects ``001-00000.jsonl``, ``001-00001.jsonl``, ... of a folder in a bucket.

    Each holds what came within `OBJECT_SECONDS` of the last, or `OBJECT_BYTES` of it: a kill may
    lose so much.
    """

    def __init__(self, folder: RemotePath) -> None:
        self._folder = folder
        self._session = 0
        self._count = 0
        self._taken = bytearray()
        self._last = time.monotonic()
        self._refused = False

    def append(self, pending: bytearray) -> None:
        """See `Chunks`."""
        self._taken += pending
        pending.clear()
        if self._late() or self._refused or len(self._taken) >= OBJECT_BYTES:
            self._put()

    def tick(self) -> None:
        """See `Chunks`."""
        if self._taken and self._late():
            self._put()

    def close(self) -> None:
        """Write what is left."""
        if self._taken:
            self._put()

    def _late(self) -> bool:
        return time.monotonic() - self._last >= OBJECT_SECONDS

    def _put(self) -> None:
        again, self._refused = self._refused and self._session > 0, True
        self._last = time.monotonic()  # should it be refused, the next tick does not try at once
        if not self._session:
            self._session = next_number(self._folder.iterdir(patience=0.0))
        content = bytes(self._taken)
        if again:
            self._path().replace(content, patience=0.0)  # it may hold the beginning of this
        else:
            self._put_new(content)
        self._count += 1
        self._taken.clear()
        self._refused = False

    def _put_new(self, content: bytes) -> None:
        while True:
            try:
                return self._path().put(content, patience=0.0)
            except FileExistsError:
                self._session += 1  # another session began at the same time

    def _path(self) -> RemotePath:
        return self._folder / f"{self._session:03}-{self._count:05}.jsonl"


def next_number(logs: Iterable[RunPath]) -> int:
    """One more than the highest number of a session among the files of logs."""
    names = (path.stem.partition("-")[0] for path in logs if path.name.endswith(".jsonl"))
    return max((number_of(name) or 0 for name in names), default=0) + 1


class RunLog:
    """Writes a log.

    Args:
        chunks: Where it goes.
    """

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self._pending = bytearray()
        self._refused: OSError | None = None
        self._given_up = False

    def note(self, event: str, **facts: Any) -> None:
        """Log one event; if that is refused, it is tried again later."""
        self._write([{"event": event, **facts}])

    def recorded(self, entries: Sequence[Entry]) -> None:
        """Log events, each with its name as ``event``, of what the record took in just now."""
        before = self._refused
        self._write(entries)
        if before is not None and self._refused is not None and not self._given_up:
            self._give_up()

    def tick(self) -> None:
        """Time has passed: what is refused now is tried again later."""
        if self._given_up:
            return
        try:
            self._chunks.tick()
        except OSError as error:
            self._refused = error

    def close(self, failed: bool = False) -> None:
        """No more comes.

        Args:
            failed: Whether the session ends with an error: then it is that error that is told.
        """
        self._write([])
        try:
            self._chunks.close()
        except OSError as error:
            self._refused = error
        else:
            self._refused = self._refused if self._pending else None
        if self._refused is not None and not failed and not self._given_up:
            self._give_up()

    def _write(self, entries: Sequence[Entry]) -> None:
        if self._given_up:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        for entry in entries:
            line = json.dumps({"time": now, **entry}, allow_nan=False)
            self._pending += line.encode() + b"\n"
        if not self._pending:
            return
        try:
            self._chunks.append(self._pending)
        except OSError as error:
            self._refused = error
        else:
            self._refused = None

    def _give_up(self) -> None:
        self._given_up = True
        warn(
            [
                f"the log of this session cannot be written ({self._refused}). The search goes on "
                "without it; the record is not concerned."
            ]
        )


def open_log(directory: RunPath) -> RunLog:
    """The log of a session that begins now.

    Raises:
        OSError: If the run has no folder for logs yet and the disk refuses one.
    """
    folder = directory / LOGS
    make_directory(folder)
    return RunLog(LogObjects(folder) if isinstance(folder, RemotePath) else LogFile(folder))
