"""JSON that may be a stranger's: all of its numbers are finite, so that it can be written again."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


def parsed(text: str) -> Any:
    """What a text of JSON stands for.

    Raises:
        ValueError: If it is no JSON, holds a number that no float holds, or is nested too deeply.
    """
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        _refuse(text)
    return value


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text[:20]} is no number of JSON")


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse)
