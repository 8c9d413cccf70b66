"""No pickle anywhere, nothing else that turns data into code, and nothing printed as it is: read
from the syntax tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import PACKAGES, ROOT, module_name, sources

MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "imp", "code"}
"""Whose readers run what they read, or may."""
CALLS = {"eval", "exec", "compile", "__import__"}
METHODS = {"torch.load", "torch.hub.load", "np.fromregex", "pickle.loads", "os.system", "os.popen"}
IMPORTS_BY_NAME = {"workers.tasks.loading", "workers.evaluator", "evo_nas.doctor", "evo_nas.export"}
"""What imports modules by names from elsewhere: tasks (`evo_nas.strangers` asks first) and
evaluators of the user; the other two only ours and torch, by names that stand in them."""

PRINTS = {
    *("evo_nas.terminal", "evo_nas.watching.screen", "workers.open_pool"),
    *("evo_nas.record.bucket", "workers.engine.native.build"),
}
"""What prints: the first three escape what they are given. Of the others, a bucket's streams are
files, and the library's build is a developer's command."""


def _only_errors(statement: ast.ImportFrom) -> bool:
    """Whether it imports nothing but exceptions: who catches one of pickle's unpickles nothing."""
    return all(alias.name.endswith("Error") for alias in statement.names)


def runs_data(tree: ast.AST) -> Iterator[str]:
    """What in a file could run data as code."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not _only_errors(node):
            names.append(node.module or "")
        yield from (f"imports {name}" for name in names if name.partition(".")[0] in MODULES)
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        safe = ("yaml.safe_load", "yaml.SafeLoader")
        unsafe = called.startswith("yaml.") and not called.startswith(safe)
        if called in CALLS or called in METHODS or unsafe:
            yield f"calls {called}"
        given = {k.arg: k.value for k in node.keywords}
        if called in ("np.load", "numpy.load", "np.lib.format.read_array"):
            pickles = given.get("allow_pickle")
            if not isinstance(pickles, ast.Constant) or pickles.value is not False:
                yield f"calls {called} without allow_pickle=False"
        shell = given.get("shell")
        if shell is not None and not (isinstance(shell, ast.Constant) and shell.value is False):
            yield f"calls {called} with a shell"
        if called.endswith((".extractall", ".extract")):
            yield f"calls {called}"


def prints_raw(tree: ast.AST) -> Iterator[str]:
    """Calls of a file that print anything but constants, past what escapes them."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        prints = called in ("print", "click.echo", "click.secho")
        if not (prints or called.endswith(("stream.write", "stdout.write", "stderr.write"))):
            continue
        if not all(isinstance(argument, ast.Constant) for argument in node.args):
            yield f"line {node.lineno} calls {called}"


def test_all_that_is_printed_is_escaped_in_one_place() -> None:
    found = {
        module_name(path): said
        for path in sources(*PACKAGES)
        if module_name(path) not in PRINTS
        if (said := list(prints_raw(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert found == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_in_the_source_runs_data_as_code(package: str) -> None:
    files = sources(package)
    assert len(files) > 10
    found = {
        module_name(path): said
        for path in files
        if (said := list(runs_data(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert found == {}


def test_modules_are_imported_by_name_in_known_places_only() -> None:
    found = {
        module_name(path)
        for path in sources(*PACKAGES)
        if "import_module(" in path.read_text(encoding="utf-8")
    }
    assert found == IMPORTS_BY_NAME


def test_the_walk_sees_every_form() -> None:
    source = """
import pickle
yaml.load(text)
yaml.safe_load(text)
from cloudpickle import loads
from pickle import PickleError
from pickle import PickleError, Unpickler
eval("1")
torch.load(path)
np.load(path)
np.load(path, allow_pickle=True)
np.load(path, allow_pickle=False)
subprocess.run(words, shell=True)
subprocess.run(words, shell=False)
archive.extractall(path)
"""
    assert list(runs_data(ast.parse(source))) == [
        "imports pickle",
        "imports cloudpickle",
        "imports pickle",
        "calls yaml.load",
        "calls eval",
        "calls torch.load",
        "calls np.load without allow_pickle=False",
        "calls np.load without allow_pickle=False",
        "calls subprocess.run with a shell",
        "calls archive.extractall",
    ]


def test_every_test_that_the_page_on_security_names_exists() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", page)
    assert len(named) > 25
    for file, name in named:
        tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in names, f"{file}::{name}"


def test_every_test_of_hostile_input_is_on_the_page_on_security() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    files = [*(ROOT / "tests").glob("test_hostile_*.py"), ROOT / "tests" / "test_fuzz.py"]
    wanted = [
        f"`{path.name}::{node.name}`"
        for path in sorted(files)
        if path != Path(__file__)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert len(wanted) > 40
    assert [name for name in wanted if name not in page] == []
