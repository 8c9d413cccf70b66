"""The pool in a manager process of its own: signals, clusters, and what is left behind."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

TESTS = Path(__file__).parent
PATIENCE = 90.0


@contextmanager
def manager(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A driver as a foreground job would run: leader of a process group of its own."""
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    process = subprocess.Popen(
        [sys.executable, str(TESTS / "pool_driver.py"), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(*arguments: str, **environment: str) -> list[dict[str, Any]]:
    with manager(*arguments, **environment) as process:
        out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    return [json.loads(line) for line in out.splitlines()]


def family(pid: int) -> set[int]:
    """A process and all its descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    members, before = {pid}, set[int]()
    while members != before:
        before = set(members)
        members |= {child for child, parent in parents.items() if parent in members}
    return members


def remaining(pids: set[int]) -> set[int]:
    """Those of the processes that still are there after a while."""
    end = time.monotonic() + PATIENCE / 2
    while left := {pid for pid in pids if _lives(pid)}:
        if time.monotonic() > end:
            break
        time.sleep(0.1)
    return left


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
def test_ctrl_c_and_sigterm_reach_the_manager_and_leave_its_workers_at_work(
    tmp_path: Path,
) -> None:
    with manager("interrupted", str(tmp_path)) as process:
        assert process.stdout is not None
        running = json.loads(process.stdout.readline())["running"]
        everyone = family(process.pid)
        assert {int(pid) for pid in running} < everyone
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGTERM)
        out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    end = json.loads(out)  # one line: nothing else may stand on stdout
    assert end["signals"] == [signal.SIGINT, signal.SIGTERM]
    assert end["fitness"] == [-2.5, -2.5, -2.5]
    assert sorted(end["pids"][:2]) == running
    assert not remaining(everyone)


@pytest.mark.slow
def test_a_manager_that_is_killed_leaves_no_worker_and_no_server_behind() -> None:
    with manager("waiting") as process:
        assert process.stdout is not None
        process.stdout.readline()
        # Ray's two agents notice within a minute; they hold no data and use no CPU.
        everyone = {pid for pid in family(process.pid) if "Agent" not in _command(pid)}
        commands = " ".join(_command(pid) for pid in everyone)
        assert "gcs_server" in commands
        assert "ray::Worker.evaluations" in commands
        process.kill()
        process.wait()
        assert not remaining(everyone)


def test_a_missing_cluster_is_an_error_at_once() -> None:
    """Ray itself would go on for 14 minutes, and `said` waits for one and a half."""
    auto, explicit, client = said("lost", RAY_ADDRESS="127.0.0.1:1")
    assert "no Ray cluster at address 'auto': " in auto["error"]
    assert "does not answer" in auto["error"]
    assert "no Ray cluster at address '127.0.0.1:1'" in explicit["error"]
    assert "Start one with 'ray start --head'" in explicit["error"]
    assert (
        "give host:port, or send the search to the cluster with 'ray job submit'"
        in (client["error"])
    )


@pytest.mark.slow
def test_a_running_cluster_is_used_only_when_asked_and_outlives_the_pool(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block"]
    command += [f"--port={port}", "--num-cpus=1", "--include-dashboard=false"]
    command += ["--node-ip-address=127.0.0.1", "--disable-usage-stats"]
    log = (tmp_path / "head.log").open("w")
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment = {**os.environ, "PYTHONPATH": path, **token}
    # Ray asks again for so many seconds, 20 unless told otherwise.
    stranger = token | {"RAY_AUTH_TOKEN": "f" * 64, "RAY_py_gcs_connect_timeout_s": "1"}
    there = {"RAY_ADDRESS": f"127.0.0.1:{port}"}
    head = subprocess.Popen(
        command, stdout=log, stderr=log, start_new_session=True, env=environment
    )
    try:
        _wait_for(port, head)
        answers = said("clustered", **there, **token)
        assert answers[0] == {"capacity": 1, "fitness": [-2.5]}
        assert "no worker could ever start: each wants 1 CPU on a mach" in answers[1]["error"]
        assert "with kind = another; the cluster has 1 machine and" in answers[1]["error"]
        (refused,) = said("stranger", **there, **stranger)
        assert "asks for a token. Set RAY_AUTH_MODE=token" in refused["error"]
        before = family(head.pid)
        assert said("alone", **there, **token) == [{"fitness": [-2.5]}]
        assert head.poll() is None
        assert family(head.pid) == before
    finally:
        everyone = family(head.pid)
        for pid in everyone:
            os.kill(pid, signal.SIGKILL)
        head.wait()
        log.close()
    assert not remaining(everyone)


def _wait_for(port: int, head: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        assert head.poll() is None and time.monotonic() < end, "the head did not start"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use the GPU here")
def test_a_gpu_that_torch_cannot_use_is_an_error_that_says_so() -> None:
    capacity, end = said("shared_gpu")
    assert capacity == {"capacity": 2}
    assert "this torch cannot use one" in end["error"]
    assert "hide the GPUs from Ray with CUDA_VISIBLE_DEVICES=" in end["error"]


@pytest.mark.slow
def test_a_worker_that_ray_kills_to_save_memory_is_out_of_memory() -> None:
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    kilobytes = {name: int(value.split()[0]) for name, value in meminfo.items()}
    total, available = kilobytes["MemTotal"], kilobytes["MemAvailable"]
    if available < 8_000_000:
        pytest.skip("needs 8 GB of free memory")
    threshold = (total - available + 3_000_000) / total
    (answer,) = said(
        "greedy",
        "5000000000",
        RAY_memory_usage_threshold=f"{threshold:.4f}",
        RAY_memory_monitor_refresh_ms="100",
    )
    (killed, message), (fine, _) = answer["results"]
    assert (killed, fine) == ("out_of_memory", "ok")
    assert message.startswith("2 workers died over it; the last, worker-1@")
