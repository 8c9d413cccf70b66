"""When candidates are asked for and in which order their results count.

`Arrival` is the fastest: ask whenever a worker is free, tell whatever comes first. The history
then depends on which worker was faster, and the record says in which order things happened.

`FixedLag` makes the history a function of the seed alone. Candidate b is asked for when exactly
the results of births 0 to b - L are told, and results are told in the order of births. So it does
not matter how many workers there are (up to L) or how long each takes. The price is that a worker
may wait for an older candidate's result: with more workers, or a wider spread of seconds, wants a
larger lag L, and with it each candidate knows of L results less.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Protocol

from evo_nas.config_tables import SearchConfig
from workers.messages import Result

NOT_THE_CANDIDATES = ("timed_out", "worker_lost", "out_of_memory")
"""Failures that another machine, or the same one tomorrow, might not have had."""


class Unrepeatable(RuntimeError):
    """A deterministic search cannot go on here; the message says why and what to do."""


class Order(Protocol):
    """Decides when to ask and which result counts next.

    Attributes:
        eager: Whether candidates are asked for as soon as they may be, a worker free or not.
    """

    eager: bool

    def may_ask(self, births: int, told: int) -> bool:
        """Whether a candidate may be asked for, after so many births and results told."""
        ...

    def arrived(self, result: Result) -> bool:
        """Take a result in; False if its request has to be run again."""
        ...

    def next(self, told: int) -> Result | None:
        """The result that counts after so many, once; None if it has not arrived."""
        ...


@dataclass
class Arrival:
    """Whatever comes first counts first."""

    eager: bool = False
    _waiting: deque[Result] = field(default_factory=deque)

    def may_ask(self, births: int, told: int) -> bool:
        """Always."""
        return True

    def arrived(self, result: Result) -> bool:
        """Every result counts."""
        self._waiting.append(result)
        return True

    def next(self, told: int) -> Result | None:
        """The one that came first."""
        return self._waiting.popleft() if self._waiting else None


@dataclass
class FixedLag:
    """Births are told in order, and each is asked for at a fixed distance.

    Attributes:
        lag: L: how many births may be asked for and not told.
        engine: What has to train every candidate, with its variant (``native/avx512``).
        attempts: How often a candidate is tried whose failure may be the machine's.
    """

    lag: int
    engine: str
    attempts: int
    eager: bool = True
    _early: dict[int, Result] = field(default_factory=dict)
    _tried: Counter[int] = field(default_factory=Counter)

    def may_ask(self, births: int, told: int) -> bool:
        """Whether the results that the next candidate may know are told, and no more."""
        return births < told + self.lag

    def arrived(self, result: Result) -> bool:
        """Keep a result until its turn comes.

        Raises:
            Unrepeatable: If another engine trained it, or it failed ``attempts`` times for reasons
                that are not its own.
        """
        failure = result.failure
        if failure is not None and failure.kind in NOT_THE_CANDIDATES:
            self._tried[result.birth] += 1
            if self._tried[result.birth] < self.attempts:
                return False
            times = "once" if self.attempts == 1 else f"{self.attempts} times"
            raise Unrepeatable(
                f"birth {result.birth} ended {times} as {failure.kind}, the last time: "
                f"{failure.message}\nA deterministic run never records that as a candidate's "
                "result, for elsewhere it may be another. Everything before it is recorded: "
                "resume with more time (--evaluation-seconds, --stall-seconds), fewer workers or "
                "more memory."
            )
        engine = result.engine.split(" ")[0]
        if engine not in ("", self.engine):
            raise Unrepeatable(
                f"birth {result.birth} was trained by {engine} on {result.worker}, but this "
                f"deterministic run by {self.engine}: their last bits differ. Use workers whose "
                "engine is the same (evo-nas doctor shows it), and resume."
            )
        self._early[result.birth] = result
        return True

    def next(self, told: int) -> Result | None:
        """The result of the oldest birth that is not told: told in order, it has that number."""
        return self._early.pop(told, None)


def order_of(config: SearchConfig, engine: str) -> Order:
    """The order a configuration asks for; ``engine`` is what the run began with."""
    if not config.evolution.deterministic:
        return Arrival()
    return FixedLag(config.evolution.lag, engine, config.workers.attempts)
