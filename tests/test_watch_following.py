"""Following a record: the same births as a whole reading gives, by reading only what is new."""

from __future__ import annotations

import itertools
import random
import shutil
import threading
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from evo_nas.births import Births, read_births
from evo_nas.errors import RecordError
from evo_nas.events import Event
from evo_nas.record import create_run, open_run, read_header
from evo_nas.record.segments import decode
from evo_nas.status import summary
from evo_nas.watching import following
from evo_nas.watching.following import Following
from tests.test_record import asked, header, segment, told


def same(found: Births, expected: Births) -> bool:
    """Whether all columns of both agree."""
    for field in fields(Births):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        if field.name == "source":
            continue
        if isinstance(a, np.ndarray):
            equal = np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        else:
            equal = a.equals(b) if isinstance(a, pa.Array) else a == b
        if not equal:
            return False
    return True


def assert_up_to_date(followed: Following, run: Path) -> None:
    found, (_, expected, _) = followed.births(), read_births(run)
    assert same(found, expected)
    assert summary(followed.header, found) == summary(read_header(run), expected)


def pair(birth: int) -> list[Event]:
    """A birth that is asked for, and the result of the one before it."""
    before = [replace(told(birth - 1), metric=1.0 + birth % 7, fitness=-1.0 - birth % 7)]
    return [asked(birth), *(before if birth else [])]


@pytest.mark.parametrize("every", [2, 3, 8, 1000])
def test_what_is_followed_is_what_a_whole_reading_says_whenever_one_looks(
    tmp_path: Path, every: int
) -> None:
    """Between two looks no segment is written, or one, or many that are rolled up already."""
    run, rng = tmp_path / "run", random.Random(every)
    with create_run(run, header(), every) as record:
        followed = Following(run)
        assert followed.read()
        births = itertools.count()
        for _ in range(25):
            count = rng.choice([0, 1, 1, 2, 5])
            for birth in itertools.islice(births, count):
                record.append(pair(birth))
            assert followed.read() == (count > 0)
            assert_up_to_date(followed, run)


def test_only_files_with_something_new_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    decoded: list[int] = []

    def counting(content: bytes, columns: object = None) -> pa.Table:
        table = decode(content, columns)  # type: ignore[arg-type]
        decoded.append(table.num_rows)
        return table

    monkeypatch.setattr(following, "decode", counting)
    with create_run(run, header(), 8) as record:
        for birth in range(20):
            record.append([asked(birth), told(birth)])
        followed = Following(run)
        followed.read()
        assert not followed.read() and decoded == []
        record.append([asked(20)])
        record.append([told(20)])
        assert followed.read() and decoded == [1, 1]
        assert not followed.read() and decoded == [1, 1]
        for birth in (21, 22):
            record.append([asked(birth), told(birth)])
        # Both are in one file by now, with ten rows of the segments that are known.
        assert followed.read() and decoded == [1, 1, 14]


def test_what_is_large_of_a_birth_is_found_after_its_file_was_rolled_up(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with create_run(run, header(), 4) as record:
        followed = Following(run)
        for birth in range(3):
            record.append([asked(birth), replace(told(birth), message=f"of {birth}")])
        followed.read()
        births = followed.births()
        record.append([asked(3)])
        assert [d.message for d in births.details(np.arange(3))] == ["of 0", "of 1", "of 2"]
        assert followed.births().events(1) == (asked(1), replace(told(1), message="of 1"))


def test_a_run_is_followed_while_it_is_written_and_rolled_up(tmp_path: Path) -> None:
    run = tmp_path / "run"
    create_run(run, header()).close()
    done = threading.Event()

    def write() -> None:
        try:
            with open_run(run, checkpoint_segments=2) as record:
                for birth in range(150):
                    record.append([asked(birth), told(birth)])
        finally:
            done.set()

    writer = threading.Thread(target=write)
    writer.start()
    followed = Following(run)
    longest = 0
    while not done.is_set():
        followed.read()
        births = followed.births()
        assert summary(followed.header, births).evaluations == len(births)
        assert births.birth.tolist() == list(range(len(births)))
        assert len(births) >= longest and births.evaluated == len(births)
        longest = len(births)
    writer.join()
    followed.read()
    assert_up_to_date(followed, run)
    assert followed.warnings == ()


def test_a_torn_newest_segment_is_left_out_until_it_is_written_again(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with create_run(run, header()) as record:
        record.append([asked(0)])
        followed = Following(run)
        followed.read()
        record.append([told(0), asked(1)])
    path = segment(run, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert not followed.read()
    (warning,) = followed.warnings
    assert f"{path} is damaged" in warning and "was left out" in warning
    with open_run(run) as record:  # keeps it aside
        record.append([told(0)])
    assert followed.read()
    assert_up_to_date(followed, run)
    assert followed.births().evaluated == 1


def test_a_missing_segment_is_the_error_of_a_whole_reading(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with create_run(run, header()) as record:
        record.append([asked(0)])
        followed = Following(run)
        followed.read()
        for birth in range(1, 4):
            record.append([asked(birth)])
    segment(run, 2).unlink()
    with pytest.raises(RecordError) as caught:
        followed.read()
    assert "00000002.parquet is missing, but segments up to 3 exist" in str(caught.value)


def test_a_damaged_segment_is_the_error_of_a_whole_reading(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with create_run(run, header()) as record:
        record.append([asked(0)])
        followed = Following(run)
        followed.read()
        record.append([asked(1)])
        record.append([asked(2)])
    path = segment(run, 1)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)
    with pytest.raises(RecordError, match=f"{path} is damaged"):
        followed.read()


def test_a_record_that_was_put_back_to_an_earlier_one_is_read_anew(tmp_path: Path) -> None:
    run, copy = tmp_path / "run", tmp_path / "copy"
    with create_run(run, header()) as record:
        record.append([asked(0)])
        shutil.copytree(run, copy)
        record.append([told(0)])
        followed = Following(run)
        followed.read()
    shutil.rmtree(run)
    shutil.copytree(copy, run)
    assert followed.read()
    assert followed.births().evaluated == 0


def test_following_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="holds no run"):
        Following(tmp_path)
