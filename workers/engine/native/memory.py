"""Memory of the native engine: how much there is, and buffers that are used again.

A fresh buffer of tens of megabytes costs more in page faults than the work done in it, so what a
call no longer needs is kept for the next. A buffer is lent to one call at a time: two forward
passes before one backward pass work in two buffers.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

RESERVE = 64 << 20
"""Bytes left to the rest of the process."""
UNCHECKED = 32 << 20
"""Requests up to so many bytes are not held against the memory that is free."""
KEPT = 8
"""Free buffers that are kept at most."""

Bytes = npt.NDArray[np.uint8]


class NotEnoughMemory(MemoryError):
    """What a cell needs does not fit; raised before anything is allocated."""


def available_bytes(root: Path = Path("/")) -> int | None:
    """Memory this process may still take, by the kernel and the control group; None if unknown.

    A control group counts the files it has read as used, though they make room when asked to.
    """
    found = []
    meminfo = _text(root / "proc/meminfo")
    for line in (meminfo or "").splitlines():
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) * 1024)
    for group, limit, usage, prefix in _groups(root):
        most, used = _text(group / limit), _text(group / usage)
        if most and used and most.strip().isdigit():
            files = _file_pages(_text(group / "memory.stat") or "", prefix)
            found.append(max(0, int(most) - max(0, int(used) - files)))
    return min(found) if found else None


def _groups(root: Path) -> Iterator[tuple[Path, str, str, str]]:
    """The control groups this process is in, each within the next: folder, names of the files
    with limit and usage, and what the names in memory.stat begin with."""
    for line in (_text(root / "proc/self/cgroup") or "0::/\n0:memory:/").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "")
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        else:
            continue
        inner = top / path.strip("/")
        for group in (inner, *inner.parents):
            yield group, *names
            if group == top:
                break


def _file_pages(statistics: str, prefix: str) -> int:
    wanted = {f"{prefix}inactive_file", f"{prefix}active_file"}
    rows = (line.split() for line in statistics.splitlines())
    return sum(int(row[1]) for row in rows if len(row) == 2 and row[0] in wanted)


def check_fits(wanted: int, what: str, available: int | None = None) -> None:
    """Refuse what would not fit.

    Raises:
        NotEnoughMemory: Naming what is wanted and what there is.
    """
    if wanted <= UNCHECKED:
        return
    free = available_bytes() if available is None else available
    if free is not None and wanted + RESERVE > free:
        raise NotEnoughMemory(
            f"{what} needs {wanted / 1e6:,.0f} MB, but {free / 1e6:,.0f} MB of memory are free. "
            "Lower hidden_size, batch_size or the length of the sequences."
        )


class _Lent(np.ndarray[Any, np.dtype[np.uint8]]):
    """The bytes of a buffer; when the tensor over them is freed, they go back."""

    home: Buffers | None = None  # a slice of one has none
    buffer: Bytes

    def __del__(self) -> None:
        if self.home is not None:
            self.home.give_back(self.buffer)


class Buffers:
    """Free buffers; used from several threads."""

    def __init__(self) -> None:
        self._free: list[Bytes] = []
        self._lock = threading.Lock()
        # What comes back waits here: a lender that is interrupted by the garbage collector must
        # not meet its own lock, and appending to a deque needs none.
        self._returned: deque[Bytes] = deque()

    def lend(self, size: int, what: Callable[[], str]) -> Tensor:
        """A tensor of at least so many bytes, with any content; ``what`` names who wants it.

        The buffer goes back when the tensor's storage is freed, by whoever held it last.

        Raises:
            NotEnoughMemory: If there is not enough memory for it.
        """
        with self._lock:
            self._collect()
            # Much too large a buffer would be held by a small need while a large one waits.
            fitting = [b for b in self._free if size <= b.size <= 4 * size + (1 << 20)]
            if fitting:
                best = min(fitting, key=lambda b: b.size)
                self._free = [b for b in self._free if b is not best]
                return self._tensor(best)
            self._free = []  # those of another model's sizes
        check_fits(size, what())
        return self._tensor(torch.empty(max(size, 1), dtype=torch.uint8, device="cpu").numpy())

    def give_back(self, buffer: Bytes) -> None:
        """Keep a buffer for the next who needs one."""
        self._returned.append(buffer)

    def check(self, wanted: int, what: str) -> None:
        """:func:`check_fits`, where what is kept for later counts as free."""
        try:
            check_fits(wanted, what)
        except NotEnoughMemory:
            self.clear()
            check_fits(wanted, what)

    def clear(self) -> None:
        """Let go of all free buffers."""
        with self._lock:
            self._collect()
            self._free = []

    def free_bytes(self) -> int:
        """Bytes of the buffers that wait for use."""
        with self._lock:
            self._collect()
            return sum(b.size for b in self._free)

    def _collect(self) -> None:
        while self._returned:
            self._free = [*self._free, self._returned.popleft()][-KEPT:]

    def _tensor(self, buffer: Bytes) -> Tensor:
        lent = buffer.view(_Lent)
        lent.home, lent.buffer = self, buffer
        return torch.from_numpy(lent)


BUFFERS = Buffers()
"""Of this process."""


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
