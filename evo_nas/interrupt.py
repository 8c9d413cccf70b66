"""Ctrl-C and SIGTERM as a wish to stop, not as an exception in the middle of anything."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType, TracebackType
from typing import Self

NOTICED = b"\nstopping: what runs may finish; once more to stop at once\n"


class Interrupt:
    """While entered, the first SIGINT or SIGTERM is noted and the second raises KeyboardInterrupt.

    Attributes:
        since: ``time.monotonic()`` of the first signal, None before it.
    """

    def __init__(self) -> None:
        self.since: float | None = None
        self._before: dict[int, object] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.since is not None

    def seconds(self) -> float:
        """Seconds since the first signal; 0 before it."""
        return 0.0 if self.since is None else time.monotonic() - self.since

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.since is not None:
            raise KeyboardInterrupt
        self.since = time.monotonic()
        os.write(2, NOTICED)
