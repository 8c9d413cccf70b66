"""Changes to a cluster's file, to see which of them are noticed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from project import ROOT

from evo_nas.cluster.check import check_file
from evo_nas.config_tables import SearchConfig

Config = dict[str, Any]
Change = Callable[[Config], None]


def read(name: str) -> Config:
    """A file of this project with one document."""
    loaded: Config = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return loaded


def problems(folder: Path, *documents: Config, search: SearchConfig | None = None) -> list[str]:
    """What the product says of a changed file, which lies beside the project's constraints."""
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    shutil.copy(ROOT / "constraints.txt", folder)
    return check_file(path, search).problems


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
