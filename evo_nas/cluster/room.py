"""Do any machines of a cluster hold what ``[workers]`` asks for?

They are judged as the job will judge them (`workers.cluster_plan`): refused is what no machine
could ever hold. Workers that find no place only wait.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evo_nas.config_tables import WorkersConfig
from workers.cluster_plan import plan_on_cluster
from workers.labels import could_match, with_accelerator
from workers.limits import PoolError
from workers.resources import NodeType, Wanted, room_on


@dataclass(frozen=True, slots=True)
class Machines:
    """Machines of one kind.

    Attributes:
        name: Of the kind.
        least: How many are always there.
        most: How many there may be.
        resources: What each has, by Ray's names (``CPU``, ``GPU``); None if the file does not say.
        labels: Likewise.
    """

    name: str
    least: int
    most: int
    resources: Mapping[str, Any] | None
    labels: Mapping[str, Any] | None

    def could_hold(self, workers: WorkersConfig) -> bool:
        """Whether one of them may be where workers go, as far as its labels say."""
        kind = self.as_type()
        labels = with_accelerator(kind.labels, kind.resources or {})
        return self.labels is None or could_match(labels, workers.labels)

    def as_type(self) -> NodeType:
        """As the pool of workers knows it; Ray's validator says what is no whole number."""
        resources = {k: v for k, v in (self.resources or {}).items() if type(v) is int}
        labels = {str(key): str(value) for key, value in (self.labels or {}).items()}
        return NodeType(self.name, resources, labels, self.most)

    def room(self, per_gpu: int | None) -> int:
        """How many workers one of them holds; ``per_gpu`` is None for those without a GPU."""
        return room_on(self.as_type().resources or {}, per_gpu)


def room_problems(kinds: Sequence[Machines], workers: WorkersConfig) -> Iterator[str]:
    """Why a search would be refused, or wait for ever.

    Args:
        kinds: The machines for workers. If nobody knows what some of them have, nothing is refused.
        workers: What the search asks for.
    """
    if workers.workers == 0:
        yield (
            "[workers] workers is 0, which evaluates in the job's own process and uses no machine. "
            "Leave it out, or write how many."
        )
        return
    if not kinds or _unknown(kinds):
        return
    if workers.workers_per_gpu > 1 and not _gpus(kinds):
        yield (
            f"[workers] workers_per_gpu is {workers.workers_per_gpu}, but no machine of the file "
            "has a GPU. Leave it out, or add GPU to the resources."
        )
        return
    fitting = [kind for kind in kinds if kind.could_hold(workers)]
    per_gpu = workers.workers_per_gpu if _gpus(fitting) else None
    always = any(kind.least > 0 and kind.room(per_gpu) > 0 for kind in fitting)
    wanted = 1 if workers.workers is None and always else workers.workers
    labels = {} if any(kind.labels is None for kind in kinds) else workers.labels
    types = [kind.as_type() for kind in kinds]
    try:
        plan_on_cluster(Wanted(wanted, workers.workers_per_gpu, labels=labels), [], types)
    except PoolError as error:
        yield f"[workers] asks for what no machines of the file hold: {error}"


def room_hints(
    kinds: Sequence[Machines], limit: int | None, workers: WorkersConfig
) -> Iterator[str]:
    """Whether some workers would never get a place, which stops no search.

    Args:
        kinds: The machines for workers.
        limit: How many there may be altogether.
        workers: What the search asks for.
    """
    wanted = workers.workers or 0
    fitting = [kind for kind in kinds if kind.could_hold(workers)]
    if not fitting or _unknown(kinds):
        return
    per_gpu = workers.workers_per_gpu if _gpus(fitting) else None
    # More machines than workers wanted make no difference.
    each = [room for kind in fitting for room in [kind.room(per_gpu)] * min(kind.most, wanted)]
    room = sum(sorted(each, reverse=True)[:limit])
    if room < wanted:
        yield (
            f"[workers] asks for {wanted} workers, and all machines of the file have room for "
            f"{room}: the others would wait as long as the search lasts."
        )


def _unknown(kinds: Sequence[Machines]) -> bool:
    return any(kind.resources is None and kind.most > 0 for kind in kinds)


def _gpus(kinds: Sequence[Machines]) -> bool:
    return any((kind.as_type().resources or {}).get("GPU") for kind in kinds)
