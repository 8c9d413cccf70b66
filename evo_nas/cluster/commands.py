"""Reads the shell commands of a cluster's file, as far as they concern Ray and pip."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
"""The lists of commands of a file for `ray up`."""

_ENDS = re.compile(r"[;&|\n()]+")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Simple:
    """One simple command of a shell line.

    Attributes:
        words: Its words, quotes removed; the first is the program.
        environment: What was assigned before it in the line, by name.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str]

    def runs(self, program: str, *arguments: str) -> bool:
        """Whether it starts with ``program``, wherever that lies, and these arguments."""
        if not self.words or self.words[0].rpartition("/")[2] != program:
            return False
        return self.words[1 : 1 + len(arguments)] == arguments

    def values(self, flag: str) -> list[str]:
        """Every value of a flag, written ``--flag=value`` or ``--flag value``."""
        found = []
        for word, following in zip(self.words, (*self.words[1:], ""), strict=True):
            if word == flag:
                found.append(following)
            elif word.startswith(f"{flag}="):
                found.append(word.partition("=")[2])
        return found


def simple_commands(line: str) -> list[Simple]:
    """The simple commands of a shell line, with the variables set before each.

    Enough of the shell for what such files hold: quotes, ``;``, ``&&``, ``||``, pipes, ``export``
    and assignments in front of a command. Variables and substitutions stay as they are written.

    Raises:
        ValueError: If a quote is never closed.
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|\n()")
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    lexer.commenters = ""
    found, words, so_far = [], [], dict[str, str]()
    for word in [*lexer, ";"]:
        if not _ENDS.fullmatch(word):
            words.append(word)
            continue
        assigned = {}
        while words and (match := _ASSIGNMENT.fullmatch(words[0])):
            assigned[match[1]] = match[2]
            words.pop(0)
        if words[:1] == ["export"]:
            pairs = [_ASSIGNMENT.fullmatch(w) for w in words[1:]]
            so_far |= {match[1]: match[2] for match in pairs if match}
        elif words:
            found.append(Simple(tuple(words), so_far | assigned))
        else:
            so_far |= assigned
        words = []
    return found


def all_commands(config: Mapping[str, Any]) -> Iterator[tuple[str, str, Simple]]:
    """Every simple command of a file: name of its list, the line it stands in, and itself.

    A line that is no shell is left out: `launcher` says so.
    """
    for key in COMMANDS:
        for line in lines(config, key):
            try:
                yield from ((key, line, simple) for simple in simple_commands(line))
            except ValueError:
                continue


def lines(config: Mapping[str, Any], key: str) -> list[str]:
    """A list of commands of a file; anything in it that is no text is left to Ray's validator."""
    given = config.get(key)
    return [line for line in given if isinstance(line, str)] if isinstance(given, list) else []
