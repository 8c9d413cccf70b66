"""What the README shows is run: its commands with small sizes, its Python as it stands."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from tests.tiny import ROOT, SMALL, evo_nas, tiny_text

README = (ROOT / "README.md").read_text()
QUICK = {
    "search": [*SMALL, "--evaluations", "6", "--workers", "0", "--seeds", "1", "--top", "1"],
    "resume": ["--evaluations", "8", "--workers", "0", "--seeds", "1", "--top", "1"],
    "compare": ["--workers", "0", "--seeds", "1", "--top", "1"],
    "bench": ["--evaluations", "4", "--seeds", "2", "--processes", "0"],
}
"""Flags put behind the README's own, so that each command takes seconds (the last one wins)."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.mark.slow
def test_every_evo_nas_command_of_the_readme_works(tmp_path: Path) -> None:
    text = tiny_text(tmp_path)
    for name in ("book.txt", "input.txt"):
        (tmp_path / name).write_bytes(text.read_bytes())
    (tmp_path / "search.toml").write_text(blocks("toml")[0])
    ran = 0
    for words in commands():
        if words[0] == "evo-nas":
            done = evo_nas(*words[1:], *QUICK.get(words[1], []), cwd=tmp_path)
            assert done.returncode == 0, (words, done.stderr)
            ran += 1
    assert ran >= 9
    assert (tmp_path / "cell.py").is_file()
    assert (tmp_path / "cell.safetensors").is_file()


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = [words[1] for words in commands() if words[0] == "make"]
    assert {"search", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.M), target


def test_the_commands_of_the_readme_are_known_to_this_test() -> None:
    assert {words[0] for words in commands()} <= {"make", "evo-nas"}


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert "h' = blend(" in capsys.readouterr().out


def test_the_configuration_of_the_readme_is_read() -> None:
    for block in blocks("toml"):
        assert tomllib.loads(block)["evolution"]["population"] == 50
