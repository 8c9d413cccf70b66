"""The log of a session: what stands in it, and that no search depends on it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evo_nas.config_tables import SearchConfig
from evo_nas.events import Told
from evo_nas.record import read_events
from evo_nas.record.reading import read_table
from evo_nas.watching.log import LogFile, RunLog, open_log
from evo_nas.watching.session import logged_session
from tests.faulty_runs import Forks, begin_driven, history, killed_after, search_words
from tests.tiny import environment, wait_for_segments

EVALUATIONS = 7
Owned = Callable[["subprocess.Popen[str]"], "subprocess.Popen[str]"]


def entries(run: Path, number: int = 1) -> list[dict[str, Any]]:
    """The lines of a session's log."""
    text = (run / "logs" / f"{number:03}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def named(found: Sequence[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [entry for entry in found if entry["event"] == event]


def words_of(run: Path) -> list[str]:
    return search_words(run, evaluations=EVALUATIONS, checkpoint_segments=3)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Path:
    run = tmp_path_factory.mktemp("logged") / "run"
    ended = forks.run(words_of(run), run)
    assert ended.code == 0, ended.errors
    return run


@pytest.fixture
def run(searched: Path, tmp_path: Path) -> Path:
    """A copy of that run."""
    return Path(shutil.copytree(searched.parent, tmp_path / "copy")) / "run"


def test_a_search_is_logged_from_its_beginning_to_its_end(searched: Path) -> None:
    found = entries(searched)
    names = [entry["event"] for entry in found]
    assert names[:2] == ["session begun", "search begun"]
    end = ["search ended", "comparison begun", "comparison ended", "session ended"]
    assert names[-4:] == end
    assert {*names[2:-4]} == {"result", "checkpoint"}
    begun, search = found[:2]
    assert begun["command"] == "search" and begun["workers"] == 0
    assert begun["budget"] == {"evaluations": EVALUATIONS, "hours": None}
    assert (search["evaluations"], search["workers"]) == (0, 1)
    ended, _, comparison, last = found[-4:]
    assert (ended["reason"], ended["evaluations"]) == ("finished", EVALUATIONS)
    assert ended["seconds"] > 0
    assert comparison["complete"] is True and comparison["part"] == "validation"
    assert comparison["folder"] == str(searched / "comparisons" / "001")
    assert last["reason"] == "finished"


def test_each_result_is_logged_as_it_was_recorded(searched: Path) -> None:
    told = [event for event in read_events(searched)[0] if isinstance(event, Told)]
    results = named(entries(searched), "result")
    assert [(entry["birth"], entry["status"], entry["metric"]) for entry in results] == [
        (event.birth, event.status, event.metric) for event in told
    ]
    for entry, event in zip(results, told, strict=True):
        assert entry["worker"] == "in-process" and entry["engine"] == event.engine
        assert entry["seconds"] == pytest.approx(event.seconds, abs=1e-3)
        assert entry.get("message", "") == event.message
    assert any(entry["status"] != "ok" and entry["message"] for entry in results)


def test_each_checkpoint_is_logged_with_its_events(searched: Path) -> None:
    kept = {int(path.stem) for path in (searched / "checkpoints").iterdir()}
    logged = [entry["events"] for entry in named(entries(searched), "checkpoint")]
    assert logged == sorted(logged) and kept <= set(logged)


def test_times_are_in_utc_and_never_go_back(searched: Path) -> None:
    times = [datetime.fromisoformat(entry["time"]) for entry in entries(searched)]
    assert all(time.utcoffset() == timedelta(0) for time in times)
    assert times == sorted(times)
    assert abs(datetime.now(UTC) - times[-1]) < timedelta(hours=1)


def test_each_session_has_a_log_of_its_own(run: Path, forks: Forks) -> None:
    before = (run / "logs" / "001.jsonl").read_bytes()
    more = ["resume", str(run), "--evaluations", "10", "--seeds", "0"]
    assert forks.run(more, run).code == 0
    assert (run / "logs" / "001.jsonl").read_bytes() == before
    found = entries(run, 2)
    assert found[0]["command"] == "resume"
    assert named(found, "search begun")[0]["evaluations"] == EVALUATIONS
    assert [entry["birth"] for entry in named(found, "result")] == [7, 8, 9]
    assert named(found, "comparison begun") == []


def test_a_comparison_of_its_own_is_logged_too(run: Path, forks: Forks) -> None:
    words = ["compare", str(run), "--no-random", "--no-tune", "--seeds", "1", "--top", "1"]
    ended = forks.run([*words, "--workers", "0"], run)
    assert ended.code == 0, ended.errors
    found = entries(run, 2)
    assert [entry["event"] for entry in found] == [
        "session begun",
        "comparison begun",
        "comparison ended",
        "session ended",
    ]
    assert found[0]["command"] == "compare" and found[2]["complete"] is True


def test_what_the_user_was_warned_of_is_logged(run: Path, forks: Forks) -> None:
    newest = read_table(run).parts[-1]
    assert not newest.rolled
    path = run / "segments" / newest.name
    path.write_bytes(path.read_bytes()[:-7])
    ended = forks.run(["resume", str(run)], run)
    assert ended.code == 0, ended.errors
    first, second = (entry["message"] for entry in named(entries(run, 2), "warning"))
    assert f"{path} is damaged" in first and first in ended.errors
    assert "It was kept as" in second


def test_a_start_in_which_everything_fails_is_logged_as_a_warning(
    tmp_path: Path, forks: Forks
) -> None:
    run = tmp_path / "run"
    words = [*words_of(run), "--learning-rate", "1e38", "--steps", "12"]
    assert forks.run(words, run).code == 1
    (warning,) = named(entries(run), "warning")
    assert warning["message"].startswith("all ")
    assert {entry["status"] for entry in named(entries(run), "result")} == {"diverged"}


def test_an_error_that_ends_a_session_is_logged(tmp_path: Path, forks: Forks) -> None:
    run = tmp_path / "run"
    operations = forks.run(words_of(run), run).operations
    shutil.rmtree(run)
    ended = forks.run(words_of(run), run, "full", len(operations) // 2)
    assert ended.code == 1
    last = entries(run)[-1]
    assert (last["event"], last["reason"], last["error"]) == ("session ended", "error", "OSError")
    assert "No space left on device" in last["message"]
    (line,) = (line for line in ended.errors.splitlines() if "No space" in line)
    assert line == f"Error: {last['message']}"


def test_an_interrupted_search_says_so_at_the_end_of_its_log(tmp_path: Path, owned: Owned) -> None:
    run = tmp_path / "run"
    words = search_words(run, evaluations=4000, checkpoint_segments=50)
    process = owned(begin_driven(words, run))
    wait_for_segments(run, 3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    found = entries(run)
    assert named(found, "search ended")[0]["reason"] == "interrupted"
    assert found[-1]["event"] == "session ended" and found[-1]["reason"] == "interrupted"


def test_the_log_of_a_killed_session_ends_where_it_was(
    tmp_path: Path, forks: Forks, owned: Owned
) -> None:
    run = tmp_path / "run"
    words = search_words(run, evaluations=4000, checkpoint_segments=50)
    process = owned(begin_driven(words, run))
    wait_for_segments(run, 5)
    killed = killed_after(process, 0)
    found = entries(run)
    assert found[-1]["event"] in ("result", "checkpoint")
    assert len(named(found, "result")) >= len(killed.told) - 1  # told, and then logged
    assert forks.run(["resume", str(run), "--evaluations", "1", "--seeds", "0"], run).code == 0
    assert entries(run, 2)[-1]["event"] == "session ended"


def test_what_stands_in_a_log_does_not_matter(run: Path, searched: Path, forks: Forks) -> None:
    log = run / "logs" / "001.jsonl"
    log.write_bytes(log.read_bytes()[:-20] + b"\xff\x00")
    (run / "logs" / "002.jsonl").mkdir()
    ended = forks.run(["resume", str(run)], run)
    assert ended.code == 0, ended.errors
    assert history(run) == history(searched)
    assert entries(run, 3)[-1]["reason"] == "finished"
    shutil.rmtree(run / "logs")
    assert forks.run(["resume", str(run)], run).code == 0
    assert entries(run)[0]["command"] == "resume"


# In a mount namespace of its own: a small disk for one folder, and a real ENOSPC.
SMALL_DISK = 'mount -t tmpfs -o size="$1" none "$0" && shift && exec "$@"'


def on_small_disk(folder: Path, size: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command where a folder is an empty disk of so many bytes."""
    namespace = ["unshare", "--map-root-user", "--mount", "sh", "-c", SMALL_DISK]
    return subprocess.run(
        [*namespace, str(folder), size, *words],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
        timeout=100,
    )


@pytest.fixture
def small_disks(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or on_small_disk(tmp_path, "1m", "true").returncode != 0:
        pytest.skip("needs a kernel that lets this user mount in a namespace (unshare --mount)")


@pytest.mark.usefixtures("small_disks")
def test_a_log_that_cannot_be_written_is_one_warning_and_costs_no_result(run: Path) -> None:
    """A disk of one page has room for the first lines, then for none."""
    words = ["resume", str(run), "--evaluations", "40", "--seeds", "0"]
    logs = str(run / "logs")
    keep = f'"$@"; code=$?; cp {logs}/001.jsonl {run}/kept.jsonl; exit $code'
    command = ["sh", "-c", keep, "sh", sys.executable, "-m", "evo_nas", *words]
    done = on_small_disk(run / "logs", "4k", *command)
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "No space left" in line)
    assert line.startswith("warning: the log of this session cannot be written (")
    assert line.endswith("The search goes on without it; the record is not concerned.")
    assert len([e for e in read_events(run)[0] if isinstance(e, Told)]) == 40
    content = (run / "kept.jsonl").read_bytes()
    assert 0 < len(content) <= 4096
    first = [json.loads(line) for line in content.splitlines(keepends=True) if line[-1:] == b"\n"]
    assert first[0]["event"] == "session begun"


@pytest.mark.slow
@pytest.mark.usefixtures("small_disks")
def test_a_disk_that_is_full_for_record_and_log_is_told_in_one_line(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    words = search_words(tmp_path / "beside" / "run", evaluations=4000, checkpoint_segments=50)
    words[words.index("--run") + 1] = str(disk / "run")
    again = [sys.executable, "-m", "evo_nas", "resume", str(disk / "run"), "--evaluations", "1"]
    grown = f"mount -o remount,size=20m {disk} && exec {' '.join(again)} --seeds 0"
    script = f'"$@" 2>&1; echo "code $?"; {grown}'
    done = on_small_disk(
        disk, "256k", "sh", "-c", script, "sh", sys.executable, "-m", "evo_nas", *words
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    said, _, _ = done.stdout.partition("code 1\n")
    assert said != done.stdout
    (line,) = (line for line in said.splitlines() if "No space left" in line)
    assert line.startswith(f"Error: [Errno 28] No space left on device: '{disk}/run/")
    assert "evaluations recorded" in done.stderr  # of the session that goes on


class Refusing:
    """Takes everything but what it is told to refuse."""

    def __init__(self, refusals: Sequence[bool]) -> None:
        self.refusals = list(refusals)
        self.content = b""
        self.closed = False
        self.refuses_to_close = False

    def append(self, pending: bytearray) -> None:
        if self.refusals and self.refusals.pop(0):
            self.content += pending[:3]  # what still fits is written, as a real disk does it
            del pending[:3]
            raise OSError(28, "No space left on device")
        self.content += pending
        pending.clear()

    def tick(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True
        if self.refuses_to_close:
            raise OSError(5, "Input/output error")

    @property
    def names(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.content.splitlines()]


def test_what_was_refused_once_is_written_later_without_a_word(
    capsys: pytest.CaptureFixture[str],
) -> None:
    chunks = Refusing([True, True, False, True])
    log = RunLog(chunks)
    log.note("a")
    log.note("b")
    log.recorded([{"event": "c"}])
    log.recorded([{"event": "d"}])
    log.close()
    assert chunks.names == ["a", "b", "c", "d"] and chunks.closed
    assert capsys.readouterr().err == ""


def test_what_is_refused_while_the_record_is_written_is_given_up_with_one_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    chunks = Refusing([False, True, True, False, False])
    log = RunLog(chunks)
    log.note("a")
    for event in "bcde":
        log.recorded([{"event": event}])
    log.note("f")
    log.close()
    assert chunks.content.startswith(b'{"time": ') and chunks.closed
    (warning,) = capsys.readouterr().err.splitlines()
    assert "cannot be written ([Errno 28] No space left on device)" in warning


@pytest.mark.parametrize(("failed", "warnings"), [(False, 1), (True, 0)])
def test_at_the_end_a_log_warns_unless_an_error_is_told_anyway(
    capsys: pytest.CaptureFixture[str], failed: bool, warnings: int
) -> None:
    log = RunLog(Refusing([True] * 5))
    log.note("a")
    log.close(failed)
    assert len(capsys.readouterr().err.splitlines()) == warnings


def test_what_is_refused_when_a_log_is_closed_is_one_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    chunks = Refusing([])
    chunks.refuses_to_close = True
    log = RunLog(chunks)
    log.note("a")
    log.close()
    (warning,) = capsys.readouterr().err.splitlines()
    assert "cannot be written ([Errno 5] Input/output error)" in warning


def test_what_is_said_of_workers_is_shown_without_acting_on_the_terminal_and_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "machine \x1b[2J gets no more workers.\nThe last said: no."
    with logged_session(tmp_path, "search", SearchConfig()) as session:
        session.warn(said)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: machine ") and "\x1b" not in line
    assert [entry["message"] for entry in named(entries(tmp_path), "warning")] == [said]


def test_a_session_that_writes_nothing_leaves_no_file(tmp_path: Path) -> None:
    open_log(tmp_path).close()
    assert list((tmp_path / "logs").iterdir()) == []


def test_two_sessions_at_once_write_two_files(tmp_path: Path) -> None:
    first, second = RunLog(LogFile(tmp_path)), RunLog(LogFile(tmp_path))
    for log, event in ((first, "a"), (second, "b"), (first, "c")):
        log.note(event)
    texts = [path.read_text() for path in sorted(tmp_path.iterdir())]
    assert [[json.loads(line)["event"] for line in text.splitlines()] for text in texts] == [
        ["a", "c"],
        ["b"],
    ]
