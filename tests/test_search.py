"""Whole searches in processes of their own: recorded, killed, resumed, refused."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from subprocess import Popen

import pytest

from evo_nas.config import from_dict
from evo_nas.events import Asked, Told
from evo_nas.record import open_run, read_events
from evo_nas.record.segments import events_of
from evo_nas.strategies import make_strategy
from tests.faulty_runs import Forks
from tests.replaying import replayed
from tests.tiny import arguments, begin, environment, evo_nas, tiny_text, wait_for_segments


def told(run: Path) -> list[Told]:
    return [event for event in read_events(run)[0] if isinstance(event, Told)]


def asked(run: Path) -> list[Asked]:
    return [event for event in read_events(run)[0] if isinstance(event, Asked)]


def next_commands(stdout: str) -> list[str]:
    """The command lines a search ends with."""
    return [line.strip() for line in stdout.partition("next:\n")[2].splitlines()]


def outcome(event: Told) -> Told:
    """A result without what the clock decides."""
    return replace(event, seconds=0.0, finished=0.0, elapsed=0.0)


def test_a_search_ends_with_the_best_cells_the_baselines_and_three_next_commands(
    tmp_path: Path,
    forks: Forks,
) -> None:
    done = forks.evo_nas(*arguments(tmp_path, "--evaluations", "8", "--seeds", "2", "--top", "1"))
    assert done.returncode == 0, done.stderr
    assert "best cells of the search" in done.stdout
    table = done.stdout.partition("each cell trained anew")[2].partition("next:")[0]
    for name in ("gru", "lstm"):
        assert any(line.startswith(name) for line in table.splitlines())
    assert [shlex.split(c)[1] for c in next_commands(done.stdout)] == [
        "lineage",
        "export",
        "resume",
    ]
    assert "8/8 evaluations" in done.stderr
    assert len(told(tmp_path / "run")) == 8


@pytest.mark.slow
def test_the_next_commands_work_as_printed(tmp_path: Path) -> None:
    words = arguments(tmp_path, "--evaluations", "6", "--seeds", "0", run="a run")
    done = evo_nas(*words)
    lines = next_commands(done.stdout)
    assert len(lines) == 3
    for line in lines:
        assert Path(shlex.split(line)[0]).name == "evo-nas"
        result = subprocess.run(line, shell=True, capture_output=True, text=True, env=environment())
        assert result.returncode == 0, (line, result.stderr)


def test_the_same_search_twice_gives_the_same_record(tmp_path: Path, forks: Forks) -> None:
    # One is forked and one is not, so that their sets have texts in different orders.
    for name, run in (("one", forks.evo_nas), ("two", evo_nas)):
        done = run(*arguments(tmp_path, "--evaluations", "8", "--seeds", "0", run=name))
        assert done.returncode == 0, done.stderr
    first, second = (read_events(tmp_path / name)[0] for name in ("one", "two"))
    assert [outcome(e) if isinstance(e, Told) else e for e in first] == [
        outcome(e) if isinstance(e, Told) else e for e in second
    ]


@pytest.mark.slow
def test_a_killed_search_resumes_as_if_nothing_had_happened(tmp_path: Path) -> None:
    budget = ("--evaluations", "14", "--seeds", "0")
    run, undisturbed = tmp_path / "run", tmp_path / "undisturbed"
    process = begin(arguments(tmp_path, *budget))
    wait_for_segments(run, 5)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = told(run)
    assert 4 <= len(before) < 14

    resumed = evo_nas("resume", str(run))
    assert resumed.returncode == 0, resumed.stderr
    assert f"{len(before)} evaluations recorded" in resumed.stderr
    assert Counter(event.birth for event in told(run)) == Counter(range(14))
    assert told(run)[: len(before)] == before

    assert evo_nas(*arguments(tmp_path, *budget, run="undisturbed")).returncode == 0
    assert asked(run) == asked(undisturbed)
    assert [outcome(e) for e in told(run)] == [outcome(e) for e in told(undisturbed)]


UNHURRIED = """
from evo_nas import interrupt
from evo_nas.cli import main
interrupt.LEAVE_SECONDS = 60.0
main(prog_name="evo-nas")
"""
"""The command line; on a busy machine it would be ended before it has said how to go on."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_search_records_what_finishes_and_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals, owned: Callable[[Popen[str]], Popen[str]]
) -> None:
    run = tmp_path / "run"
    words = arguments(tmp_path, "--evaluations", "500", "--seeds", "0")
    process = owned(begin(words, program=("-c", UNHURRIED)))
    wait_for_segments(run, 3)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert f"evo-nas resume {run}" in errors
    events = read_events(run)[0]
    births = {event.birth for event in events if isinstance(event, Told)}
    assert births == {event.birth for event in events if isinstance(event, Asked)}
    assert len(births) < 500


@pytest.mark.slow
def test_a_kill_with_work_in_flight_on_two_workers_loses_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    words = arguments(tmp_path, "--evaluations", "12", "--seeds", "0", "--steps", "60")
    words[words.index("--workers") + 1] = "2"
    process = begin(words)
    wait_for_segments(run, 5)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    open_births = {e.birth for e in asked(run)} - {e.birth for e in told(run)}
    before = told(run)
    resumed = evo_nas("resume", str(run), "--workers", "0")
    assert resumed.returncode == 0, resumed.stderr
    assert f"{len(open_births)} in flight will be run again" in resumed.stderr
    assert Counter(event.birth for event in told(run)) == Counter(range(12))
    assert Counter(event.birth for event in asked(run)) == Counter(range(12))
    assert told(run)[: len(before)] == before


def test_what_was_in_flight_is_asked_first_and_not_recorded_again(
    tmp_path: Path, forks: Forks
) -> None:
    """A record whose last candidates were asked for and never told."""
    assert forks.evo_nas(*arguments(tmp_path, "--evaluations", "4", "--seeds", "0")).returncode == 0
    run = tmp_path / "run"
    with open_run(run) as record:
        strategy = make_strategy(from_dict(record.header.config))
        replayed(strategy, events_of(record.reading.table))
        waiting = []
        for _ in range(2):
            waiting.append(strategy.ask())
            strategy.note(waiting[-1])
        record.append(waiting)
    resumed = forks.evo_nas("resume", str(run), "--evaluations", "8")
    assert resumed.returncode == 0, resumed.stderr
    assert "2 in flight will be run again" in resumed.stderr
    assert asked(run)[4:6] == waiting
    assert [event.birth for event in told(run)] == list(range(8))


@pytest.mark.slow
def test_a_finished_run_is_not_compared_again_for_nothing(tmp_path: Path) -> None:
    words = arguments(tmp_path, "--evaluations", "4", "--seeds", "1", "--top", "1")
    first = evo_nas(*words)
    assert first.returncode == 0, first.stderr
    run = tmp_path / "run"
    again = evo_nas("resume", str(run))
    assert again.returncode == 0, again.stderr
    assert [path.name for path in sorted((run / "comparisons").iterdir())] == ["001"]
    assert again.stdout == first.stdout


def test_a_search_in_which_everything_fails_exits_with_1(tmp_path: Path, forks: Forks) -> None:
    words = arguments(tmp_path, "--evaluations", "4", "--learning-rate", "1e38", "--seeds", "1")
    done = forks.evo_nas(*words, "--steps", "12")
    assert done.returncode == 1
    assert "no candidate finished well" in done.stdout


def test_a_search_space_that_is_used_up_is_told(tmp_path: Path, forks: Forks) -> None:
    config = tmp_path / "search.toml"
    config.write_text(
        "[space]\nmax_states = 1\nmax_nodes = 2\nmax_linear_sources = 2\n"
        'activations = ["tanh"]\ncombinations = []\nscales = false\nraw_x = false\n'
    )
    words = arguments(tmp_path, "--evaluations", "400", "--seeds", "0", "--no-published")
    done = forks.evo_nas(words[0], str(config), *words[1:])
    assert done.returncode == 0, done.stderr
    assert "Widen the search space" in done.stderr


@pytest.mark.slow
def test_ctrl_c_lets_ray_workers_finish_what_they_are_at(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = arguments(tmp_path, "--evaluations", "5000", "--seeds", "0", "--steps", "400")
    words[words.index("--workers") + 1] = "2"
    process = begin(words)
    wait_for_segments(run, 3)
    deadline = time.monotonic() + 60  # one worker may be ready long before the other
    while len({event.worker for event in told(run)}) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to every process of the group
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    events = read_events(run)[0]
    births = {event.birth for event in events if isinstance(event, Told)}
    assert births == {event.birth for event in events if isinstance(event, Asked)}
    assert {event.status for event in told(run)} <= {"ok", "diverged"}
    assert len({event.worker for event in told(run)}) == 2


def test_a_run_directory_is_never_searched_twice(tmp_path: Path, forks: Forks) -> None:
    words = arguments(tmp_path, "--evaluations", "4", "--seeds", "0")
    assert forks.evo_nas(*words).returncode == 0
    again = forks.evo_nas(*words)
    assert again.returncode == 1
    assert f"evo-nas resume {tmp_path / 'run'}" in again.stderr
    assert "Traceback" not in again.stderr


def test_resume_refuses_another_configuration_and_shows_the_difference(
    tmp_path: Path, forks: Forks
) -> None:
    assert forks.evo_nas(*arguments(tmp_path, "--evaluations", "4", "--seeds", "0")).returncode == 0
    run = tmp_path / "run"
    config = tmp_path / "search.toml"
    config.write_text("[training]\nhidden_size = 8\nsteps = 5\nbatch_size = 4\n")
    refused = forks.evo_nas("resume", str(run), str(config))
    assert refused.returncode == 1
    assert "training.steps: 4 in the run, 5 now" in refused.stderr
    assert "Resume without the file, or give a new --run." in refused.stderr


def test_resume_refuses_other_data(tmp_path: Path, forks: Forks) -> None:
    assert forks.evo_nas(*arguments(tmp_path, "--evaluations", "4", "--seeds", "0")).returncode == 0
    tiny_text(tmp_path).write_text("other " * 500)
    refused = forks.evo_nas("resume", str(tmp_path / "run"), "--evaluations", "6")
    assert refused.returncode == 1
    assert "searched on other data" in refused.stderr


def test_a_search_without_an_end_is_refused(tmp_path: Path, forks: Forks) -> None:
    refused = forks.evo_nas(*arguments(tmp_path))
    assert refused.returncode == 1
    assert "--evaluations N or --hours H" in refused.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_time_budget_ends_the_search_and_leaves_room_for_the_comparison(tmp_path: Path) -> None:
    hours = 0.002
    more = ("--hours", str(hours), "--seeds", "12", "--top", "1", "--steps", "400")
    done = evo_nas(*arguments(tmp_path, *more))
    assert done.returncode == 0, done.stderr
    results = told(tmp_path / "run")
    trainings = 12 * 3 * fmean(event.seconds for event in results if event.status == "ok")
    assert max(event.elapsed for event in results) < hours * 3600 - 0.8 * trainings
    assert "each cell trained anew with 12 seeds" in done.stdout


def test_workers_0_imports_no_ray(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('ray is not installed here')\n")
    done = evo_nas(*arguments(tmp_path, "--evaluations", "4", "--seeds", "0"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_job_on_a_cluster_needs_an_absolute_run_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    words = arguments(tmp_path, "--evaluations", "4")
    words[words.index("--run") + 1] = "relative"
    refused = evo_nas(*words, cwd=tmp_path)
    assert refused.returncode == 1
    assert "--run relative is relative, but a job's own folder vanishes" in refused.stderr
    assert "or an absolute path on the head" in refused.stderr


def test_the_comparison_trains_baselines_at_the_winners_parameters(
    tmp_path: Path, forks: Forks
) -> None:
    more = ("--evaluations", "6", "--seeds", "2", "--top", "1", "--hidden-size", "40", "--json")
    done = forks.evo_nas(*arguments(tmp_path, *more))
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["comparison"]["rows"]}
    winner = next(row for name, row in rows.items() if name.startswith("birth"))
    for name in ("gru", "lstm"):
        assert abs(rows[name]["parameters"] / winner["parameters"] - 1) < 0.02
        assert len(rows[name]["metrics"]) == 2


@pytest.mark.slow
def test_the_test_part_is_opened_only_on_request_and_a_second_time_with_a_warning(
    tmp_path: Path,
) -> None:
    assert evo_nas(*arguments(tmp_path, "--evaluations", "4", "--seeds", "1")).returncode == 0
    run = str(tmp_path / "run")
    first = evo_nas("compare", run, "--test", "--seeds", "1", "--top", "1")
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("test cross-entropy")
    assert "opened before" not in first.stderr
    second = evo_nas("compare", run, "--test", "--seeds", "1", "--top", "1")
    assert "the test part of this run was opened before (1x)" in second.stderr
    last = evo_nas("compare", run, "--last")
    assert last.stdout == second.stdout


def test_random_search_runs_behind_the_same_command(tmp_path: Path, forks: Forks) -> None:
    words = arguments(tmp_path, "--evaluations", "6", "--strategy", "random", "--no-published")
    done = forks.evo_nas(*words, "--seeds", "0")
    assert done.returncode == 0, done.stderr
    assert {event.operator for event in asked(tmp_path / "run")} == {"random"}


def test_a_candidate_that_diverges_is_recorded_and_the_search_goes_on(
    tmp_path: Path, forks: Forks
) -> None:
    words = arguments(tmp_path, "--evaluations", "6", "--learning-rate", "1e30", "--seeds", "0")
    done = forks.evo_nas(*words, "--steps", "12")
    assert done.returncode == 0, done.stderr
    statuses = Counter(event.status for event in told(tmp_path / "run"))
    assert statuses["diverged"] > 0
    assert sum(statuses.values()) == 6


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--engine", "fast"), "unknown engine 'fast'"),
        (("--batch-size", "900"), "too short"),
        (("--data", "nowhere.txt"), "nowhere.txt"),
        (("--option", "lenght=4"), "Did you mean 'length'?"),
        (("--task", "txt"), "Did you mean 'text'?"),
        (("--task", "no_such_module:task"), "no module 'no_such_module'"),
    ],
)
def test_what_cannot_work_is_told_before_a_run_is_begun(
    tmp_path: Path, flags: tuple[str, ...], message: str, forks: Forks
) -> None:
    refused = forks.evo_nas(*arguments(tmp_path, "--evaluations", "4"), *flags)
    assert refused.returncode == 1
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "run").exists()
