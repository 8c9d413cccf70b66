"""What can be known about a cluster.yaml without a cluster.

Ray's own validator goes first. The rest is what it lets through: it silently drops legacy keys,
accepts a node type with min_workers above max_workers, and fills a missing list of commands with
one that installs a nightly Ray and opens the dashboard to the network.
"""

from __future__ import annotations

import copy
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
from ray.autoscaler._private.util import prepare_config, validate_config

COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
LEGACY = ("head_node", "worker_nodes", "min_workers", "initial_workers", "autoscaling_mode")
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[\w,-]+\])?==([\w.+!-]+)$")
MUST_PIN = ("ray", "torch", "boto3")
TOKEN = "~/.ray/auth_token"


def problems(config: Mapping[str, Any], pins: Mapping[str, str]) -> list[str]:
    """Everything wrong with a cluster configuration; empty if it is sound.

    Args:
        config: The parsed YAML.
        pins: Versions by package name, from constraints.txt.
    """
    checks = (
        _what_ray_finds(config),
        _legacy_keys(config),
        _commands(config),
        _node_types(config),
        _head(config),
        _installs(config, pins),
        _starts(config),
        _authentication(config),
    )
    return [problem for check in checks for problem in check]


def _what_ray_finds(config: Mapping[str, Any]) -> Iterator[str]:
    try:
        validate_config(prepare_config(copy.deepcopy(dict(config))))
    except (jsonschema.ValidationError, ValueError, RuntimeError) as error:
        message = error.message if isinstance(error, jsonschema.ValidationError) else str(error)
        yield f"Ray refuses the file: {message}"


def _legacy_keys(config: Mapping[str, Any]) -> Iterator[str]:
    for key in LEGACY:
        if key in config:
            yield f"{key} is a legacy key that Ray drops. Use available_node_types."


def _commands(config: Mapping[str, Any]) -> Iterator[str]:
    for key in COMMANDS:
        if key not in config:
            yield f"{key} is missing, so that Ray fills in its own. Give it, if only as []."


def _node_types(config: Mapping[str, Any]) -> Iterator[str]:
    for name, node in config.get("available_node_types", {}).items():
        least, most = node.get("min_workers", 0), node.get("max_workers")
        if most is None:
            yield f"{name} has no max_workers, so that only the whole cluster's limit holds."
        elif least > most:
            yield f"{name} has min_workers {least} above max_workers {most}."
        for resource, amount in node.get("resources", {}).items():
            if type(amount) is not int:
                yield f"{name} has {amount!r} {resource}; a machine has whole ones."
        if node.get("resources", {}).get("GPU") and "CPU" not in node["resources"]:
            yield f"{name} names its GPUs but not its CPUs; a worker asks for both."
    workers = [
        n for t, n in config.get("available_node_types", {}).items() if not _is_head(t, config)
    ]
    if not any(n.get("resources", {}).get("GPU", 0) and n.get("max_workers") for n in workers):
        yield "no node type brings GPUs, or none of those may have a machine."


def _head(config: Mapping[str, Any]) -> Iterator[str]:
    name = config.get("head_node_type")
    head = config.get("available_node_types", {}).get(name, {})
    for resource in ("CPU", "GPU"):
        if head.get("resources", {}).get(resource) != 0:
            yield f"{name} must say {resource}: 0, or candidates are trained on the head."
    if head.get("max_workers") != 0:
        yield f"{name} must say max_workers: 0, or workers are started as heads."


def _installs(config: Mapping[str, Any], pins: Mapping[str, str]) -> Iterator[str]:
    installs = [command for command in _all(config) if re.search(r"\bpip\S* install\b", command)]
    found: dict[str, str] = {}
    for command in installs:
        if "http://" in command or "https://" in command or "nightly" in command:
            yield f"installs from an address instead of a pinned version: {command}"
        for word in shlex.split(command):
            if match := PIN.match(word):
                found[match[1].lower()] = match[2]
            elif re.match(r"^(ray|torch|boto3)\b(?!\.txt)", word, re.IGNORECASE):
                yield f"installs {word!r} without a pin (name==version): {command}"
    for package, version in found.items():
        if pins.get(package) != version:
            yield f"installs {package}=={version}, but constraints.txt says {pins.get(package)}."
    for package in MUST_PIN:
        if package not in found:
            yield f"no command installs {package}==version."


def _starts(config: Mapping[str, Any]) -> Iterator[str]:
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        starts = [c for c in config.get(key) or () if "ray start" in c]
        if not starts:
            yield f"{key} has no 'ray start'."
        for command in starts:
            if "RAY_AUTH_MODE=token" not in command:
                yield f"{key}: 'ray start' without RAY_AUTH_MODE=token takes jobs from anyone."
            if share := re.search(r"--num-gpus[= ](\d*\.\d+)", command):
                yield f"{key}: {share[1]} GPUs; a machine has whole ones, a worker's share is 1/n."
    for command in config.get("head_start_ray_commands") or ():
        if "ray start" not in command:
            continue
        hosts = re.findall(r"--dashboard-host[= ]([^\s;]+)", command)
        if hosts != ["127.0.0.1"]:
            yield "head_start_ray_commands: the dashboard needs --dashboard-host=127.0.0.1."
        if "--autoscaling-config=" not in command:
            yield "head_start_ray_commands: without --autoscaling-config no worker ever starts."


def _authentication(config: Mapping[str, Any]) -> Iterator[str]:
    if TOKEN not in config.get("file_mounts", {}):
        yield f"file_mounts does not bring the token {TOKEN} to the machines."
    if f"chmod 600 {TOKEN}" not in (config.get("setup_commands") or ()):
        yield f"setup_commands must hold 'chmod 600 {TOKEN}'."


def _all(config: Mapping[str, Any]) -> list[str]:
    return [command for key in COMMANDS for command in config.get(key) or ()]


def _is_head(name: str, config: Mapping[str, Any]) -> bool:
    return name == config.get("head_node_type")
