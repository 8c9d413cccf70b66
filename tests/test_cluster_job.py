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


def _configuration(folder: Path) -> Path:
    path = folder / "search.toml"
    path.write_text(
        '[task]\nkind = "text"\ndata = "text.txt"\n'
        "[training]\nhidden_size = 8\nbatch_size = 4\nsteps = 3\n"
        "[evolution]\npopulation = 2\n[workers]\nworkers = 1\n[compare]\nseeds = 0\n",
        encoding="utf-8",
    )
    return path


def _evaluations(run: Path) -> int:
    shown = subprocess.run(
        [EVO_NAS, "status", run, "--json"], capture_output=True, text=True, check=True
    )
    count: int = json.loads(shown.stdout)["evaluations"]
    return count


def test_the_same_job_begins_a_run_and_goes_on_with_it(head: Head, tmp_path: Path) -> None:
    """What a pod of Kubernetes does that is tried again."""
    run = tmp_path / "run"
    words = (EVO_NAS, "job", _configuration(tmp_path), "--run", run, "--data", _text(tmp_path))
    for evaluations in (3, 5):
        done = _submit(head, *words, "--evaluations", str(evaluations))
        assert done.returncode == 0, done.stdout + done.stderr
        assert _evaluations(run) == evaluations

    new = _submit(head, *words, "--evaluations", "5", "--new")
    assert new.returncode != 0
    assert f"the run {run} exists. Go on with it by adding --resume" in new.stdout
    other = _submit(head, *words[:4], tmp_path / "other", "--evaluations", "5", "--resume")
    assert other.returncode != 0
    assert f"{tmp_path}/other holds no run" in other.stdout

    # Without any cluster, as `submit` says for a run in a bucket.
    words = (EVO_NAS, "resume", run, "--address", "local", "--data", _text(tmp_path))
    alone = subprocess.run([*words, "--evaluations", "6"], capture_output=True, text=True)
    assert alone.returncode == 0, alone.stderr
    assert _evaluations(run) == 6


def test_a_search_is_submitted_to_a_dashboard_and_gone_on_with(head: Head, tmp_path: Path) -> None:
    _text(tmp_path)
    _configuration(tmp_path)
    run = tmp_path / "runs" / "first"

    # The token alone: that it is to be used is for the command to know.
    environment = {k: v for k, v in head.environment.items() if k != "RAY_AUTH_MODE"}

    def submit(*more: str) -> subprocess.CompletedProcess[str]:
        words = [EVO_NAS, "submit", "--address", head.dashboard, "search.toml", "--run", run, *more]
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)

    first = submit("--evaluations", "3", "--watch", "100")
    assert first.returncode == 0, first.stderr
    assert "the job is SUCCEEDED" in first.stderr
    assert _evaluations(run) == 3
    again = submit("--evaluations", "3", "--run", f"{run}/")
    assert again.returncode == 1
    assert f"the run {run} exists (the job {first.stdout.strip()} SUCCEEDED)" in again.stderr
    more = submit("--evaluations", "5", "--watch", "100", "--resume")
    assert more.returncode == 0, more.stderr
    assert _evaluations(run) == 5


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
