"""`evo-nas compare` from one end to the other: random search, tuning, final trainings, verdict."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from evo_nas.events import Asked, Told
from evo_nas.intervals import t_interval
from evo_nas.record import read_events, read_header
from tests.faulty_runs import Forks
from tests.test_kills import files
from tests.test_record import snapshot
from tests.tiny import arguments, begin, evo_nas, wait_for_segments

EVALUATIONS = 6
QUICK = ("--workers", "0", "--seeds", "3", "--top", "1")


@pytest.fixture(scope="module")
def compared(
    tmp_path_factory: pytest.TempPathFactory, forks: Forks
) -> tuple[Path, dict[str, Any], str]:
    """A run, what its comparison said as JSON, and on stderr."""
    folder = tmp_path_factory.mktemp("compared")
    words = ("--evaluations", str(EVALUATIONS), "--seeds", "0", "--hidden-size", "40")
    run = folder / "run"
    done = forks.run(arguments(folder, *words), run)
    assert done.code == 0, done.errors
    made = forks.run(["compare", str(run), *QUICK, "--json"], run)
    assert made.code == 0, made.errors
    # The driver's own lines stand before and after it.
    document, _ = json.JSONDecoder().raw_decode(made.output[made.output.index("{") :])
    return run, document, made.errors


@pytest.fixture
def run(compared: tuple[Path, dict[str, Any], str], tmp_path: Path) -> Path:
    """A copy of that run."""
    return Path(shutil.copytree(compared[0], tmp_path / "run"))


def asked(folder: Path) -> list[Asked]:
    return [event for event in read_events(folder)[0] if isinstance(event, Asked)]


def told(folder: Path) -> list[Told]:
    return [event for event in read_events(folder)[0] if isinstance(event, Told)]


def test_the_table_holds_the_best_cell_baselines_and_random_search_with_everything_measured(
    compared: tuple[Path, dict[str, Any], str],
) -> None:
    _, document, errors = compared
    rows = {role: row for row in document["rows"] for role in row["roles"]}
    assert {"search", "baseline", "random"} <= rows.keys()
    names = {word for row in document["rows"] for word in row["name"].split()}
    assert {"gru", "gru_reset_after", "lstm", "birth"} <= names
    base = next(row for row in document["rows"] if row["name"] == document["baseline"])
    for row in document["rows"]:
        assert len(row["metrics"]) == 3 and row["failed"] == 0 and row["seconds"] > 0
        assert abs(row["parameters"] / document["target"] - 1) < 0.02
        assert row["mean"] == fmean(row["metrics"])
        interval = t_interval(row["metrics"])
        assert (row["interval"]["low"], row["interval"]["high"]) == (interval.low, interval.high)
        if row is not base:
            pairs = zip(row["metrics"], base["metrics"], strict=True)
            assert row["difference"]["values"] == pytest.approx([b - a for a, b in pairs])
    assert document["verdict"]["sentence"] and document["judged"] == document["verdict"]["judged"]
    assert "a random search of 6 evaluations" in errors


def test_each_row_is_trained_at_the_rate_that_was_best_in_its_tuning(
    compared: tuple[Path, dict[str, Any], str],
) -> None:
    run, document, _ = compared
    for row in document["rows"]:
        best = min(row["tuned"], key=lambda trial: fmean(trial["metrics"]))
        assert row["learning_rate"] == best["learning_rate"]
        rates = [trial["learning_rate"] for trial in row["tuned"]]
        assert rates == pytest.approx([0.0009, 0.003, 0.009, 0.03])
    trained = {event.learning_rate for event in asked(run / "comparisons" / "001")}
    assert trained == {row["learning_rate"] for row in document["rows"]}
    tuned = [min(fmean(t["metrics"]) for t in row["tuned"]) for row in document["rows"]]
    baselines = [
        (value, row["name"])
        for value, row in zip(tuned, document["rows"], strict=True)
        if "baseline" in row["roles"]
    ]
    assert document["rival"] == min(baselines)[1]


def test_the_random_search_is_a_run_under_the_same_budget(
    compared: tuple[Path, dict[str, Any], str],
) -> None:
    run, document, _ = compared
    ours, theirs = (read_header(folder).config for folder in (run, run / "random"))
    assert theirs["evolution"]["strategy"] == "random"
    assert {k: v for k, v in ours["evolution"].items() if k != "strategy"} == {
        k: v for k, v in theirs["evolution"].items() if k != "strategy"
    }
    assert ours["training"] == theirs["training"] and ours["seed"] != theirs["seed"]
    assert len(told(run / "random")) == EVALUATIONS
    assert document["control"]["evaluations"] == EVALUATIONS
    shown = evo_nas("status", str(run / "random"))
    assert shown.returncode == 0 and "evaluations: 6" in shown.stdout


def test_what_the_verdict_rests_on_stands_in_the_header_of_the_final_stage(
    compared: tuple[Path, dict[str, Any], str],
) -> None:
    run, document, _ = compared
    field = read_header(run / "comparisons" / "001").config["field"]
    assert field["entrants"][field["judged"]]["name"] == document["judged"]
    assert field["entrants"][field["rival"]]["name"] == document["rival"]


def test_the_same_comparison_again_trains_nothing(run: Path, forks: Forks) -> None:
    before = snapshot(run)
    again = forks.run(["compare", str(run), *QUICK], run)
    assert again.code == 0, again.errors
    assert "this comparison is recorded in" in again.errors
    assert snapshot(run) == before


def test_the_test_part_is_opened_after_the_same_tuning_and_the_plain_table_says_it_is_closed(
    run: Path, forks: Forks
) -> None:
    plain = forks.run(["compare", str(run), "--last"], run)
    assert "the test part is still closed: --test opens it" in plain.output
    before = [files(run / name) for name in ("random", "tuning")]
    opened = forks.run(["compare", str(run), *QUICK, "--test", "--workers", "0"], run)
    assert opened.code == 0, opened.errors
    assert opened.output.startswith("test cross-entropy")
    assert "opened before" not in opened.errors
    assert [files(run / name) for name in ("random", "tuning")] == before
    first, second = (asked(run / "comparisons" / f"00{n}") for n in (1, 2))
    assert first == second  # the same trainings, measured on another part
    again = forks.run(["compare", str(run), *QUICK, "--test", "--seeds", "2"], run)
    assert "the test part of this run was opened before (1x)" in again.errors


def test_steps_rates_and_random_search_can_be_left_or_changed(run: Path, forks: Forks) -> None:
    words = ["compare", str(run), *QUICK, "--no-tune", "--no-random", "--steps", "6"]
    done = forks.run(words, run)
    assert done.code == 0, done.errors
    assert "(no random search: it was left out (--no-random))" in done.output
    assert "(the search trained for 4 steps)" in done.output
    events = asked(run / "comparisons" / "002")
    assert {(event.budget, event.learning_rate) for event in events} == {(6, None)}
    assert {event.mutation["cell"].split()[0] for event in events} == {
        "birth",
        "gru",
        "gru_reset_after",
        "lstm",
    } - ({"birth"} if "gru (" in done.output or "lstm (" in done.output else set())


def test_another_random_search_can_be_named_if_it_fits(run: Path, forks: Forks) -> None:
    other = run.parent / "other"
    shutil.copytree(run / "random", other)
    words = ["compare", str(run), *QUICK, "--random", str(other)]
    done = forks.run(words, run)
    assert done.code == 0, done.errors
    assert f"the best of the 6 evaluations in {other}" in done.output
    assert snapshot(other) == snapshot(run / "random")
    refused = forks.run(["compare", str(other), *QUICK, "--random", str(run)], other)
    assert refused.code == 1
    assert "evolution.strategy: 'regularized' there, not 'random'" in refused.errors
    resumed = forks.run(["resume", str(run), "--evaluations", "8", "--workers", "0"], run)
    assert resumed.code == 0, resumed.errors
    few = forks.run(words, run)
    assert few.code == 1 and "Traceback" not in few.errors
    assert f"evaluations: 6 there, 8 here (evo-nas resume {other} --evaluations 8)" in few.errors


def test_a_random_search_of_another_training_is_refused(tmp_path: Path, forks: Forks) -> None:
    for name, steps in (("run", "4"), ("other", "5")):
        words = arguments(tmp_path, "--evaluations", "4", "--seeds", "0", run=name)
        more = ["--steps", steps, "--strategy", "random" if name == "other" else "regularized"]
        assert forks.run([*words, *more], tmp_path / name).code == 0
    run, other = tmp_path / "run", tmp_path / "other"
    refused = forks.run(["compare", str(run), *QUICK, "--random", str(other)], run)
    assert refused.code == 1
    assert f"{other} cannot be the random search that {run} is held against" in refused.errors
    assert "training.steps: 5 there, 4 here" in refused.errors
    assert "seed" not in refused.errors
    control = forks.run(["compare", str(other), *QUICK], other)
    assert control.code == 0, control.errors
    assert "(no random search: this run is one itself)" in control.output


def test_more_evaluations_of_the_run_are_met_by_as_many_of_its_random_search(
    run: Path, forks: Forks
) -> None:
    before = asked(run / "random")
    assert forks.run(["resume", str(run), "--evaluations", "8"], run).code == 0
    done = forks.run(["compare", str(run), *QUICK], run)
    assert done.code == 0, done.errors
    after = asked(run / "random")
    assert len(after) == 8 and after[:6] == before
    assert [p.name for p in sorted((run / "tuning").iterdir())] == ["001", "002"]


def test_a_folder_that_is_not_the_runs_random_search_is_refused(run: Path, forks: Forks) -> None:
    shutil.rmtree(run / "random")
    words = arguments(run.parent, "--evaluations", "6", "--seeds", "0", run="run/random")
    assert forks.run(words, run).code == 0
    refused = forks.run(["compare", str(run), *QUICK, "--steps", "5"], run)
    assert refused.code == 1
    assert f"{run / 'random'} is not the random search of this run:" in refused.errors
    assert "Move it away, or give --no-random, or another one by --random DIR." in refused.errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--random", "x", "--no-random"], "--random and --no-random exclude each other"),
        (["--json", "--markdown"], "--markdown and --json are two forms of one table"),
        (["--seeds", "0"], "0 is not in the range x>=1"),
    ],
)
def test_words_that_contradict_are_wrong_usage(
    run: Path, forks: Forks, words: list[str], message: str
) -> None:
    refused = forks.run(["compare", str(run), *words], run)
    assert refused.code == 2
    assert message in " ".join(refused.errors.split())


def test_showing_the_last_comparison_imports_neither_torch_nor_ray(
    run: Path, tmp_path: Path
) -> None:
    for name in ("torch", "ray"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} is not installed here')\n")
    for form in ([], ["--json"], ["--markdown"]):
        shown = evo_nas("compare", str(run), "--last", *form, cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
        assert "verdict" in shown.stdout


@pytest.mark.parametrize("part", ["comparisons/001", "tuning/001"])
@pytest.mark.parametrize("command", ["status", "lineage", "export", "resume", "compare"])
def test_what_is_part_of_a_comparison_is_no_run_to_other_commands(
    run: Path, forks: Forks, command: str, part: str
) -> None:
    before = snapshot(run)
    refused = forks.run([command, str(run / part)], run)
    assert refused.code == 1
    assert f"{run / part} belongs to a comparison, not to a search." in refused.errors
    assert "'evo-nas compare RUN --last' shows it" in refused.errors
    assert snapshot(run) == before


def test_a_run_without_a_finished_evaluation_cannot_be_compared(
    tmp_path: Path, forks: Forks
) -> None:
    words = arguments(tmp_path, "--evaluations", "3", "--learning-rate", "1e38", "--seeds", "0")
    assert forks.run([*words, "--steps", "12"], tmp_path / "run").code == 1
    refused = forks.run(["compare", str(tmp_path / "run")], tmp_path / "run")
    assert refused.code == 1
    assert "holds no finished evaluation to compare" in refused.errors


@pytest.mark.slow
def test_ctrl_c_during_the_tuning_exits_with_130_and_the_same_command_goes_on(
    run: Path, forks: Forks
) -> None:
    words = ["compare", str(run), *QUICK, "--steps", "100"]
    process = begin(words)
    wait_for_segments(run / "tuning" / "002", 3)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert output == "" and "the same command goes on with it" in errors
    before = told(run / "tuning" / "002")
    assert 0 < len(before) < 20
    began = time.monotonic()
    ended = forks.run(words, run)
    assert ended.code == 0, ended.errors
    assert time.monotonic() - began < 60
    assert told(run / "tuning" / "002")[: len(before)] == before
    assert "verdict: " in ended.output


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_comparison_of_an_older_format_is_shown_with_a_verdict(version: str) -> None:
    folder = Path(__file__).with_name("formats") / version
    shown = evo_nas("compare", str(folder), "--last", "--json")
    assert shown.returncode == 0, shown.stderr
    document = json.loads(shown.stdout)
    roles = {row["name"]: row["roles"] for row in document["rows"]}
    assert roles == {"birth 6": ["search"], "gru": ["baseline"], "lstm": ["baseline"]}
    assert (document["judged"], document["rival"]) == ("birth 6", None)
    assert [item["other"] for item in document["verdict"]["against"]] == ["gru", "lstm"]
    assert document["equal"] is False and document["steps"] == 4
