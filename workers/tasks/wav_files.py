"""Labelled recordings: ``{label}_{speaker}_{index}.wav`` in a folder or a tar archive.

Nothing of an archive is written to disk. PCM of 8 or 16 bits, one channel.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from workers.tasks.errors import TaskError
from workers.tasks.files import format_of, read_bytes
from workers.tasks.sequences import Floats

MAX_WAV = 16 * 2**20
"""Bytes of a recording; a keyword has less by far."""
MOST_ABOUT = 2**13
"""Bytes that an archive of the format pax may tell of a member: its name, its times. To read them
takes Python before 3.11.10 and 3.12.6 a time that grows with their square (CVE-2024-6232)."""
_NAME = re.compile(r"(?P<label>.+)_(?P<speaker>[^_]+)_(?P<index>[0-9]{1,9})\.wav", re.IGNORECASE)
_ABOUT = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_END = bytes(tarfile.BLOCKSIZE)
_RATES = range(1_000, 400_001)


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording.

    Attributes:
        where: File, and in an archive the name of the member: for messages.
        label: What is said.
        index: The number at the end of its name.
        rate: Samples a second.
        samples: ``(n,)`` float64 from -1 to below 1, at least one.
        content: The bytes of the file.
    """

    where: str
    label: str
    index: int
    rate: int
    samples: Floats
    content: bytes


def read_recordings(path: str) -> dict[str, Recording]:
    """All recordings of a folder, or at any depth of a ``.tar``, ``.tar.gz`` or ``.tar.xz``.

    Files of other types and hidden ones are passed over.

    Returns:
        By file name, in alphabetical order.

    Raises:
        TaskError: There are none, or one cannot be used; the message names it.
    """
    folder = Path(path)
    if os.path.isdir(path):
        files = _in_folder(folder)
    elif format_of(path) == ".tar":
        files = _in_archive(read_bytes(path), path)
    elif os.path.exists(path):
        raise TaskError(f"{path}: is neither a folder nor named .tar, .tar.gz or .tar.xz.")
    else:
        raise TaskError(f"{path}: there is no such folder or file (looked in {Path.cwd()}).")
    found: dict[str, Recording] = {}
    for where, name, content in files:
        if name in found:
            raise TaskError(f"{where}: there is a second {name!r}, {found[name].where}.")
        found[name] = _recording(where, name, content)
    if not found:
        raise TaskError(f"{path}: there are no *.wav files in it.")
    return dict(sorted(found.items()))


def _is_wanted(name: str) -> bool:
    return name.lower().endswith(".wav") and not name.startswith(".")


def _in_folder(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """Path, name and content of each recording."""
    try:
        paths = sorted(file for file in folder.iterdir() if _is_wanted(file.name))
        for file in paths:
            if not file.is_file():
                raise TaskError(f"{file}: is no ordinary file.")
            _check_size(str(file), file.stat().st_size)
            yield str(file), file.name, read_bytes(str(file))
    except OSError as error:
        raise TaskError(f"{folder}: cannot be read: {error.strerror}.") from None


def _in_archive(content: bytes, path: str) -> Iterator[tuple[str, str, bytes]]:
    """The same of an archive, read in memory only."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:", tarinfo=_Member) as archive:
            before = -1
            for member in iter(archive.next, None):
                vars(archive)["members"].clear()  # else it keeps a kilobyte of each
                if archive.offset <= before:  # a negative size leads back
                    raise tarfile.ReadError(f"it is damaged at byte {before:,}")
                before = archive.offset
                name = PurePosixPath(member.name)
                if not _is_wanted(name.name):
                    continue
                where = f"{path}: {member.name}"
                if name.is_absolute() or ".." in name.parts:
                    raise TaskError(f"{where}: a path out of the archive. Pack it anew.")
                if not member.isreg() or member.issparse():  # holes cost nothing and take memory
                    raise TaskError(
                        f"{where}: is no ordinary file. Pack it anew without links and holes."
                    )
                _check_size(where, member.size)
                opened = archive.extractfile(member)
                assert opened is not None  # it is a regular member
                yield where, name.name, opened.read()
            # tarfile takes whatever is no header for the end; the end is a block of zeros
            if content[archive.offset : archive.offset + tarfile.BLOCKSIZE] != _END:
                raise TaskError(
                    f"{path}: is damaged or cut off at byte {archive.offset:,}. Pack it anew."
                )
    except TaskError:
        raise
    except (
        tarfile.TarError,
        OSError,
        EOFError,
        ValueError,
        LookupError,
        OverflowError,
        RecursionError,
    ) as error:
        raise TaskError(f"{path}: cannot be read as a tar archive: {error}.") from None


class _Member(tarfile.TarInfo):
    """A header, refused before what it announces is read."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        member = super().frombuf(buf, encoding, errors)
        if member.type in _ABOUT and member.size > MOST_ABOUT:
            raise tarfile.ReadError(
                f"a member has {member.size:,} bytes of attributes, but may have {MOST_ABOUT:,}. "
                "Pack it anew with the format ustar or gnu"
            )
        return member


def _check_size(where: str, size: int) -> None:
    if not 0 <= size <= MAX_WAV:
        raise TaskError(
            f"{where}: has {size:,} bytes, but a recording may have {MAX_WAV:,}. Cut it shorter."
        )


def _recording(where: str, name: str, content: bytes) -> Recording:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise TaskError(f"{where}: the name is not UTF-8. Rename it or take it out.") from None
    match = _NAME.fullmatch(name)
    if match is None:
        raise TaskError(
            f"{where}: the name is not of the form LABEL_SPEAKER_INDEX.wav, such as "
            "yes_anna_12.wav. Rename it or take it out."
        )
    rate, samples = parse_wav(content, where)
    return Recording(where, match["label"], int(match["index"]), rate, samples, content)


def parse_wav(content: bytes, where: str) -> tuple[int, Floats]:
    """Samples a second, and ``(n,)`` samples from -1 to below 1.

    Raises:
        TaskError: It is no such wav file, is cut off or holds no samples.
    """
    try:
        with wave.open(io.BytesIO(content)) as file:
            channels, width, rate, frames = file.getparams()[:4]
            data = file.readframes(frames)
    except (wave.Error, EOFError, ValueError, OverflowError, RuntimeError) as error:
        reason = str(error) or "it ends too early"
        raise TaskError(f"{where}: cannot be read as a PCM wav file: {reason}.") from None
    convert = "Convert it, for example with sox IN.wav -c 1 -b 16 OUT.wav."
    if channels != 1:
        raise TaskError(f"{where}: has {channels} channels, not 1. {convert}")
    if width not in (1, 2):
        raise TaskError(f"{where}: has samples of {8 * width} bits, not 8 or 16. {convert}")
    if rate not in _RATES:
        raise TaskError(
            f"{where}: {rate:,} samples a second are not in {_RATES.start:,}..{_RATES[-1]:,}."
        )
    if len(data) != frames * width:
        raise TaskError(
            f"{where}: is cut off: {len(data) // width:,} of {frames:,} samples are there."
        )
    if not frames:
        raise TaskError(f"{where}: holds no samples.")
    if width == 1:  # in wav files, 8 bits are unsigned and 16 are not
        return rate, (np.frombuffer(data, np.uint8).astype(np.float64) - 128) / 128
    return rate, np.frombuffer(data, "<i2").astype(np.float64) / 32768
