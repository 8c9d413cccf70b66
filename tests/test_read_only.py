"""A run on a disk that takes nothing: refused in one line, and readable."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faulty_runs import search_words
from tests.tiny import environment, evo_nas

# In a mount namespace of its own, so that nobody else sees the disk as read-only. Permission bits
# would not do: they do not bind the superuser, who runs the tests in many containers.
MOUNT = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'


def read_only(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line where everything below a folder is read-only."""
    namespace = ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT, str(folder)]
    return subprocess.run(
        [*namespace, sys.executable, "-m", "evo_nas", *words],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
        timeout=60,
    )


@pytest.fixture(autouse=True)
def _namespaces(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or read_only(tmp_path, "--version").returncode != 0:
        pytest.skip("needs a kernel that lets this user mount in a namespace (unshare --mount)")


@pytest.mark.slow
def test_a_search_and_a_resume_on_a_read_only_disk_are_refused_in_one_line(tmp_path: Path) -> None:
    words = search_words(tmp_path / "run", evaluations=5, checkpoint_segments=3)
    assert evo_nas(*words).returncode == 0
    other = search_words(tmp_path / "other", evaluations=5, checkpoint_segments=3)
    for refused in (
        read_only(tmp_path, "resume", str(tmp_path / "run"), "--evaluations", "9"),
        read_only(tmp_path, *other),
    ):
        assert refused.returncode == 1, refused.stderr
        assert "Traceback" not in refused.stderr
        last = refused.stderr.strip().splitlines()[-1]
        assert last.startswith("Error: [Errno 30] Read-only file system: ")
        assert str(tmp_path) in last
    resumed = evo_nas("resume", str(tmp_path / "run"), "--evaluations", "9")
    assert resumed.returncode == 0, resumed.stderr


@pytest.mark.slow
def test_readers_work_on_a_read_only_disk(tmp_path: Path) -> None:
    words = search_words(tmp_path / "run", evaluations=5, checkpoint_segments=3)
    assert evo_nas(*words).returncode == 0
    for reading in (["status"], ["lineage"], ["export", "--birth", "0"], ["compare", "--last"]):
        read = read_only(tmp_path, reading[0], str(tmp_path / "run"), *reading[1:])
        assert read.returncode == 0, read.stderr
