"""A cluster's file may hold anything: it is refused or judged, and costs what its size allows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import ray
import yaml
from click.testing import CliRunner
from cluster_files import disturbed, problems, read
from project import ROOT

from evo_nas.cli import main
from evo_nas.cluster.launcher import launcher_problems, machines_of

AWS, LOCAL = "cluster.yaml", "examples/cluster-on-premises.yaml"
TYPES = "available_node_types"


def test_a_ray_without_the_validator_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray.autoscaler._private.util", None)
    done = CliRunner().invoke(main, ["cluster", "check", str(ROOT / AWS)])
    assert done.exit_code == 1
    assert f"Ray {ray.__version__} does not check files for 'ray up' as others do" in done.stderr
    assert "Install the Ray of constraints.txt" in done.stderr


BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)
"""Nine lines that stand for a hundred million parts."""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no such file"),
        ("a: [", "is not YAML"),
        ("- a\n- b\n", "is no table of keys and values at its top"),
        ("kind: RayService\n", "holds RayService, but a file for 'ray up' or manifests"),
        ("", "holds nothing, but a file for 'ray up'"),
        ("[" * 5000 + "]" * 5000, "is nested too deeply"),
        ("a: 2020-99-99", "holds a value that is not what it is written as: month must be in"),
        (f"a: {'9' * 5000}", "an integer of 5,000 digits"),
        (f"a: [0x{'9' * 5000}]", "an integer of 5,002 digits"),
        ("a: !!int x", "holds a value that is not what it is written as"),
        ("a: !!bool x", "holds a value that is not what it is written as"),
        ('a: !!int ""', "holds a value that is not what it is written as"),
        ("a: !!timestamp x", "holds a value that is not what it is written as"),
        ("a: &a [*a]", "stands for more than 1,000,000 characters"),
        (BOMB, "stands for more than 1,000,000 characters"),
        (f"{BOMB}kind: *a8", "stands for more than 1,000,000 characters"),
        (f"{BOMB}b: {{<<: [{', '.join(['*m'] * 9)}]}}".replace("[x", "[&m {x: 1}"), "stands for"),
        ("#" * 2**18 + "\n", "has more than 262,144 bytes"),
        ('kind: "\\e[2Jgone"', r"holds \x1b[2Jgone, but"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_one_line(
    tmp_path: Path, text: str | None, said: str
) -> None:
    path = tmp_path / "cluster.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    done = CliRunner().invoke(main, ["cluster", "check", str(path)])
    assert done.exit_code == 1
    assert done.stdout == ""
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("table", ["provider", TYPES, "file_mounts", "docker", "auth"])
@pytest.mark.parametrize("value", [None, 3, "text", ["a"], {}])
def test_a_table_that_is_none_is_a_problem_and_no_traceback(
    tmp_path: Path, table: str, value: object
) -> None:
    config = read(AWS)
    config[table] = value
    found = problems(tmp_path, config)
    assert found or (table in ("docker", "auth") and value in ({}, None)), found


def test_what_a_file_holds_does_not_act_on_the_terminal(tmp_path: Path) -> None:
    config = read(AWS)
    config[TYPES]["\x1b]0;owned\x07\x1b[2J"] = {"resources": {}, "node_config": {}}
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    done = CliRunner().invoke(main, ["cluster", "check", str(path)])
    assert r"\x1b]0;owned\x07\x1b[2J has no max_workers" in done.stdout
    assert "\x1b" not in done.output and "\x07" not in done.output


@pytest.mark.parametrize("name", [AWS, LOCAL])
def test_anything_anywhere_is_a_problem_and_no_traceback(name: str) -> None:
    for config in disturbed(read(name)):
        list(launcher_problems(config, ROOT))
        machines_of(config)
