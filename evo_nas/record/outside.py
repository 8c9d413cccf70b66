"""A run directory may come from a stranger: files that are none, rows that are no events."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evo_nas.errors import RecordError
from evo_nas.record.bucket import RemotePath
from evo_nas.record.json_text import parsed
from evo_nas.record.paths import RunPath

MOST_BYTES = 2 * 2**30
"""Of one file of a run; a rolled file of 100,000 evaluations has some dozen megabytes."""
MOST_OF_DOCUMENT = 16 * 2**20
"""Of a file of JSON, which takes 25 times its size when it is read; a header has some kilobytes."""
LARGEST = 1e300
"""Of a number; trainings with less have diverged (`workers.messages.LARGEST`)."""
_COUNTS = (
    "birth",
    "generation",
    "budget",
    "hidden_size",
    "recurrent_parameters",
    "duplicates",
    "parameters",
    "steps",
)
"""Columns that are never negative."""
_ASKED = ("generation", "operator", "mutation", "genome", "digest", "seed", "hidden_size")
_ALSO_ASKED = ("recurrent_parameters", "duplicates")
_TOLD = ("status", "message", "parameters", "seconds", "worker", "engine", "finished")
_FINITE = ("metric", "fitness", "seconds", "finished", "elapsed", "learning_rate")
_PAIRS = (
    ("curve_steps", "curve_losses"),
    ("hurdle_steps", "hurdle_fitness"),
    ("rung_steps", "rung_metrics"),
)


def read_document(path: RunPath) -> bytes:
    """The bytes of a file of JSON of a run.

    Raises:
        As `read_whole`.
    """
    return read_whole(path, MOST_OF_DOCUMENT)


def read_whole(path: RunPath, most: int = MOST_BYTES) -> bytes:
    """The bytes of a file of a run.

    Args:
        path: Of the file.
        most: Bytes that one of ours may have.

    Raises:
        FileNotFoundError: If there is none.
        RecordError: If it is a link, a pipe or a device, or larger than any of ours: links lead out
            of the run, and others never end.
    """
    if isinstance(path, RemotePath):
        return path.read_bytes(lambda size: _refuse_large(path, size, most))
    with open(path, "rb", opener=_no_link) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise RecordError(f"{path} is no ordinary file. Restore it from a copy.")
        _refuse_large(path, status.st_size, most)
        return file.read()


def _refuse_large(path: RunPath, size: int, most: int) -> None:
    if size > most:
        raise RecordError(
            f"{path} has {size:,} bytes, which no such file of a run has. Restore it from a copy."
        )


def _no_link(name: str, flags: int) -> int:
    if os.path.islink(name):
        if not os.path.exists(name):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        raise RecordError(f"{name} is a link, which no file of a run is. Copy the file itself.")
    return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def refuse_links(root: RunPath) -> None:
    """Refuse to write into a run with links in it: they lead out of it.

    Raises:
        RecordError: Naming the first.
    """
    if isinstance(root, RemotePath):
        return  # there are none in a bucket
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            if path.is_symlink():
                raise RecordError(
                    f"{path} is a link, and nothing is written through one. Put what it leads to "
                    "in its place, or take it away."
                )


def what_is_wrong(table: pa.Table) -> str | None:
    """Why the rows are not events that this program wrote; None if they may be.

    Looks at whole columns, those that are there: readers promise an answer at once.
    """
    if "event" not in table.column_names or not table.num_rows:
        return None
    is_asked = pc.equal(table["event"], "asked")
    is_told = pc.equal(table["event"], "told")
    if not pc.all(pc.or_(is_asked, is_told)).as_py():
        return "a row is neither asked nor told"
    for names, rows in (((*_ASKED, *_ALSO_ASKED), is_asked), (_TOLD, is_told)):
        for name in names:
            column = table[name] if name in table.column_names else None
            if column is not None and pc.any(pc.and_(rows, pc.is_null(column))).as_py():
                return f"a row lacks its {name}"
    for name in _COUNTS:
        if name in table.column_names and (pc.min(table[name]).as_py() or 0) < 0:
            return f"its {name} is negative"
    for name in _FINITE:
        if name in table.column_names:
            values = table[name].drop_null().to_numpy()
            if not (np.abs(values) <= LARGEST).all():  # which no nan is
                return f"its {name} is no finite number, or so large that no sum of it is one"
    for first, second in _PAIRS:
        if {first, second} <= {*table.column_names}:
            lengths = [pc.fill_null(pc.list_value_length(table[n]), -1) for n in (first, second)]
            if not pc.all(pc.equal(*lengths)).as_py():
                return f"its {first} and {second} differ in number"
    return None


def mutation_from(text: str) -> dict[str, Any]:
    """What a mutation did, read from the record.

    Raises:
        ValueError: If it is no JSON object with the name of an operator.
    """
    mutation = parsed(text)
    if not isinstance(mutation, dict) or not isinstance(mutation.get("operator"), str):
        raise ValueError("a mutation names no operator")
    return mutation
