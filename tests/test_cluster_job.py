"""A search as a job of a real cluster of one machine, which wants a token."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_head import RAY, Head, processes_of_session, running_head

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EVO_NAS = Path(sys.executable).with_name("evo-nas")
SEARCH = (
    "search --address auto --workers 1 --evaluations 4 --population 2 --seeds 0 --steps 3 "
    "--hidden-size 8 --batch-size 4 --task text"
).split()


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with running_head(cpus=1) as running:
        yield running
    assert processes_of_session(running.pid) == []


def _submit(
    head: Head, *entrypoint: str | Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RAY, "job", "submit", f"--address={head.dashboard}", "--log-color=false", "--"]
        + [str(word) for word in entrypoint],
        env=environment or dict(head.environment),
        capture_output=True,
        text=True,
        timeout=200,
    )


def _text(folder: Path) -> Path:
    path = folder / "text.txt"
    path.write_text("the cat sat on the mat, and the dog sat on the log. " * 200, encoding="utf-8")
    return path


def test_a_job_searches_on_the_cluster_and_leaves_a_run(head: Head, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "first"
    done = _submit(head, EVO_NAS, *SEARCH, "--data", _text(tmp_path), "--run", run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded" in done.stdout

    shown = subprocess.run(
        [EVO_NAS, "status", run, "--json"], capture_output=True, text=True, check=True
    )
    status = json.loads(shown.stdout)
    assert status["evaluations"] == 4, status


def test_a_job_refuses_a_run_directory_that_would_vanish_with_it(
    head: Head, tmp_path: Path
) -> None:
    done = _submit(head, EVO_NAS, *SEARCH, "--data", _text(tmp_path), "--run", "runs/first")
    assert done.returncode != 0
    assert "runs/first" in done.stdout
    assert "absolute" in done.stdout


def test_a_client_without_the_token_cannot_submit(head: Head, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    environment = {k: v for k, v in head.environment.items() if not k.startswith("RAY_AUTH_")}
    environment["HOME"] = str(tmp_path)  # ~/.ray/auth_token may be the user's own
    done = _submit(head, "touch", proof, environment=environment)
    assert done.returncode != 0
    assert "Missing authentication token" in done.stderr
    assert not proof.exists()


def test_a_client_with_another_token_cannot_submit(head: Head, tmp_path: Path) -> None:
    proof, other = tmp_path / "proof", tmp_path / "token"
    other.write_text("0" * 64, encoding="utf-8")
    environment = dict(head.environment) | {"RAY_AUTH_TOKEN_PATH": str(other)}
    done = _submit(head, "touch", proof, environment=environment)
    assert done.returncode != 0
    assert "Invalid authentication token" in done.stderr
    assert not proof.exists()


def test_the_token_is_the_owners_alone_and_the_dashboard_this_machines(head: Head) -> None:
    token = Path(head.environment["RAY_AUTH_TOKEN_PATH"])
    assert token.stat().st_mode & 0o777 == 0o600
    port = int(head.dashboard.rpartition(":")[2])
    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path("/proc/net", table).read_text(encoding="utf-8").splitlines()[1:]
        if line.split()[3] == "0A" and int(line.split()[1].rpartition(":")[2], 16) == port
    ]
    assert [address.partition(":")[0] for address in listening] == ["0100007F"]
