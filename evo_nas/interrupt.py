"""Ctrl-C and SIGTERM as a wish to stop, not as an exception in the middle of anything.

The record is whole at any instant, so stopping is never more than leaving. The first Ctrl-C lets
what runs finish, for a while; the second ends the manager where it stands. After SIGTERM a system
shuts down, and whoever sent it kills three seconds later (`ray job stop`, Slurm, Kubernetes with
more patience): a process that is still there after one and a half leaves by itself.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

NOTICED = b"\nstopping: what runs may finish; once more to stop at once\n"
TERMINATED = b"\nterminated: stopping within two seconds; everything reported is recorded\n"
LEFT = b"\nstopped; everything reported is recorded\n"
INTERRUPTED = 130
"""Exit code of a manager that was interrupted with everything recorded."""

TERMINATION_GRACE = 0.5
"""Seconds that running evaluations may go on after SIGTERM."""
LEAVE_SECONDS = 1.5
"""After so long a terminated process leaves whatever it is doing, as does one that does not heed a
second Ctrl-C for so long: Python hears no signal while a candidate trains in its own thread."""


@contextmanager
def ctrl_c_held_back() -> Iterator[None]:
    """While entered, Ctrl-C waits; it is a KeyboardInterrupt at the end.

    For importing torch: the exception, raised while its C++ sets itself up, ends the process with
    an abort instead. Whoever handles the signal otherwise, or ignores it, goes on doing so.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or not _in_main_thread():
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            raise KeyboardInterrupt


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


class Interrupt:
    """While entered, the first SIGINT or SIGTERM is noted and the second raises KeyboardInterrupt.

    Attributes:
        since: ``time.monotonic()`` of the first signal, None before it.
        terminated: Whether one of them was SIGTERM.
    """

    def __init__(self) -> None:
        self.since: float | None = None
        self.terminated = False
        self._before: dict[int, object] = {}
        self._pipe: tuple[int, int] | None = None
        self._wakeup_before = -1
        self._left = threading.Event()

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.since is not None

    def seconds(self) -> float:
        """Seconds since the first signal; 0 before it."""
        return 0.0 if self.since is None else time.monotonic() - self.since

    def over(self, grace_seconds: float) -> bool:
        """Whether running evaluations have had their time after a signal."""
        grace = min(grace_seconds, TERMINATION_GRACE) if self.terminated else grace_seconds
        return self.requested and self.seconds() > grace

    def __enter__(self) -> Self:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        self._pipe = (reading, writing)
        self._wakeup_before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(reading,), daemon=True).start()
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
        self._left.set()
        signal.set_wakeup_fd(self._wakeup_before)
        if self._pipe is not None:
            os.close(self._pipe[1])  # ends the watcher, which closes the other end

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            first, self.terminated = not self.terminated, True
            if self.since is None or first:
                self.since = self.since or time.monotonic()
                os.write(2, TERMINATED)
                return
        if self.since is not None:
            raise KeyboardInterrupt
        self.since = time.monotonic()
        os.write(2, NOTICED)

    def _watch(self, reading: int) -> None:
        """Leave in time where the main thread cannot: it hears signals only between two steps of
        Python, and may be in the middle of a training."""
        heard: list[int] = []
        while numbers := os.read(reading, 64):
            heard += [number for number in numbers if number in (signal.SIGINT, signal.SIGTERM)]
            urgent = signal.SIGTERM in heard or len(heard) > 1
            if urgent and not self._left.wait(LEAVE_SECONDS):
                os.write(2, LEFT)
                os._exit(INTERRUPTED)
        os.close(reading)
