"""The one error of tasks, and the spelling help its messages share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

from genomes.readable import OneLine

LISTED = 60
"""Names that a message lists at most, and characters of a wrong one that are compared."""


class TaskError(OneLine, ValueError):
    """A task cannot be made from this data and these options; the message says where and why."""


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """`` Did you mean 'length'?`` if something known is close, else the list of what is known."""
    names = list(islice(known, LISTED + 1))
    close = difflib.get_close_matches(wrong[:LISTED], names, n=1)
    if close:
        return f" Did you mean {close[0]!r}?"
    more = ", …" if len(names) > LISTED else ""
    return f" Known: {', '.join(names[:LISTED])}{more}." if names else ""
