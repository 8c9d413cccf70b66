"""How a cluster's machines start Ray: with a token, a private dashboard and whole resources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evo_nas.cluster.commands import Simple, all_commands

TOKEN = "~/.ray/auth_token"
HEAD, WORKER = "head_start_ray_commands", "worker_start_ray_commands"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def start_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the commands that start Ray, and with the token on the machines."""
    for key in (HEAD, WORKER):
        starts = _starts(config, key)
        if not starts:
            yield f"{key} has no 'ray start', so that no machine joins. Add one."
        for simple in starts:
            yield from _either(key, simple)
            if key == HEAD:
                yield from _of_the_head(config, simple)
    yield from _token(config)


def _starts(config: Mapping[str, Any], wanted: str) -> list[Simple]:
    return [s for key, _, s in all_commands(config) if key == wanted and s.runs("ray", "start")]


def _either(key: str, simple: Simple) -> Iterator[str]:
    if simple.environment.get("RAY_AUTH_MODE") != "token":
        yield (
            f"{key}: 'ray start' without RAY_AUTH_MODE=token takes jobs from anyone. Put "
            "'export RAY_AUTH_MODE=token;' in front of it."
        )
    for flag in ("--num-gpus", "--num-cpus"):
        for value in simple.values(flag):
            if not value.isdecimal():
                yield (
                    f"{key}: {flag} is {value}, but a machine has whole ones. A worker's share of "
                    "a GPU is 1/n: set workers_per_gpu = n in [workers]."
                )


def _of_the_head(config: Mapping[str, Any], simple: Simple) -> Iterator[str]:
    hosts = simple.values("--dashboard-host")
    if not hosts or not set(hosts) <= set(_LOOPBACK):
        said = f"is bound to {', '.join(hosts)}" if hosts else "is bound to what Ray thinks best"
        yield (
            f"{HEAD}: the dashboard {said}; whoever reaches it may submit jobs. The dashboard "
            "needs --dashboard-host=127.0.0.1; 'ray dashboard' opens a tunnel to it."
        )
    if not simple.values("--autoscaling-config"):
        yield (
            f"{HEAD}: without --autoscaling-config no worker ever starts. Add "
            "--autoscaling-config=~/ray_bootstrap_config.yaml."
        )
    if (config.get("provider") or {}).get("type") == "local":
        for flag in ("--num-cpus", "--num-gpus"):
            if simple.values(flag) != ["0"]:
                yield (
                    f"{HEAD}: 'ray start --head' must say {flag}=0, or candidates are trained "
                    "beside the population."
                )


def _token(config: Mapping[str, Any]) -> Iterator[str]:
    if TOKEN not in (config.get("file_mounts") or {}):
        yield (
            f"file_mounts does not bring the token {TOKEN} to the machines. Add '{TOKEN}: {TOKEN}'."
        )
    changes = [s for _, _, s in all_commands(config) if s.runs("chmod") and TOKEN in s.words]
    if [s.words[1] for s in changes][-1:] != ["600"]:
        yield f"setup_commands must hold 'chmod 600 {TOKEN}': the token is nobody else's to read."
