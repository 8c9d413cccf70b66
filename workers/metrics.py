"""What a search tells Ray's metrics: they stand at the Prometheus endpoint of the manager's node.

Setting one costs microseconds: Ray's core keeps the number, and sends it to the agent of its node
every ten seconds. Where there is no agent (Ray installed without its ``default`` extra), nobody
collects it, and nothing else changes.
"""

from __future__ import annotations

import sys
from typing import Any

EVALUATIONS = "evo_nas_evaluations"
GAUGES = {
    "workers": "Workers the pool was asked to have.",
    "busy_workers": "Evaluations given to workers and not settled.",
    "waiting_candidates": "Candidates asked for and not given out yet.",
    "evaluations_per_hour": "Pace of this session.",
    "best_metric": "Best metric of a whole training so far, in the task's own direction.",
}
"""Each is called ``evo_nas_`` and its name."""


class Metrics:
    """The metrics of one run; make it while this process is connected to Ray.

    Args:
        run: Every metric is tagged with it.
    """

    def __init__(self, run: str) -> None:
        from ray.util import metrics

        self._evaluations: Any = metrics.Counter(
            EVALUATIONS, "Evaluations told in this session, by status.", ("run", "status")
        )
        self._gauges: dict[str, Any] = {
            name: metrics.Gauge(f"evo_nas_{name}", about, ("run",))
            for name, about in GAUGES.items()
        }
        for each in (self._evaluations, *self._gauges.values()):
            each.set_default_tags({"run": run})

    def evaluations(self, status: str, count: int) -> None:
        """Count evaluations that ended so."""
        self._evaluations.inc(count, {"status": status})

    def gauges(self, **values: float | None) -> None:
        """Set some of `GAUGES`; None leaves one as it is."""
        for name, value in values.items():
            if value is not None:
                self._gauges[name].set(value)


def metrics_of(run: str) -> Metrics | None:
    """The metrics of a run; None in a process that is not connected to Ray."""
    ray: Any = sys.modules.get("ray")
    return Metrics(run) if ray is not None and ray.is_initialized() else None
