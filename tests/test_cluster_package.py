"""What travels with a job, and what does not."""

from __future__ import annotations

import os
import re
import socket
import zipfile
from pathlib import Path

import pytest
from dashboard_server import running_dashboard
from ray._private.ray_constants import DASHBOARD_CLIENT_MAX_SIZE

from evo_nas.cluster import package as packing
from evo_nas.cluster.package import MOST_BYTES, Package, pack
from evo_nas.config import load
from evo_nas.errors import ClusterError
from workers import cluster_jobs
from workers.cluster_jobs import Jobs, JobsError


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A user's folder."""
    folder = tmp_path / "here"
    (folder / "words" / "deep").mkdir(parents=True)
    (folder / "words" / "deep" / "a.txt").write_text("a")
    (folder / "book.txt").write_text("abc" * 1000)
    write(folder, 'data = "book.txt"')
    return folder


def write(here: Path, task: str, more: str = "") -> None:
    """Another configuration."""
    (here / "search.toml").write_text(f"[task]\n{task}\n[budget]\nevaluations = 4\n{more}")


def packed(here: Path, data: str | None = None) -> Package:
    """The package of the configuration there."""
    file = here / "search.toml"
    return pack(file, load(file), data, here, here.parent / "job.zip")


def files(package: Package) -> list[str]:
    """What is in it."""
    with zipfile.ZipFile(package.file) as archive:
        return sorted(archive.namelist())


def test_the_configuration_and_data_of_this_machine_travel(here: Path) -> None:
    package = packed(here)
    assert files(package) == ["data/book.txt", "search.toml"]
    assert package.data == "data/book.txt"
    with zipfile.ZipFile(package.file) as archive:
        assert archive.read("data/book.txt") == b"abc" * 1000
        assert archive.read("search.toml") == (here / "search.toml").read_bytes()


@pytest.mark.parametrize("data", ["words", "words/", "./words/.", "../here/words", "words/deep/.."])
def test_data_of_the_command_line_travel_instead(here: Path, data: str) -> None:
    package = packed(here, data)
    assert files(package) == ["data/words/deep/a.txt", "search.toml"]
    assert package.data == "data/words"


@pytest.mark.parametrize(
    "data", ["/home/ubuntu/book.txt", "builtin:pydoc-topics", "s3://bucket/book.txt", None]
)
def test_what_lies_elsewhere_does_not_travel(here: Path, data: str | None) -> None:
    if data is None:
        write(here, 'kind = "text"')
    package = packed(here, data)
    assert files(package) == ["search.toml"]
    assert package.data == data


def test_what_git_would_leave_out_reaches_the_cluster(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")  # what is given counts
    (here / "words" / ".gitignore").write_text("*\n")
    with running_dashboard() as dashboard:
        Jobs(dashboard.url).submit("name", "true", packed(here, "words").file, {})
        assert dashboard.files() == [
            "data/words/.gitignore",
            "data/words/deep/a.txt",
            "search.toml",
        ]
        assert dashboard.jobs[0]["runtime_env"]["working_dir"].startswith("gcs://")


def test_data_that_are_missing_are_refused(here: Path) -> None:
    with pytest.raises(ClusterError, match=r"the data other.txt are not in .* absolute path"):
        packed(here, "other.txt")


def test_the_limit_is_the_dashboards() -> None:
    assert MOST_BYTES == DASHBOARD_CLIENT_MAX_SIZE


def test_what_is_too_large_packed_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MOST_BYTES", 2**20)
    (here / "large.txt").write_bytes(bytes(8 * 2**20))
    assert packed(here, "large.txt").file.stat().st_size < 2**16
    (here / "words" / "noise.bin").write_bytes(os.urandom(2**20))
    with pytest.raises(
        ClusterError, match=r"the data words above all, takes more than 1 MiB packed"
    ):
        packed(here, "words")
    (here / "my_task").mkdir()
    (here / "my_task" / "__init__.py").touch()
    (here / "my_task" / "noise.bin").write_bytes(os.urandom(2**20))
    write(here, 'kind = "my_task:make"')
    with pytest.raises(ClusterError, match="the module of its task above all, takes more than 1 M"):
        packed(here)


@pytest.mark.parametrize("data", ["", ".", "..", "words/..", "../../"])
def test_a_folder_that_holds_the_command_itself_is_no_data(here: Path, data: str) -> None:
    with pytest.raises(ClusterError, match=r"are the folder of this command itself, or hold it"):
        packed(here, data)


def test_a_configuration_cannot_send_what_lies_outside_of_the_folder(here: Path) -> None:
    key = here.parent / ".ssh" / "id_ed25519"
    key.parent.mkdir()
    key.write_text("secret")
    (here / "innocent.txt").symlink_to(key)
    for data in ("../.ssh/id_ed25519", "innocent.txt"):
        write(here, f'data = "{data}"')
        with pytest.raises(ClusterError, match=f"lie outside of this folder, at {key}. If they"):
            packed(here)
    assert files(packed(here, "innocent.txt")) == ["data/innocent.txt", "search.toml"]


def test_links_of_a_folder_travel_only_if_they_stay_in_it(here: Path) -> None:
    words = here / "words"
    (words / "again.txt").symlink_to("deep/a.txt")
    assert files(packed(here, "words"))[0] == "data/words/again.txt"
    for end, said in (
        (here / "book.txt", "outside of what was named. Put a copy in its place"),
        (Path("/dev/zero"), "outside of what was named"),
        (Path("."), "or a link to a folder. Take it away"),
        (Path("deep"), "or a link to a folder. Take it away"),
        (Path("nowhere"), "is neither a file nor a folder"),
        (Path("odd"), "is neither a file nor a folder"),  # itself
    ):
        (words / "odd").symlink_to(end)
        with pytest.raises(ClusterError, match=rf"the data words cannot travel.*/odd .*{said}"):
            packed(here, "words")
        (words / "odd").unlink()


def test_what_is_no_file_or_cannot_be_named_is_refused(here: Path) -> None:
    pipe = here / "words" / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ClusterError, match=rf"{pipe} is neither a file nor a folder"):
        packed(here, "words")
    pipe.unlink()
    for name in ("a\\b", os.fsdecode(b"\xff")):
        (here / "words" / name).touch()
        with pytest.raises(ClusterError, match=r"has a name that a package cannot hold. Rename it"):
            packed(here, "words")
        (here / "words" / name).unlink()


def test_the_module_of_a_task_of_ones_own_travels(here: Path) -> None:
    write(here, 'kind = "my_task:make"')
    (here / "my_task.py").touch()
    assert files(packed(here)) == ["my_task.py", "search.toml"]
    write(here, 'kind = "mine.deep:make"')
    (here / "mine" / "__pycache__").mkdir(parents=True)
    for name in ("__init__.py", "deep.py", "__pycache__/deep.pyc"):
        (here / "mine" / name).touch()
    assert files(packed(here)) == ["mine/__init__.py", "mine/deep.py", "search.toml"]
    (here / "mine" / "key.txt").symlink_to("../../key")
    with pytest.raises(ClusterError, match=r"the module mine cannot travel with a job: .*key.txt"):
        packed(here)


def test_an_earlier_run_that_the_cluster_cannot_read_is_refused(here: Path) -> None:
    write(here, "", '[evolution]\nstrategy = "guided"\nwarm_start = ["runs/before"]\n')
    with pytest.raises(ClusterError, match=r"the earlier run runs/before \(warm_start\) lies on"):
        packed(here)


def test_a_server_that_takes_a_request_and_is_silent_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster_jobs, "ANSWER_SECONDS", 0.2)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(
            JobsError, match=rf"the cluster at {address} cannot be used: .*timed out"
        ):
            Jobs(address)


def test_of_a_long_error_the_end_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    long = RuntimeError(f"status 500: {'  File aiohttp' * 200}\nEntityTooLarge: the reason")
    assert re.fullmatch(
        r"status 500: .{138} \[\.\.\.\] .*EntityTooLarge: the reason", cluster_jobs._short(long)
    )
