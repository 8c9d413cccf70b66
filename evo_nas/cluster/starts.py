"""How a cluster's machines start Ray: with a token, a private dashboard and whole resources."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from evo_nas.cluster.commands import Simple, all_commands, all_lines, setups
from evo_nas.cluster.parts import provider_type, table

TOKEN = "~/.ray/auth_token"
HEAD, WORKER = "head_start_ray_commands", "worker_start_ray_commands"
_WRITTEN_OUT = re.compile(r"""RAY_AUTH_TOKEN=["']?[^$`\s;&|()"']""")
_CLAUSE = re.compile(r"([ugoa]*)([=+-])([rwxX]*)")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def start_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the commands that start Ray, and with the token on the machines."""
    for key in (HEAD, WORKER):
        found = starts(config, key)
        if not found:
            yield f"{key} has no 'ray start', so that no machine joins. Add one."
        for simple in found:
            yield from _either(key, simple)
            if key == HEAD:
                yield from _of_the_head(config, simple)
    yield from _token(config)


def starts(config: Mapping[str, Any], wanted: str) -> list[Simple]:
    """Each `ray start` of a list of commands."""
    return [s for key, _, s in all_commands(config) if key == wanted and s.runs("ray", "start")]


def _either(key: str, simple: Simple) -> Iterator[str]:
    if simple.environment.get("RAY_AUTH_MODE") != "token":
        yield (
            f"{key}: 'ray start' without RAY_AUTH_MODE=token takes jobs from anyone. Put "
            "'export RAY_AUTH_MODE=token;' in front of it: without the export it stays the shell's."
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
    if provider_type(config) == "local":
        for flag in ("--num-cpus", "--num-gpus"):
            if simple.values(flag) != ["0"]:
                yield (
                    f"{HEAD}: 'ray start --head' must say {flag}=0, or candidates are trained "
                    "beside the population."
                )


def _token(config: Mapping[str, Any]) -> Iterator[str]:
    if TOKEN not in table(config.get("file_mounts")):
        yield (
            f"file_mounts does not bring the token {TOKEN} to the machines. Add '{TOKEN}: {TOKEN}'."
        )
    for who, where, commands in setups(config):
        modes = [mode for simple in commands for mode in _modes(simple)]
        if not modes or not _is_private(modes[-1]):
            yield (
                f"{where} must hold 'chmod 600 {TOKEN}' for {who}: the token is nobody else's to "
                "read."
            )
    for key in sorted({key for key, line in all_lines(config) if _WRITTEN_OUT.search(line)}):
        yield (
            f"{key} has the token itself (RAY_AUTH_TOKEN=...), for all to read who see this file. "
            "Take it out, for file_mounts brings it, and make a new one."
        )


def _modes(simple: Simple) -> list[str]:
    """The mode that a command gives the token, if it does."""
    words = [word for word in simple.words[1:] if not re.fullmatch(r"-[vcfR]|--\w+", word)]
    named = any(word.endswith("/.ray/auth_token") for word in words[1:])
    return words[:1] if simple.runs("chmod") and named else []


def _is_private(mode: str) -> bool:
    """Whether a mode, as `chmod` takes it, leaves nothing to group and others."""
    if re.fullmatch(r"0*[4-7]00", mode):
        return True
    left = {"g": set("rwx"), "o": set("rwx")}
    for clause in mode.split(","):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            return False
        for who in left.keys() & set(match[1].replace("a", "go") or "go"):
            given = set(match[3].replace("X", "x"))
            left[who] = {"=": given, "+": left[who] | given, "-": left[who] - given}[match[2]]
    return not any(left.values())
