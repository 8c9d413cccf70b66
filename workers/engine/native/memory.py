"""Memory of the native engine: how much there is, and buffers that are used again.

A fresh buffer of tens of megabytes costs more in page faults than the work done in it, so what a
call no longer needs is kept for the next. A buffer is lent to one call at a time: two forward
passes before one backward pass work in two buffers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

RESERVE = 64 << 20
"""Bytes left to the rest of the process."""
UNCHECKED = 32 << 20
"""Requests up to so many bytes are not held against the memory that is free."""
KEPT = 8
"""Free buffers that are kept."""


class NotEnoughMemory(MemoryError):
    """What a cell needs does not fit; raised before anything is allocated."""


def available_bytes(root: Path = Path("/")) -> int | None:
    """Memory this process may still take, by the kernel and the control group; None if unknown."""
    found = []
    meminfo = _text(root / "proc/meminfo")
    for line in (meminfo or "").splitlines():
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) * 1024)
    group = root / "sys/fs/cgroup"
    for limit, usage in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        most, used = _text(group / limit), _text(group / usage)
        if most and used and most.strip().isdigit():
            found.append(max(0, int(most) - int(used)))
    return min(found) if found else None


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


class Lease:
    """A buffer lent out; it goes back when nobody holds the lease any more."""

    def __init__(self, buffer: Tensor, home: Buffers) -> None:
        self.buffer, self.home = buffer, home
        self.address = buffer.data_ptr()

    def __del__(self) -> None:
        self.home.give_back(self.buffer)


class Buffers:
    """Free buffers; used from several threads."""

    def __init__(self) -> None:
        self._free: list[Tensor] = []
        self._lock = threading.Lock()

    def lend(self, size: int, what: Callable[[], str]) -> Lease:
        """A buffer of at least so many bytes, with any content; ``what`` names who wants it.

        Raises:
            NotEnoughMemory: If there is not enough memory for it.
        """
        with self._lock:
            # Much too large a buffer would be held by a small need while a large one waits.
            fitting = [b for b in self._free if size <= b.numel() <= 4 * size + (1 << 20)]
            if fitting:
                best = min(fitting, key=lambda b: b.numel())
                self._free = [b for b in self._free if b is not best]
                return Lease(best, self)
        try:
            check_fits(size, what())
        except NotEnoughMemory:
            self.clear()  # what was kept for later counts as used
            check_fits(size, what())
        return Lease(torch.empty(max(size, 1), dtype=torch.uint8), self)

    def give_back(self, buffer: Tensor) -> None:
        """Keep a buffer for the next who needs one; the oldest goes if there are too many."""
        with self._lock:
            self._free = [*self._free, buffer][-KEPT:]

    def clear(self) -> None:
        """Let go of all free buffers."""
        with self._lock:
            self._free = []


BUFFERS = Buffers()
"""Of this process."""


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
