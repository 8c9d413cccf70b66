"""Reads a user's files: plain, ``.gz`` or ``.xz``, with one clear error for what cannot be read."""

from __future__ import annotations

import gzip
import lzma
import zlib
from pathlib import Path

from workers.tasks.base import TaskError

MAX_BYTES = 4 * 2**30
"""A file that unpacks to more is refused before it fills the memory."""


def read_bytes(path: str | Path) -> bytes:
    """The unpacked content of a file.

    Raises:
        TaskError: If it is missing, no file, empty, damaged or too large.
    """
    where = Path(path)
    try:
        with _opened(where) as file:
            content: bytes = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise TaskError(f"{path}: there is no such file. Check the path given as data.") from None
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise TaskError(f"{path}: cannot be read: {error}.") from None
    if not content:
        raise TaskError(f"{path}: the file is empty.")
    if len(content) > MAX_BYTES:
        raise TaskError(f"{path}: holds more than {MAX_BYTES:,} bytes. Give a smaller file.")
    return content


def _opened(path: Path):  # type: ignore[no-untyped-def]  # three classes, all with read()
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    if path.suffix == ".xz":
        return lzma.open(path, "rb")
    return path.open("rb")


def read_text(path: str | Path) -> str:
    """The content of a UTF-8 file.

    Raises:
        TaskError: As ``read_bytes``, and with the position of a byte that is no UTF-8.
    """
    content = read_bytes(path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TaskError(
            f"{path}: byte {error.start:,} (0x{content[error.start]:02x}) is not UTF-8. "
            "Convert the file to UTF-8; a binary file is no text."
        ) from None
