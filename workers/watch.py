"""What becomes of the machines of a cluster, asked of Ray every few seconds and at a death."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.core.generated import common_pb2
from ray.exceptions import RayActorError

from workers.losses import Blame, Loss
from workers.resources import Machine

LOOK_SECONDS = 3.0
"""How often the machines are looked at: an answer takes about a millisecond."""
JUDGE_SECONDS = 75.0
"""How long after a death its machine may still be found to be gone. Ray asks a machine every three
seconds whether it lives, waits up to ten for an answer and gives it up after five without: 65
seconds, where it is cut off or stopped rather than ended; and a machine that is shut down ends its
workers first."""

_DRAINED = {
    common_pb2.NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED,
    common_pb2.NodeDeathInfo.AUTOSCALER_DRAIN_IDLE,
}


class Watch:
    """Knows which machines are gone, and which are about to go.

    Attributes:
        cluster: Whether there is anything to watch; on this machine alone, all blame is a worker's
            own and nothing is asked.
        draining: Machines that are to get nothing new, by Ray's identifiers.
    """

    def __init__(self, cluster: bool) -> None:
        self.cluster = cluster
        self.draining: frozenset[str] = frozenset()
        self._drained: set[str] = set()
        self._dead: set[str] = set()
        self._names: dict[str, str] = {}
        self._looked = 0.0

    def due(self) -> bool:
        """Whether it is time to look."""
        return self.cluster and time.monotonic() - self._looked >= LOOK_SECONDS

    def look(self) -> None:
        """Ask Ray which machines are draining or dead."""
        if not self.cluster:
            return
        self._looked = time.monotonic()
        self.draining = frozenset(ray._private.state.state.get_draining_nodes())
        self._drained |= self.draining
        for node in nodes():
            self._names[node["NodeID"]] = node["NodeName"]
            if not node["Alive"]:
                self._dead.add(node["NodeID"])
                if node["DeathReason"] in _DRAINED:
                    self._drained.add(node["NodeID"])

    def leaves(self, node: str) -> bool:
        """Whether a machine is about to go, or gone."""
        return node in self.draining or node in self._dead

    def name_of(self, node: str) -> str:
        """What people call a machine; its identifier if it was never seen."""
        return self._names.get(node, node)

    def blame(self, loss: Loss) -> Blame:
        """Whose fault a loss was, as far as the last look tells."""
        if not self.cluster:
            return "own"
        if loss.node in self._drained:
            return "drained"
        if loss.node in self._dead:
            return "machine"
        return "own" if time.monotonic() - loss.at > JUDGE_SECONDS else "open"


def machine_of(actor: Any) -> str:
    """The machine on which an actor's process was started, by Ray's identifier; empty if none was.

    Before that Ray's table names the machine that was asked first, which may have no room.
    """
    found = ray._private.state.state.actor_table(actor._actor_id.hex())
    return str(found["Address"]["NodeID"]) if found and found["Pid"] else ""


def is_dead(actor: Any) -> bool:
    """Whether Ray knows that an actor has died."""
    found = ray._private.state.state.actor_table(actor._actor_id.hex())
    return bool(found) and found["State"] == "DEAD"


def is_preempted(error: BaseException) -> bool:
    """Whether Ray says that an actor died because its machine was taken back."""
    return isinstance(error, RayActorError) and error.preempted


def machines() -> list[Machine]:
    """The living machines of the runtime, those left out that are draining."""
    draining = ray._private.state.state.get_draining_nodes()
    return [
        Machine(node["NodeID"], dict(node["Resources"]), dict(node["Labels"]))
        for node in nodes()
        if node["Alive"] and node["NodeID"] not in draining
    ]


def nodes() -> list[dict[str, Any]]:
    """Ray's table of machines, the dead ones included."""
    list_nodes: Any = ray.nodes
    found: list[dict[str, Any]] = list_nodes()
    return found
