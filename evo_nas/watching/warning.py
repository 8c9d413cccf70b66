"""What a watcher has to say to the user."""

from __future__ import annotations

import sys


def warn(message: str) -> None:
    """Print a warning on stderr, over the progress line if there is one."""
    start = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(f"{start}warning: {message}", file=sys.stderr)
