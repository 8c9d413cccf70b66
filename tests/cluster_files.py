"""Changes to a cluster's file, to see which of them are noticed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from project import ROOT

from evo_nas.cluster.check import Checked, check_file
from evo_nas.config_tables import SearchConfig

Config = dict[str, Any]
Change = Callable[[Config], None]


def read(name: str) -> Config:
    """A file of this project with one document."""
    loaded: Config = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return loaded


def checked(folder: Path, *documents: Config, search: SearchConfig | None = None) -> Checked:
    """What the product says of a changed file, as from the top of the project."""
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    return check_file(path, search, ROOT)


def problems(folder: Path, *documents: Config, search: SearchConfig | None = None) -> list[str]:
    """The problems alone."""
    return checked(folder, *documents, search=search).problems


def replace(key: str, old: str, new: str) -> Change:
    """Another text in a list of commands."""

    def change(config: Config) -> None:
        changed = [command.replace(old, new) for command in config[key]]
        assert changed != config[key], f"{old!r} does not occur in {key}"
        config[key] = changed

    return change


def put(*path: str | int, to: Any) -> Change:
    """Another value at the end of a path of keys and numbers."""

    def change(config: Config) -> None:
        part: Any = config
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = to

    return change


def drop(*path: str | int) -> Change:
    """No value there."""

    def change(config: Config) -> None:
        part: Any = config
        for key in path[:-1]:
            part = part[key]
        del part[path[-1]]

    return change


def disturbed(config: Config) -> Iterator[Config]:
    """The file with something else in one place, for every place; one object, changed."""
    for holder, key in list(_places(config)):
        before = holder[key]
        for value in (None, math.nan, 1 << 20_000, "'", [{}, 3], {1: 2}):
            holder[key] = value
            yield config
        holder[key] = before


def _places(part: Any) -> Iterator[tuple[Any, Any]]:
    inside = part.items() if isinstance(part, dict) else enumerate(part)
    for key, value in list(inside):
        yield part, key
        if isinstance(value, dict | list):
            yield from _places(value)
