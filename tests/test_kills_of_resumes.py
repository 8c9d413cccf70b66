"""A manager killed while it goes on with a run, be it torn, of a raised budget or an old format."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from evo_nas.comparison.folders import folders_of
from evo_nas.events import Asked, Told
from evo_nas.record import read_events
from evo_nas.record.header import HEADER, VERSION
from evo_nas.record.reading import read_table
from tests.faulty_runs import (
    Ended,
    Forks,
    assert_saved,
    begin_driven,
    history,
    killed_after,
    next_words,
    search_words,
    table_of,
)
from tests.formats.make_run import text

EVALUATIONS, RAISED = 8, 12
STEP = pytest.mark.parametrize(
    "step", [12, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
"""Of how many operations one is tried."""


def words_of(run: Path, evaluations: int = EVALUATIONS) -> list[str]:
    return search_words(run, evaluations=evaluations, checkpoint_segments=2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    assert forks.run(words_of(run), run).code == 0
    return run


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Path:
    """A search killed in the middle, its newest segment torn besides."""
    for at in range(110, 130):
        run = tmp_path_factory.mktemp("torn") / "run"
        assert forks.run(words_of(run), run, "before", at).code == -9
        newest = read_table(run).parts[-1]
        if not newest.rolled:
            break
    path = run / "segments" / newest.name
    path.write_bytes(path.read_bytes()[:-5])
    (warning,) = read_events(run)[1]
    assert "newest segment and was left out" in warning
    assert 0 < len(told(run)) < EVALUATIONS
    return run


def told(run: Path) -> list[int]:
    return [event.birth for event in read_events(run)[0] if isinstance(event, Told)]


def each_kill(
    forks: Forks, start: Path, folder: Path, more: list[str], step: int, check: Callable[..., None]
) -> None:
    """Kill what resumes copies of a run before every operation and within every write.

    Args:
        check: Is given a copy that was killed, and what had been reported.
    """
    copy = Path(shutil.copytree(start, folder / "undisturbed"))
    ended = forks.run(["resume", str(copy), *more], copy)
    assert ended.code == 0, ended.errors
    operations = ended.operations
    writes = [at for at, name in enumerate(operations) if name == "write"]
    cases = [("before", at) for at in range(0, len(operations), step)]
    for kind, at in [*cases, *(("half", at) for at in writes[::step])]:
        copy = Path(shutil.copytree(start, folder / f"{kind}{at}"))
        killed = forks.run(["resume", str(copy), *more], copy, kind, at)
        assert killed.code == -9, (kind, at, killed.errors)
        check(copy, killed)
        shutil.rmtree(copy)


@STEP
@pytest.mark.slow
def test_a_resume_with_a_torn_segment_that_is_killed_can_be_repeated(
    tmp_path: Path, forks: Forks, whole: Path, torn: Path, step: int
) -> None:
    def check(run: Path, killed: Ended) -> None:
        assert set(killed.told) <= {*told(run)}
        ended = forks.run(["resume", str(run)], run)
        assert ended.code == 0, ended.errors
        assert_saved(run, [*killed.told, *ended.told])
        assert history(run) == history(whole)
        assert table_of(run) == table_of(whole)
        assert len(list(run.glob("segments/*.torn"))) == 1

    each_kill(forks, torn, tmp_path, [], step, check)


@STEP
@pytest.mark.slow
def test_a_raised_budget_whose_session_is_killed_gives_the_births_of_a_run_begun_with_it(
    tmp_path: Path, forks: Forks, whole: Path, step: int
) -> None:
    begun = tmp_path / "begun" / "run"
    assert forks.run([*words_of(begun, RAISED), "--population", "2"], begun).code == 0
    start = tmp_path / "start" / "run"
    assert forks.run([*words_of(start), "--population", "2"], start).code == 0
    more = ["--evaluations", str(RAISED)]

    def check(run: Path, killed: Ended) -> None:
        assert_saved(run, killed.told)
        ended = forks.run(["resume", str(run), *more], run)
        assert ended.code == 0, ended.errors
        assert_saved(run, range(RAISED))
        assert sorted(history(run)) == sorted(history(begun))
        assert told(run) == told(begun)
        assert table_of(run) == table_of(begun)

    each_kill(forks, start, tmp_path, more, step, check)


def test_a_raised_budget_without_a_fixed_order_goes_on_to_the_end(
    tmp_path: Path, forks: Forks
) -> None:
    run = tmp_path / "run"
    words = words_of(run)
    words.remove("--deterministic")
    assert forks.run(words, run).code == 0
    before = history(run)
    ended = forks.run(["resume", str(run), "--evaluations", str(RAISED)], run)
    assert ended.code == 0, ended.errors
    assert ended.told == list(range(EVALUATIONS, RAISED))
    assert history(run)[: len(before)] == before
    assert_saved(run, range(RAISED))


@STEP
def test_a_run_of_format_1_whose_resume_is_killed_is_of_one_format_or_the_other(
    tmp_path: Path, forks: Forks, step: int
) -> None:
    (tmp_path / "tiny.txt").write_text(text())
    start = Path(__file__).with_name("formats") / "1"
    before = history(start)
    more = ["--data", str(tmp_path / "tiny.txt"), "--evaluations", "16", "--seeds", "0"]

    def check(run: Path, killed: Ended) -> None:
        assert json.loads((run / HEADER).read_text())["version"] in (1, VERSION)
        assert_saved(run, killed.told)
        assert history(run)[: len(before)] == before
        ended = forks.run(["resume", str(run), *more], run)
        assert ended.code == 0, ended.errors
        assert_saved(run, range(16))
        assert history(run)[: len(before)] == before
        assert json.loads((run / HEADER).read_text())["version"] == VERSION
        assert (run / f"{HEADER}.1").read_bytes() == (start / HEADER).read_bytes()

    each_kill(forks, start, tmp_path, more, step, check)


def test_what_was_killed_again_and_again_goes_on_each_time(
    tmp_path: Path, forks: Forks, whole: Path
) -> None:
    """Each session lives a little longer than a start takes: it gets on by two results or so."""
    run = tmp_path / "run"
    words = words_of(run)
    reported: list[int] = []
    codes: list[int] = []
    while codes[-1:] != [0] and len(codes) < 30:
        ended = forks.run(next_words(words, run), run, "before", 45)
        reported += ended.told
        codes.append(ended.code)
        assert_saved(run, reported)
    assert codes == [-9] * (len(codes) - 1) + [0]
    assert len(codes) > 3
    assert len(reported) == len({*reported})
    assert history(run) == history(whole)
    assert table_of(run) == table_of(whole)
    assert folders_of(run)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", [4.0, 6.0, 8.0])
def test_a_deterministic_search_with_ray_workers_that_is_killed_gives_the_undisturbed_record(
    tmp_path: Path, forks: Forks, seconds: float
) -> None:
    undisturbed, run = tmp_path / "undisturbed" / "run", tmp_path / "killed" / "run"
    assert forks.run(words_of(undisturbed, 100), undisturbed).code == 0
    words = words_of(run, 100)
    words[words.index("--workers") + 1] = "2"
    killed = killed_after(begin_driven(words, run), seconds)
    assert_saved(run, killed.told)
    ended = killed_after(begin_driven(next_words(words, run), run), 100)
    assert ended.code == 0, ended.errors
    assert_saved(run, [*killed.told, *ended.told])
    assert history(run) == history(undisturbed)
    assert table_of(run) == table_of(undisturbed)
    births = [event.birth for event in read_events(run)[0] if isinstance(event, Asked)]
    assert births == list(range(100))
