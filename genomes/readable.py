"""Text that quotes what came from elsewhere, made fit for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

MOST = 1000
"""Characters of an error message; a longer one loses its middle."""


def readable(text: str, keep: str = "") -> str:
    """The text with each character that does not print escaped, as in a Python string.

    A name in a file may hold a line break, or what makes a terminal clear its screen, change its
    title or type for the user.

    Args:
        text: Of any origin.
        keep: Characters that stay as they are, such as line breaks of our own.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


def joined(lines: Iterable[str]) -> str:
    """Lines as one text; no line breaks but those between them, whatever the lines quote."""
    return "\n".join(map(readable, lines))


class OneLine(Exception):
    """An error whose message is one line of bounded length, whatever it quotes."""

    def __init__(self, message: object = "") -> None:
        text = str(message)
        if len(text) > 2 * MOST:  # what is escaped grows: first cut to what can still be shown
            text = text[:MOST] + text[-MOST:]
        text = readable(text)
        if len(text) > MOST:
            text = f"{text[: MOST // 2]} [...] {text[-MOST // 2 :]}"
        super().__init__(text)
