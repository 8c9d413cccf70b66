"""Checkpoints: many segments rolled into one file, and a manifest that says what is whole.

::

    DIR/checkpoints/000000001234.json    manifest after 1,234 events, written last

A manifest lists the rolled files that hold the events up to it, each with its SHA-256. It is an
accelerator: with it a reader knows by one hash that a large file is what was written and reads
of it only the columns it wants; without it every byte is decoded and its checksums compared. All
it says can be derived from the segments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa

from evo_nas.errors import RecordError
from evo_nas.record.layout import SEGMENTS, Part, numbered, parts_in
from evo_nas.record.outside import read_document, read_whole
from evo_nas.record.paths import RunPath
from evo_nas.record.sealed import BrokenSeal, sealed, unsealed
from evo_nas.record.segments import DamagedSegment, decode, encode_rolled
from evo_nas.record.storage import Hold, contents, make_directory, remove, write_durably

CHECKPOINTS = "checkpoints"
FORMAT = "evo-nas-checkpoint"
KEPT = 2
"""Newest manifests that stay, with the files they list: were the last one damaged, the one before
it would still do."""
LARGEST = 1 << 15
"""Segments in a rolled file that is never rolled again: what is rolled up is held in memory."""


@dataclass(frozen=True, slots=True)
class RolledFile:
    """A rolled file as a manifest lists it.

    Attributes:
        first: Its first segment; ``last`` its last.
        events: How many events it holds.
        size: In bytes.
        digest: Hex SHA-256 of its bytes.
    """

    first: int
    last: int
    events: int
    size: int
    digest: str

    @property
    def part(self) -> Part:
        """The file among the files of events."""
        return Part(self.first, self.last, True)

    def holds(self, content: bytes) -> bool:
        """Whether these are its bytes."""
        return len(content) == self.size and hashlib.sha256(content).hexdigest() == self.digest


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a checkpoint says.

    Attributes:
        events: Events up to it.
        files: The rolled files that hold them, in order.
    """

    events: int
    files: tuple[RolledFile, ...]

    def listed(self, part: Part) -> RolledFile | None:
        """What it says of a file of events; None if nothing."""
        return next((file for file in self.files if file.part == part), None)


def read_manifest(root: RunPath) -> tuple[Manifest | None, list[str]]:
    """The newest manifest that is whole, and warnings about newer ones that are not."""
    warnings: list[str] = []
    for path in reversed(_manifests(root)):
        try:
            return _parsed(path), warnings
        except FileNotFoundError:
            continue  # a newer one came, and this one went, since the folder was listed
        except BrokenSeal as error:
            warnings.append(
                f"{path} is damaged ({error}) and was passed over: the record is read without it."
            )
    return None, warnings


def write_checkpoint(
    root: RunPath,
    chosen: Sequence[Part],
    known: Manifest | None,
    written: Mapping[Part, pa.Table],
    held: Hold | None = None,
) -> Manifest:
    """Roll the single segments up and write a manifest; what became superfluous goes.

    Earlier rolled files join in as long as they hold no more segments than what is rolled up with
    them, and fewer than `LARGEST`. So there are few files, about log2 of the segments at first, and
    no event is rewritten more often than that.

    Args:
        root: The run directory.
        chosen: The files that make up the record, in order (`evo_nas.record.layout.cover`).
        known: The manifest before this one.
        written: Rows of those segments that were written just now and need not be read.
        held: What keeps other managers out.

    Raises:
        OSError: If the disk refuses; the record is whole then, rolled up or not.
        RecordError: If a file is not what was written.
    """
    folder = root / SEGMENTS
    kept, rolled = _split(chosen)
    old = [part for part in rolled if part not in written]
    read = zip(old, contents([folder / part.name for part in old]), strict=True)
    tables = {**written} | {
        part: _table(folder / part.name, content, part, known) for part, content in read
    }
    files = [_listed(folder, part, known) for part in kept]
    if rolled:
        table = pa.concat_tables([tables[part] for part in rolled])
        part = Part(rolled[0].first, rolled[-1].last, True)
        content = encode_rolled(table)
        write_durably(folder / part.name, content, held)
        files.append(_file(part, content, table.num_rows))
    manifest = Manifest(sum(file.events for file in files), tuple(files))
    make_directory(root / CHECKPOINTS)
    document = {"format": FORMAT, "events": manifest.events}
    listed = [asdict(file) for file in files]
    path = root / CHECKPOINTS / f"{manifest.events:012d}.json"
    write_durably(path, sealed({**document, "files": listed}), held)
    _tidy(root, held)
    return manifest


def _split(chosen: Sequence[Part]) -> tuple[list[Part], list[Part]]:
    """Rolled files that stay as they are, and the files to be rolled into one."""
    at = next((k for k, part in enumerate(chosen) if not part.rolled), len(chosen))
    kept, rolled = list(chosen[:at]), list(chosen[at:])
    size = sum(part.last - part.first + 1 for part in rolled)
    while rolled and kept:
        length = kept[-1].last - kept[-1].first + 1
        if length > size or length >= LARGEST:
            break
        rolled.insert(0, kept.pop())
        size += length
    return kept, rolled


def _table(path: RunPath, content: bytes, part: Part, known: Manifest | None) -> pa.Table:
    listed = known.listed(part) if known is not None else None
    try:
        if listed is not None and not listed.holds(content):
            raise DamagedSegment("its SHA-256 is not the one that was written down")
        return decode(content)
    except DamagedSegment as error:
        raise RecordError(f"{path} is damaged ({error}). Restore it from a copy.") from None


def _listed(folder: RunPath, part: Part, known: Manifest | None) -> RolledFile:
    listed = known.listed(part) if known is not None else None
    if listed is not None:
        return listed
    path = folder / part.name
    content = read_whole(path)
    return _file(part, content, _table(path, content, part, None).num_rows)


def _file(part: Part, content: bytes, events: int) -> RolledFile:
    digest = hashlib.sha256(content).hexdigest()
    return RolledFile(part.first, part.last, events, len(content), digest)


def _tidy(root: RunPath, held: Hold | None) -> None:
    """Remove what none of the newest manifests needs: the segments and rolled files that larger
    ones hold, and the manifests before them."""
    paths = _manifests(root)
    manifests = []
    for path in paths[-KEPT:]:
        try:
            manifests.append(_parsed(path))
        except BrokenSeal:
            return  # who knows what it listed
    needed = {file.part for manifest in manifests for file in manifest.files}
    end = max(file.last for manifest in manifests for file in manifest.files)
    folder = root / SEGMENTS
    parts = [p for p in sorted(parts_in(folder)) if p.last <= end and p not in needed]
    remove([*(folder / part.name for part in parts), *paths[:-KEPT]], held)


def _manifests(root: RunPath) -> list[RunPath]:
    found = (root / CHECKPOINTS).glob("*.json")
    return [path for _, path in numbered(found)]


def _parsed(path: RunPath) -> Manifest:
    document = unsealed(read_document(path))
    try:
        files = tuple(RolledFile(**file) for file in document["files"])
        numbers = [n for file in files for n in (file.first, file.last, file.events, file.size)]
        if not all(type(n) is int and n >= 0 for n in (*numbers, document["events"])):
            raise ValueError("a number is none")
        return Manifest(document["events"], files)
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenSeal(f"it is no manifest: {error!r}") from None
