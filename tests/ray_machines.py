"""A real Ray cluster of several machines on this one: a head that holds no workers, and nodes that
come and go. Private ports and folder; each machine is a session of processes of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray_head import RAY, free_ports, processes_of_session, wait_until_none_is_left

from tests.tiny import ROOT

START_SECONDS = 90.0


@dataclass(eq=False)
class Machine:
    """One machine of a cluster.

    Attributes:
        name: Its node name.
        process: `ray start --block`, leader of the session.
    """

    name: str
    process: subprocess.Popen[bytes]

    def raylet(self) -> int:
        """The process that is the machine to Ray."""
        (pid,) = [p for p in processes_of_session(self.process.pid) if _program(p) == "raylet"]
        return pid

    def kill_raylet(self) -> None:
        """Ray's own process on it dies; its workers notice."""
        os.kill(self.raylet(), signal.SIGKILL)

    def stop(self) -> None:
        """All of its processes stand still, as when it is cut off; ``vanish`` ends it."""
        for pid in processes_of_session(self.process.pid):
            os.kill(pid, signal.SIGSTOP)

    def vanish(self) -> None:
        """All of its processes end at once, as when a machine is taken away."""
        for pid in [self.process.pid, *processes_of_session(self.process.pid)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # it ended with its parent
                continue
        wait_until_none_is_left(self.process, 10.0)


@dataclass
class Machines:
    """A running cluster.

    Attributes:
        folder: Ray's own temporary files.
        environment: Of all its processes.
        head: The machine of the control plane.
        address: Where drivers connect, as host:port.
        others: The machines that hold workers.
    """

    folder: Path
    environment: Mapping[str, str]
    head: Machine
    address: str
    others: list[Machine] = field(default_factory=list)

    def add(self, cpus: int = 1, gpus: int = 0, labels: str = "", **environment: str) -> Machine:
        """Start a machine, one at a time, or Ray stumbles; ``labels`` as ``a=b,c=d``."""
        name = f"machine{len(self.others)}"
        command = [f"--address={self.address}", f"--num-cpus={cpus}", f"--num-gpus={gpus}"]
        command += [f"--labels={labels}"] if labels else []
        machine = _started(name, command, self.folder, {**self.environment, **environment})
        self.others.append(machine)
        _wait_for(machine, self.folder / f"{name}.log", "Ray runtime started")
        return machine

    def drain(self, machine: Machine) -> None:
        """Tell Ray that a machine is about to be taken away, as a spot market does."""
        list_nodes: Any = ray.nodes
        (node,) = [n["NodeID"] for n in list_nodes() if n["NodeName"] == machine.name]
        command = [str(RAY), "drain-node", f"--address={self.address}", f"--node-id={node}"]
        command += ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot"]
        subprocess.run(command, env=dict(self.environment), check=True, capture_output=True)


@contextmanager
def machines(
    cpus: int = 0, options: Callable[[str], list[str]] = lambda address: [], **environment: str
) -> Iterator[Machines]:
    """Start a head, and end it and all that was added with all their processes.

    Args:
        cpus: For workers on the head.
        options: More words for its `ray start`, given its address.
        environment: Of all processes.
    """
    # Ray's sockets lie below its folder, and their paths may have 107 bytes: not tmp_path.
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    clean |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        # What a driver in the test process has, where Ray reads it as it is imported.
        "RAY_AUTH_MODE": os.environ["RAY_AUTH_MODE"],
        "RAY_AUTH_TOKEN": os.environ["RAY_AUTH_TOKEN"],
        # A machine that is gone is noticed within 2 s and not within 15.
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_failure_threshold": "3",
        "RAY_health_check_initial_delay_ms": "500",
        # Workers import this checkout and the evaluators of the tests.
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "PATH": os.pathsep.join((str(RAY.parent), os.environ["PATH"])),
        "OMP_NUM_THREADS": "1",
    } | environment
    (port,) = free_ports(1)
    command = ["--head", f"--port={port}", f"--num-cpus={cpus}", "--num-gpus=0"]
    command += ["--include-dashboard=false", f"--temp-dir={folder}"]
    command += options(f"127.0.0.1:{port}")
    head = _started("head", command, folder, clean)
    cluster = Machines(folder, clean, head, f"127.0.0.1:{port}")
    try:
        _wait_for(head, folder / "head.log", "Ray runtime started")
        yield cluster
    finally:
        for machine in [*cluster.others, head]:
            machine.vanish()
        shutil.rmtree(folder, ignore_errors=True)


def _started(
    name: str, options: list[str], folder: Path, environment: Mapping[str, str]
) -> Machine:
    command = [str(RAY), "start", "--block", "--disable-usage-stats", f"--node-name={name}"]
    command += ["--node-ip-address=127.0.0.1", "--object-store-memory=80000000", *options]
    with (folder / f"{name}.log").open("wb") as output:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Machine(name, process)


def _wait_for(machine: Machine, log: Path, words: str) -> None:
    end = time.monotonic() + START_SECONDS
    while words not in (said := log.read_text(encoding="utf-8", errors="replace")):
        code = machine.process.poll()
        if code is not None or time.monotonic() > end:
            raise RuntimeError(f"{machine.name} did not start (exit code {code}):\n{said}")
        time.sleep(0.1)


def _program(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
    except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
        return ""
    return Path(command).name
