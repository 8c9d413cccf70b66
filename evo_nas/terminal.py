"""What commands show of a record: nothing that a file holds acts on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click


def put(text: str) -> None:
    """Show a text on stdout; line breaks and tabs are ours, what else does not print is escaped."""
    from genomes.readable import readable

    click.echo(readable(text, keep="\n\t"))


def put_error(text: str) -> None:
    """Show a text on stderr, as `put`."""
    from genomes.readable import readable

    print(readable(text, keep="\n\t"), file=sys.stderr)


def warn(warnings: Iterable[str]) -> None:
    """Show warnings on stderr, one line each, over the progress line if there is one."""
    from genomes.readable import readable

    start = "\r\x1b[K" if sys.stderr.isatty() else ""
    for warning in warnings:
        print(f"{start}warning: {readable(warning)}", file=sys.stderr)
