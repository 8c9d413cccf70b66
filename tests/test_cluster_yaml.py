"""cluster.yaml is sound, and each way to break it is noticed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from cluster_checks import COMMANDS, problems
from project import ROOT, pins
from ray.autoscaler._private.util import prepare_config, validate_config

Config = dict[str, Any]
NIGHTLY = "https://s3-us-west-2.amazonaws.com/ray-wheels/latest/ray-3.0.0.dev0-cp312-linux.whl"


@pytest.fixture
def config() -> Config:
    loaded: Config = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    return loaded


def test_cluster_yaml_has_no_problem(config: Config) -> None:
    assert problems(config, pins()) == []


def test_every_file_it_sends_but_the_token_is_in_the_project(config: Config) -> None:
    sent = [local for local in config["file_mounts"].values() if not local.startswith("~")]
    assert {"pyproject.toml", "setup.py", "genomes", "workers", "evo_nas"} <= set(sent)
    assert [local for local in sent if not (ROOT / local).exists()] == []


def _replace(key: str, old: str, new: str) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        changed = [command.replace(old, new) for command in config[key]]
        assert changed != config[key], f"{old!r} does not occur in {key}"
        config[key] = changed

    return change


def _set(*path: str, to: Any) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        part = config
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = to

    return change


def _drop(*path: str) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        part = config
        for key in path[:-1]:
            part = part[key]
        del part[path[-1]]

    return change


HEAD, WORKER = "head_start_ray_commands", "worker_start_ray_commands"
TYPES = "available_node_types"
BROKEN: dict[str, tuple[Callable[[Config], None], str]] = {
    "more machines at least than at most": (
        _set(TYPES, "gpu", "max_workers", to=1),
        "gpu has min_workers 2 above max_workers 1",
    ),
    "more machines at least than the cluster may have": (
        _set("max_workers", to=1),
        "Ray refuses the file: The specified global `max_workers` is smaller",
    ),
    "a misspelt key": (_set("max_worker", to=4), "Ray refuses the file"),
    "a legacy minimum": (_set("min_workers", to=2), "min_workers is a legacy key"),
    "a legacy head": (_set("head_node", to={}), "head_node is a legacy key"),
    "legacy workers": (_set("worker_nodes", to={}), "worker_nodes is a legacy key"),
    "no limit for a type": (_drop(TYPES, "gpu", "max_workers"), "gpu has no max_workers"),
    "a head that trains": (_set(TYPES, "head", "resources", to={}), "head must say CPU: 0"),
    "a head with a GPU to give": (
        _set(TYPES, "head", "resources", "GPU", to=1),
        "head must say GPU: 0",
    ),
    "several heads": (_set(TYPES, "head", "max_workers", to=1), "head must say max_workers: 0"),
    "half a GPU": (_set(TYPES, "gpu", "resources", "GPU", to=0.6), "gpu has 0.6 GPU"),
    "a part of a GPU at the start": (
        _replace(WORKER, "ray start", "ray start --num-gpus=0.6"),
        "0.6 GPUs; a machine has whole ones",
    ),
    "no GPU at all": (_drop(TYPES, "gpu", "resources", "GPU"), "no node type brings GPUs"),
    "a nightly Ray": (
        _replace("setup_commands", '"ray[default]==2.60.0"', f'"ray[default] @ {NIGHTLY}"'),
        "installs from an address instead of a pinned version",
    ),
    "an unpinned torch": (
        _replace("setup_commands", '"torch==2.13.0"', "torch"),
        "installs 'torch' without a pin",
    ),
    "another torch than was tested": (
        _replace("setup_commands", "torch==2.13.0", "torch==2.11.0"),
        "installs torch==2.11.0, but constraints.txt says 2.13.0",
    ),
    "no boto3 on the head": (
        _replace("setup_commands", '"boto3==1.44.5"', ""),
        "no command installs boto3==version",
    ),
    "a dashboard for everyone": (
        _replace(HEAD, "127.0.0.1", "0.0.0.0"),
        "the dashboard needs --dashboard-host=127.0.0.1",
    ),
    "a dashboard opened by a second flag": (
        _replace(
            HEAD, "--dashboard-host=127.0.0.1", "--dashboard-host=127.0.0.1 --dashboard-host ::"
        ),
        "the dashboard needs --dashboard-host=127.0.0.1",
    ),
    "a head that takes jobs from anyone": (
        _replace(HEAD, "RAY_AUTH_MODE=token", ""),
        f"{HEAD}: 'ray start' without RAY_AUTH_MODE=token",
    ),
    "workers without authentication": (
        _replace(WORKER, "RAY_AUTH_MODE=token", ""),
        f"{WORKER}: 'ray start' without RAY_AUTH_MODE=token",
    ),
    "a token that stays at home": (_drop("file_mounts", "~/.ray/auth_token"), "does not bring"),
    "a token for all to read": (
        _replace("setup_commands", "chmod 600", "chmod 644"),
        "setup_commands must hold 'chmod 600",
    ),
    "a head without autoscaler": (
        _replace(HEAD, "--autoscaling-config=~/ray_bootstrap_config.yaml", ""),
        "without --autoscaling-config no worker ever starts",
    ),
} | {
    f"no {key}": (_drop(key), f"{key} is missing, so that Ray fills in its own") for key in COMMANDS
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_variant_is_noticed(config: Config, name: str) -> None:
    break_it, said = BROKEN[name]
    break_it(config)
    assert any(said in problem for problem in problems(config, pins())), problems(config, pins())


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("more machines at least than at most", None),
        ("a legacy minimum", None),
        ("no setup_commands", "setup_commands"),
        (f"no {HEAD}", HEAD),
    ],
)
def test_rays_own_validator_lets_this_pass(config: Config, name: str, commands: str | None) -> None:
    """Why the checks of this project exist; if Ray begins to refuse it, one can go."""
    BROKEN[name][0](config)
    prepared = prepare_config(config)
    validate_config(prepared)
    if commands is not None:
        filled_in = " ".join(prepared[commands])
        assert re.search(r"ray-wheels/latest|--dashboard-host=0\.0\.0\.0", filled_in)
