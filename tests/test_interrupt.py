"""Ctrl-C while something is done that must not be broken off by an exception."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from project import ROOT
from tiny import environment

from evo_nas.interrupt import ctrl_c_held_back


def test_ctrl_c_that_is_held_back_comes_at_the_end_and_once() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), ctrl_c_held_back():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            done.append(signal.getsignal(signal.SIGINT))
    assert len(done) == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_ctrl_c_nothing_is_raised_and_an_error_stays_what_it_is() -> None:
    with ctrl_c_held_back():
        pass
    with pytest.raises(ImportError), ctrl_c_held_back():
        raise ImportError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_handles_or_ignores_ctrl_c_goes_on_doing_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ctrl_c_held_back():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.5])
def test_ctrl_c_while_torch_is_imported_is_a_keyboard_interrupt_and_no_abort(
    seconds: float,
) -> None:
    code = (
        "import time\n"
        "from evo_nas.config_tables import SearchConfig\n"
        "from evo_nas.setting import prepare_engine\n"
        "print('now', flush=True)\n"
        "prepare_engine(SearchConfig())\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT, errors
    assert errors.endswith("KeyboardInterrupt\n")
