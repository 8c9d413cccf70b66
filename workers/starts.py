"""Workers that did not start, and machines on which none does. No Ray.

A machine without the project, or with a broken device, answers sooner than a good one, and has room
again at once: left alone it would take all workers that are made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from workers.losses import Loss, Losses

START_ATTEMPTS = 3
"""After so many workers in a row that do not start, a machine, or the pool, is given up."""


@dataclass(eq=False)
class Starts:
    """Starts that came to nothing since a worker was last ready on the same machine.

    Attributes:
        losses: What became of them.
        shunned: Machines that get no more workers, by Ray's identifiers.
        vain: How many of those were found since a worker was last ready anywhere.
    """

    losses: Losses = field(default_factory=Losses)
    shunned: set[str] = field(default_factory=set)
    vain: int = 0

    def ready(self, node: str) -> None:
        """A worker is ready on a machine: what was before, there or nobody knows where, is over."""
        self.vain = 0
        for some in (self.losses.own, self.losses.open, self.losses.machines):
            some[:] = [loss for loss in some if loss.node not in (node, "")]

    def shun(self) -> list[Loss]:
        """Give machines up on which too many did not start: the last loss on each of them."""
        own = [loss for loss in self.losses.own if loss.node and loss.node not in self.shunned]
        counted = Counter(loss.node for loss in own)
        found = {loss.node: loss for loss in own if counted[loss.node] >= START_ATTEMPTS}
        self.shunned.update(found)
        self.vain += len(found)
        return list(found.values())

    def are_vain(self, fitting: Collection[str]) -> bool:
        """Whether there is no reason to go on where no worker is ready.

        Args:
            fitting: The living machines that could hold a worker, by Ray's identifiers.
        """
        nowhere = sum(not loss.node for loss in self.losses.own)
        nothing_left = bool(self.vain and fitting) and self.shunned.issuperset(fitting)
        return nothing_left or max(self.vain, nowhere) >= START_ATTEMPTS
