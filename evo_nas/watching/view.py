"""How a search stands at one moment, as those see it who watch from inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from evo_nas.events import SCORED, Told


@dataclass(frozen=True, slots=True)
class View:
    """A search at one moment.

    Attributes:
        statuses: Evaluations told by status, over all sessions of the run.
        best: The best metric of a whole training so far; None before the first.
        evaluations_per_hour: Of this session.
        workers: How many the pool was asked to have.
        busy: Evaluations given to them and not settled.
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


def name_of(directory: str) -> str:
    """What a run is called beside others: the name of its directory.

    Args:
        directory: Absolute.
    """
    return directory.rstrip("/").rpartition("/")[2] or "run"
