"""What a stranger meets first: make's targets, the pinned versions, the command, the guide."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from project import PACKAGES, ROOT, pins

from workers.engine.native import build

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
    assert {"help", "search", "test", "test-slow", "sanitize", "lint", "clean"} <= set(targets)
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


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What is needed to install a package of these names, with the smallest C++ source."""
    folder = tmp_path / "with a space"
    native = "workers/engine/native"
    for name in (
        *("Makefile", "pyproject.toml", "constraints.txt", "setup.py", "README.md", "LICENSE"),
        *(f"{package}/__init__.py" for package in (*PACKAGES, "workers/engine", native)),
        *(f"{native}/build.py", f"{native}/source/about.cpp", "workers/py.typed"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def _build(folder: Path, kind: str, **environment: str) -> tuple[Path, dict[str, bytes], str]:
    """Build a wheel as pip would: its path, its files, and what was said."""
    done = subprocess.run(
        [sys.executable, "-c", f"from setuptools.build_meta import *; print(build_{kind}('.'))"],
        cwd=folder,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    path = folder / done.stdout.split()[-1]
    with zipfile.ZipFile(path) as wheel:
        return path, {name: wheel.read(name) for name in wheel.namelist()}, done.stdout


def _libraries() -> set[str]:
    return {build.file_name(variant.name) for variant in build.variants()}


needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, build.COMPILERS)), reason="there is no C++ compiler"
)


@needs_compiler
def test_a_wheel_holds_the_libraries_and_their_sources_for_any_python(checkout: Path) -> None:
    path, files, said = _build(checkout, "wheel")
    assert re.fullmatch(r"evo_nas-[\d.]+-py3-none-(?!any).+\.whl", path.name)
    native = "workers/engine/native"
    assert {f"{native}/lib/{name}" for name in _libraries()} <= set(files)
    assert f"{native}/source/about.cpp" in files
    assert "workers/py.typed" in files
    (tags,) = (text for name, text in files.items() if name.endswith(".dist-info/WHEEL"))
    assert b"Root-Is-Purelib: false" in tags
    assert "not built" not in said


def test_without_a_compiler_the_installation_goes_on_with_one_warning(checkout: Path) -> None:
    path, files, said = _build(checkout, "wheel", PATH="", CXX="")
    assert path.name.endswith("-py3-none-any.whl")
    assert "workers/engine/native/source/about.cpp" in files
    assert [name for name in files if name.endswith(".so")] == []
    (warning,) = (line for line in said.splitlines() if "C++" in line)
    assert "the C++ engine was not built (" in warning
    assert "Installation goes on: it is built at its first use, or the engine 'torch'" in warning
    assert "The reason: no C++ compiler was found: " in warning


@needs_compiler
def test_where_the_sources_do_not_compile_no_older_library_is_left(checkout: Path) -> None:
    library = checkout / "workers" / "engine" / "native" / "lib"
    _build(checkout, "editable")
    assert {path.name for path in library.iterdir()} == _libraries()
    source = library.parent / "source" / "bad.cpp"
    source.write_text("#error nothing to see\n", encoding="utf-8")
    said = _build(checkout, "editable")[2]
    (warning,) = (line for line in said.splitlines() if "C++" in line)
    assert "nothing to see" in warning
    assert list(library.iterdir()) == []


@needs_compiler
def test_installing_again_builds_only_what_has_changed(checkout: Path) -> None:
    library = checkout / "workers" / "engine" / "native" / "lib"
    _build(checkout, "editable")
    before = {path.name: path.stat().st_ino for path in library.iterdir()}
    slowest = build.file_name(build.variants()[-1].name)
    (library / slowest).write_bytes(b"of other sources")
    _build(checkout, "editable")
    after = {path.name: path.stat().st_ino for path in library.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {slowest}


@pytest.mark.parametrize("name", ["source/about.cpp", "source/new.h", "build.py"])
def test_a_changed_source_of_the_engine_makes_setup_install_again(
    checkout: Path, name: str
) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    for made in ("bin/python", ".installed", ".installed-dev"):
        (checkout / ".venv" / made).touch()
    for target in ("setup", "setup-dev"):
        assert "pip install" not in _make(checkout, "--dry-run", target).stdout
    changed = checkout / "workers" / "engine" / "native" / name
    changed.touch()
    later = (checkout / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(changed, (later, later))
    for target in ("setup", "setup-dev"):
        assert "pip install" in _make(checkout, "--dry-run", target).stdout


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
