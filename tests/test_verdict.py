"""What may be concluded from a comparison: by the rule, in words, from made-up metrics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evo_nas.comparison.entrants import BASELINE, CONTROL, SEARCH
from evo_nas.comparison.judging import Verdict, difference, verdict
from evo_nas.comparison.output import as_json, markdown, table
from evo_nas.comparison.reading import Comparison, Row

SEEDS = 5
LSTM = (1.50, 1.52, 1.49, 1.51, 1.53)
"""Metrics of a baseline, one for each seed."""


def row(name: str, *by_seed: float | None, parameters: int = 1000, failed: int = 0) -> Row:
    role = SEARCH if "birth" in name else CONTROL if "random" in name else BASELINE
    return Row(
        name=name,
        roles=(role,),
        digest="0123abcd4567",
        hidden_size=32,
        parameters=parameters,
        learning_rate=0.003,
        by_seed=by_seed,
        failed=failed,
        seconds=2.0,
        search_metric=None,
    )


def less(by: float, noise: float = 0.002) -> tuple[float, ...]:
    """Metrics that are lower than the baseline's by so much, give or take the noise."""
    return tuple(x - by + noise * (-1) ** k for k, x in enumerate(LSTM))


def comparison(
    *rows: Row, judged: str = "birth 17", rival: str | None = "lstm", higher: bool = False
) -> Comparison:
    order = sorted(rows, key=lambda r: (r.failed, sum(r.metrics)))
    return Comparison(
        rows=tuple(order),
        entrants=tuple(r.name for r in rows),
        target=1000,
        part="test",
        seeds=len(rows[0].by_seed),
        steps=400,
        run_steps=400,
        run_rate=0.003,
        metric="cross-entropy",
        unit="nats/char",
        higher_is_better=higher,
        directory=Path("runs/book/comparisons/001"),
        complete=True,
        judged=judged,
        rival=rival,
        tuned=rival is not None,
        control={"left_out": "none was wanted"},
    )


def found(*rows: Row, judged: str = "birth 17", rival: str | None = "lstm") -> Verdict:
    result = verdict(comparison(*rows, judged=judged, rival=rival))
    assert result is not None
    return result


def test_a_cell_whose_interval_lies_above_zero_is_better() -> None:
    said = found(row("birth 17", *less(0.012)), row("lstm", *LSTM))
    assert said.sentence == (
        "birth 17 is better than lstm by 0.0116 ± 0.0027 nats/char at equal parameters "
        "(5 seeds, test part)."
    )
    (item,) = said.against
    assert item.values == pytest.approx((0.010, 0.014, 0.010, 0.014, 0.010))
    assert item.interval is not None and item.interval.count == 5


def test_a_cell_whose_interval_lies_below_zero_is_worse() -> None:
    said = found(row("birth 17", *less(-0.05)), row("lstm", *LSTM))
    assert said.sentence.startswith("birth 17 is worse than lstm by 0.0504 ± 0.0027 nats/char at")


def test_an_interval_that_holds_zero_shows_no_difference() -> None:
    said = found(row("birth 17", *less(0.003, noise=0.01)), row("lstm", *LSTM))
    assert said.sentence == (
        "no difference of birth 17 to lstm is shown: 0.0010 ± 0.0136 nats/char better "
        "(ahead on 2 of 5 seeds) at equal parameters (5 seeds, test part)."
    )


def test_a_rival_that_exploded_on_one_seed_is_readable_and_pointed_out() -> None:
    random = row("random search", *LSTM[:4], 1.6e11)
    result = comparison(row("birth 17", *less(0.012)), row("lstm", *LSTM), random)
    for text in (table(result), markdown(result)):
        assert "3.200e+10" in text and "32000000000" not in text
        assert (
            "no difference of birth 17 to random search is shown: 3.200e+10 ± 8.885e+10 "
            "nats/char better (ahead on 5 of 5 seeds)"
        ) in text
        assert (
            "the seeds of random search lie between 1.4900 and 1.600e+11, their median is 1.5100: "
            "its mean and its interval say little"
        ) in text
        assert "the seeds of lstm" not in text


def test_the_direction_of_the_metric_is_heeded() -> None:
    rows = row("birth 17", *less(-0.05)), row("lstm", *LSTM)
    result = verdict(comparison(*rows, higher=True))
    assert result is not None
    assert result.sentence.startswith("birth 17 is better than lstm by 0.0504")


def test_differences_are_paired_so_that_what_seeds_have_in_common_does_not_count() -> None:
    """Seeds differ by 1, the cells by 0.01: intervals of the means overlap, the paired one does
    not hold zero."""
    baseline = row("lstm", 1.0, 2.0, 3.0, 4.0, 5.0)
    cell = row("birth 17", 0.989, 1.991, 2.989, 3.991, 4.99)
    assert cell.interval is not None and baseline.interval is not None
    assert cell.interval.high > baseline.interval.low
    assert difference(cell, baseline, higher_is_better=False).conclusion == "better"


def test_another_cell_that_looks_better_in_the_end_changes_nothing() -> None:
    judged, lstm = row("birth 17", *less(0.0, noise=0.01)), row("lstm", *LSTM)
    alone = found(judged, lstm)
    lucky = found(judged, row("birth 4", *less(0.2)), lstm)
    assert lucky.sentence == alone.sentence
    assert alone.sentence.startswith("no difference of birth 17")


def test_the_baseline_that_was_chosen_decides_and_the_others_stand_beside_it() -> None:
    gru = row("gru", *less(-0.1))
    said = found(
        row("birth 17", *less(0.0, noise=0.01)),
        row("lstm", *LSTM),
        gru,
        row("random search", *less(0.02)),
    )
    assert [item.other for item in said.against] == ["lstm"]
    assert [(item.other, item.conclusion) for item in said.others] == [
        ("gru", "better"),
        ("random search", "worse"),
    ]
    assert "no difference of birth 17 to lstm" in said.sentence


def test_without_a_chosen_baseline_every_one_has_to_be_beaten() -> None:
    cell, lstm, gru = row("birth 17", *less(0.05)), row("lstm", *LSTM), row("gru", *less(0.02))
    both = found(cell, gru, lstm, rival=None)
    assert both.sentence.startswith("birth 17 is better than every baseline at equal parameters")
    assert "than gru by 0.0300" in both.sentence and "and than lstm by 0.0496" in both.sentence
    one = found(cell, row("gru", *less(0.05, noise=-0.01)), lstm, rival=None)
    assert one.sentence.startswith("birth 17 is not shown to be better than every baseline")
    assert "no difference of birth 17 to gru is shown" in one.sentence
    assert "birth 17 is better than lstm by 0.0496" in one.sentence


def test_a_failed_seed_is_left_out_of_the_pairs_and_said() -> None:
    lstm = row("lstm", 1.50, None, 1.49, 1.51, 1.53, failed=1)
    result = comparison(row("birth 17", *less(0.012)), lstm)
    said = verdict(result)
    assert said is not None
    assert len(said.against[0].values) == 4
    assert "(4 of 5 seeds, on which neither failed, test part)" in said.sentence
    assert "lstm failed on 1 of 5 seeds: it stands after those that did not" in table(result)


def test_a_cell_that_failed_is_not_called_better_whatever_its_other_seeds_say() -> None:
    cell = row("birth 17", None, *less(0.2)[1:], failed=1)
    said = found(cell, row("lstm", *LSTM))
    assert said.against[0].conclusion == "failed"
    assert "birth 17 failed on 1 of 5 seeds, so it is not called better than lstm" in said.sentence
    worse = found(row("birth 17", None, *less(-0.2)[1:], failed=1), row("lstm", *LSTM))
    assert worse.against[0].conclusion == "worse"


def test_cells_without_a_common_seed_have_no_difference() -> None:
    cell, lstm = row("birth 17", 1.0, None, failed=1), row("lstm", None, 2.0, failed=1)
    said = found(cell, lstm)
    assert (said.against[0].values, said.against[0].mean) == ((), None)
    assert "no seed in common" in said.sentence


def test_one_seed_shows_nothing() -> None:
    said = found(row("birth 17", 1.0), row("lstm", 2.0))
    assert said.against[0].conclusion == "too few seeds"
    assert "is shown with fewer than two common seeds: 1.0000 nats/char better" in said.sentence


def test_a_search_that_found_a_baseline_says_so() -> None:
    both = Row(
        **{f: getattr(row("lstm", *LSTM), f) for f in Row.__slots__}
        | {"name": "lstm (birth 1)", "roles": (SEARCH, BASELINE)}
    )
    said = found(both, row("gru", *LSTM), judged="lstm (birth 1)", rival="lstm (birth 1)")
    assert "is a published one, lstm (birth 1): it found nothing better" in said.sentence
    assert said.against[0].conclusion == "same cell"


def test_unequal_parameters_are_said_in_the_sentence_and_below_the_table() -> None:
    result = comparison(row("birth 17", *less(0.1)), row("lstm", *LSTM, parameters=1031))
    said = verdict(result)
    assert said is not None and "at unequal parameters" in said.sentence
    assert "(lstm has +3.1% parameters: no hidden size comes nearer)" in table(result)
    within = comparison(row("birth 17", *less(0.1)), row("lstm", *LSTM, parameters=1019))
    assert "no hidden size comes nearer" not in table(within)


def test_an_interrupted_comparison_has_no_verdict() -> None:
    whole = comparison(row("birth 17", *less(0.1)), row("lstm", *LSTM))
    part = Comparison(**{f: getattr(whole, f) for f in Comparison.__slots__} | {"complete": False})
    assert verdict(part) is None
    assert "interrupted: some trainings are missing, so there is no verdict yet" in table(part)
    assert as_json(part)["verdict"] is None


def test_of_equal_cells_one_in_forty_is_called_better() -> None:
    """2.5 % by the level of the interval: half of what it misses lies on the good side."""
    rng = np.random.default_rng(0)
    called = 0
    for a, b in rng.normal(1.5, 0.01, (2000, 2, SEEDS)).tolist():
        item = difference(row("birth 17", *a), row("lstm", *b), higher_is_better=False)
        called += item.conclusion == "better"
    assert 0.017 < called / 2000 < 0.034


def test_the_table_is_the_same_in_every_form() -> None:
    result = comparison(
        row("birth 17", *less(0.012)), row("lstm", *LSTM), row("random search", *less(-0.3))
    )
    text, marked, document = table(result), markdown(result), as_json(result)
    sentence = document["verdict"]["sentence"]
    for form in (text, marked):
        assert sentence in form
        assert "+0.0116" in form and "better than lstm by" in form
        assert "no random search: none was wanted" in form
    assert [entry["name"] for entry in document["rows"]] == ["birth 17", "lstm", "random search"]
    first, base, last = document["rows"]
    assert first["metrics"] == less(0.012)
    assert first["interval"]["low"] < first["mean"] < first["interval"]["high"]
    assert first["difference"]["interval"]["half_width"] == pytest.approx(0.0027, abs=1e-4)
    assert base["difference"] is None
    assert last["difference"]["conclusion"] == "worse"
    lines = [line for line in marked.splitlines() if line.startswith("|")]
    assert len(lines) == 5 and len({line.count("|") for line in lines}) == 1


def test_no_name_breaks_the_table_or_what_surrounds_it() -> None:
    name = "gru | <b>![x](y)\n# forged"
    result = comparison(row("birth 17", *less(0.012)), row(name, *LSTM), rival=name)
    lines = markdown(result).splitlines()
    cells = [line for line in lines if line.startswith("|")]
    assert len(cells) == 4
    assert {line.replace("\\|", "").count("|") for line in cells} == {13}
    assert r"| gru \| \<b>!\[x](y)\n# forged |" in cells[-1]
    for form in (markdown(result), table(result)):
        assert not any(line.startswith("# forged") for line in form.splitlines())
    widths = {len(line) for line in table(result).splitlines()[2:5]}
    assert len(widths) == 1
