"""What every test relies on: one torch thread, no Ray left behind, nothing of the user's."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from subprocess import Popen

    from tests.faulty_runs import Forks

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads in each of two workers collapse
for _name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
    os.environ.pop(_name, None)  # a test must never join a cluster of the user's
# Ray reads this once, as it is imported. Without it the first Ray that a test starts would write a
# token into the user's home, and leave RAY_AUTH_MODE=token to the tests that follow.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

# What a shell starts in the background ignores Ctrl-C, and so does all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes, or making it, is up to what else the machine does.
_ANY_TIME = hypothesis.settings(
    deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("patient", _ANY_TIME)
hypothesis.settings.register_profile("ci", _ANY_TIME, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "patient")


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Runs command lines quickly, and breaks the disk under them."""
    from tests.faulty_runs import Forks

    with Forks(tmp_path_factory.mktemp("forks")) as forks:
        yield forks


@pytest.fixture
def owned() -> Iterator[Callable[[Popen[str]], Popen[str]]]:
    """Takes the processes that a test begins: what is still there at its end is killed."""
    processes: list[Popen[str]] = []

    def own(process: Popen[str]) -> Popen[str]:
        processes.append(process)
        return process

    yield own
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def _no_ray_left_behind() -> Iterator[None]:
    """A module that starts Ray in this process ends it, or fails here."""
    yield
    import sys

    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        ray.shutdown()
        pytest.fail("this module left a Ray runtime in the test process: close the pool")
