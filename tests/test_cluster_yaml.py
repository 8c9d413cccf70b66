"""cluster.yaml and its variants are sound, and each way to break one is noticed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from cluster_files import Change, Config, checked, drop, problems, put, read, replace
from project import ROOT
from ray.autoscaler._private.util import prepare_config, validate_config

from evo_nas.cluster.commands import COMMANDS
from tests.tiny import evo_nas

AWS, GCP, LOCAL = "cluster.yaml", "examples/cluster-gcp.yaml", "examples/cluster-on-premises.yaml"
NIGHTLY = "https://s3-us-west-2.amazonaws.com/ray-wheels/latest/ray-3.0.0.dev0-cp312-linux.whl"
HEAD, WORKER = "head_start_ray_commands", "worker_start_ray_commands"
TYPES = "available_node_types"


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


def _both(*changes: Change) -> Change:
    def change(config: Config) -> None:
        for each in changes:
            each(config)

    return change


SHELL = 'export PATH="$HOME/evo-nas-env/bin:$PATH"; RAY_AUTH_MODE=token;'
INNER = 'export PATH="$HOME/evo-nas-env/bin:$PATH"; (export RAY_AUTH_MODE=token);'
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
    "a token that stays the shell's": (
        replace(HEAD, 'export PATH="$HOME/evo-nas-env/bin:$PATH" RAY_AUTH_MODE=token;', SHELL),
        f"{HEAD}: 'ray start' without RAY_AUTH_MODE=token",
    ),
    "a token that is taken back": (
        replace(HEAD, "ray start", "export -n RAY_AUTH_MODE; ray start"),
        f"{HEAD}: 'ray start' without RAY_AUTH_MODE=token",
    ),
    "a token that is unset": (
        replace(HEAD, "ray start", "unset RAY_AUTH_MODE; ray start"),
        f"{HEAD}: 'ray start' without RAY_AUTH_MODE=token",
    ),
    "a token of another shell": (
        replace(HEAD, 'export PATH="$HOME/evo-nas-env/bin:$PATH" RAY_AUTH_MODE=token;', INNER),
        f"{HEAD}: 'ray start' without RAY_AUTH_MODE=token",
    ),
    "the token itself": (
        replace(WORKER, "RAY_AUTH_MODE=token", "RAY_AUTH_MODE=token RAY_AUTH_TOKEN='0123'"),
        f"{WORKER} has the token itself (RAY_AUTH_TOKEN=...)",
    ),
    "a dashboard in a comment": (
        replace(HEAD, "--dashboard-host=127.0.0.1", "# --dashboard-host=127.0.0.1"),
        "The dashboard needs --dashboard-host=127.0.0.1",
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
    "a token for all to read on the others": (
        _both(
            replace("setup_commands", "chmod 600 ~/.ray/auth_token", "true"),
            put("head_setup_commands", to=["chmod 600 ~/.ray/auth_token"]),
        ),
        "setup_commands must hold 'chmod 600 ~/.ray/auth_token' for the others",
    ),
    "a head without autoscaler": (
        replace(HEAD, "--autoscaling-config=~/ray_bootstrap_config.yaml", ""),
        "without --autoscaling-config no worker ever starts",
    ),
    "machines that never join": (put(WORKER, to=[]), f"{WORKER} has no 'ray start'"),
    "the image of the day": (
        put("docker", to={"image": "registry:5000/ray:nightly-gpu", "container_name": "ray"}),
        "docker.image is registry:5000/ray:nightly-gpu, which is another image tomorrow. Pin a "
        "version: registry:5000/ray:VERSION.",
    ),
    "the image of the day for the head": (
        put("docker", to={"head_image": "r:latest", "worker_image": "r:1", "container_name": "r"}),
        "docker.head_image is r:latest, which",
    ),
    "the image of the day for the others": (
        put("docker", to={"head_image": "r:1", "worker_image": "r", "container_name": "r"}),
        "docker.worker_image is r, which",
    ),
    "the image of the day for one kind": (
        put(TYPES, "gpu", "docker", to={"worker_image": "r:nightly"}),
        "gpu.docker.worker_image is r:nightly, which",
    ),
    "an image without a name for its container": (
        put("docker", to={"image": "r:1"}),
        "Ray refuses the file: Must provide a container & image name",
    ),
    "commands of one kind, which replace the others": (
        put(TYPES, "gpu", "worker_setup_commands", to=[]),
        "no command installs torch==version on gpu. Add it to gpu.worker_setup_commands",
    ),
    "a token for all to read on one kind": (
        put(TYPES, "gpu", "worker_setup_commands", to=["pip install ray==2.60.0"]),
        "gpu.worker_setup_commands must hold 'chmod 600 ~/.ray/auth_token' for gpu",
    ),
    "a nightly Ray on one kind": (
        put(TYPES, "gpu", "worker_setup_commands", to=[f"pip install -U {NIGHTLY}"]),
        "gpu.worker_setup_commands installs from an address",
    ),
    "a quote that one kind never closes": (
        put(TYPES, "gpu", "initialization_commands", to=["echo '"]),
        "gpu.initialization_commands: echo ' is no shell command",
    ),
    "a provider whose files Ray does not bring": (
        put("provider", "type", to="aliyun"),
        "Ray refuses the file: FileNotFoundError: ",
    ),
    "a file that is not there": (
        put("file_mounts", "~/evo-nas/notes", to="notes.txt"),
        f"file_mounts sends notes.txt, which is not in {ROOT}",
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
    "addresses that are none": (
        put("provider", "worker_ips", to=["192.168.0.11", {}]),
        "provider.head_ip and worker_ips must be texts",
    ),
    "types of machines": (put(TYPES, to={"gpu": {}}), "available_node_types does not go with"),
}


@pytest.mark.parametrize("name", BROKEN_LOCAL)
def test_a_broken_file_of_machines_that_are_there_is_noticed(tmp_path: Path, name: str) -> None:
    change, said = BROKEN_LOCAL[name]
    config = read(LOCAL)
    change(config)
    found = problems(tmp_path, config)
    assert any(said in problem for problem in found), found


SOUND: dict[str, Change] = {
    "output that goes elsewhere": replace(
        "setup_commands", '"boto3==1.44.5" ~/evo-nas', '"boto3==1.44.5" ~/evo-nas > p.log 2>&1'
    ),
    "another way to write the mode": replace("setup_commands", "chmod 600", "chmod 0600"),
    "a mode in letters": replace("setup_commands", "chmod 600", "chmod u=rw,go="),
    "a mode that takes away": replace("setup_commands", "chmod 600", "chmod -v go-rwx"),
    "a start with a variable": replace(HEAD, "ray start", "env X=1 ray start"),
    "a start that replaces the shell": replace(HEAD, "ray start", "exec ray start"),
    "a start on a condition": replace(HEAD, "ray start", "if true; then ray start"),
    "a token that is exported later": replace(
        HEAD, "RAY_AUTH_MODE=token", "X=1; RAY_AUTH_MODE=token; export RAY_AUTH_MODE"
    ),
    "a token from elsewhere": replace(
        WORKER, "RAY_AUTH_MODE=token", 'RAY_AUTH_MODE=token RAY_AUTH_TOKEN="$(cat token)"'
    ),
    "an image by its digest": put(
        "docker", to={"image": "r:5000/ray@sha256:" + "0" * 64, "container_name": "ray"}
    ),
    "a whole list for one kind": _both(
        put(TYPES, "gpu", "worker_setup_commands", to=read(AWS)["setup_commands"]),
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_is_as_good_is_no_problem(tmp_path: Path, name: str) -> None:
    config = read(AWS)
    SOUND[name](config)
    assert problems(tmp_path, config) == []


@pytest.mark.parametrize("name", [AWS, GCP, LOCAL])
def test_the_constraints_are_found_from_where_ray_up_runs(tmp_path: Path, name: str) -> None:
    config = read(name)
    replace("setup_commands", "torch==2.13.0", "torch==2.11.0")(config)
    (found,) = problems(tmp_path, config)
    assert "install torch==2.11.0, but the constraints file says 2.13.0" in found


def test_what_is_yet_to_be_written_is_a_hint_and_no_problem(tmp_path: Path) -> None:
    (hint,) = checked(tmp_path, read(GCP)).hints
    assert hint.startswith("it still says FAMILY, PROJECT, in the place of something of yours. Put")
    config = read(AWS)
    assert "ami-00000000000000000" in checked(tmp_path, config).hints[0]
    for kind in ("head", "gpu"):
        config[TYPES][kind]["node_config"]["ImageId"] = "ami-0123456789abcdef0"
    assert checked(tmp_path, config).hints == []


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
    assert all(said in done.stdout for said in ("min_workers is a legacy key", "setup_commands is"))
    assert len(lines) == len(set(lines)) >= 4
