"""The record: one durable segment for each append, one writer, readers that only read."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo_nas.config import SearchConfig, from_dict, to_dict
from evo_nas.events import MESSAGE_CHARACTERS, Asked, Event, Told
from evo_nas.record import (
    Header,
    RecordError,
    create_run,
    now,
    open_run,
    read_events,
    read_header,
)
from evo_nas.record.durable import RunLocked, write_durably
from evo_nas.record.header import VERSION
from evo_nas.record.sealed import sealed, unsealed
from evo_nas.record.segments import decode, encode, events_of, table_of

PROJECT = Path(__file__).resolve().parents[1]


def header() -> Header:
    config = to_dict(SearchConfig())
    return Header(config, "text", "ab" * 32, "cross-entropy", "nats/char", False, "0.1.0", now())


def asked(birth: int) -> Asked:
    parent = None if birth == 0 else birth - 1
    return Asked(
        birth, parent, birth, {"operator": "rewire"}, "{}", f"{birth:064x}", 7, 64, 9, 0, 400
    )


def told(birth: int) -> Told:
    return Told(birth, "ok", 1.5, -1.5, "", ((20, 2.0),), 12, 0.5, "w0", "torch", 1.7e9)


def snapshot(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file()
    }


def segment(run: Path, number: int) -> Path:
    return run / "segments" / f"{number:08d}.parquet"


def three_segments(run: Path) -> list[Event]:
    with create_run(run, header()) as record:
        record.append([asked(0), asked(1)])
        record.append([told(0)])
        record.append([told(1), asked(2)])
    return [asked(0), asked(1), told(0), told(1), asked(2)]


BIRTHS = st.integers(0, 2**62)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | FINITE | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
ASKED = st.builds(
    Asked,
    birth=BIRTHS,
    parent=st.none() | BIRTHS,
    generation=BIRTHS,
    mutation=st.dictionaries(st.text(), PLAIN, max_size=3).map(lambda d: d | {"operator": "any"}),
    genome=st.text(),
    digest=st.text(),
    seed=st.integers(0, 2**64 - 1),
    hidden_size=BIRTHS,
    recurrent_parameters=BIRTHS,
    duplicates=BIRTHS,
    budget=BIRTHS,
)
TOLD = st.builds(
    lambda score, **other: Told(
        status="diverged" if score is None else "ok", metric=score, fitness=score, **other
    ),
    score=st.none() | FINITE,
    birth=BIRTHS,
    message=st.text(max_size=MESSAGE_CHARACTERS),
    curve=st.lists(st.tuples(BIRTHS, st.floats(allow_nan=False)), max_size=4).map(tuple),
    parameters=BIRTHS,
    seconds=FINITE,
    worker=st.text(),
    engine=st.text(),
    finished=FINITE,
)


@settings(deadline=None, max_examples=100)
@given(events=st.lists(ASKED | TOLD, min_size=1, max_size=5), sequence=st.integers(0, 2**40))
def test_any_event_reads_back_as_it_was_written(events: list[Event], sequence: int) -> None:
    table = decode(encode(table_of(events, sequence)))
    assert events_of(table) == events
    assert table.column("sequence").to_pylist() == [sequence + i for i in range(len(events))]


def test_a_loss_that_diverged_stays_in_the_curve() -> None:
    curve = ((20, 1.0), (40, math.inf), (60, math.nan))
    event = Told(0, "diverged", None, None, "", curve, 0, 0.0, "", "", 0.0)
    (back,) = events_of(decode(encode(table_of([event]))))
    assert repr(back) == repr(event)


def test_a_long_message_keeps_its_start_and_its_end() -> None:
    message = "first line\n" + "x" * 9000 + "\nlast line \udcff"
    event = Told(0, "error", None, None, message, (), 0, 0.0, "", "", 0.0)
    assert len(event.message) == MESSAGE_CHARACTERS
    assert event.message.startswith("first line\n")
    assert event.message.endswith("\nlast line ?")
    assert events_of(decode(encode(table_of([event])))) == [event]


@pytest.mark.parametrize(
    ("status", "metric", "fitness"),
    [("ok", None, None), ("ok", 1.0, math.nan), ("ok", math.inf, 1.0), ("diverged", None, 1.0)],
)
def test_a_result_is_a_finite_fitness_or_a_failure(
    status: Any, metric: float | None, fitness: float | None
) -> None:
    with pytest.raises(ValueError, match="birth 4 is told as"):
        Told(4, status, metric, fitness, "", (), 0, 0.0, "", "", 0.0)


def test_what_was_appended_is_read_back_in_order_and_resumed_from(tmp_path: Path) -> None:
    run = tmp_path / "a run"
    events = three_segments(run)
    assert read_events(run) == (events, [])
    with open_run(run) as record:
        assert (events_of(record.reading.table), record.warnings) == (events, [])
        record.append([told(2)])
    assert read_events(run) == ([*events, told(2)], [])
    assert sorted(p.name for p in (run / "segments").iterdir()) == [
        f"{i:08d}.parquet" for i in range(4)
    ]
    assert not decode(segment(run, 2).read_bytes()).schema.metadata


def test_the_header_gives_the_configuration_back(tmp_path: Path) -> None:
    written = header()
    create_run(tmp_path / "run", written).close()
    assert read_header(tmp_path / "run") == written
    assert from_dict(read_header(tmp_path / "run").config) == SearchConfig()


def test_appending_nothing_is_an_error(tmp_path: Path) -> None:
    with (
        create_run(tmp_path / "run", header()) as record,
        pytest.raises(ValueError, match="nothing"),
    ):
        record.append([])


def test_a_run_is_never_begun_over_another(tmp_path: Path) -> None:
    run = tmp_path / "run"
    three_segments(run)
    before = snapshot(run)
    with pytest.raises(RecordError) as caught:
        create_run(run, header())
    assert str(caught.value) == (
        f"{run} already holds a run. Go on with it by: evo-nas resume {run} (or give a new --run)"
    )
    assert snapshot(run) == before


def test_a_run_is_never_begun_among_other_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(RecordError, match="it has 'thesis.tex'.*new or empty directory"):
        create_run(tmp_path, header())
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(RecordError, match="is a file"):
        create_run(tmp_path / "thesis.tex", header())


def test_a_creation_that_was_killed_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "segments").mkdir()
    (tmp_path / "lock").write_text("process 1 on nowhere\n")
    (tmp_path / "run.json.tmp").write_text("{")
    create_run(tmp_path, header()).close()
    assert read_events(tmp_path) == ([], [])


def test_no_segment_is_written_twice(tmp_path: Path) -> None:
    write_durably(tmp_path / "a", b"1")
    with pytest.raises(FileExistsError, match="never written again"):
        write_durably(tmp_path / "a", b"2")
    assert (tmp_path / "a").read_bytes() == b"1"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_directory_without_a_run_says_how_to_begin_one(tmp_path: Path) -> None:
    for read in (read_header, read_events, open_run):
        with pytest.raises(RecordError, match="holds no run.*evo-nas search --run"):
            read(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", [VERSION + 1, "1", None, 0])
def test_another_format_version_is_refused_naming_both(tmp_path: Path, version: object) -> None:
    three_segments(tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    path.write_bytes(sealed(unsealed(path.read_bytes()) | {"version": version}))
    with pytest.raises(RecordError) as caught:
        read_events(tmp_path / "run")
    assert f"has format version {version}, but this program reads versions 1 to {VERSION}" in (
        str(caught.value)
    )


def test_a_damaged_header_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    three_segments(tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    whole = unsealed(path.read_bytes())
    without = {key: value for key, value in whole.items() if key != "task"}
    for content, reason in [
        (b"{", "is damaged"),
        (b"[]", "it is no JSON object"),
        (b'{"format": "something else"}', "not written by evo-nas"),
        (json.dumps(whole).encode(), "'sha256' is missing"),
        (sealed(without), "'task' is missing"),
        (sealed(whole).replace(b'"text"', b'"tex3"'), "does not give its 'sha256'"),
    ]:
        path.write_bytes(content)
        with pytest.raises(RecordError, match=reason):
            read_header(tmp_path / "run")


def test_temporary_and_foreign_files_are_passed_over(tmp_path: Path) -> None:
    run = tmp_path / "run"
    events = three_segments(run)
    (run / "segments" / "00000003.parquet.tmp").write_bytes(b"half")
    (run / "segments" / "notes.txt").write_text("x")
    assert read_events(run) == (events, [])
    with open_run(run) as record:
        record.append([told(2)])
    assert len(read_events(run)[0]) == 6


def test_a_second_manager_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    run = tmp_path / "run"
    three_segments(run)
    with open_run(run):
        with pytest.raises(RunLocked) as caught:
            open_run(run)
        assert f"in use by process {os.getpid()} on " in str(caught.value)
        assert len(read_events(run)[0]) == 5
    open_run(run).close()


WRITER = """
import sys
sys.path[:0] = [sys.argv[2], sys.argv[2] + "/tests"]
from test_record import asked, header, told
from evo_nas.record import create_run, open_run
record = create_run(sys.argv[1], header())
birth = 0
while True:
    record.append([asked(birth), told(birth)])
    birth += 1
    print(birth, flush=True)
"""


def started_writer(run: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(run), str(PROJECT)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_manager_loses_nothing_it_was_told_and_blocks_nobody(tmp_path: Path) -> None:
    run = tmp_path / "run"
    writer = started_writer(run)
    assert writer.stdout is not None
    for _ in range(20):
        promised = int(writer.stdout.readline())
    with pytest.raises(RunLocked, match=f"process {writer.pid} on"):
        open_run(run)
    writer.send_signal(signal.SIGKILL)
    rest = writer.stdout.read().split()
    writer.wait()
    promised = int(rest[-1]) if rest else promised
    with open_run(run) as record:
        births = [
            event.birth for event in events_of(record.reading.table) if isinstance(event, Told)
        ]
        assert births == list(range(len(births)))
        assert promised <= len(births) <= promised + 1
        record.append([asked(len(births))])
    assert read_events(run)[1] == []


def test_a_file_system_without_locks_is_named_and_nothing_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", flock)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="gives no locks .*give a --run elsewhere.*lock") as caught:
        create_run(tmp_path / "run", header())
    assert caught.value.errno == errno.ENOSYS
    assert os.listdir("/proc/self/fd") == before


def test_readers_work_while_a_search_writes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    longest = 0
    done = threading.Event()

    def write() -> None:
        try:
            with open_run(run) as record:
                for birth in range(60):
                    record.append([asked(birth), told(birth)])
        finally:
            done.set()

    create_run(run, header()).close()
    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        events, warnings = read_events(run)
        assert warnings == []
        assert len(events) % 2 == 0
        assert len(events) >= longest
        longest = len(events)
    writer.join()
    assert len(read_events(run)[0]) == 120


def test_reading_changes_nothing_in_the_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    three_segments(run)
    (run / "lock").unlink()
    before = snapshot(run)
    read_header(run)
    read_events(run)
    assert snapshot(run) == before


def test_readers_import_neither_torch_nor_ray_nor_deap() -> None:
    code = (
        "import sys, pyarrow\n"
        "base = 'numpy' in sys.modules\n"
        "import evo_nas.config, evo_nas.record, evo_nas.lineage, evo_nas.lineage_output\n"
        "import evo_nas.status, genomes.equations\n"
        "heavy = {'torch', 'ray', 'deap', 'numpy'} & set(sys.modules)\n"
        "print(base, sorted(heavy - ({'numpy'} if base else set())))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    # pyarrow itself imports numpy; what it brings is not ours to avoid.
    assert done.stdout.split(maxsplit=1)[1].strip() == "[]"


def test_a_full_disk_records_nothing_of_the_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with create_run(run, header()) as record:
        record.append([asked(0)])
        sync = os.fsync

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            record.append([told(0)])
        monkeypatch.setattr(os, "fsync", sync)
        assert read_events(run) == ([asked(0)], [])
        record.append([told(0)])
    assert read_events(run) == ([asked(0), told(0)], [])
