"""A Ray that is a few lists, under the real `RayPool`: time is simulated, and no process runs.

What comes of each worker and of each request is the test's to say; so hours take milliseconds and
every order of events can be had.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from misbehaving import good
from ray.exceptions import ActorDiedError

from workers.actor import Started
from workers.autoscaler import Outlook
from workers.limits import Limits
from workers.messages import Progress, Request, Result
from workers.pool import RayPool
from workers.resources import Plan
from workers.waiting import WaitingRoom


@dataclass(eq=False)
class Answer:
    """What is there from a time on; an exception is raised when it is read."""

    at: float
    value: Any


@dataclass(eq=False)
class Stream:
    """What a worker yields for a request."""

    items: list[Answer]

    @property
    def at(self) -> float:
        return self.items[0].at if self.items else -math.inf

    def __next__(self) -> Answer:
        if not self.items:
            raise StopIteration
        return self.items.pop(0)


@dataclass(eq=False)
class Method:
    call: Callable[..., Any]

    def remote(self, *given: Any) -> Any:
        return self.call(*given)

    def options(self, **more: Any) -> Method:
        return self


@dataclass(eq=False)
class Actor:
    """A worker.

    Attributes:
        number: Counted from 0.
        options: What it asks Ray for.
        state: As in Ray's table of actors.
        node: The machine it was given to; its process runs there once ``pid`` is not 0.
        killed: Whether the pool has killed it.
    """

    ray: SimulatedRay
    number: int
    options: dict[str, Any]
    state: str = "ALIVE"
    node: str = ""
    pid: int = 1
    killed: bool = False

    def __post_init__(self) -> None:
        self.start = Method(lambda *given: self.ray.on_start(self))
        self.evaluations = Method(self._evaluate)
        self._actor_id = SimpleNamespace(hex=lambda: f"actor{self.number}")

    def _evaluate(self, request: Request, *others: Request) -> Stream:
        if self.state == "DEAD":
            return Stream([Answer(self.ray.now, ActorDiedError())])
        return self.ray.on_evaluation(self, request, *others)


@dataclass(eq=False)
class SimulatedRay:
    """Stands for the modules ``ray`` and ``time`` in those of the pool.

    Attributes:
        now: The time.
        nodes_there: Living machines, by identifier.
        draining: Those that are about to go.
        actors: All workers that were made.
        queued: How many requests for a place like the pool's wait for one.
        on_start: What a worker answers when it is made; it is ready at once unless a test says so.
        on_evaluation: What it yields for the requests of a cohort, which come as arguments after
            the worker; a result of the first after a second.
        seconds_per_wait: How long one look at all workers takes.
        seconds_per_get: How long it takes to read one piece of news.
        kill_raises: What `ray.kill` raises.
    """

    now: float = 1000.0
    nodes_there: list[str] = field(default_factory=lambda: ["node"])
    draining: list[str] = field(default_factory=list)
    actors: list[Actor] = field(default_factory=list)
    queued: int = 0
    on_start: Callable[[Actor], Answer] = field(init=False)
    on_evaluation: Callable[..., Stream] = field(init=False)
    seconds_per_wait: float = 0.0
    seconds_per_get: float = 0.0
    kill_raises: Exception | None = None

    def __post_init__(self) -> None:
        self.on_start = self.ready
        self.on_evaluation = lambda actor, request, *others: self.result(request, 1.0)
        self._private = SimpleNamespace(state=SimpleNamespace(state=self))
        self.JobID = SimpleNamespace(from_hex=lambda text: text)

    # What tests use.

    def ready(self, actor: Actor, seconds: float = 0.0, node: str = "node") -> Answer:
        actor.node = node
        return Answer(self.now + seconds, Started(f"worker-{actor.number}@{node}", node=node))

    def refusing(self, actor: Actor, why: str, seconds: float = 0.0, node: str = "node") -> Answer:
        actor.node = node
        started = Started(f"worker-{actor.number}@{node}", why, node)
        return Answer(self.now + seconds, started)

    def waits(self, actor: Actor) -> Answer:
        """For room, or for its process to be started: Ray says the same of both."""
        actor.state, actor.pid = "PENDING_CREATION", 0
        return Answer(math.inf, None)

    def result(self, request: Request, seconds: float, *progress: tuple[float, Progress]) -> Stream:
        """A result after so many seconds, and progress before, each after so many."""
        items = [Answer(self.now + after, item) for after, item in progress]
        return Stream([*items, Answer(self.now + seconds, good(request))])

    # What the pool uses of ``time`` and ``ray``.

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def remote(self, kind: type) -> SimulatedRay:
        return self

    def options(self, **options: Any) -> Method:
        return Method(lambda number: self._made(number, options))

    def _made(self, number: int, options: dict[str, Any]) -> Actor:
        self.actors.append(Actor(self, number, options))
        return self.actors[-1]

    def put(self, value: Any) -> Any:
        return value

    def is_initialized(self) -> bool:
        return True

    def kill(self, actor: Actor) -> None:
        if self.kill_raises is not None:
            raise self.kill_raises
        actor.killed, actor.state = True, "DEAD"

    def wait(
        self, awaited: list[Any], num_returns: int, timeout: float
    ) -> tuple[list[Any], list[Any]]:
        self.now += self.seconds_per_wait
        if timeout > 0:
            first = max(min(each.at for each in awaited), self.now)
            self.now = min(first, self.now + timeout)
        ready = [each for each in awaited if each.at <= self.now]
        return ready[:num_returns], []

    def get(self, answer: Answer) -> Any:
        self.now += self.seconds_per_get
        if isinstance(answer.value, Exception):
            raise answer.value
        return answer.value

    # What it uses of Ray's tables.

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {
                "NodeID": node,
                "NodeName": f"host of {node}",
                "Alive": True,
                "Resources": {"CPU": 4.0},
                "Labels": {"ray.io/node-id": node},
                "DeathReason": 0,
            }
            for node in self.nodes_there
        ]

    def get_draining_nodes(self) -> dict[str, int]:
        return dict.fromkeys(self.draining, 0)

    def actor_table(self, actor: str | None, *filters: Any) -> dict[str, Any]:
        table = {
            f"actor{each.number}": {
                "State": each.state,
                "Pid": each.pid,
                "Address": {"NodeID": each.node},
            }
            for each in self.actors
        }
        if actor is not None:
            return table.get(actor, {})
        _, state = filters
        return {name: entry for name, entry in table.items() if entry["State"] == state}

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_job_id=lambda: "job")


@contextmanager
def simulated(
    ray: SimulatedRay,
    said: list[str] | None = None,
    limits: Limits | None = None,
    workers: int = 1,
    cohort: int = 1,
) -> Iterator[RayPool]:
    """A pool on a simulated Ray: of this machine or, with somewhere to ``say`` it, a cluster."""
    plan = Plan(workers, 1.0, 0.0)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("pool", "watch", "waiting"):
            patch.setattr(f"workers.{module}.time", ray)
            patch.setattr(f"workers.{module}.ray", ray)
        patch.setattr("workers.stored.ray", ray)
        room = None if said is None else WaitingRoom(plan, {}, False, said.append)
        patch.setattr(
            "workers.waiting.outlook",
            lambda *asked: Outlook(ray.queued, (64.0, 0.0), Counter(), Counter()),
        )
        task: Any = None
        yield RayPool(plan, task, limits or Limits(), "a:b", {}, True, room, cohort)


def settled_after(pool: RayPool, ray: SimulatedRay, seconds: float) -> list[Result]:
    """What settles within so many seconds; polls as the search does."""
    end, results = ray.now + seconds, list[Result]()
    while ray.now < end and pool.running():
        results += pool.poll(min(0.5, end - ray.now))
    return results
