"""JSON documents that carry their own SHA-256, so that no flipped bit is read as data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from evo_nas.record.json_text import parsed

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
    document, had_seal = opened(content)
    if not had_seal:
        raise BrokenSeal(f"its {SEAL!r} is missing")
    return document


def opened(content: bytes) -> tuple[dict[str, Any], bool]:
    """A document without its digest, and whether it had one; format 1 had none.

    Raises:
        BrokenSeal: If it is no JSON object, or its digest is wrong.
    """
    try:
        document = parsed(content.decode())
    except ValueError as error:
        raise BrokenSeal(f"it is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise BrokenSeal("it is no JSON object")
    seal = document.pop(SEAL, None)
    if seal is not None and seal != _digest(document):
        raise BrokenSeal(f"its content does not give its {SEAL!r}")
    return document, seal is not None


def _digest(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
