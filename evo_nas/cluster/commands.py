"""Reads the shell commands of a cluster's file, as far as they concern Ray and pip."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from evo_nas.cluster.parts import head_type, types_of

COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
"""The lists of commands of a file for `ray up`."""
OF_A_TYPE = ("initialization_commands", "worker_setup_commands")
"""Those that a node type may have of its own, instead."""

_TOKEN = re.compile(
    r"""(?P<space>(?:[^\S\n]|\\\n)+)
      | (?P<comment>\#[^\n]*)
      | (?P<redirection>&>>?|\d*(?:<<<|<<-?|<>|<&?|>>|>\||>&?))
      | (?P<end>[;&|\n()]+)
      | (?P<word>(?:[^\s;&|()<>'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*")+)
    """,
    re.DOTALL | re.VERBOSE,
)
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_BEFORE = {"if", "then", "elif", "else", "while", "until", "do", "!", "{", "time"}
_BEFORE |= {"env", "exec", "nohup", "command"}
"""Words that a command may follow, which gets their variables."""


@dataclass(frozen=True, slots=True)
class Simple:
    """One simple command of a shell line.

    Attributes:
        words: Its words, quotes removed; the first is the program.
        environment: What the line itself gives it: assigned in front of it, or exported before.
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


@dataclass(slots=True)
class _Variables:
    """The variables of a shell; only the exported ones reach its programs."""

    values: dict[str, str] = field(default_factory=dict)
    exported: set[str] = field(default_factory=set)

    def copy(self) -> _Variables:
        return _Variables(dict(self.values), set(self.exported))

    def run(self, words: list[str]) -> Simple | None:
        """The command that these words are; None if they only change variables, which is done."""
        assigned = {}
        while words and (words[0] in _BEFORE or _ASSIGNMENT.fullmatch(words[0])):
            if match := _ASSIGNMENT.fullmatch(words[0]):
                assigned[match[1]] = match[2]
            words = words[1:]
        if not words:
            self.values |= assigned
        elif words[0] == "export":
            self._export(words[1:])
        elif words[0] == "unset":
            for name in words[1:]:
                self.values.pop(name, None)
                self.exported.discard(name)
        else:
            exported = {n: value for n, value in self.values.items() if n in self.exported}
            return Simple(tuple(words), exported | assigned)
        return None

    def _export(self, words: list[str]) -> None:
        names = [word.partition("=")[0] for word in words if not word.startswith("-")]
        matches = [_ASSIGNMENT.fullmatch(word) for word in words]
        self.values |= {match[1]: match[2] for match in matches if match}
        if "-n" in words:
            self.exported -= set(names)
        else:
            self.exported |= set(names)


def simple_commands(line: str) -> list[Simple]:
    """The simple commands of a shell line, with the variables that each gets from it.

    Enough of the shell for what such files hold: quotes, comments, redirections, ``;``, ``&&``,
    ``||``, pipes, ``( )``, ``export``, ``unset`` and assignments in front of a command.
    Substitutions stay as they are written.

    Raises:
        ValueError: If a quote is never closed.
    """
    found, words, target = [], list[str](), False
    shells = [_Variables()]
    for kind, text in [*_tokens(line), ("end", ";")]:
        if kind == "redirection":
            target = True
        elif kind == "word":
            if not target:
                words.append(text)
            target = False
        else:
            if (simple := shells[-1].run(words)) is not None:
                found.append(simple)
            words, target = [], False
            for character in text:
                if character == "(":
                    shells.append(shells[-1].copy())
                elif character == ")" and len(shells) > 1:
                    shells.pop()
    return found


def _tokens(line: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(line):
        match = _TOKEN.match(line, at)
        if match is None:
            raise ValueError("No closing quotation")
        at, kind = match.end(), str(match.lastgroup)
        if kind == "word":
            yield kind, "".join(shlex.split(match[0]))
        elif kind in ("redirection", "end"):
            yield kind, match[0]


def all_commands(config: Mapping[str, Any]) -> Iterator[tuple[str, str, Simple]]:
    """Every simple command of a file: name of its list, the line it stands in, and itself.

    A line that is no shell is left out: `launcher` says so.
    """
    for key, line in all_lines(config):
        yield from ((key, line, simple) for simple in parsed(line))


def all_lines(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every line of a file, with the name of its list; those of node types come last."""
    for key in COMMANDS:
        yield from ((key, line) for line in lines(config, key))
    for name, node in types_of(config).items():
        for key in OF_A_TYPE:
            yield from ((f"{name}.{key}", line) for line in lines(node, key))


def setups(config: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Simple]]]:
    """What each kind of machine runs before it starts Ray.

    Yields:
        Of what machines it is (``the head``, ``the others``, or the name of a node type that has a
        list of its own, for which Ray leaves the others out), the list to mend, and the commands.
    """
    types = {n: node for n, node in types_of(config).items() if n != head_type(config)}
    own = {name: node for name, node in types.items() if "worker_setup_commands" in node}
    common = _parsed(config, "setup_commands")
    yield "the head", "setup_commands", common + _parsed(config, "head_setup_commands")
    if not own or len(own) < len(types):
        yield "the others", "setup_commands", common + _parsed(config, "worker_setup_commands")
    for name, node in own.items():
        yield name, f"{name}.worker_setup_commands", _parsed(node, "worker_setup_commands")


def _parsed(config: Mapping[str, Any], key: str) -> list[Simple]:
    return [simple for line in lines(config, key) for simple in parsed(line)]


def parsed(line: str) -> list[Simple]:
    """As `simple_commands`; none if a quote is never closed."""
    try:
        return simple_commands(line)
    except ValueError:
        return []


def lines(config: Mapping[str, Any], key: str) -> list[str]:
    """A list of commands of a file; anything in it that is no text is left to Ray's validator."""
    given = config.get(key)
    return [line for line in given if isinstance(line, str)] if isinstance(given, list) else []
