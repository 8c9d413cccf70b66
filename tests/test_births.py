"""Births as columns say what a computation birth by birth says, and fetch the rest by itself."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_lineage import (
    naive_best,
    naive_busy_seconds,
    naive_counts,
    naive_entries,
    naive_table,
)

from evo_nas.births import COLUMNS, Births, Source, births_in, births_of, read_births
from evo_nas.errors import LineageError, RecordError
from evo_nas.events import SCORED, Asked, Event, Told
from evo_nas.lineage import best, children, entries, entries_at, mutation_table
from evo_nas.record import Record, create_run
from evo_nas.record.reading import read_events, read_rows, read_table
from evo_nas.record.segments import SCHEMA
from evo_nas.status import busy_seconds, summary
from tests.test_record import header

FORMAT_1 = Path(__file__).parent / "formats" / "1"
OPERATORS = st.sampled_from(["published", "random", "rewire", "identity", "grow"])
NUMBERS = st.floats(-1e6, 1e6)


@st.composite
def candidates(draw: st.DrawFn, birth: int, parents: Sequence[int]) -> Asked:
    operator = draw(OPERATORS)
    return Asked(
        birth=birth,
        parent=draw(st.sampled_from([None, *parents])),
        generation=draw(st.integers(0, 9)),
        mutation={"operator": operator, "name": draw(st.sampled_from(["gru", "lstm"]))},
        genome=f"genome {birth}",
        digest=draw(st.sampled_from("abcde")),
        seed=draw(st.integers(0, 2**64 - 1)),
        hidden_size=draw(st.integers(1, 99)),
        recurrent_parameters=draw(st.integers(0, 2**40)),
        duplicates=draw(st.integers(0, 3)),
        budget=400,
    )


@st.composite
def results(draw: st.DrawFn, birth: int) -> Told:
    status = draw(st.sampled_from(["ok", "ok", "ok", "stopped", "stopped", "diverged", "error"]))
    steps = {"ok": st.sampled_from([None, 400]), "stopped": st.sampled_from([40, 120])}
    scored = status in SCORED
    return Told(
        birth=birth,
        status=status,
        metric=draw(NUMBERS) if scored else None,
        fitness=draw(NUMBERS) if scored else None,
        message=f"message of {birth}",
        curve=((20, 1.5),),
        parameters=draw(st.integers(0, 2**40)),
        seconds=draw(st.floats(0, 100)),
        worker="w",
        engine=draw(st.sampled_from(["", "torch", "native/avx512"])),
        finished=draw(st.floats(0, 1000)),
        steps=draw(steps.get(status, st.sampled_from([None, 7, 130]))),
    )


@st.composite
def records(draw: st.DrawFn) -> list[Event]:
    """A record that does not contradict itself, its events in any order."""
    births = sorted(draw(st.sets(st.integers(0, 60), max_size=25)))
    events: list[Event] = []
    for k, birth in enumerate(births):
        events.append(draw(candidates(birth, births[:k])))
        if draw(st.booleans()):
            events.append(draw(results(birth)))
    return draw(st.permutations(events)) if draw(st.booleans()) else events


@st.composite
def anything(draw: st.DrawFn) -> list[Event]:
    """Events of few births, so that most such records contradict themselves."""
    number = st.integers(0, 5)
    ask = number.flatmap(lambda birth: candidates(birth, range(6)))
    return draw(st.lists(ask | number.flatmap(results), max_size=6))


@settings(deadline=None, max_examples=150)
@given(records())
def test_columns_say_what_a_computation_birth_by_birth_says(events: list[Event]) -> None:
    births, expected = births_in(events), naive_entries(events)
    assert entries(births) == expected
    assert len(births) == len(expected)
    assert best(births, 100) == naive_best(events)
    assert best(births, 2) == naive_best(events)[:2]
    assert mutation_table(births) == naive_table(events)
    for entry in expected:
        found = children(births, entry.birth)
        assert found == [one for one in expected if one.parent == entry.birth]
    told = [event for event in events if isinstance(event, Told)]
    assert births.evaluated == len(told)
    assert births.failed == sum(event.fitness is None for event in told)
    assert set(births.engines) == {event.engine for event in told} - {""}
    means = {entry.digest: entry.fitness for entry in expected if entry.status == "ok"}
    assert {digest: births.mean_fitness(digest) for digest in "abcdef"} == {
        digest: means.get(digest) for digest in "abcdef"
    }


@settings(deadline=None, max_examples=150)
@given(records())
def test_a_status_counts_what_counting_event_by_event_counts(events: list[Event]) -> None:
    status = summary(header(), births_in(events))
    for name, expected in naive_counts(events).items():
        found = getattr(status, name)
        assert (list(found.items()) if isinstance(found, dict) else found) == expected, name
    assert status.best == next(iter(naive_best(events)), None)


@settings(deadline=None, max_examples=200)
@given(anything())
def test_a_contradiction_is_refused_in_the_same_words(events: list[Event]) -> None:
    try:
        expected: object = naive_entries(events)
    except LineageError as error:
        expected = str(error)
    try:
        found: object = entries(births_in(events))
    except LineageError as error:
        found = str(error)
    assert found == expected


@settings(deadline=None, max_examples=100)
@given(st.lists(results(0), max_size=8))
def test_the_busy_time_is_the_length_of_the_union(told: list[Told]) -> None:
    finished = np.array([event.finished for event in told])
    seconds = np.array([event.seconds for event in told])
    assert busy_seconds(finished, seconds) == naive_busy_seconds(told)


def test_a_row_that_is_no_event_is_refused() -> None:
    row = dict.fromkeys(SCHEMA.names) | {"sequence": 0, "event": "moved", "birth": 0}
    table = pa.Table.from_pylist([row], SCHEMA)
    source = Source(lambda rows, columns: table, lambda found: [])
    with pytest.raises(RecordError, match="neither asked nor told"):
        births_of(table, source)


def searched(births: int) -> list[Event]:
    """Each birth comes of the one three before it; every seventh fails, the last two run."""
    events: list[Event] = []
    for birth in range(births):
        parent = birth - 3 if birth >= 3 else None
        mutation = {"operator": "rewire", "node": birth}
        digest, genome = f"{birth:064x}", f"genome {birth}"
        events.append(
            Asked(birth, parent, birth // 3, mutation, genome, digest, birth, 64, 900, 1, 400)
        )
        if (done := birth - 2) >= 0:
            failed = done % 7 == 6
            score = None if failed else -1.0 - done % 5
            about = (
                ("diverged", score, score, f"why {done}") if failed else ("ok", score, score, "")
            )
            events.append(Told(done, *about, ((20, 1.0),), 1000, 2.0, "w", "torch", 100.0 + done))
    return events


def recorded(run: Path, events: Sequence[Event], monkeypatch: pytest.MonkeyPatch) -> Record:
    """A run of rolled files with several row groups each, and of segments after them."""
    monkeypatch.setattr("evo_nas.record.segments.ROW_GROUP", 4)
    record = create_run(run, header(), checkpoint_segments=7)
    for start in range(0, len(events), 3):
        record.append(events[start : start + 3])
    return record


def assert_same(births: Births, events: Sequence[Event]) -> None:
    expected = naive_entries(events)
    assert entries(births) == expected
    rows = np.array([len(births) - 1, 0, 7, 7, 3])
    assert entries_at(births, rows) == [expected[row] for row in rows]
    for birth in (0, 6, len(births) - 1):
        mine = [event for event in events if event.birth == birth]
        assert births.events(birth) == (mine[0], mine[1] if len(mine) > 1 else None)


def test_what_is_shown_of_a_birth_is_fetched_from_rolled_files_and_from_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = searched(60)
    recorded(tmp_path / "run", events, monkeypatch).close()
    reading = read_table(tmp_path / "run", COLUMNS)
    assert {part.rolled for part in reading.parts} == {True, False}
    _, births, warnings = read_births(tmp_path / "run")
    assert warnings == []
    assert_same(births, events)


def test_a_run_of_format_1_is_read_as_columns_too(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(FORMAT_1, run)
    _, births, _ = read_births(run)
    events, _ = read_events(run)
    assert len(births) > 5
    assert entries(births) == naive_entries(events)
    asked, told = births.events(1)
    assert asked in events
    assert told in events


def test_what_is_shown_is_found_though_the_search_rolled_its_files_up_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = searched(60)
    with recorded(tmp_path / "run", events, monkeypatch) as record:
        _, births, _ = read_births(tmp_path / "run")
        names = {path.name for path in (tmp_path / "run" / "segments").iterdir()}
        more = searched(80)[len(events) :]
        for event in more:
            record.append([event])
        assert names - {path.name for path in (tmp_path / "run" / "segments").iterdir()}
    assert_same(births, events)


def test_some_columns_are_those_of_a_full_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [tmp_path / "run", FORMAT_1]
    recorded(runs[0], searched(60), monkeypatch).close()
    rng = np.random.default_rng(0)
    for run in runs:
        whole = read_table(run).table
        for columns in (COLUMNS, ("event",), ("operator", "birth"), ("genome", "budget")):
            reading = read_table(run, columns)
            assert reading.table.equals(whole.select(list(columns)))
            rows = rng.integers(0, whole.num_rows, 20).tolist()
            assert read_rows(run, reading, rows).equals(whole.take(rows))
            for wanted in (columns, ("mutation", "message")):
                found = read_rows(run, reading, rows, wanted)
                assert found.equals(whole.take(rows).select(list(wanted)))
            assert read_rows(run, reading, [], columns).num_rows == 0
