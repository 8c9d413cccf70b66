"""What evo-nas submit refuses before it connects, what it sends along, and what the job is told."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from click.testing import CliRunner
from dashboard_server import running_dashboard

from evo_nas import search
from evo_nas.cli import main
from evo_nas.cli_cluster import _check_address, _next
from evo_nas.cluster import submit as submitting
from evo_nas.cluster.job import run_job
from evo_nas.cluster.package import Package, pack
from evo_nas.cluster.submit import RUN, Wanted, command, refuse_second, submit, watch_start
from evo_nas.cluster.token import use_token
from evo_nas.config import load
from evo_nas.errors import ClusterError
from evo_nas.record.paths import stays
from tests.tiny import ROOT, evo_nas
from workers import tasks
from workers.cluster_jobs import Job, Jobs
from workers.limits import PoolError

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


def _refused(folder: Path, *words: str, code: int = 1) -> str:
    """What `submit` says that ends early: in this process."""
    with contextlib.chdir(folder):
        done = CliRunner().invoke(main, ["submit", *words])
    assert done.exit_code == code, done.output
    return done.stderr


@pytest.mark.parametrize("run", ["runs/first", "./first", "first", "~/runs"])
def test_a_run_directory_that_would_vanish_with_the_job_is_refused(folder: Path, run: str) -> None:
    said = _refused(folder, "search.toml", *ADDRESS, "--run", run)
    assert f"--run {run} is relative, but a job's own folder vanishes with it. Give a URI" in said


def test_uris_and_absolute_paths_stay() -> None:
    assert all(stays(run) for run in (S3, "gs://bucket/first", "file:///runs/first", "/runs/first"))


def test_a_token_that_is_not_the_owners_alone_is_refused(folder: Path) -> None:
    token = folder.parent / "home" / ".ray" / "auth_token"
    token.chmod(0o640)
    done = evo_nas("submit", "search.toml", *ADDRESS, "--run", S3, cwd=folder)
    assert done.returncode == 1
    assert f"{token} has mode 0640, which must be 0600. The cluster's token is to be" in done.stderr


def test_the_token_is_looked_for_where_ray_does(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "token"
    with pytest.raises(
        ClusterError, match=f"no token: {elsewhere} is missing. The cluster's token is to be"
    ):
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
    said = _refused(folder, *words[1:])
    assert "If you trust it and the file, say so: --task my_task:make" in said
    sent = evo_nas(*words, "--task", "my_task:make", cwd=folder)
    # Nobody is there, which is told in one line.
    assert sent.returncode == 1
    assert "the cluster at http://127.0.0.1:9 cannot be used: " in sent.stderr
    assert "Traceback" not in sent.stderr


@pytest.mark.parametrize(
    ("files", "code", "said"),
    [
        (("search.toml",), 2, "give CLUSTER.yaml CONFIG.toml, or --address"),
        (("a.yaml", "search.toml", *ADDRESS), 2, "give CLUSTER.yaml CONFIG.toml, or --address"),
        (("missing.toml", *ADDRESS), 1, "missing.toml: there is no such file"),
        (("search.toml", "--address", "127.0.0.1:9"), 2, "--address 127.0.0.1:9 is no URL, such"),
        (
            ("search.toml", "--address", "os://h:9"),
            2,
            "--address os://h:9 is no URL, such",
        ),
    ],
)
def test_what_is_missing_on_the_command_line_is_named(
    folder: Path, files: Sequence[str], code: int, said: str
) -> None:
    assert said in _refused(folder, *files, "--run", S3, code=code)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("a.yaml", "a.yaml: there is no such file"),
        ("pods.yaml", "pods.yaml is a manifest of KubeRay: 'kubectl apply -f"),
    ],
)
def test_a_file_that_describes_no_cluster_of_ray_up_is_refused(
    folder: Path, file: str, said: str
) -> None:
    shutil.copy(ROOT / "examples" / "kuberay-rayjob.yaml", folder / "pods.yaml")
    done = evo_nas("submit", file, "search.toml", "--run", S3, cwd=folder)
    assert done.returncode == 1
    assert said in done.stderr


def test_a_search_without_an_end_is_refused(folder: Path) -> None:
    (folder / "search.toml").write_text('[task]\ndata = "book.txt"\n')
    said = _refused(folder, "search.toml", *ADDRESS, "--run", S3)
    assert "the search has no end. Add --evaluations N or --hours H." in said


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


def test_the_last_job_of_a_run_is_named_in_whatever_order_they_come() -> None:
    jobs = [_job("SUCCEEDED", "evo-nas-r-0-10"), _job("STOPPED", "evo-nas-r-0-9")]
    with pytest.raises(ClusterError, match=r"\(the job evo-nas-r-0-10 SUCCEEDED\)"):
        refuse_second(Wanted(S3, False, {}), jobs)


def _packed(folder: Path) -> Package:
    file = folder / "search.toml"
    return pack(file, load(file), None, folder, folder.parent / "job.zip")


def test_a_name_is_new_even_if_earlier_jobs_were_deleted(folder: Path) -> None:
    package = _packed(folder)
    with running_dashboard() as dashboard:
        jobs = Jobs(dashboard.url)
        names = [submit(jobs, Wanted(S3, True, {}), package) for _ in range(2)]
        assert [name.rpartition("-")[2] for name in names] == ["1", "2"]
        del dashboard.jobs[0]  # `ray job delete`
        assert submit(jobs, Wanted(S3, True, {}), package) == f"{names[0][:-1]}3"


@pytest.mark.parametrize("seconds", [float("nan"), -1.0, 0.0])
def test_looking_at_a_job_ends(folder: Path, seconds: float) -> None:
    package = _packed(folder)
    with running_dashboard() as dashboard:
        dashboard.status = "RUNNING"
        jobs = Jobs(dashboard.url)
        name = submit(jobs, Wanted(S3, True, {}), package)
        assert watch_start(jobs, name, seconds) == "RUNNING"


def test_a_submitted_search_is_told_how_to_go_on_without_a_cluster(folder: Path) -> None:
    with running_dashboard() as dashboard:
        words = ("submit", "search.toml", "--address", dashboard.url, "--run", S3, "--resume")
        done = evo_nas(*words, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert dashboard.files() == ["data/book.txt", "search.toml"]
        assert set(dashboard.authorizations) == {f"Bearer {'0' * 64}"}
        (job,) = dashboard.jobs
        assert done.stdout == f"{job['submission_id']}\n"
        assert job["entrypoint"].endswith(f"--run {S3} --resume --data data/book.txt")
    assert f"this machine: evo-nas resume {S3} --address local --data book.txt\n" in done.stderr
    assert "the job is SUCCEEDED" in done.stderr


def test_looking_may_be_interrupted_and_the_job_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(submitting, "watch_start", interrupted)
    for name in ("RAY_AUTH_MODE", "RAY_API_SERVER_ADDRESS"):  # which the command sets, for itself
        monkeypatch.setenv(name, "")
    with running_dashboard() as dashboard:
        words = ("search.toml", "--address", dashboard.url, "--run", S3, "--resume")
        said = _refused(folder, *words, code=130)
        assert len(dashboard.jobs) == 1
    assert said.endswith("\nno longer looked at; the job goes on\n")


def test_a_token_that_travels_unencrypted_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for address in ("http://127.0.0.1:9", "http://localhost:9", "https://head.example:9"):
        _check_address(address)
    assert capsys.readouterr().err == ""
    _check_address("http://head.example:9")
    said = capsys.readouterr().err
    assert "warning: the token goes to head.example unencrypted, for whoever is on" in said


def test_what_to_do_next_names_the_ports_and_quotes_what_the_shell_would_take() -> None:
    again = {"--data": "a book.txt", "--task": "my_task:make"}
    said = _next("J", "/runs/first", Path("my cluster.yaml"), 9000, "http://127.0.0.1:5", again)
    assert "  ray dashboard 'my cluster.yaml' --remote-port=9000    (leave it running)\n" in said
    assert " RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265\n" in said
    assert said.endswith("ended: the same command with --resume")
    said = _next("J", S3, None, 8265, "http://127.0.0.1:5/?a=1&b=2", again)
    assert " RAY_API_SERVER_ADDRESS='http://127.0.0.1:5/?a=1&b=2'\n" in said
    assert said.endswith(
        f"evo-nas resume {S3} --address local --data 'a book.txt' --task my_task:make"
    )
    said = _next("J", S3, Path("c.yaml"), 8265, "", {"--data": None})
    assert "  ray dashboard c.yaml    (leave it running)\n" in said
    assert said.endswith(f"evo-nas resume {S3} --address local")


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("s4://bucket/first", "s4://bucket/first: runs cannot lie in s4://"),
        ("s3://bucket", "s3://bucket is no place for a run. Give a bucket and a path"),
    ],
)
def test_a_run_in_a_place_that_is_none_is_refused_before_anything_is_sent(
    folder: Path, run: str, said: str
) -> None:
    assert said in _refused(folder, "search.toml", *ADDRESS, "--run", run)


@pytest.mark.parametrize("mode", ["new", "either"])
def test_a_job_reads_its_data_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mode: Literal["new", "either"]
) -> None:
    read: list[str] = []

    def note(kind: str, *more: Any) -> Any:
        read.append(kind)
        return make(kind, *more)

    def no_machines(*_: Any) -> None:
        raise PoolError("no machine")

    make = tasks.load_task
    monkeypatch.setattr(tasks, "load_task", note)
    monkeypatch.setattr(search, "pool_of", no_machines)
    config = load(_write(folder, 'kind = "text"', "[training]\nbatch_size = 4\n"))
    with pytest.raises(PoolError, match="no machine"):
        run_job(config, str(folder / "run"), mode, {"data": str(folder / "book.txt")})
    assert read == ["text"]


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
        ("{here}/run", ("--evaluations", "2"), 1, "give --address local to use this machine"),
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
