"""Reads, checks, changes and compares configurations; their tables stand in `config_tables`.

Readers of a run import this module too, so it imports neither torch nor the search space
(unless a configuration has a table ``[space]``).
"""

from __future__ import annotations

import dataclasses
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from evo_nas.config_check import ConfigError, checked, named, plain, short, suggestion
from evo_nas.config_tables import (
    PRESETS,
    RANGES,
    TABLES,
    TOP_LEVEL,
    BudgetConfig,
    CompareConfig,
    EvolutionConfig,
    RungsConfig,
    SearchConfig,
    TaskConfig,
    WorkersConfig,
)

__all__ = [
    "BudgetConfig",
    "CompareConfig",
    "ConfigError",
    "EvolutionConfig",
    "RungsConfig",
    "SearchConfig",
    "TaskConfig",
    "WorkersConfig",
    "differences",
    "from_dict",
    "load",
    "population_for",
    "resolved",
    "to_dict",
    "with_overrides",
]

_FLAGS: Mapping[str, tuple[str, str]] = {
    "task": ("task", "kind"),
    "rungs": ("rungs", "fractions"),
} | {f.name: (table, f.name) for table, kind in TABLES.items() for f in dataclasses.fields(kind)}

MOST_BYTES = 2**18
"""Of a configuration file; one that sets everything has two thousand."""
_LONG_KEY = re.compile(
    r"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){32}""", re.ASCII
)
"""A key of very many parts, ``a.a.a``: tomllib takes minutes for one of 100 kB."""
BEFORE: Mapping[str, Mapping[str, Any]] = {
    "rungs": {"fractions": []},
    "training": {"refuse_dead": False},
}
"""Keys that runs of formats 1 and 2 do not have, with the values that say what these did, whatever
the defaults are now."""


def load(path: str | Path) -> SearchConfig:
    """Read a TOML file.

    Raises:
        ConfigError: If the file is missing, is no TOML, has an unknown table or key, or a value
            of the wrong type or out of range; the message starts with the file.
    """
    try:
        text = bounded_text(path)
        if _LONG_KEY.search(text):
            raise ConfigError(f"{path}: is nested too deeply.")
        return _from_document(tomllib.loads(text), str(path))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as text: {error}.") from None
    except ConfigError:
        raise
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply.") from None
    except ValueError as error:  # int() refuses thousands of digits
        raise ConfigError(f"{path}: is not TOML: {error}.") from None


def bounded_text(path: str | Path) -> str:
    """The text of an ordinary file of at most `MOST_BYTES`.

    Raises:
        ConfigError: If it is another, or larger.
        OSError, UnicodeDecodeError: If it cannot be read, or is no text.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ConfigError(f"{path}: is no ordinary file.")
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ConfigError(f"{path}: has more than {MOST_BYTES:,} bytes. Is it a configuration?")
    return content.decode("utf-8")


def from_dict(document: Mapping[str, Any], source: str = "run.json") -> SearchConfig:
    """The configuration that `to_dict` wrote; ``source`` starts the messages.

    `to_dict` writes every key. What an older program wrote lacks some, and means what it did then:
    `BEFORE`, not the defaults of now.

    Raises:
        ConfigError: As `load`.
    """
    tables = dict(document)
    for name, values in BEFORE.items():
        table = tables.setdefault(name, {})
        if isinstance(table, Mapping):
            tables[name] = {**values, **table}
    task = tables.get("task")
    if isinstance(task, Mapping) and isinstance(task.get("options"), Mapping):
        tables["task"] = {k: v for k, v in task.items() if k != "options"} | task["options"]
    try:
        return _from_document(tables, source)
    except RecursionError:
        raise ConfigError(f"{source}: is nested too deeply.") from None


def to_dict(config: SearchConfig) -> dict[str, Any]:
    """The configuration as JSON-plain data, every default written out."""
    document: dict[str, Any] = plain("the configuration", dataclasses.asdict(config))
    return document


def with_overrides(config: SearchConfig, **flags: Any) -> SearchConfig:
    """The configuration with the values of command line flags; None is a flag not given.

    Flags are the keys of the tables (``population``, ``evaluations``), ``seed``, ``run``,
    ``task`` for the task's kind, ``rungs`` for their fractions, ``preset``, and ``options``, which
    is merged into the task's.

    Raises:
        ConfigError: If a value is wrong; the message starts with the flag.
        TypeError: If there is no such flag.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    preset = given.pop("preset", None)
    if preset is not None:
        given = _preset(f"--preset is {preset!r}", preset) | given
    for name, value in given.items():
        label = f"--{name.replace('_', '-')}"
        if name in TOP_LEVEL:
            value = checked(label, value, TOP_LEVEL[name], RANGES.get(name))
            config = dataclasses.replace(config, **{name: value})
            continue
        if name not in _FLAGS:
            raise TypeError(f"there is no flag {name!r}. {suggestion(name, _FLAGS)}")
        table, key = _FLAGS[name]
        current = getattr(config, table)
        value = checked(label, value, get_type_hints(TABLES[table])[key], RANGES.get(key))
        if name == "options":
            if taken := value.keys() & {"kind", "data"}:
                raise ConfigError(f"--options: {taken.pop()!r} is no option of a task's own.")
            value = config.task.options | value
        try:
            changed = dataclasses.replace(current, **{key: value})
        except ValueError as error:
            raise ConfigError(f"{label}: {error}") from None
        config = dataclasses.replace(config, **{table: changed})
    return config


def population_for(config: SearchConfig) -> tuple[int, int]:
    """Population P and sample size S of the search.

    P is at most a quarter of the budget in evaluations (else the search is mostly its random
    start) but at least 2; S is at most P. A budget in hours alone leaves both as configured.
    """
    population = config.evolution.population
    if config.budget.evaluations is not None:
        population = max(2, min(population, config.budget.evaluations // 4))
    return population, min(config.evolution.sample_size, population)


def resolved(config: SearchConfig, budget: BudgetConfig | None = None) -> SearchConfig:
    """The configuration with population and sample size fixed by `population_for`.

    A run keeps them when its budget is raised later; otherwise its record would replay into
    another population.

    Args:
        budget: Decides instead of the configuration's own.
    """
    by = config if budget is None else dataclasses.replace(config, budget=budget)
    population, sample_size = population_for(by)
    evolution = dataclasses.replace(
        config.evolution, population=population, sample_size=sample_size
    )
    return dataclasses.replace(config, evolution=evolution)


def differences(run: SearchConfig, now: SearchConfig) -> list[str]:
    """What keeps a run from being resumed, e.g. ``training.steps: 400 in the run, 800 now``.

    Task, training, space, evolution, rungs and seed decide what an evaluation means and may not
    change; budget, workers and compare may. Where the data lie may change as well: whether
    they are the same is for their SHA-256 in the run's header to say.
    """
    before, after = to_dict(run), to_dict(now)
    for document in (before, after):
        del document["task"]["data"]
        document["task"] |= document["task"].pop("options")
    found: list[str] = []
    for table in ("task", "training", "space", "evolution", "rungs"):
        for key in sorted(before[table].keys() | after[table].keys()):
            old, new = (_shown(document[table], key) for document in (before, after))
            if old != new:
                found.append(f"{table}.{key}: {old} in the run, {new} now")
    if run.seed != now.seed:
        found.append(f"seed: {run.seed} in the run, {now.seed} now")
    return found


def _shown(table: Mapping[str, Any], key: str) -> str:
    return repr(table[key]) if key in table else "not set"


def _from_document(document: Mapping[str, Any], source: str) -> SearchConfig:
    parts: dict[str, Any] = {}
    for name, value in document.items():
        if name in TOP_LEVEL:
            parts[name] = checked(f"{source}: {name}", value, TOP_LEVEL[name], RANGES.get(name))
        elif name not in TABLES and name != "space":
            known = [*TABLES, "space", *TOP_LEVEL]
            raise ConfigError(f"{source}: there is no {short(name)}. {suggestion(name, known)}")
        elif not isinstance(value, Mapping):
            raise ConfigError(f"{source}: {name} is {short(value)}, but must be a table [{name}].")
        elif name == "space":
            parts[name] = _space(value, f"{source}: [space]")
        else:
            parts[name] = _table(name, value, f"{source}: [{name}]")
    return SearchConfig(**parts)


def _table(name: str, given: Mapping[str, Any], where: str) -> Any:
    kind = TABLES[name]
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    if name == "task":
        hints.pop("options")
        others = {key: value for key, value in given.items() if key not in hints}
        values["options"] = {k: plain(f"{where} {named(k)}", v) for k, v in others.items()}
        given = {key: value for key, value in given.items() if key in hints}
    if name == "evolution" and "preset" in given:
        preset = given["preset"]
        given = {key: value for key, value in given.items() if key != "preset"}
        given = {**_preset(f"{where} preset is {short(preset)}", preset), **given}
    for key, value in given.items():
        if key not in hints:
            raise ConfigError(f"{where} has no key {short(key)}. {suggestion(key, hints)}")
        values[key] = checked(f"{where} {key}", value, hints[key], RANGES.get(key))
    try:
        return kind(**values)
    except ValueError as error:
        raise ConfigError(f"{where} {error}") from None


def _preset(what: str, name: Any) -> dict[str, int]:
    if not isinstance(name, str) or name not in PRESETS:
        raise ConfigError(f"{what}, but presets are: {', '.join(PRESETS)}.")
    return dict(PRESETS[name])


def _space(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    values = {key: plain(f"{where} {named(key)}", value) for key, value in given.items()}
    if values:
        from genomes.space import SearchSpace

        known = [f.name for f in dataclasses.fields(SearchSpace)]
        for key in values:
            if key not in known:
                raise ConfigError(f"{where} has no key {short(key)}. {suggestion(key, known)}")
        try:
            SearchSpace.from_dict(values)
        except ValueError as error:
            reason = str(error).removeprefix("search space: ")
            raise ConfigError(f"{where} {reason}") from None
    return values
