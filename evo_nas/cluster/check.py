"""Checks a cluster's file without a cluster: a file for `ray up`, or manifests of KubeRay."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evo_nas.cluster import kuberay, launcher
from evo_nas.cluster.documents import read_documents
from evo_nas.cluster.parts import provider_type, shown
from evo_nas.cluster.room import Machines, room_hints, room_problems
from evo_nas.config_tables import SearchConfig, WorkersConfig
from evo_nas.errors import ClusterError
from workers.cluster_files import what_ray_finds

_PLACEHOLDER = re.compile(r"\b(?:PROJECT|FAMILY|REGISTRY|BUCKET|ami-0{8,})\b")


@dataclass(frozen=True, slots=True)
class Described:
    """One cluster that a file describes.

    Attributes:
        what: What it is, for the message that all is well.
        problems: One sentence or two for each: what is wrong, and what to do.
        machines: The kinds of machines for workers.
        limit: How many machines for workers there may be; None for no limit.
    """

    what: str
    problems: list[str]
    machines: list[Machines]
    limit: int | None

    def holds(self, workers: WorkersConfig) -> tuple[list[str], list[str]]:
        """What is wrong, and what is worth a word, of its machines for the workers of a search."""
        problems = list(room_problems(self.machines, workers))
        return problems, [] if problems else list(room_hints(self.machines, self.limit, workers))


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of a check.

    Attributes:
        what: What was looked at, for the message that all is well.
        problems: One sentence or two for each: what is wrong, and what to do.
        hints: The same, of what may be as it is meant to be.
    """

    what: str
    problems: list[str]
    hints: list[str]


def check_file(path: Path, config: SearchConfig | None, here: Path) -> Checked:
    """Check a file, and whether its machines hold the workers of a search.

    Args:
        path: The file.
        config: The search's configuration, if any.
        here: Where `ray up` will run.

    Raises:
        ClusterError: If the file cannot be read as YAML, or is of neither kind.
    """
    documents = read_documents(path)
    found = described(path, documents, here)
    problems = [problem for cluster in found for problem in cluster.problems]
    hints = list(_placeholders(documents))
    what = " and ".join(cluster.what for cluster in found)
    if config is not None:
        for cluster in found:  # each has machines of its own
            more, also = cluster.holds(config.workers)
            problems, hints = problems + more, hints + also
        what += ", and whether its machines hold the workers"
    return Checked(what, problems, hints)


def described(path: Path, documents: list[dict[str, Any]], here: Path) -> list[Described]:
    """The clusters of a file, as `check_file`."""
    if manifests := [d for d in documents if is_manifest(d)]:
        return [_manifest(manifest) for manifest in manifests]
    if len(documents) == 1 and "kind" not in documents[0]:
        return [_launched(documents[0], here)]
    kinds = ", ".join(shown(document.get("kind")) for document in documents)
    raise ClusterError(
        f"{path} holds {kinds or 'nothing'}, but a file for 'ray up' or manifests of kind "
        f"{' or '.join(kuberay.KINDS)} can be checked. Give another file."
    )


def is_manifest(document: Mapping[str, Any]) -> bool:
    """Whether a document is for KubeRay."""
    return shown(document.get("kind")) in kuberay.KINDS


def _launched(config: Mapping[str, Any], here: Path) -> Described:
    problems = what_ray_finds(config) + list(launcher.launcher_problems(config, here))
    what = f"a file for 'ray up' on {provider_type(config)}"
    return Described(what, problems, launcher.machines_of(config), launcher.limit_of(config))


def _manifest(manifest: Mapping[str, Any]) -> Described:
    problems = list(kuberay.manifest_problems(manifest))
    what = f"{shown(manifest['kind'])} {kuberay.name_of(manifest)}"
    return Described(what, problems, kuberay.machines_of(manifest), None)


def _placeholders(documents: list[dict[str, Any]]) -> Iterator[str]:
    words = {word for text in _texts(documents) for word in _PLACEHOLDER.findall(text)}
    if words:
        yield (
            f"it still says {', '.join(sorted(words))}, in the place of something of yours. Put "
            "your own there before you start the cluster."
        )


def _texts(part: object) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, Mapping):
        for value in part.values():
            yield from _texts(value)
    elif isinstance(part, list):
        for value in part:
            yield from _texts(value)
