"""`evo-nas status --watch`: in place on a terminal, in blocks or lines elsewhere, to the end."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evo_nas.config import to_dict
from evo_nas.config_tables import BudgetConfig, CompareConfig, SearchConfig
from evo_nas.record import create_run, open_run
from evo_nas.sessions import note_session
from evo_nas.watching import watch
from evo_nas.watching.screen import Blocks, Terminal, cut
from evo_nas.watching.watch import ENDED, IDLE, Looker, watch_run
from tests.faulty_runs import Forks
from tests.test_record import asked, header, told
from tests.tiny import arguments, begin, environment, evo_nas, wait_for_segments

Owned = Callable[["subprocess.Popen[str]"], "subprocess.Popen[str]"]


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def displayed(output: str, columns: int = 200) -> list[str]:
    """What a terminal shows after some output, the lines above its window included."""
    lines, row, column = [""], 0, 0
    for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[^\x1b]", output):
        if piece == "\r":
            column = 0
        elif piece == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif piece == "\x1b[K":
            lines[row] = lines[row][:column]
        elif piece == "\x1b[J":
            lines[row] = lines[row][:column]
            del lines[row + 1 :]
        elif piece[0] == "\x1b":
            assert piece[-1] == "A", repr(piece)  # nothing is cleared beforehand
            row -= int(piece[2:-1])
            assert row >= 0
        else:
            lines[row] = lines[row][:column].ljust(column) + piece + lines[row][column + 1 :]
            column += 1
            assert column <= columns
    return lines


def config_of(evaluations: int | None, seeds: int = 0, hours: float | None = None) -> SearchConfig:
    return replace(
        SearchConfig(), budget=BudgetConfig(evaluations, hours), compare=CompareConfig(seeds=seeds)
    )


def begun(run: Path, config: SearchConfig, births: int, results: int) -> None:
    """A run of so many births, so many of them told."""
    with create_run(run, replace(header(), config=to_dict(config))) as record:
        record.append([asked(birth) for birth in range(births)])
        for birth in range(results):
            record.append([told(birth)])


def phase(run: Path) -> str:
    return Looker(run).look()[0].course.phase


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Path:
    """A run that has ended, with its comparison."""
    folder = tmp_path_factory.mktemp("watched")
    words = ("--evaluations", "5", "--seeds", "1", "--top", "1")
    ended = forks.run(arguments(folder, *words), folder / "run")
    assert ended.code == 0, ended.errors
    return folder / "run"


def test_a_run_has_ended_when_its_budget_is_told_and_nothing_runs(tmp_path: Path) -> None:
    for name, births, results, expected in (
        ("short", 3, 3, "searching"),
        ("running", 4, 3, "searching"),
        ("done", 4, 4, "ended"),
    ):
        begun(tmp_path / name, config_of(4), births, results)
        assert phase(tmp_path / name) == expected, name


def test_a_run_whose_last_evaluations_run_has_not_ended(tmp_path: Path) -> None:
    begun(tmp_path / "run", config_of(3), births=4, results=3)  # of a budget that was larger
    assert phase(tmp_path / "run") == "searching"


def test_of_a_budget_in_hours_alone_the_end_is_not_known(tmp_path: Path) -> None:
    begun(tmp_path / "run", config_of(None, hours=0.0001), births=4, results=4)
    assert phase(tmp_path / "run") == "searching"


def test_a_raised_budget_begins_the_search_again_while_it_is_watched(tmp_path: Path) -> None:
    run = tmp_path / "run"
    begun(run, config_of(4), births=4, results=4)
    looker = Looker(run)
    assert looker.look()[0].course.phase == "ended"
    note_session(run, config_of(9))
    seen, changed = looker.look()
    assert (seen.course.phase, seen.course.budget, changed) == ("searching", 9, True)
    assert not looker.look()[1]


def test_a_run_that_wants_a_comparison_has_ended_when_that_is_complete(
    tmp_path: Path, searched: Path
) -> None:
    begun(tmp_path / "run", config_of(4, seeds=3), births=4, results=4)
    assert phase(tmp_path / "run") == "comparing"
    seen, _ = Looker(searched).look()
    assert (seen.course.phase, seen.course.trainings) == ("ended", (3, 3))


def test_a_run_in_which_nothing_finished_well_ends_without_a_comparison(tmp_path: Path) -> None:
    run = tmp_path / "run"
    failed = replace(told(0), status="diverged", metric=None, fitness=None)
    with create_run(run, replace(header(), config=to_dict(config_of(1, seeds=3)))) as record:
        record.append([asked(0)])
        record.append([failed])
    assert phase(run) == "ended"


def test_an_ended_run_is_shown_once_with_a_line_that_says_so(searched: Path) -> None:
    done = evo_nas("status", str(searched), "--watch")
    assert done.returncode == 0, done.stderr
    plain = evo_nas("status", str(searched)).stdout
    first, rest = done.stdout.split("\n", 1)
    assert re.fullmatch(rf"{searched} at .* UTC: ended; last result \d+ s ago", first)
    assert rest == f"{plain}\n{ENDED}\n"


def test_every_without_watch_is_wrong_usage(searched: Path) -> None:
    refused = evo_nas("status", str(searched), "--every", "1")
    assert refused.returncode == 2
    assert "--every says how often --watch looks: give both" in refused.stderr
    assert evo_nas("status", str(searched), "--watch", "--every", "0").returncode == 2


def test_watching_what_is_no_run_is_an_error(tmp_path: Path) -> None:
    refused = evo_nas("status", str(tmp_path), "--watch")
    assert refused.returncode == 1
    assert f"Error: {tmp_path} holds no run" in refused.stderr


@pytest.fixture
def watching(tmp_path: Path, owned: Owned) -> Callable[..., subprocess.Popen[str]]:
    """Begins to watch ``tmp_path / "run"`` in another process."""
    words = ["status", str(tmp_path / "run"), "--watch", "--every", "0.1"]
    return lambda *more: owned(begin([*words, *more]))


def tell_one_by_one(run: Path, births: int, shown: Callable[[], None]) -> None:
    """Record a result, wait until it is shown, record the next; roll up all the time."""
    with open_run(run, checkpoint_segments=2) as record:
        for birth in range(1, births):
            shown()
            record.append([told(birth)])
    shown()


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a process has still to say on stdout and stderr until it ends.

    `communicate` would lose what was read ahead of the last line.
    """
    assert process.stdout is not None and process.stderr is not None
    said = process.stdout.read(), process.stderr.read()
    process.wait(timeout=30)
    return said


def ended_block(lines: Sequence[str]) -> bool:
    """Whether lines are a whole block: they end with the table of the best cell, and empty."""
    return (
        "best so far" in lines and lines[-1] == "" and len(lines) - lines.index("best so far") == 4
    )


def test_elsewhere_a_block_is_written_each_time_something_changed(
    tmp_path: Path, watching: Callable[..., subprocess.Popen[str]]
) -> None:
    run = tmp_path / "run"
    begun(run, config_of(6), births=6, results=1)
    process = watching()
    blocks: list[list[str]] = []

    def shown() -> None:
        assert process.stdout is not None
        blocks.append([])
        while not ended_block(blocks[-1]):
            line = process.stdout.readline()
            assert line, blocks
            blocks[-1].append(line.rstrip("\n"))

    tell_one_by_one(run, 6, shown)
    rest, errors = ended(process)
    assert (process.returncode, errors) == (0, "")
    assert rest == f"{ENDED}\n"
    text = ["\n".join(block) for block in blocks]
    assert [re.findall(r"evaluations: (\d)", block) for block in text] == [[c] for c in "123456"]
    assert [re.findall(r"UTC: (\w+)", block) for block in text] == [["searching"]] * 5 + [["ended"]]
    assert "\x1b" not in "".join(text) + rest


def test_as_json_each_change_is_an_object_on_a_line(
    tmp_path: Path, watching: Callable[..., subprocess.Popen[str]]
) -> None:
    run = tmp_path / "run"
    begun(run, config_of(6), births=6, results=1)
    process = watching("--json")
    documents: list[dict[str, Any]] = []

    def shown() -> None:
        assert process.stdout is not None
        documents.append(json.loads(process.stdout.readline()))

    tell_one_by_one(run, 6, shown)
    rest, errors = ended(process)
    assert (process.returncode, rest, errors) == (0, "", "")
    assert [document["evaluations"] for document in documents] == [1, 2, 3, 4, 5, 6]
    assert [document["phase"] for document in documents] == ["searching"] * 5 + ["ended"]
    assert {document["budget_evaluations"] for document in documents} == {6}
    plain = json.loads(evo_nas("status", str(run), "--json").stdout)
    assert {key: documents[-1][key] for key in plain} == plain


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal of 30 lines and 90 columns."""
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
    yield ours, theirs
    os.close(ours)


def test_on_a_terminal_it_is_drawn_in_place_until_ctrl_c_which_is_no_error(
    tmp_path: Path, terminal: tuple[int, int], owned: Owned
) -> None:
    ours, theirs = terminal
    owned(begin(arguments(tmp_path, "--evaluations", "100000", "--seeds", "0")))
    run = tmp_path / "run"
    wait_for_segments(run, 2)
    words = [sys.executable, "-m", "evo_nas", "status", str(run), "--watch", "--every", "0.1"]
    watching = owned(
        subprocess.Popen(
            words,
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
    )
    os.close(theirs)
    output = b""
    while output.count(b"metric: ") < 4:
        output += os.read(ours, 65536)
    watching.send_signal(signal.SIGINT)
    while True:
        try:
            output += os.read(ours, 65536)
        except OSError:  # the other end is closed: it has ended
            break
    assert (watching.wait(timeout=60), watching.stderr.read()) == (0, "")  # type: ignore[union-attr]
    lines = displayed(output.decode().replace("\r\n", "\n"), columns=90)
    assert lines[0].startswith(str(run)[:80])
    # In place: what was drawn four times stands there once.
    assert sum(line.startswith("metric: ") for line in lines) == 1
    assert lines[-1] == "" and len(lines) <= 31
    assert b"\x1b[2J" not in output


def test_a_terminal_shows_the_last_state_alone_however_long_each_was() -> None:
    stream = Tty()
    screen = Terminal(stream)
    for lines in (["a", "long line", "c"], ["b"], ["x", "y"]):
        screen.show(lines, "now", changed=True)
    assert displayed(stream.getvalue()) == ["now", "x", "y", ""]


def test_what_does_not_fit_a_terminal_is_cut_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    size = os.terminal_size((20, 6))
    monkeypatch.setattr("evo_nas.watching.screen.shutil.get_terminal_size", lambda: size)
    stream = Tty()
    screen = Terminal(stream)
    for _ in range(3):
        screen.show([f"{n} " + "x" * 40 for n in range(9)], "now", changed=True)
    lines = displayed(stream.getvalue(), columns=20)
    assert lines == ["now", "0 " + "x" * 17, "1 " + "x" * 17, "2 " + "x" * 17, lines[4], ""]
    assert lines[4] == "... 6 more lines in a taller window"[:19]


@pytest.mark.parametrize(
    ("line", "columns", "kept"),
    [
        ("birth 1", 5, "birth"),
        ("名前 1", 4, "名前"),
        ("名前 1", 3, "名"),  # one column is left, and half a character is none
        ("e\u0301e\u0301e", 2, "e\u0301e\u0301"),  # accents take no column of their own
        ("ü", 5, "ü"),
    ],
)
def test_a_line_is_cut_by_columns_not_by_characters(line: str, columns: int, kept: str) -> None:
    assert cut(line, columns) == kept


@pytest.mark.parametrize("kind", [Terminal, Blocks])
def test_lines_that_act_on_a_terminal_are_escaped(kind: type[Terminal] | type[Blocks]) -> None:
    stream = io.StringIO()
    kind(stream).show(["\x1b[2J\n\ud800"], "\x07", changed=True)
    shown = [line.removesuffix("\x1b[K") for line in stream.getvalue().splitlines()]
    assert shown[:2] == ["\\x07", "\\x1b[2J\\n\\ud800"]


def test_on_a_terminal_the_age_of_the_last_result_goes_on_without_a_change() -> None:
    streams: Sequence[io.StringIO] = (Tty(), io.StringIO())
    for stream, screen in zip(streams, (Terminal(streams[0]), Blocks(streams[1])), strict=True):
        screen.show(["state"], "1 s ago", changed=True)
        screen.show(["state"], "2 s ago", changed=False)
        assert ("2 s ago" in stream.getvalue()) == stream.isatty()


def test_a_large_run_is_looked_at_less_often_than_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(tmp_path / "run", config_of(9), births=2, results=1)
    rests: list[float] = []
    real = Looker.look

    def laborious(self: Looker) -> object:
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
        return real(self)

    def rest(seconds: float) -> None:
        rests.append(seconds)
        if len(rests) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Looker, "look", laborious)
    monkeypatch.setattr(watch.time, "sleep", rest)
    with pytest.raises(KeyboardInterrupt):
        watch_run(tmp_path / "run", 0.5, as_json=False, stream=io.StringIO())
    assert rests[0] == 0.5  # the first look says nothing of what a look takes
    assert all(IDLE * 0.05 <= seconds < IDLE * 1.0 for seconds in rests[1:])


def test_warnings_are_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    begun(run, config_of(9), births=2, results=2)
    newest = sorted((run / "segments").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:-5])
    looker = Looker(run)
    for _ in range(3):
        looker.look()
    assert capsys.readouterr().err.count(f"warning: {newest} is damaged") == 1
