"""What a cluster's machines install: only versions that are written down."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from evo_nas.cluster.commands import Simple, all_commands, setups
from evo_nas.cluster.parts import provider_type, table

_PINNED = re.compile(r"([A-Za-z0-9._-]+)(?:\[[\w,-]+\])?===?([\w.+!-]+)")
_TAKES_A_VALUE = {"-c", "--constraint", "-r", "--requirement", "--index-url", "--extra-index-url"}
_TAKES_A_VALUE |= {"-i", "-f", "--find-links", "-t", "--target", "--prefix", "--root"}
_ALL = ("ray", "torch")
_HEAD = {"aws": (*_ALL, "boto3"), "gcp": (*_ALL, "google-api-python-client"), "local": _ALL}
"""What the head of a provider cannot do without: it starts the others by the provider's library."""
IMAGES = ("image", "head_image", "worker_image")
"""Of ``docker``: what has one need not install anything."""


def install_problems(config: Mapping[str, Any], pins: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the packages that the commands install.

    Args:
        config: The parsed file for `ray up`.
        pins: Versions by package name, of the constraints file that goes to the machines; empty
            if none does.
    """
    versions: dict[str, str] = {}
    for key, line, simple in all_commands(config):
        if not _is_pip_install(simple):
            continue
        if "nightly" in line or re.search(
            r"(?:@|\s)\s*(?:https?|git\+\w+)://\S+\.(?:whl|git)", line
        ):
            yield (
                f"{key} installs from an address instead of a pinned version: {line.strip()} "
                "Write name==version."
            )
        folders = False
        for word in _named(simple):
            if match := _PINNED.fullmatch(word):
                versions[match[1].lower()] = match[2]
            elif "://" in word or word == "@":
                continue
            elif word.startswith((".", "/", "~", "$")):
                folders = True
            else:
                yield f"{key} installs {word!r} without a pin. Write name==version."
        if folders and not (simple.values("--constraint") or simple.values("-c")):
            yield (
                f"{key} installs a folder without --constraint, so that what it needs comes in "
                "any version. Add --constraint constraints.txt, with the file in file_mounts."
            )
    for package, version in versions.items():
        if pins.get(package, version) != version:
            yield (
                f"the commands install {package}=={version}, but the constraints file says "
                f"{pins[package]}. Write the same in both."
            )
    head = _HEAD.get(provider_type(config))
    if head is None or any(table(config.get("docker")).get(image) for image in IMAGES):
        return
    for who, where, commands in setups(config):
        found = _packages(commands)
        for package in head if who == "the head" else _ALL:
            if package not in found:
                yield f"no command installs {package}==version on {who}. Add it to {where}."


def _packages(commands: list[Simple]) -> set[str]:
    words = [word for simple in commands if _is_pip_install(simple) for word in _named(simple)]
    return {match[1].lower() for word in words if (match := _PINNED.fullmatch(word))}


def _is_pip_install(simple: Simple) -> bool:
    words = simple.words
    pip = simple.runs("pip", "install") or simple.runs("pip3", "install")
    return pip or simple.runs("uv", "pip", "install") or words[1:4] == ("-m", "pip", "install")


def _named(simple: Simple) -> Iterator[str]:
    """The requirements among the words of a `pip install`."""
    words = iter(simple.words[simple.words.index("install") + 1 :])
    for word in words:
        if word in _TAKES_A_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            yield word
