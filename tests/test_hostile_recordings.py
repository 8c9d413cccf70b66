"""Archives and recordings from strangers: refused in one line, and nothing of them written."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile import MiB, bounded, refused_data, written
from tests.recordings import folder, words


def tar(*members: tarfile.TarInfo, **recordings: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in {**words(), **recordings}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for member in members:
            archive.addfile(member)
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


TAR: dict[str, Callable[[], bytes]] = {
    "a path upwards": lambda: tar(member("../../yes_x_1.wav")),
    "an absolute path": lambda: tar(member("/tmp/yes_x_1.wav")),
    "a link": lambda: tar(member("yes_x_1.wav", tarfile.SYMTYPE, "/etc/passwd")),
    "a hard link": lambda: tar(member("yes_x_1.wav", tarfile.LNKTYPE, "/etc/passwd")),
    "a device": lambda: tar(member("yes_x_1.wav", tarfile.CHRTYPE)),
    "a pipe": lambda: tar(member("yes_x_1.wav", tarfile.FIFOTYPE)),
    "a folder": lambda: tar(member("yes_x_1.wav", tarfile.DIRTYPE)),
    "a name that acts on a terminal": lambda: tar(member("\x1b[2J\n_x_1.wav")),
    "holes": lambda: _resized(tar(member("yes_x_77.wav")), 15 * MiB, tarfile.GNUTYPE_SPARSE),
    "a size that lies": lambda: _resized(tar(member("yes_x_77.wav")), 9 * MiB),
    "a size beyond all": lambda: _resized(tar(member("yes_x_77.wav")), 2**60),
    "a negative size": lambda: _resized(tar(member("yes_x_77.wav")), -2048),
    "a negative size of a name": lambda: _resized(tar(member("yes_x_77.wav")), -2048, b"L"),
    "a negative size of another": lambda: _resized(tar(member("yes_x_77.txt")), -2048),
    "a name that is no text": lambda: tar(**{"yes_anna\udcff_33.wav": words()["yes_anna_3.wav"]}),
    "holes that are told beyond the end": lambda: _holes_told_beyond_the_end(),
    "a megabyte of attributes": lambda: _attributes(MiB),
    "a megabyte of attributes for all": lambda: _attributes(MiB, tarfile.XGLTYPE),
}


def _attributes(size: int, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """Digits, which some versions of Python read in quadratic time."""
    info = member("x", kind)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT) + b"1" * size + bytes(1024)


def _holes_told_beyond_the_end() -> bytes:
    content = _resized(tar(member("yes_x_77.wav")), 0, tarfile.GNUTYPE_SPARSE)
    at = content.rindex(b"yes_x_77.")
    header = bytearray(content[at : at + 512])
    header[482] = 1  # more follow
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return content[:at] + bytes(header)


def _resized(content: bytes, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """The last header with another size and type, its checksum right."""
    at = content.rindex(b"yes_x_77.")
    header = bytearray(content[at : at + 512])
    if size >= 0o77777777777 or size < 0:
        header[124:136] = bytes([0x80 if size > 0 else 0xFF]) + (size % 2**88).to_bytes(11, "big")
    else:
        header[124:136] = b"%011o\0" % size
    header[156:157] = kind
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return content[:at] + bytes(header) + content[at + 512 :]


@pytest.mark.parametrize("case", TAR)
def test_a_hostile_archive_is_refused_and_nothing_of_it_written(tmp_path: Path, case: str) -> None:
    path = written(tmp_path, "a.tar", TAR[case]())
    with bounded(100 * MiB):
        assert refused_data(path, "speech").startswith(f"{path}: ")


def test_an_archive_of_very_many_members_takes_little_memory(tmp_path: Path) -> None:
    path = written(tmp_path, "a.tar.gz", b"")
    block = member("note.txt").tobuf(tarfile.USTAR_FORMAT)
    with gzip.open(path, "wb", 1) as file:
        file.write(block * 100_000 + bytes(1024))
    with bounded(220 * MiB):  # the archive itself has 50
        assert "there are no *.wav files in it" in refused_data(path, "speech")


def test_a_recording_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    recordings = folder(tmp_path, words())
    content = words()["yes_anna_3.wav"]
    (recordings / os.fsdecode(b"yes_anna\xff_33.wav")).write_bytes(content)
    assert refused_data(recordings, "speech").endswith(
        "the name is not UTF-8. Rename it or take it out."
    )


WAV: dict[str, tuple[int, bytes]] = {
    "a length beyond the file": (40, b"\xff\xff\xff\x7f"),
    "an odd length": (40, b"\x01\0\0\0"),
    "no channels": (22, b"\0\0"),
    "very many channels": (22, b"\xff\xff"),
    "no bits": (34, b"\0\0"),
    "very many bits": (34, b"\xff\xff"),
    "a rate of zero": (24, b"\0\0\0\0"),
    "a rate beyond all": (24, b"\xff\xff\xff\xff"),
    "a format chunk beyond the file": (16, b"\xff\xff\xff\x7f"),
    "another format": (20, b"\x55\0"),
}


@pytest.mark.parametrize("case", WAV)
def test_a_recording_whose_header_lies_is_refused(tmp_path: Path, case: str) -> None:
    at, lie = WAV[case]
    files = words()
    good = files["yes_anna_3.wav"]
    files["yes_anna_3.wav"] = good[:at] + lie + good[at + len(lie) :]
    path = folder(tmp_path, files)
    with bounded(100 * MiB):
        assert refused_data(path, "speech").startswith(f"{path}/yes_anna_3.wav: ")
