"""Labelled sequences from a file of any known format."""

from __future__ import annotations

from workers.tasks.errors import TaskError
from workers.tasks.files import format_of, read_bytes
from workers.tasks.npz_format import parse_npz
from workers.tasks.sequences import Sequences
from workers.tasks.table_rows import Layout, parse_rows
from workers.tasks.tables import TABLE_FORMATS, read_table
from workers.tasks.ts_format import parse_ts


def read_sequences(path: str, layout: Layout) -> Sequences:
    """Reads ``.npz``, ``.ts``, CSV or Parquet, told by the suffix; ``.gz`` and ``.xz`` too.

    Raises:
        TaskError: The file is none of these, or something in it is wrong.
    """
    found = format_of(path)
    if found in TABLE_FORMATS:
        table = read_table(
            path,
            delimiter=layout.delimiter,
            header=layout.header,
            skip_lines=layout.skip_lines,
        )
        sequences = parse_rows(table, layout)
    elif found == ".npz":
        sequences = parse_npz(read_bytes(path), path)
    elif found == ".ts":
        sequences = parse_ts(read_bytes(path), path)
    else:
        raise TaskError(
            f"{path}: the suffix {found!r} tells no known format. Known: .npz, .ts, "
            f"{', '.join(TABLE_FORMATS)}, each also with .gz or .xz."
        )
    if not len(sequences.lengths):
        raise TaskError(f"{path}: there are no sequences in it.")
    return sequences
