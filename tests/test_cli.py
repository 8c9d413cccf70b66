"""The command line: usage, configuration errors, and the commands that only read."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from evo_nas.cli import _task_options
from evo_nas.record import read_events, read_header
from genomes import Genome, canonical, published_names
from tests.faulty_runs import Forks
from tests.tiny import arguments, evo_nas
from workers import RecurrentLayer


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    done = forks.evo_nas(*arguments(folder, "--evaluations", "12", "--seeds", "0"))
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_wrong_usage_exits_with_2(tmp_path: Path) -> None:
    assert evo_nas("serach").returncode == 2
    assert evo_nas("search", "--no-such-flag").returncode == 2
    assert evo_nas(*arguments(tmp_path, "--option", "novalue")).returncode == 2


def test_an_unknown_key_is_refused_with_a_suggestion(tmp_path: Path, forks: Forks) -> None:
    config = tmp_path / "search.toml"
    config.write_text("[evolution]\nsampel_size = 5\n")
    refused = forks.evo_nas("search", str(config))
    assert refused.returncode == 1
    assert "search.toml: [evolution] has no key 'sampel_size'. Did you mean 'sample_size'?" in (
        refused.stderr
    )


def test_flags_win_over_the_file(tmp_path: Path, forks: Forks) -> None:
    config = tmp_path / "search.toml"
    config.write_text("seed = 3\n[training]\nsteps = 999\n[budget]\nevaluations = 5\n")
    words = arguments(tmp_path, "--seeds", "0")
    done = forks.evo_nas(words[0], str(config), *words[1:])
    assert done.returncode == 0, done.stderr
    header = read_header(tmp_path / "run")
    assert header.config["training"]["steps"] == 4
    assert header.config["seed"] == 3
    assert header.config["budget"]["evaluations"] == 5


def test_status_counts_what_was_done(run: Path, forks: Forks) -> None:
    text = forks.evo_nas("status", str(run))
    assert text.returncode == 0, text.stderr
    assert "evaluations: 12 " in text.stdout
    assert json.loads(forks.evo_nas("status", str(run), "--json").stdout)["evaluations"] == 12


def test_lineage_shows_the_path_to_generation_0_and_what_each_mutation_changed(
    run: Path, forks: Forks
) -> None:
    events = read_events(run)[0]
    children = [e for e in events if getattr(e, "parent", None) is not None]
    birth = max(children, key=lambda e: e.generation).birth
    text = forks.evo_nas("lineage", str(run), "--birth", str(birth))
    assert text.returncode == 0, text.stderr
    document = json.loads(
        forks.evo_nas("lineage", str(run), "--birth", str(birth), "--json").stdout
    )
    assert document[0]["generation"] == 0
    assert document[-1]["birth"] == birth
    assert [step["parent"] for step in document[1:]] == [step["birth"] for step in document[:-1]]
    grown = [step for step in document[1:] if step["mutation"]["operator"] != "identity"]
    assert all(step["changed"] for step in grown)
    for flags in (["--best", "3"], ["--mutations"], ["--children", "--birth", "0"], ["--dot"]):
        shown = forks.evo_nas("lineage", str(run), *flags)
        assert shown.returncode == 0, (flags, shown.stderr)
        assert shown.stdout


def test_an_unknown_birth_is_answered_with_the_births_there_are(run: Path, forks: Forks) -> None:
    for words in (["lineage", "--birth", "99"], ["lineage", "--children", "--birth", "99"]):
        refused = forks.evo_nas(words[0], str(run), *words[1:])
        assert refused.returncode == 1
        assert "there is no birth 99: the run has births 0 to 11." in refused.stderr
    refused = forks.evo_nas("export", str(run), "--birth", "99")
    assert refused.returncode == 1
    assert refused.stderr == "Error: there is no birth 99: the run has births 0 to 11.\n"


def test_readers_of_something_that_is_no_run_say_so(tmp_path: Path, forks: Forks) -> None:
    for command in ("status", "lineage", "resume"):
        refused = forks.evo_nas(command, str(tmp_path))
        assert refused.returncode == 1
        assert "holds no run" in refused.stderr


def test_cells_lists_every_published_cell_and_shows_one(tmp_path: Path, forks: Forks) -> None:
    listed = forks.evo_nas("cells").stdout
    for name in published_names():
        assert f"\n{name} " in f"\n{listed}"
    shown = forks.evo_nas("cells", "gru").stdout
    assert "\nh' = blend(" in shown
    assert "Cho" in shown
    assert json.loads(forks.evo_nas("cells", "lstm", "--json").stdout)[0]["digest"]
    refused = forks.evo_nas("cells", "grru")
    assert refused.returncode == 1
    assert "gru" in refused.stderr


def test_an_exported_cell_with_its_weights_gives_what_the_layer_gives(
    run: Path, tmp_path: Path, forks: Forks
) -> None:
    from safetensors.torch import load_file

    source, weights = tmp_path / "cell.py", tmp_path / "cell.safetensors"
    done = forks.evo_nas(
        "export", str(run), "--birth", "1", "--out", str(source), "--weights", str(weights)
    )
    assert done.returncode == 0, done.stderr
    events = {e.birth: e for e in read_events(run)[0] if hasattr(e, "genome")}
    recorded = next(e for e in read_events(run)[0] if e.birth == 1 and hasattr(e, "metric"))
    assert f"{recorded.metric:.4f}" in done.stderr

    spec = importlib.util.spec_from_file_location("exported_cell", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert "genomes" not in source.read_text().replace("genome's", "")
    cell = module.Cell(8, 8)
    layer = RecurrentLayer(canonical(Genome.from_json(events[1].genome)), 8, 8)
    tensors = {k.removeprefix("layer0."): v for k, v in load_file(weights).items()}
    layer.load_weights(tensors)
    cell.load_state_dict(tensors)
    x = torch.randn(5, 3, 8)
    torch.testing.assert_close(cell(x)[0], layer(x)[0])


def test_a_final_training_on_two_threads_gives_the_same_weights(run: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    found = []
    for threads in (1, 2):
        file = tmp_path / f"{threads}.safetensors"
        words = ("export", str(run), "--birth", "1", "--weights", str(file))
        done = evo_nas(*words, "--threads", str(threads))
        assert done.returncode == 0, done.stderr
        found.append(load_file(file))
    one, two = found
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_doctor_names_versions_engine_and_where_our_packages_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))  # not the user's own
    done = evo_nas("doctor", cwd=tmp_path)
    for word in ("python", "torch", "ray", "engine", "genomes", "workers", "disk", "token"):
        assert word in done.stdout
    assert done.returncode == 0, done.stdout


def test_doctor_reports_a_folder_that_shadows_a_package_of_ours(tmp_path: Path) -> None:
    (tmp_path / "genomes").mkdir()
    (tmp_path / "genomes" / "__init__.py").write_text("")
    findings = json.loads(evo_nas("doctor", "--json", cwd=tmp_path).stdout or "[]")
    by_topic = {f["topic"]: f for f in findings}
    # python -m puts the working directory first, so the folder wins over the installed package.
    assert not by_topic["genomes"]["ok"]
    assert "shadows ours" in by_topic["genomes"]["text"]


def test_readers_import_no_torch_and_no_ray(run: Path) -> None:
    import subprocess
    import sys

    from tests.tiny import environment

    code = (
        "import sys; from evo_nas.cli import main\n"
        "try: main(sys.argv[1:], standalone_mode=False)\n"
        "finally: print([m for m in ('torch','ray','deap') if m in sys.modules], file=sys.stderr)"
    )
    for words in (["status", str(run)], ["lineage", str(run), "--birth", "3"], ["cells"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            capture_output=True,
            text=True,
            env=environment(),
            check=True,
        )
        assert done.stderr.strip().endswith("[]"), (words, done.stderr)


def test_options_of_a_task_are_toml_and_lists_need_no_brackets() -> None:
    given = "a=1", "b=0,4", "c=[0,4]", "d=x,y", "e=,", 'f="1"', "g=true", "h=5,"
    assert _task_options(given) == {
        "a": 1, "b": [0, 4], "c": [0, 4], "d": "x,y", "e": ",", "f": "1", "g": True, "h": [5],
    }  # fmt: skip
