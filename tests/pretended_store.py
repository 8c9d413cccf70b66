"""An object store, a clock and processes that are pretended: hours of a lease in milliseconds.

Everything from `evo_nas.record.bucket` up is real; what is pretended is Arrow's file system, and
time, which passes only where somebody sleeps or a request is under way. Processes take turns, the
one whose time comes first: the same test always takes the same course.
"""

from __future__ import annotations

import heapq
import io
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from pyarrow.fs import FileInfo, FileSelector, FileType

from evo_nas.record import bucket, lease
from evo_nas.record.bucket import Bucket, RemotePath

LATENCY = 0.05
"""Seconds of a request: half of them until it arrives."""


@dataclass(frozen=True)
class Request:
    """A request: of which process, its how manieth, what it does with which key, and whether it is
    answered already."""

    process: str
    number: int
    what: str
    key: str
    answered: bool


@dataclass
class World:
    """A store, its clock, and who uses it.

    Attributes:
        now: Seconds, of all clocks.
        objects: When each was put, and what it holds.
        on_request: Called before a request is sent and when it is answered; may raise, or let time
            pass.
        requests: How many each process has made.
    """

    now: float = 1000.0
    objects: dict[str, tuple[float, bytes]] = field(default_factory=dict)
    on_request: Callable[[Request], None] = lambda request: None
    requests: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._turns: list[tuple[float, int, str]] = []
        self._gates: dict[str, threading.Semaphore] = {}
        self._yielded = threading.Semaphore(0)
        self._order = 0
        self._errors: list[BaseException] = []

    def used_by(self, monkeypatch: pytest.MonkeyPatch) -> World:
        """The world, in the place of the real one for a test; nobody renews behind its back."""
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep)
        monkeypatch.setattr(bucket, "time", clock)
        monkeypatch.setattr(lease, "_clock", lambda: self.now)
        monkeypatch.setattr(lease, "_sleep", self.sleep)
        monkeypatch.setattr(lease.Lease, "_keep", lambda held: None)
        return self

    def path(self, scheme: str = "s3") -> RemotePath:
        """A run in it."""
        return RemotePath(Bucket(scheme, "runs", _System(self)), "first")

    def begin(self, name: str, after: float, body: Callable[..., object], *given: object) -> None:
        """Let a process begin after so many seconds, once the world runs."""

        def process() -> None:
            self._gates[name].acquire()
            try:
                body(*given)
            except BaseException as error:
                self._errors.append(error)
            finally:
                self._yielded.release()

        self._gates[name] = threading.Semaphore(0)
        self._wake(name, after)
        threading.Thread(target=process, name=name, daemon=True).start()

    def run(self) -> None:
        """Until every process has ended, or one has failed."""
        while self._turns and not self._errors:
            self.now, _, name = heapq.heappop(self._turns)
            self._gates[name].release()
            self._yielded.acquire()
        if self._errors:
            raise self._errors[0]

    def sleep(self, seconds: float) -> None:
        """Let time pass for the process that calls."""
        name = threading.current_thread().name
        if name not in self._gates:
            self.now += seconds
            return
        self._wake(name, seconds)
        self._yielded.release()
        self._gates[name].acquire()

    def request(self, what: str, key: str, answer: Callable[[], Any]) -> Any:
        """What a request is answered with."""
        name = threading.current_thread().name
        self.requests[name] += 1
        number = self.requests[name]
        self.on_request(Request(name, number, what, key, False))
        self.sleep(LATENCY / 2)
        try:
            return answer()
        finally:
            self.sleep(LATENCY / 2)
            self.on_request(Request(name, number, what, key, True))

    def _wake(self, name: str, seconds: float) -> None:
        self._order += 1
        heapq.heappush(self._turns, (self.now + seconds, self._order, name))


class _System:
    """What `RemotePath` uses of Arrow's file system."""

    def __init__(self, world: World) -> None:
        self._world = world

    def get_file_info(self, wanted: str | FileSelector) -> Any:
        objects = self._world.objects

        def found() -> Any:
            if isinstance(wanted, FileSelector):
                names = [name for name in objects if name.startswith(f"{wanted.base_dir}/")]
                return [FileInfo(name, FileType.File) for name in names]
            if wanted not in objects:
                return FileInfo(wanted, FileType.NotFound)
            put, content = objects[wanted]
            # Whole seconds, as S3 says them.
            return FileInfo(wanted, FileType.File, size=len(content), mtime=float(int(put)))

        if isinstance(wanted, FileSelector):
            return self._world.request("list", wanted.base_dir, found)
        return self._world.request("look", wanted, found)

    def open_input_stream(self, path: str) -> io.BytesIO:
        def content() -> io.BytesIO:
            if path not in self._world.objects:
                raise FileNotFoundError(path)
            return io.BytesIO(self._world.objects[path][1])

        stream: io.BytesIO = self._world.request("get", path, content)
        return stream

    def open_output_stream(self, path: str) -> _Put:
        return _Put(self._world, path)

    def delete_file(self, path: str) -> None:
        def gone() -> None:
            if self._world.objects.pop(path, None) is None:
                raise FileNotFoundError(path)

        self._world.request("delete", path, gone)


class _Put:
    def __init__(self, world: World, path: str) -> None:
        self._world, self._path, self._content = world, path, b""

    def write(self, content: bytes) -> None:
        self._content += content

    def close(self) -> None:
        def put() -> None:
            self._world.objects[self._path] = self._world.now, self._content

        self._world.request("put", self._path, put)
