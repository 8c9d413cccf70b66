"""What evo-nas submit refuses before it connects, what it sends along, and what the job is told."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from evo_nas.cluster.commands import Simple, simple_commands
from evo_nas.cluster.package import Package
from evo_nas.cluster.submit import RUN, Wanted, command, refuse_second
from evo_nas.cluster.token import use_token
from evo_nas.errors import ClusterError
from evo_nas.record.paths import stays
from tests.tiny import ROOT, evo_nas
from workers.cluster_jobs import Job

ADDRESS = ("--address", "http://127.0.0.1:9")
"""Nobody listens on the port `discard`."""
S3 = "s3://bucket/runs/first"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder, with a token in the home beside it."""
    home = tmp_path / "home" / ".ray"
    home.mkdir(parents=True)
    (home / "auth_token").write_text("0" * 64)
    (home / "auth_token").chmod(0o600)
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home.parent))
    here = tmp_path / "here"
    here.mkdir()
    (here / "book.txt").write_text("abc" * 1000)
    _write(here, 'data = "book.txt"')
    return here


def _write(here: Path, task: str, more: str = "") -> Path:
    path = here / "search.toml"
    path.write_text(f"[task]\n{task}\n[budget]\nevaluations = 4\n{more}")
    return path


@pytest.mark.parametrize("run", ["runs/first", "./first", "first", "~/runs"])
def test_a_run_directory_that_would_vanish_with_the_job_is_refused(folder: Path, run: str) -> None:
    done = evo_nas("submit", "search.toml", *ADDRESS, "--run", run, cwd=folder)
    assert done.returncode == 1
    assert f"--run {run} is relative, but a job's own folder vanishes with it. Give a URI" in (
        done.stderr
    )


def test_uris_and_absolute_paths_stay() -> None:
    assert all(stays(run) for run in (S3, "gs://bucket/first", "file:///runs/first", "/runs/first"))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o400, 0o700])
def test_a_token_that_is_not_the_owners_alone_is_refused(folder: Path, mode: int) -> None:
    token = folder.parent / "home" / ".ray" / "auth_token"
    token.chmod(mode)
    done = evo_nas("submit", "search.toml", *ADDRESS, "--run", S3, cwd=folder)
    assert done.returncode == 1
    assert f"{token} has mode {mode:04o}, so that others may have read the token" in done.stderr
    assert f"chmod 600 {token}" in done.stderr


def test_the_token_is_looked_for_where_ray_does(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "token"
    with pytest.raises(ClusterError, match=f"{elsewhere} is missing. Copy the cluster's, or make"):
        use_token({"RAY_AUTH_TOKEN_PATH": str(elsewhere)})
    elsewhere.touch(mode=0o600)
    with pytest.raises(ClusterError, match=f"{elsewhere} is empty"):
        use_token({"RAY_AUTH_TOKEN_PATH": str(elsewhere)})
    environment = {"RAY_AUTH_TOKEN_PATH": str(elsewhere), "RAY_AUTH_TOKEN": "secret"}
    use_token(environment)
    assert environment["RAY_AUTH_MODE"] == "token"


def test_a_task_of_ones_own_is_sent_only_if_the_command_line_names_it(folder: Path) -> None:
    _write(folder, 'kind = "my_task:make"')
    (folder / "my_task.py").write_text("")
    words = ("submit", "search.toml", *ADDRESS, "--run", S3)
    refused = evo_nas(*words, cwd=folder)
    assert refused.returncode == 1
    assert "If you trust it and the file, say so: --task my_task:make" in refused.stderr
    sent = evo_nas(*words, "--task", "my_task:make", cwd=folder)
    assert "the cluster at http://127.0.0.1:9 cannot be used: " in sent.stderr


def test_a_cluster_that_does_not_answer_is_told_in_one_line(folder: Path) -> None:
    done = evo_nas("submit", "search.toml", *ADDRESS, "--run", S3, cwd=folder)
    assert done.returncode == 1
    assert "the cluster at http://127.0.0.1:9 cannot be used: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("search.toml",), "give CLUSTER.yaml CONFIG.toml, or --address"),
        (("a.yaml", "search.toml", *ADDRESS), "give CLUSTER.yaml CONFIG.toml, or --address"),
        (("a.yaml", "search.toml"), "a.yaml: there is no such file"),
        (("pods.yaml", "search.toml"), "pods.yaml is a manifest of KubeRay: 'kubectl apply -f"),
        (("missing.toml", *ADDRESS), "missing.toml: there is no such file"),
    ],
)
def test_what_is_missing_on_the_command_line_is_named(
    folder: Path, files: Sequence[str], said: str
) -> None:
    shutil.copy(ROOT / "examples" / "kuberay-rayjob.yaml", folder / "pods.yaml")
    done = evo_nas("submit", *files, "--run", S3, cwd=folder)
    assert done.returncode in (1, 2)
    assert said in done.stderr


def test_a_search_without_an_end_is_refused(folder: Path) -> None:
    (folder / "search.toml").write_text('[task]\ndata = "book.txt"\n')
    done = evo_nas("submit", "search.toml", *ADDRESS, "--run", S3, cwd=folder)
    assert done.returncode == 1
    assert "the search has no end. Add --evaluations N or --hours H." in done.stderr


def test_the_job_is_told_what_the_command_was_told() -> None:
    flags = {"hours": 2.5, "evaluations": None, "workers": 4, "task": "my_task:make"}
    package = Package(Path("p"), "data/a book.txt")
    words = shlex.split(command(Wanted("s3://b/a run", False, flags), package))
    assert words == shlex.split(
        "evo-nas job search.toml --run 's3://b/a run' --new --hours 2.5 --workers 4 "
        "--task my_task:make --data 'data/a book.txt'"
    )
    words = shlex.split(command(Wanted(S3, True, {}), Package(Path("p"), None)))
    assert words == ["evo-nas", "job", "search.toml", "--run", S3, "--resume"]


def _job(status: str, name: str = "evo-nas-first-0-1") -> Job:
    return Job(name, status, {RUN: S3}, "")


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_a_run_is_written_by_one_job_at_a_time(status: str, resume: bool) -> None:
    with pytest.raises(ClusterError, match=rf"{S3} is being written by the job \S+ \({status}\)"):
        refuse_second(Wanted(S3, resume, {}), [_job("FAILED"), _job(status)])


@pytest.mark.parametrize("status", ["SUCCEEDED", "STOPPED"])
def test_a_run_that_a_job_has_written_is_gone_on_with_and_not_begun_again(status: str) -> None:
    with pytest.raises(ClusterError, match=r"exists \(the job \S+ \w+\). Go on with it by adding"):
        refuse_second(Wanted(S3, False, {}), [_job(status)])
    refuse_second(Wanted(S3, True, {}), [_job(status)])
    # A path of the head, which this machine does not see.
    refuse_second(Wanted("/runs/first", False, {}), [_job("FAILED")])


@pytest.mark.parametrize(
    ("run", "more", "code", "said"),
    [
        ("run", ("--new",), 1, "job's own folder vanishes"),
        (
            "{here}/run",
            ("--workers", "0", "--evaluations", "2"),
            1,
            "workers is 0, which evaluates",
        ),
        ("{here}/run", ("--evaluations", "2"), 1, "no Ray cluster at address 'auto'"),
    ],
)
def test_a_job_refuses_what_cannot_work(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: str,
    more: Sequence[str],
    code: int,
    said: str,
) -> None:
    # A port where nobody listens: no Ray of this machine may be joined.
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    done = evo_nas("job", "search.toml", "--run", run.format(here=folder), *more, cwd=folder)
    assert done.returncode == code
    assert said in done.stderr, done.stderr


def test_shell_lines_are_taken_apart_with_their_variables() -> None:
    line = 'A=1; export B="x y" C=2 && ~/bin/ray start --head D=3 | tee log || E=4 ray stop'
    assert simple_commands(line) == [
        Simple(("~/bin/ray", "start", "--head", "D=3"), {"A": "1", "B": "x y", "C": "2"}),
        Simple(("tee", "log"), {"A": "1", "B": "x y", "C": "2"}),
        Simple(("ray", "stop"), {"A": "1", "B": "x y", "C": "2", "E": "4"}),
    ]
    first = simple_commands("ray start --port=1 --port 2 --ports=3")[0]
    assert first.values("--port") == ["1", "2"]
    assert first.runs("ray", "start") and not first.runs("ray", "stop")
