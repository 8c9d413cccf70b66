"""Which workers of a cluster have nothing to do for so long that they are better ended. No Ray.

A machine can be given back when no worker is left on it. So work goes to machines that are busy
anyway, and workers are ended machine by machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from workers.slot import Slot


def least_busy_last(idle: Sequence[Slot], slots: Sequence[Slot]) -> list[Slot]:
    """Idle workers, those on machines where much runs first."""
    running = Counter(slot.node for slot in slots if slot.jobs)
    return sorted(idle, key=lambda slot: -running[slot.node])


def surplus(slots: Sequence[Slot], todo: int, now: float, idle_seconds: float) -> list[Slot]:
    """Workers to end; notes at each since when there is nothing for it to do.

    Args:
        slots: All workers.
        todo: Jobs that wait for one.
        now: The time (``time.monotonic``).
        idle_seconds: For how long there must have been nothing to do.
    """
    spare = least_busy_last([slot for slot in slots if not slot.jobs], slots)
    # The first to be kept are those that are ready, the first to go those that wait for room.
    spare.sort(key=lambda slot: slot.starting is not None)
    needed, rest = spare[:todo], spare[todo:]
    for slot in slots:
        if slot.jobs or slot in needed:
            slot.surplus = None
    for slot in rest:
        slot.surplus = now if slot.surplus is None else slot.surplus
    return [slot for slot in rest if slot.surplus is not None and now - slot.surplus > idle_seconds]
