"""Workers that were lost, and whose fault that was. No Ray.

A worker dies for three reasons: what it runs kills it, something else on its machine does, or the
machine itself goes. Only the first two may be a candidate's doing in the eyes of `Limits.attempts`,
and which it was is often known only once Ray has missed the machine for a while. Until then a
loss is open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from workers.messages import FailureKind

Fate = Literal["died", "stalled", "broke down"]
Blame = Literal["own", "machine", "drained", "open"]
"""``own``: its machine went on; ``machine``: that was lost too; ``drained``: that was to be taken
away, as Ray knew; ``open``: nobody knows yet."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A worker was lost.

    Attributes:
        kind: What its job fails with if it loses all its workers alike.
        fate: What became of the worker.
        worker: The name of the worker.
        why: The cause, as far as it is known.
        node: The machine it was on, by Ray's identifier; empty if that is not known.
        at: When (``time.monotonic``).
        seconds: How long it was at the job.
    """

    kind: FailureKind
    fate: Fate
    worker: str
    why: str
    node: str = ""
    at: float = 0.0
    seconds: float = 0.0


@dataclass(eq=False)
class Losses:
    """All losses of one job, or of starting workers, by blame.

    Attributes:
        own: Those that count.
        open: Those that may come to count.
        machines: Those of lost machines.
    """

    own: list[Loss] = field(default_factory=list)
    open: list[Loss] = field(default_factory=list)
    machines: list[Loss] = field(default_factory=list)

    def add(self, loss: Loss, blame: Blame) -> None:
        """Note a loss; what a drained machine took with it is forgotten."""
        if blame == "own":
            self.own.append(loss)
        elif blame == "open":
            self.open.append(loss)
        elif blame == "machine":
            self.machines.append(loss)

    def judge(self, blame_of: Callable[[Loss], Blame]) -> None:
        """Look anew at those that are open."""
        waiting, self.open = self.open, []
        for loss in waiting:
            self.add(loss, blame_of(loss))

    def may_be(self, limit: int) -> bool:
        """Whether as many as the limit count, or may come to."""
        return len(self.own) + len(self.open) >= limit

    def said(self) -> tuple[FailureKind, str]:
        """The failure that those that count are, and what to say of them.

        Workers lost in different ways have no cause in common but that they were lost.
        """
        kinds = {loss.kind for loss in self.own}
        kind = kinds.pop() if len(kinds) == 1 else "worker_lost"
        fates = Counter(loss.fate for loss in self.own)
        counted = [f"{n} worker{'s' * (n > 1)} {fate}" for fate, n in fates.items()]
        last = self.own[-1]
        return kind, f"{' and '.join(counted)} over it; the last, {last.worker}: {last.why}"

    def said_of_machines(self) -> str:
        """What to say of machines that were lost."""
        count, last = len(self.machines), self.machines[-1]
        return (
            f"{count} machine{'s' * (count > 1)} went down under it; the last, with "
            f"{last.worker}: {last.why}"
        )
