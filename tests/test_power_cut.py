"""A power cut at any instant: what was reported is on disk even if the disk kept no more than it
had to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from evo_nas.record.header import HEADER
from tests.faulty_runs import Forks, assert_saved, history, next_words, search_words, table_of
from tests.pessimistic_disk import REPORTED, RUN

EVALUATIONS = 8


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Path:
    """A run with checkpoints and a comparison; beside it what power cuts would have left of it."""
    run = tmp_path_factory.mktemp("whole") / "run"
    words = search_words(run, evaluations=EVALUATIONS, checkpoint_segments=2)
    job = {"words": words, "run": str(run), "cuts": str(run.with_name("cuts"))}
    (ended,) = forks.at_once([job])
    assert ended.code == 0, ended.errors
    assert ended.told == list(range(EVALUATIONS))
    return run


def cuts_of(whole: Path) -> list[Path]:
    return sorted(whole.with_name("cuts").iterdir())


def reported_at(cut: Path) -> list[int]:
    found: list[int] = json.loads((cut / REPORTED).read_text())
    return found


def test_after_a_power_cut_everything_reported_is_there_and_is_read_without_a_warning(
    whole: Path,
) -> None:
    cuts = cuts_of(whole)
    assert len(cuts) > 40
    counts = [len(reported_at(cut)) for cut in cuts]
    assert counts == sorted(counts) and {*counts} == {*range(EVALUATIONS + 1)}
    assert not (cuts[0] / RUN / HEADER).exists()  # this disk does forget
    for cut in cuts:
        assert_saved(cut / RUN, reported_at(cut))
    assert history(cuts[-1] / RUN) == history(whole)
    assert table_of(cuts[-1] / RUN) == table_of(whole)


@pytest.mark.parametrize("step", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_a_search_goes_on_after_a_power_cut_to_the_same_record(
    tmp_path: Path, whole: Path, forks: Forks, step: int
) -> None:
    for cut in cuts_of(whole)[step // 2 :: step]:
        run = Path(shutil.copytree(cut / RUN, tmp_path / cut.name / RUN))
        words = search_words(run, evaluations=EVALUATIONS, checkpoint_segments=2)
        ended = forks.run(next_words(words, run), run)
        assert ended.code == 0, (cut, ended.errors)
        assert history(run) == history(whole), cut
        assert table_of(run) == table_of(whole), cut
