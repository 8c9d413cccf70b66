"""What a running search tells: one line that updates on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from evo_nas.events import SCORED, Told
from evo_nas.loop import Budget, Clock
from evo_nas.past import Totals
from evo_nas.strategies import Strategy
from evo_nas.terminal import put_line

PLAIN_SECONDS = 10.0
"""At most one plain line in so many seconds."""


@dataclass
class ProgressLine:
    """Prints progress to stderr.

    Attributes:
        strategy: Read for counts of candidates and duplicates.
        unit: Unit of the metric.
        higher_is_better: Direction of the metric.
        totals: Sums over everything told so far.
        on_warning: Is given what the user is warned of.
    """

    strategy: Strategy
    budget: Budget
    clock: Clock
    unit: str
    higher_is_better: bool
    totals: Totals = field(default_factory=Totals)
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    on_warning: Callable[[str], None] = lambda message: None
    told_here: int = 0
    _printed: float = 0.0
    _warned: bool = False

    def told(self, events: Sequence[Told]) -> None:
        """Take results into account."""
        for event in events:
            self.totals.add(event)
            self.told_here += 1
            if event.status not in SCORED and self.totals.statuses[event.status] == 1:
                last = event.message.strip().splitlines()[-1:] or [""]
                line = f"first failure {event.status!r} (birth {event.birth}): {last[0]}"
                put_line(self.stream, line)
        self._warn_if_all_failed()
        self.show()

    def show(self, now: bool = False) -> None:
        """Print the line, on a terminal in place and elsewhere at most every ten seconds."""
        if self.stream.isatty():
            put_line(self.stream, self.text(), end="")
        elif now or time.monotonic() - self._printed > PLAIN_SECONDS:
            self._printed = time.monotonic()
            put_line(self.stream, self.text())

    def end(self) -> None:
        """Leave the last state on a line of its own."""
        self.show(now=True)
        if self.stream.isatty():
            self.stream.write("\n")

    def text(self) -> str:
        """The line itself."""
        done = self.totals.told
        best = self.best()
        limit = f"/{self.budget.evaluations}" if self.budget.evaluations is not None else ""
        hour = self.per_hour()
        parts = [f"{done}{limit} evaluations"]
        parts.append("best -" if best is None else f"best {best:.4f} {self.unit}".rstrip())
        parts.append(f"{hour:,.0f}/hour")
        failures = {k: n for k, n in sorted(self.totals.statuses.items()) if k not in SCORED}
        if stopped := self.totals.statuses["stopped"]:
            parts.append(f"stopped {stopped}")
        parts.append("failed " + (", ".join(f"{k} {n}" for k, n in failures.items()) or "0"))
        parts.append(f"duplicates avoided {self.strategy.history.duplicates}")
        parts.append(f"ETA {self._eta(done, hour)}")
        return " | ".join(parts)

    def best(self) -> float | None:
        """The best metric of a whole training so far; None before the first."""
        return self.totals.highest if self.higher_is_better else self.totals.lowest

    def per_hour(self) -> float:
        """Evaluations an hour, in this session."""
        here = self.clock.elapsed() - self.clock.before
        return 3600 * self.told_here / here if here > 0 else 0.0

    def _eta(self, done: int, per_hour: float) -> str:
        left: list[float] = []
        if self.budget.evaluations is not None and per_hour > 0:
            left.append(3600 * max(0, self.budget.evaluations - done) / per_hour)
        if self.budget.seconds is not None:
            left.append(max(0.0, self.budget.seconds - self.clock.elapsed()))
        if not left:
            return "-"
        minutes, seconds = divmod(int(min(left)), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"

    def _warn_if_all_failed(self) -> None:
        done, statuses = self.totals.told, self.totals.statuses
        size = getattr(self.strategy, "size", 10)
        if not self._warned and done >= size and not any(statuses[k] for k in SCORED):
            self._warned = True
            kinds = ", ".join(f"{k} {n}" for k, n in sorted(statuses.items()))
            message = (
                f"all {done} candidates so far have failed ({kinds}); drawing on. "
                "Check the task and the learning rate; 'evo-nas status' shows the messages."
            )
            put_line(self.stream, f"warning: {message}")
            self.on_warning(message)
