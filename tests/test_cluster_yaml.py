"""cluster.yaml and its variants are sound, and each way to break one is noticed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_files import Change, drop, problems, put, read, replace
from project import ROOT
from ray.autoscaler._private.util import prepare_config, validate_config

from evo_nas.cluster.commands import COMMANDS
from evo_nas.config_tables import SearchConfig, WorkersConfig
from tests.tiny import evo_nas

AWS, GCP, LOCAL = "cluster.yaml", "examples/cluster-gcp.yaml", "examples/cluster-on-premises.yaml"
NIGHTLY = "https://s3-us-west-2.amazonaws.com/ray-wheels/latest/ray-3.0.0.dev0-cp312-linux.whl"
HEAD, WORKER = "head_start_ray_commands", "worker_start_ray_commands"
TYPES = "available_node_types"


def _search(**workers: Any) -> SearchConfig:
    return dataclasses.replace(SearchConfig(), workers=WorkersConfig(**workers))


@pytest.mark.parametrize("name", [AWS, GCP, LOCAL])
def test_a_file_of_this_project_has_no_problem(name: str) -> None:
    done = evo_nas("cluster", "check", name, "examples/quickstart.toml", cwd=ROOT)
    assert done.returncode == 0, done.stdout
    assert re.fullmatch(
        rf"{name}: no problem found\. Checked: a file for 'ray up' on (aws|gcp|local), "
        r"and whether its machines hold the workers\.\n",
        done.stdout,
    )


@pytest.mark.parametrize("name", [AWS, GCP, LOCAL])
def test_every_file_it_sends_but_the_token_is_in_the_project(name: str) -> None:
    sent = [local for local in read(name)["file_mounts"].values() if not local.startswith("~")]
    assert {"pyproject.toml", "setup.py", "genomes", "workers", "evo_nas"} <= set(sent)
    assert [local for local in sent if not (ROOT / local).exists()] == []


def test_the_machines_of_the_clouds_have_gpus_and_cost_nothing_when_idle() -> None:
    for name in (AWS, GCP):
        config = read(name)
        workers = {t: n for t, n in config[TYPES].items() if t != config["head_node_type"]}
        assert [t for t, n in workers.items() if n["resources"]["GPU"] and n["max_workers"]]
        assert config["idle_timeout_minutes"] <= 10


BROKEN: dict[str, tuple[Change, str]] = {
    "more machines at least than at most": (
        put(TYPES, "gpu", "max_workers", to=1),
        "gpu has min_workers 2 above max_workers 1. Raise",
    ),
    "more machines at least than the cluster may have": (
        put("max_workers", to=1),
        "gpu has min_workers 2 above the cluster's max_workers 1. Raise",
    ),
    "the same, in Ray's words": (
        put("max_workers", to=1),
        "Ray refuses the file: The specified global `max_workers` is smaller",
    ),
    "no limit for the cluster": (drop("max_workers"), "max_workers is missing"),
    "a misspelt key": (put("max_worker", to=4), "Ray refuses the file: Additional properties"),
    "a number in words": (
        put("max_workers", to="four"),
        "Ray refuses the file: max_workers: 'four' is not of type 'integer'",
    ),
    "a legacy minimum": (put("min_workers", to=2), "min_workers is a legacy key"),
    "a legacy head": (put("head_node", to={}), "head_node is a legacy key"),
    "legacy workers": (put("worker_nodes", to={}), "worker_nodes is a legacy key"),
    "no limit for a type": (drop(TYPES, "gpu", "max_workers"), "gpu has no max_workers"),
    "a head that trains": (put(TYPES, "head", "resources", to={}), "head must say CPU: 0"),
    "a head with a GPU to give": (
        put(TYPES, "head", "resources", "GPU", to=1),
        "head must say GPU: 0",
    ),
    "several heads": (put(TYPES, "head", "max_workers", to=1), "head must say max_workers: 0"),
    "half a GPU": (put(TYPES, "gpu", "resources", "GPU", to=0.6), "gpu has 0.6 GPU, but a machine"),
    "GPUs without CPUs": (
        drop(TYPES, "gpu", "resources", "CPU"),
        "gpu names its GPUs but not its CPUs",
    ),
    "a part of a GPU at the start": (
        replace(WORKER, "ray start", "ray start --num-gpus=0.6"),
        "--num-gpus is 0.6, but a machine has whole ones",
    ),
    "a nightly Ray": (
        replace("setup_commands", '"ray[default]==2.60.0"', f'"ray[default] @ {NIGHTLY}"'),
        "installs from an address instead of a pinned version",
    ),
    "an unpinned torch": (
        replace("setup_commands", '"torch==2.13.0"', "torch"),
        "installs 'torch' without a pin",
    ),
    "a range of torch": (
        replace("setup_commands", "torch==2.13.0", "torch>=2.13"),
        "installs 'torch>=2.13' without a pin",
    ),
    "another torch than was tested": (
        replace("setup_commands", "torch==2.13.0", "torch==2.11.0"),
        "install torch==2.11.0, but the constraints file says 2.13.0",
    ),
    "no boto3 on the head": (
        replace("setup_commands", '"boto3==1.44.5"', ""),
        "no command installs boto3==version",
    ),
    "what the project needs, in any version": (
        replace("setup_commands", "--constraint ~/evo-nas/constraints.txt", ""),
        "installs a folder without --constraint",
    ),
    "a quote that is never closed": (
        replace("setup_commands", '"torch==2.13.0"', '"torch==2.13.0'),
        "is no shell command: No closing quotation",
    ),
    "a dashboard for everyone": (
        replace(HEAD, "127.0.0.1", "0.0.0.0"),
        "the dashboard is bound to 0.0.0.0",
    ),
    "a dashboard opened by a second flag": (
        replace(
            HEAD, "--dashboard-host=127.0.0.1", "--dashboard-host=127.0.0.1 --dashboard-host ::"
        ),
        "The dashboard needs --dashboard-host=127.0.0.1",
    ),
    "a dashboard wherever Ray likes": (
        replace(HEAD, "--dashboard-host=127.0.0.1", ""),
        "The dashboard needs --dashboard-host=127.0.0.1",
    ),
    "a head that takes jobs from anyone": (
        replace(HEAD, "RAY_AUTH_MODE=token", ""),
        f"{HEAD}: 'ray start' without RAY_AUTH_MODE=token",
    ),
    "a token switched off again": (
        replace(HEAD, "ray start", "RAY_AUTH_MODE=disabled ray start"),
        f"{HEAD}: 'ray start' without RAY_AUTH_MODE=token",
    ),
    "workers without authentication": (
        replace(WORKER, "RAY_AUTH_MODE=token", ""),
        f"{WORKER}: 'ray start' without RAY_AUTH_MODE=token",
    ),
    "a token that stays at home": (drop("file_mounts", "~/.ray/auth_token"), "does not bring"),
    "a token for all to read": (
        replace("setup_commands", "chmod 600", "chmod 644"),
        "setup_commands must hold 'chmod 600",
    ),
    "a head without autoscaler": (
        replace(HEAD, "--autoscaling-config=~/ray_bootstrap_config.yaml", ""),
        "without --autoscaling-config no worker ever starts",
    ),
    "machines that never join": (put(WORKER, to=[]), f"{WORKER} has no 'ray start'"),
    "the image of the day": (
        put("docker", to={"image": "rayproject/ray:nightly-gpu", "container_name": "ray"}),
        "docker.image is rayproject/ray:nightly-gpu, which is another image tomorrow",
    ),
} | {
    f"no {key}": (drop(key), f"{key} is missing, so that Ray fills in its own") for key in COMMANDS
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_variant_is_noticed(tmp_path: Path, name: str) -> None:
    change, said = BROKEN[name]
    config = read(AWS)
    change(config)
    found = problems(tmp_path, config)
    assert any(said in problem for problem in found), found


BROKEN_LOCAL: dict[str, tuple[Change, str]] = {
    "a head that trains": (replace(HEAD, "--num-cpus=0", ""), "must say --num-cpus=0"),
    "no addresses": (drop("provider", "worker_ips"), "provider needs head_ip and worker_ips"),
    "the head as a worker": (
        put("provider", "worker_ips", to=["192.168.0.10"]),
        "provider has 192.168.0.10 as head and as worker",
    ),
    "a machine named twice": (
        put("provider", "worker_ips", to=["192.168.0.11", "192.168.0.11"]),
        "worker_ips names a machine twice",
    ),
    "fewer machines than named": (put("max_workers", to=1), "max_workers is 1, but worker_ips"),
    "more at least than at most": (put("min_workers", to=9), "min_workers is 9, above"),
    "types of machines": (put(TYPES, to={"gpu": {}}), "available_node_types does not go with"),
}


@pytest.mark.parametrize("name", BROKEN_LOCAL)
def test_a_broken_file_of_machines_that_are_there_is_noticed(tmp_path: Path, name: str) -> None:
    change, said = BROKEN_LOCAL[name]
    config = read(LOCAL)
    change(config)
    found = problems(tmp_path, config)
    assert any(said in problem for problem in found), found


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("more machines at least than at most", None),
        ("a legacy minimum", None),
        ("no setup_commands", "setup_commands"),
        (f"no {HEAD}", HEAD),
    ],
)
def test_rays_own_validator_lets_this_pass(name: str, commands: str | None) -> None:
    """Why the checks of this project exist; if Ray begins to refuse it, one can go."""
    config = read(AWS)
    BROKEN[name][0](config)
    prepared = prepare_config(config)
    validate_config(prepared)
    if commands is not None:
        filled_in = " ".join(prepared[commands])
        assert re.search(r"ray-wheels/latest|--dashboard-host=0\.0\.0\.0", filled_in)


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        (
            {"workers": 5},
            ["5 workers cannot run at once: each wants 1 CPU and 1 GPU", "room for 4"],
        ),
        ({"workers": 17, "workers_per_gpu": 4}, ["17 workers", "1/4 GPU", "room for 16"]),
        ({"workers": 16, "workers_per_gpu": 4}, []),
        # Each machine has four cores, so that not more than four share its GPU.
        ({"workers": 17, "workers_per_gpu": 8}, ["room for 16"]),
        ({"workers_per_gpu": 101}, ["workers_per_gpu is 101; it must be a whole number n"]),
        ({"workers": 0}, ["workers is 0, which evaluates in the job's own process"]),
        ({"workers": None}, []),
    ],
)
def test_a_search_that_no_machine_holds_is_noticed(
    tmp_path: Path, workers: dict[str, int | None], said: Sequence[str]
) -> None:
    found = problems(tmp_path, read(AWS), search=_search(**workers))
    assert len(found) == bool(said), found
    assert all(part in found[0] for part in said), found


def test_a_search_for_labels_that_no_machine_has_is_noticed(tmp_path: Path) -> None:
    config, accelerator = read(AWS), "ray.io/accelerator-type"
    config[TYPES]["gpu"]["labels"] = {"market": "spot"}
    assert problems(tmp_path, config, search=_search(labels={"market": "spot"})) == []
    # Ray itself adds what kind the GPU is, unless the file says it.
    assert problems(tmp_path, config, search=_search(labels={accelerator: "L4"})) == []
    config[TYPES]["gpu"]["resources"]["accelerator_type:T4"] = 1
    (found,) = problems(tmp_path, config, search=_search(labels={accelerator: "L4"}))
    assert found.endswith(
        f"labels wants machines with {accelerator} = L4, but no machine of the file has these "
        f"labels (gpu: market = spot and {accelerator} = T4). Change the labels here or there."
    )
    more = {"resources": {"CPU": 4}, "labels": {"market": "fixed"}, "max_workers": 2}
    config[TYPES]["small"] = config[TYPES]["gpu"] | more
    wanted = _search(labels={"market": "fixed"}, workers=3)
    assert problems(tmp_path, config, search=wanted) == []
    wanted = _search(labels={"market": "fixed"}, workers=9)
    assert "8 CPUs on 2 machines: room for 8" in str(problems(tmp_path, config, search=wanted))


def test_the_limit_of_the_whole_cluster_counts_too(tmp_path: Path) -> None:
    config = read(AWS)
    config["max_workers"] = 3
    assert "room for 3" in " ".join(problems(tmp_path, config, search=_search(workers=4)))


def test_shares_of_gpus_that_nobody_has_are_noticed(tmp_path: Path) -> None:
    config = read(AWS)
    del config[TYPES]["gpu"]["resources"]["GPU"]
    (found,) = problems(tmp_path, config, search=_search(workers_per_gpu=2))
    assert "workers_per_gpu is 2, but no machine of the file has a GPU" in found


def test_every_problem_is_printed_on_a_line_of_its_own(tmp_path: Path) -> None:
    config = read(AWS)
    del config["setup_commands"]
    config["min_workers"] = 2
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    done = evo_nas("cluster", "check", str(path))
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert [line for line in lines if not line.startswith(f"{path}: ")] == []
    assert [word in done.stdout for word in ("min_workers is a legacy key", "setup_commands is")]
    assert len(lines) == len(set(lines)) >= 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no such file"),
        ("a: [", "is not YAML"),
        ("- a\n- b\n", "is no table of keys and values at its top"),
        ("kind: RayService\n", "holds RayService, but a file for 'ray up' or manifests"),
        ("", "holds nothing, but a file for 'ray up'"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_one_line(
    tmp_path: Path, text: str | None, said: str
) -> None:
    path = tmp_path / "cluster.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    done = evo_nas("cluster", "check", str(path))
    assert done.returncode == 1
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
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    from evo_nas.cluster.check import check_file

    found = check_file(path).problems
    assert found or (table in ("docker", "auth") and value in ({}, None)), found
