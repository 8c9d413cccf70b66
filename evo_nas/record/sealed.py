"""JSON documents that carry their own SHA-256, so that no flipped bit is read as data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "sha256"
"""The key of the digest: of the document without it, keys sorted, no white space."""


class BrokenSeal(ValueError):
    """A document is not what was written; the message says what does not fit."""


def sealed(document: Mapping[str, Any]) -> bytes:
    """A document as indented JSON with its digest in it.

    Raises:
        ValueError: If it holds a number that JSON has no text for.
    """
    whole = {**document, SEAL: _digest(document)}
    return (json.dumps(whole, indent=2, allow_nan=False) + "\n").encode()


def unsealed(content: bytes) -> dict[str, Any]:
    """A document that `sealed` wrote, without its digest.

    Raises:
        BrokenSeal: If it is no JSON object, or its digest is missing or wrong.
    """
    document = json_object(content)
    if SEAL not in document:
        raise BrokenSeal(f"its {SEAL!r} is missing")
    seal = document.pop(SEAL)
    if seal != _digest(document):
        raise BrokenSeal(f"its content does not give its {SEAL!r}")
    return document


def json_object(content: bytes) -> dict[str, Any]:
    """A JSON object, sealed or not.

    Raises:
        BrokenSeal: If the content is none.
    """
    try:
        document = json.loads(content)
    except ValueError as error:
        raise BrokenSeal(f"it is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise BrokenSeal("it is no JSON object")
    return document


def _digest(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
