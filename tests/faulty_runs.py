"""Small deterministic searches to be broken, and what has to be true of them at any time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from evo_nas.comparison.folders import folders_of
from evo_nas.comparison.reading import read_comparison
from evo_nas.events import Asked, Event, Told
from evo_nas.record import HEADER, read_events
from tests.tiny import SMALL, environment, tiny_text

DRIVER = Path(__file__).with_name("fault_driver.py")


def search_words(run: Path, *more: str, evaluations: int, checkpoint_segments: int) -> list[str]:
    """Of a deterministic search in process, with a comparison; its files lie beside ``run``."""
    run.parent.mkdir(parents=True, exist_ok=True)
    text, config = run.parent / "tiny.txt", run.parent / "search.toml"
    if not text.exists():  # another process may read it just now
        tiny_text(run.parent)
        config.write_text(f"[record]\ncheckpoint_segments = {checkpoint_segments}\n")
    words = ["search", str(config), "--task", "text", "--data", str(text), "--run", str(run)]
    words += [*SMALL, "--evaluations", str(evaluations), "--deterministic", "--workers", "0"]
    return [*words, "--seeds", "1", "--top", "1", *more]


@dataclass(frozen=True)
class Ended:
    """A process that is no more.

    Attributes:
        code: Its exit code; minus the number of the signal that ended it.
        output: Its stdout, what the driver says included.
        errors: Its stderr.
    """

    code: int
    output: str
    errors: str

    @property
    def told(self) -> list[int]:
        """The births it reported as saved."""
        lines = self.output.splitlines(keepends=True)
        return [int(line[5:]) for line in lines if line.startswith("told ") and line[-1] == "\n"]

    @property
    def operations(self) -> list[str]:
        """What it did to the run directory; of a process that was not killed."""
        (line,) = (x for x in self.output.splitlines() if x.startswith("operations"))
        return line.split()[1:]


class Forks:
    """Runs the command line in processes forked from one that has imported everything."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = self._begun()

    def _begun(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(DRIVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate(timeout=120)

    def run(self, words: Sequence[str], run: Path, kind: str = "none", at: int = -1) -> Ended:
        """Run one command line; see `tests.fault_driver` for what can happen to it."""
        return self.at_once([{"words": [*words], "run": str(run), "kind": kind, "at": at}])[0]

    def evo_nas(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What `tests.tiny.evo_nas` does, without the seconds that importing torch takes."""
        (ended,) = self.at_once([{"words": [*words]}])
        return subprocess.CompletedProcess(words, ended.code, ended.output, ended.errors)

    def at_once(self, jobs: Sequence[dict[str, Any]]) -> list[Ended]:
        """Run several at the same time, until all have ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        files = [(self._folder / f"out{k}", self._folder / f"err{k}") for k in range(len(jobs))]
        for job, (out, err) in zip(jobs, files, strict=True):
            job |= {"stdout": str(out), "stderr": str(err)}
        self._process.stdin.write(json.dumps([*jobs]) + "\n")
        self._process.stdin.flush()
        try:
            codes = json.loads(self._process.stdout.readline())
        except BaseException:  # the next test must not get the answer that this one has given up
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()
            self._process = self._begun()
            raise
        return [
            Ended(code, out.read_text(), err.read_text())
            for code, (out, err) in zip(codes, files, strict=True)
        ]


def begin_driven(words: Sequence[str], run: Path) -> subprocess.Popen[str]:
    """Start a command line in a process of its own that reports what is told."""
    job = {"words": [*words], "run": str(run)}
    return subprocess.Popen(
        [sys.executable, str(DRIVER), json.dumps(job)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )


def killed_after(process: subprocess.Popen[str], seconds: float) -> Ended:
    """Kill a process after so many seconds, unless it has ended by then."""
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        output, errors = process.communicate(timeout=60)
    return Ended(process.returncode, output, errors)


def repeatable(event: Event) -> str:
    """An event without what clock and worker decide, to be compared: a curve may hold a nan."""
    if isinstance(event, Asked):
        return repr(event)
    return repr(replace(event, seconds=0.0, worker="", finished=0.0, elapsed=0.0))


def history(run: Path) -> list[str]:
    """The events of a run that is read without a warning."""
    events, warnings = read_events(run)
    assert warnings == []
    return [repeatable(event) for event in events]


def table_of(run: Path) -> list[str]:
    """What the last comparison of a run says."""
    comparison = read_comparison(folders_of(run)[-1])
    assert comparison.complete
    return [repr(replace(row, seconds=None)) for row in comparison.rows]


def assert_saved(run: Path, reported: Sequence[int]) -> None:
    """What was reported is on disk, nothing is there twice, and every file can be read."""
    if not (run / HEADER).exists():
        assert list(reported) == []
        return
    events, warnings = read_events(run)
    assert warnings == []
    told = [event.birth for event in events if isinstance(event, Told)]
    asked = [event.birth for event in events if isinstance(event, Asked)]
    assert asked == list(range(len(asked)))
    assert len(told) == len(set(told))
    assert set(told) <= set(asked)
    assert set(reported) <= set(told)
    for folder in folders_of(run):
        assert read_events(folder)[1] == []


def next_words(words: Sequence[str], run: Path) -> list[str]:
    """How to go on with a search that was killed: as the user would."""
    return ["resume", str(run)] if (run / HEADER).exists() else [*words]
