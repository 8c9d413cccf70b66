"""Labelled sequences in the ``.ts`` format of the UCR/UEA archive (timeseriesclassification.com).

Lines with ``#`` are comments, lines with ``@`` the header. After ``@data`` each line is a
sequence: its features separated by ``:``, then the label; each feature lists its steps,
separated by commas. All features of a sequence have the same length, sequences may differ.
"""

from __future__ import annotations

from array import array

import numpy as np

from workers.tasks.errors import TaskError
from workers.tasks.files import decode
from workers.tasks.sequences import Floats, Sequences, refuse_many


def parse_ts(content: bytes, path: str) -> Sequences:
    """Reads a ``.ts`` file with class labels and without time stamps.

    Raises:
        TaskError: With the number of the line that is wrong.
    """
    classes: list[str] | None = None
    known: dict[str, str] = {}
    in_data = False
    values, lengths, labels = array("d"), array("q"), list[str]()
    width = 0
    text = decode(content, path)
    refuse_many(path, content.count(b"\n"), content.count(b",") + content.count(b":"))
    for number, raw in enumerate(text.split("\n"), start=1):
        line, where = raw.strip(), f"{path}: line {number}"
        if not line or line.startswith("#"):
            continue
        if not in_data:
            key, _, rest = line.partition(" ")
            key = key.lower()
            if not key.startswith("@"):
                raise TaskError(f"{where}: expected a header line with @, got {line[:40]!r}.")
            if key == "@timestamps" and rest.strip().lower() == "true":
                raise TaskError(f"{where}: sequences with time stamps are not supported.")
            if key == "@classlabel":
                classes = _classes(rest, where)
                known = {name: name for name in classes}
            if key == "@data":
                in_data = True
                if classes is None:
                    raise TaskError(f"{where}: no @classLabel line before @data: no classes.")
            continue
        *features, label = line.split(":")
        label = label.strip()
        if classes and label not in known:
            raise TaskError(f"{where}: label {label[:40]!r} is not in @classLabel {classes}.")
        steps = _sequence(features, where)
        width = width or steps.shape[1]
        if steps.shape[1] != width:
            raise TaskError(
                f"{where}: {steps.shape[1]} features, but the sequences before have {width}."
            )
        values.frombytes(steps.tobytes())
        lengths.append(len(steps))
        labels.append(known.setdefault(label, label))
    if not in_data:
        raise TaskError(f"{path}: no line @data: this is not a .ts file, or it is cut off.")
    rows = np.array(values, np.float64).reshape(-1, max(1, width))
    return Sequences(path, rows, np.array(lengths, np.int64), labels, content)


def _classes(rest: str, where: str) -> list[str]:
    flag, *classes = rest.split()
    if flag.lower() != "true":
        raise TaskError(f"{where}: @classLabel is {flag}: the file has no classes to learn.")
    return classes


def _sequence(features: list[str], where: str) -> Floats:
    columns: list[list[float]] = []
    for position, feature in enumerate(features, start=1):
        values: list[float] = []
        for step, cell in enumerate(feature.split(","), start=1):
            try:
                value = float(cell)
            except ValueError:
                value = np.nan
            if not np.isfinite(value):
                raise TaskError(
                    f"{where}, feature {position}, step {step}: {cell.strip()[:40]!r} is not a "
                    "finite number."
                )
            values.append(value)
        columns.append(values)
    if not columns:
        raise TaskError(f"{where}: no ':' between values and label.")
    lengths = sorted({len(column) for column in columns})
    if len(lengths) > 1:
        raise TaskError(f"{where}: features of one sequence differ in length: {lengths}.")
    return np.array(columns, dtype=np.float64).T
