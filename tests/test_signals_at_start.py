"""Signals before a search is one: while modules are imported, once data are read, as Ray starts."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest

from evo_nas.record import HEADER
from tests.faulty_runs import Forks, assert_saved, search_words
from tests.tiny import begin

EVALUATIONS = 5
ENDED_BY = {
    # Python ends itself by the signal where it came in the middle of an import; shells say 130.
    signal.SIGINT: (130, -signal.SIGINT),
    # Before anything is under way it ends the process as any other; 15 is Ray's code as it starts.
    signal.SIGTERM: (130, -signal.SIGTERM, 15),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize(
    ("workers", "line", "seconds"),
    [
        (0, "run directory:", 0.3),
        (0, "text:", 0.0),
        pytest.param(2, "text:", 1.0, marks=pytest.mark.slow),
    ],
    ids=["imports", "data", "ray"],
)
def test_a_signal_while_a_search_starts_ends_it_without_a_traceback_and_can_be_gone_on_with(
    tmp_path: Path,
    forks: Forks,
    owned: Callable[[Popen[str]], Popen[str]],
    number: signal.Signals,
    workers: int,
    line: str,
    seconds: float,
) -> None:
    run = tmp_path / "run"
    # It would not end by itself while a test lasts.
    words = search_words(run, evaluations=4000, checkpoint_segments=3)
    words[words.index("--workers") + 1] = str(workers)
    process = owned(begin(words))
    assert process.stderr is not None
    said = ""
    while not said.startswith(line):
        said = process.stderr.readline()
        assert said, process.wait()
    time.sleep(seconds)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in ENDED_BY[number], errors
    assert "Traceback" not in errors
    again = ["resume", str(run)] if (run / HEADER).exists() else words
    more = ("--evaluations", str(EVALUATIONS), "--workers", "0")
    resumed = forks.run([*again, *more], run)
    assert resumed.code == 0, resumed.errors
    assert_saved(run, range(EVALUATIONS))
