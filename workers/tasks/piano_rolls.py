"""Polyphonic pieces in JSON: which of a piano's 88 keys sound at each step.

``{"train": [piece, ...], "valid": [...], "test": [...]}``; a piece is a list of steps, a step the
list of the keys that sound, whole numbers from 0 (A0, MIDI 21) to 87 (C8, MIDI 108).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.tasks.errors import TaskError, did_you_mean
from workers.tasks.files import decode, format_of
from workers.tasks.splits import Indices

KEYS = 88
LOWEST_MIDI = 21
MOST_MEMORY = 2 * 2**30
"""Bytes that the parsed JSON may take: an empty list is 2 characters and 56 bytes."""
PARTS = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class Pieces:
    """One part of the data, the pieces behind each other.

    Attributes:
        rolls: ``(sum of lengths, 88)`` uint8, 1 where a key sounds.
        lengths: ``(N,)`` int64, in steps, each at least 2.
    """

    rolls: npt.NDArray[np.uint8]
    lengths: Indices


def parse_pieces(content: bytes, path: str) -> tuple[Pieces, Pieces, Pieces]:
    """Training, validation and test pieces.

    Raises:
        TaskError: With part, piece and step, counted from 1, of what is wrong.
    """
    if format_of(path) != ".json":
        raise TaskError(
            f"{path}: the suffix {format_of(path)!r} tells no known format. Known: .json, also "
            "with .gz or .xz."
        )
    document = _document(decode(content, path), path)
    training, validation, test = (_pieces(document[name], f"{path}: {name}") for name in PARTS)
    return training, validation, test


def _document(text: str, path: str) -> dict[str, Any]:
    size = _parsed_size(text)
    if size > MOST_MEMORY:
        raise TaskError(
            f"{path}: as lists it would take about {size:,} bytes of memory, and {MOST_MEMORY:,} "
            "are given. Give fewer pieces."
        )
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{path}: cannot be read as JSON: {error}.") from None
    wanted = "an object with the lists train, valid and test"
    if not isinstance(document, dict):
        raise TaskError(f"{path}: holds {_kind(document)}, not {wanted}.")
    for name in document:
        if name not in PARTS:
            raise TaskError(f"{path}: has a part {name[:40]!r}.{did_you_mean(name, PARTS)}")
    for name in PARTS:
        if name not in document:
            raise TaskError(f"{path}: has no part {name!r}; it must hold {wanted}.")
    return document


def _pieces(part: Any, where: str) -> Pieces:
    if not isinstance(part, list):
        raise TaskError(f"{where} is {_kind(part)}, not a list of pieces.")
    if not part:
        raise TaskError(f"{where} has no pieces. Each part needs at least one.")
    rows: list[int] = []
    columns: list[int] = []
    lengths: list[int] = []
    total = 0
    for number, piece in enumerate(part, start=1):
        if not isinstance(piece, list):
            raise TaskError(f"{where}, piece {number} is {_kind(piece)}, not a list of steps.")
        if len(piece) < 2:
            raise TaskError(
                f"{where}, piece {number} has {len(piece)} steps: with fewer than 2 there is no "
                "next step to predict. Leave it out."
            )
        for step, keys in enumerate(piece, start=1):
            _check_step(keys, f"{where}, piece {number}, step {step}")
            rows += [total] * len(keys)
            columns += keys
            total += 1
        lengths.append(len(piece))
    rolls = np.zeros((total, KEYS), dtype=np.uint8)
    rolls[rows, columns] = 1
    return Pieces(rolls, np.array(lengths, dtype=np.int64))


def _check_step(keys: Any, where: str) -> None:
    if not isinstance(keys, list):
        raise TaskError(f"{where} is {_kind(keys)}, not a list of keys.")
    for key in keys:
        if type(key) is not int:
            raise TaskError(f"{where}: {_kind(key)} is no key, which is a whole number.")
        if not 0 <= key < KEYS:
            raise TaskError(
                f"{where}: key {str(key)[:20]} is not in 0..{KEYS - 1}. From numbers as in MIDI "
                f"subtract {LOWEST_MIDI}."
            )
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise TaskError(f"{where}: key {twice} stands there twice.")


def _kind(value: Any) -> str:
    """What a JSON value is, shortly: ``the number 1.5``."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    return f"the value {json.dumps(value)[:40]}"


def _parsed_size(text: str) -> int:
    """Bytes that a JSON document takes as Python's objects, or somewhat more."""
    values = text.count(",") + text.count("[") + text.count("{") + text.count('"') // 2
    return len(text) + 40 * values + 64 * (text.count("[") + text.count("{"))
