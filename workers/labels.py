"""Labels of machines, and which of them workers want. No Ray.

A selector says for a label, in Ray's words, what it has to be: ``L4``, ``!L4`` (anything else, or
missing), ``in(L4,L40S)`` or ``!in(T4,P4)``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

ACCELERATOR = "ray.io/accelerator-type"
"""The label that Ray gives to a machine with GPUs by itself."""
NODE = "ray.io/node-id"
"""The label that Ray gives to each machine: its identifier."""
OWN = "ray.io/"
"""Labels of this prefix may come from Ray itself, once a machine has started."""

_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_SELECTOR = re.compile(rf"(!?)(?:in\(({_WORD}(?:,{_WORD})*)\)|({_WORD}))")
_KEY = re.compile(rf"(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_WORD}")


def check(labels: Mapping[str, str]) -> None:
    """Refuse what is no selector.

    Raises:
        ValueError: If it is no table of texts, or one of them is no label or no selector.
    """
    if not isinstance(labels, Mapping):
        raise ValueError(f"labels is {labels!r}, but must be a table such as {_EXAMPLE}.")
    for key, value in labels.items():
        if not _KEY.fullmatch(key):
            raise ValueError(f"labels has the key {key!r}, which no label can have: {_EXAMPLE}.")
        if not isinstance(value, str) or not _SELECTOR.fullmatch(value):
            raise ValueError(
                f"labels says {value!r} of {key}, but must give a value, another than one (!L4), "
                "one of several (in(L4,L40S)) or none of several (!in(T4,P4))."
            )


def matches(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether a machine with these labels is one that is wanted."""
    return all(_fits(labels.get(key), value) for key, value in wanted.items())


def could_match(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """The same for one that is yet to start: what Ray may add itself is not held against it."""
    return all(
        (key.startswith(OWN) and key not in labels) or _fits(labels.get(key), value)
        for key, value in wanted.items()
    )


def with_accelerator(labels: Mapping[str, str], resources: Iterable[str]) -> dict[str, str]:
    """The labels of a kind of machine, with the accelerator that its resources (names) tell."""
    given = dict(labels)
    for name in resources:
        if name.startswith("accelerator_type:"):
            given.setdefault(ACCELERATOR, name.partition(":")[2])
    return given


def shown(labels: Mapping[str, str]) -> str:
    """For messages: ``ray.io/accelerator-type = L4 and ...``; empty for none."""
    return " and ".join(f"{key} = {value}" for key, value in sorted(labels.items()))


def _fits(value: str | None, selector: str) -> bool:
    match = _SELECTOR.fullmatch(selector)
    assert match is not None, "checked before"
    negated, several, one = match.groups()
    among = value in (several.split(",") if several else [one])
    return among != bool(negated)


_EXAMPLE = f'{{"{ACCELERATOR}" = "L4"}}'
