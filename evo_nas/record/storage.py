"""All that changes a run, on the disk of this machine (`durable`) or in a bucket (`bucket`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from evo_nas.record import durable, lease
from evo_nas.record.bucket import RemotePath
from evo_nas.record.outside import read_whole
from evo_nas.record.paths import RunPath

LOCK = "lock"
OF_A_LOCK = frozenset({LOCK, lease.FOLDER})
"""Names in a run directory that keep a second manager out, and say nothing of a run."""
AT_ONCE = 16
"""Objects that are fetched side by side: each takes as long as the way to the bucket and back."""

Hold = durable.Lock | lease.Lease
"""What keeps a second manager out until its ``release``; ``confirm`` it before each write."""


def hold(root: RunPath) -> Hold:
    """Keep other managers out of a run.

    Raises:
        evo_nas.record.durable.RunLocked: If another one is in; the message names it.
    """
    return lease.acquire(root) if isinstance(root, RemotePath) else durable.Lock(root / LOCK)


def write_durably(path: RunPath, content: bytes, held: Hold | None = None) -> None:
    """Put a new file in place whole or not at all, and safe when this returns.

    Args:
        path: Its name.
        content: All of it.
        held: What has to be held right before it is written.

    Raises:
        FileExistsError: If the file exists already: nothing is written twice.
        OSError: If disk or bucket refuse; a file that is there is whole all the same.
    """
    if isinstance(path, RemotePath):
        path.put(content, (lambda: None) if held is None else held.confirm)
    else:
        durable.write_durably(path, content)


def replace_durably(path: RunPath, content: bytes) -> None:
    """Put a file in the place of another: at any instant the old or the new one is there, whole."""
    if isinstance(path, RemotePath):
        path.replace(content)
    else:
        durable.replace_durably(path, content)


def move_durably(path: RunPath, name: str) -> None:
    """Rename a file within its directory."""
    if isinstance(path, RemotePath):
        path.with_name(name).put(path.read_bytes())
        path.remove()
    else:
        durable.move_durably(path, path.with_name(name))


def remove(path: RunPath) -> None:
    """Remove a file that this program wrote; one that is gone is fine."""
    if isinstance(path, RemotePath):
        path.remove()
    else:
        durable.remove(path)


def make_directory(path: RunPath) -> None:
    """Create a directory and its parents; in a bucket there are none."""
    if isinstance(path, Path):
        durable.make_directory(path)


def contents(paths: Sequence[RunPath]) -> Iterator[bytes]:
    """What files hold, in order, each read when it is asked for; objects of a bucket ahead of that.

    Raises:
        FileNotFoundError: If one of them is not there, when it is asked for.
        RecordError: As `read_whole`.
    """
    if all(isinstance(path, Path) for path in paths):
        yield from (read_whole(path) for path in paths)
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(read_whole, paths)
