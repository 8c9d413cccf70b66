"""A cluster that the real `ray up` has launched, of machines that are processes (`node_provider`).

Its file is as a user's: token, private dashboard, every list of commands; the head gives no CPU
away, the autoscaler starts machines of one CPU when a search asks for them and ends them when idle.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from node_provider import MARK, Machines, end_all, processes_of
from project import ROOT
from ray_head import free_ports

BIN = Path(sys.executable).parent
MOST = 2
"""Machines beside the head."""
IDLE_MINUTES = 0.25
"""Longer than a search takes from the coming of its machines to the start of its workers."""
FROM_THE_HEAD = (
    f'export PATH="{BIN}:$PATH" PYTHONPATH="{ROOT}:{ROOT / "tests"}" RAY_AUTH_MODE=token '
    "RAY_USAGE_STATS_ENABLED=0 OMP_NUM_THREADS=1; "
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A launched cluster.

    Attributes:
        file: What `ray up` was given.
        folder: Of this cluster: its machines, their disks, Ray's temporary files.
        environment: Of a client that has the token in its home.
        dashboard_port: On the head.
        said: What `ray up` printed.
    """

    file: Path
    folder: Path
    environment: dict[str, str]
    dashboard_port: int
    said: str

    def up(self) -> str:
        """`ray up`, once more: what it printed."""
        return _up(self.file, self.environment)

    @property
    def dashboard(self) -> str:
        """Its URL on the head, which here is this machine."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    def machines(self) -> dict[str, Any]:
        """What the provider knows of each machine ever started, the head left out."""
        known = json.loads((self.folder / "machines.json").read_text(encoding="utf-8"))
        return {
            name: machine
            for name, machine in known.items()
            if machine["tags"]["ray-node-type"] == "worker"
        }

    def alive(self) -> list[str]:
        """The machines that run, the head left out."""
        return [name for name, machine in self.machines().items() if not machine["ended"]]

    def lose(self, name: str) -> None:
        """Take a machine away in the middle of whatever it does, as a cloud does."""
        config = yaml.safe_load(self.file.read_text(encoding="utf-8"))
        Machines(config["provider"], config["cluster_name"]).terminate_node(name)

    def run(self, *words: str | Path, **changed: str) -> subprocess.CompletedProcess[str]:
        """Run a program of this installation as a client of the cluster."""
        return subprocess.run(
            [str(BIN / str(words[0])), *map(str, words[1:])],
            cwd=self.folder / "client",
            env=self.environment | changed,
            capture_output=True,
            text=True,
            timeout=240,
        )


@contextmanager
def launched_cluster() -> Iterator[Cluster]:
    """Launch a cluster with `ray up`, and end everything it started."""
    # Ray's sockets lie below its folder, and their paths may have 107 bytes: not tmp_path.
    folder = Path(tempfile.mkdtemp(prefix="up", dir="/tmp"))
    (folder / "client").mkdir()
    token = folder / "home" / ".ray" / "auth_token"
    token.parent.mkdir(parents=True)
    with os.fdopen(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    gcs, dashboard, client = free_ports(3)
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(_file(folder, gcs, dashboard, client)), encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {
        "HOME": str(folder / "home"),
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        # `ray dashboard` and the like are ended with the rest.
        MARK: str(folder / "client"),
    }
    try:
        yield Cluster(path, folder, environment, dashboard, _up(path, environment))
    finally:
        _end(folder)


def _up(file: Path, environment: dict[str, str]) -> str:
    up = subprocess.run(
        [BIN / "ray", "up", "--yes", "--no-config-cache", file],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    if up.returncode:
        raise RuntimeError(f"'ray up' ended with {up.returncode}:\n{up.stdout}")
    return up.stdout


def _file(folder: Path, gcs: int, dashboard: int, client: int) -> dict[str, Any]:
    start = "--node-ip-address=$ADDRESS --dashboard-agent-listen-port=0"
    # Each its own folder, as each has its own disk: machines that share one overwrite the working
    # directory of a running job.
    start += " --object-store-memory=100000000 --temp-dir=$HOME/t"
    return {
        "cluster_name": folder.name,
        "max_workers": MOST,
        "idle_timeout_minutes": IDLE_MINUTES,
        "upscaling_speed": 1.0,
        "provider": {
            "type": "external",
            "module": "node_provider.Machines",
            "folder": str(folder),
        },
        "auth": {"ssh_user": "nobody"},
        "head_node_type": "head",
        "available_node_types": {
            "head": {
                "resources": {"CPU": 0, "GPU": 0},
                "min_workers": 0,
                "max_workers": 0,
                "node_config": {},
            },
            "worker": {
                "resources": {"CPU": 1},
                "min_workers": 0,
                "max_workers": MOST,
                "node_config": {},
            },
        },
        "file_mounts": {"~/.ray/auth_token": "~/.ray/auth_token"},
        # Ray has no defaults for providers of other people.
        **{key: [] for key in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
        "file_mounts_sync_continuously": False,
        "docker": {},
        "initialization_commands": [],
        "setup_commands": ["chmod 600 ~/.ray/auth_token"],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [
            f"{FROM_THE_HEAD} ray start --head --port={gcs} {start} "
            "--autoscaling-config=~/ray_bootstrap_config.yaml --dashboard-host=127.0.0.1 "
            f"--dashboard-port={dashboard} --ray-client-server-port={client}"
        ],
        "worker_start_ray_commands": [
            f"{FROM_THE_HEAD} ray start --address=$RAY_HEAD_IP:{gcs} {start}"
        ],
    }


def _end(folder: Path) -> None:
    """End every process of the cluster by its id, again until none is left."""
    end = time.monotonic() + 30
    while left := processes_of(folder):
        if time.monotonic() > end:
            raise RuntimeError(f"processes of {folder} do not end: {left}")
        end_all(left)
        time.sleep(0.2)
    shutil.rmtree(folder, ignore_errors=True)
