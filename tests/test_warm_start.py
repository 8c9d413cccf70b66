"""A guided search that learns from runs before it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from evo_nas.errors import RecordError, SearchError
from evo_nas.events import Asked
from evo_nas.record import create_run, read_events
from evo_nas.warm_start import CELLS, FILE, earlier_of
from tests.faulty_runs import Forks
from tests.test_record import header
from tests.tiny import arguments, evo_nas


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Path:
    folder = tmp_path_factory.mktemp("earlier")
    searched = forks.evo_nas(*arguments(folder, "--evaluations", "16", "--seeds", "0"))
    assert searched.returncode == 0, searched.stderr
    return folder / "run"


def asked_in(run: Path) -> list[tuple[str, int]]:
    events = read_events(run)[0]
    return [(e.genome, e.seed) for e in events if isinstance(e, Asked)]


def words(folder: Path, earlier: Path, evaluations: int) -> list[str]:
    more = ["--strategy", "guided", "--warm-start", str(earlier), "--seed", "5", "--seeds", "0"]
    return arguments(folder, *more, "--evaluations", str(evaluations))


def test_every_cell_of_the_earlier_run_is_learned_with_its_rank(
    earlier: Path, tmp_path: Path
) -> None:
    cells = earlier_of(tmp_path, [str(earlier)])
    asked = {e.digest for e in read_events(earlier)[0] if isinstance(e, Asked)}
    assert {genome.digest for genome, _ in cells} == asked
    assert sum(score for _, score in cells) == pytest.approx(0.0, abs=1.0)
    assert len(cells) < CELLS


def test_what_was_learned_does_not_change_when_the_earlier_run_does(
    earlier: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(earlier, copy)
    (tmp_path / "run").mkdir()
    first = earlier_of(tmp_path / "run", [str(copy)])
    shutil.rmtree(copy)
    assert earlier_of(tmp_path / "run", [str(copy)]) == first


@pytest.mark.slow
def test_a_search_goes_on_with_what_it_learned_as_if_it_had_never_stopped(
    earlier: Path, tmp_path: Path
) -> None:
    for name in ("whole", "halves"):
        (tmp_path / name).mkdir()
    whole = evo_nas(*words(tmp_path / "whole", earlier, 14))
    assert whole.returncode == 0, whole.stderr
    # Population and generation 0 are fixed by the budget a run begins with.
    halves = words(tmp_path / "halves", earlier, 14)
    stopped = evo_nas(*halves[:-2], "--evaluations", "14", "--hours", "0.0000001")
    assert stopped.returncode in (0, 1), stopped.stderr
    run = tmp_path / "halves" / "run"
    resumed = evo_nas("resume", str(run), "--evaluations", "14", "--hours", "1")
    assert resumed.returncode == 0, resumed.stderr
    assert asked_in(run) == asked_in(tmp_path / "whole" / "run")


def test_a_warm_start_is_part_of_what_makes_a_run(
    earlier: Path, tmp_path: Path, forks: Forks
) -> None:
    begun = forks.evo_nas(*words(tmp_path, earlier, 8))
    assert begun.returncode == 0, begun.stderr
    config = json.loads((tmp_path / "run" / "run.json").read_text())["config"]
    assert config["evolution"]["warm_start"] == [str(earlier)]
    assert (tmp_path / "run" / FILE).exists()


def test_a_damaged_warm_start_stops_the_run_and_says_so(earlier: Path, tmp_path: Path) -> None:
    earlier_of(tmp_path, [str(earlier)])
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes().replace(b"score", b"scare").replace(b"0.", b"1.", 1))
    with pytest.raises(RecordError) as caught:
        earlier_of(tmp_path, [str(earlier)])
    assert f"{path} is damaged or was edited" in str(caught.value)
    assert "the run would go on as another search" in str(caught.value)


def test_a_run_without_results_teaches_nothing_and_is_refused(tmp_path: Path) -> None:
    create_run(tmp_path / "empty", header()).close()
    with pytest.raises(SearchError) as caught:
        earlier_of(tmp_path, [str(tmp_path / "empty")])
    assert "holds no finished evaluation to learn from" in str(caught.value)
    assert not (tmp_path / FILE).exists()


def test_a_directory_that_is_no_run_is_refused_before_anything_is_written(
    tmp_path: Path, forks: Forks
) -> None:
    begun = forks.evo_nas(*words(tmp_path, tmp_path / "nothing", 8))
    assert begun.returncode == 1
    assert f"{tmp_path / 'nothing'} holds no run" in begun.stderr
    assert not (tmp_path / "run").exists()
