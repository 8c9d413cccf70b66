"""Whether other machines reach the Ray in use, seen on real sockets and a real head."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ray_head import processes_of_session, running_head
from tests.tiny import ROOT, evo_nas
from workers.exposure import (
    Listener,
    Token,
    descendants,
    is_loopback,
    listeners,
    listeners_at,
    protect,
    takes_anyone,
    token_of,
    warning,
)
from workers.limits import Limits, PoolError
from workers.open_pool import open_pool

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "secret"}


@pytest.mark.parametrize(
    ("host", "family", "reachable"),
    [
        ("127.0.0.1", socket.AF_INET, False),
        ("0.0.0.0", socket.AF_INET, True),
        ("::1", socket.AF_INET6, False),
        ("::", socket.AF_INET6, True),
    ],
)
def test_a_listening_socket_is_found_with_who_can_reach_it(
    host: str, family: socket.AddressFamily, reachable: bool
) -> None:
    with socket.socket(family) as server:
        server.bind((host, 0))
        port = server.getsockname()[1]
        assert Listener(host, port) not in listeners([os.getpid()])  # it does not listen yet
        server.listen()
        (found,) = (each for each in listeners([os.getpid()]) if each.port == port)
    assert found == Listener(host, port) and found.reachable is reachable
    said = warning("local", {}, [found])
    assert (said is not None) is reachable


def test_sockets_of_a_child_are_found_and_those_of_the_dead_are_not() -> None:
    code = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); "
    code += "print(s.getsockname()[1], flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    port = int(child.stdout.readline())
    assert child.pid in descendants(os.getpid())
    assert Listener("127.0.0.1", port) in listeners(descendants(os.getpid()))
    child.communicate("\n", timeout=30)
    assert listeners([child.pid]) == []


@pytest.mark.slow
def test_a_real_head_listens_to_all_interfaces_and_its_token_is_what_protects_it() -> None:
    with running_head(1) as head:
        found = listeners(processes_of_session(head.pid))
        assert int(head.address.rpartition(":")[2]) in {each.port for each in found}
        assert any(each.reachable for each in found)  # though it was told 127.0.0.1
        assert warning(head.address, head.environment, found) is None
        without = {k: v for k, v in head.environment.items() if not k.startswith("RAY_AUTH")}
        said = warning(head.address, without, found)
        assert said is not None and said.startswith(f"the Ray cluster at {head.address} asks for")
        assert "Set RAY_AUTH_MODE=token before it starts" in said
        Path(head.environment["RAY_AUTH_TOKEN_PATH"]).chmod(0o644)
        said = warning(head.address, head.environment, found)
        assert said is not None and said.endswith("has mode 0644, which must be 0600.")
        assert not takes_anyone(head.address)
    with running_head(1, RAY_AUTH_MODE="disabled") as head:
        assert takes_anyone(head.address)
        assert any(each.reachable for each in listeners_at(int(head.address.rpartition(":")[2])))


def opened_at(head: str, monkeypatch: pytest.MonkeyPatch, **environment: str) -> list[str]:
    """What is said when a pool joins a cluster at an address, and finds no machine there."""
    said: list[str] = []
    for name in [name for name in os.environ if name.startswith("RAY_AUTH_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stopped: list[bool] = []
    monkeypatch.setattr("workers.runtime.start", lambda *given, **more: True)
    monkeypatch.setattr("workers.runtime.stop", lambda: stopped.append(True))
    monkeypatch.setattr("workers.runtime.address", lambda: head)
    monkeypatch.setattr("workers.opening.node_types", lambda say: [])
    monkeypatch.setattr("workers.opening.machines", list)
    with pytest.raises(PoolError, match="the cluster has no machine"):
        open_pool(1, None, Limits(), address=head, say=said.append)  # type: ignore[arg-type]
    assert stopped == [True]
    return said


OPEN = " asks for no token, and listens to other machines "


def test_who_joins_a_cluster_that_takes_anybody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    (said,) = opened_at("10.0.0.5:6379", monkeypatch)
    assert said.startswith(f"the Ray cluster at 10.0.0.5:6379{OPEN}(10.0.0.5:6379): whoever")


@pytest.mark.parametrize("anyone", [True, False])
def test_a_token_of_our_own_does_not_hide_that_a_cluster_asks_for_none(
    monkeypatch: pytest.MonkeyPatch, anyone: bool
) -> None:
    monkeypatch.setattr("workers.opening.takes_anyone", lambda address: anyone)
    said = opened_at("10.0.0.5:6379", monkeypatch, **TOKEN)
    assert [OPEN in text for text in said] == [True] * anyone


def test_a_cluster_of_which_nobody_knows_whether_it_asks_for_a_token_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.exposure._ASK", "raise SystemExit('it is away')")
    (said,) = opened_at("10.0.0.5:6379", monkeypatch, **TOKEN)
    assert said == (
        "it cannot be found out whether the Ray cluster at 10.0.0.5:6379 asks for a token: it is "
        "away"
    )
    monkeypatch.setattr("workers.exposure._ASK", "raise SystemExit('InvalidAuthToken')")
    assert opened_at("10.0.0.5:6379", monkeypatch, **TOKEN) == []
    monkeypatch.setattr("workers.exposure._ASK", "import os; os.environ['RAY_AUTH_TOKEN']")
    (said,) = opened_at("10.0.0.5:6379", monkeypatch, **TOKEN)
    assert said.endswith("KeyError: 'RAY_AUTH_TOKEN'"), "it was asked with a token"


@pytest.mark.parametrize(("bound_to", "warned"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_a_head_of_this_machine_that_listens_to_others_is_told_though_joined_by_loopback(
    monkeypatch: pytest.MonkeyPatch, bound_to: str, warned: bool
) -> None:
    with socket.socket() as server:
        server.bind((bound_to, 0))
        server.listen()
        port = server.getsockname()[1]
        said = opened_at(f"127.0.0.1:{port}", monkeypatch)
    assert [OPEN + f"(0.0.0.0:{port})" in text for text in said] == [True] * warned


@pytest.mark.parametrize(
    ("address", "warned"),
    [("10.0.0.5:6379", True), ("head.example:6379", True), ("127.0.0.1:6379", False)],
)
def test_a_cluster_without_a_token_is_told_where_others_reach_it(
    address: str, warned: bool
) -> None:
    assert (warning(address, {}) is not None) is warned
    assert warning(address, TOKEN) is None


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("localhost", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.2", False),
        ("localhost.example", False),
    ],
)
def test_what_leads_to_this_machine_alone(host: str, alone: bool) -> None:
    assert is_loopback(host) is alone


def test_how_the_token_is_set(tmp_path: Path) -> None:
    assert not token_of({}).wanted
    assert token_of(TOKEN).ok and token_of({"RAY_AUTH_MODE": "TOKEN"}).wanted
    path = tmp_path / ".ray" / "auth_token"
    environment = {"RAY_AUTH_MODE": "token", "HOME": str(tmp_path)}
    assert token_of(environment).text == f"there is no token: {path} is missing"
    path.parent.mkdir()
    path.touch(mode=0o600)
    assert token_of(environment) == Token(True, f"{path} is empty", False)
    path.write_text(" \n")
    assert token_of(environment) == Token(True, f"{path} is empty", False)
    path.write_text("secret")
    for mode in (0o600, 0o400, 0o700):
        path.chmod(mode)
        assert token_of(environment).ok
        assert token_of(environment).text == f"{path} is there, and nobody else's to read"
    for mode in (0o640, 0o660, 0o604):
        path.chmod(mode)
        said = f"{path} has mode {mode:04o}, which must be 0600"
        assert token_of(environment) == Token(True, said, False)


def test_a_token_of_another_user_or_that_cannot_be_read_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "token"
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}
    path.mkdir(mode=0o700)
    assert token_of(environment).text == f"{path} cannot be read: Is a directory"
    path.rmdir()
    path.write_text("secret")
    path.chmod(0o600)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert token_of(environment) == Token(True, f"{path} belongs to another user", False)


@pytest.mark.parametrize(
    ("mode", "code", "said"),
    [
        (0o600, 0, "is there, and nobody else's to read"),
        (0o644, 1, "has mode 0644, which must be 0600"),
    ],
)
def test_doctor_says_how_the_token_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, code: int, said: str
) -> None:
    (tmp_path / "token").write_text("secret")
    (tmp_path / "token").chmod(mode)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    done = evo_nas("doctor", "--run", str(tmp_path))
    assert f"{tmp_path / 'token'} {said}" in done.stdout
    assert done.returncode == code, done.stdout


LOCAL = """
import os, subprocess, sys
from workers.limits import Limits
from workers.messages import Request, Training
from workers.open_pool import open_pool

pool = open_pool(1, None, Limits(), evaluator="tests.misbehaving:evaluator")
pool.submit(Request(0, "behaves", 1, Training()))
(result,) = pool.poll(60)
import ray
address = ray.get_runtime_context().gcs_address
others = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
others["HOME"] = "/nowhere"
status = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
print(os.environ["RAY_AUTH_MODE"], result.fitness, subprocess.run(status).returncode,
      subprocess.run(status, env=others).returncode, file=sys.stdout, flush=True)
pool.close()
"""


@pytest.mark.slow
def test_a_ray_started_for_a_search_takes_nobody_without_its_token(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", LOCAL], env=environment, capture_output=True, text=True, timeout=120
    )
    mode, fitness, own, others = done.stdout.split()[-4:]
    assert (mode, fitness, own) == ("token", "-2.5", "0"), done.stdout + done.stderr
    assert others != "0"
    assert "asks for no token" not in done.stderr


def test_the_token_of_a_local_ray_is_the_users_own_or_a_random_one(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    protect(environment)
    assert environment["RAY_AUTH_MODE"] == "token"
    assert len(environment["RAY_AUTH_TOKEN"]) == 64
    (tmp_path / ".ray").mkdir()
    token = tmp_path / ".ray" / "auth_token"
    token.touch(mode=0o600)
    environment = {"HOME": str(tmp_path)}
    protect(environment)  # an empty file is no token, and Ray would refuse to start
    assert len(environment["RAY_AUTH_TOKEN"]) == 64
    token.write_text("secret")
    environment = {"HOME": str(tmp_path)}
    protect(environment)
    assert environment == {"HOME": str(tmp_path), "RAY_AUTH_MODE": "token"}
    environment = {"RAY_AUTH_MODE": "disabled"}
    protect(environment)
    assert environment == {"RAY_AUTH_MODE": "disabled"}
