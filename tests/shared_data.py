"""Where the real data sets lie that some tests use; the project ships none of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_data(name: str) -> Path:
    """The folder of a data set, or skip the calling test with the reason.

    Looked for under ``$EVO_NAS_DATA``, else in ``../shared/data`` beside the checkout.
    """
    root = os.environ.get("EVO_NAS_DATA")
    base = Path(root) if root else Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = base / name
    if not folder.is_dir():
        pytest.skip(f"data set {name!r} not found in {base}; set EVO_NAS_DATA to where it is")
    return folder
