"""Torn files and flipped bits: noticed, named, and never read as data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from evo_nas.comparison.folders import folders_of
from evo_nas.errors import RecordError
from evo_nas.past import COLUMNS
from evo_nas.record import open_run, read_events
from evo_nas.record.header import HEADER, read_header
from evo_nas.record.reading import read_table
from evo_nas.sessions import last_config
from tests.faulty_runs import Forks, history, search_words, table_of
from tests.tiny import evo_nas

EVERY = pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(900)], id="every")
SOME = pytest.param(37, id="some")
"""Which offsets of a large file are tried: all of them are many thousand readings."""


@pytest.fixture(scope="module")
def whole(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with rolled files, single segments, manifests, sessions and a comparison."""
    run = tmp_path_factory.mktemp("whole") / "run"
    words = search_words(run, evaluations=7, checkpoint_segments=3)
    assert forks.run(words, run).code == 0
    for evaluations in ("8", "10"):
        ended = forks.run(["resume", str(run), "--evaluations", evaluations], run)
        assert ended.code == 0, ended.errors
    return run


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def newest(run: Path, pattern: str) -> Path:
    return sorted(run.glob(pattern))[-1]


def single(run: Path) -> Path:
    """The newest segment; it is not rolled up."""
    path = newest(run, "segments/*.parquet")
    assert "-" not in path.name
    return path


def rolled(run: Path) -> Path:
    """The first file of events; a checkpoint wrote it, and nothing else holds what is in it."""
    part = read_table(run).parts[0]
    assert part.rolled
    return run / "segments" / part.name


def test_the_run_that_is_damaged_here_has_every_kind_of_file(whole: Path) -> None:
    assert single(whole).exists() and rolled(whole).exists()
    assert newest(whole, "checkpoints/*.json").exists()
    assert newest(whole, "sessions/*.json").name == "002.json"
    assert len(folders_of(whole)) == 3
    assert read_events(whole)[1] == []


@pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.slow)])
def test_a_newest_segment_torn_at_any_offset_is_dropped_with_a_warning(
    run: Path, step: int
) -> None:
    path, events = single(run), read_events(run)[0]
    content = path.read_bytes()
    for size in range(0, len(content), step):
        path.write_bytes(content[:size])
        found, (warning,) = read_events(run)
        assert found == events[: len(found)] and 0 < len(events) - len(found) <= 3
        assert f"{path} is damaged" in warning and "was left out" in warning


def test_a_torn_newest_segment_is_evaluated_again_with_the_same_result(
    run: Path, forks: Forks
) -> None:
    path, expected = single(run), history(run)
    path.write_bytes(path.read_bytes()[:-7])
    ended = forks.run(["resume", str(run)], run)
    assert ended.code == 0, ended.errors
    assert "is damaged" in ended.errors and "It was kept as" in ended.errors
    assert history(run) == expected
    assert len(list(run.glob("segments/*.torn"))) == 1


@pytest.mark.parametrize("step", [SOME, EVERY])
def test_a_rolled_file_torn_at_any_offset_is_an_error_that_names_it_and_the_cure(
    run: Path, step: int
) -> None:
    path = rolled(run)
    content = path.read_bytes()
    for manifests in ("kept", "lost"):
        if manifests == "lost":
            shutil.rmtree(run / "checkpoints")
        for size in range(0, len(content), step):
            path.write_bytes(content[:size])
            with pytest.raises(RecordError) as caught:
                read_table(run, COLUMNS)
            assert str(caught.value).startswith(f"{path} is damaged (")
            assert str(caught.value).endswith("Restore it from a copy of the run.")


def test_a_manifest_torn_at_any_offset_is_passed_over_with_a_warning(run: Path) -> None:
    path, events = newest(run, "checkpoints/*.json"), read_events(run)[0]
    content = path.read_bytes()
    for size in range(len(content) - 1):  # the last byte ends the line
        path.write_bytes(content[:size])
        found, (warning,) = read_events(run)
        assert found == events
        assert f"{path} is damaged" in warning


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_session_file_torn_at_any_offset_is_passed_over_with_a_warning(
    run: Path, step: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path, header = newest(run, "sessions/*.json"), read_header(run)
    content = path.read_bytes()
    for size in range(0, len(content) - 1, step):
        path.write_bytes(content[:size])
        assert last_config(run, header).budget.evaluations == 8  # the session before
        assert f"warning: {path} is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_header_torn_at_any_offset_is_an_error_that_names_it(run: Path, step: int) -> None:
    path = run / HEADER
    content = path.read_bytes()
    for size in range(0, len(content) - 1, step):
        path.write_bytes(content[:size])
        with pytest.raises(RecordError, match=f"{path} is damaged"):
            read_header(run)


def flipped(content: bytes, at: int) -> bytes:
    """One bit of a byte turned over, another one at each place."""
    return content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]


def reads_the_same(run: Path, expected: list[str]) -> bool:
    """Whether a damaged run reads as before; what is noticed is no silent difference."""
    try:
        events, warnings = read_events(run)
        columns = read_table(run, COLUMNS)
    except RecordError as error:
        assert str(run) in str(error)
        return False
    if warnings:
        assert columns.warnings == tuple(warnings)
        assert all(str(run) in warning for warning in warnings)
        return False
    assert [repr(event) for event in events] == expected
    assert columns.table.equals(read_table(run).table.select(COLUMNS))
    return True


@pytest.mark.parametrize("step", [SOME, EVERY])
@pytest.mark.parametrize("kind", ["segment", "rolled", "rolled, no manifest", "manifest"])
def test_a_flipped_bit_in_the_record_is_noticed_or_without_effect(
    run: Path, kind: str, step: int
) -> None:
    paths = {"segment": single(run), "manifest": newest(run, "checkpoints/*.json")}
    path = paths.get(kind, rolled(run))
    if kind.endswith("no manifest"):
        shutil.rmtree(run / "checkpoints")
    expected = [repr(event) for event in read_events(run)[0]]
    content = path.read_bytes()
    noticed = tried = 0
    for at in range(step // 2, len(content), 1 if kind == "manifest" else step):
        path.write_bytes(flipped(content, at))
        noticed += not reads_the_same(run, expected)
        tried += 1
    assert noticed > tried / 2


def test_a_flipped_bit_in_a_header_is_an_error_or_without_effect(run: Path) -> None:
    path, header = run / HEADER, read_header(run)
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(flipped(content, at))
        try:
            assert read_header(run) == header
        except RecordError as error:
            assert str(path) in str(error)
            continue
        assert json.loads(path.read_bytes()) == json.loads(content)  # white space


def test_a_flipped_bit_in_a_session_file_is_a_warning_or_without_effect(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, header = newest(run, "sessions/*.json"), read_header(run)
    config, before = last_config(run, header), 8
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(flipped(content, at))
        found, errors = last_config(run, header), capsys.readouterr().err
        if errors:
            assert f"warning: {path} is damaged" in errors
            assert found.budget.evaluations == before
        else:
            assert found == config


@pytest.mark.parametrize("step", [37, pytest.param(11, marks=pytest.mark.slow)])
def test_a_flipped_bit_in_a_comparison_is_noticed_or_without_effect(run: Path, step: int) -> None:
    folder = folders_of(run)[-1]
    expected = [repr(event) for event in read_events(folder)[0]]
    for path in (folder / HEADER, newest(folder, "segments/*.parquet")):
        content = path.read_bytes()
        for at in range(0, len(content), step):
            path.write_bytes(flipped(content, at))
            reads_the_same(folder, expected)
        path.write_bytes(content)


def test_a_damaged_comparison_is_shown_with_a_warning_and_gone_on_with(
    run: Path, forks: Forks
) -> None:
    folder = folders_of(run)[-1]
    before, path = table_of(run), newest(folder, "segments/*.parquet")
    path.write_bytes(flipped(path.read_bytes(), 900))
    shown = evo_nas("compare", str(run), "--last")
    assert shown.returncode == 0
    assert shown.stderr.startswith(f"warning: {path} is damaged (")
    resumed = forks.run(["resume", str(run)], run)
    assert resumed.code == 0, resumed.errors
    assert f"warning: {path} is damaged (" in resumed.errors
    assert folders_of(run)[-1] == folder and table_of(run) == before


def test_what_the_lock_file_says_does_not_matter(run: Path) -> None:
    for content in (b"", b"\xff" * 300, b"process 1 on nowhere\n"):
        (run / "lock").write_bytes(content)
        open_run(run).close()
