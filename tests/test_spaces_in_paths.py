"""Everything works from a folder whose path holds spaces and quotes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = "import sys; from evo_nas.cli import main; sys.exit(main())"


@pytest.mark.slow
def test_ray_workers_start_from_an_installation_below_a_path_with_spaces(tmp_path: Path) -> None:
    home = tmp_path / "a user's own folder"
    home.mkdir()
    (home / "venv").symlink_to(sys.prefix)
    (home / "some text").write_text("the cat sat on the mat. " * 400, encoding="utf-8")
    python = home / "venv" / "bin" / "python"
    flags = (
        "--workers 1 --evaluations 2 --population 2 --seeds 0 --steps 3 --hidden-size 8 "
        "--batch-size 4"
    ).split()
    done = subprocess.run(
        [python, "-c", MAIN, "search", *flags, "--data", "some text", "--run", "a run", "--json"],
        cwd=home,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    shown = subprocess.run(
        [python, "-c", MAIN, "status", "a run", "--json"],
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(shown.stdout)["evaluations"] == 2
