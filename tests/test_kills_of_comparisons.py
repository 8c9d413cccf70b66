"""`evo-nas compare` killed in any of its stages: random search, tuning, final trainings."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from evo_nas.comparison.folders import folders_of
from evo_nas.record import HEADER, read_events
from tests.faulty_runs import (
    Forks,
    begin_driven,
    history,
    killed_after,
    search_words,
    table_of,
)
from tests.test_kills import files

STAGES = ("random", "tuning/001", "comparisons/001")


def words_of(run: Path, *more: str) -> list[str]:
    return ["compare", str(run), "--workers", "0", "--seeds", "2", "--top", "1", *more]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Path:
    """A deterministic run that was never compared."""
    run = tmp_path_factory.mktemp("searched") / "run"
    words = search_words(run, "--seeds", "0", evaluations=6, checkpoint_segments=3)
    assert forks.run(words, run).code == 0
    return run


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, forks: Forks, searched: Path
) -> tuple[Path, list[str]]:
    """The same compared without a kill, and what that did to its directory."""
    run = Path(shutil.copytree(searched, tmp_path_factory.mktemp("undisturbed") / "run"))
    ended = forks.run(words_of(run), run)
    assert ended.code == 0, ended.errors
    return run, ended.operations


def assert_same(run: Path, expected: Path) -> None:
    """The three stages hold what they hold in a run that nobody killed."""
    assert table_of(run) == table_of(expected)
    for name in STAGES:
        last = run / name
        if name != "random":  # a kill before the header leaves an empty folder and its number
            last = folders_of(run, last.parent.name)[-1]
        assert history(last) == history(expected / name), name


def check(
    forks: Forks,
    folder: Path,
    start: Path,
    undisturbed: tuple[Path, list[str]],
    kind: str,
    places: Iterable[int],
) -> set[str]:
    """Kill comparisons of copies of a run at these operations, and go on.

    Returns:
        In which stages they were.
    """
    expected, operations = undisturbed
    seen = set()
    for at in places:
        if kind == "half" and operations[at] != "write":
            continue
        run = Path(shutil.copytree(start, folder / f"{kind}{at}"))
        killed = forks.run(words_of(run), run, kind, at)
        assert killed.code == -9, (kind, at, killed.errors)
        there = [name for name in STAGES if (run / name / HEADER).exists()]
        seen |= set(there[-1:])
        before = {name: read_events(run / name) for name in there}
        assert all(warnings == [] for _, warnings in before.values()), (kind, at)
        assert history(run) == history(expected)
        ended = forks.run(words_of(run), run)
        assert ended.code == 0, (kind, at, ended.errors)
        for name, (events, _) in before.items():
            assert read_events(run / name)[0][: len(events)] == events, (kind, at, name)
        assert_same(run, expected)
        shutil.rmtree(run)
    return seen


def test_a_comparison_killed_in_any_stage_goes_on_to_the_undisturbed_table(
    tmp_path: Path, forks: Forks, searched: Path, undisturbed: tuple[Path, list[str]]
) -> None:
    _, operations = undisturbed
    writes = [at for at, name in enumerate(operations) if name == "write"]
    some = range(20, len(operations), len(operations) // 4)
    assert check(forks, tmp_path, searched, undisturbed, "before", some) == {*STAGES}
    check(forks, tmp_path, searched, undisturbed, "half", writes[9 :: len(writes) // 2])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["before", "after", "half"])
def test_a_comparison_killed_at_any_file_operation_goes_on_to_the_undisturbed_table(
    tmp_path: Path,
    forks: Forks,
    searched: Path,
    undisturbed: tuple[Path, list[str]],
    kind: str,
) -> None:
    _, operations = undisturbed
    places = range(len(operations))
    assert check(forks, tmp_path, searched, undisturbed, kind, places) == {*STAGES}


def test_a_comparison_killed_again_and_again_goes_on_each_time(
    tmp_path: Path, forks: Forks, searched: Path, undisturbed: tuple[Path, list[str]]
) -> None:
    expected, operations = undisturbed
    run = Path(shutil.copytree(searched, tmp_path / "run"))
    codes: list[int] = []
    while codes[-1:] != [0] and len(codes) < 30:
        codes.append(forks.run(words_of(run), run, "before", len(operations) // 4).code)
    assert codes == [-9] * (len(codes) - 1) + [0]
    assert len(codes) > 3
    assert_same(run, expected)


def test_a_finished_tuning_of_another_part_is_not_trained_again_after_a_kill(
    tmp_path: Path, forks: Forks, undisturbed: tuple[Path, list[str]]
) -> None:
    """The test part is opened by what is killed, and going on with it is no second time."""
    start, _ = undisturbed
    run = Path(shutil.copytree(start, tmp_path / "run"))
    before = files(run / "tuning")
    killed = forks.run(words_of(run, "--test"), run, "before", 40)
    assert killed.code == -9
    assert (run / "comparisons" / "002" / HEADER).exists()
    ended = forks.run(words_of(run, "--test"), run)
    assert ended.code == 0, ended.errors
    assert "opened before" not in ended.errors
    assert files(run / "tuning") == before
    again = forks.run(words_of(run, "--test"), run)
    assert "was opened before (1x)" in again.errors


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seconds", [5.0, 6.0, 7.0, 8.0, 9.0])
def test_a_comparison_with_ray_workers_that_is_killed_gives_the_undisturbed_table(
    tmp_path: Path,
    searched: Path,
    undisturbed: tuple[Path, list[str]],
    seconds: float,
) -> None:
    run = Path(shutil.copytree(searched, tmp_path / "run"))
    words = words_of(run)
    words[words.index("--workers") + 1] = "2"
    killed_after(begin_driven(words, run), seconds)
    ended = killed_after(begin_driven(words, run), 200)
    assert ended.code == 0, ended.errors
    assert_same(run, undisturbed[0])
