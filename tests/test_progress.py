"""What a running search tells on a terminal and elsewhere."""

from __future__ import annotations

import io
from dataclasses import replace

from evo_nas.config_tables import BudgetConfig, EvolutionConfig, SearchConfig
from evo_nas.loop import Budget, Clock
from evo_nas.progress import ProgressLine
from evo_nas.strategies import make_strategy
from evo_nas.strategies.regularized import RegularizedEvolution
from tests.test_evolution import told

CONFIG = SearchConfig(evolution=EvolutionConfig(population=4), budget=BudgetConfig(evaluations=9))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def progress(stream: io.StringIO, before: float = 0.0, unit: str = "nats/char") -> ProgressLine:
    strategy = make_strategy(CONFIG)
    return ProgressLine(
        strategy, Budget(9), Clock(before), unit, higher_is_better=False, stream=stream
    )


def tell(line: ProgressLine, fitness: list[float | None], here: bool = True) -> None:
    events = []
    for value in fitness:
        asked = line.strategy.ask()
        line.strategy.note(asked)
        events.append(told(asked, value))
    if here:
        line.told(events)
    else:
        for event in events:
            line.totals.add(event)


def test_the_line_has_best_pace_failures_duplicates_and_eta() -> None:
    stream = io.StringIO()
    line = progress(stream)
    tell(line, [-2.5, None, -2.25])
    line.end()
    text = stream.getvalue().splitlines()[-1]
    for part in ("3/9 evaluations", "best 2.2500 nats/char", "/hour", "failed diverged 1"):
        assert part in text
    assert "duplicates avoided 0" in text
    assert "ETA 0:00:0" in text


def test_without_a_terminal_lines_are_plain_and_few() -> None:
    stream = io.StringIO()
    line = progress(stream)
    for _ in range(5):
        tell(line, [-1.0])
    assert "\r" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 1


def test_on_a_terminal_the_line_is_rewritten_in_place() -> None:
    stream = Terminal()
    line = progress(stream)
    tell(line, [-1.0])
    tell(line, [-0.5])
    assert stream.getvalue().count("\r\x1b[K") == 2
    assert "\n" not in stream.getvalue()
    line.end()
    assert stream.getvalue().endswith("\n")


def test_the_first_failure_of_each_kind_is_told_with_its_reason() -> None:
    stream = io.StringIO()
    line = progress(stream)
    tell(line, [-1.0, None, None])
    assert stream.getvalue().count("first failure 'diverged' (birth 1): the loss is nan") == 1


def test_a_start_in_which_everything_fails_is_a_warning_once() -> None:
    stream = io.StringIO()
    line = progress(stream)
    assert isinstance(line.strategy, RegularizedEvolution)
    tell(line, [None] * 4)
    tell(line, [None] * 4)
    assert stream.getvalue().count("warning: all 4 candidates so far have failed") == 1
    assert "diverged 4" in stream.getvalue()


def test_what_earlier_sessions_did_counts_but_not_for_the_pace() -> None:
    stream = io.StringIO()
    line = progress(stream, before=3600.0)
    tell(line, [-1.0, -0.5], here=False)
    assert line.text().startswith("2/9 evaluations | best 0.5000 nats/char | 0/hour")


def test_neither_unit_nor_message_of_a_record_acts_on_the_terminal() -> None:
    stream = Terminal()
    line = progress(stream, unit="\x1b[2J\ud800\nx")
    tell(line, [-1.0])
    asked = line.strategy.ask()
    line.strategy.note(asked)
    line.told([replace(told(asked, None), message="first\nlast \x1b]0;owned\x07")])
    first, second = stream.getvalue().split("\n")
    assert "best 1.0000 \\x1b[2J\\ud800\\nx |" in first
    assert first.endswith("\r\x1b[Kfirst failure 'diverged' (birth 1): last \\x1b]0;owned\\x07")
    assert second.startswith("\r\x1b[K2/9 evaluations")
