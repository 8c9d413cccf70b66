"""A disk that refuses once, and a limit of the system itself: one line, and nothing is lost."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faulty_runs import (
    Ended,
    Forks,
    assert_saved,
    history,
    next_words,
    search_words,
    table_of,
)
from tests.tiny import environment

EVALUATIONS = 6


def words_of(run: Path) -> list[str]:
    return search_words(run, evaluations=EVALUATIONS, checkpoint_segments=2)


def assert_one_line(ended: Ended, run: Path, reason: str) -> None:
    """It says which file the system refused, and why, and nothing after that."""
    assert ended.code == 1, ended
    assert "Traceback" not in ended.errors
    (line,) = [line for line in ended.errors.splitlines() if reason in line]
    assert line.startswith("Error: "), line
    assert str(run) in line
    assert ended.errors.rstrip().endswith(line)


@pytest.mark.parametrize(
    "step", [16, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_a_single_refusal_ends_a_search_with_one_line_and_loses_nothing(
    tmp_path: Path, forks: Forks, step: int
) -> None:
    """What comes after it would succeed: nothing may be done that builds on what was refused."""
    whole = tmp_path / "whole" / "run"
    operations = forks.run(words_of(whole), whole).operations
    refusable = [at for at, name in enumerate(operations) if name not in ("close", "unlink")]
    tried = 0
    for at in refusable[::step]:
        run = tmp_path / str(at) / "run"
        ended = forks.run(words_of(run), run, "once", at)
        if ended.code == 0 and operations[at] == "open":
            continue  # a directory was opened, which takes no room
        assert_one_line(ended, run, "No space left on device")
        assert_saved(run, ended.told)
        resumed = forks.run(next_words(words_of(run), run), run)
        assert resumed.code == 0, (at, resumed.errors)
        assert_saved(run, [*ended.told, *resumed.told])
        assert history(run) == history(whole), at
        assert table_of(run) == table_of(whole), at
        shutil.rmtree(run.parent)
        tried += 1
    assert tried > len(refusable) // step // 3


def test_a_file_larger_than_the_system_allows_ends_a_search_with_one_line(
    tmp_path: Path, forks: Forks
) -> None:
    """Segments have room, a rolled file that holds many of them has not."""
    whole = tmp_path / "whole" / "run"
    assert forks.run(words_of(whole), whole).code == 0
    largest = max(path.stat().st_size for path in (whole / "segments").iterdir())
    run = tmp_path / "tried" / "run"
    done = subprocess.run(
        [sys.executable, "-m", "evo_nas", *words_of(run)],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
        timeout=100,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 1,) * 2),
    )
    assert_one_line(Ended(done.returncode, done.stdout, done.stderr), run, "File too large")
    assert_saved(run, [])
    resumed = forks.run(["resume", str(run)], run)
    assert resumed.code == 0, resumed.errors
    assert history(run) == history(whole)
