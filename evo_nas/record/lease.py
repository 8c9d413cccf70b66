"""The lease that keeps a second manager out of a run in an object store.

::

    DIR/lease/3f0a….json    a claim: who, where, and whether it holds or waits; renewed as it lives

A directory of this machine has the kernel's lock (`durable.Lock`), which ends with its process. An
object store has neither locks nor puts on condition (none that Arrow offers); what it has is that
a list shows every put that came before. So who wants the run puts a claim and then lists:

- no other claim: the run is held;
- others: whoever renews theirs has it, and the newcomer takes its own away again. A claim that is
  not renewed for `STALE` seconds is of a manager that is no more, and is removed.

Two that come at the same instant see each other, withdraw and try again a little later. A holder
writes only while its last renewal is younger than `TRUSTED` seconds, which leaves a request under
way the time to end (`bucket.REQUEST_SECONDS`) before anyone takes over. Ages are differences of
the store's own clock; machines may disagree about the time.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import socket
import sys
import threading
import time
from dataclasses import dataclass

from evo_nas.record.bucket import RemotePath
from evo_nas.record.durable import RunLocked
from evo_nas.terminal import warn

FOLDER = "lease"
STALE = 60.0
TRUSTED = 30.0
RENEWED = 10.0
"""Seconds between two renewals."""
LETTING_GO = 2.0
"""Seconds for which that is tried: a job that is stopped is killed soon."""
LOOK = 1.0
"""Seconds between two looks at the claim of somebody who may be no more."""
TRIES = 5
"""How often a claim is made that meets another one which does not hold the run either."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """A claim as it was found: when it was renewed, by the store's clock, and what it says."""

    renewed: float
    holds: bool
    holder: str
    content: bytes


class Lease:
    """Holds a run until `release`, as long as it can be renewed; made by `acquire`."""

    def __init__(self, root: RemotePath) -> None:
        self._root = root
        self._path = root / FOLDER / f"{secrets.token_hex(8)}.json"
        self._number = 0
        self._renewed = 0.0
        self._lost = ""
        self._end = threading.Event()
        self._renewing = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def confirm(self) -> None:
        """Make sure that the run is still held; call before each write.

        Raises:
            RunLocked: If it was lost: this manager was not able to renew it in time, and another
                one took over.
            OSError: If that cannot be found out.
        """
        if self._lost:
            raise RunLocked(self._lost)
        if _clock() >= self._renewed + TRUSTED:
            self._renew()

    def release(self) -> None:
        """Let others in. A second call does nothing."""
        if self._end.is_set():
            return
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        self._withdraw()

    def _withdraw(self) -> None:
        """Take the claim away; if that cannot be done, it is stale soon."""
        try:
            self._path.remove(patience=LETTING_GO)
        except OSError as error:
            warn([f"{error} {self._root} is free for others in {STALE:.0f} seconds."])

    def _keep(self) -> None:
        while not self._end.wait(RENEWED) and not self._lost:
            try:
                self._renew()
            except (OSError, RunLocked):
                continue  # `confirm` says it, to the one who wants to write

    def _renew(self) -> None:
        with self._renewing:
            late = _clock() >= self._renewed + TRUSTED
            if self._path.modified(patience=0.0) is None:
                self._lose()
            self._put(holds=True)
            # As long as it was renewed in time nobody else can have it.
            if late and any(path != self._path for path in _claims(self._root, patience=0.0)):
                self._lose()

    def _lose(self) -> None:
        self._lost = (
            f"{self._root} was taken over by another manager: for more than {STALE:.0f} seconds "
            "this one could not reach it. What it had reported is recorded; it ends here."
        )
        raise RunLocked(self._lost)

    def _put(self, holds: bool) -> None:
        begun = _clock()
        self._number += 1
        text = {"holder": _me(), "holds": holds, "number": self._number}
        self._path.replace(json.dumps(text).encode(), patience=0.0)
        self._renewed = begun

    def _claim(self) -> None:
        """Raise `RunLocked` if another one has the run, `_Met` if another one wants it too."""
        self._put(holds=False)
        try:
            # Who comes later finds this claim, and waits for it in turn.
            for path in _claims(self._root):
                if path != self._path:
                    self._wait_until_stale(path)
            if _clock() >= self._renewed + TRUSTED:
                raise _Met("this process, which was suspended,")
            self._put(holds=True)
        except BaseException:
            self._withdraw()
            raise
        self._thread.start()

    def _wait_until_stale(self, path: RemotePath) -> None:
        first = _read(path)
        if first is None:
            return
        mine = self._path.modified()
        age = (mine - first.renewed) if mine is not None else 0.0
        begun = _clock()
        told = False
        while age + _clock() - begun <= STALE:
            now = _read(path)
            if now is None:
                return  # its holder has just let go
            if now.content != first.content or not now.holds:
                if not now.holds:
                    raise _Met(now.holder)
                raise RunLocked(
                    f"{self._root} is in use by {now.holder}. Stop that process, or wait until it "
                    "ends."
                )
            if not told:
                told = True
                left = STALE - age
                print(
                    f"{self._root} was held by {now.holder}; waiting up to {left:.0f} seconds to "
                    "see whether it still is",
                    file=sys.stderr,
                )
            time.sleep(LOOK)
            if _clock() >= self._renewed + RENEWED:
                self._put(holds=False)
        path.remove()


class _Met(Exception):
    """Another manager wants the run at this instant."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


def acquire(root: RemotePath) -> Lease:
    """Hold a run, as soon as whoever held it has let go or is no more.

    Raises:
        RunLocked: If another manager holds it; the message names it.
        OSError: If the store refuses.
    """
    holder = ""
    for _ in range(TRIES):
        lease = Lease(root)
        try:
            lease._claim()
        except _Met as met:
            holder = met.holder
            time.sleep(random.uniform(0.5, 3.0))
        else:
            return lease
    raise RunLocked(f"{root} is wanted by {holder} at the same time. Try again.")


def _claims(root: RemotePath, patience: float | None = None) -> list[RemotePath]:
    found = (root / FOLDER).iterdir(patience)
    return sorted((path for path in found if path.name.endswith(".json")), key=str)


def _read(path: RemotePath) -> _Claim | None:
    try:
        content, renewed = path.read_bytes(), path.modified()
    except FileNotFoundError:
        return None
    if renewed is None:
        return None
    try:
        said = json.loads(content)
        holder, holds = str(said["holder"]), bool(said["holds"])
    except (ValueError, KeyError, TypeError):
        holder, holds = "an unknown process", True
    return _Claim(renewed, holds, holder, content)


def _me() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _clock() -> float:
    """Seconds, those in which this machine was suspended too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
