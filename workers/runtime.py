"""Ray's runtime: start one on this machine or connect to a cluster, and leave it as found."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import site
import socket
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from workers.limits import PoolError

CONNECT_SECONDS = 5.0
"""How long a cluster may take to answer. Ray itself would try for 14 minutes."""

MOST_PER_CORE = 4
"""Workers per core that a Ray started here accepts: useful for trying things, not for speed."""


def start(address: str, *, workers: int | None = None, dashboard: bool = False) -> bool:
    """Make sure that this process has a Ray runtime.

    Ray is kept quiet: what workers print goes to Ray's log files only, for stdout belongs to the
    manager's data, and what becomes of a request is told by its result.

    Args:
        address: ``local`` starts a Ray on this machine and never joins another; ``auto`` connects
            to the cluster this machine is part of (or RAY_ADDRESS names); else ``host:port``.
        workers: How many are wanted; a started Ray takes more than one per core if told to.
        dashboard: Whether a started Ray gets a dashboard (at 127.0.0.1 only).

    Returns:
        Whether a runtime was started or connected to here, so that ``stop`` is due. A process
        that has one already keeps it, whatever the address.

    Raises:
        PoolError: If there is no such cluster, or Ray does not start.
    """
    if ray.is_initialized():
        return False
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        room = max(cores(), min(workers or 0, MOST_PER_CORE * cores()))
        options |= {"num_cpus": room, "include_dashboard": dashboard}
    else:
        _check_answers(address)
    try:
        with _quietly(), _keeping_the_sigterm_handler():
            ray.init(address=address, **options)
    except BaseException as error:
        ray.shutdown()
        if not isinstance(error, Exception):
            raise
        raise PoolError(_why_not(address, error)) from error
    return True


def stop() -> None:
    """Leave the runtime that ``start`` returned True for; ends it if it was started here."""
    ray.shutdown()


def address() -> str:
    """Where the head of the Ray in use is, as ``host:port``."""
    return str(ray.get_runtime_context().gcs_address)


def cores() -> int:
    """CPU cores this process may use: Ray counts the machine's, whatever taskset allows."""
    counted = int(ray._private.utils.get_num_cpus())
    return max(1, min(counted, len(os.sched_getaffinity(0))))


def worker_environment(address: str, gpus: float) -> dict[str, Any]:
    """Ray's ``runtime_env`` of a worker.

    Args:
        address: As in ``start``. Workers on this machine get the manager's import path, so that
            whatever the manager can import they can, a user's own task included. A cluster's
            machines have their own: the job's working directory, or what is installed there.
        gpus: What a worker asks for; at 0 it must not see any, though Ray would let it.
    """
    variables = {"OMP_NUM_THREADS": "1"}
    environment: dict[str, Any] = {"env_vars": variables}
    if not gpus:
        variables["CUDA_VISIBLE_DEVICES"] = ""
    if address == "local":
        variables["PYTHONPATH"] = os.pathsep.join(import_path())
        # Ray hands it to a shell as it is: with a space in its path no worker would ever start.
        environment["py_executable"] = shlex.quote(sys.executable)
    return environment


def import_path() -> list[str]:
    """The entries of ``sys.path`` that a fresh interpreter would not have."""
    usual = {os.path.abspath(path) for path in sysconfig.get_paths().values()}
    usual |= {os.path.abspath(path) for path in site.getsitepackages()}
    entries = [os.path.abspath(entry) for entry in sys.path]
    return [entry for entry in dict.fromkeys(entries) if entry not in usual]


def _check_answers(address: str) -> None:
    if "://" in address:
        raise PoolError(
            f"the address is {address!r}, but streamed progress needs a real connection: give "
            "host:port, or send the search to the cluster with 'ray job submit' and "
            "--address auto."
        )
    try:
        found: str | None = ray._private.services.canonicalize_bootstrap_address(address)
    except (ConnectionError, ValueError, OSError) as error:
        raise PoolError(_no_cluster(address, str(error))) from error
    if found is None:
        raise PoolError(_no_cluster(address, "RAY_ADDRESS says 'local'"))
    host, _, port = found.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65_536:
        raise PoolError(_no_cluster(address, f"{port!r} is no port; write it as host:port"))
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise PoolError(_no_cluster(address, f"{found} does not answer: {error}")) from error


def _why_not(address: str, error: Exception) -> str:
    if address == "local":
        return f"Ray does not start on this machine: {error}"
    if "InvalidAuthToken" in f"{error} {error.__cause__}":
        return (
            f"the Ray cluster at address {address!r} asks for a token. Set RAY_AUTH_MODE=token, "
            "and put the cluster's token into ~/.ray/auth_token or RAY_AUTH_TOKEN."
        )
    return f"cannot use the Ray cluster at address {address!r}: {error}"


def _no_cluster(address: str, why: str) -> str:
    return (
        f"no Ray cluster at address {address!r}: {why}. Start one with 'ray start --head', or give "
        "--address local to use this machine alone."
    )


@contextmanager
def _quietly() -> Iterator[None]:
    # The flag Ray's own debugger uses; without it, the death of a worker is printed on stdout.
    ray._private.worker._worker_logs_enabled = False
    # A Ray started here sends no usage statistics, unless the user says so.
    unset = "RAY_USAGE_STATS_ENABLED" not in os.environ
    if unset:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        yield
    finally:
        if unset:
            del os.environ["RAY_USAGE_STATS_ENABLED"]


@contextmanager
def _keeping_the_sigterm_handler() -> Iterator[None]:
    # ray.init replaces it by one that exits at once.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
