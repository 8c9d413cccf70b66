"""The way to a cluster's dashboard, which listens on the head's loopback only: `ray dashboard`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from evo_nas.errors import ClusterError
from workers.exposure import users_at

OPEN_SECONDS = 60.0
END_SECONDS = 10.0
_RAY = [sys.executable, "-P", "-m", "ray.scripts.scripts"]
"""Not a program beside this Python, which need not be there; and nothing of the user's folder."""


@contextmanager
def tunnel(file: Path, port: int) -> Iterator[str]:
    """Hold a tunnel open to the head of the cluster that a file describes.

    SIGTERM and a closed terminal end it too, and with it the block, as SystemExit.

    Args:
        file: The file of `ray up`.
        port: Of the dashboard on the head.

    Yields:
        The URL of the dashboard on this machine.

    Raises:
        ClusterError: If there is no head, it cannot be reached, or another user's process took the
            tunnel's port, which would be sent the token.
    """
    near = _free_port()
    command = [*_RAY, "dashboard", str(file), f"--port={near}", f"--remote-port={port}"]
    with _signals_raise(), tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            end = time.monotonic() + OPEN_SECONDS
            # First whether it lives: if it could not have the port, somebody else has.
            while process.poll() is None and time.monotonic() < end:
                if owners := _owners(near):
                    break
                time.sleep(0.2)
            else:
                output.seek(0)
                said = output.read().decode(errors="replace").split("\n")
                reason = " ".join(line.strip() for line in said if line.strip())[-600:]
                raise ClusterError(
                    f"the head of {file} cannot be reached. Is the cluster up ('ray up {file}')? "
                    f"'ray dashboard' said: {reason}"
                )
            if owners != {os.geteuid()}:
                raise ClusterError(
                    f"port {near} of this machine, which the tunnel to the head was to have, was "
                    "taken by another user's process: nothing was sent. Try again."
                )
            yield f"http://127.0.0.1:{near}"
        finally:
            _end(process)


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise SystemExit: by themselves they would leave the tunnel behind."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End `ray dashboard` and the ssh that it started: they are a process group of their own."""
    with suppress(ProcessLookupError):  # nobody of it is left
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _owners(port: int) -> set[int]:
    """The users whose processes listen on a port of this machine; empty if nobody does.

    Where they cannot be told, whoever answers is held to be this user.
    """
    users = users_at(port)
    if users is None:
        return {os.geteuid()} if _answers(port) else set()
    return users


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True
