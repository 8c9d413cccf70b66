"""Checks a cluster's file without a cluster: a file for `ray up`, or manifests of KubeRay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evo_nas.cluster import kuberay, launcher
from evo_nas.cluster.room import Machines, room_problems
from evo_nas.config_tables import SearchConfig
from evo_nas.errors import ClusterError
from workers.cluster_files import what_ray_finds


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of a check.

    Attributes:
        what: What was looked at, for the message that all is well.
        problems: One sentence or two for each: what is wrong, and what to do.
        machines: The kinds of machines for workers, as far as the file says.
        limit: How many machines for workers there may be; None for no limit.
        is_manifest: Whether it is for KubeRay; else it is for `ray up`.
    """

    what: str
    problems: list[str]
    machines: list[Machines]
    limit: int | None
    is_manifest: bool = False


def check_file(path: Path, config: SearchConfig | None = None) -> Checked:
    """Check a file, and whether its machines hold the workers of a search.

    Args:
        path: The file.
        config: The search's configuration, if any.

    Raises:
        ClusterError: If the file cannot be read as YAML, or is of neither kind.
    """
    documents = read_documents(path)
    manifests = [d for d in documents if d.get("kind") in kuberay.KINDS]
    if manifests:
        found = [_manifest(manifest) for manifest in manifests]
    elif len(documents) == 1 and "kind" not in documents[0]:
        found = [_launched(documents[0], path.parent)]
    else:
        kinds = ", ".join(str(document.get("kind")) for document in documents)
        raise ClusterError(
            f"{path} holds {kinds or 'nothing'}, but a file for 'ray up' or manifests of kind "
            f"{' or '.join(kuberay.KINDS)} can be checked. Give another file."
        )
    machines = [kind for checked in found for kind in checked.machines]
    limit = found[0].limit
    problems = [problem for checked in found for problem in checked.problems]
    what = " and ".join(checked.what for checked in found)
    if config is not None:
        problems += room_problems(machines, limit, config.workers)
        what += ", and whether its machines hold the workers"
    return Checked(what, problems, machines, limit, bool(manifests))


def read_documents(path: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file.

    Raises:
        ClusterError: If there is no such file, it is no YAML, or a document is no table.
    """
    import yaml

    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ClusterError(f"{path}: there is no such file.") from None
    except UnicodeDecodeError as error:
        raise ClusterError(f"{path}: cannot be read as text: {error}.") from None
    except yaml.YAMLError as error:
        raise ClusterError(f"{path}: is not YAML: {' '.join(str(error).split())}.") from None
    documents = [document for document in documents if document is not None]
    for document in documents:
        if not isinstance(document, dict):
            raise ClusterError(f"{path}: is no table of keys and values at its top.")
    return documents


def _launched(config: Mapping[str, Any], folder: Path) -> Checked:
    refused = what_ray_finds(config)
    try:
        problems = refused + list(launcher.launcher_problems(config, _pins(config, folder)))
    except (AttributeError, TypeError) as error:
        if not refused:
            raise
        # A table that is none, as Ray said: the rest cannot be looked at.
        problems = [*refused, f"Mend that first, for the rest cannot be read: {error}"]
    limit = config.get("max_workers")
    kind = (config.get("provider") or {}).get("type") if not problems else "?"
    return Checked(
        f"a file for 'ray up' on {kind}",
        problems,
        launcher.machines_of(config) if not refused else [],
        limit if type(limit) is int else None,
    )


def _manifest(manifest: Mapping[str, Any]) -> Checked:
    metadata = manifest.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    problems = [] if name else ["metadata.name is missing. Write one."]
    problems += kuberay.manifest_problems(manifest)
    what = f"{manifest['kind']} {name}"
    return Checked(what, problems, kuberay.machines_of(manifest), None)


def _pins(config: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Versions by package, of the constraints file among what goes to the machines."""
    mounts = config.get("file_mounts")
    for local in mounts.values() if isinstance(mounts, Mapping) else ():
        path = folder / str(local)
        if path.name == "constraints.txt" and path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            pairs = [line.partition("==") for line in lines if not line.startswith("#")]
            return {name.strip().lower(): version.strip() for name, _, version in pairs if version}
    return {}
