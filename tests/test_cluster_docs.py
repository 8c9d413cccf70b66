"""Of docs/cluster.md and the headers of the clusters' files: commands, flags and files exist."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
from project import ROOT, pins

from evo_nas.cli import main

PAGE = "docs/cluster.md"
HEADERS = (
    "cluster.yaml",
    "examples/cluster-gcp.yaml",
    "examples/cluster-on-premises.yaml",
    "examples/kuberay-rayjob.yaml",
    "examples/Dockerfile",
)
OTHERS = {"pip", "aws", "gcloud", "kubectl", "helm", "docker", "export", "(umask"}
"""Programs that are not ours to check; the files they are given are."""
NAMED = re.compile(r"(?:examples|docs|tests)/[\w./-]+\.\w+|examples/Dockerfile|\bcluster\.yaml")


def _lines(name: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    if name == PAGE:
        blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
        spans = re.findall(r"`((?:evo-nas|ray) [^`]+)`", text)
        return [line for block in blocks for line in block.splitlines()] + [
            " ".join(span.split()) for span in spans
        ]
    header = text[: re.search(r"^[^#\n]", text, flags=re.MULTILINE).start()]  # type: ignore[union-attr]
    shown = [line.removeprefix("#   ") for line in header.splitlines() if line.startswith("#   ")]
    return re.sub(r" \\\n\s*", " ", "\n".join(shown)).splitlines()


def _commands(name: str) -> list[list[str]]:
    lines = [shlex.split(line, comments=True) for line in _lines(name)]
    return [words for words in lines if words]


def _parse(command: click.Command, words: list[str]) -> None:
    """Let click take the words apart, without running anything."""
    while isinstance(command, click.Group):
        context = click.Context(command)
        found = command.get_command(context, words[0])
        assert found is not None, words
        command, words = found, words[1:]
    # Not `make_context`, which also looks for the buckets that are named. In a sentence a command
    # is named without what it takes: nothing is said of what is missing.
    _, left, _ = command.make_parser(click.Context(command)).parse_args(list(words))
    assert not left, words


@pytest.mark.parametrize("name", [PAGE, *HEADERS])
def test_every_command_of_ours_and_of_ray_takes_its_flags(name: str) -> None:
    from ray.scripts.scripts import cli as ray

    programs = {"evo-nas": main, "ray": ray}
    checked = 0
    for words in _commands(name):
        if words[0] in programs and not {"...", "start", "get-auth-token"} & set(words):
            _parse(programs[words[0]], words[1:])
            checked += 1
        elif words[0] not in programs:
            assert words[0] in OTHERS, words
    assert checked >= (0 if name.endswith("Dockerfile") else 2)


def test_a_flag_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(click.NoSuchOption):
        _parse(main, ["submit", "cluster.yaml", "search.toml", "--run", "s3://b/r", "--ours", "8"])
    with pytest.raises(AssertionError):
        _parse(main, ["cluster", "verify", "cluster.yaml"])


@pytest.mark.parametrize("name", [PAGE, *HEADERS])
def test_every_file_it_names_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(NAMED.findall(text))
    assert named
    assert [file for file in named if not (ROOT / file).exists()] == []


def test_the_page_tells_of_every_file() -> None:
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    assert [name for name in HEADERS if name not in text] == []


def test_the_configuration_of_the_page_is_read(tmp_path: Path) -> None:
    from evo_nas.config import load

    text = (ROOT / PAGE).read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    tomllib.loads(block)
    (tmp_path / "search.toml").write_text(block)
    assert load(tmp_path / "search.toml").workers.workers == 4


def test_the_image_holds_the_project_with_the_versions_it_is_tested_with() -> None:
    text = (ROOT / "examples" / "Dockerfile").read_text(encoding="utf-8")
    found = dict(re.findall(r'"(\w+)(?:\[\w+\])?==([\w.]+)"', text))
    assert found == {name: pins()[name] for name in ("ray", "torch")}
    copied = [
        w for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for w in line.split()
    ]
    assert {"genomes", "workers", "evo_nas", "setup.py", "constraints.txt"} <= set(copied)
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_every_row_of_the_table_of_deaths_says_what_to_do() -> None:
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) > 10
    assert all(len([c for c in row.strip("|").split("|") if c.strip()]) == 3 for row in rows)
