"""The watcher that writes scalars for TensorBoard.

========================  ==========================  ======================================
tag                       step                        value
========================  ==========================  ======================================
``evaluation/metric``     birth                       its metric (stopped at a rung: there)
``evaluation/seconds``    birth                       how long it took, failed or not
``search/best_metric``    evaluations told so far     the best of a whole training
``search/failed``         evaluations told so far     how many failed
``search/per_hour``       evaluations told so far     pace of this session
========================  ==========================  ======================================
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from evo_nas.events import Told
from evo_nas.terminal import warn
from evo_nas.watching.event_file import record, scalars, version
from evo_nas.watching.view import View


class Scalars:
    """Writes one new event file; TensorBoard shows all files of a folder as one run.

    If it cannot be written later on, there is one warning, and the search goes on without it.

    Args:
        folder: Is made if it is not there.

    Raises:
        OSError: If the file cannot be made, or the folder is a link: it may have come along with
            the run of a stranger.
    """

    def __init__(self, folder: Path) -> None:
        if folder.is_symlink():
            raise OSError(errno.ELOOP, "is a link, and nothing is written through one", str(folder))
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        # Files of one folder are read in the order of their names, and these ten digits are theirs.
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}"
        self.path = _free(folder, name)
        self._file: IO[bytes] | None = self.path.open("xb", buffering=0)
        self._write(record(version(now)))

    def told(self, events: Sequence[Told], view: View) -> None:
        """One point for each evaluation, one for the search."""
        out = bytearray()
        for event in events:
            values = {"evaluation/seconds": event.seconds}
            if event.metric is not None:
                values["evaluation/metric"] = event.metric
            out += record(scalars(event.finished, event.birth, values))
        values = {"search/failed": view.failed, "search/per_hour": view.evaluations_per_hour}
        if view.best is not None:
            values["search/best_metric"] = view.best
        out += record(scalars(time.time(), view.told, values))
        self._write(bytes(out))

    def tick(self, view: View) -> None:
        """Nothing changes between results."""

    def end(self, view: View) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _write(self, content: bytes) -> None:
        if self._file is None:
            return
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._file.close()
            self._file = None
            warn(
                [
                    f"{self.path} cannot be written any more ({error}). The search goes on without "
                    "scalars for TensorBoard; the record is not concerned."
                ]
            )


def _free(folder: Path, name: str) -> Path:
    path, number = folder / name, 0
    while path.exists():
        number += 1
        path = folder / f"{name}.{number}"
    return path
