"""All that commands print goes through here: nothing that a file holds acts on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TextIO

import click


def put(text: str) -> None:
    """Show a text on stdout; line breaks and tabs are ours, what else does not print is escaped."""
    from genomes.readable import readable

    click.echo(readable(text, keep="\n\t"))


def put_error(text: str) -> None:
    """Show a text on stderr, as `put`."""
    from genomes.readable import readable

    print(readable(text, keep="\n\t"), file=sys.stderr)


def put_line(stream: TextIO, line: str, end: str = "\n") -> None:
    """Show one line, on a terminal in the place of a line that was left without its end."""
    from genomes.readable import readable

    start = "\r\x1b[K" if stream.isatty() else ""
    stream.write(f"{start}{readable(line)}{end}")
    stream.flush()


def warn(warnings: Iterable[str]) -> None:
    """Show warnings on stderr, one line each, over the progress line if there is one."""
    for warning in warnings:
        put_line(sys.stderr, f"warning: {warning}")
