"""A session as those see it who watch it from inside: what goes into its log, and who else is told.

A session is what one command does to a run: ``search``, ``resume`` or ``compare``.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evo_nas import __version__
from evo_nas.config_tables import SearchConfig
from evo_nas.events import Told
from evo_nas.record import Header, Record, RunPath, run_path
from evo_nas.terminal import warn
from evo_nas.watching.log import RunLog, open_log
from evo_nas.watching.ray_metrics import RayMetrics
from evo_nas.watching.scalars import Scalars
from evo_nas.watching.view import View, Watcher, name_of

if TYPE_CHECKING:
    from evo_nas.comparison.reading import Comparison


@dataclass
class Watch:
    """Tells everybody who watches a search; by default that is nobody.

    Attributes:
        log: The log of the session; None for none.
        watchers: Told after every poll.
    """

    log: RunLog | None = None
    watchers: Sequence[Watcher] = ()

    def saver(self, record: Record) -> Record:
        """The record, which notes in the log from now on when it is rolled up."""
        record.on_checkpoint = lambda events: self.note("checkpoint", events=events)
        return record

    def note(self, event: str, **facts: Any) -> None:
        """Log something."""
        if self.log is not None:
            self.log.note(event, **facts)

    def warning(self, message: str) -> None:
        """Log what the user was warned of."""
        self.note("warning", message=message)

    def told(self, events: Sequence[Told], view: View) -> None:
        """Results are recorded."""
        if self.log is not None:
            self.log.recorded([_result(event) for event in events])
        for watcher in self.watchers:
            watcher.told(events, view)

    def tick(self, view: View) -> None:
        """A poll is over."""
        if self.log is not None:
            self.log.tick()
        for watcher in self.watchers:
            watcher.tick(view)

    def end(self, view: View) -> None:
        """The search is over."""
        for watcher in self.watchers:
            watcher.end(view)


def _result(event: Told) -> dict[str, Any]:
    entry: dict[str, Any] = {"event": "result", "birth": event.birth, "status": event.status}
    for name in ("metric", "steps", "seconds", "worker", "engine"):
        value = getattr(event, name)
        entry[name] = round(value, 3) if name == "seconds" else value
    if event.message:
        entry["message"] = event.message
    return entry


@dataclass
class Session:
    """A session that is logged.

    Attributes:
        log: Its log.
        reason: Why it ended, as far as is known.
        facts: What else is noted of its end.
    """

    log: RunLog
    reason: str = "finished"
    facts: dict[str, Any] = field(default_factory=dict)

    def warn(self, message: str) -> None:
        """Show the user a warning, and log it."""
        warn([message])
        self.log.note("warning", message=message)

    def compare(self, part: str, train: Callable[[], Comparison | None]) -> Comparison | None:
        """Log that a comparison begins and, unless there is an error, that it is over.

        Args:
            part: Of the data, that gives its metrics.
            train: Makes the comparison; None if it did not come to the final trainings.
        """
        began = time.monotonic()
        self.log.note("comparison begun", part=part)
        table = train()
        self.log.note(
            "comparison ended",
            part=part,
            complete=table is not None and table.complete,
            folder=None if table is None else str(table.directory),
            seconds=round(time.monotonic() - began, 3),
        )
        return table


@contextmanager
def logged_session(directory: RunPath, command: str, config: SearchConfig) -> Iterator[Session]:
    """Log that a session begins and, whatever happens short of a kill, that and why it ends.

    Args:
        directory: The run.
        command: What the user called.
        config: What the session is told to do.

    Raises:
        OSError: If the disk refuses a folder for the logs.
    """
    log = open_log(directory)
    log.note(
        "session begun",
        command=command,
        run=str(directory),
        program=__version__,
        process=os.getpid(),
        host=socket.gethostname(),
        task=config.task.kind,
        strategy=config.evolution.strategy,
        budget={"evaluations": config.budget.evaluations, "hours": config.budget.hours},
        workers=config.workers.workers,
    )
    session = Session(log)
    failed = True
    try:
        yield session
        failed = False
    except KeyboardInterrupt:
        session.reason = "interrupted at once"
        failed = False
        raise
    except BaseException as error:
        session.reason = "error"
        session.facts |= {"error": type(error).__name__, "message": str(error)}
        raise
    finally:
        log.note("session ended", reason=session.reason, **session.facts)
        log.close(failed)


def scalars_of(config: SearchConfig, directory: str | RunPath, header: Header) -> Path | None:
    """Where the scalars of a run go: a folder of its own; None for nowhere."""
    folder = config.watching.tensorboard
    name = name_of(str(run_path(directory).resolve()), header)
    return Path(folder) / name if folder else None


def watch_of(session: Session, config: SearchConfig, directory: RunPath, header: Header) -> Watch:
    """Everybody who watches the search of a session.

    Call it when the pool is open: Ray's metrics are set if this process is connected to Ray.

    Raises:
        OSError: If the folder for TensorBoard cannot be written.
    """
    from workers.metrics import metrics_of

    name = name_of(str(directory.resolve()), header)
    watchers: list[Watcher] = []
    if (metrics := metrics_of(name)) is not None:
        watchers.append(RayMetrics(metrics))
    if (folder := scalars_of(config, directory, header)) is not None:
        watchers.append(Scalars(folder))
    return Watch(session.log, watchers)
