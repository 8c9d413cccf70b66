"""A file for `ray up`: what Ray's own validator lets through.

Ray silently drops legacy keys, accepts a node type with min_workers above max_workers, and fills a
missing list of commands with one that installs a nightly build and opens the dashboard to the
network. So each of these is looked for here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evo_nas.cluster.commands import COMMANDS, lines, simple_commands
from evo_nas.cluster.installs import install_problems
from evo_nas.cluster.room import Machines
from evo_nas.cluster.starts import start_problems

_LEGACY = ("head_node", "worker_nodes", "min_workers", "initial_workers", "autoscaling_mode")


def launcher_problems(config: Mapping[str, Any], pins: Mapping[str, str]) -> Iterator[str]:
    """Everything wrong with a file for `ray up`, Ray's own findings left out.

    Args:
        config: The parsed file.
        pins: Versions of the constraints file that goes to the machines, by package name.
    """
    yield from _legacy_keys(config)
    yield from _commands(config)
    if is_local(config):
        yield from _local_provider(config)
    else:
        yield from _node_types(config)
        yield from _head(config)
    yield from image_problems("docker.image", (config.get("docker") or {}).get("image"))
    yield from install_problems(config, pins)
    yield from start_problems(config)


def machines_of(config: Mapping[str, Any]) -> list[Machines]:
    """The kinds of machines for workers, and how many of each there may be.

    Kinds whose resources are not written down are left out: Ray asks the cloud for them.
    """
    if is_local(config):
        return []
    return [
        Machines(
            name,
            most if type(most := node.get("max_workers")) is int else None,
            resources,
            table_of_texts(node.get("labels")),
        )
        for name, node in types_of(config).items()
        if name != config.get("head_node_type")
        and isinstance(resources := node.get("resources"), Mapping)
        and resources
    ]


def table_of_texts(given: object) -> dict[str, str]:
    """Labels as Ray has them; what is no table has none, and Ray's validator says so."""
    items = given.items() if isinstance(given, Mapping) else ()
    return {str(key): str(value) for key, value in items}


def types_of(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The node types that are tables; Ray's validator says what the others are."""
    given = config.get("available_node_types")
    if not isinstance(given, Mapping):
        return {}
    return {str(name): node for name, node in given.items() if isinstance(node, Mapping)}


def is_local(config: Mapping[str, Any]) -> bool:
    """Whether the machines are there already, with addresses written in the file."""
    return (config.get("provider") or {}).get("type") == "local"


def image_problems(where: str, image: object) -> Iterator[str]:
    """What is wrong with a container image: it has to name one version."""
    if image is None:
        return
    text = str(image)
    tag = text.rpartition("/")[2].partition(":")[2]
    if "@sha256:" in text:
        return
    if not tag or tag.split("-")[0] in ("latest", "nightly") or "nightly" in tag:
        yield (
            f"{where} is {text}, which is another image tomorrow. Pin a version: "
            f"{text.partition(':')[0]}:VERSION."
        )


def _legacy_keys(config: Mapping[str, Any]) -> Iterator[str]:
    for key in _LEGACY:
        if key in config and not (key == "min_workers" and is_local(config)):
            yield (
                f"{key} is a legacy key that Ray drops without a word. Use available_node_types."
            )


def _commands(config: Mapping[str, Any]) -> Iterator[str]:
    for key in COMMANDS:
        if key not in config:
            yield (
                f"{key} is missing, so that Ray fills in its own, which may install a nightly "
                "build or open the dashboard to the network. Give it, if only as []."
            )
        for line in lines(config, key):
            try:
                simple_commands(line)
            except ValueError as error:
                yield f"{key}: {line.strip()} is no shell command: {error}. Close the quote."


def _node_types(config: Mapping[str, Any]) -> Iterator[str]:
    limit = config.get("max_workers")
    if type(limit) is not int:
        yield "max_workers is missing, so that Ray takes 2 machines at most. Write how many."
    for name, node in types_of(config).items():
        least, most = node.get("min_workers", 0), node.get("max_workers")
        if most is None:
            yield (
                f"{name} has no max_workers, so that only the whole cluster's limit holds. Add it."
            )
        if type(least) is not int or type(most) not in (int, type(None)):
            continue  # Ray's validator says so
        if most is not None and least > most:
            yield f"{name} has min_workers {least} above max_workers {most}. Raise the latter."
        if type(limit) is int and least > limit:
            yield (
                f"{name} has min_workers {least} above the cluster's max_workers {limit}. "
                "Raise the latter."
            )
        resources = node.get("resources")
        if not isinstance(resources, Mapping):
            continue
        for resource in ("CPU", "GPU"):
            amount = resources.get(resource, 0)
            if type(amount) is not int:
                yield (
                    f"{name} has {amount!r} {resource}, but a machine has whole ones. A worker's "
                    "share of a GPU is 1/n: set workers_per_gpu = n in [workers]."
                )
        if resources.get("GPU") and "CPU" not in resources:
            yield f"{name} names its GPUs but not its CPUs; a worker asks for both. Add CPU."


def _head(config: Mapping[str, Any]) -> Iterator[str]:
    name = config.get("head_node_type")
    head = types_of(config).get(str(name), {})
    resources = head.get("resources") or {}
    for resource in ("CPU", "GPU"):
        if resources.get(resource) != 0:
            yield (
                f"{name} must say {resource}: 0 in its resources, or candidates are trained beside "
                "the population."
            )
    if head.get("max_workers") != 0:
        yield f"{name} must say max_workers: 0, or workers are started as heads."


def _local_provider(config: Mapping[str, Any]) -> Iterator[str]:
    provider = config["provider"]
    if "available_node_types" in config:
        yield "available_node_types does not go with provider type local. Remove it."
    if "coordinator_address" in provider:
        return
    workers = provider.get("worker_ips")
    if not provider.get("head_ip") or not isinstance(workers, list) or not workers:
        yield "provider needs head_ip and worker_ips, the addresses of the machines. Write them."
        return
    if provider["head_ip"] in workers:
        yield f"provider has {provider['head_ip']} as head and as worker. Take it off worker_ips."
    if len(set(workers)) < len(workers):
        yield "provider.worker_ips names a machine twice. Name each once."
    least, most = config.get("min_workers", 0), config.get("max_workers", len(workers))
    if type(least) is int and type(most) is int and least > most:
        yield f"min_workers is {least}, above max_workers {most}. Raise the latter."
    if type(most) is int and most != len(workers):
        yield (
            f"max_workers is {most}, but worker_ips names {len(workers)} machines. Write "
            f"max_workers: {len(workers)}."
        )
