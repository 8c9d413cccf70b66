"""Runs whose directory is in a bucket: every command, killed managers, broken ways."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bucket_server import BUCKET, Store, running_store
from tiny import SMALL, begin, evo_nas, tiny_text

from evo_nas.events import Told
from evo_nas.record import read_events, run_path
from evo_nas.watching import log as logging

KEYS = ("birth", "genome", "mutation", "parent", "seed", "status", "metric", "fitness")


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    with running_store() as store:
        yield store


@pytest.fixture
def store(server: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    return server.used_by(monkeypatch)


@pytest.fixture
def run(store: Store) -> str:
    return f"s3://{BUCKET}/{uuid.uuid4().hex}/first"


def words(folder: Path, run: str, *more: str) -> list[str]:
    data = str(tiny_text(folder))
    start = ["search", "--task", "text", "--data", data, "--run", run, *SMALL, "--workers", "0"]
    return [*start, "--deterministic", "--seeds", "0", *more]


def key(run: str) -> str:
    return run.removeprefix(f"s3://{BUCKET}/")


def history(run: str) -> list[dict[str, object]]:
    """All that a deterministic run decides."""
    events, warnings = read_events(run)
    assert warnings == []
    return [{k: getattr(event, k) for k in KEYS if hasattr(event, k)} for event in events]


def metrics(run: str) -> dict[int, float | None]:
    events, _ = read_events(run)
    return {event.birth: event.metric for event in events if isinstance(event, Told)}


def done(finished: subprocess.CompletedProcess[str]) -> str:
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def segments(store: Store, run: str) -> int:
    return len(store.below(f"{key(run)}/segments/"))


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=200)
    return process.returncode, errors


@pytest.mark.slow
def test_every_command_works_on_a_run_in_a_bucket(store: Store, run: str, tmp_path: Path) -> None:
    config = tmp_path / "search.toml"
    config.write_text("[record]\ncheckpoint_segments = 4\n")
    begun = words(tmp_path, run, "--evaluations", "8")
    out = done(evo_nas(*begun[:1], str(config), *begun[1:]))
    assert f"evo-nas lineage {run} --birth" in out
    assert json.loads(done(evo_nas("status", run, "--json")))["evaluations"] == 8
    assert "birth" in done(evo_nas("lineage", run, "--best", "2"))
    done(evo_nas("export", run, "--out", str(tmp_path / "cell.py")))
    done(evo_nas("resume", run, "--evaluations", "10"))
    assert json.loads(done(evo_nas("status", run, "--json")))["evaluations"] == 10
    compared = ("compare", run, "--seeds", "2", "--no-tune", "--top", "1", "--workers", "0")
    assert f"the best of the 10 evaluations in {run}/random" in done(evo_nas(*compared))
    done(evo_nas("status", f"{run}/random"))

    local = str(tmp_path / "local")
    done(evo_nas(*words(tmp_path, local, "--evaluations", "10")))
    assert metrics(run) == metrics(local)
    assert any("-" in name for name in store.below(f"{key(run)}/segments/")), (
        "nothing was rolled up"
    )
    assert not store.below(f"{key(run)}/lease/")
    logs = store.below(f"{key(run)}/logs/")
    assert [name[-15:] for name in logs] == [f"00{n}-00000.jsonl" for n in (1, 2, 3)]
    lines = [json.loads(line) for line in store.content(logs[0]).splitlines()]
    assert (lines[0]["event"], lines[-1]["event"]) == ("session begun", "session ended")
    assert sum(line["event"] == "result" for line in lines) == 8
    often = {k: n for k, n in store.puts.items() if n > 1 and "/lease/" not in k}
    assert {k for k in often if not k.endswith("/")} == set(), "an object was put twice"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_manager_is_followed_by_another_without_losing_what_was_reported(
    store: Store, run: str, tmp_path: Path
) -> None:
    process = begin(words(tmp_path, run, "--evaluations", "40"))
    until(lambda: segments(store, run) >= 4)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = history(run)
    assert len(before) > 4

    finished = evo_nas("resume", run)
    assert "was held by process" in finished.stderr
    done(finished)
    assert store.below(f"{key(run)}/lease/") == []
    local = str(tmp_path / "local")
    done(evo_nas(*words(tmp_path, local, "--evaluations", "40")))
    assert history(run)[: len(before)] == before
    assert metrics(run) == metrics(local)


@pytest.mark.slow
def test_a_second_manager_is_refused_while_the_first_lives(
    store: Store, run: str, tmp_path: Path
) -> None:
    process = begin(words(tmp_path, run, "--evaluations", "100000"))
    try:
        until(lambda: segments(store, run) >= 1)
        refused = evo_nas("resume", run)
        assert refused.returncode == 1
        assert f"{run} is in use by process {process.pid} on" in refused.stderr
        assert "Traceback" not in refused.stderr
    finally:
        os.killpg(process.pid, signal.SIGINT)
        code, _ = ended(process)
    assert code == 130
    assert store.below(f"{key(run)}/lease/") == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", ["down", "unavailable", "half", "slow", "mute", "unanswered"])
def test_a_bucket_that_is_away_for_a_while_costs_a_search_nothing_but_time(
    store: Store, run: str, tmp_path: Path, fault: str
) -> None:
    process = begin(words(tmp_path, run, "--evaluations", "10"))
    until(lambda: segments(store, run) >= 2)
    requests = 1 if fault == "mute" else 3
    store.breaks(fault, requests)  # type: ignore[arg-type]
    code, errors = ended(process)
    assert code == 0, errors
    assert store.faulty == requests
    assert ("trying again for" in errors) == (fault != "slow")
    local = str(tmp_path / "local")
    done(evo_nas(*words(tmp_path, local, "--evaluations", "10")))
    assert history(run) == history(local)


@pytest.mark.slow
def test_a_log_that_a_bucket_refuses_costs_one_warning_and_lines_that_wait_are_not_lost(
    store: Store, run: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging, "OBJECT_SECONDS", 0.0)
    root = run_path(run)
    log = logging.open_log(root)
    log.note("first")
    store.breaks("forbidden", requests=1)
    log.recorded([{"event": "second"}])
    assert capsys.readouterr().err == ""
    log.recorded([{"event": "third"}])
    contents = [store.content(name).decode() for name in store.below(f"{key(run)}/logs/")]
    said = [json.loads(line)["event"] for content in contents for line in content.splitlines()]
    assert said == ["first", "second", "third"]

    store.breaks("forbidden")
    log.recorded([{"event": "fourth"}])
    log.recorded([{"event": "fifth"}])
    log.recorded([{"event": "sixth"}])
    log.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert "the log of this session cannot be written (s3://runs/" in line


@pytest.mark.slow
def test_a_bucket_that_refuses_ends_a_search_with_one_line_and_loses_nothing(
    store: Store, run: str, tmp_path: Path
) -> None:
    process = begin(words(tmp_path, run, "--evaluations", "100000"))
    until(lambda: segments(store, run) >= 2)
    store.breaks("forbidden")
    code, errors = ended(process)
    assert code == 1
    assert "Traceback" not in errors
    assert "Check the bucket, the network and the AWS credentials" in errors.splitlines()[-1]
    store.breaks("none")
    before = history(run)
    for claim in store.below(f"{key(run)}/lease/"):
        store.client.delete_object(Bucket=BUCKET, Key=claim)
    done(evo_nas("resume", run, "--evaluations", str(len(before) + 5)))
    assert history(run)[: len(before)] == before


@pytest.mark.slow
@pytest.mark.parametrize("signals", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)])
def test_a_search_whose_bucket_is_down_can_be_ended(
    store: Store, run: str, tmp_path: Path, signals: tuple[signal.Signals, ...]
) -> None:
    process = begin(words(tmp_path, run, "--evaluations", "100000"))
    assert process.stderr is not None
    until(lambda: segments(store, run) >= 2)
    store.breaks("down")
    until(lambda: store.faulty > 0)
    os.kill(process.pid, signals[0])
    while not process.stderr.readline().startswith(("stopping: ", "terminated: ")):
        assert process.poll() is None
    for number in signals[1:]:
        os.kill(process.pid, number)
    code, errors = ended(process)
    assert code == 130
    assert "Traceback" not in errors
    store.breaks("none")
    before = history(run)
    for claim in store.below(f"{key(run)}/lease/"):
        store.client.delete_object(Bucket=BUCKET, Key=claim)
    done(evo_nas("resume", run, "--evaluations", str(len(before) + 2)))
    assert history(run)[: len(before)] == before


@pytest.mark.slow
def test_a_torn_newest_segment_is_kept_aside_and_evaluated_again(
    store: Store, run: str, tmp_path: Path
) -> None:
    done(evo_nas(*words(tmp_path, run, "--evaluations", "6")))
    whole = history(run)
    newest = store.below(f"{key(run)}/segments/")[-1]
    store.put(newest, store.content(newest)[:100])
    resumed = evo_nas("resume", run)
    assert "it is the newest segment and was left out" in resumed.stderr
    done(resumed)
    assert f"{newest}.torn" in store.below("")
    assert history(run) == whole


@pytest.mark.slow
def test_no_bucket_no_credentials_and_a_run_that_exists_are_told_in_one_line(
    store: Store, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = evo_nas(*words(tmp_path, "s3://nobody/first", "--evaluations", "4"))
    assert nobody.returncode == 1
    assert "s3://nobody/first" in nobody.stderr
    done(evo_nas(*words(tmp_path, run, "--evaluations", "4")))
    again = evo_nas(*words(tmp_path, run, "--evaluations", "4"))
    assert f"{run} already holds a run. Go on with it by: evo-nas resume {run}" in again.stderr
    empty = evo_nas("status", f"{run}-typo")
    assert f"{run}-typo holds no run" in empty.stderr
    store.breaks("forbidden")
    refused = evo_nas("status", run)
    for finished in (nobody, again, empty, refused):
        assert finished.returncode == 1
        assert "Traceback" not in finished.stderr
    assert "Check the bucket" in refused.stderr


@pytest.mark.slow
def test_a_run_is_read_while_it_is_written(store: Store, run: str, tmp_path: Path) -> None:
    process = begin(words(tmp_path, run, "--evaluations", "100000"))
    failed: list[str] = []
    try:
        until(lambda: segments(store, run) >= 1)

        def read() -> None:
            shown = evo_nas("status", run, "--json")
            if shown.returncode != 0:
                failed.append(shown.stderr)

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    finally:
        os.killpg(process.pid, signal.SIGINT)
        ended(process)
    assert failed == []
