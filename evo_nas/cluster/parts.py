"""Parts of a cluster's parsed file, which may hold anything anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evo_nas.config_check import short

_MOST = 200


def table(value: object) -> Mapping[str, Any]:
    """The value if it is a table, else an empty one; that it is none is for others to say."""
    return value if isinstance(value, Mapping) else {}


def tables(value: object) -> list[Mapping[str, Any]]:
    """The entries of a list, as `table`."""
    return [table(entry) for entry in value] if isinstance(value, list) else []


def shown(value: object) -> str:
    """A value for a message: a text as it is, anything else as in Python, cut."""
    return value[:_MOST] if isinstance(value, str) else short(value)


def whole(value: object, otherwise: int) -> int:
    """The value if it is a whole number."""
    return value if type(value) is int else otherwise


def types_of(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The node types that are tables; Ray's validator says what the others are."""
    given = table(config.get("available_node_types"))
    return {shown(name): node for name, node in given.items() if isinstance(node, Mapping)}


def head_type(config: Mapping[str, Any]) -> str:
    """The name of the head's node type."""
    return shown(config.get("head_node_type"))


def provider_type(config: Mapping[str, Any]) -> str:
    """Whose machines they are: ``aws``, ``gcp``, ``local``, ..."""
    return shown(table(config.get("provider")).get("type"))


def ray_container(group: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first container of a pod, which is Ray's; the others are helpers."""
    spec = table(table(group.get("template")).get("spec"))
    return next(iter(tables(spec.get("containers"))), {})


def variables_of(container: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The variables of a container, by name."""
    return {shown(variable.get("name")): variable for variable in tables(container.get("env"))}
