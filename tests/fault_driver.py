"""Runs the command line and breaks the disk under it, or ends it, at a chosen operation.

Usage: ``python fault_driver.py JOB`` runs one job; ``python fault_driver.py`` imports everything
once and then forks a process for each job, which takes a tenth of a second instead of two. It
reads lines of JSON, each a list of jobs that run at once, and answers each with their exit codes.

What changes a run directory goes through `evo_nas.record.durable` and from there through the
functions of ``os`` that are wrapped here; a call counts if its path lies in the run directory or
its descriptor was opened there. To stdout go, as soon as they happen and beside what the command
prints: ``told 3`` when birth 3 is reported as saved, ``operations write fsync ...`` at the end.

The keys of a job: ``words``, the command line; ``run``, the run directory; ``kind`` and ``at``,
what happens at which operation, counted from 0; ``stdout`` and ``stderr``, files (of a forked job);
``cuts``, a folder for what power cuts would have left (`tests.pessimistic_disk`). With ``words``
alone nothing can happen, and nothing goes to stdout beside what the command prints.

==========  =====================================================================
kind        what happens
==========  =====================================================================
``none``    nothing
``before``  SIGKILL before the operation
``after``   SIGKILL after it
``half``    SIGKILL in the middle of a write, half of its bytes written
``full``    the disk is full from the operation on: what takes room raises ENOSPC
``once``    this operation alone raises ENOSPC
==========  =====================================================================
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.pessimistic_disk import PessimisticDisk

NAMES = ("open", "write", "fsync", "close", "rename", "unlink", "mkdir", "ftruncate")
OF_DESCRIPTORS = ("write", "fsync", "close", "ftruncate")
LATE = (
    "torch._dynamo",
    "evo_nas.search",
    "evo_nas.show",
    "workers.local",
    "workers.training",
    "workers.tasks.text",
)
"""What a search imports when it needs it: a fork finds it there."""
REAL: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in NAMES}


class Faults:
    """Stands between the program and ``os``, once installed."""

    def __init__(self, run: str, kind: str, at: int) -> None:
        self.run = Path(run)
        self.kind = kind
        self.at = at
        self.names: list[str] = []
        self.ours: set[int] = set()
        self.filled = False
        self.disk: PessimisticDisk | None = None

    def install(self) -> None:
        for name in NAMES:
            setattr(os, name, self._wrapped(name))

    def _wrapped(self, name: str) -> Callable[..., Any]:
        real = REAL[name]

        def wrapped(subject: Any, *more: Any, **named: Any) -> Any:
            if not self._counts(name, subject) or (name == "open" and only_reads(more[0])):
                return real(subject, *more, **named)
            here = len(self.names) == self.at
            self.names.append(name)
            if here and self.kind == "before":
                _die()
            if here and self.kind == "half" and name == "write":
                real(subject, more[0][: len(more[0]) // 2])
                _die()
            if takes_room(name, more) and (
                (self.kind == "full" and len(self.names) > self.at)
                or (self.kind == "once" and here)
            ):
                return self._refused(name, subject, more)
            result = real(subject, *more, **named)
            if here and self.kind == "after":
                _die()
            if name == "open":
                self.ours.add(result)
            if self.disk is not None and name in ("open", "fsync"):
                self.disk.after(name, result if name == "open" else subject)
            if name == "close":
                self.ours.discard(subject)
            return result

        return wrapped

    def _counts(self, name: str, subject: Any) -> bool:
        if name in OF_DESCRIPTORS:
            return subject in self.ours
        path = Path(os.fsdecode(subject))
        return path == self.run or self.run in path.parents

    def _refused(self, name: str, subject: Any, more: tuple[Any, ...]) -> int:
        # What still fits is written, as a real disk does it.
        if name == "write" and self.kind == "full" and not self.filled and len(more[0]) > 1:
            self.filled = True
            return int(REAL["write"](subject, more[0][: len(more[0]) // 2]))
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if name not in OF_DESCRIPTORS:
            error.filename = os.fsdecode(subject)
        raise error


def only_reads(flags: int) -> bool:
    """Whether a file is opened to be read; a directory is opened to be synced."""
    return flags & os.O_ACCMODE == os.O_RDONLY and not flags & os.O_DIRECTORY


def takes_room(name: str, more: tuple[Any, ...]) -> bool:
    """Whether a full disk refuses this: removing and closing take no room, nor does reading."""
    if name == "open":
        return bool(more[0] & os.O_CREAT)
    return name not in ("close", "unlink")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def say(text: str) -> None:
    """To stdout at once."""
    REAL["write"](1, f"{text}\n".encode())


def report_what_is_told(reported: list[int]) -> None:
    """The search says so by its progress line, and only of what is on disk."""
    from evo_nas.progress import ProgressLine

    told = ProgressLine.told

    def reporting(self: ProgressLine, events: Any) -> None:
        for event in events:
            reported.append(event.birth)
            say(f"told {event.birth}")
        told(self, events)

    ProgressLine.told = reporting  # type: ignore[method-assign]


def run(job: dict[str, Any]) -> None:
    """Run a job in this process; ends by SystemExit with the exit code of the command."""
    if "run" not in job:
        from evo_nas.cli import main

        main(args=job["words"], prog_name="evo-nas")
    reported: list[int] = []
    report_what_is_told(reported)
    from evo_nas.cli import main

    faults = Faults(job["run"], job.get("kind", "none"), job.get("at", -1))
    if "cuts" in job:
        faults.disk = PessimisticDisk(Path(job["run"]), Path(job["cuts"]), reported)
    faults.install()
    try:
        main(args=job["words"], prog_name="evo-nas")
    finally:
        say(" ".join(["operations", *faults.names]))
        if faults.disk is not None:
            faults.disk.close()


def forked(job: dict[str, Any]) -> int:
    """Run a job in a process of its own; its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 70  # a traceback, which stderr then shows
    try:
        for descriptor, name in ((1, job["stdout"]), (2, job["stderr"])):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        run(job)
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else int(done.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    """Answer each line of stdin until it ends."""
    for name in LATE:
        importlib.import_module(name)
    for line in sys.stdin:
        pids = [forked(job) for job in json.loads(line)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        print(json.dumps(codes), flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(json.loads(sys.argv[1]))
    else:
        serve()
