"""The page of faults against the suite: what it names exists, and what exists is named."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.tiny import ROOT

PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE)
WHOLE = (
    "test_damage.py",
    "test_disk_limits.py",
    "test_elastic.py",
    "test_elastic_autoscaler.py",
    "test_elastic_search.py",
    "test_kills.py",
    "test_kills_of_comparisons.py",
    "test_kills_of_resumes.py",
    "test_pool_faults.py",
    "test_pool_faults_device.py",
    "test_power_cut.py",
    "test_read_only.py",
    "test_signals.py",
    "test_signals_at_start.py",
)
"""Files that test faults and nothing else: all their tests stand on the page."""


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_test_on_the_page_exists() -> None:
    assert len(NAMED) > 60
    for file, name in NAMED:
        assert name in names_in(ROOT / "tests" / file), f"{file}::{name}"


@pytest.mark.parametrize("file", WHOLE)
def test_every_test_of_faults_is_on_the_page(file: str) -> None:
    about_itself = {"test_the_run_that_is_damaged_here_has_every_kind_of_file"}
    named = {name for there, name in NAMED if there == file}
    assert names_in(ROOT / "tests" / file) - named <= about_itself


def test_every_row_of_the_page_is_whole() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    assert len(rows) > 50
    for row in rows:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        assert len(cells) == 3 and cells[0] and cells[1], row
    untested = [row for row in rows if not row.rstrip(" |").endswith(("`", ")", "test"))]
    # Ray's own servers end there, which no test of ours can wait for.
    assert [row.split("|")[1].strip() for row in untested] == ["SIGTERM to the whole process group"]


def test_no_scenario_stands_there_twice() -> None:
    rows = [line.split("|")[1].strip() for line in PAGE.splitlines() if line.startswith("| ")]
    repeated = {row for row, count in Counter(rows).items() if count > 1}
    assert repeated <= {"what happens"}
