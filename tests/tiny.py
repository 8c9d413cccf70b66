"""A search that takes seconds: a small text, small cells, few steps; and ways to run it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SMALL = ("--hidden-size", "8", "--steps", "4", "--batch-size", "4", "--population", "4")


def tiny_text(folder: Path) -> Path:
    """A text of 4,000 characters with some structure."""
    path = folder / "tiny.txt"
    path.write_text("".join(f"{n} is {n * n} squared. " for n in range(200))[:4000])
    return path


def arguments(folder: Path, *more: str, run: str = "run") -> list[str]:
    """Of ``evo-nas search`` on the tiny text, in process unless ``more`` says otherwise."""
    data, directory = str(tiny_text(folder)), str(folder / run)
    start = ["search", "--task", "text", "--data", data, "--run", directory, *SMALL]
    return [*start, "--workers", "0", *more]


def environment() -> dict[str, str]:
    """The environment of a command: ours can be imported, one thread."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def evo_nas(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "evo_nas", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(),
        check=False,
        timeout=300,
    )


def begin(
    words: Sequence[str], cwd: Path | None = None, program: Sequence[str] = ("-m", "evo_nas")
) -> subprocess.Popen[str]:
    """Start the command line, or what Python is told to run in its place; do not wait for it."""
    return subprocess.Popen(
        [sys.executable, *program, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment(),
        start_new_session=True,
    )


def wait_for_segments(run: Path, count: int, seconds: float = 60) -> None:
    """Until a run has so many segments on disk."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if len(list((run / "segments").glob("*.parquet"))) >= count:
            return
        time.sleep(0.02)
    raise AssertionError(f"{run} has fewer than {count} segments after {seconds} s")
