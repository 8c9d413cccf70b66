"""Finds, or builds at first use, the C++ library that suits this processor, and loads it."""

from __future__ import annotations

import ctypes
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from workers.engine.native import build

SOURCE = build.SOURCE
INSTALLED = Path(__file__).resolve().parent / "lib"
"""Where installing the package puts the libraries."""

NATIVE_DIR = "EVO_NAS_NATIVE_DIR"
"""The environment variable that names the only folder to load from, such as sanitized builds."""

CPUINFO = Path("/proc/cpuinfo")
_OR_TORCH = "use the engine 'torch', which needs no compiler"


class NativeUnavailable(Exception):
    """There is no C++ library to use here; one line that says why and what to do."""


@dataclass(frozen=True, slots=True)
class Library:
    """A loaded library, built from the sources beside this file.

    Attributes:
        variant: The vector instructions it uses, a name of ``build.VARIANTS``.
        path: Where it was loaded from.
        functions: Its C functions.
    """

    variant: str
    path: Path
    functions: ctypes.CDLL


def supported() -> tuple[str, ...]:
    """The variants that this processor can run, the fastest first."""
    flags = _cpu_flags()
    return tuple(v.name for v in build.variants() if flags.issuperset(v.cpu_flags))


def load(variant: str | None = None) -> Library:
    """The library, from EVO_NAS_NATIVE_DIR if set, else as installed, else from the user's cache.

    A library built from other sources is never used. What the cache lacks is built into it. A
    process looks once: later calls get the same library, or the same reason.

    Args:
        variant: Which one; by default the fastest that is there or can be built.

    Raises:
        NativeUnavailable: If there is none.
    """
    found = _look_once(variant)
    if isinstance(found, str):
        raise NativeUnavailable(found)
    return found


@cache
def _look_once(variant: str | None) -> Library | str:
    """The library, or why there is none."""
    try:
        return _look(_choice(variant))
    except NativeUnavailable as error:
        return str(error)


def _choice(variant: str | None) -> tuple[str, ...]:
    """The variants to try, in this order."""
    able = supported()
    if variant is None:
        return able
    known = [v.name for v in build.variants()]
    if variant not in known:
        raise NativeUnavailable(
            f"the C++ engine has no variant {variant!r} on {build.machine()}. "
            f"Known are: {', '.join(known)}."
        )
    if variant not in able:
        raise NativeUnavailable(
            f"this processor cannot run variant {variant!r} of the C++ engine. "
            f"It can run: {', '.join(able)}."
        )
    return (variant,)


def _look(variants: tuple[str, ...]) -> Library:
    if named := os.environ.get(NATIVE_DIR):
        try:
            return _first(variants, lambda variant: _open(variant, Path(named)))
        except NativeUnavailable as error:
            raise NativeUnavailable(
                f"{NATIVE_DIR} is {named!r}, but {error}. Build it with "
                f"'{_command(named)}', or unset {NATIVE_DIR}."
            ) from None
    try:
        return _first(variants, lambda variant: _open(variant, INSTALLED))
    except NativeUnavailable:
        # Installed without a compiler, from another machine, or older than the sources: what
        # the cache holds is never any of that.
        return _first(variants, _cached)


def _first(variants: tuple[str, ...], find: Callable[[str], Library]) -> Library:
    """The first variant that is found; if none is, the reason of the fastest."""
    reasons = []
    for variant in variants:
        try:
            return find(variant)
        except NativeUnavailable as error:
            reasons.append(error)
    raise reasons[0]


def _open(variant: str, folder: Path) -> Library:
    """Load a variant, if it is there and from these sources; the message is half a sentence."""
    path = folder / build.file_name(variant)
    try:
        if not path.is_file():
            raise NativeUnavailable(f"{path} is missing")
        functions = ctypes.CDLL(str(path))
        about = (_said(functions, "evo_source_hash"), _said(functions, "evo_variant"))
    except (OSError, AttributeError) as error:
        raise NativeUnavailable(f"{path} cannot be loaded: {error}") from None
    if about != (build.source_hash(SOURCE), variant):
        raise NativeUnavailable(f"{path} was built from other sources")
    return Library(variant, path, functions)


def _said(functions: ctypes.CDLL, name: str) -> str:
    function = getattr(functions, name)
    function.restype = ctypes.c_char_p
    said: bytes = function()
    return said.decode()


def _cached(variant: str) -> Library:
    """Load a variant from the user's cache, built there if need be."""
    folder = _cache_folder()
    try:
        return _open(variant, folder)
    except NativeUnavailable:
        _build(variant, folder)
    try:
        return _open(variant, folder)
    except NativeUnavailable as error:
        raise NativeUnavailable(
            f"the C++ engine was built, but {error}. {_OR_TORCH.capitalize()}."
        ) from None


def _build(variant: str, folder: Path) -> None:
    (wanted,) = (v for v in build.variants() if v.name == variant)
    try:
        build.build(wanted, folder, source=SOURCE)
    except build.NoCompiler as error:
        raise NativeUnavailable(
            f"the C++ engine is not built, and {error} Or {_OR_TORCH}."
        ) from None
    except build.BuildError as error:
        raise NativeUnavailable(
            f"the C++ engine could not be built: {str(error).splitlines()[0]} "
            f"(all of it: '{_command('build/native')}'). Install another compiler, or {_OR_TORCH}."
        ) from error
    except OSError as error:
        raise NativeUnavailable(
            f"the C++ engine could not be built into {folder}: {error}. Set "
            f"XDG_CACHE_HOME to a folder that can be written to, or {_OR_TORCH}."
        ) from error


def _command(folder: str) -> str:
    """What to type to build all variants into a folder."""
    return shlex.join([sys.executable, str(Path(build.__file__).resolve()), folder])


def _cache_folder() -> Path:
    """The folder of the libraries of these sources: other sources have another."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        # A relative path is to be ignored, says the standard that defines the variable.
        base = named if named.is_absolute() else Path.home() / ".cache"
    except RuntimeError as error:
        raise NativeUnavailable(
            f"the C++ engine has no folder to be built into: {error} Set XDG_CACHE_HOME to one, "
            f"or {_OR_TORCH}."
        ) from error
    return base / "evo-nas" / f"native-{build.source_hash(SOURCE)}"


def _cpu_flags() -> frozenset[str]:
    """The flags that every core has. Asked of the system: to try would end the process.

    Where there is no such file the plain variant runs, as it does everywhere.
    """
    if sys.platform != "linux" or not CPUINFO.is_file():
        return frozenset()
    text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    rows = [line.partition(":") for line in text.splitlines()]
    cores = [frozenset(flags.split()) for name, _, flags in rows if name.strip() == "flags"]
    return frozenset.intersection(*cores) if cores else frozenset()
