"""Files of the user as bytes and text: compression seen through, one clear error each."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workers.tasks.errors import TaskError

MAX_BYTES = 4 * 2**30
"""A file that unpacks to more is refused before it fills the memory."""
_OPENERS: Mapping[str, Callable[[Path, str], Any]] = {".gz": gzip.open, ".xz": lzma.open}


def read_bytes(path: str) -> bytes:
    """The content of a file; ``.gz`` and ``.xz`` are decompressed.

    Raises:
        TaskError: The file is missing, unreadable, empty or damaged.
    """
    file = Path(path)
    try:
        with _OPENERS.get(file.suffix, open)(file, "rb") as opened:
            content: bytes = opened.read(MAX_BYTES + 1) if file.stat().st_size else b""
    except FileNotFoundError:
        raise TaskError(f"{path}: there is no such file (looked in {Path.cwd()}).") from None
    except IsADirectoryError:
        raise TaskError(f"{path}: this is a folder; name one file in it.") from None
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise TaskError(f"{path}: cannot be read: {reason}.") from None
    if not content:
        raise TaskError(f"{path}: the file is empty.")
    if len(content) > MAX_BYTES:
        raise TaskError(f"{path}: holds more than {MAX_BYTES:,} bytes. Give a smaller file.")
    return content


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
