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
from contextlib import contextmanager
from pathlib import Path

from evo_nas.errors import ClusterError

OPEN_SECONDS = 60.0
END_SECONDS = 10.0


@contextmanager
def tunnel(file: Path, port: int) -> Iterator[str]:
    """Hold a tunnel open to the head of the cluster that a file describes.

    Args:
        file: The file of `ray up`.
        port: Of the dashboard on the head.

    Yields:
        The URL of the dashboard on this machine.

    Raises:
        ClusterError: If there is no head, or it cannot be reached.
    """
    ray = Path(sys.executable).with_name("ray")
    near = _free_port()
    command = [str(ray), "dashboard", str(file), f"--port={near}", f"--remote-port={port}"]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            end = time.monotonic() + OPEN_SECONDS
            while not _answers(near):
                if process.poll() is not None or time.monotonic() > end:
                    output.seek(0)
                    said = output.read().decode(errors="replace").split("\n")
                    reason = " ".join(line.strip() for line in said if line.strip())[-600:]
                    raise ClusterError(
                        f"the head of {file} cannot be reached. Is the cluster up ('ray up "
                        f"{file}')? 'ray dashboard' said: {reason}"
                    )
                time.sleep(0.2)
            yield f"http://127.0.0.1:{near}"
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End `ray dashboard` and the ssh that it started: they are a process group of their own."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True
