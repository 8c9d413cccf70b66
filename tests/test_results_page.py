"""What `docs/results.md` shows is what the records beside it say."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.project import ROOT
from tests.tiny import evo_nas

RECORDS = sorted((ROOT / "docs" / "records").glob("*.tar.xz"))
PAGE = ROOT / "docs" / "results.md"


def test_there_are_records() -> None:
    assert len(RECORDS) >= 3


@pytest.mark.parametrize("archive", RECORDS, ids=lambda path: path.name.split(".")[0])
def test_a_table_of_results_is_that_of_its_record(archive: Path, tmp_path: Path) -> None:
    name = archive.name.split(".")[0]
    with tarfile.open(archive) as files:
        files.extractall(tmp_path / "runs", filter="data")
    shown = evo_nas("compare", f"runs/{name}", "--last", "--markdown", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    # The record says where it lay then.
    lines = [line for line in shown.stdout.splitlines() if not line.startswith("- random search:")]
    page = PAGE.read_text().splitlines()
    assert [line for line in lines if line not in page] == []
    assert sum("verdict:" in line for line in lines) == 1
