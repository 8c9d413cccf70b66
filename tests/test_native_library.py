"""The C++ library: how it is built, which one is chosen, and what is said where there is none.

The compiler is real, the sources are the one file that tells what a library was built from, so
that a build takes a tenth of a second. Nothing here computes.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from project import ROOT

from evo_nas import doctor
from workers.engine.native import build, library

SCRIPT = ROOT / "workers" / "engine" / "native" / "build.py"
X86 = build.machine() == "x86_64"
LOAD = """
import sys
from pathlib import Path
from workers.engine.native import library
library.SOURCE, library.INSTALLED = Path(sys.argv[1]), Path(sys.argv[2])
try:
    print(library.load().path)
except library.NativeUnavailable as error:
    sys.exit(str(error))
"""
"""A program that loads the library: arguments are the sources and where it may be installed."""

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, build.COMPILERS)), reason="there is no C++ compiler"
)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small sources, an empty cache, nothing installed, and a process that has not yet looked."""
    # What is started here is not to be sanitized, even if this process is.
    for name in (library.NATIVE_DIR, "CXX", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "source"
    folder.mkdir()
    shutil.copy(build.SOURCE / "about.cpp", folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(library, "SOURCE", folder)
    monkeypatch.setattr(library, "INSTALLED", tmp_path / "installed")
    monkeypatch.setattr(library, "_look_once", lambda variant: _look(variant))
    return folder


_look = library._look_once.__wrapped__
"""What ``load`` does the first time, whatever this process has found before."""


def _fastest() -> build.Variant:
    (found,) = (v for v in build.variants() if v.name == library.supported()[0])
    return found


def _refused(variant: str | None = None) -> str:
    with pytest.raises(library.NativeUnavailable) as caught:
        library.load(variant)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _forbid_building(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the compiler was called")

    monkeypatch.setattr(build, "build", refuse)


def _processor(folder: Path, monkeypatch: pytest.MonkeyPatch, *cores: str) -> None:
    text = "".join(f"processor\t: {n}\nflags\t\t: {core}\n\n" for n, core in enumerate(cores))
    (folder / "cpuinfo").write_text(text, encoding="utf-8")
    monkeypatch.setattr(library, "CPUINFO", folder / "cpuinfo")


def _load_elsewhere(source: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LOAD, source, source.parent / "installed"],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_installed_library_of_these_sources_is_used(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = build.build(_fastest(), library.INSTALLED, source=source)
    _forbid_building(monkeypatch)
    found = library.load()
    assert (found.path, found.variant) == (built, _fastest().name)


def test_a_library_of_other_sources_is_not_used(source: Path) -> None:
    stale = build.build(_fastest(), library.INSTALLED, source=source)
    assert build.is_current(stale, source)
    (source / "about.cpp").open("a").write("// changed\n")
    assert not build.is_current(stale, source)
    found = library.load()
    assert found.path.parent == library._cache_folder() != stale.parent


@pytest.mark.parametrize("content", [b"", b"no library at all", b"\x7fELF" + bytes(60)])
def test_what_cannot_be_loaded_is_passed_over_and_in_the_cache_built_again(
    source: Path, content: bytes
) -> None:
    for folder in (library.INSTALLED, library._cache_folder()):
        folder.mkdir(parents=True)
        (folder / build.file_name(_fastest().name)).write_bytes(content)
    assert library.load().path.parent == library._cache_folder()


def test_the_cache_is_filled_once_and_then_used(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = library.load()
    assert first.path.parent.name == f"native-{build.source_hash(source)}"
    assert [path.name for path in first.path.parent.iterdir()] == [first.path.name]
    _forbid_building(monkeypatch)
    assert library.load().path == first.path


def test_a_process_looks_only_once_even_if_it_finds_nothing(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    library._look_once.cache_clear()
    try:
        monkeypatch.setenv(library.NATIVE_DIR, "nowhere")
        reason = _refused()
        monkeypatch.setenv(library.NATIVE_DIR, "elsewhere")
        assert _refused() == reason
    finally:
        library._look_once.cache_clear()


def test_the_folder_of_the_environment_wins_over_everything(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.build(_fastest(), library.INSTALLED, source=source)
    mine = build.build(_fastest(), tmp_path / "a user's own", source=source)
    monkeypatch.setenv(library.NATIVE_DIR, str(mine.parent))
    assert library.load().path == mine


def test_the_folder_of_the_environment_is_the_only_one_and_its_lack_says_what_to_do(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.build(_fastest(), library.INSTALLED, source=source)
    monkeypatch.setenv(library.NATIVE_DIR, str(tmp_path / "empty"))
    message = _refused()
    assert f"{library.NATIVE_DIR} is '{tmp_path / 'empty'}', but " in message
    assert f"{build.file_name(_fastest().name)} is missing. Build it with" in message
    words = shlex.join([str(SCRIPT), str(tmp_path / "empty")])
    assert f"{words}', or unset {library.NATIVE_DIR}." in message


def test_a_library_of_other_sources_in_the_folder_of_the_environment_is_named(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = build.build(_fastest(), tmp_path / "mine", source=source)
    (source / "new.h").write_text("// changed\n")
    monkeypatch.setenv(library.NATIVE_DIR, str(stale.parent))
    assert f"{stale} was built from other sources. Build it with" in _refused()


def test_without_a_compiler_the_message_says_so(source: Path) -> None:
    process = _load_elsewhere(source, PATH="")
    said = process.communicate()[1]
    assert process.returncode == 1
    assert said.strip() == (
        "the C++ engine is not built, and no C++ compiler was found: CXX is not set, and none of "
        "c++, g++, clang++ is on PATH. Install one, or name one in CXX. "
        "Or use the engine 'torch', which needs no compiler."
    )


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("no-such-compiler -m64", "there is no command 'no-such-compiler'. Install it, or unset"),
        ("g++ '", "which is no command: No closing quotation."),
    ],
)
def test_a_compiler_that_cxx_names_but_is_not_there_is_named(
    source: Path, monkeypatch: pytest.MonkeyPatch, named: str, said: str
) -> None:
    monkeypatch.setenv("CXX", named)
    message = _refused()
    assert f"CXX is {named!r}, " in message
    assert said in message


def test_cxx_may_hold_flags(source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", f"{build.compiler()[0]} -DEVO_VARIANT_UNUSED")
    assert build.build(_fastest(), tmp_path / "built", source=source).is_file()


def test_a_compile_error_names_the_compiler_the_command_and_its_last_lines(
    source: Path, tmp_path: Path
) -> None:
    (source / "bad.cpp").write_text("int answer() { return missing; }\n")
    with pytest.raises(build.BuildError) as caught:
        build.build(_fastest(), tmp_path / "built", source=source)
    first, command, *last = str(caught.value).splitlines()
    assert first.startswith(f"{build.compiler()[0]} ended with exit code 1: {source / 'bad.cpp'}:1")
    assert "error: " in first and "missing" in first
    assert command.startswith(f"The command was: {build.compiler()[0]} -std=c++17 ")
    assert any("return missing;" in line for line in last)
    assert list((tmp_path / "built").iterdir()) == []


def test_where_the_sources_do_not_compile_one_line_says_so_and_how_to_see_more(
    source: Path,
) -> None:
    (source / "bad.cpp").write_text("#error nothing to see\n")
    message = _refused()
    assert message.startswith("the C++ engine could not be built: ")
    assert "nothing to see" in message
    assert f"{shlex.join([str(SCRIPT), 'build/native'])}'" in message
    assert "or use the engine 'torch'" in message


def test_a_home_that_cannot_be_written_to_is_named(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "a file"
    home.touch()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(home))
    message = _refused()
    assert f"could not be built into {home / '.cache' / 'evo-nas'}" in message
    assert "Set XDG_CACHE_HOME to a folder that can be written to" in message


def test_a_relative_cache_home_is_ignored_as_its_standard_says(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert library.load().path.is_relative_to(tmp_path / "home" / ".cache" / "evo-nas")


@pytest.mark.skipif(not X86, reason="these processors are x86_64")
@pytest.mark.parametrize(
    ("lacks", "variants"),
    [
        ("", ("avx512", "avx2", "plain")),
        ("avx512vl", ("avx2", "plain")),
        ("fma", ("plain",)),
    ],
)
def test_an_old_processor_gets_what_all_its_cores_can_run(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lacks: str,
    variants: tuple[str, ...],
) -> None:
    flags = ["fpu", *build.AVX512.cpu_flags]
    other = " ".join(flag for flag in flags if flag != lacks)
    _processor(tmp_path, monkeypatch, " ".join(flags), other)
    assert library.supported() == variants
    if lacks:  # what this processor may not have is not run
        plain = build.build(build.PLAIN, library.INSTALLED, source=source)
        assert library.load("plain").path == plain


@pytest.mark.skipif(not X86, reason="these processors are x86_64")
def test_without_a_list_of_flags_the_plain_variant_is_used(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "CPUINFO", tmp_path / "missing")
    assert library.supported() == ("plain",)
    assert library.load().variant == "plain"


def test_a_slower_variant_that_is_installed_is_used_where_the_fastest_is_not(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowest = build.variants()[-1]
    built = build.build(slowest, library.INSTALLED, source=source)
    assert library.load().path == built


@pytest.mark.skipif(not X86, reason="these processors are x86_64")
def test_a_variant_asked_for_that_cannot_run_or_does_not_exist_is_refused_by_name(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _processor(tmp_path, monkeypatch, "fpu sse2")
    assert _refused("avx2") == (
        "this processor cannot run variant 'avx2' of the C++ engine. It can run: plain."
    )
    assert _refused("sse9") == (
        "the C++ engine has no variant 'sse9' on x86_64. Known are: avx512, avx2, plain."
    )


def test_two_processes_that_build_at_once_both_load(source: Path, tmp_path: Path) -> None:
    processes = [_load_elsewhere(source) for _ in range(2)]
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    (path,) = {Path(out.strip()) for out, _ in said}
    assert path.is_relative_to(tmp_path / "cache" / "evo-nas")
    assert list(path.parent.iterdir()) == [path]


def test_the_hash_changes_with_a_name_and_with_a_content(source: Path) -> None:
    hashes = [build.source_hash(source)]
    assert len(hashes[0]) == 16
    (source / "a.h").write_text("int a;")
    hashes.append(build.source_hash(source))
    (source / "a.h").rename(source / "b.h")
    hashes.append(build.source_hash(source))
    (source / "b.h").write_text("int b;")
    hashes.append(build.source_hash(source))
    (source / "notes.txt").write_text("not a source")
    assert build.source_hash(source) == hashes[-1]
    assert len(set(hashes)) == 4


def test_the_script_builds_every_variant_and_imports_nothing_heavy(
    source: Path, tmp_path: Path
) -> None:
    native = tmp_path / "native"
    native.mkdir()
    shutil.copy(SCRIPT, native)
    source.rename(native / "source")
    folder = tmp_path / "built here"
    # -S: no installed package can be imported, torch and ours neither.
    done = subprocess.run(
        [sys.executable, "-S", native / "build.py", "--sanitize", folder],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    built = [folder / build.file_name(variant.name) for variant in build.variants()]
    assert done.stdout.splitlines() == [str(path) for path in built]
    assert all(b"__asan_init" in path.read_bytes() for path in built)


def test_the_script_says_what_it_could_not_build(source: Path, tmp_path: Path) -> None:
    native = tmp_path / "native"
    native.mkdir()
    shutil.copy(SCRIPT, native)
    done = subprocess.run(
        [sys.executable, native / "build.py", tmp_path / "built"], capture_output=True, text=True
    )
    assert done.returncode == 1
    said = f"was not built: {native / 'source'} holds no *.cpp files. Install evo-nas again."
    assert done.stderr.splitlines() == [f"{v.name} {said}" for v in build.variants()]


def test_doctor_names_the_variant_and_where_it_lies(source: Path) -> None:
    finding = doctor._native(needed=True)
    assert finding.ok
    first, *others = library.supported()
    also = f" ({', '.join(others)} also run here)" if others else ""
    path = library._cache_folder() / build.file_name(first)
    assert finding.text == f"{first}{also}, {path}"


def test_doctor_says_why_there_is_no_library(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    finding = doctor._native(needed=True)
    assert not finding.ok
    assert "no C++ compiler was found" in finding.text
