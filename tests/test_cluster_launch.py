"""The whole way, offline: `ray up`, `evo-nas submit`, the autoscaler from 0 machines to 2 and back.

Ray's launcher, autoscaler and job server are the real ones, and so are token and tunnel; only the
machines are processes of this one (`node_provider`).
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from launched_cluster import MOST, Cluster, launched_cluster
from node_provider import processes_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SEARCH = """
seed = 1
[task]
kind = "text"
data = "tiny.txt"
[training]
hidden_size = 8
batch_size = 4
steps = {steps}
[evolution]
population = 4
[workers]
workers = {workers}
[compare]
seeds = 0
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with launched_cluster() as launched:
        client = launched.folder / "client"
        text = "".join(f"{n} is {n * n} squared. " for n in range(200))[:4000]
        (client / "tiny.txt").write_text(text, encoding="utf-8")
        gold = f'{MOST}\nlabels = {{tier = "gold"}}'
        for name, steps, workers in (("quick", 4, MOST), ("long", 3_000, MOST), ("gold", 4, gold)):
            toml = SEARCH.format(steps=steps, workers=workers)
            (client / f"{name}.toml").write_text(toml, encoding="utf-8")
        yield launched
    assert processes_of(launched.folder) == []


def _submit(
    cluster: Cluster, search: str, run: Path | str, *more: str, **changed: str
) -> subprocess.CompletedProcess[str]:
    port = f"--dashboard-port={cluster.dashboard_port}"
    words = ("evo-nas", "submit", cluster.file, f"{search}.toml", "--run", run, port, *more)
    return cluster.run(*words, **changed)


def _until(what: Callable[[], bool], seconds: float, why: Callable[[], str]) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, why()
        time.sleep(0.5)


def _status(cluster: Cluster, job: str) -> str:
    words = ("job", "status", f"--address={cluster.dashboard}", "--log-color=false", job)
    done = cluster.run("ray", *words)
    match = re.search(
        r"(PENDING|RUNNING|STOPPED|SUCCEEDED|FAILED|succeeded|failed|stopped)", done.stdout
    )
    assert match, done.stdout + done.stderr
    return match[1].upper()


def _output(cluster: Cluster, job: str) -> str:
    words = ("job", "logs", f"--address={cluster.dashboard}", "--log-color=false", job)
    return cluster.run("ray", *words).stdout


def _until_ended(cluster: Cluster, job: str, wanted: str = "SUCCEEDED") -> None:
    ended = ("SUCCEEDED", "FAILED", "STOPPED")
    _until(lambda: _status(cluster, job) in ended, 120, lambda: _output(cluster, job))
    assert _status(cluster, job) == wanted, _output(cluster, job)


def _shown(cluster: Cluster, run: Path) -> dict[str, Any]:
    done = cluster.run("evo-nas", "status", run, "--json")
    assert done.returncode == 0, done.stderr
    status: dict[str, Any] = json.loads(done.stdout)
    return status


def test_the_file_of_these_tests_is_one_that_the_check_finds_sound(cluster: Cluster) -> None:
    done = cluster.run("evo-nas", "cluster", "check", cluster.file, "quick.toml")
    assert done.returncode == 0, done.stdout


def test_ray_up_starts_the_head(cluster: Cluster) -> None:
    assert "New status" in cluster.said and "up-to-date" in cluster.said
    assert processes_of(cluster.folder / "machine-0") != []


def test_a_search_brings_machines_from_none_and_they_go_when_it_has_ended(
    cluster: Cluster,
) -> None:
    run = cluster.folder / "runs" / "first"
    before = len(cluster.machines())  # ever started; one that idles for long is ended, too
    done = _submit(cluster, "quick", run, "--evaluations", "6")
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    assert re.fullmatch(r"evo-nas-first-[0-9a-f]{8}-1", job)
    for said in (f"ray job logs --follow {job}", f"ray job stop {job}", f"evo-nas status {run}"):
        assert said in done.stderr
    _until_ended(cluster, job)
    assert len(cluster.machines()) >= before + MOST
    assert "2 workers are asked for, and there is room for 0 now" in _output(cluster, job)
    assert _shown(cluster, run)["evaluations"] == 6
    _until(lambda: cluster.alive() == [], 60, lambda: str(cluster.machines()))
    assert [name for name in cluster.machines() if processes_of(cluster.folder / name)] == []

    again = _submit(cluster, "quick", run, "--evaluations", "6")
    assert again.returncode == 1
    assert again.stdout == ""
    assert f"the run {run} exists (the job {job} SUCCEEDED). Go on with it by adding --resume" in (
        again.stderr
    )

    before = len(cluster.machines())
    more = _submit(cluster, "quick", run, "--resume", "--evaluations", "9")
    assert more.returncode == 0, more.stderr
    assert more.stdout.strip() == f"{job[:-1]}2"
    _until_ended(cluster, more.stdout.strip())
    assert _shown(cluster, run)["evaluations"] == 9
    assert len(cluster.machines()) >= before + MOST


def test_a_run_has_one_job_at_a_time_which_is_stopped_and_gone_on_with(cluster: Cluster) -> None:
    run = cluster.folder / "runs" / "long"
    done = _submit(cluster, "long", run, "--evaluations", "4000", "--watch", "0")
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()

    second = _submit(cluster, "long", run, "--resume", "--evaluations", "8")
    assert second.returncode == 1
    assert f"{run} is being written by the job {job}" in second.stderr
    assert f"stop it first: ray job stop {job}" in second.stderr

    _until(lambda: any(run.glob("segments/*")), 90, lambda: _output(cluster, job))
    stop = cluster.run("ray", "job", "stop", f"--address={cluster.dashboard}", job)
    assert stop.returncode == 0, stop.stderr
    _until_ended(cluster, job, "STOPPED")
    recorded = _shown(cluster, run)["evaluations"]
    wanted = recorded + 4

    again = _submit(cluster, "long", run, "--evaluations", "8")
    assert f"exists (the job {job} STOPPED)" in again.stderr
    other = _submit(cluster, "quick", run, "--resume", "--evaluations", "8", "--watch", "60")
    assert other.returncode == 1
    assert "training.steps: 3000 in the run, 4 now" in other.stderr

    more = _submit(cluster, "long", run, "--resume", "--evaluations", str(wanted), "--watch", "0")
    assert more.returncode == 0, more.stderr
    _until_ended(cluster, more.stdout.strip())
    assert _shown(cluster, run)["evaluations"] == wanted


def test_a_job_that_fails_at_once_says_why_and_may_be_tried_again(cluster: Cluster) -> None:
    run = cluster.folder / "runs" / "missing"
    (cluster.folder / "client" / "short.txt").write_text("too short", encoding="utf-8")
    words = ("--evaluations", "2", "--workers", "1", "--watch", "100")
    done = _submit(cluster, "quick", run, "--data", "short.txt", *words)
    assert done.returncode == 1
    assert re.search(r"the job evo-nas-missing-\w+-1 failed at once. It said:\n", done.stderr)
    assert "short.txt" in done.stderr
    done = _submit(cluster, "quick", run, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("-2")


def test_a_search_that_no_machine_could_hold_is_refused_before_anything_is_sent(
    cluster: Cluster,
) -> None:
    done = _submit(cluster, "gold", cluster.folder / "runs" / "gold", "--evaluations", "4")
    assert done.returncode == 1
    assert "no worker could ever start: each wants 1 CPU on a machine with tier = gold" in (
        done.stderr
    )


def test_nobody_gets_in_without_the_token(cluster: Cluster, tmp_path: Path) -> None:
    run = cluster.folder / "runs" / "stranger"
    done = _submit(cluster, "quick", run, "--evaluations", "2", HOME=str(tmp_path))
    assert done.returncode == 1
    assert f"there is no token: {tmp_path}/.ray/auth_token is missing" in done.stderr

    other = tmp_path / "token"
    other.write_text("0" * 64, encoding="utf-8")
    other.chmod(0o600)
    done = _submit(cluster, "quick", run, "--evaluations", "2", RAY_AUTH_TOKEN_PATH=str(other))
    assert done.returncode == 1
    assert "does not take this token" in done.stderr

    plain = cluster.run(
        *("ray", "job", "submit", f"--address={cluster.dashboard}", "--", "touch", run),
        RAY_AUTH_MODE="disabled",
    )
    assert plain.returncode != 0
    assert "authentication token" in plain.stderr
    assert not run.exists()


def test_a_machine_that_is_lost_costs_the_search_time_and_no_candidate(cluster: Cluster) -> None:
    run = cluster.folder / "runs" / "lost"
    done = _submit(cluster, "long", run, "--evaluations", "4000", "--watch", "0")
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    # One that was idle before may be ended just as it gets work, and replaced.
    _until(
        lambda: any(run.glob("segments/*")) and cluster.alive() != [],
        90,
        lambda: _output(cluster, job),
    )
    before = cluster.machines()
    cluster.lose(cluster.alive()[-1])
    _until(lambda: len(cluster.machines()) > len(before), 60, lambda: _output(cluster, job))
    recorded = _shown(cluster, run)["evaluations"]
    _until(
        lambda: _shown(cluster, run)["evaluations"] > recorded + 4,
        120,
        lambda: _output(cluster, job),
    )
    assert _status(cluster, job) == "RUNNING"
    stop = cluster.run("ray", "job", "stop", f"--address={cluster.dashboard}", job)
    assert stop.returncode == 0, stop.stderr
    status = _shown(cluster, run)
    assert not {"worker_lost", "timed_out", "error"} & set(status["statuses"]), status


def test_a_head_that_is_lost_is_launched_again_and_the_run_gone_on_with(cluster: Cluster) -> None:
    run = cluster.folder / "runs" / "headless"
    done = _submit(cluster, "long", run, "--evaluations", "4000", "--watch", "0")
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    _until(lambda: any(run.glob("segments/*")), 90, lambda: _output(cluster, job))
    cluster.lose("machine-0")
    # Its job's driver belongs to it.
    _until(lambda: processes_of(cluster.folder / "machine-0") == [], 30, lambda: "still alive")
    wanted = str(_shown(cluster, run)["evaluations"] + 4)

    lost = _submit(cluster, "long", run, "--resume")
    assert lost.returncode == 1
    assert (
        f"the head of {cluster.file} cannot be reached. Is the cluster up ('ray up" in lost.stderr
    )

    assert "Launched a new head node" in cluster.up()
    fresh = _submit(cluster, "long", run, "--evaluations", wanted, "--watch", "60")
    assert fresh.returncode == 1
    assert f"the run {run} exists. Go on with it by adding --resume" in fresh.stderr
    more = _submit(cluster, "long", run, "--evaluations", wanted, "--resume", "--watch", "0")
    assert more.returncode == 0, more.stderr
    _until_ended(cluster, more.stdout.strip())
    assert _shown(cluster, run)["evaluations"] == int(wanted)
