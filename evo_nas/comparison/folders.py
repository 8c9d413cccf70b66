"""Where comparisons and their tunings lie in a run directory, and which one is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evo_nas.record import HEADER, RunPath, read_header
from evo_nas.record.layout import numbered
from evo_nas.record.storage import make_directory
from workers.messages import Part

COMPARISONS = "comparisons"
TUNINGS = "tuning"
RANDOM = "random"
"""The run directory of a run's own random search."""


def folders_of(directory: RunPath, kind: str = COMPARISONS) -> list[RunPath]:
    """The folders of a run's comparisons in order; one killed before it began does not count."""
    found = numbered((directory / kind).glob("*"))
    return [path for _, path in found if (path / HEADER).exists()]


def next_folder(directory: RunPath, kind: str = COMPARISONS) -> RunPath:
    """A folder for one more: ``comparisons/001``, ``002``, ..."""
    root = directory / kind
    make_directory(root)
    taken = [number for number, _ in numbered(root.iterdir())]
    return root / f"{max(taken, default=0) + 1:03}"


def matching(
    directory: RunPath, wanted: Mapping[str, Any], kind: str = COMPARISONS
) -> list[RunPath]:
    """The folders whose headers say that they are what is wanted, the newest first."""
    return [
        folder
        for folder in reversed(folders_of(directory, kind))
        if all(
            key in (config := read_header(folder).config) and config[key] == value
            for key, value in wanted.items()
        )
    ]


def times_opened(directory: RunPath, part: Part) -> int:
    """How many comparisons of a run looked at a part of the data."""
    return sum(read_header(f).config.get("part") == part for f in folders_of(directory))
