"""Runs in Google Cloud Storage, as far as an emulator of it goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from gcp_storage_emulator.server import create_server
from tiny import SMALL, evo_nas, tiny_text

from evo_nas.record import run_path
from evo_nas.record.bucket import RemotePath
from evo_nas.record.storage import move_durably, write_durably

BUCKET = "runs"


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[RemotePath]:
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    server.start()
    port = server._api._httpd.server_port  # the one that the system gave it
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    path = run_path(f"gs://{BUCKET}/team/first")
    assert isinstance(path, RemotePath)
    yield path
    server.stop()


def test_objects_are_files_of_a_run(root: RemotePath) -> None:
    write_durably(root / "run.json", b"content")
    with pytest.raises(FileExistsError, match="is never written again"):
        write_durably(root / "run.json", b"other")
    (root / "comparisons" / "001" / "run.json").put(b"one")
    (root / "comparisons" / "002" / "run.json").put(b"two")
    assert sorted(path.name for path in root.iterdir()) == ["comparisons", "run.json"]
    assert sorted(path.name for path in (root / "comparisons").iterdir()) == ["001", "002"]
    assert list((root / "nothing").iterdir()) == []
    assert (root / "run.json").is_file()
    assert (root / "comparisons").is_dir()
    assert not (root / "nothing").exists()
    move_durably(root / "run.json", "run.json.1")
    assert (root / "run.json.1").read_bytes() == b"content"
    with pytest.raises(FileNotFoundError, match="there is no such object"):
        (root / "run.json").read_bytes()


def test_a_search_is_run_resumed_and_read(root: RemotePath, tmp_path: Path) -> None:
    begun = ["search", "--task", "text", "--data", str(tiny_text(tmp_path)), "--run", str(root)]
    finished = evo_nas(*begun, *SMALL, "--workers", "0", "--evaluations", "6", "--seeds", "0")
    assert finished.returncode == 0, finished.stderr
    finished = evo_nas("resume", str(root), "--evaluations", "8")
    assert finished.returncode == 0, finished.stderr
    shown = evo_nas("status", str(root), "--json")
    assert json.loads(shown.stdout)["evaluations"] == 8
    assert list((root / "lease").iterdir()) == []
