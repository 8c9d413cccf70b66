"""Tables of the user, CSV or Parquet, through pyarrow: columns as numbers, times or texts."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from workers.parquet_reading import MOST_COLUMNS
from workers.tasks.errors import TaskError, did_you_mean
from workers.tasks.files import decode, format_of, read_bytes
from workers.tasks.parquet_format import read_parquet

TABLE_FORMATS = (".csv", ".tsv", ".parquet", ".pq")
LONGEST_LINE = 2**20
"""Characters of a CSV's first line; pyarrow reads no longer ones either."""
_SEPARATORS = (";", "\t", "|", ",", " ")


@dataclass(frozen=True, slots=True)
class Table:
    """Named columns of equal length. Rows are counted from 1, a header not among them.

    Attributes:
        path: For messages.
        columns: pyarrow arrays by name, in the file's order; in CSV all are texts.
        rows: How many rows there are.
        content: The bytes of the file, decompressed.
    """

    path: str
    columns: dict[str, Any]
    rows: int
    content: bytes

    def column(self, name: str) -> Any:
        """The column called ``name``.

        Raises:
            TaskError: There is none.
        """
        if name not in self.columns:
            raise TaskError(
                f"{self.path}: there is no column {name!r}.{did_you_mean(name, self.columns)}"
            )
        return self.columns[name]

    def numbers(self, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Values ``(rows,)`` and which cells are empty; an empty cell's value is NaN.

        Raises:
            TaskError: A cell is not a finite number; the message names row and column.
        """
        column = self.column(name)
        try:
            cast = pc.cast(column, pa.float64(), safe=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise self._not_a_number(name) from None
        values: npt.NDArray[np.float64] = np.array(cast.to_numpy(zero_copy_only=False), np.float64)
        empty: npt.NDArray[np.bool_] = np.array(
            column.is_null().to_numpy(zero_copy_only=False), np.bool_
        )
        wrong = np.flatnonzero(~np.isfinite(values) & ~empty)
        if len(wrong):
            raise TaskError(
                f"{self.path}: row {wrong[0] + 1}, column {name!r}: {values[wrong[0]]} is not a "
                "finite number. Remove the row, fill the gap, or leave the column out."
            )
        return values, empty

    def times(self, name: str) -> npt.NDArray[np.datetime64] | None:
        """The column as times (``datetime64[us]``, UTC), or None if it holds anything else.

        Texts count as times if all are ISO 8601: ``2016-07-01 13:00:00``, ``2016-07-01``,
        ``2016-07``.
        """
        column = self.column(name)
        if pa.types.is_string(column.type) and not column.null_count:
            for suffix, zone in product(("", "-01"), (None, "UTC")):
                # The first text tells nearly always; to try them all takes seconds per million.
                if _parsed(column[:1], suffix, zone) is not None:
                    times = _parsed(column, suffix, zone)
                    if times is not None:
                        return _naive(times)
            return None
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            return (
                None
                if column.null_count
                else _naive(pc.cast(column, pa.timestamp("us"), safe=False))
            )
        return None

    def texts(self, name: str) -> list[str]:
        """The column as texts, spaces round them removed.

        Raises:
            TaskError: A cell is empty.
        """
        texts: list[str] = []
        known: dict[str, str] = {}  # equal texts are one object
        for row, value in enumerate(self._values(name), start=1):
            if value is None:
                raise TaskError(f"{self.path}: row {row}, column {name!r} is empty.")
            text = str(value).strip()
            texts.append(known.setdefault(text, text))
        return texts

    def _values(self, name: str) -> list[Any]:
        column = self.column(name)
        try:
            values: list[Any] = column.to_pylist()
        except (pa.ArrowException, ValueError, OverflowError, LookupError) as error:
            # Python has no times of nanoseconds, none before the year 1, and not every time zone.
            raise TaskError(
                f"{self.path}: column {name!r} holds {column.type}, and a value cannot be read: "
                f"{error}. Make it numbers or texts, or leave the column out."
            ) from None
        return values

    def _not_a_number(self, name: str) -> TaskError:
        for row, value in enumerate(self._values(name), start=1):
            try:
                float(value if value is not None else 0)
            except (TypeError, ValueError):
                shown = repr(value) if len(repr(value)) <= 40 else repr(value)[:40] + "…"
                return TaskError(
                    f"{self.path}: row {row}, column {name!r}: {shown} is not a number. "
                    f"Correct it, or leave the column out.{_separator_hint(self.columns)}"
                )
        return TaskError(f"{self.path}: column {name!r} holds no numbers.")


def read_table(path: str, *, delimiter: str | None, header: bool, skip_lines: int) -> Table:
    """Reads ``.csv``, ``.tsv`` or ``.parquet`` (``.pq``), also as ``.gz`` or ``.xz``.

    Args:
        path: The file.
        delimiter: Of CSV; None: a tab in ``.tsv``, else a comma.
        header: Whether the first line of a CSV names the columns; without, they are called
            ``1``, ``2``, …, as are columns whose name is empty.
        skip_lines: Lines at the start of a CSV that are not part of the table.

    Raises:
        TaskError: The file cannot be read as a table.
    """
    content = read_bytes(path)
    try:
        if format_of(path) in (".parquet", ".pq"):
            table = read_parquet(content, path)
            names = [str(name) for name in table.column_names]
            _refuse_wide(len(names), path)
        else:
            separator = delimiter or ("\t" if format_of(path) == ".tsv" else ",")
            text = decode(content, path).split("\n", skip_lines)[-1]
            names = _names(text, path, separator, header)
            table = _read_csv(text, names, separator, header)
        for name, times in Counter(names).items():
            if times > 1:
                raise TaskError(f"{path}: two columns are called {name!r}. Rename one.")
        if not table.num_rows:
            raise TaskError(f"{path}: the table has no rows.")
        columns = {
            name: _tidy(column.combine_chunks())
            for name, column in zip(names, table.columns, strict=True)
        }
    except TaskError:
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError, csv.Error) as error:
        raise TaskError(f"{path}: cannot be read as a table: {error}") from None
    return Table(path, columns, table.num_rows, content)


def _names(text: str, path: str, separator: str, header: bool) -> list[str]:
    if len(separator) != 1:
        raise TaskError(f"option delimiter must be a single character, not {separator!r}.")
    if text.find("\n", 0, LONGEST_LINE) < 0 and len(text) > LONGEST_LINE:
        raise TaskError(
            f"{path}: its first line has more than {LONGEST_LINE:,} characters. Is it a table?"
        )
    first = next(csv.reader(io.StringIO(text), delimiter=separator), [])
    if not first:
        raise TaskError(f"{path}: the table is empty.")
    _refuse_wide(len(first), path)
    if not header:
        return [str(number) for number in range(1, len(first) + 1)]
    if all(_is_number(cell) for cell in first):
        raise TaskError(
            f"{path}: the first line holds numbers, not names ({', '.join(first[:3])}, …). "
            "Give header = false."
        )
    return [cell.strip() or str(number) for number, cell in enumerate(first, start=1)]


def _refuse_wide(columns: int, path: str) -> None:
    if columns > MOST_COLUMNS:
        raise TaskError(f"{path}: has {columns:,} columns, and at most {MOST_COLUMNS:,} are read.")


def _read_csv(text: str, names: list[str], separator: str, header: bool) -> Any:
    return pa.csv.read_csv(
        pa.BufferReader(text.encode()),
        pa.csv.ReadOptions(use_threads=False, column_names=names, skip_rows=int(header)),
        pa.csv.ParseOptions(delimiter=separator),
        # all as texts: a guess from the first rows would fail in the middle of the file
        pa.csv.ConvertOptions(
            column_types={name: pa.string() for name in names},
            null_values=[""],
            strings_can_be_null=True,
        ),
    )


def _tidy(column: Any) -> Any:
    """Texts without the spaces round them, none left empty."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_large_string(column.type):
        column = pc.cast(column, pa.string())
    if not pa.types.is_string(column.type):
        return column
    trimmed = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)


def _parsed(texts: Any, suffix: str, zone: str | None) -> Any:
    """The texts, with something behind each, as times; None if one is none."""
    try:
        whole = pc.binary_join_element_wise(texts, suffix, "")
        return pc.cast(whole, pa.timestamp("us", zone))
    except pa.ArrowInvalid:
        return None


def _naive(times: Any) -> npt.NDArray[np.datetime64]:
    return np.array(times.to_numpy(zero_copy_only=False), "datetime64[us]")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _separator_hint(names: Iterable[str]) -> str:
    only = list(names)
    if len(only) == 1:
        for separator in _SEPARATORS:
            if separator in only[0]:
                return (
                    f" The table has a single column, {only[0]!r}: is the separator "
                    f"{separator!r}? Then give the option delimiter."
                )
    return ""
