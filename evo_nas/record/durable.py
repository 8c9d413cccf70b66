"""Files that survive a crash, and the lock that keeps a second manager out of a run.

Everything that changes a run directory of this machine goes through the functions here (but for the
logs, which need not survive), and these through ``os`` alone: a test that counts and breaks these
calls has them all.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
"""A link in a stranger's run must not lead a write out of it."""
TEMPORARY = ".tmp"
"""Suffix of files being written. A crash may leave one; every reader passes it over."""


class RunLocked(RuntimeError):
    """Another process writes to this run; the message names it."""


def write_durably(path: Path, content: bytes) -> None:
    """Put a new file in place whole or not at all, and on disk when this returns.

    Raises:
        FileExistsError: If the file exists already: nothing is written twice.
        OSError: If the disk refuses; then the file does not exist.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists already and is never written again.")
    _put(path, content)


def replace_durably(path: Path, content: bytes) -> None:
    """Put a file in the place of another: at any instant the old or the new one is there, whole.

    Raises:
        OSError: If the disk refuses; then the old one is there.
    """
    _put(path, content)


def move_durably(path: Path, target: Path) -> None:
    """Rename a file within its directory."""
    os.rename(path, target)
    sync_directory(path.parent)


def remove(path: Path) -> None:
    """Remove a file that this program wrote; one that is gone is fine.

    Not durable by itself: whoever removes must bear that the file comes back after a power cut.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _put(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + TEMPORARY)
    with _naming(path):
        descriptor = os.open(temporary, _NEW, 0o644)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    sync_directory(path.parent)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """What a descriptor raises names no file: here it does."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable: a rename is on disk only after this."""
    with _naming(directory):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Create a directory and its parents, durably; one that exists is fine."""
    if not directory.is_dir():
        make_directory(directory.parent)
        try:
            os.mkdir(directory)
        except FileExistsError:
            if not directory.is_dir():
                raise
        sync_directory(directory.parent)


class Lock:
    """Holds ``path`` until `release`, or until the process ends in whatever way.

    The file stays: deleting it would let two processes hold locks on different files of one
    name. The kernel drops the lock with the process, so a dead holder blocks nobody.

    Raises:
        RunLocked: On construction, if another process holds it.
        OSError: If the file cannot be opened, or the file system has no locks.
    """

    def __init__(self, path: Path) -> None:
        # Python's descriptors are closed on exec, so no worker inherits the lock.
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            self._take(path)
            with _naming(path):
                os.ftruncate(self._descriptor, 0)
                text = f"process {os.getpid()} on {socket.gethostname()}\n"
                os.write(self._descriptor, text.encode())
        except BaseException:
            os.close(self._descriptor)
            raise

    def _take(self, path: Path) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._descriptor, 200).decode("utf-8", "replace").strip()
            raise RunLocked(
                f"{path.parent} is in use by {holder or 'another process'}. "
                "Stop that process, or wait until it ends."
            ) from None
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror}: nothing keeps a second manager out there, for the file system "
                "gives no locks (flock). Mount it with them, or give a --run elsewhere",
                str(path),
            ) from error

    def confirm(self) -> None:
        """Nothing: the kernel takes no lock away from a living process."""

    def release(self) -> None:
        """Let others in. A second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
