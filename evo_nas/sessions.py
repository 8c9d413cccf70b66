"""What each session of a run was told to do, so that the next one goes on in the same way.

A run's header keeps the configuration it began with. A later session may have another budget,
other workers or moved data; its configuration is written to ``sessions/001.json``, ``002.json``,
..., each written once.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from evo_nas.config import ConfigError, from_dict, to_dict
from evo_nas.config_tables import SearchConfig
from evo_nas.errors import RecordError
from evo_nas.record import Header, RunPath, run_path
from evo_nas.record.layout import numbered
from evo_nas.record.outside import read_document
from evo_nas.record.sealed import BrokenSeal, opened, sealed
from evo_nas.record.storage import Hold, make_directory, write_durably
from evo_nas.terminal import warn

FOLDER = "sessions"


def last_config(directory: str | RunPath, header: Header) -> SearchConfig:
    """The configuration of the latest session; the header's if there was only one.

    A file that is damaged is passed over with a warning: what it changed can be given again.
    """
    for _, path in reversed(_files(run_path(directory))):
        try:
            return from_dict(opened(read_document(path))[0], str(path))
        except (BrokenSeal, ConfigError, RecordError) as error:
            warn(
                [
                    f"{path} is damaged ({error}) and was passed over: budget, workers and "
                    "comparison are those of the session before it, unless you give others."
                ]
            )
    return from_dict(header.config, f"{directory}/run.json")


def note_session(directory: RunPath, config: SearchConfig, held: Hold | None = None) -> None:
    """Write down the configuration of a session that goes on with a run, which it holds."""
    folder = directory / FOLDER
    make_directory(folder)
    number = max((number for number, _ in _files(directory)), default=0) + 1
    write_durably(folder / f"{number:03}.json", sealed(to_dict(config)), held)


def merged(config: SearchConfig, wanted: SearchConfig) -> SearchConfig:
    """The run's configuration with what a file sets of how it goes on, not of what it searches.

    A value the file leaves at its default stays what it was.
    """
    tables: dict[str, Any] = {}
    for name in ("budget", "workers", "compare", "record", "watching"):
        given = getattr(wanted, name)
        default = type(given)()
        changed = {
            f.name: getattr(given, f.name)
            for f in fields(given)
            if getattr(given, f.name) != getattr(default, f.name)
        }
        tables[name] = replace(getattr(config, name), **changed)
    return replace(config, **tables)


def _files(directory: RunPath) -> list[tuple[int, RunPath]]:
    found = (directory / FOLDER).glob("*.json")
    return numbered(found)
