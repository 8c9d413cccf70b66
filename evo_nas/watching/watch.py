"""``evo-nas status --watch``: the status of a run again and again, from its record alone."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

import numpy as np

from evo_nas.births import Births
from evo_nas.config_tables import SearchConfig
from evo_nas.record.paths import RunPath
from evo_nas.sessions import FOLDER, last_config
from evo_nas.status import RunStatus, as_document, summary, to_text
from evo_nas.terminal import put_line, warn
from evo_nas.watching.ending import Course, course_of
from evo_nas.watching.following import Following
from evo_nas.watching.screen import Blocks, Screen, Terminal

IDLE = 20
"""After each look but the first the watch rests for so many times the processor time that it took,
at least: watching a large run takes a twentieth of a core and no more."""

ENDED = "the run has ended"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at a run gave.

    Attributes:
        status: The summary.
        course: How far it has come.
        last: When the last result was in, in seconds since 1970 (UTC); None before the first.
    """

    status: RunStatus
    course: Course
    last: float | None


class Looker:
    """Looks at a run again and again, and sums it up anew only if something changed.

    Args:
        directory: The run.

    Raises:
        RecordError: If there is no run.
    """

    def __init__(self, directory: RunPath) -> None:
        self.directory = directory
        self.following = Following(directory)
        self._warned: set[str] = set()
        self._sessions: list[str] | None = None
        self._config: SearchConfig | None = None
        self._births: Births | None = None
        self._seen: Seen | None = None

    def look(self) -> tuple[Seen, bool]:
        """What there is to see, and whether it is something new.

        Raises:
            RecordError: If the record cannot be read.
        """
        new = self.following.read()
        for warning in self.following.warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                warn([warning])
        if new or self._births is None:
            self._births = self.following.births()
        births = self._births
        course = course_of(self.directory, self._told_to_do(), births)
        before = self._seen
        if before is None or new:
            self._seen = Seen(summary(self.following.header, births), course, _last(births))
        elif course != before.course:
            self._seen = Seen(before.status, course, before.last)
        assert self._seen is not None
        return self._seen, self._seen is not before

    def _told_to_do(self) -> SearchConfig:
        """The configuration of the last session, read again when there is another."""
        sessions = sorted(path.name for path in (self.directory / FOLDER).glob("*.json"))
        if self._config is None or sessions != self._sessions:
            self._sessions = sessions
            self._config = last_config(self.directory, self.following.header)
        return self._config


def watch_run(directory: RunPath, every: float, as_json: bool, stream: TextIO) -> None:
    """Show the status of a run whenever it changed, until the run has ended.

    Args:
        directory: The run.
        every: Seconds between two looks, at least.
        as_json: Whether to write a JSON object a line.
        stream: Where to; a terminal is drawn over in place.

    Raises:
        RecordError: If there is no run, or its record cannot be read.
        KeyboardInterrupt: When the user has seen enough.
    """
    looker = Looker(directory)
    screen: Screen = Terminal(stream) if stream.isatty() else Blocks(stream)
    first = True
    while True:
        began = time.process_time()
        seen, changed = looker.look()
        if not as_json:
            lines = to_text(seen.status, looker.following.header).split("\n")
            screen.show(lines, _passing(directory, seen), changed)
        elif changed:
            put_line(stream, _json(seen))
        if seen.course.phase == "ended":
            if not as_json:
                put_line(stream, ENDED)
            return
        # The first look is dear, for whatever is needed is imported then, and cheap ones follow.
        rest = 0.0 if first else IDLE * (time.process_time() - began)
        first = False
        time.sleep(max(every, rest))


def _last(births: Births) -> float | None:
    finished = births.finished[births.told]
    return float(np.max(finished)) if len(finished) else None


def _passing(directory: RunPath, seen: Seen) -> str:
    """What is going on, and since when nothing came."""
    now = time.time()
    course = seen.course
    what: list[str] = [course.phase]
    if course.phase == "searching" and course.budget is not None:
        what = [f"searching, {seen.status.evaluations} of {course.budget} evaluations"]
    elif course.phase == "comparing" and course.trainings is not None:
        what = [f"{course.phase}, {course.trainings[0]} of {course.trainings[1]} trainings"]
    if seen.last is not None:
        what.append(f"last result {_ago(now - seen.last)} ago")
    clock = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{directory} at {clock}: {'; '.join(what)}"


def _ago(seconds: float) -> str:
    whole = max(0, int(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= 2 * size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def _json(seen: Seen) -> str:
    course = seen.course
    document = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "phase": course.phase,
        "budget_evaluations": course.budget,
        "comparison_trainings": course.trainings,
        **as_document(seen.status),
    }
    return json.dumps(document, allow_nan=False)
