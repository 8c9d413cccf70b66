"""A real Ray head of a test's own: private ports, folder and token, ended without `ray stop`.

`ray stop` would end every Ray of the machine; here only the processes of one session end.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

RAY = Path(sys.executable).with_name("ray")
START_SECONDS = 60
END_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Head:
    """A running head.

    Attributes:
        dashboard: Where jobs are submitted, as a URL.
        address: Where drivers connect, as host:port.
        folder: Ray's own temporary files.
        environment: Of a client that has the token.
        pid: Process and session of `ray start`.
    """

    dashboard: str
    address: str
    folder: Path
    environment: Mapping[str, str]
    pid: int


@contextmanager
def running_head(cpus: int, **more: str) -> Iterator[Head]:
    """Start a head that wants a token, and end it with all its processes; ``more`` environment."""
    # Ray's sockets lie below its folder, and their paths may have 107 bytes: not tmp_path.
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(_token(folder)),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": os.pathsep.join((str(RAY.parent), os.environ["PATH"])),
    } | more
    port, dashboard, client, agent, grpc, metrics = free_ports(6)
    command = [RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1"]
    command += [f"--num-cpus={cpus}", "--num-gpus=0", f"--port={port}", f"--temp-dir={folder}"]
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
    command += [f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}"]
    command += [f"--dashboard-agent-grpc-port={grpc}", f"--metrics-export-port={metrics}"]
    command += ["--object-store-memory=100000000", "--disable-usage-stats"]
    log = folder / "start.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{dashboard}"
    try:
        _wait_until_it_answers(process, url, environment, log)
        yield Head(url, f"127.0.0.1:{port}", folder, environment, process.pid)
    finally:
        _end(process)
        shutil.rmtree(folder, ignore_errors=True)


def processes_of_session(leader: int) -> list[int]:
    """Living processes of a session; Ray gives some of its own a process group each."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
            continue
        state, session = fields[0], int(fields[3])
        if session == leader and state != "Z":
            found.append(int(stat.parent.name))
    return found


def _token(folder: Path) -> Path:
    path = folder / "auth_token"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    return path


def free_ports(count: int) -> list[int]:
    """Between the ports of Ray's workers and those that the system gives away by itself."""
    found: set[int] = set()
    while len(found) < count:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                found.add(port)
    return list(found)


def _wait_until_it_answers(
    process: subprocess.Popen[bytes], url: str, environment: Mapping[str, str], log: Path
) -> None:
    token = Path(environment["RAY_AUTH_TOKEN_PATH"]).read_text(encoding="utf-8")
    request = urllib.request.Request(
        f"{url}/api/jobs/", headers={"Authorization": f"Bearer {token}"}
    )
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.3)
    said = log.read_text(encoding="utf-8", errors="replace")
    raise RuntimeError(f"Ray did not answer at {url} (exit code {process.poll()}):\n{said}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to `ray start`, which ends its own; SIGKILL to those of its session still there.

    SIGTERM to all at once makes the raylet wait for others that are gone already.
    """
    process.terminate()
    wait_until_none_is_left(process, END_SECONDS)
    for pid in processes_of_session(process.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # it ended with its parent
            continue
    wait_until_none_is_left(process, 5.0)


def wait_until_none_is_left(process: subprocess.Popen[bytes], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None and not processes_of_session(process.pid):
            return
        time.sleep(0.1)
