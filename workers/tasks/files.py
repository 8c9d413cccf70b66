"""Files of the user as bytes and text: compression seen through, one clear error each.

A file may come from a stranger, so what it costs is bounded by its size as it lies on disk: nothing
is unpacked to more than `most_unpacked` allows, whatever it says of itself.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from workers.tasks.errors import TaskError
from workers.unpacked import MAX_BYTES, most_unpacked

XZ_MEMORY = 256 * 2**20
"""Memory that unpacking .xz may take; its strongest setting, ``xz -9``, needs 65 MiB."""
_CHUNK = 2**20


def most_from(path: str) -> int:
    """Bytes that the file may unpack to, in all: a packed file of packed arrays gets them once."""
    return most_unpacked(os.stat(path).st_size)


def read_bytes(path: str) -> bytes:
    """The content of a file; ``.gz`` and ``.xz`` are decompressed.

    Raises:
        TaskError: The file is missing, unreadable, empty, damaged, no ordinary file, or unpacks to
            more than `most_unpacked`.
    """
    try:
        with open(path, "rb", opener=_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise TaskError(f"{path}: is no ordinary file. Copy what it gives into one.")
            content = _content(file, Path(path).suffix, status.st_size, path)
    except FileNotFoundError:
        raise TaskError(f"{path}: there is no such file (looked in {Path.cwd()}).") from None
    except IsADirectoryError:
        raise TaskError(f"{path}: this is a folder; name one file in it.") from None
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, TaskError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise TaskError(f"{path}: cannot be read: {reason}.") from None
    if not content:
        raise TaskError(f"{path}: the file is empty.")
    return content


def _at_once(path: str, flags: int) -> int:
    # Else, to open a pipe that nobody writes to would take for ever.
    return os.open(path, flags | os.O_NONBLOCK)


def _content(file: BinaryIO, suffix: str, size: int, path: str) -> bytes:
    if size > MAX_BYTES:
        raise TaskError(f"{path}: has {size:,} bytes, more than {MAX_BYTES:,}. Give a smaller one.")
    if suffix not in (".gz", ".xz") or not size:
        return file.read(size)
    pieces: list[bytes] = []
    left = most_unpacked(size)
    for piece in _gunzipped(file) if suffix == ".gz" else _unxzed(file):
        left -= len(piece)
        if left < 0:
            raise TaskError(
                f"{path}: unpacks to more than {most_unpacked(size):,} bytes from {size:,}. If "
                "that is meant, unpack it first."
            )
        pieces.append(piece)
    return b"".join(pieces)


def _gunzipped(file: BinaryIO) -> Iterator[bytes]:
    with gzip.open(file, "rb") as unpacked:
        while piece := unpacked.read(_CHUNK):
            yield piece


def _unxzed(file: BinaryIO) -> Iterator[bytes]:
    # Not lzma.open: it has no limit for the memory that a file says its unpacking takes.
    packed = file.read(_CHUNK)
    while packed:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_AUTO, memlimit=XZ_MEMORY)
        while not unpacker.eof:
            if unpacker.needs_input and not packed:
                raise EOFError("it ends before its end mark")
            yield unpacker.decompress(packed, _CHUNK)
            packed = file.read(_CHUNK) if unpacker.needs_input and not unpacker.eof else b""
        rest = unpacker.unused_data or file.read(_CHUNK)
        while not (packed := rest.lstrip(b"\0")) and rest:  # zeros may stand between streams
            rest = file.read(_CHUNK)


def decode(content: bytes, path: str) -> str:
    """UTF-8 text without a byte-order mark.

    Raises:
        TaskError: A byte is not UTF-8 or zero; the message gives its position, from 0.
    """
    zero = content.find(b"\0")
    if zero >= 0:
        raise TaskError(
            f"{path}: zero byte at position {zero}: this is a binary file (or UTF-16), not "
            "UTF-8 text."
        )
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TaskError(
            f"{path}: byte 0x{content[error.start]:02x} at position {error.start} (line {line}) "
            "is not UTF-8. Convert it first, for example with iconv -f LATIN1 -t UTF-8."
        ) from None


def format_of(path: str) -> str:
    """The suffix that tells the format, in lower case: ``.csv`` for ``data.CSV.gz``."""
    file = Path(path)
    if file.suffix in (".gz", ".xz"):
        file = file.with_suffix("")
    return file.suffix.lower()


def sha256_of(*contents: bytes) -> str:
    """SHA-256 of one content; of several, that of their hex digests joined."""
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()
