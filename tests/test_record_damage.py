"""A damaged record: torn, missing, moved and flipped bytes are noticed, never read as data."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from evo_nas.events import Event
from evo_nas.record import RecordError, create_run, open_run, read_events
from evo_nas.record.segments import DamagedSegment, decode, encode, events_of, table_of
from tests.test_record import asked, header, segment, snapshot, three_segments, told


@pytest.mark.parametrize("size", [0, 4, 100, -20, -1])
def test_a_torn_newest_segment_is_left_out_with_a_warning(tmp_path: Path, size: int) -> None:
    run = tmp_path / "run"
    events = three_segments(run)
    whole = segment(run, 2).read_bytes()
    segment(run, 2).write_bytes(whole[:size])
    before = snapshot(run)
    found, warnings = read_events(run)
    assert found == events[:3]
    assert len(warnings) == 1
    assert f"{segment(run, 2)} is damaged" in warnings[0]
    assert "newest segment and was left out" in warnings[0]
    assert snapshot(run) == before


def test_resuming_keeps_a_torn_segment_aside_and_uses_its_number_again(tmp_path: Path) -> None:
    run = tmp_path / "run"
    events = three_segments(run)
    for attempt in ("00000002.parquet.torn", "00000002.parquet.torn1"):
        segment(run, 2).write_bytes(b"torn " + attempt.encode())
        with open_run(run) as record:
            assert events_of(record.reading.table) == events[:3]
            assert attempt in record.warnings[-1]
            record.append([told(1)])
        assert (run / "segments" / attempt).read_bytes() == b"torn " + attempt.encode()
        assert read_events(run) == ([*events[:3], told(1)], [])


def test_a_damaged_segment_with_successors_is_an_error_that_says_what_to_do(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    three_segments(run)
    segment(run, 1).write_bytes(segment(run, 1).read_bytes()[:-9])
    for read in (read_events, open_run):
        with pytest.raises(RecordError) as caught:
            read(run)
        assert str(segment(run, 1)) in str(caught.value)
        assert "has successors" in str(caught.value)
        assert "Restore it from a copy" in str(caught.value)


def test_a_missing_segment_in_the_middle_is_an_error(tmp_path: Path) -> None:
    run = tmp_path / "run"
    three_segments(run)
    segment(run, 1).unlink()
    with pytest.raises(RecordError, match="00000001.parquet is missing, but segments up to 2"):
        read_events(run)


def test_a_newest_rolled_file_that_is_lost_is_an_error(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with create_run(run, header(), checkpoint_segments=4) as record:
        for birth in range(4):
            record.append([asked(birth), told(birth)])
    (rolled,) = (run / "segments").iterdir()
    content = rolled.read_bytes()
    rolled.unlink()
    for read in (read_events, open_run):
        with pytest.raises(RecordError, match="lists segments up to 3, but none is there. Restore"):
            read(run)
    segment(run, 0).write_bytes(encode(table_of([asked(0), told(0)], 0)))
    with pytest.raises(RecordError, match="up to 3, but only those up to 0 are there. Restore"):
        read_events(run)
    rolled.write_bytes(content)
    assert len(read_events(run)[0]) == 8


def test_a_copy_that_was_cut_off_before_its_segments_is_an_error(tmp_path: Path) -> None:
    run, copy = tmp_path / "run", tmp_path / "copy"
    with create_run(run, header(), checkpoint_segments=8) as record:
        for birth in range(30):
            record.append([asked(birth), told(birth)])
    # In the order of their names, as tools copy a bucket.
    files = sorted(path.relative_to(run) for path in run.rglob("*") if path.is_file())
    rolled = sum(path.parts[0] == "segments" and "-" in path.name for path in files)
    first = next(n for n, path in enumerate(files) if path.parts[0] == "segments")
    for path in files[: first + rolled - 1]:
        (copy / path.parent).mkdir(parents=True, exist_ok=True)
        shutil.copy(run / path, copy / path)
        if (copy / "run.json").exists():
            (copy / "segments").mkdir(exist_ok=True)
            with pytest.raises(RecordError, match="Restore"):
                read_events(copy)


def test_a_segment_of_another_place_is_noticed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    three_segments(run)
    segment(run, 1).write_bytes(segment(run, 0).read_bytes())
    with pytest.raises(RecordError, match="not numbered from 2 on"):
        read_events(run)


def test_no_flipped_bit_changes_what_is_read() -> None:
    """Every byte of a segment with one bit flipped: either noticed, or without effect."""
    events: list[Event] = [told(3), asked(4)]
    content = encode(table_of(events, 10))
    noticed = 0
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        try:
            table = decode(bytes(damaged))
            found = events_of(table)
        except DamagedSegment:
            noticed += 1
            continue
        # A row count of 0 is what the reader's check of the numbering finds.
        assert table.num_rows == 0 or found == events
        assert table.num_rows == 0 or table.column("sequence").to_pylist() == [10, 11]
    assert noticed > len(content) / 2
