"""All that changes a run, on the disk of this machine (`durable`) or in a bucket (`bucket`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from evo_nas.record import durable, lease
from evo_nas.record.bucket import RemotePath
from evo_nas.record.outside import read_whole
from evo_nas.record.paths import RunPath

LOCK = "lock"
OF_A_LOCK = frozenset({LOCK, lease.FOLDER})
"""Names in a run directory that keep a second manager out, and say nothing of a run."""
AT_ONCE = 16
"""Objects that are fetched or removed side by side: each takes as long as the way to the bucket
and back."""

Hold = durable.Lock | lease.Lease
"""What keeps a second manager out until its ``release``; ``confirm`` it before each write."""

Answer = TypeVar("Answer")


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
        path.put(content, _confirm(held))
    else:
        durable.write_durably(path, content)


def replace_durably(path: RunPath, content: bytes, held: Hold | None = None) -> None:
    """Put a file in the place of another: at any instant the old or the new one is there, whole."""
    if isinstance(path, RemotePath):
        path.replace(content, before=_confirm(held))
    else:
        durable.replace_durably(path, content)


def move_durably(path: RunPath, name: str, held: Hold | None = None) -> None:
    """Rename a file within its directory."""
    if isinstance(path, RemotePath):
        path.with_name(name).put(path.read_bytes(), _confirm(held))
        path.remove(before=_confirm(held))
    else:
        durable.move_durably(path, path.with_name(name))


def remove(paths: Sequence[RunPath], held: Hold | None = None) -> None:
    """Remove files that this program wrote, in order; objects of a bucket side by side, for each
    takes three requests. One that is gone is fine."""

    def gone(path: RunPath) -> None:
        if isinstance(path, RemotePath):
            path.remove(before=_confirm(held))
        else:
            durable.remove(path)

    for _ in _each(gone, paths):
        pass


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
    return _each(read_whole, paths)


def patient(path: RunPath) -> RunPath:
    """The same for who writes a run: a bucket is waited for as long as a search can."""
    return path.patient() if isinstance(path, RemotePath) else path


def _each(action: Callable[[RunPath], Answer], paths: Sequence[RunPath]) -> Iterator[Answer]:
    """What comes of each path in order; of objects of a bucket several at once, ahead of that."""
    if all(isinstance(path, Path) for path in paths):
        yield from (action(path) for path in paths)
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(action, paths)


def _confirm(held: Hold | None) -> Callable[[], None]:
    return (lambda: None) if held is None else held.confirm
