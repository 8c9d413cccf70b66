"""A search on Ray shows itself where Ray shows its own metrics; without Ray it shows nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evo_nas.config import with_overrides
from evo_nas.config_tables import SearchConfig
from evo_nas.search import start
from evo_nas.watching.view import View, name_of
from tests.test_record import header
from tests.tiny import environment, tiny_text
from workers import runtime
from workers.metrics import metrics_of

SECONDS = 90.0
"""How long the numbers may take to come to the endpoint."""

WITHOUT_RAY = """
import sys
from workers.metrics import metrics_of
assert metrics_of("a run") is None
assert "ray" not in sys.modules
import ray
assert metrics_of("a run") is None  # imported, but not connected
"""


@pytest.fixture(scope="module")
def ray_here() -> Iterator[Any]:
    """A Ray of this process that sends its metrics twice a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_metrics_report_interval_ms", "500")
        runtime.start("local", workers=1)
        try:
            import ray

            yield ray
        finally:
            runtime.stop()


def page(ray: Any) -> str:
    """What Prometheus would be given by the only node there is."""
    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def value(text: str, name: str, **tags: str) -> float | None:
    """The number of a metric with these tags; None if there is none."""
    for line in text.splitlines():
        match = re.fullmatch(rf"{name}\{{(.*)\}} (\S+)", line)
        if match and all(f'{key}="{tag}"' in match[1] for key, tag in tags.items()):
            return float(match[2])
    return None


def eventually(ray: Any, name: str, wanted: float, **tags: str) -> str:
    """The page as soon as a metric has a value."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            text = page(ray)
        except OSError as error:  # what serves it comes up after Ray
            text = f"evo_nas is not shown: {error}"
        if value(text, name, **tags) == wanted:
            return text
        ours = [line for line in text.splitlines() if "evo_nas" in line]
        assert time.monotonic() < deadline, (name, tags, wanted, ours)
        time.sleep(0.2)


@pytest.mark.slow
def test_a_search_on_ray_stands_at_its_metrics_endpoint(tmp_path: Path, ray_here: Any) -> None:
    config = with_overrides(
        SearchConfig(),
        data=str(tiny_text(tmp_path)),
        run=str(tmp_path / "a run"),
        hidden_size=8,
        steps=4,
        batch_size=4,
        population=4,
        evaluations=6,
        workers=1,
        seeds=0,
    )
    outcome = start(config)
    births = outcome.births
    ok = int(births.has_status("ok").sum())
    assert births.evaluated == 6 and ok > 0
    log = (outcome.directory / "logs" / "001.jsonl").read_text().splitlines()
    results = [entry for entry in map(json.loads, log) if entry["event"] == "result"]
    assert len(results) == 6
    assert all(entry["worker"].startswith("worker-0@") for entry in results)
    about = {"run": name_of("/a run", outcome.header)}
    text = eventually(ray_here, "ray_evo_nas_evaluations_total", ok, status="ok", **about)
    failed = [
        value(text, "ray_evo_nas_evaluations_total", status=status, **about) or 0.0
        for status in ("diverged", "out_of_memory", "timed_out", "worker_lost", "error")
    ]
    assert sum(failed) == 6 - ok
    best = float(births.metric[births.has_status("ok")].min())
    text = eventually(ray_here, "ray_evo_nas_busy_workers", 0, **about)
    assert value(text, "ray_evo_nas_best_metric", **about) == pytest.approx(best, rel=1e-6)
    assert value(text, "ray_evo_nas_workers", **about) == 1
    assert value(text, "ray_evo_nas_waiting_candidates", **about) == 0
    assert value(text, "ray_evo_nas_evaluations_per_hour", **about) == 0  # it has ended


def test_while_it_runs_the_gauges_show_workers_queue_and_pace(ray_here: Any) -> None:
    from evo_nas.watching.ray_metrics import RayMetrics

    metrics = metrics_of("running")
    assert metrics is not None
    watcher = RayMetrics(metrics)
    watcher.tick(View({}, None, 0.0, 3, 0, 0))
    watcher._shown -= 10  # as if ten seconds had gone by
    watcher.tick(View({"ok": 5}, 1.5, 720.0, 3, 2, 4))
    text = eventually(ray_here, "ray_evo_nas_busy_workers", 2, run="running")
    assert value(text, "ray_evo_nas_workers", run="running") == 3
    assert value(text, "ray_evo_nas_waiting_candidates", run="running") == 4
    assert value(text, "ray_evo_nas_evaluations_per_hour", run="running") == 720
    assert value(text, "ray_evo_nas_best_metric", run="running") == 1.5


def test_a_metric_that_is_not_known_yet_is_not_shown(ray_here: Any) -> None:
    metrics = metrics_of("young")
    assert metrics is not None
    metrics.gauges(best_metric=None, busy_workers=7)
    text = eventually(ray_here, "ray_evo_nas_busy_workers", 7, run="young")
    assert value(text, "ray_evo_nas_best_metric", run="young") is None


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("/data/runs/book", "book"),
        ("/data/runs/book/", "book"),
        ("/data/runs/book/random", "random"),
        ("s3://bucket/runs/book", "book"),
        ("/", "run"),
    ],
)
def test_a_run_is_called_like_its_directory_and_by_digits_of_its_header(
    directory: str, name: str
) -> None:
    called, digits = name_of(directory, header()).rsplit("-", 1)
    assert called == name and re.fullmatch("[0-9a-f]{8}", digits)


def test_runs_of_one_name_are_told_apart_wherever_they_lie() -> None:
    first, second = header(), replace(header(), created="2026-01-01T00:00:01+00:00")
    assert name_of("/a/run", first) != name_of("/b/run", second)
    assert name_of("/a/run", first) == name_of("/moved/run", first)


def test_a_process_without_ray_has_no_metrics_and_does_not_import_it_for_them() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_RAY], check=True, env=environment(), timeout=60)
