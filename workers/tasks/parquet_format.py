"""Parquet tables of the user, whose few kilobytes may stand for gigabytes."""

from __future__ import annotations

import pyarrow as pa

from workers.parquet_reading import NotRead, decoded, read_within
from workers.tasks.errors import TaskError
from workers.tasks.files import most_from


def read_parquet(content: bytes, path: str) -> pa.Table:
    """The table, texts decoded.

    Raises:
        TaskError: A column holds lists, records or what else is not read, or the table would take
            more memory than `workers.tasks.files.most_from` allows.
        pyarrow.ArrowException, OSError, ValueError: It is no Parquet file, or damaged.
    """
    try:
        return decoded(read_within(content, most_from(path)))
    except NotRead as error:
        raise TaskError(f"{path}: {error}") from None
