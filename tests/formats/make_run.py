"""Makes the run directories of this folder, each with the evo-nas of its time.

Usage: ``python make_run.py DIR``.

One directory for each format version of the record, written once by the program of its time and
never again; `tests/test_formats.py` reads and resumes copies of them. A run holds a search that
was resumed with a larger budget, some candidates that failed, and a comparison; since format 2,
files that a checkpoint rolled up (the table ``[record]`` was not there before); since format 3,
candidates that were stopped at a rung (likewise ``[rungs]``), and a comparison with a verdict, its
tuning and its random search.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path("/tmp/evo-nas-format")
"""Recorded in the run; the tests give the text again by ``--data``."""


def text() -> str:
    """Some 4,000 characters with a structure to be learned."""
    return "".join(f"{n} is {n * n} squared. " for n in range(200))[:4000]


def main(directory: Path) -> None:
    SOURCE.mkdir(exist_ok=True)
    (SOURCE / "tiny.txt").write_text(text())
    size = ["--hidden-size", "8", "--steps", "4", "--batch-size", "4", "--population", "4"]
    size += ["--learning-rate", "3.0", "--engine", "torch", "--seed", "3"]
    data = ["--task", "text", "--data", str(SOURCE / "tiny.txt")]
    config = SOURCE / "search.toml"
    config.write_text(
        "[record]\ncheckpoint_segments = 4\n[rungs]\nfractions = [0.25, 0.5]\nleast = 2\n"
    )
    run(
        ["search", str(config), *data, *size, "--run", str(directory), "--workers", "0"],
        evaluations=10,
    )
    run(["resume", str(directory)], evaluations=14)
    evo_nas("compare", str(directory), "--workers", "0", "--seeds", "2", "--top", "1")
    for lock in directory.rglob("lock"):
        lock.unlink()  # names the machine


def run(words: list[str], evaluations: int) -> None:
    evo_nas(*words, "--evaluations", str(evaluations), "--seeds", "1", "--top", "1")


def evo_nas(*words: str) -> None:
    command = [sys.executable, "-m", "evo_nas", *words]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
