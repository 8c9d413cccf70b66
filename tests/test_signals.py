"""Stopping a search: SIGTERM leaves in time, Ctrl-C waits once and then no more."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faulty_runs import assert_saved, begin_driven, search_words
from tests.tiny import wait_for_segments

SOON = 3.0
"""Seconds after SIGTERM until whoever sent it kills."""
LONG = ("--hidden-size", "2048", "--steps", "100000")
"""A training of hours whose main thread is back in Python every few seconds only."""

Searching = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def searching() -> Iterator[Searching]:
    processes: list[subprocess.Popen[str]] = []

    def begin(run: Path, *more: str, workers: int = 0) -> subprocess.Popen[str]:
        words = search_words(run, *more, evaluations=4000, checkpoint_segments=50)
        words[words.index("--workers") + 1] = str(workers)
        processes.append(begin_driven(words, run))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def ended_after(process: subprocess.Popen[str], *signals: signal.Signals) -> tuple[float, str, str]:
    """Send signals, a moment apart; seconds until the process ended, its stdout and stderr."""
    for k, number in enumerate(signals):
        time.sleep(0.3 if k else 0.0)
        began = time.monotonic()
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does it
        else:
            process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    return time.monotonic() - began, output, errors


def births_told(output: str) -> list[int]:
    return [int(line.split()[1]) for line in output.splitlines() if line.startswith("told ")]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_sigterm_ends_a_search_in_time_with_everything_reported_recorded(
    tmp_path: Path, searching: Searching, workers: int
) -> None:
    run = tmp_path / "run"
    process = searching(run, workers=workers)
    wait_for_segments(run, 4)
    seconds, output, errors = ended_after(process, signal.SIGTERM)
    assert process.returncode == 130, errors
    assert seconds < SOON
    assert "terminated: stopping within two seconds" in errors
    assert "Traceback" not in errors
    assert births_told(output)
    assert_saved(run, births_told(output))


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGTERM,), pytest.param((signal.SIGINT, signal.SIGINT), marks=pytest.mark.slow)],
)
def test_a_long_training_in_process_does_not_hold_up_the_end(
    tmp_path: Path, searching: Searching, signals: tuple[signal.Signals, ...]
) -> None:
    """The main thread is inside the training and hears nothing."""
    run = tmp_path / "run"
    process = searching(run, *LONG)
    wait_for_segments(run, 1)
    time.sleep(1.0)
    seconds, output, errors = ended_after(process, *signals)
    assert process.returncode == 130, errors
    assert seconds < SOON
    assert "Traceback" not in errors
    assert_saved(run, births_told(output))


@pytest.mark.slow
def test_a_second_ctrl_c_does_not_wait_for_the_workers(
    tmp_path: Path, searching: Searching
) -> None:
    run = tmp_path / "run"
    process = searching(run, *LONG, workers=2)
    wait_for_segments(run, 1)
    time.sleep(3.0)  # the workers are at work
    seconds, output, errors = ended_after(process, signal.SIGINT, signal.SIGINT)
    assert process.returncode == 130, errors
    assert "stopping: what runs may finish; once more to stop at once" in errors
    assert seconds < 2 * SOON
    assert "Traceback" not in errors
    assert_saved(run, births_told(output))
