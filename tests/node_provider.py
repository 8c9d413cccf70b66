"""Machines of a cluster that are processes of this one: what `ray up` and the autoscaler drive.

A node provider for ``type: external``. A machine is a folder, a loopback address of its own and
whatever the commands of the cluster's file start; its command runner is `subprocess`. The state is
in files, for `ray up`, the autoscaler on the head and the test each have a provider of their own.

Everything a machine starts carries the variable `MARK` with its folder in its environment, and is
found and ended by that. `ray stop` and `ray down` would end every Ray of this machine: refused.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.autoscaler._private.cli_logger import cli_logger
from ray.autoscaler.command_runner import CommandRunnerInterface
from ray.autoscaler.node_provider import NodeProvider

MARK = "EVO_NAS_TEST_MACHINE"
FIRST = 11
"""Machine n has the address 127.0.0.(FIRST + n)."""


class Machines(NodeProvider):
    """Machines below ``provider.folder`` of the cluster's file."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        self.folder = Path(provider_config["folder"])

    @contextmanager
    def _all(self) -> Iterator[dict[str, Any]]:
        """The state, locked; written back."""
        with (self.folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            path = self.folder / "machines.json"
            machines = json.loads(path.read_text()) if path.exists() else {}
            before = json.dumps(machines)
            yield machines
            if json.dumps(machines) != before:
                new = path.with_suffix(".new")
                new.write_text(json.dumps(machines))
                new.replace(path)

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        with self._all() as machines:
            return [
                name
                for name, machine in machines.items()
                if not machine["ended"] and tag_filters.items() <= machine["tags"].items()
            ]

    def is_running(self, node_id: str) -> bool:
        return node_id in self.non_terminated_nodes({})

    def is_terminated(self, node_id: str) -> bool:
        return not self.is_running(node_id)

    def node_tags(self, node_id: str) -> dict[str, str]:
        with self._all() as machines:
            return dict(machines[node_id]["tags"])

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        with self._all() as machines:
            machines[node_id]["tags"].update(tags)

    def internal_ip(self, node_id: str) -> str:
        with self._all() as machines:
            return str(machines[node_id]["address"])

    external_ip = internal_ip

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> None:
        with self._all() as machines:
            for _ in range(count):
                name = f"machine-{len(machines)}"
                home = self.folder / name
                home.mkdir()
                machines[name] = {
                    "tags": dict(tags),
                    "address": f"127.0.0.{FIRST + len(machines)}",
                    "home": str(home),
                    "ended": False,
                    "began": time.time(),
                }

    def terminate_node(self, node_id: str) -> None:
        with self._all() as machines:
            machines[node_id]["ended"] = True
        end_all(processes_of(self.folder / node_id))

    def get_command_runner(self, log_prefix: str, node_id: str, *_: Any, **__: Any) -> Any:
        with self._all() as machines:
            return Runner(Path(machines[node_id]["home"]), machines[node_id]["address"])


class Runner(CommandRunnerInterface):
    """Runs commands as one machine: its own home, address and mark."""

    def __init__(self, home: Path, address: str) -> None:
        self.home, self.address = home, address

    def run(
        self,
        cmd: str | None = None,
        timeout: int = 120,
        exit_on_fail: bool = False,
        port_forward: list[tuple[int, int]] | None = None,
        with_output: bool = False,
        environment_variables: dict[str, object] | None = None,
        **_: Any,
    ) -> Any:
        forwarded = [port_forward] if isinstance(port_forward, tuple) else port_forward or []
        for local, remote in forwarded:
            threading.Thread(target=relay, args=(local, remote), daemon=True).start()
        if cmd is None:
            threading.Event().wait()
            return ""
        if "ray stop" in cmd or "ray down" in cmd:
            raise RuntimeError(f"refused, for it would end every Ray of this machine: {cmd}")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        environment |= {MARK: str(self.home), "HOME": str(self.home), "ADDRESS": self.address}
        environment |= {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in (environment_variables or {}).items()
        }
        with (self.home / "commands.log").open("ab") as log:
            log.write(f"$ {cmd}\n".encode())
            log.flush()
            done = subprocess.run(
                ["bash", "-c", cmd],
                cwd=self.home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if with_output else log,
                stderr=log,
                timeout=timeout,
                start_new_session=True,
            )
        if done.returncode:
            if exit_on_fail:
                cli_logger.abort(f"{cmd} ended with {done.returncode}")
            raise subprocess.CalledProcessError(done.returncode, cmd)
        return done.stdout or ""

    def _there(self, path: str) -> Path:
        return self.home / path.removeprefix("~/")

    def run_rsync_up(self, source: str, target: str, options: Any = None) -> None:
        _copy(Path(source).expanduser(), self._there(target))

    def run_rsync_down(self, source: str, target: str, options: Any = None) -> None:
        _copy(self._there(source), Path(target))

    def remote_shell_command_str(self) -> str:
        return f"cd {self.home}"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif source.resolve() != target.resolve():
        shutil.copy(source, target)


def processes_of(folder: Path) -> list[int]:
    """Living processes whose environment carries the mark of a machine in or below a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = path.read_bytes().split(b"\0")
            state = (path.parent / "stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended while we looked, or is somebody else's
        marks = [v.partition(b"=")[2].decode() for v in variables if v.startswith(MARK.encode())]
        if state != "Z" and any(Path(m).is_relative_to(folder) for m in marks):
            found.append(int(path.parent.name))
    return sorted(set(found) - {os.getpid()})


def end_all(pids: list[int]) -> None:
    """SIGKILL, each by its id."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # it ended with its parent
            continue


def relay(local: int, remote: int) -> None:
    """Carry connections to a port of this machine over to another one, as `ssh -L` does."""
    with socket.create_server(("127.0.0.1", local)) as server:
        while True:
            near, _ = server.accept()
            far = socket.create_connection(("127.0.0.1", remote))
            for here, there in ((near, far), (far, near)):
                threading.Thread(target=_pour, args=(here, there), daemon=True).start()


def _pour(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:  # one end is gone; the other shall know
        source.close()
        target.close()


if __name__ == "__main__":
    print(*processes_of(Path(sys.argv[1])))
