"""Options of a task: from plain values (TOML, flags) to a checked, frozen dataclass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from workers.tasks.errors import TaskError, did_you_mean

T = TypeVar("T")

MOST = 2**53
"""The largest whole number; more would not be exact as a float, and count nothing."""

_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    type(None): "nothing",
}


class _Unfit(Exception):
    """The value does not fit the type; never leaves this module."""


def read_options(kind: str, options_type: type[T], given: Mapping[str, object]) -> T:
    """Makes ``options_type`` from what the user gave.

    Lists become tuples, and a text for a list is cut at its commas (``"HUFL,OT"``).

    Raises:
        TaskError: An option is unknown, has the wrong type, or ``options_type`` refuses it.
    """
    hints = get_type_hints(options_type)
    known = [field.name for field in fields(options_type)]  # type: ignore[arg-type]
    checked: dict[str, object] = {}
    for name, value in given.items():
        if name not in known:
            raise TaskError(f"task {kind!r} has no option {name!r}.{did_you_mean(name, known)}")
        try:
            checked[name] = _fit(hints[name], value)
        except _Unfit:
            raise TaskError(
                f"task {kind!r}: option {name} must be {_wanted(hints[name])}, not {value!r}."
            ) from None
    return options_type(**checked)


def require(condition: bool, kind: str, name: str, wanted: str, value: object) -> None:
    """Raises :class:`TaskError` in the words of :func:`read_options` unless ``condition``."""
    if not condition:
        raise TaskError(f"task {kind!r}: option {name} must be {wanted}, not {value!r}.")


def _fit(hint: Any, value: object) -> object:
    origin = get_origin(hint)
    if origin is Literal:
        if value in get_args(hint):
            return value
        raise _Unfit
    if origin in (Union, UnionType):
        for member in get_args(hint):
            try:
                return _fit(member, value)
            except _Unfit:
                continue
        raise _Unfit
    if origin is tuple:
        return _fit_tuple(get_args(hint), value)
    if isinstance(value, int) and abs(value) > MOST:
        raise _Unfit
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return value  # kept whole: a split given as whole numbers counts rows
    if isinstance(value, float) and not math.isfinite(value):
        raise _Unfit
    if type(value) is hint:
        return value
    raise _Unfit


def _fit_tuple(members: tuple[Any, ...], value: object) -> tuple[object, ...]:
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",")]
        value = [_number(part) for part in parts] if float in members else parts
    if not isinstance(value, list | tuple) or not value:
        raise _Unfit
    if members[-1] is Ellipsis:
        return tuple(_fit(members[0], item) for item in value)
    if len(value) != len(members):
        raise _Unfit
    return tuple(_fit(member, item) for member, item in zip(members, value, strict=True))


def _number(text: str) -> int | float:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    raise _Unfit


def _wanted(hint: Any) -> str:
    origin, members = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(repr(member) for member in members)
    if origin in (Union, UnionType):
        return " or ".join(_wanted(member) for member in members)
    if origin is tuple:
        if members[-1] is Ellipsis:
            return f"a list, each item {_wanted(members[0])}"
        return f"a list of {len(members)}, each item {_wanted(members[0])}"
    return _WORDS[hint]
