"""Brings a strategy to where a record ends, event by event: the yardstick for the quicker way."""

from __future__ import annotations

from collections.abc import Iterable

from evo_nas.events import Asked, Event
from evo_nas.strategies import Strategy


def replayed(strategy: Strategy, events: Iterable[Event]) -> Strategy:
    """The strategy, told everything that was recorded."""
    for event in events:
        if isinstance(event, Asked):
            strategy.note(event)
        else:
            strategy.tell(event)
    return strategy
