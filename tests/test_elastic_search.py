"""Whole searches on clusters whose machines, head or job end under them: the same record each time.

They are deterministic, so that nothing may differ from a search in one process that nobody
disturbed: no candidate is lost, none is settled twice, none is blamed for its machine.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_head import RAY, Head, running_head
from ray_machines import Machines, machines

from evo_nas.record import read_events
from tests.test_deterministic import without_clock
from tests.tiny import ROOT, begin, evo_nas, tiny_text, wait_for_segments

TASK = ("--task", "tests.delayed_task:delayed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

EVALUATIONS = 16
EVO_NAS = (sys.executable, "-m", "evo_nas")


def words(folder: Path, run: str) -> list[str]:
    """A search whose evaluations take about half a second each."""
    data, directory = str(tiny_text(folder)), str(folder / run)
    start = ["search", *TASK, "--data", data, "--run", directory]
    small = "--hidden-size 8 --steps 50 --batch-size 4 --population 4 --seeds 0".split()
    return [*start, *small, "--evaluations", str(EVALUATIONS), "--deterministic", "--lag", "3"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The history of the search in one process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = evo_nas(*words(folder, "run"), "--workers", "0")
    assert done.returncode == 0, done.stderr
    return history(folder / "run")


def history(run: Path) -> str:
    events = without_clock(read_events(run)[0])
    told = [event.birth for event in events if type(event).__name__ == "Told"]
    assert told == list(range(EVALUATIONS))
    return repr(events)


@pytest.fixture
def cluster() -> Iterator[Machines]:
    with machines() as running:
        yield running


def test_a_search_goes_on_while_machines_are_lost_and_added(
    cluster: Machines, tmp_path: Path, undisturbed: str
) -> None:
    first = cluster.add(cpus=2)
    cluster.add()
    more = ["--address", cluster.address, "--workers", "3"]
    process = begin([*words(tmp_path, "run"), *more])
    wait_for_segments(tmp_path / "run", 4, seconds=120)
    first.vanish()
    cluster.add(cpus=2)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert history(tmp_path / "run") == undisturbed


def test_a_search_that_loses_the_head_is_resumed_on_another_one(
    cluster: Machines, tmp_path: Path, undisturbed: str
) -> None:
    cluster.add(cpus=2)
    more = ["--address", cluster.address, "--workers", "2"]
    process = begin([*words(tmp_path, "run"), *more])
    wait_for_segments(tmp_path / "run", 4, seconds=120)
    cluster.head.vanish()
    process.communicate(timeout=100)
    assert process.returncode not in (0, 130)
    told = [e for e in read_events(tmp_path / "run")[0] if type(e).__name__ == "Told"]
    assert 0 < len(told) < EVALUATIONS
    with machines() as other:
        other.add(cpus=2)
        done = evo_nas("resume", str(tmp_path / "run"), *TASK, "--address", other.address)
    assert done.returncode == 0, done.stderr
    assert history(tmp_path / "run") == undisturbed


def test_a_job_that_is_stopped_is_resumed_by_another_job(tmp_path: Path, undisturbed: str) -> None:
    run = tmp_path / "run"
    more = ["--address", "auto", "--workers", "1"]
    with running_head(cpus=1, PYTHONPATH=str(ROOT)) as head:
        _job(head, "submit", "--no-wait", "--submission-id=first", "--", *EVO_NAS,
             *words(tmp_path, "run"), *more)  # fmt: skip
        wait_for_segments(run, 4, seconds=120)
        began = time.monotonic()
        _job(head, "stop", "first")
        assert time.monotonic() - began < 30
        said = _job(head, "logs", "first")
        assert "interrupted" in said
        told = [e for e in read_events(run)[0] if type(e).__name__ == "Told"]
        assert 0 < len(told) < EVALUATIONS
        again = (*EVO_NAS, "resume", str(run), *TASK)
        said = _job(head, "submit", "--submission-id=second", "--", *again)
    assert "succeeded" in said
    assert history(run) == undisturbed


def _job(head: Head, command: str, *more: str) -> str:
    done = subprocess.run(
        [str(RAY), "job", command, f"--address={head.dashboard}", "--log-color=false", *more],
        env=dict(head.environment),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
