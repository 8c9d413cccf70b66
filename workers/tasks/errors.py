"""The one error of tasks, and the spelling help its messages share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TaskError(ValueError):
    """A task cannot be made from this data and these options; the message says where and why."""


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """`` Did you mean 'length'?`` if something known is close, else the list of what is known."""
    names = list(known)
    close = difflib.get_close_matches(wrong, names, n=1)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Known: {', '.join(names)}." if names else ""
