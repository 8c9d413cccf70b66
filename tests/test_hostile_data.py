"""Data files from strangers: one line says what is wrong, at a bounded price in memory and time."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.hostile import MiB, assert_readable, bounded, ran, refused_data, written
from tests.recordings import folder, words
from tests.tiny import SMALL
from workers.tasks import TaskError, load_task
from workers.tasks.files import read_bytes
from workers.unpacked import ALWAYS_UNPACKED, MAX_BYTES, most_unpacked

FORMATS = {
    "text": ["a.txt"],
    "classification": ["a.npz", "a.ts", "a.csv", "a.parquet"],
    "forecasting": ["a.csv", "a.tsv", "a.parquet"],
    "music": ["a.json"],
    "speech": ["a.tar"],
}
EVERY = [(kind, name) for kind, names in FORMATS.items() for name in names]


@pytest.mark.parametrize(("kind", "name"), EVERY)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 5000,
        b"\xff\xfe" * 999,
        np.random.default_rng(0).bytes(4096),
        b"\x1f\x8b",
        b"PK\x03\x04",
        b"PAR1" * 9,
    ],
    ids=["empty", "zeros", "not-utf8", "noise", "gzip", "zip", "parquet"],
)
def test_what_is_no_file_of_its_kind_is_refused(
    tmp_path: Path, kind: str, name: str, content: bytes
) -> None:
    said = refused_data(written(tmp_path, name, content), kind)
    assert said.startswith(f"{tmp_path / name}: ")


@pytest.mark.parametrize(("kind", "name"), EVERY)
@pytest.mark.parametrize("packed", [".gz", ".xz"])
def test_a_small_file_that_unpacks_to_gigabytes_is_refused(
    tmp_path: Path, kind: str, name: str, packed: str
) -> None:
    path = tmp_path / (name + packed)
    with gzip.open(path, "wb", 1) if packed == ".gz" else lzma.open(path, "wb", preset=0) as file:
        for _ in range(128):
            file.write(b"1" * MiB)
    assert path.stat().st_size < MiB
    with bounded(200 * MiB):
        said = refused_data(path, kind)
    assert f"unpacks to more than {most_unpacked(path.stat().st_size):,} bytes" in said


def test_what_a_file_may_unpack_to_grows_with_it_up_to_a_limit() -> None:
    assert most_unpacked(10) == ALWAYS_UNPACKED
    assert most_unpacked(10 * MiB) == 1000 * MiB
    assert most_unpacked(2**40) == MAX_BYTES


def test_an_xz_file_that_wants_gigabytes_to_be_unpacked_is_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 24}]
    whole = bytearray(lzma.compress(b"some text" * 99, lzma.FORMAT_XZ, filters=filters))
    at = whole.index(b"\x21\x01")  # the filter and the size of its properties
    header = whole[12 : at + 3]
    whole[at + 2] = 38  # the dictionary: 2 GiB
    size = 4 * (whole[12] + 1)
    import zlib

    whole[12 + size - 4 : 12 + size] = zlib.crc32(whole[12 : 12 + size - 4]).to_bytes(4, "little")
    assert whole[12 : at + 3] != header
    with bounded(50 * MiB):
        assert "Memory usage limit" in refused_data(
            written(tmp_path, "a.txt.xz", bytes(whole)), "text"
        )


def test_packed_files_of_several_parts_are_read_whole(tmp_path: Path) -> None:
    parts = [b"one", b"two" * MiB, b"three"]
    path = written(tmp_path, "a.xz", b"".join(lzma.compress(p) + b"\0" * 8 for p in parts))
    assert read_bytes(str(path)) == b"".join(parts)
    path = written(tmp_path, "a.gz", b"".join(map(gzip.compress, parts)))
    assert read_bytes(str(path)) == b"".join(parts)
    torn = written(tmp_path, "b.xz", lzma.compress(parts[1])[:-20])
    with pytest.raises(TaskError, match="cannot be read: it ends before its end mark"):
        read_bytes(str(torn))


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_file_of_a_terabyte_is_refused_unread(tmp_path: Path, kind: str, name: str) -> None:
    path = written(tmp_path, name, b"")
    os.truncate(path, 2**40)  # sparse
    with bounded(20 * MiB, seconds=2.0), pytest.raises(TaskError, match="has 1,099,511,627,776 "):
        load_task(kind, str(path), {})


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_pipe_or_device_does_not_hold_up_a_command(tmp_path: Path, kind: str, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert "is no ordinary file" in refused_data(tmp_path / name, kind)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    assert "is no ordinary file" in refused_data(tmp_path / name, kind)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "name", ["a\nb", "\x1b[2Jx", "a\0b", "x" * 100_000, "\U000e0001" * 5_000, "../../nowhere"]
)
def test_a_path_of_any_kind_is_named_in_one_line(tmp_path: Path, kind: str, name: str) -> None:
    with pytest.raises(TaskError) as caught:
        load_task(kind, str(tmp_path / name), {})
    assert_readable(str(caught.value))


CSV: dict[str, tuple[str, str]] = {
    "wrong delimiter": ("a;b\n" + "1;2\n" * 40, "is the separator ';'?"),
    "only nan": ("a,b\n" + "1,nan\n" * 40, "row 1, column 'b': nan is not a finite number"),
    "infinite": ("a,b\n" + "1,1e999\n" * 40, "row 1, column 'b': inf is not a finite number"),
    "too short for a window": ("a,b\n" + "1,2\n" * 40, "window = 96 and horizon = 24 need 120"),
    "one line of a megabyte": ("1" * (2 * MiB), "its first line has more than 1,048,576 char"),
    "one quoted cell": ('"' + "a\n" * MiB, "field larger than field limit"),
    "half a million columns": (",".join("1" * 500_000), "has 500,000 columns"),
    "names that act on a terminal": ("\x1b[2J,\x1b[2J\n1,2\n", "two columns are called"),
    "a name of half a megabyte": ("a" * 500_000 + "\n1\n", "field larger than field limit"),
    "a header alone": ("a,b\n", "the table has no rows"),
}


@pytest.mark.parametrize("case", CSV)
def test_a_hostile_csv_is_refused(tmp_path: Path, case: str) -> None:
    text, message = CSV[case]
    with bounded():
        assert message in refused_data(written(tmp_path, "a.csv", text.encode()), "forecasting")


def test_a_table_with_very_many_columns_is_refused_in_good_time(tmp_path: Path) -> None:
    names = ",".join(f"c{n}" for n in range(90_000))
    path = written(tmp_path, "a.csv", f"{names},c7\n{'1,' * 90_000}1\n".encode())
    with bounded():
        assert refused_data(path, "forecasting").endswith(
            "two columns are called 'c7'. Rename one."
        )


def deflated(arrays: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in arrays.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def npy(shape: str, descr: str = "'|u1'", content: bytes = b"") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header + content


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_npz_that_unpacks_to_much_more_is_refused(tmp_path: Path, method: int) -> None:
    size = 128 * MiB
    bomb = deflated({"X": npy(f"({size},1)", content=bytes(size)), "y": npy("(1,)")}, method)
    assert len(bomb) < MiB
    path = written(tmp_path, "a.npz", bomb)
    with bounded(50 * MiB):
        assert f"at most {ALWAYS_UNPACKED:,} are read" in refused_data(path, "classification")


MANY: dict[str, Callable[[], bytes]] = {
    "a.npz": lambda: deflated(
        {"X": npy("(4000000,1)", content=bytes(4_000_000)), "y": npy("(4000000,)", content=LABELS)}
    ),
    "a.ts.gz": lambda: gzip.compress(
        b"@classLabel true a b\n@data\n" + b"1:a\n1:b\n" * 2 * 10**6, 1
    ),
    "a.csv.gz": lambda: gzip.compress(b"x,label\n" + b"1,a\n1,b\n" * 2 * 10**6, 1),
    "wide.npz": lambda: deflated(
        {"X": npy("(40,500000)", content=bytes(2 * 10**7)), "y": npy("(40,)", content=LABELS[:40])}
    ),
}
LABELS = bytes([0, 1]) * 2_000_000


@pytest.mark.parametrize("name", MANY)
def test_very_many_sequences_in_a_small_file_are_refused(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, MANY[name]())
    assert path.stat().st_size < MiB
    with bounded(250 * MiB):
        said = refused_data(path, "classification")
    assert "sequences with " in said
    assert "from a file of this size at most 536,870,912 are used" in said


@pytest.mark.parametrize("name", ["a.csv", "a.ts"])
def test_very_many_classes_take_no_time(tmp_path: Path, name: str) -> None:
    """Such as those of a column of numbers, named as label by mistake."""
    count = 100_000
    if name == "a.csv":
        text = "a,label\n" + "".join(f"{n % 7},{n}.5\n" for n in range(count))
    else:
        names = " ".join(map(str, range(count)))
        text = f"@classLabel true {names}\n@data\n" + f"1,2:{count - 1}\n" * count
    with bounded():
        refused_data(written(tmp_path, name, text.encode()), "classification")


def _lies(size: int) -> Callable[[], bytes]:
    def make() -> bytes:
        whole = deflated({"X": npy("(9,9)", content=bytes(4 * MiB)), "y": npy("(9,)")})
        real = (4 * MiB + len(npy("(9,9)"))).to_bytes(4, "little")
        assert whole.count(real) == 2
        return whole.replace(real, size.to_bytes(4, "little"))

    return make


NPZ: dict[str, Callable[[], bytes]] = {
    "pickled": lambda: deflated({"X": npy("(1,)", "'|O'", b"cos\nsystem\n."), "y": npy("(1,)")}),
    "a size that lies: less": _lies(7),
    "a size that lies: more": _lies(60 * MiB),
    "a shape that lies": lambda: deflated({"X": npy(f"({2**40},1)"), "y": npy("(1,)")}),
    "a shape beyond 64 bits": lambda: deflated({"X": npy(f"({2**70},1)"), "y": npy("(1,)")}),
    "a negative shape": lambda: deflated({"X": npy("(-5,1)"), "y": npy("(1,)")}),
    "a shape that calls": lambda: deflated({"X": npy("(exit(),)"), "y": npy("(1,)")}),
    "a header of brackets": lambda: deflated({"X": npy("(" * 9000), "y": npy("(1,)")}),
    "a header of signs": lambda: deflated({"X": npy("-" * 9000 + "1"), "y": npy("(1,)")}),
    "a type of a gigabyte": lambda: deflated({"X": npy("(1,1)", "'|V1000000000'")}),
    "a type that is none": lambda: deflated({"X": npy("(1,1)", "{1: [2]}"), "y": npy("(1,)")}),
    "a path for a name": lambda: deflated({"../../X": npy("(1,1)"), "/y": npy("(1,)")}),
    "encrypted": lambda: deflated({"X": npy("(1,1)")}).replace(
        b"PK\1\2\x14\x03\x14\0\0", b"PK\1\2\x14\x03\x14\0\1"
    ),
}


@pytest.mark.parametrize("case", NPZ)
def test_a_hostile_npz_is_refused(tmp_path: Path, case: str) -> None:
    path = written(tmp_path, "a.npz", NPZ[case]())
    with bounded(200 * MiB):
        assert refused_data(path, "classification").startswith(f"{path}: ")


JSON: dict[str, tuple[bytes, str]] = {
    "nested": (b"[" * 60 * MiB, "of memory"),
    "nested less": (b"[" * 100_000, "cannot be read as JSON"),
    "empty lists": (b"[" + b"[]," * 18 * MiB + b"[]]", "of memory"),
    "a number of a megabyte": (b'{"train": ' + b"9" * MiB + b"}", "cannot be read as JSON"),
    "a key of a megabyte": (b'{"' + b"k" * MiB + b'": 1}', "has a part"),
    "keys that act on a terminal": (b'{"\\u001b[2J\\n": 1}', "has a part"),
    "infinite": (b'{"train": [[[1e999],[0]]], "valid": 1, "test": 1}', "is no key"),
}


@pytest.mark.parametrize("case", JSON)
def test_hostile_music_is_refused(tmp_path: Path, case: str) -> None:
    content, message = JSON[case]
    with bounded():
        assert message in refused_data(written(tmp_path, "a.json", content), "music")


def test_labels_of_very_many_digits_are_classes_like_others(tmp_path: Path) -> None:
    rows = "".join(f"{n},{n % 3},{'7' * 5000 if n % 2 else '8' * 5000}\n" for n in range(40))
    path = written(tmp_path, "a.csv", f"a,b,label\n{rows}".encode())
    assert len(load_task("classification", str(path), {}).classes) == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("text", {"length": 2**70}),
        ("text", {"vocabulary": 2**70}),
        ("forecasting", {"skip_lines": 2**70}),
        ("forecasting", {"window": 2**62}),
        ("forecasting", {"columns": ["\x1b[2J"]}),
        ("forecasting", {"split": [2**70, 1, 1]}),
        ("forecasting", {"split": [1e300, 1e300, 1e300]}),
        ("classification", {"features": 2**50}),
        ("classification", {"test_data": "a\0b"}),
        ("classification", {"label": "\n" * 10_000}),
        ("speech", {"bands": 2**40}),
        ("speech", {"hop": 1e-300}),
        ("speech", {"\x1b[2J" * 1000: 1}),
    ],
)
def test_a_hostile_option_is_refused(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    table = b"a,b,c\n" + b"".join(b"%d,2,%d\n" % (n, n % 2) for n in range(500))
    if kind == "speech":
        path = folder(tmp_path, words())
    else:
        path = written(tmp_path, "a.txt" if kind == "text" else "a.csv", table)
    with bounded(100 * MiB):
        assert refused_data(path, kind, **options)


def test_names_of_columns_do_not_act_on_the_terminal_of_a_search(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    rows = "".join(f"{k},{k % 3}\n" for k in range(300))
    path.write_text("\x1b[2J\x1b]0;owned\x07,b\n" + rows)
    begin = ["search", "--task", "forecasting", "--data", str(path), "--run", str(tmp_path / "run")]
    begin += ["--option", "window=4", "--option", "horizon=2", "--seeds", "0", *SMALL]
    result = ran(*begin, "--evaluations", "1", "--workers", "0")
    assert result.exit_code == 0, result.stderr
    assert "4 rows of \\x1b[2J\\x1b]0;owned\\x07, b predict" in result.stderr
    assert all(line.isprintable() for line in result.stderr.splitlines())
