"""What a stranger meets first: make's targets, the pinned versions, the command, the guide."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from project import PACKAGES, ROOT, pins

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TARGET = re.compile(r"^([a-z][a-z-]*):(?!=)", re.MULTILINE)


def _make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def _requirements() -> list[Requirement]:
    project = PROJECT["project"]
    extras = project["optional-dependencies"].values()
    return [Requirement(r) for group in (project["dependencies"], *extras) for r in group]


def test_make_alone_lists_every_target_with_what_it_does() -> None:
    targets = TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8"))
    assert {"help", "search", "test", "test-slow", "lint", "clean"} <= set(targets)
    done = _make(ROOT)
    assert done.returncode == 0, done.stderr
    listed = re.findall(r"^  make ([a-z-]+) +\S.+$", done.stdout, re.MULTILINE)
    assert listed == targets


def test_every_search_writes_a_new_run_directory() -> None:
    done = _make(ROOT, "--dry-run", "--old-file=.venv/.installed", "search")
    assert "evo-nas search examples/quickstart.toml --run " in done.stdout
    assert "$(date +%Y%m%d-%H%M%S)" in done.stdout


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('[ "$1" = --version ] && echo Python 3.10.4 && exit 0; exit 1', "Python 3.10.4"),
        ("echo broken >&2; exit 127", "broken"),
    ],
)
def test_an_old_or_broken_python_is_refused_by_name(tmp_path: Path, script: str, said: str) -> None:
    folder = tmp_path / "with a space"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    python.chmod(0o755)
    done = _make(folder, f"PYTHON={python}", "search")
    assert done.returncode != 0
    assert f"evo-nas needs Python 3.11 or newer, but '{python}' is none" in done.stderr
    assert said in done.stderr
    assert "make PYTHON=/path/to/python3.11 search" in done.stderr
    assert not (folder / ".venv").exists()


def test_everything_the_project_names_is_pinned_within_its_range() -> None:
    pinned = pins()
    wrong = [
        str(requirement)
        for requirement in _requirements()
        if not requirement.specifier.contains(pinned.get(requirement.name.lower(), "0"))
    ]
    assert wrong == []


def test_torch_is_pinned_without_a_local_tag_so_that_every_build_satisfies_it() -> None:
    assert "+" not in pins()["torch"]
    (torch,) = (r for r in _requirements() if r.name == "torch")
    assert torch.specifier.contains("2.11.0")
    assert torch.specifier.contains("2.13.0+cpu")


def test_what_is_installed_is_what_is_pinned() -> None:
    from importlib.metadata import version

    names = {requirement.name for requirement in _requirements()} - {"boto3"}
    installed = {name: version(name).partition("+")[0] for name in names}
    assert installed == {name: pins()[name.lower()] for name in names}


def test_the_packages_are_marked_as_typed() -> None:
    assert [name for name in PACKAGES if not (ROOT / name / "py.typed").is_file()] == []


def test_the_command_is_installed_and_names_its_version() -> None:
    (command,) = entry_points(group="console_scripts", name="evo-nas")
    assert command.value == PROJECT["project"]["scripts"]["evo-nas"]
    script = Path(sys.executable).with_name("evo-nas")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert PROJECT["project"]["version"] in done.stdout


def test_the_quickstart_is_a_valid_configuration_that_ends_by_itself() -> None:
    from evo_nas.config import load, population_for

    config = load(ROOT / "examples" / "quickstart.toml")
    assert config.budget.hours == pytest.approx(4 / 60, rel=0.01)
    assert config.run is None
    assert config.task.data == "builtin:pydoc-topics"
    assert config.compare.baselines == ("gru", "lstm")
    assert population_for(config)[0] >= 4


def test_the_guide_names_the_commands_it_asks_for() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8"))
    assert {"make test", "make test-slow", "make lint"} <= set(re.findall(r"make [a-z-]+", guide))
    assert [t for t in re.findall(r"`make ([a-z-]+)`", guide) if t not in targets] == []


def test_the_guide_names_only_files_that_exist() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:genomes|workers|evo_nas|tests|examples)/[\w./-]*)`", guide)
    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_changelog_speaks_of_this_version() -> None:
    log = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{PROJECT['project']['version']}]" in log
    assert "## [Unreleased]" in log


def test_the_licence_is_the_one_the_project_declares() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["project"]["license"] == "Apache-2.0"
