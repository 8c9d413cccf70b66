"""No file makes a command import a module, call a function or join a cluster by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from evo_nas.config import from_dict, load
from evo_nas.errors import SearchError
from evo_nas.record.sealed import opened, sealed
from evo_nas.strangers import flags_to_repeat, refuse_unsaid
from tests.formats.make_run import text
from tests.hostile import edit_config, ran, refused, strangers_run, unchanged
from tests.tiny import SMALL, environment, evo_nas

OWN = """
from pathlib import Path
Path(__file__).with_name("imported").touch()
from examples.my_task import next_value as task
"""


def harmful(mark: Path) -> dict[str, str]:
    """A task that every Python can import, and what it would do if it were called."""
    return {"kind": "os:system", "data": f"touch {mark}"}


@pytest.mark.parametrize("words", [("resume",), ("compare",), ("export", "--weights", "w")])
def test_the_task_of_a_strangers_run_is_not_called(tmp_path: Path, words: tuple[str, ...]) -> None:
    run, mark = strangers_run(tmp_path), tmp_path / "mark"
    edit_config(run, "task", **harmful(mark))
    command, *more = words
    said = refused(command, str(run), *more, *(("--steps", "3") if command == "compare" else ()))
    assert said == (
        f"{run} names the task 'os:system', which is code that would be imported and called. "
        "If you trust it and the file, say so: --task os:system"
    )
    assert not mark.exists()


def test_the_task_of_a_strangers_configuration_is_not_called(tmp_path: Path) -> None:
    config, mark = tmp_path / "search.toml", tmp_path / "mark"
    task = harmful(mark)
    config.write_text(f'[task]\nkind = "{task["kind"]}"\ndata = "{task["data"]}"\n')
    said = refused("search", str(config), "--run", str(tmp_path / "run"), "--evaluations", "4")
    assert said.startswith(f"{config} names the task 'os:system', which is code")
    assert not mark.exists() and not (tmp_path / "run").exists()


def test_a_module_beside_a_strangers_run_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = strangers_run(tmp_path)
    (run / "their_task.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.chdir(run)
    edit_config(run, "task", kind="their_task:task")
    assert "say so: --task their_task:task" in refused("resume", ".", "--evaluations", "20")


@pytest.mark.parametrize("command", ["status", "lineage", "export"])
def test_reading_a_run_never_imports_its_task(tmp_path: Path, command: str) -> None:
    run, mark = strangers_run(tmp_path), tmp_path / "mark"
    edit_config(run, "task", **harmful(mark))
    assert ran(command, str(run)).exit_code == 0
    assert not mark.exists()


def test_another_task_than_the_runs_cannot_be_said(tmp_path: Path) -> None:
    run = strangers_run(tmp_path)
    said = refused("resume", str(run), "--task", "os:system")
    assert said == f"{run}: its task is 'text', but --task says 'os:system'."


@pytest.mark.parametrize("command", ["resume", "compare"])
def test_the_cluster_of_a_strangers_run_is_not_joined(tmp_path: Path, command: str) -> None:
    run = strangers_run(tmp_path)
    edit_config(run, "workers", address="203.0.113.7:6379", workers=2)
    more = ("--steps", "3") if command == "compare" else ()
    said = refused(command, str(run), *more)
    assert said == (
        f"{run} names the Ray cluster '203.0.113.7:6379', which can run code in this process. If "
        "you trust it, say so: --address 203.0.113.7:6379 (or --address local)"
    )


def test_the_cluster_of_a_strangers_configuration_is_not_joined(tmp_path: Path) -> None:
    config = tmp_path / "search.toml"
    config.write_text('[workers]\naddress = "203.0.113.7:6379"\n')
    more = ("--run", str(tmp_path / "run"), "--evaluations", "4")
    assert "names the Ray cluster '203.0.113.7:6379'" in refused("search", str(config), *more)
    settings = load(config)
    refuse_unsaid(settings, str(config), task=None, address="203.0.113.7:6379")
    with pytest.raises(SearchError, match="names the Ray cluster"):
        refuse_unsaid(settings, str(config), task=None, address="203.0.113.8:6379")


@pytest.mark.parametrize("address", ["local", "auto"])
def test_a_ray_of_ones_own_need_not_be_said(address: str) -> None:
    config = from_dict({"workers": {"address": address}})
    refuse_unsaid(config, "run", task=None, address=None)
    assert flags_to_repeat(config) == []


@pytest.mark.parametrize("place", ["victim/.config/autostart", "s3://bucket/board"])
def test_scalars_go_nowhere_that_only_a_strangers_run_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    folder = place if "://" in place else str(tmp_path / place)
    run, here = strangers_run(tmp_path), tmp_path / "here"
    edit_watching(run, folder)
    here.mkdir()
    monkeypatch.chdir(here)
    data = tmp_path / "tiny.txt"
    data.write_text(text())
    words = ("resume", str(run), "--evaluations", "17", "--workers", "0", "--seeds", "0")
    there = sorted(tmp_path.iterdir())
    with unchanged(here):
        said = refused(*words, "--data", str(data))
    assert sorted(tmp_path.iterdir()) == there
    assert said.startswith(f"the configuration of {run}: tensorboard is {folder!r}, ")
    none = ran(*words, "--data", str(data), "--tensorboard", "")
    assert none.exit_code == 0 and sorted(tmp_path.iterdir()) == there
    edit_watching(run, folder)
    named = tmp_path / "board"
    assert ran(*words, "--data", str(data), "--tensorboard", str(named)).exit_code == 0
    (made,) = named.iterdir()
    assert len([*made.iterdir()]) == 1
    # What this very run has written to need not be said again, unless it is a link.
    more = (*words, "--evaluations", "18", "--data", str(data))
    assert ran(*more).exit_code == 0
    assert len([*made.iterdir()]) == 2
    made.rename(tmp_path / "precious")
    made.symlink_to(tmp_path / "precious")
    assert f"say so: --tensorboard {named}" in refused(*more, "--evaluations", "19")
    through = refused(*more, "--evaluations", "19", "--tensorboard", str(named))
    assert "is a link, and nothing is written through one" in through
    assert len([*(tmp_path / "precious").iterdir()]) == 2


def test_scalars_of_a_job_go_nowhere_that_only_its_configuration_names(tmp_path: Path) -> None:
    config = tmp_path / "search.toml"
    config.write_text('[watching]\ntensorboard = "/elsewhere"\n')
    more = ("--run", str(tmp_path / "run"), "--evaluations", "4")
    said = refused("job", str(config), *more)
    assert said.startswith("the configuration of this job: tensorboard is '/elsewhere', which")
    cluster = ("--address", "http://127.0.0.1:1")
    assert "say so: --tensorboard /elsewhere" in refused("submit", str(config), *cluster, *more)
    # What is said is taken: the next thing that is missing is the data, or the cluster.
    named = ("--tensorboard", "/elsewhere", "--data", str(tmp_path / "none.txt"))
    assert "none.txt" in refused("job", str(config), *more, *named)
    assert not (tmp_path / "run").exists()


def edit_watching(run: Path, folder: str) -> None:
    """Let a run and its sessions name a folder for scalars; their format did not know it yet."""
    for path in [run / "run.json", *(run / "sessions").glob("*.json")]:
        document = opened(path.read_bytes())[0]
        config = document["config"] if path.name == "run.json" else document
        config["watching"] = {"tensorboard": folder}
        path.write_bytes(sealed(document))


def test_ones_own_task_goes_on_if_it_is_named_again(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    series, run = tmp_path / "series.txt", tmp_path / "run"
    series.write_text("\n".join(str(n % 7) for n in range(400)))
    words = ["search", "--task", "mine:task", "--data", str(series), "--run", str(run), *SMALL]
    words += ["--workers", "0", "--seeds", "0", "--evaluations", "2"]
    begun = evo_nas(*words, cwd=tmp_path)
    assert begun.returncode == 0, begun.stderr
    assert f"resume {run} --task mine:task --evaluations 4" in begun.stdout
    (tmp_path / "imported").unlink()
    alone = evo_nas("resume", str(run), "--evaluations", "3", cwd=tmp_path)
    assert alone.returncode == 1 and "say so: --task mine:task" in alone.stderr
    assert not (tmp_path / "imported").exists()
    named = evo_nas("resume", str(run), "--evaluations", "3", "--task", "mine:task", cwd=tmp_path)
    assert named.returncode == 0, named.stderr
    assert (tmp_path / "imported").exists()


def test_a_header_cannot_put_code_into_an_exported_cell(tmp_path: Path) -> None:
    from tests.hostile import edit_document

    run, mark = strangers_run(tmp_path), tmp_path / "mark"
    harm = f'"""\nopen({str(mark)!r}, "w")\n"""\n\ud800\\'
    edit_document(run / "run.json", task=harm, metric=harm, unit=harm)
    cell = tmp_path / "cell.py"
    assert ran("export", str(run), "--out", str(cell)).exit_code == 0
    done = subprocess.run([sys.executable, str(cell)], env=environment(), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert not mark.exists()
