"""Scalars for TensorBoard: read back by a reader of the tests' own, and by TensorBoard's."""

from __future__ import annotations

import math
import re
import resource
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evo_nas.events import Told
from evo_nas.record import read_events
from evo_nas.watching.event_file import crc32c, record, scalars
from evo_nas.watching.scalars import Scalars
from evo_nas.watching.view import View
from tests.faulty_runs import Forks
from tests.tiny import arguments, environment, evo_nas

Point = tuple[str, int, float]


def records(content: bytes) -> Iterator[bytes]:
    """The records of an event file; its checksums are compared."""
    at = 0
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        end = at + 12 + length
        for start, stop in ((at, at + 8), (at + 12, end)):
            (found,) = struct.unpack_from("<I", content, stop)
            crc = crc32c(content[start:stop])
            assert found == ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
        yield content[at + 12 : end]
        at = end + 4


def fields(message: bytes) -> list[tuple[int, int | float | bytes]]:
    """Number and value of each field of a message of Protocol Buffers."""
    found: list[tuple[int, int | float | bytes]] = []
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        number, wire = key >> 3, key & 7
        if wire == 0:
            found.append((number, varint()))
        elif wire == 2:
            length = varint()
            found.append((number, message[at : at + length]))
            at += length
        else:
            form = {1: "<d", 5: "<f"}[wire]
            found.append((number, struct.unpack_from(form, message, at)[0]))
            at += struct.calcsize(form)
    return found


def points(path: Path) -> list[Point]:
    """Every scalar of an event file: tag, step, value."""
    first, *others = map(fields, records(path.read_bytes()))
    assert dict(first)[3] == b"brain.Event:2"
    found: list[Point] = []
    for event in map(dict, others):
        assert event[1] > 1.7e9  # seconds since 1970
        for number, value in fields(event[5]):
            assert number == 1
            scalar = dict(fields(value))
            found.append((scalar[1].decode(), event[2], scalar[2]))
    return found


def only_file(folder: Path) -> Path:
    """The only one there is in a folder, or folder."""
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> tuple[Path, Path]:
    """A run and its folder of scalars."""
    folder = tmp_path_factory.mktemp("scalars")
    words = ("--evaluations", "12", "--seeds", "0", "--tensorboard", str(folder / "board"))
    done = forks.run(arguments(folder, *words), folder / "run")
    assert done.code == 0, done.errors
    return folder / "run", only_file(folder / "board")


def test_the_checksum_is_the_one_of_the_standard() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, appendix B.4
    assert crc32c(b"\xff" * 32) == 0x62A8AB43


@pytest.mark.parametrize("step", [0, 1, 127, 128, 300, 2**31, 2**53])
def test_steps_of_any_size_are_read_back(step: int) -> None:
    (event,) = records(record(scalars(1.8e9, step, {"a": 0.5, "b": -2.0})))
    assert dict(fields(event))[2] == step


def test_a_metric_too_large_for_single_precision_is_infinite_and_stops_nothing() -> None:
    (event,) = records(record(scalars(1.8e9, 0, {"a": 1e300})))
    (value,) = (value for number, value in fields(event) if number == 5)
    assert math.inf in dict(fields(dict(fields(value))[1])).values()


def test_a_search_writes_what_its_record_says(searched: tuple[Path, Path]) -> None:
    run, board = searched
    told = [event for event in read_events(run)[0] if isinstance(event, Told)]
    found = points(only_file(board))

    def of(tag: str) -> list[tuple[int, float]]:
        return [(step, value) for name, step, value in found if name == tag]

    metrics = [(event.birth, event.metric) for event in told if event.metric is not None]
    assert of("evaluation/metric") == [(b, pytest.approx(m, rel=1e-6)) for b, m in metrics]
    assert [birth for birth, _ in of("evaluation/seconds")] == [event.birth for event in told]
    best, failed, running = [], [], math.inf
    for count, event in enumerate(told, 1):
        failed.append((count, float(count - len([e for e in told[:count] if e.metric]))))
        running = min(running, event.metric if event.metric is not None else math.inf)
        best.append((count, pytest.approx(running, rel=1e-6)))
    assert of("search/failed") == failed
    assert of("search/best_metric") == best
    assert [step for step, _ in of("search/per_hour")] == list(range(1, 13))
    assert all(value > 0 for _, value in of("search/per_hour"))


def test_tensorboards_own_reader_reads_the_same(searched: tuple[Path, Path]) -> None:
    reason = "TensorBoard's own reader is not installed: pip install tensorboard"
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason=reason
    )
    _, board = searched
    reader = accumulator.EventAccumulator(str(board))
    reader.Reload()
    expected = points(only_file(board))
    tags = {tag for tag, _, _ in expected}
    assert set(reader.Tags()["scalars"]) == tags
    for tag in tags:
        read = [(event.step, event.value) for event in reader.Scalars(tag)]
        assert read == [(step, value) for name, step, value in expected if name == tag]


def test_a_resumed_run_goes_on_in_the_same_folder_without_being_told_again(
    tmp_path: Path, forks: Forks
) -> None:
    words = ("--evaluations", "4", "--seeds", "0", "--tensorboard", "board")
    assert evo_nas(*arguments(tmp_path, *words), cwd=tmp_path).returncode == 0
    run = tmp_path / "run"
    done = forks.run(["resume", str(run), "--evaluations", "7"], run)  # from another directory
    assert done.code == 0, done.errors
    folder = only_file(tmp_path / "board")
    assert re.fullmatch("run-[0-9a-f]{8}", folder.name)
    births = [
        [step for tag, step, _ in points(path) if tag == "evaluation/seconds"]
        for path in sorted(folder.iterdir())
    ]
    assert births == [[0, 1, 2, 3], [4, 5, 6]]


def test_a_search_without_the_flag_writes_no_scalars(tmp_path: Path, forks: Forks) -> None:
    words = arguments(tmp_path, "--evaluations", "2", "--seeds", "0")
    assert forks.run(words, tmp_path / "run").code == 0
    assert list(tmp_path.rglob("*tfevents*")) == []


def test_a_folder_that_cannot_be_made_ends_the_search_before_it_begins(
    tmp_path: Path, forks: Forks
) -> None:
    (tmp_path / "board").write_text("a file")
    words = ("--evaluations", "2", "--seeds", "0", "--tensorboard", str(tmp_path / "board"))
    refused = forks.run(arguments(tmp_path, *words), tmp_path / "run")
    assert refused.code == 1
    assert refused.errors.splitlines()[-1].startswith("Error: ")
    assert str(tmp_path / "board") in refused.errors


def test_scalars_that_cannot_be_written_any_more_are_one_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = Scalars(tmp_path)
    size = only_file(tmp_path).stat().st_size
    event = Told(0, "ok", 1.5, -1.5, "", (), 12, 0.5, "w0", "torch", 1.8e9)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))
    try:
        for _ in range(3):
            board.told([event], View({"ok": 1}, 1.5, 100.0, 1, 0, 0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    board.end(View({}, None, 0.0, 1, 0, 0))
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: {only_file(tmp_path)} cannot be written any more (")
    assert "File too large" in warning


def test_scalars_need_neither_torch_nor_tensorboard() -> None:
    code = (
        "import sys, evo_nas.watching.scalars; "
        "print(*{'torch', 'tensorboard', 'ray'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
