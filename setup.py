"""Builds the C++ engine while the package is installed; all else stands in pyproject.toml."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from setuptools import Command, Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build

ROOT = Path(__file__).resolve().parent
NATIVE = Path("workers", "engine", "native")


def _builder() -> ModuleType:
    """workers/engine/native/build.py, by its path: importing ``workers`` needs torch."""
    spec = importlib.util.spec_from_file_location(
        "evo_nas_native_build", ROOT / NATIVE / "build.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclass looks for its names
    spec.loader.exec_module(module)
    return module


class Package(Distribution):
    """The package; with libraries inside it is one with extension modules."""

    holds_libraries = False

    def has_ext_modules(self) -> bool:
        return self.holds_libraries


class BuildNative(Command):
    """Builds the libraries for this type of machine, those aside that are there already."""

    command_name = "build_native"
    description = "build the C++ engine"
    user_options = [("build-lib=", None, "the folder that becomes the wheel")]  # noqa: RUF012

    def initialize_options(self) -> None:
        self.build_lib: str | None = None
        self.editable_mode = False

    def finalize_options(self) -> None:
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def folder(self) -> Path:
        """Where the libraries go: an editable installation reads them beside the sources."""
        return (ROOT if self.editable_mode else Path(str(self.build_lib))) / NATIVE / "lib"

    def libraries(self) -> list[Path]:
        """The libraries that are there."""
        return sorted(self.folder().glob("*.so"))

    def run(self) -> None:
        """Build; a failure is a warning, for the engine ``torch`` needs no library."""
        native = _builder()
        current = {path.name for path in self.libraries() if native.is_current(path)}
        wanted = [v for v in native.variants() if native.file_name(v.name) not in current]
        results = native.build_all(self.folder(), wanted=tuple(wanted))
        for path in self.libraries():
            if not native.is_current(path):
                path.unlink()
        if not self.editable_mode:
            self.distribution.holds_libraries = bool(self.libraries())
        failed = {name: why for name, why in results.items() if not isinstance(why, Path)}
        if failed:
            reason = str(next(iter(failed.values()))).splitlines()[0]
            self.warn(
                f"the C++ engine was not built ({', '.join(failed)}). Installation goes on: it is "
                f"built at its first use, or the engine 'torch' is used. The reason: {reason}"
            )

    def get_source_files(self) -> list[str]:
        source = NATIVE / "source"
        return [str(source / p.name) for p in sorted((ROOT / source).iterdir()) if p.is_file()]

    def get_outputs(self) -> list[str]:
        return [] if self.editable_mode else [str(path) for path in self.libraries()]

    def get_output_mapping(self) -> dict[str, str]:
        return {}


class Wheel(bdist_wheel):
    """A wheel with libraries is for one platform, and for any Python: they know nothing of it."""

    def run(self) -> None:
        self.run_command("build")
        self.root_is_pure = not self.distribution.has_ext_modules()
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        python, abi, platform = super().get_tag()
        return (python, abi, platform) if self.root_is_pure else (self.python_tag, "none", platform)


build.sub_commands.append(("build_native", None))
setup(distclass=Package, cmdclass={"build_native": BuildNative, "bdist_wheel": Wheel})
