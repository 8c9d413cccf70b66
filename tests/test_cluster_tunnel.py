"""The tunnel to a head: who has its port, and that nothing of it is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from evo_nas.cluster import tunnel as tunnelling
from evo_nas.cluster.tunnel import tunnel
from evo_nas.errors import ClusterError
from tests.tiny import environment

FILE = Path("cluster.yaml")
RAY = """
import os, socket, subprocess, sys
port = [word.partition("=")[2] for word in sys.argv if word.startswith("--port=")][0]
ssh = "import socket, sys, time\\n"
ssh += "s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\\ntime.sleep(300)\\n"
child = subprocess.Popen([sys.executable, "-c", ssh, port])
with open(os.environ["PIDS"] + ".new", "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
os.rename(os.environ["PIDS"] + ".new", os.environ["PIDS"])
child.wait()
"""
"""Stands for `ray dashboard`: it starts a child, as that does ssh, which holds the port."""
HELD = """
import signal, sys, time
from pathlib import Path
# Whoever runs the tests may ignore them: nohup, a shell's background.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
from evo_nas.cluster import tunnel
tunnel._RAY = [sys.executable, sys.argv[1]]
with tunnel.tunnel(Path("cluster.yaml"), 8265):
    print("open", flush=True)
    time.sleep(300)
"""


@pytest.fixture
def pids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stand-in for Ray writes its processes."""
    (tmp_path / "ray.py").write_text(RAY)
    monkeypatch.setattr(tunnelling, "_RAY", [sys.executable, str(tmp_path / "ray.py")])
    monkeypatch.setenv("PIDS", str(tmp_path / "pids"))
    return tmp_path / "pids"


def _wait_until_ended(pids: Path) -> None:
    left = [int(pid) for pid in pids.read_text().split()]
    end = time.monotonic() + 20
    while any(_lives(pid) for pid in left):
        assert time.monotonic() < end, f"{left} were left behind"
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_tunnel_ends_with_all_its_processes(pids: Path) -> None:
    with tunnel(FILE, 8265) as url:
        assert url.startswith("http://127.0.0.1:")
        assert all(_lives(int(pid)) for pid in pids.read_text().split())
    _wait_until_ended(pids)


def test_of_a_tunnel_whose_first_process_died_the_others_end_too(pids: Path) -> None:
    with tunnel(FILE, 8265):
        leader = int(pids.read_text().split()[0])
        os.kill(leader, signal.SIGKILL)
        while _lives(leader):
            time.sleep(0.01)
    _wait_until_ended(pids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_no_tunnel_behind(pids: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", HELD, str(pids.parent / "ray.py")]
    holder = subprocess.Popen(
        command,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert holder.stdout is not None and holder.stdout.readline() == "open\n"
    holder.send_signal(number)
    code = holder.wait(30)
    holder.stdout.close()
    assert code == (-number if number == signal.SIGINT else 128 + number)
    _wait_until_ended(pids)


def test_what_the_shell_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with tunnelling._signals_raise():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            with pytest.raises(SystemExit, match="143"):
                os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_port_that_another_user_took_is_not_used(
    pids: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)  # so that what listens is another's
    with (
        pytest.raises(ClusterError, match=r"was taken by another user's process: nothing was sent"),
        tunnel(FILE, 8265),
    ):
        pass
    monkeypatch.undo()
    _wait_until_ended(pids)


class _Ended(subprocess.Popen[bytes]):
    """A process that is over before anybody looks."""

    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        self.wait()


def test_a_port_that_answers_is_no_tunnel_if_ray_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", "raise SystemExit('bind: Address already in use')"]
    monkeypatch.setattr(tunnelling, "_RAY", command)
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(tunnelling, "_free_port", lambda: other.getsockname()[1])
        monkeypatch.setattr(tunnelling.subprocess, "Popen", _Ended)
        with (
            pytest.raises(ClusterError, match="the head of cluster.yaml cannot be reached.*in use"),
            tunnel(FILE, 8265),
        ):
            pass
