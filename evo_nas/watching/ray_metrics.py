"""The watcher that shows a search where Ray shows its own metrics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from evo_nas.events import Told
from evo_nas.watching.view import View

if TYPE_CHECKING:
    from workers.metrics import Metrics

GAUGE_SECONDS = 1.0
"""Gauges are set so often at most: Ray sends them every ten seconds."""


class RayMetrics:
    """Counts results and sets gauges, whenever something changed.

    Args:
        metrics: Of this run.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._shown = -GAUGE_SECONDS

    def told(self, events: Sequence[Told], view: View) -> None:
        """Count results by status; the gauges come with the tick."""
        for status, count in Counter(event.status for event in events).items():
            self._metrics.evaluations(status, count)

    def tick(self, view: View) -> None:
        """Set the gauges."""
        if time.monotonic() - self._shown >= GAUGE_SECONDS:
            self._set(view)

    def end(self, view: View) -> None:
        """Nothing runs any more."""
        self._set(replace(view, busy=0, waiting=0, evaluations_per_hour=0.0))

    def _set(self, view: View) -> None:
        self._shown = time.monotonic()
        self._metrics.gauges(
            workers=view.workers,
            busy_workers=view.busy,
            waiting_candidates=view.waiting,
            evaluations_per_hour=view.evaluations_per_hour,
            best_metric=view.best,
        )
