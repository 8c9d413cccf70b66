"""What a power cut leaves of a run directory, at worst: what was synced and nothing else.

The bytes of a file are there as of its last fsync, the names in a directory as of the directory's:
a file that was written and renamed without either is gone, and one that was removed without it is
back. A real disk may have kept more; all of it, as after a kill, or some.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path

RUN, REPORTED = "run", "reported.json"
"""Of each cut: the run directory it leaves, and what the search had reported by then."""


class PessimisticDisk:
    """Writes ``cuts/000``, ``001``, ...: what is left by a cut after each fsync.

    Args:
        run: The run directory; that it exists counts as synced.
        cuts: The folder.
        reported: The births that were reported so far; the caller adds to it.
    """

    def __init__(self, run: Path, cuts: Path, reported: Sequence[int]) -> None:
        self.run, self.cuts, self.reported = run, cuts, reported
        self.contents: dict[int, bytes] = {}
        self.names: dict[Path, dict[str, int]] = {}
        self.held: list[int] = []
        self.count = 0

    def after(self, operation: str, descriptor: int) -> None:
        """Take note of a file that was opened, or of a file or a directory that was synced."""
        status = os.fstat(descriptor)
        if operation == "open":
            self.held.append(os.dup(descriptor))  # so that no other file gets its inode
            return
        self.close()  # what is reported until here, the cut before has to hold
        if stat.S_ISDIR(status.st_mode):
            folder = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            self.names[folder] = {entry.name: entry.inode() for entry in os.scandir(folder)}
        else:
            self.contents[status.st_ino] = Path(f"/proc/self/fd/{descriptor}").read_bytes()
        self._leave(self.run, self.cuts / f"{self.count:03d}" / RUN)
        self.count += 1

    def close(self) -> None:
        """Write down what was reported before the next cut."""
        if self.count:
            path = self.cuts / f"{self.count - 1:03d}" / REPORTED
            path.write_text(json.dumps([*self.reported]))

    def _leave(self, folder: Path, copy: Path) -> None:
        copy.mkdir(parents=True)
        for name, inode in self.names.get(folder, {}).items():
            if folder / name in self.names or (folder / name).is_dir():
                self._leave(folder / name, copy / name)
            else:
                (copy / name).write_bytes(self.contents.get(inode, b""))
