"""The header of a run: what is known of it before its first evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from evo_nas.errors import RecordError
from evo_nas.record.outside import read_document
from evo_nas.record.paths import RunPath, run_path
from evo_nas.record.sealed import SEAL, BrokenSeal, opened, sealed
from evo_nas.record.storage import Hold, replace_durably, write_durably

FORMAT = "evo-nas-run"
VERSION = 3
HEADER = "run.json"


_KINDS: Mapping[str, type] = {"config": dict, "higher_is_better": bool}
"""Of the header's fields; all others are text."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a run before its first evaluation; written once.

    Attributes:
        config: The configuration (`evo_nas.config.to_dict`).
        task: Name of the task.
        data_sha256: Hex SHA-256 of the task's data.
        metric: Name of the metric; ``unit`` its unit, ``higher_is_better`` its direction.
        program: Version of evo-nas that began the run.
        created: When, as ISO 8601 text in UTC.
        engine: What trains candidates, with its variant (``native/avx512``); empty in runs of
            format 1, which did not hold it.
    """

    config: Mapping[str, Any]
    task: str
    data_sha256: str
    metric: str
    unit: str
    higher_is_better: bool
    program: str
    created: str
    engine: str = ""


def now() -> str:
    """The time as `Header.created` holds it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_header(directory: RunPath, header: Header, held: Hold | None = None) -> None:
    """Write the header of a new run."""
    write_durably(directory / HEADER, _content(header), held)


def read_header(directory: str | RunPath) -> Header:
    """The header of a run, of this format or an older one.

    Raises:
        RecordError: If there is no run, its header is damaged, or of a newer format version.
    """
    return _read(run_path(directory))[0]


def upgrade(directory: RunPath, held: Hold | None = None) -> str:
    """Let a run of an older format go on in this one: its header alone is written anew.

    The old header stays as ``run.json.1``. Its segments are read as they are.

    Returns:
        What the user should know; empty if the run is of this format already.
    """
    header, version = _read(directory)
    if version == VERSION:
        return ""
    path = directory / HEADER
    kept = path.with_name(f"{HEADER}.{version}")
    if not kept.exists():
        write_durably(kept, path.read_bytes(), held)
    replace_durably(path, _content(header), held)
    return (
        f"{directory} was written in format {version} and goes on in format {VERSION}: older "
        f"programs refuse it from now on. Its old header was kept as {kept.name}."
    )


def _content(header: Header) -> bytes:
    return sealed({"format": FORMAT, "version": VERSION} | asdict(header))


def _read(directory: RunPath) -> tuple[Header, int]:
    path = directory / HEADER
    try:
        content = read_document(path)
    except (FileNotFoundError, NotADirectoryError):
        raise RecordError(
            f"{directory} holds no run: there is no {HEADER} in it. "
            f"Begin one with: evo-nas search --run {directory}"
        ) from None
    try:
        # The seal is looked at first, so that a flipped bit in the version is damage, no version.
        document, had_seal = opened(content)
        if document.get("format") != FORMAT:
            raise RecordError(f"{path} was not written by evo-nas. Give another run directory.")
        version = _known_version(path, document)
        if version != 1 and not had_seal:
            raise BrokenSeal(f"its {SEAL!r} is missing")
        names = [field.name for field in fields(Header) if version != 1 or field.name != "engine"]
        if missing := sorted(set(names) - document.keys()):
            raise BrokenSeal(f"{missing[0]!r} is missing")
        if wrong := [n for n in names if not isinstance(document[n], _KINDS.get(n, str))]:
            raise BrokenSeal(f"{wrong[0]!r} is of another kind")
    except BrokenSeal as error:
        raise RecordError(
            f"{path} is damaged or was edited: {error}. Restore it from a copy."
        ) from None
    return Header(**{name: document[name] for name in names}), version


def _known_version(path: RunPath, document: Mapping[str, Any]) -> int:
    version = document.get("version")
    if type(version) is int and 1 <= version <= VERSION:
        return version
    raise RecordError(
        f"{path} has format version {version}, but this program reads versions 1 to {VERSION}. "
        f"Use the evo-nas that wrote it ({document.get('program')}) or a newer one."
    )
