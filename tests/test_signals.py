"""Stopping a search: SIGTERM leaves in time, Ctrl-C waits once and then no more."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from evo_nas.interrupt import Interrupt
from tests.faulty_runs import assert_saved, begin_driven, search_words
from tests.tiny import wait_for_segments

SOON = 3.0
"""Seconds after SIGTERM until whoever sent it kills."""
LONG = ("--hidden-size", "2048", "--steps", "100000")
"""A training of hours whose main thread is back in Python every few seconds only."""

Searching = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def searching(owned: Callable[[subprocess.Popen[str]], subprocess.Popen[str]]) -> Searching:
    def begin(run: Path, *more: str, workers: int = 0) -> subprocess.Popen[str]:
        words = search_words(run, *more, evaluations=4000, checkpoint_segments=50)
        words[words.index("--workers") + 1] = str(workers)
        return owned(begin_driven(words, run))

    return begin


def ended_after(process: subprocess.Popen[str], *signals: signal.Signals) -> tuple[str, str]:
    """Send signals, one after the other has arrived; what the process says until it ends.

    It would not end by itself while a test lasts. How soon it has to is the watcher's business,
    and tested there: how long its end then takes is up to what else the machine does.
    """
    for number in signals:
        while is_pending(process.pid):
            time.sleep(0.02)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does it
        else:
            process.send_signal(number)
    return process.communicate(timeout=60)


def is_pending(pid: int) -> bool:
    """Whether a signal waits for a process, which would take a second one for the same."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (mask,) = (line.split()[1] for line in lines if line.startswith("ShdPnd:"))
    return int(mask, 16) != 0


def births_told(output: str) -> list[int]:
    return [int(line.split()[1]) for line in output.splitlines() if line.startswith("told ")]


@pytest.mark.parametrize(
    ("heard", "leaves", "urgent"),
    [
        ([signal.SIGTERM], False, True),
        ([signal.SIGTERM], True, True),
        ([signal.SIGINT, signal.SIGINT], False, True),
        ([signal.SIGINT, signal.SIGTERM], True, True),
        ([signal.SIGINT], False, False),
        ([signal.SIGCHLD], False, False),
    ],
)
def test_who_has_to_leave_at_once_and_does_not_is_ended_long_before_it_would_be_killed(
    monkeypatch: pytest.MonkeyPatch, heard: Sequence[signal.Signals], leaves: bool, urgent: bool
) -> None:
    interrupt = Interrupt()
    granted: list[float] = []
    codes: list[int] = []
    monkeypatch.setattr(interrupt._left, "wait", lambda seconds: granted.append(seconds) or leaves)
    monkeypatch.setattr(os, "_exit", codes.append)
    reading, writing = os.pipe()
    os.write(writing, bytes(heard))
    os.close(writing)
    interrupt._watch(reading)
    assert len(granted) == urgent and all(0 < seconds <= SOON / 2 for seconds in granted)
    assert codes == ([130] if urgent and not leaves else [])


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_sigterm_ends_a_search_in_time_with_everything_reported_recorded(
    tmp_path: Path, searching: Searching, workers: int
) -> None:
    run = tmp_path / "run"
    process = searching(run, workers=workers)
    wait_for_segments(run, 4)
    output, errors = ended_after(process, signal.SIGTERM)
    assert process.returncode == 130, errors
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
    output, errors = ended_after(process, *signals)
    assert process.returncode == 130, errors
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
    output, errors = ended_after(process, signal.SIGINT, signal.SIGINT)
    assert process.returncode == 130, errors
    assert "stopping: what runs may finish; once more to stop at once" in errors
    assert "Traceback" not in errors
    assert_saved(run, births_told(output))
