"""Checks one value of a configuration against its dataclass field: type, range, choices."""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

MAX_INTEGER = 2**63 - 1
"""Largest integer TOML promises and the record's columns hold."""


MAX_CHARACTERS = 4096
"""Of a text: as long as a path can be."""
MAX_ITEMS = 1000
"""Of a list that a key takes."""


class ConfigError(ValueError):
    """A configuration cannot be used; the message names the file, table, key and the reason."""


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers a key takes; ``above`` and ``below`` are themselves excluded.

    Attributes:
        ceiling: Far above all use: a number beyond it is a slip or meant to do harm, for it would
            fill the memory or never come to an end.
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    ceiling: float | None = None

    def __str__(self) -> str:
        limits = (
            ("at least", self.at_least),
            ("above", self.above),
            ("at most", self.at_most),
            ("below", self.below),
        )
        return " and ".join(f"{word} {limit}" for word, limit in limits if limit is not None)

    def holds(self, value: float) -> bool:
        """Whether the number lies in the range."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )


def checked(label: str, value: object, hint: Any, span: Range | None) -> Any:
    """The value as its field stores it.

    Args:
        label: How messages call it, for example ``search.toml: [training] steps``.
        value: What was given; integers are taken where a float is wanted.
        hint: The resolved annotation of the field.
        span: The numbers allowed, if it is a number.

    Raises:
        ConfigError: If type, range or choice is wrong.
    """
    if get_origin(hint) in (Union, types.UnionType):
        if value is None:
            return None
        hint = next(part for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is Literal:
        return _choice(label, value, get_args(hint))
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        if not isinstance(value, list | tuple):
            what = "numbers" if item in (int, float) else "names"
            raise ConfigError(f"{label} is {short(value)}, but must be a list of {what}.")
        if item is str and not all(isinstance(v, str) for v in value):
            raise ConfigError(f"{label} is {short(value)}, but must be a list of names.")
        if len(value) > MAX_ITEMS:
            raise ConfigError(f"{label} has {len(value):,} items; at most {MAX_ITEMS:,} are read.")
        return tuple(checked(label, v, item, span) for v in value)
    if hint is dict or get_origin(hint) is dict:
        return plain(label, value)
    if hint in (int, float):
        return _number(label, value, hint, span)
    wanted = {str: "text in quotes", bool: "true or false"}[hint]
    if type(value) is not hint:
        raise ConfigError(f"{label} is {short(value)}, but must be {wanted}.")
    return _text(label, value) if isinstance(value, str) else value


def plain(label: str, value: object) -> Any:
    """A copy of a value that JSON carries unchanged.

    Raises:
        ConfigError: If anything inside is neither text, number, truth value, list nor table.
    """
    if isinstance(value, dict):
        if bad := [key for key in value if not isinstance(key, str)]:
            raise ConfigError(f"{label} has the key {short(bad[0])}, but keys must be text.")
        return {
            _text(f"a key of {label}", key): plain(f"{label}.{named(key)}", item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [plain(f"{label}[{i}]", item) for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{label} is {value}, but must be a finite number.")
    if type(value) is int and abs(value) > MAX_INTEGER:
        raise ConfigError(f"{label} is {short(value)}, but must be below 2**63.")
    if isinstance(value, str):
        return _text(label, value)
    if value is None or type(value) in (int, float, bool):
        return value
    raise ConfigError(
        f"{label} is {short(value)} ({type(value).__name__}), but only text, numbers, "
        "true or false, lists and tables can be recorded."
    )


def _text(label: str, value: str) -> str:
    """A text that a path, a record and a terminal can hold."""
    if len(value) > MAX_CHARACTERS:
        raise ConfigError(f"{label} has {len(value):,} characters; {MAX_CHARACTERS:,} are allowed.")
    if "\0" in value or (not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value)):
        raise ConfigError(f"{label} is {short(value)}: zero bytes and half characters are no text.")
    return value


def named(key: str) -> str:
    """A key as a message has it: as it is, or in quotes with what does not print escaped."""
    return key if key.isidentifier() and len(key) <= 60 else short(key)


def suggestion(name: str, known: Iterable[str]) -> str:
    """The sentence after an unknown name: what was probably meant, or all there is."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Known are: {', '.join(names)}."


def short(value: object) -> str:
    """A value for a message, cut to one readable piece."""
    if isinstance(value, int) and value.bit_length() > MAX_CHARACTERS:
        return f"an integer of {value.bit_length():,} bits"  # Python itself refuses to write it out
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _choice(label: str, value: object, choices: tuple[Any, ...]) -> Any:
    if value in choices:
        return value
    near = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1)
    known = ", ".join(repr(choice) for choice in choices)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"{label} is {short(value)}, but must be one of {known}.{meant}")


def _number(label: str, value: object, hint: type, span: Range | None) -> int | float:
    wanted = "an integer" if hint is int else "a number"
    if type(value) is not int and (hint is int or type(value) is not float):
        raise ConfigError(f"{label} is {short(value)}, but must be {wanted}.")
    assert isinstance(value, int | float)
    if abs(value) > MAX_INTEGER if isinstance(value, int) else not math.isfinite(value):
        raise ConfigError(f"{label} is {short(value)}, but must be a finite number below 2**63.")
    if span is not None and not span.holds(value):
        raise ConfigError(f"{label} is {short(value)}, but must be {span}.")
    if span is not None and span.ceiling is not None and value > span.ceiling:
        raise ConfigError(f"{label} is {short(value)}, but more than {span.ceiling:g} is no use.")
    return float(value) if hint is float else int(value)
