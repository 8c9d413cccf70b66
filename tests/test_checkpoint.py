"""Checkpoints roll segments up; whatever is there or missing, the record reads the same."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pytest

from evo_nas.comparison.folders import folders_of, next_folder
from evo_nas.config_tables import SearchConfig
from evo_nas.events import Event
from evo_nas.record import RecordError, create_run, open_run, read_events
from evo_nas.record.checkpoint import KEPT, LARGEST, read_manifest
from evo_nas.record.layout import Part, cover, number_of, parts_in
from evo_nas.record.paths import RunPath
from evo_nas.record.reading import LISTINGS, read_rows, read_table
from evo_nas.record.sealed import unsealed
from evo_nas.record.segments import events_of
from evo_nas.record.storage import contents
from evo_nas.sessions import last_config, note_session
from evo_nas.watching.log import next_number
from tests.test_record import asked, header, told


def run_of(run: Path, segments: int, every: int) -> list[Event]:
    """A run of so many segments with two events each, checkpoints in between."""
    with create_run(run, header(), every) as record:
        for birth in range(segments):
            record.append([asked(birth), told(birth)])
    return [event for birth in range(segments) for event in (asked(birth), told(birth))]


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "segments").iterdir())


def manifests(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").iterdir())


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 16
    path.write_bytes(content)


def test_a_checkpoint_leaves_one_file_in_place_of_many_and_says_what_is_in_it(
    tmp_path: Path,
) -> None:
    events = run_of(tmp_path / "run", 5, every=4)
    assert names(tmp_path / "run") == ["00000000-00000003.parquet", "00000004.parquet"]
    (manifest,) = manifests(tmp_path / "run")
    assert manifest.name == "000000000008.json"
    document = unsealed(manifest.read_bytes())
    assert document["events"] == 8
    assert [(f["first"], f["last"], f["events"]) for f in document["files"]] == [(0, 3, 8)]
    assert read_events(tmp_path / "run") == (events, [])


@pytest.mark.parametrize("segments", [1, 4, 9, 16, 37, 64])
def test_any_number_of_checkpoints_keeps_every_event_in_order_and_few_files(
    tmp_path: Path, segments: int
) -> None:
    run = tmp_path / "run"
    events = run_of(run, segments, every=4)
    assert read_events(run) == (events, [])
    manifest, _ = read_manifest(run)
    rolled = 0 if manifest is None else len(manifest.files)
    assert rolled <= (segments // 4).bit_length()
    assert len(manifests(run) if manifest else []) <= KEPT
    with open_run(run, checkpoint_segments=4) as record:
        record.append([asked(segments)])
    assert read_events(run)[0] == [*events, asked(segments)]


def test_a_rolled_file_grows_no_further_once_it_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert LARGEST >= 1000
    monkeypatch.setattr("evo_nas.record.checkpoint.LARGEST", 8)
    events = run_of(tmp_path / "run", 33, every=4)
    manifest, _ = read_manifest(tmp_path / "run")
    assert manifest is not None
    assert [file.last - file.first + 1 for file in manifest.files] == [8, 8, 8, 8]
    assert read_events(tmp_path / "run") == (events, [])


def test_only_some_columns_and_rows_of_a_rolled_record_are_read_on_request(tmp_path: Path) -> None:
    run = tmp_path / "run"
    events = run_of(run, 23, every=4)
    everything = read_table(run).table
    some = read_table(run, ("birth", "fitness"))
    assert some.table.equals(everything.select(["birth", "fitness"]))
    wanted = [45, 0, 17, 1, 30]
    assert events_of(read_rows(run, some, wanted)) == [events[row] for row in wanted]


def test_rows_are_found_after_the_file_they_were_in_was_rolled_up(tmp_path: Path) -> None:
    run = tmp_path / "run"
    events = run_of(run, 7, every=100)
    reading = read_table(run, ("birth",))
    with open_run(run) as record:
        record.checkpoint()
    assert events_of(read_rows(run, reading, [13, 2])) == [events[13], events[2]]
    shutil.rmtree(run / "segments")
    with pytest.raises(RecordError, match="segments is missing"):
        read_rows(run, reading, [13])


def test_rows_whose_file_goes_again_and_again_are_asked_for_again_by_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    run_of(run, 3, every=100)
    reading = read_table(run, ("birth",))

    def gone(*_: object) -> None:
        raise FileNotFoundError("it was rolled up")

    monkeypatch.setattr("evo_nas.record.reading.decode_rows", gone)
    with pytest.raises(RecordError, match=r"changed each time it was read \(it was.*Try again"):
        read_rows(run, reading, [1])


def test_a_file_that_is_listed_and_cannot_be_opened_is_an_error_that_names_it(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    run_of(run, 3, every=100)
    lost = run / "segments" / "00000001.parquet"
    lost.unlink()
    lost.symlink_to(run / "nowhere")
    with pytest.raises(RecordError, match=f"{lost} is missing, but it was there. Restore it"):
        read_events(run)


def test_what_is_damaged_when_it_is_to_be_rolled_up_is_an_error_and_stays(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_of(run, 5, every=2)
    for name, why in [
        ("00000004.parquet", "its content does not give its SHA-256"),
        ("00000000-00000003.parquet", "its SHA-256 is not the one that was written down"),
    ]:
        path = run / "segments" / name
        whole = path.read_bytes()
        with open_run(run) as record:
            for birth in range(5, 9):  # enough for the rolled file to join in
                record.append([asked(birth)])
            path.write_bytes(whole[:-200] + bytes([whole[-200] ^ 1]) + whole[-199:])
            with pytest.raises(RecordError, match="Restore it from a copy") as caught:
                record.checkpoint()
        assert str(path) in str(caught.value) and why in str(caught.value)
        path.write_bytes(whole)
        for extra in range(5, 9):
            (run / "segments" / f"{extra:08d}.parquet").unlink()
        assert len(read_events(run)[0]) == 10


def test_files_that_a_checkpoint_was_about_to_remove_are_read_once(tmp_path: Path) -> None:
    """A manager killed between writing the rolled file and removing the segments."""
    run = tmp_path / "run"
    events = run_of(run, 4, every=100)
    kept = {path.name: path.read_bytes() for path in (run / "segments").iterdir()}
    with open_run(run) as record:
        record.checkpoint()
    for name, content in kept.items():
        (run / "segments" / name).write_bytes(content)
    assert read_events(run) == (events, [])
    next(iter(manifests(run))).unlink()
    assert read_events(run) == (events, [])
    with open_run(run, checkpoint_segments=1) as record:
        record.append([asked(4)])
    assert names(run) == ["00000000-00000003.parquet", "00000004-00000004.parquet"]
    assert read_events(run)[0] == [*events, asked(4)]


def test_a_damaged_manifest_is_passed_over_with_a_warning_and_the_one_before_it_serves(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    events = run_of(run, 12, every=4)
    before, newest = manifests(run)
    flip(newest, 30)
    found, (warning,) = read_events(run)
    assert found == events
    assert f"{newest} is damaged" in warning and "read without it" in warning
    manifest, _ = read_manifest(run)
    assert manifest is not None and manifest.events == json.loads(before.read_bytes())["events"]
    before.write_bytes(b"")
    found, warnings = read_events(run)
    assert found == events and len(warnings) == 2
    with open_run(run, checkpoint_segments=4) as record:
        for birth in range(12, 17):
            record.append([asked(birth)])
    assert read_events(run)[0] == [*events, *(asked(birth) for birth in range(12, 17))]


def test_a_damaged_rolled_file_is_an_error_that_says_what_to_do_unless_its_segments_are_there(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    run_of(run, 3, every=100)
    kept = {path: path.read_bytes() for path in (run / "segments").iterdir()}
    with open_run(run) as record:
        record.checkpoint()
    rolled = run / "segments" / "00000000-00000002.parquet"
    flip(rolled, 700)
    with pytest.raises(RecordError) as caught:
        read_events(run)
    assert str(rolled) in str(caught.value)
    assert "its SHA-256 is not the one its checkpoint wrote down" in str(caught.value)
    assert "the 3 segments that were rolled into it are gone" in str(caught.value)
    assert "Restore it from a copy" in str(caught.value)
    for path, content in kept.items():
        path.write_bytes(content)
    found, (warning,) = read_events(run)
    assert len(found) == 6
    assert f"{rolled} is damaged" in warning and "other files hold its events" in warning


def test_readers_work_while_segments_are_rolled_up_under_their_eyes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    create_run(run, header()).close()
    done = threading.Event()

    def write() -> None:
        try:
            with open_run(run, checkpoint_segments=2) as record:
                for birth in range(80):
                    record.append([asked(birth), told(birth)])
        finally:
            done.set()

    writer = threading.Thread(target=write)
    writer.start()
    longest = 0
    while not done.is_set():
        events, warnings = read_events(run)
        assert warnings == []
        assert [e.birth for e in events] == [k // 2 for k in range(len(events))]
        assert len(events) >= longest
        longest = len(events)
    writer.join()
    assert len(read_events(run)[0]) == 160


def test_a_writer_that_is_faster_than_the_reader_is_not_taken_for_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    overtaken = 3 * LISTINGS
    with create_run(run, header(), 2) as record:
        record.append([asked(0)])
        births = iter(range(1, 2 * overtaken + 1))

        def once_another_is_rolled_up(paths: Sequence[RunPath]) -> Iterator[bytes]:
            for birth in islice(births, 2):
                record.append([asked(birth)])
            return contents(paths)

        monkeypatch.setattr("evo_nas.record.reading.contents", once_another_is_rolled_up)
        found, warnings = read_events(run)
    assert next(births, None) is None
    assert [event.birth for event in found] == list(range(2 * overtaken + 1))
    assert warnings == []


def test_a_checkpoint_removes_nothing_that_it_did_not_write(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with create_run(run, header(), 2) as record:
        for name in ("notes.txt", "1.parquet", "00000000.parquet.torn"):
            (run / "segments" / name).write_text("mine")
        record.append([asked(0)])
        record.append([told(0)])
        (run / "checkpoints" / "thoughts.json").write_text("mine")
        for birth in range(1, 8):
            record.append([asked(birth)])
    for name in ("segments/notes.txt", "segments/1.parquet", "segments/00000000.parquet.torn"):
        assert (run / name).read_text() == "mine"
    assert (run / "checkpoints" / "thoughts.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("parts", "chosen", "missing"),
    [
        ([(0, 0), (1, 1)], [(0, 0), (1, 1)], None),
        ([(0, 3), (0, 1), (2, 2), (4, 4)], [(0, 3), (4, 4)], None),
        ([(0, 1), (0, 3), (2, 3), (4, 5), (4, 7), (8, 8)], [(0, 3), (4, 7), (8, 8)], None),
        ([(0, 1), (3, 3)], [(0, 1)], 2),
        ([(1, 1)], [], 0),
        ([], [], None),
    ],
)
def test_the_fewest_files_that_hold_every_segment_are_chosen(
    parts: list[tuple[int, int]], chosen: list[tuple[int, int]], missing: int | None
) -> None:
    def part(span: tuple[int, int]) -> Part:
        return Part(*span, rolled=span[0] != span[1])

    assert cover(map(part, parts)) == ([part(span) for span in chosen], missing)


@pytest.mark.parametrize("name", ["\u00b2", "\u0663", "\u2460", "-1", "1_0", " 1", "+1", ""])
def test_only_our_own_digits_number_a_file(tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    run_of(run, 4, every=4)
    for folder in ("checkpoints", "sessions", "logs"):
        (run / folder).mkdir(exist_ok=True)
        (run / folder / f"{name}.json").write_text("{}")
    (run / "logs" / f"{name}.jsonl").write_text("{}")
    (run / "comparisons" / f"{name}x" / "run.json").parent.mkdir(parents=True)
    (run / "comparisons" / f"{name}x").rename(run / "comparisons" / (name or "x"))
    assert number_of(name) is None
    assert read_events(run)[1] == []
    assert last_config(run, header()).run == SearchConfig().run
    note_session(run, SearchConfig())
    assert (run / "sessions" / "001.json").exists()
    assert folders_of(run) == []
    assert next_folder(run).name == "001"
    assert next_number((run / "logs").iterdir()) == 1
    assert [number_of(text) for text in ("7", "007", "000000000008")] == [7, 7, 8]


def test_names_of_files_read_back(tmp_path: Path) -> None:
    parts = {Part(0, 255, True), Part(256, 256, False), Part(123456789, 123456789, False)}
    for part in parts:
        (tmp_path / part.name).touch()
    (tmp_path / "00000001.parquet.tmp").touch()
    assert parts_in(tmp_path) == parts
