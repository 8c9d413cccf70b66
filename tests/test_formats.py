"""Runs that were written in any format so far are read, resumed and brought to this one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from evo_nas.config import from_dict
from evo_nas.events import Asked, Told
from evo_nas.record import read_events
from evo_nas.record.header import HEADER, VERSION, read_header
from evo_nas.strategies import make_strategy
from genomes import Genome
from tests.faulty_runs import Forks
from tests.formats.make_run import text
from tests.replaying import replayed
from tests.test_record import snapshot

FORMATS = sorted(path for path in Path(__file__).with_name("formats").iterdir() if path.is_dir())
FORMATS = [path for path in FORMATS if path.name.isdigit()]


@pytest.fixture(params=FORMATS, ids=lambda path: f"format {path.name}")
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a run directory of that format."""
    return Path(shutil.copytree(request.param, tmp_path / request.param.name))


def test_there_is_a_run_of_every_format() -> None:
    assert [int(path.name) for path in FORMATS] == list(range(1, VERSION + 1))
    for path in FORMATS:
        assert json.loads((path / HEADER).read_text())["version"] == int(path.name)


def test_a_run_of_any_format_is_read_without_changing_a_byte(run: Path, forks: Forks) -> None:
    before = snapshot(run)
    events, warnings = read_events(run)
    assert warnings == []
    asked = [event for event in events if isinstance(event, Asked)]
    told = [event for event in events if isinstance(event, Told)]
    assert [event.birth for event in asked] == list(range(14))
    assert [event.birth for event in told] == list(range(14))
    assert {event.budget for event in asked} == {4}
    stops = {"stopped"} if int(run.name) >= 3 else set()
    assert {event.status for event in told} == {"ok", "diverged"} | stops
    assert all(Genome.from_json(event.genome).digest == event.digest for event in asked)
    for words in (["status"], ["lineage"], ["lineage", "--mutations"], ["compare", "--last"]):
        read = forks.evo_nas(words[0], str(run), *words[1:])
        assert read.returncode == 0, read.stderr
        assert read.stderr == ""
    assert snapshot(run) == before


def test_a_run_of_any_format_still_replays(run: Path) -> None:
    """Every candidate after the record is one that the record's program would have asked for."""
    events, _ = read_events(run)
    config = from_dict(read_header(run).config)
    strategy = make_strategy(config)
    for event in events:
        if isinstance(event, Asked) and config.evolution.deterministic is False:
            again = strategy.ask()
            assert (again.genome, again.digest, again.seed) == (
                event.genome,
                event.digest,
                event.seed,
            )
        replayed(strategy, [event])
    assert strategy.history.told == 14


def test_a_run_of_any_format_is_resumed_and_is_of_this_format_then(run: Path, forks: Forks) -> None:
    before = read_events(run)[0]
    version = json.loads((run / HEADER).read_text())["version"]
    data = run.parent / "tiny.txt"
    data.write_text(text())
    words = ["resume", str(run), "--data", str(data), "--evaluations", "20", "--seeds", "0"]
    resumed = forks.evo_nas(*words)
    assert resumed.returncode == 0, resumed.stderr
    events, warnings = read_events(run)
    assert warnings == []
    assert events[: len(before)] == before
    assert [e.birth for e in events if isinstance(e, Told)] == list(range(20))
    assert json.loads((run / HEADER).read_text())["version"] == VERSION
    old = f"was written in format {version} and goes on in format {VERSION}"
    assert (old in resumed.stderr) == (version < VERSION)
    assert (run / f"{HEADER}.{version}").exists() == (version < VERSION)
    again = forks.evo_nas(*words)
    assert again.returncode == 0, again.stderr
    assert old not in again.stderr
