"""A file for `ray up`: what Ray's own validator lets through.

Ray silently drops legacy keys, accepts a node type with min_workers above max_workers, and fills a
missing list of commands with one that installs a nightly build and opens the dashboard to the
network. So each of these is looked for here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from evo_nas.cluster.commands import COMMANDS, all_lines, simple_commands
from evo_nas.cluster.installs import IMAGES, install_problems
from evo_nas.cluster.parts import head_type, provider_type, shown, table, types_of, whole
from evo_nas.cluster.room import Machines
from evo_nas.cluster.starts import TOKEN, WORKER, start_problems, starts
from evo_nas.config import bounded_text
from evo_nas.errors import ClusterError

_LEGACY = ("head_node", "worker_nodes", "min_workers", "initial_workers", "autoscaling_mode")
_LABELS = ("--labels", "--labels-file")


def launcher_problems(config: Mapping[str, Any], here: Path) -> Iterator[str]:
    """Everything wrong with a file for `ray up`, Ray's own findings left out.

    Args:
        config: The parsed file.
        here: Where `ray up` will run, from which Ray takes what ``file_mounts`` names.

    Raises:
        ClusterError: If the constraints that it names cannot be read.
    """
    yield from _legacy_keys(config)
    yield from _commands(config)
    if provider_type(config) == "local":
        yield from _local_provider(config)
    else:
        yield from _node_types(config)
        yield from _head(config)
    yield from _images(config)
    mounts = {shown(k): shown(v) for k, v in table(config.get("file_mounts")).items()}
    for local in mounts.values():
        # The token is nobody's before it is made; `ray up` and `submit` say so.
        if local != TOKEN and not (here / Path(local).expanduser()).exists():
            yield (
                f"file_mounts sends {local}, which is not in {here}. 'ray up' looks for it where "
                "it is run: run this and that from the folder that has it."
            )
    yield from install_problems(config, _pins(mounts.values(), here))
    yield from start_problems(config)


def machines_of(config: Mapping[str, Any]) -> list[Machines]:
    """The kinds of machines for workers, and how many of each there may be.

    Of machines that are there already only their number is known.
    """
    limit = limit_of(config)
    if provider_type(config) == "local":
        addresses = table(config.get("provider")).get("worker_ips")
        count = len(addresses) if isinstance(addresses, list) else 0
        return [Machines("worker_ips", count, limit, None, {})]
    # Who labels machines as Ray starts on them says more than the file's tables.
    labelled = any(simple.values(flag) for simple in starts(config, WORKER) for flag in _LABELS)
    return [
        Machines(
            name,
            whole(node.get("min_workers"), 0),
            min(limit, whole(node.get("max_workers"), limit)),
            table(node.get("resources")) or None,
            None if labelled else table(node.get("labels")),
        )
        for name, node in types_of(config).items()
        if name != head_type(config)
    ]


def limit_of(config: Mapping[str, Any]) -> int:
    """How many machines there may be beside the head."""
    return whole(config.get("max_workers"), 2)  # Ray's own default


def image_problems(where: str, image: object) -> Iterator[str]:
    """What is wrong with a container image: it has to name one version."""
    if image is None:
        return
    text = shown(image)
    tag = text.rpartition("/")[2].partition(":")[2]
    if "@sha256:" in text:
        return
    if not tag or tag.split("-")[0] in ("latest", "nightly") or "nightly" in tag:
        yield (
            f"{where} is {text}, which is another image tomorrow. Pin a version: "
            f"{text.removesuffix(f':{tag}')}:VERSION."
        )


def _images(config: Mapping[str, Any]) -> Iterator[str]:
    for image in IMAGES:
        yield from image_problems(f"docker.{image}", table(config.get("docker")).get(image))
    for name, node in types_of(config).items():
        own = table(node.get("docker")).get("worker_image")
        yield from image_problems(f"{name}.docker.worker_image", own)


def _pins(mounts: Iterable[str], here: Path) -> dict[str, str]:
    """Versions by package, of the constraints file among what goes to the machines."""
    for path in (here / Path(local).expanduser() for local in mounts):
        if path.name == "constraints.txt" and path.is_file():
            try:
                lines = bounded_text(path).splitlines()
            except UnicodeDecodeError as error:
                raise ClusterError(f"{path}: cannot be read as text: {error}.") from None
            pairs = [line.partition("==") for line in lines if not line.startswith("#")]
            return {name.strip().lower(): version.strip() for name, _, version in pairs if version}
    return {}


def _legacy_keys(config: Mapping[str, Any]) -> Iterator[str]:
    for key in _LEGACY:
        if key in config and not (key == "min_workers" and provider_type(config) == "local"):
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
    for key, line in all_lines(config):
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
            yield (
                f"{name} has min_workers {shown(least)} above max_workers {shown(most)}. Raise the "
                "latter."
            )
        if type(limit) is int and least > limit:
            yield (
                f"{name} has min_workers {shown(least)} above the cluster's max_workers "
                f"{shown(limit)}. Raise the latter."
            )
        resources = node.get("resources")
        if not isinstance(resources, Mapping):
            continue
        for resource in ("CPU", "GPU"):
            amount = resources.get(resource, 0)
            if type(amount) is not int:
                yield (
                    f"{name} has {shown(amount)} {resource}, but a machine has whole ones. A "
                    "worker's share of a GPU is 1/n: set workers_per_gpu = n in [workers]."
                )
        if resources.get("GPU") and "CPU" not in resources:
            yield f"{name} names its GPUs but not its CPUs; a worker asks for both. Add CPU."


def _head(config: Mapping[str, Any]) -> Iterator[str]:
    name = head_type(config)
    head = table(types_of(config).get(name))
    resources = table(head.get("resources"))
    for resource in ("CPU", "GPU"):
        if resources.get(resource) != 0:
            yield (
                f"{name} must say {resource}: 0 in its resources, or candidates are trained beside "
                "the population."
            )
    if head.get("max_workers") != 0:
        yield f"{name} must say max_workers: 0, or workers are started as heads."


def _local_provider(config: Mapping[str, Any]) -> Iterator[str]:
    provider = table(config.get("provider"))
    if "available_node_types" in config:
        yield "available_node_types does not go with provider type local. Remove it."
    if "coordinator_address" in provider:
        return
    workers = provider.get("worker_ips")
    if not provider.get("head_ip") or not isinstance(workers, list) or not workers:
        yield "provider needs head_ip and worker_ips, the addresses of the machines. Write them."
        return
    if not all(isinstance(address, str) for address in (provider["head_ip"], *workers)):
        yield "provider.head_ip and worker_ips must be texts, each the address of a machine."
        return
    if (head := provider["head_ip"]) in workers:
        yield f"provider has {shown(head)} as head and as worker. Take it off worker_ips."
    if len(set(workers)) < len(workers):
        yield "provider.worker_ips names a machine twice. Name each once."
    least, most = config.get("min_workers", 0), config.get("max_workers", len(workers))
    if type(least) is int and type(most) is int and least > most:
        yield f"min_workers is {shown(least)}, above max_workers {shown(most)}. Raise the latter."
    if type(most) is int and most != len(workers):
        yield (
            f"max_workers is {shown(most)}, but worker_ips names {len(workers)} machines. Write "
            f"max_workers: {len(workers)}."
        )
