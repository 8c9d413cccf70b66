"""Resumed runs: budgets raised by flag and by file, what a session was told, other workers."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from evo_nas.record import read_header
from tests.test_search import asked, told
from tests.tiny import arguments, begin, evo_nas, tiny_text, wait_for_segments


@pytest.mark.slow
def test_a_resumed_run_keeps_what_its_last_session_was_told(tmp_path: Path) -> None:
    assert evo_nas(*arguments(tmp_path, "--evaluations", "4", "--seeds", "0")).returncode == 0
    run = tmp_path / "run"
    process = begin(["resume", str(run), "--evaluations", "400"])
    wait_for_segments(run, 7)
    process.kill()
    process.wait()
    resumed = begin(["resume", str(run)])
    wait_for_segments(run, len(list((run / "segments").glob("*.parquet"))) + 3)
    resumed.send_signal(signal.SIGINT)
    _, errors = resumed.communicate(timeout=60)
    assert resumed.returncode == 130, errors
    assert "/400 evaluations" in errors
    assert "stopping: what runs may finish" in errors


@pytest.mark.slow
def test_resuming_with_the_file_keeps_a_budget_given_by_flag(tmp_path: Path) -> None:
    config = tmp_path / "search.toml"
    config.write_text("[training]\nhidden_size = 8\nsteps = 4\nbatch_size = 4\n")
    data, run = str(tiny_text(tmp_path)), tmp_path / "run"
    more = ("--data", data, "--run", str(run), "--workers", "0", "--seeds", "0")
    done = evo_nas("search", str(config), "--evaluations", "5", *more)
    assert done.returncode == 0, done.stderr
    resumed = evo_nas("resume", str(run), str(config))
    assert resumed.returncode == 0, resumed.stderr
    assert len(told(run)) == 5


@pytest.mark.slow
def test_the_file_still_fits_a_run_whose_budget_was_raised(tmp_path: Path) -> None:
    config = tmp_path / "search.toml"
    config.write_text("[training]\nhidden_size = 8\nsteps = 4\nbatch_size = 4\n")
    data, run = str(tiny_text(tmp_path)), tmp_path / "run"
    more = ("--data", data, "--run", str(run), "--workers", "0", "--seeds", "0")
    assert evo_nas("search", str(config), "--evaluations", "8", *more).returncode == 0
    assert evo_nas("resume", str(run), "--evaluations", "16").returncode == 0
    resumed = evo_nas("resume", str(run), str(config))
    assert resumed.returncode == 0, resumed.stderr


@pytest.mark.slow
def test_resume_takes_a_larger_budget_and_other_workers(tmp_path: Path) -> None:
    assert evo_nas(*arguments(tmp_path, "--evaluations", "4", "--seeds", "0")).returncode == 0
    run = tmp_path / "run"
    before = told(run)
    more = evo_nas("resume", str(run), "--evaluations", "9", "--workers", "1", "--seeds", "0")
    assert more.returncode == 0, more.stderr
    assert told(run)[:4] == before
    assert sorted(event.birth for event in told(run)) == list(range(9))


@pytest.mark.slow
def test_a_raised_budget_keeps_the_population_of_the_run(tmp_path: Path) -> None:
    words = arguments(tmp_path, "--population", "50", "--evaluations", "12", "--seeds", "0")
    assert evo_nas(*words).returncode == 0
    run = tmp_path / "run"
    assert read_header(run).config["evolution"]["population"] == 3
    more = evo_nas("resume", str(run), "--evaluations", "20")
    assert more.returncode == 0, more.stderr
    assert [event.parent is None for event in asked(run)] == [b < 3 for b in range(20)]
