"""The lease that keeps a second manager out of a run in an object store.

::

    DIR/lease/3f0a….json    a claim: who, where, and whether it holds or waits; renewed as it lives

A directory of this machine has the kernel's lock (`durable.Lock`), which ends with its process. An
object store has neither locks nor puts on condition (none that Arrow offers); what it has is that
a list shows every put that came before. So who wants the run puts a claim and then lists:

- no other claim: the run is held;
- others: whoever renews theirs lives, and the newcomer takes its own away again. If the other one
  holds the run, that is all; if it only waits, too, the newcomer tries once more a little later. A
  claim that is not renewed for `stale_seconds` is of a manager that is no more, and is removed by
  who takes the run.

A holder writes only while its last renewal is younger than `TRUSTED` seconds, which leaves a
request under way the time to end (`Bucket.longest`) before anyone takes over. A holder or newcomer
that comes later than that, because it was suspended or the store did not answer, may have been
taken for no more. It finds out by asking after its put, never before: either the other one's last
look finds this put, or the list that follows it finds the other one's claim. Ages are differences
of the store's own clock; machines may disagree about the time.

What is left: a put on condition would be needed to stop a process that is suspended between its
last look at the clock and its put, and goes on when somebody else has the run.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import socket
import threading
import time
from dataclasses import dataclass

from evo_nas.record.bucket import Bucket, RemotePath
from evo_nas.record.durable import RunLocked
from evo_nas.terminal import put_error, warn

FOLDER = "lease"
TRUSTED = 25.0
"""Seconds for which a renewal lets its holder write."""
MARGIN = 2.0
"""Seconds by which a claim may look older than it is: clocks of stores count whole ones."""
RENEWED = 10.0
"""Seconds between two renewals."""
STARTING = 20.0
"""Seconds for which a newcomer's puts are tried again."""
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


def stale_seconds(bucket: Bucket) -> float:
    """The age from which on a claim is of nobody: 60 seconds in S3, three minutes in Google's."""
    return TRUSTED + bucket.longest + MARGIN


class Lease:
    """Holds a run until `release`, as long as it can be renewed; made by `acquire`."""

    def __init__(self, root: RemotePath) -> None:
        self._root = root
        self._path = root / FOLDER / f"{secrets.token_hex(8)}.json"
        self._stale = stale_seconds(root.bucket)
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
        if self._trusted():
            return
        self._renew()
        if not self._trusted():
            raise OSError(f"{self._path} took longer than {TRUSTED:.0f} seconds to be renewed")

    def _trusted(self) -> bool:
        return _clock() < self._renewed + TRUSTED

    def release(self) -> None:
        """Let others in. A second call does nothing."""
        if self._end.is_set():
            return
        self._end.set()
        if self._thread.is_alive():
            # A request may last. Should it renew the claim after all, that is stale soon.
            self._thread.join(LETTING_GO)
        self._withdraw()

    def _withdraw(self) -> None:
        """Take the claim away; if that cannot be done, it is stale soon."""
        try:
            self._path.remove(patience=LETTING_GO)
        except OSError as error:
            warn([f"{error} {self._root} is free for others in {self._stale:.0f} seconds."])

    def _keep(self) -> None:
        while not self._end.wait(RENEWED) and not self._lost:
            try:
                self._renew()
            except (OSError, RunLocked):
                continue  # `confirm` says it, to the one who wants to write

    def _renew(self) -> None:
        with self._renewing:
            if self._path.modified(patience=0.0) is None:
                self._lose()
            begun = self._put(holds=True, patience=0.0)
            if self._late() and self._others(patience=0.0):
                self._lose()
            # Not before: after a list that failed, the next renewal has to ask again.
            self._renewed = begun

    def _lose(self) -> None:
        self._lost = (
            f"{self._root} was taken over by another manager: for more than {self._stale:.0f} "
            "seconds this one could not reach it. What it had reported is recorded; it ends here."
        )
        raise RunLocked(self._lost)

    def _late(self) -> bool:
        """Whether the claim may have been taken for stale since it was last renewed: to be asked
        when a put is through, for this process may have been suspended before any line of it."""
        return _clock() >= self._renewed + self._stale - MARGIN

    def _others(self, patience: float | None = None) -> list[RemotePath]:
        """The claims of others."""
        found = (self._root / FOLDER).iterdir(patience)
        claims = (path for path in found if path.name.endswith(".json") and path != self._path)
        return sorted(claims, key=str)

    def _put(self, holds: bool, patience: float) -> float:
        """Renew the claim; when that began, by `_clock`."""
        begun = _clock()
        self._number += 1
        text = {"holder": _me(), "holds": holds, "number": self._number}
        self._path.replace(json.dumps(text).encode(), patience=patience)
        return begun

    def _claim(self) -> None:
        """Raise `RunLocked` if another one has the run, `_Met` if another one wants it too."""
        self._renewed = self._put(holds=False, patience=STARTING)
        try:
            # Who comes later finds this claim, and waits for it in turn.
            stale = [path for path in self._others() if self._waits_until_stale(path)]
            self._put_in_time(holds=True)
            # Not before: who comes back meanwhile has to find one of the two.
            for path in stale:
                path.remove(patience=STARTING)
        except BaseException:
            self._withdraw()
            raise
        self._thread.start()

    def _put_in_time(self, holds: bool) -> None:
        """Renew the claim of a newcomer, which begins anew if it comes too late for that."""
        begun = self._put(holds, STARTING)
        if self._late():
            raise _Met("this process, which was suspended,")
        self._renewed = begun

    def _waits_until_stale(self, path: RemotePath) -> bool:
        """Whether a claim is of nobody; if not, it was taken away."""
        first = _read(path)
        if first is None:
            return False
        mine = self._path.modified()
        age = (mine - first.renewed) if mine is not None else 0.0
        begun = _clock()
        told = False
        while True:
            # Before the look: it finds whatever was put in time.
            stale = age + _clock() - begun > self._stale
            now = _read(path)
            if now is None:
                return False
            if now.content != first.content:
                if not now.holds:
                    raise _Met(now.holder)
                raise RunLocked(
                    f"{self._root} is in use by {now.holder}. Stop that process, or wait until it "
                    "ends."
                )
            if stale:
                return True
            if not told:
                told = True
                what, left = "held" if now.holds else "wanted", self._stale - age
                put_error(
                    f"{self._root} was {what} by {now.holder}; waiting up to {left:.0f} seconds to "
                    "see whether it still is"
                )
            _sleep(LOOK)
            if _clock() >= self._renewed + RENEWED:
                self._put_in_time(holds=False)


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
            _sleep(random.uniform(0.5, 3.0))
        else:
            return lease
    raise RunLocked(f"{root} is wanted by {holder} at the same time. Try again.")


def _read(path: RemotePath) -> _Claim | None:
    from genomes.readable import OneLine

    try:
        content, renewed = path.read_bytes(), path.modified()
    except FileNotFoundError:
        return None
    if renewed is None:
        return None
    try:
        said = json.loads(content)
        holder, holds = str(OneLine(said["holder"])), bool(said["holds"])
    except (ValueError, KeyError, TypeError, RecursionError):
        holder, holds = "an unknown process", True
    return _Claim(renewed, holds, holder, content)


def _me() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _clock() -> float:
    """Seconds, those in which this machine was suspended too."""
    # Linux alone has the first; macOS counts those seconds in the second.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _sleep(seconds: float) -> None:
    time.sleep(seconds)
