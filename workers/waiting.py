"""Workers of a cluster that wait for room: they have all the time they need, and say why."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from workers.autoscaler import Outlook, outlook
from workers.labels import matches, shown
from workers.resources import Machine, Plan
from workers.slot import Slot
from workers.watch import machines

PATIENCE_SECONDS = 30.0
"""A worker that has waited for so long is told of."""
AGAIN_SECONDS = 600.0
"""How long nothing more is said after that; then it is said again while no worker is ready."""


class WaitingRoom:
    """Looks after workers for which there is no room yet.

    Attributes:
        labels: What the labels of their machines have to be.
        say: Takes what the user should know.
    """

    def __init__(
        self,
        asked: Plan,
        labels: Mapping[str, str],
        grows: bool,
        say: Callable[[str], None],
    ) -> None:
        self.labels, self.say = labels, say
        self._asked, self._grows = asked, grows
        self._said = -AGAIN_SECONDS

    def look(self, slots: Sequence[Slot], workers: int) -> None:
        """Set the clocks of those that wait for room back, and say so if they wait for long.

        The time a worker may take to start counts from when it has a place. Of one without a
        process Ray does not tell whether it has, and the process is about to be started; but when
        no request like its own waits for a place, it has one.
        """
        starting = [slot for slot in slots if slot.starting is not None]
        if not starting:
            return
        unplaced = _unplaced()
        waiting = [slot for slot in starting if slot.actor._actor_id.hex() in unplaced]
        if not waiting:
            return
        view = outlook(self._asked, self.labels)
        if not view.queued:
            return
        now = time.monotonic()
        for slot in waiting:
            slot.since = now
        ready = len(slots) - len(starting)
        long = [slot for slot in waiting if now - slot.asked > PATIENCE_SECONDS]
        worth_telling = not ready or not all(slot.told for slot in long)
        if long and worth_telling and now - self._said >= AGAIN_SECONDS:
            self._said = now
            self.say(
                why_waiting(
                    len(waiting), ready, workers, now - min(s.asked for s in long),
                    self._asked, self.labels, machines(), view, self._grows,
                )
            )  # fmt: skip
        for slot in long:
            slot.told = True


def why_waiting(
    waiting: int,
    ready: int,
    workers: int,
    seconds: float,
    asked: Plan,
    labels: Mapping[str, str],
    there: Sequence[Machine],
    view: Outlook,
    grows: bool,
) -> str:
    """What to say of workers that have waited for long: what they want, what there is, what comes.

    Args:
        waiting: How many wait.
        ready: How many workers do not.
        workers: How many there are to be.
        seconds: How long the first has waited.
        asked: What each asks for.
        labels: What the labels of their machines have to be.
        there: The machines.
        view: What Ray and the autoscaler say.
        grows: Whether there is an autoscaler.
    """
    wants = f"{asked.cpus:g} CPU" + (f" and {asked.gpus:g} GPU" if asked.gpus else "")
    on = f" on a machine with {shown(labels)}" if labels else ""
    fitting = [machine for machine in there if matches(machine.labels, labels)]
    parts = [
        f"{waiting} of {workers} workers have waited {seconds:.0f} s for room. Each wants "
        f"{wants}{on}.",
        f"The cluster has {_machines(len(there))}"
        + (f", {len(fitting)} with these labels," if labels else "")
        + f" with {_sum(fitting, 'CPU'):g} CPUs and {_sum(fitting, 'GPU'):g} GPUs; "
        f"{view.free[0]:g} CPUs and {view.free[1]:g} GPUs of the whole cluster are free.",
    ]
    if view.starting:
        parts.append(f"Machines are being started: {_counted(view.starting)}.")
    elif grows:
        parts.append("Its autoscaler is starting none at the moment: it may be at its limits.")
    else:
        parts.append("No autoscaler would start machines: add some, or end what else runs there.")
    if view.failed:
        parts.append(f"Starts that failed lately: {_counted(view.failed)}.")
    parts.append(
        f"The search goes on with {ready} worker{'s' * (ready != 1)}."
        if ready
        else "The search waits; Ctrl-C ends it, and it can be resumed."
    )
    return " ".join(parts)


def _unplaced() -> frozenset[str]:
    """Actors of this job that have no process yet, by their identifiers."""
    state: Any = ray._private.state.state
    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    pending = state.actor_table(None, job, "PENDING_CREATION")
    return frozenset(actor for actor, entry in pending.items() if not entry["Pid"])


def _machines(count: int) -> str:
    return f"{count} machine{'s' * (count != 1)}"


def _sum(there: Sequence[Machine], resource: str) -> float:
    return sum(machine.resources.get(resource, 0) for machine in there)


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count} of kind {kind}" for kind, count in kinds.items())
