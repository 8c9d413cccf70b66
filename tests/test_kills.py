"""A manager killed at any instant: nothing reported is lost, nothing is there twice."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest

from evo_nas.record.header import HEADER
from tests.faulty_runs import (
    Forks,
    assert_saved,
    begin_driven,
    history,
    killed_after,
    next_words,
    search_words,
    table_of,
)
from tests.tiny import evo_nas

EVALUATIONS = 40
QUICK, ALL = 2, 100
"""Instants at which a manager is killed, in the default suite and in the slow one."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A run that nobody killed, and how long it took."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    began = time.monotonic()
    process = begin_driven(search_words(run, evaluations=EVALUATIONS, checkpoint_segments=4), run)
    ended = killed_after(process, 100)
    assert ended.code == 0, ended.errors
    return run, time.monotonic() - began


@pytest.mark.parametrize("case", range(QUICK))
def test_a_kill_at_any_instant_loses_nothing_reported(
    tmp_path: Path, undisturbed: tuple[Path, float], case: int
) -> None:
    check_kill(tmp_path, undisturbed, case, QUICK)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_kill_at_any_of_a_hundred_instants_loses_nothing_reported(
    tmp_path: Path, undisturbed: tuple[Path, float]
) -> None:
    reported = begun = 0
    for case in range(ALL):
        told, there = check_kill(tmp_path / str(case), undisturbed, case, ALL)
        reported += told > 0
        begun += there
    # The kills have to be spread over all of a run's life for the test to mean anything.
    assert ALL / 10 < begun < ALL and reported > ALL / 20


def check_kill(
    folder: Path, undisturbed: tuple[Path, float], case: int, cases: int
) -> tuple[int, bool]:
    """Kill a search, and one time in three what resumes it; finish it; compare.

    Returns:
        How many births were reported before the first kill, and whether there was a run by then.
    """
    expected, seconds = undisturbed
    rng = random.Random(f"instant {case}")
    run = folder / "run"
    words = search_words(run, evaluations=EVALUATIONS, checkpoint_segments=4)
    instant = seconds * (case + rng.random()) / cases
    first = killed_after(begin_driven(words, run), instant)
    reported = list(first.told)
    assert_saved(run, reported)
    there = (run / HEADER).exists()
    if case % 3 == 0:
        again = begin_driven(next_words(words, run), run)
        reported += killed_after(again, seconds * rng.random()).told
        assert_saved(run, reported)
    last = killed_after(begin_driven(next_words(words, run), run), 100)
    assert last.code == 0, last.errors
    assert len(reported + last.told) == len({*reported, *last.told})
    assert history(run) == history(expected)
    assert table_of(run) == table_of(expected)
    return len(first.told), there


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_kill_with_two_workers_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Free-running, on Ray: the history differs from run to run, so it is only complete."""
    for case in range(10):
        run = tmp_path / str(case) / "run"
        words = search_words(run, evaluations=60, checkpoint_segments=3)
        words.remove("--deterministic")
        words[words.index("--workers") + 1] = "2"
        killed = killed_after(begin_driven(words, run), 3 + 6 * case / 10)
        assert_saved(run, killed.told)
        ended = killed_after(begin_driven(next_words(words, run), run), 100)
        assert ended.code == 0, ended.errors
        assert_saved(run, [*killed.told, *ended.told])
        assert len([e for e in history(run) if e.startswith("Told")]) == 60


def short_words(run: Path) -> list[str]:
    return search_words(run, evaluations=8, checkpoint_segments=3)


@pytest.fixture(scope="module")
def short(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A short run that nobody killed, and what it did to its directory."""
    run = tmp_path_factory.mktemp("short") / "run"
    ended = forks.run(short_words(run), run)
    assert ended.code == 0, ended.errors
    return run, ended.operations


def test_a_short_run_does_every_kind_of_file_operation(short: tuple[Path, list[str]]) -> None:
    """What is killed below is more than writing segments: checkpoints and a comparison too."""
    run, operations = short
    assert {*operations} == {
        "open",
        "write",
        "fsync",
        "close",
        "rename",
        "unlink",
        "mkdir",
        "ftruncate",
    }
    assert len(list((run / "checkpoints").iterdir())) == 2
    assert (run / "comparisons" / "001").is_dir()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["before", "after", "half"])
def test_a_kill_at_any_file_operation_loses_nothing_reported(
    tmp_path: Path, forks: Forks, short: tuple[Path, list[str]], kind: str
) -> None:
    _, operations = short
    check_operations(tmp_path, forks, short, kind, range(len(operations)))


@pytest.mark.parametrize("kind", ["before", "after", "half"])
def test_a_kill_at_some_file_operations_loses_nothing_reported(
    tmp_path: Path, forks: Forks, short: tuple[Path, list[str]], kind: str
) -> None:
    _, operations = short
    writes = [at for at, name in enumerate(operations) if name == "write"]
    some = writes[::12] if kind == "half" else range(3, len(operations), 41)
    check_operations(tmp_path, forks, short, kind, some)


def check_operations(
    folder: Path, forks: Forks, short: tuple[Path, list[str]], kind: str, places: object
) -> None:
    expected, operations = short
    for at in places:  # type: ignore[attr-defined]
        if kind == "half" and operations[at] != "write":
            continue
        run = folder / str(at) / "run"
        words = short_words(run)
        killed = forks.run(words, run, kind, at)
        assert killed.code == -9, (at, killed.errors)
        assert_saved(run, killed.told)
        ended = forks.run(next_words(words, run), run)
        assert ended.code == 0, (at, ended.errors)
        assert len(killed.told + ended.told) == len({*killed.told, *ended.told})
        assert history(run) == history(expected), at
        assert table_of(run) == table_of(expected), at


def test_a_full_disk_is_told_in_one_line_and_resumed_from(
    tmp_path: Path, forks: Forks, short: tuple[Path, list[str]]
) -> None:
    check_full_disk(tmp_path, forks, short, every=46)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_any_file_operation_that_a_full_disk_refuses_is_told_in_one_line_and_resumed_from(
    tmp_path: Path, forks: Forks, short: tuple[Path, list[str]]
) -> None:
    check_full_disk(tmp_path, forks, short, every=1)


def check_full_disk(folder: Path, forks: Forks, short: tuple[Path, list[str]], every: int) -> None:
    expected, operations = short
    # Closing and removing take no room.
    some = [at for at, name in enumerate(operations) if name not in ("close", "unlink")][::every]
    for at in some:
        run = folder / str(at) / "run"
        words = short_words(run)
        refused = forks.run(words, run, "full", at)
        if refused.code == 0:  # only a directory was opened after that
            continue
        assert refused.code == 1, (at, refused.output, refused.errors)
        (line,) = (x for x in refused.errors.splitlines() if "No space left" in x)
        assert line.startswith("Error: [Errno 28] No space left on device: "), at
        assert str(run) in line
        assert "Traceback" not in refused.errors
        assert_saved(run, refused.told)
        ended = forks.run(next_words(words, run), run)
        assert ended.code == 0, (at, ended.errors)
        assert history(run) == history(expected), at


def test_a_finished_run_is_resumed_without_changing_its_record(
    tmp_path: Path, forks: Forks
) -> None:
    run = tmp_path / "run"
    assert forks.run(short_words(run), run).code == 0
    before = files(run)
    again = forks.run(["resume", str(run)], run)
    assert again.code == 0, again.errors
    assert again.told == []
    assert files(run) == before


def files(run: Path) -> dict[str, bytes]:
    """All but the lock, what each session was told to do, and its log."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and path.name != "lock" and path.parent.name not in ("sessions", "logs")
    }


def test_a_raised_budget_gives_the_births_of_a_run_begun_with_it(
    tmp_path: Path, forks: Forks
) -> None:
    whole, raised = tmp_path / "whole" / "run", tmp_path / "raised" / "run"
    more = ("--population", "2", "--lag", "4")
    for run, evaluations in ((whole, 20), (raised, 9)):
        words = search_words(run, *more, evaluations=evaluations, checkpoint_segments=4)
        assert forks.run(words, run).code == 0
    ended = forks.run(["resume", str(raised), "--evaluations", "20"], raised)
    assert ended.code == 0, ended.errors
    assert sorted(history(raised)) == sorted(history(whole))
    assert_saved(raised, range(20))


def test_of_two_searches_begun_at_once_on_one_directory_one_runs(
    tmp_path: Path, forks: Forks
) -> None:
    run = tmp_path / "run"
    words = short_words(run)
    ends = forks.at_once([{"words": words, "run": str(run)} for _ in range(4)])
    assert sorted(ended.code for ended in ends) == [0, 1, 1, 1]
    for ended in ends:
        if ended.code == 1:
            assert "Traceback" not in ended.errors
            assert "is in use by process" in ended.errors or "holds a run" in ended.errors
    assert_saved(run, range(8))


def test_a_second_manager_is_refused_with_the_pid_of_the_first(
    tmp_path: Path, forks: Forks, owned: Callable[[Popen[str]], Popen[str]]
) -> None:
    run = tmp_path / "run"
    words = search_words(run, evaluations=4000, checkpoint_segments=50)
    first = owned(begin_driven(words, run))
    assert first.stdout is not None
    first.stdout.readline()  # something is recorded
    refused = evo_nas("resume", str(run))
    assert refused.returncode == 1
    assert f"{run} is in use by process {first.pid} on " in refused.stderr
    assert first.poll() is None
    ended = killed_after(first, 0)
    assert_saved(run, ended.told)
    # The lock of a process that is dead blocks nobody.
    resumed = forks.run(["resume", str(run), "--evaluations", "1"], run)
    assert resumed.code == 0, resumed.errors
