"""Tasks by name: the built-in kinds, and what users bring themselves."""

from __future__ import annotations

import pickle
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from project import ROOT
from torch import nn

from workers.tasks import TaskError, load_task
from workers.tasks.base import Task

EXAMPLE = "examples.my_task:next_value"


@pytest.fixture(autouse=True)
def _own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds to ``sys.path`` or imports is gone after it."""
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    for name in ("mine", "broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def sine(folder: Path) -> str:
    path = folder / "sine.txt"
    np.savetxt(path, np.sin(np.arange(2_000) / 5))
    return str(path)


def refusal(kind: str, data: str | None = None, **options: object) -> str:
    with pytest.raises(TaskError) as caught:
        load_task(kind, data, options)
    return str(caught.value)


def test_the_example_is_a_task_and_a_gru_learns_it(tmp_path: Path) -> None:
    task = load_task(EXAMPLE, sine(tmp_path), {"length": 16})
    assert isinstance(task, Task)
    task = pickle.loads(pickle.dumps(task))
    torch.manual_seed(0)
    front_end, cell, head = task.front_end(16), nn.GRU(16, 16), task.head(16)

    def error() -> float:
        with torch.no_grad():
            scores = [
                task.score(head(cell(front_end(batch.inputs))[0], None), batch)
                for batch in task.scoring_batches("validation")
            ]
        total, count = (sum(column) for column in zip(*scores, strict=True))
        return total / count

    before = error()
    parameters = [*front_end.parameters(), *cell.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(parameters, 1e-2)
    for batch in islice(task.training_batches(16, np.random.default_rng(0)), 100):
        optimiser.zero_grad()
        task.loss(head(cell(front_end(batch.inputs))[0], None), batch).backward()
        optimiser.step()
    assert error() < 0.2 * before


def test_the_example_is_about_thirty_lines() -> None:
    text = (ROOT / "examples" / "my_task.py").read_text()
    body = text[text.index("class ") :].splitlines()
    assert len([line for line in body if line.strip()]) <= 36


def test_a_module_in_the_working_directory_is_found_but_shadows_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from examples.my_task import next_value as task\n")
    (tmp_path / "genomes").mkdir()
    (tmp_path / "genomes" / "__init__.py").write_text("raise RuntimeError('shadowed')\n")
    program = (
        "import sys\n"
        f"sys.path[0] = {str(ROOT)!r}\n"
        "from workers.tasks import load_task\n"
        "from genomes.genome import Genome\n"
        "print(load_task('mine:task', sys.argv[1], {}).name)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, sine(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert (ran.stdout, ran.returncode) == ("next-value\n", 0), ran.stderr


def test_an_unknown_kind_is_answered_with_the_known_ones() -> None:
    assert "there is no task kind 'txt'. Did you mean 'text'?" in refusal("txt")
    assert "Known: text, classification, forecasting, music, speech." in refusal("xyz")
    assert "package.module:factory" in refusal("xyz")


def test_an_option_that_the_factory_lacks_is_refused(tmp_path: Path) -> None:
    message = refusal(EXAMPLE, sine(tmp_path), lenght=3)
    assert f"task {EXAMPLE!r} has no option 'lenght'. Did you mean 'length'?" in message


def test_a_module_or_factory_that_is_not_there_is_named() -> None:
    assert "there is no module 'absent_module' on the path" in refusal("absent_module:task")
    assert "there is no module 'examples.absent'" in refusal("examples.absent:task")
    assert "has no function 'next_valu'. Did you mean 'next_value'?" in refusal(
        "examples.my_task:next_valu"
    )
    assert "is not of the form package.module:factory" in refusal("examples.my_task:")


def test_an_object_that_is_no_task_is_refused_with_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(
        "class Half:\n    name = 'half'\n    def loss(self, p, b): ...\n"
        "def task(data, **options): return Half()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    message = refusal("mine:task", anything="goes")
    assert "the Half it made lacks front_end, head, training_batches, scoring_batches" in message
    assert "data_sha256" in message
    assert "metric" in message


def test_errors_inside_the_users_module_are_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
        load_task("broken:task", None, {})
    with pytest.raises(FileNotFoundError):
        load_task(EXAMPLE, str(tmp_path / "absent.txt"), {})
