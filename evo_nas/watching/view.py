"""How a search stands at one moment, as those see it who watch from inside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from evo_nas.events import SCORED, Told
from evo_nas.record import Header


@dataclass(frozen=True, slots=True)
class View:
    """A search at one moment.

    Attributes:
        statuses: Evaluations told by status, over all sessions of the run.
        best: The best metric of a whole training so far; None before the first.
        evaluations_per_hour: Of this session.
        workers: How many the pool was asked to have.
        busy: How many of them have something to do, or will when they have started.
        waiting: Candidates asked for and not given out.
    """

    statuses: Mapping[str, int]
    best: float | None
    evaluations_per_hour: float
    workers: int
    busy: int
    waiting: int

    @property
    def told(self) -> int:
        """Evaluations told."""
        return sum(self.statuses.values())

    @property
    def failed(self) -> int:
        """Evaluations told without a fitness."""
        return sum(count for status, count in self.statuses.items() if status not in SCORED)


class Watcher(Protocol):
    """Is told what happens in a search, after it is recorded."""

    def told(self, events: Sequence[Told], view: View) -> None:
        """Results are in; ``view`` counts them."""
        ...

    def tick(self, view: View) -> None:
        """A poll is over, with results or without; about twice a second at least."""
        ...

    def end(self, view: View) -> None:
        """The search is over; nothing comes after it."""
        ...


def name_of(directory: str, header: Header) -> str:
    """What a run is called beside others: the name of its directory, and eight digits of the
    SHA-256 of its header, for other runs may lie in a directory of that name.

    Args:
        directory: Absolute.
        header: Which holds when the run was begun.
    """
    name = directory.rstrip("/").rpartition("/")[2] or "run"
    text = json.dumps(asdict(header), sort_keys=True)
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
