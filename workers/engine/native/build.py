"""Builds the C++ engine as shared libraries, one for each set of vector instructions.

Standard library only, and nothing of ours: setup.py loads this file by its path and it runs as a
script, both before torch is there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parent / "source"

COMPILERS = ("c++", "g++", "clang++")
"""Looked for on PATH, in this order, unless CXX names one."""

# Never -ffast-math: a NaN must stay one.
COMMON_FLAGS = tuple(
    "-std=c++17 -fPIC -shared -fvisibility=hidden -fno-math-errno -ffp-contract=fast -pthread "
    "-Wall -Wextra".split()
)
OPTIMIZED = ("-O3",)
SANITIZED = tuple(
    "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined "
    "-fno-omit-frame-pointer".split()
)
SHOWN_LINES = 20
"""How many of the compiler's last lines an error repeats."""


class BuildError(Exception):
    """A library could not be built; the first line says why, the others show the compiler's."""


class NoCompiler(BuildError):
    """There is no C++ compiler to build with."""


@dataclass(frozen=True, slots=True)
class Variant:
    """The engine for one set of vector instructions.

    Attributes:
        name: As in the file name.
        flags: For the compiler.
        cpu_flags: What /proc/cpuinfo must list for a processor that runs it.
    """

    name: str
    flags: tuple[str, ...]
    cpu_flags: tuple[str, ...]


AVX512 = Variant(
    "avx512",
    tuple(
        "-mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma -mprefer-vector-width=512 "
        "-DEVO_VEC_BYTES=64".split()
    ),
    tuple("avx avx2 f16c fma avx512f avx512dq avx512bw avx512vl".split()),
)
AVX2 = Variant(
    "avx2", tuple("-mavx2 -mfma -DEVO_VEC_BYTES=32".split()), tuple("avx avx2 fma".split())
)
NEON = Variant("neon", ("-DEVO_VEC_BYTES=16",), ())
PLAIN = Variant("plain", ("-DEVO_VEC_BYTES=16",), ())

VARIANTS: Mapping[str, tuple[Variant, ...]] = {"x86_64": (AVX512, AVX2, PLAIN), "aarch64": (NEON,)}
"""By machine type, the fastest first."""
ALIASES = {"amd64": "x86_64", "arm64": "aarch64"}


def machine() -> str:
    """The type of this machine, by one name on every operating system."""
    name = platform.machine().lower()
    return ALIASES.get(name, name)


def variants() -> tuple[Variant, ...]:
    """What is built for this machine's type, the fastest first; its processor may run fewer."""
    return VARIANTS.get(machine(), (PLAIN,))


def file_name(variant: str) -> str:
    """The file a variant is built into."""
    return f"libevo_{variant}.so"


def source_hash(source: Path = SOURCE) -> str:
    """What identifies the libraries of these sources on this type of machine: 16 hex digits."""
    table = [machine(), COMMON_FLAGS, OPTIMIZED, [astuple(variant) for variant in variants()]]
    digest = hashlib.sha256(json.dumps(table).encode())
    for path in sorted([*source.glob("*.h"), *source.glob("*.cpp")]):
        content = path.read_bytes()
        digest.update(json.dumps([path.name, len(content)]).encode() + content)
    return digest.hexdigest()[:16]


def is_current(library: Path, source: Path = SOURCE) -> bool:
    """Whether a file is there and was built from these sources, told without loading it."""
    return library.is_file() and source_hash(source).encode() in library.read_bytes()


def compiler() -> list[str]:
    """The command of the C++ compiler: what CXX says, else the first of COMPILERS on PATH.

    Raises:
        NoCompiler: If there is none.
    """
    named = os.environ.get("CXX", "")
    try:
        command = shlex.split(named)
    except ValueError as error:
        raise NoCompiler(f"CXX is {named!r}, which is no command: {error}.") from None
    if not command:
        command = [name for name in COMPILERS if shutil.which(name)][:1]
    if not command:
        raise NoCompiler(
            f"no C++ compiler was found: CXX is not set, and none of {', '.join(COMPILERS)} is on "
            "PATH. Install one, or name one in CXX."
        )
    if shutil.which(command[0]) is None:
        raise NoCompiler(
            f"CXX is {named!r}, but there is no command {command[0]!r}. Install it, or unset CXX."
        )
    return command


def build(
    variant: Variant,
    folder: Path,
    sanitize: bool = False,
    source: Path = SOURCE,
    show_warnings: bool = False,
) -> Path:
    """Build one variant into a folder, which is made if it is missing.

    Args:
        variant: Which one.
        folder: Where the library goes; one that is there is replaced.
        sanitize: Whether the library ends the process at an invalid access or undefined behaviour.
        source: The folder of the sources.
        show_warnings: Whether the compiler's warnings go to stderr.

    Returns:
        The path of the library.

    Raises:
        NoCompiler: If there is no compiler.
        BuildError: If the compiler refuses the sources.
        OSError: If the folder cannot be written to.
    """
    units = sorted(map(str, source.glob("*.cpp")))
    if not units:
        raise BuildError(f"{source} holds no *.cpp files. Install evo-nas again.")
    flags = [*COMMON_FLAGS, *(SANITIZED if sanitize else OPTIMIZED), *variant.flags]
    about = [f'-DEVO_SOURCE_HASH="{source_hash(source)}"', f'-DEVO_VARIANT="{variant.name}"']
    command = [*compiler(), *flags, *about, *units]
    folder.mkdir(parents=True, exist_ok=True)
    # Renamed when complete: two processes may build at once, and another may be loading.
    with tempfile.TemporaryDirectory(prefix=".building-", dir=folder) as scratch:
        output = Path(scratch) / file_name(variant.name)
        warnings = _run([*command, "-o", str(output)])
        os.replace(output, folder / output.name)
    if show_warnings and warnings:
        print(warnings, file=sys.stderr)
    return folder / file_name(variant.name)


def _run(command: list[str]) -> str:
    """Run the compiler; what it has to say although it succeeded."""
    try:
        done = subprocess.run(
            command,
            env=os.environ | {"LC_ALL": "C"},
            capture_output=True,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be run: {error}.") from error
    said = done.stderr.strip()
    if done.returncode != 0:
        lines = said.splitlines() or ["(it printed nothing)"]
        first = next((line for line in lines if "error:" in line), lines[-1])
        raise BuildError(
            f"{command[0]} ended with exit code {done.returncode}: {first.strip()}\n"
            f"The command was: {shlex.join(command)}\n"
            "Its last lines:\n" + "\n".join(lines[-SHOWN_LINES:])
        )
    return said


def build_all(
    folder: Path,
    sanitize: bool = False,
    source: Path = SOURCE,
    wanted: tuple[Variant, ...] | None = None,
    show_warnings: bool = False,
) -> dict[str, Path | BuildError | OSError]:
    """Build several variants, by default all of this type of machine, as many at once as cores.

    Returns:
        By variant, the library or why there is none.
    """

    def attempt(variant: Variant) -> Path | BuildError | OSError:
        try:
            return build(variant, folder, sanitize, source, show_warnings)
        except (BuildError, OSError) as error:
            return error

    todo = variants() if wanted is None else wanted
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        return dict(zip((v.name for v in todo), threads.map(attempt, todo), strict=True))


def main(arguments: list[str] | None = None) -> int:
    """Build every variant of this type of machine; the exit code."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--sanitize", action="store_true", help="with address and UB sanitizers")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the libraries go")
    options = parser.parse_args(arguments)
    results = build_all(options.folder, options.sanitize, show_warnings=True)
    for variant, result in results.items():
        if isinstance(result, Path):
            print(result)
        else:
            print(f"{variant} was not built: {result}", file=sys.stderr)
    return 0 if all(isinstance(result, Path) for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
