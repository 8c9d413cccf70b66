"""Imports run one way only, genomes <- workers <- evo_nas; heavy packages stay where they belong.

Read from the syntax tree: nothing is imported here, and a lazy import inside a function counts.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from project import PACKAGES, ROOT, module_name, sources

MAY_USE = {"genomes": set(), "workers": {"genomes"}, "evo_nas": {"genomes", "workers"}}
"""Which of our packages each may import besides itself."""

MAY_IMPORT_TORCH_IN_GENOMES = {"genomes.reference"}
MAY_IMPORT_RAY = {
    *("workers.actor", "workers.metrics", "workers.pool", "workers.runtime", "workers.stored"),
    *("workers.autoscaler", "workers.waiting", "workers.watch"),
    *("workers.cluster_files", "workers.cluster_jobs"),
}
"""The actor, Ray's metrics, the pool, its task, how it joins Ray and asks about machines; Ray's
validator of a cluster's file, its jobs, and how a job waits for machines."""

LONGEST = 400
"""Lines of a Python file, at most."""


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module, as its dotted name, and whether importing the file imports it."""

    name: str
    line: int
    at_start: bool

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]


def imports(source: str, module: str, is_package: bool = False) -> list[Import]:
    """Every import of a file, relative ones resolved; type-checking blocks are left out."""
    return list(_imports(ast.parse(source).body, module, is_package, at_start=True))


def _imports(
    body: list[ast.AST] | list[ast.stmt], module: str, is_package: bool, at_start: bool
) -> Iterator[Import]:
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _imports(node.orelse, module, is_package, at_start)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, at_start)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, module, is_package)
            # `from workers import pool` imports workers.pool, if that is a module.
            for alias in node.names:
                yield Import(f"{base}.{alias.name}", node.lineno, at_start)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            children = list(ast.iter_child_nodes(node))
            yield from _imports(children, module, is_package, at_start and not inside)


def _base(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    keep = len(parts) - node.level + (1 if is_package else 0)
    return ".".join(parts[:keep] + ([node.module] if node.module else []))


def _of(path: Path) -> list[Import]:
    text = path.read_text(encoding="utf-8")
    return imports(text, module_name(path), path.name == "__init__.py")


def _found(package: str, *wanted: str) -> list[tuple[str, Import]]:
    return [
        (module_name(path), found)
        for path in sources(package)
        for found in _of(path)
        if found.package in wanted
    ]


def _said(found: list[tuple[str, Import]]) -> list[str]:
    return [f"{module} line {i.line} imports {i.name}" for module, i in found]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    assert len(sources(package)) > 5
    above = set(PACKAGES) - MAY_USE[package] - {package}
    assert _said(_found(package, *above)) == []


def test_genomes_needs_torch_in_the_reference_only() -> None:
    found = _found("genomes", "torch")
    assert _said([f for f in found if f[0] not in MAY_IMPORT_TORCH_IN_GENOMES]) == []
    assert {module for module, _ in found} == MAY_IMPORT_TORCH_IN_GENOMES


def test_ray_is_imported_where_workers_touch_it_and_nowhere_else() -> None:
    found = [f for package in PACKAGES for f in _found(package, "ray")]
    assert _said([f for f in found if f[0] not in MAY_IMPORT_RAY]) == []
    assert {module for module, _ in found} == MAY_IMPORT_RAY


def test_deap_is_imported_in_evo_nas_only() -> None:
    assert _said(_found("genomes", "deap") + _found("workers", "deap")) == []
    assert _found("evo_nas", "deap") != []


def test_no_module_uses_deaps_creator_whose_classes_change_identity() -> None:
    assert _said([f for f in _found("evo_nas", "deap") if "creator" in f[1].name]) == []


def test_evo_nas_leaves_torch_to_the_packages_below_even_inside_functions() -> None:
    assert _said(_found("evo_nas", "torch")) == []


def _starting_with(first: str) -> dict[str, str]:
    """Every module of ours that importing ``first`` imports, and through which."""
    paths = {module_name(path): path for path in sources(*PACKAGES)}
    reached, todo = {first: first}, [first]
    while todo:
        module = todo.pop()
        for found in _of(paths[module]):
            parts = found.name.split(".")
            for n in range(1, len(parts) + 1):
                name = ".".join(parts[:n])
                if found.at_start and name in paths and name not in reached:
                    reached[name] = module
                    todo.append(name)
    return reached


@pytest.mark.parametrize("heavy", ["torch", "ray"])
@pytest.mark.parametrize(
    "first", ["evo_nas.cli", "evo_nas.cli_show", "evo_nas.lineage", "evo_nas.record", "workers"]
)
def test_starting_here_imports_nothing_heavy(first: str, heavy: str) -> None:
    paths = {module_name(path): path for path in sources(*PACKAGES)}
    reached = _starting_with(first)
    guilty = {
        module: f"reached through {via}"
        for module, via in reached.items()
        if any(found.at_start and found.package == heavy for found in _of(paths[module]))
    }
    assert guilty == {}


def test_importing_the_command_line_really_imports_nothing_heavy() -> None:
    import subprocess
    import sys

    code = "import sys, evo_nas.cli; print(*{'torch', 'ray', 'pyarrow', 'deap'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_no_python_file_is_too_long() -> None:
    files = sources(*PACKAGES, "tests", "benchmarks", "examples")
    lengths = {str(f.relative_to(ROOT)): len(f.read_bytes().splitlines()) for f in files}
    assert {name: n for name, n in lengths.items() if n > LONGEST} == {}


def test_no_folder_of_tests_shadows_a_package() -> None:
    assert [p.name for p in (ROOT / "tests").iterdir() if p.is_dir() and p.name in PACKAGES] == []


def test_the_reader_of_imports_sees_every_form() -> None:
    source = """
import torch.nn as nn
from genomes import space
from . import limits
from ..evo_nas import record
if TYPE_CHECKING:
    import pandas
else:
    import polars
try:
    import orjson
except ImportError:
    pass
class C:
    import attrs
    def method(self):
        import ray
        return lambda: __import__
def function():
    if True:
        from deap import creator
"""
    found = {(i.name, i.at_start) for i in imports(source, "workers.tasks.text")}
    assert found == {
        ("torch.nn", True),
        ("genomes.space", True),
        ("workers.tasks.limits", True),
        ("workers.evo_nas.record", True),
        ("polars", True),
        ("orjson", True),
        ("attrs", True),
        ("ray", False),
        ("deap.creator", False),
    }


def test_relative_imports_of_a_package_start_at_itself() -> None:
    assert imports("from .base import Task", "workers.tasks", is_package=True)[0].name == (
        "workers.tasks.base.Task"
    )
