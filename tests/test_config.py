"""Configuration: TOML in, clear refusals, a round trip through the run's header."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo_nas.config import (
    BudgetConfig,
    ConfigError,
    EvolutionConfig,
    RungsConfig,
    SearchConfig,
    differences,
    from_dict,
    load,
    population_for,
    to_dict,
    with_overrides,
)
from evo_nas.config_tables import RANGES, TABLES
from evo_nas.record.header import read_header
from workers.messages import Training


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "search.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(tmp_path: Path, text: str) -> str:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_an_empty_file_is_the_default_configuration(tmp_path: Path) -> None:
    config = load(written(tmp_path, ""))
    assert config == SearchConfig()
    assert (config.evolution.population, config.evolution.sample_size) == (50, 10)
    assert config.training == Training()


def test_every_table_is_read(tmp_path: Path) -> None:
    text = """
        seed = 7
        run = "runs/speech"
        [task]
        kind = "text"
        data = "war and peace.txt"
        level = "word"
        [training]
        hidden_size = 32
        learning_rate = 1
        [space]
        max_states = 2
        activations = ["tanh", "sigmoid"]
        [evolution]
        strategy = "random"
        [rungs]
        fractions = [0.1, 0.5]
        [budget]
        hours = 2
        [workers]
        workers = 0
        [compare]
        baselines = ["gru"]
    """
    config = load(written(tmp_path, text))
    assert (config.seed, config.run) == (7, "runs/speech")
    assert config.task.data == "war and peace.txt"
    assert config.task.options == {"level": "word"}
    assert config.training == Training(hidden_size=32, learning_rate=1.0)
    assert config.space == {"max_states": 2, "activations": ["tanh", "sigmoid"]}
    assert config.evolution.strategy == "random"
    assert config.rungs == RungsConfig(fractions=(0.1, 0.5))
    assert config.budget == BudgetConfig(hours=2.0)
    assert config.workers.workers == 0
    assert config.compare.baselines == ("gru",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[evolution]\nsampel_size = 5",
            "[evolution] has no key 'sampel_size'. Did you mean 'sample_size'?",
        ),
        ("[evoluton]\n", "there is no 'evoluton'. Did you mean 'evolution'?"),
        ("[space]\nmax_state = 2", "[space] has no key 'max_state'. Did you mean 'max_states'?"),
        ("[space]\nmax_states = 9", "[space] max_states is 9, but must be 1 to 3."),
        ("[budget]\nzzz = 1", "[budget] has no key 'zzz'. Known are: evaluations, hours."),
        ("evolution = 3", "evolution is 3, but must be a table [evolution]."),
        ("[evolution]\nsample_size = 0", "[evolution] sample_size is 0, but must be at least 1."),
        (
            "[training]\ndropout = 1.5",
            "[training] dropout is 1.5, but must be at least 0 and below 1.",
        ),
        ("[training]\nsteps = 0", "[training] steps is 0, but must be at least 1."),
        ("[rungs]\nfractions = 0.1", "[rungs] fractions is 0.1, but must be a list of numbers."),
        (
            "[rungs]\nfractions = [0.1, 1]",
            "[rungs] fractions is 1, but must be above 0 and below 1.",
        ),
        (
            "[rungs]\nfractions = [0.3, 0.1]",
            "[rungs] fractions is [0.3, 0.1], but must ascend.",
        ),
        ("[rungs]\nkeep = 0", "[rungs] keep is 0, but must be above 0 and at most 1."),
        (
            "[evolution]\nidentity_rate = -0.1",
            "[evolution] identity_rate is -0.1, but must be at least 0 and at most 1.",
        ),
        (
            "[training]\nlearning_rate = nan",
            "[training] learning_rate is nan, but must be a finite number below 2**63.",
        ),
        (
            "[training]\nclip_norm = inf",
            "[training] clip_norm is inf, but must be a finite number below 2**63.",
        ),
        ("[training]\nsteps = 1.0", "[training] steps is 1.0, but must be an integer."),
        ("[training]\nsteps = true", "[training] steps is True, but must be an integer."),
        ("[training]\nsteps = '9'", "[training] steps is '9', but must be an integer."),
        (
            "[training]\nschedule = 'cosin'",
            "[training] schedule is 'cosin', but must be one of 'cosine', 'constant'. "
            "Did you mean 'cosine'?",
        ),
        ("[training]\nengine = 3", "[training] engine is 3, but must be text in quotes."),
        ("[evolution]\npublished = 1", "[evolution] published is 1, but must be true or false."),
        ("[compare]\nbaselines = [1]", "[compare] baselines is [1], but must be a list of names."),
        ("[evolution]\npreset = 'x'", "[evolution] preset is 'x', but presets are: real2019."),
        (
            "[task]\nlevel = 2020-01-01",
            "[task] level is datetime.date(2020, 1, 1) (date), but only text, numbers, "
            "true or false, lists and tables can be recorded.",
        ),
        ("[task]\nx = [nan]", "[task] x[0] is nan, but must be a finite number."),
        ("seed = -1", "seed is -1, but must be at least 0."),
        (
            f"seed = {2**63}",
            f"seed is {2**63}, but must be a finite number below 2**63.",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_file_table_key_and_reason(
    tmp_path: Path, text: str, message: str
) -> None:
    assert refusal(tmp_path, text) == message


def test_what_is_no_toml_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, "[task").startswith("is not TOML: ")
    assert refusal(tmp_path, f"seed = {'9' * 5000}").startswith("is not TOML: ")
    (tmp_path / "latin.toml").write_bytes(b"run = '\xff'")
    with pytest.raises(ConfigError, match="cannot be read as text"):
        load(tmp_path / "latin.toml")
    with pytest.raises(ConfigError, match="there is no such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read as text"):
        load(tmp_path)


def test_no_two_tables_share_a_key_so_that_flags_and_ranges_are_unique() -> None:
    keys = [key for table in TABLES.values() for key in table.__dataclass_fields__]
    assert len(keys) == len(set(keys))
    assert set(RANGES) <= {*keys, "seed"}


def test_every_number_has_a_range() -> None:
    numbers = {
        name
        for table in TABLES.values()
        for name, field in table.__dataclass_fields__.items()
        if "int" in field.type or "float" in field.type
    }
    assert numbers <= set(RANGES)


def test_the_preset_gives_real_et_als_values_and_written_keys_win(tmp_path: Path) -> None:
    both = load(written(tmp_path, "[evolution]\npreset = 'real2019'")).evolution
    assert (both.population, both.sample_size) == (100, 25)
    one = load(written(tmp_path, "[evolution]\npreset = 'real2019'\npopulation = 60")).evolution
    assert (one.population, one.sample_size) == (60, 25)
    flags = with_overrides(SearchConfig(), preset="real2019", sample_size=5).evolution
    assert (flags.population, flags.sample_size) == (100, 5)


@pytest.mark.parametrize(
    ("population", "sample", "evaluations", "expected"),
    [
        (50, 10, None, (50, 10)),
        (50, 10, 1000, (50, 10)),
        (50, 10, 200, (50, 10)),
        (50, 10, 160, (40, 10)),
        (50, 10, 20, (5, 5)),
        (50, 10, 1, (2, 2)),
        (8, 10, None, (8, 8)),
    ],
)
def test_the_population_is_at_most_a_quarter_of_the_budget_and_at_least_two(
    population: int, sample: int, evaluations: int | None, expected: tuple[int, int]
) -> None:
    config = SearchConfig(
        evolution=EvolutionConfig(population=population, sample_size=sample),
        budget=BudgetConfig(evaluations=evaluations),
    )
    assert population_for(config) == expected


def test_flags_replace_what_the_file_says_and_none_is_not_given() -> None:
    config = with_overrides(
        SearchConfig(), task="forecasting", evaluations=9, hours=None, seed=3, workers=0, run="r"
    )
    assert config.task.kind == "forecasting"
    assert config.budget == BudgetConfig(evaluations=9)
    assert (config.seed, config.workers.workers, config.run) == (3, 0, "r")
    assert with_overrides(config) == config


def test_options_given_as_flags_join_those_of_the_file() -> None:
    config = with_overrides(
        with_overrides(SearchConfig(), options={"a": 1, "b": 2}), options={"b": 3}
    )
    assert config.task.options == {"a": 1, "b": 3}
    with pytest.raises(ConfigError, match="--options: 'data' is no option of a task's own"):
        with_overrides(config, options={"data": "x"})


def test_a_wrong_flag_is_refused_under_its_own_name() -> None:
    with pytest.raises(ConfigError) as caught:
        with_overrides(SearchConfig(), sample_size=0)
    assert str(caught.value) == "--sample-size is 0, but must be at least 1."
    with pytest.raises(TypeError, match="Did you mean 'population'"):
        with_overrides(SearchConfig(), popullation=3)
    with pytest.raises(ConfigError, match=r"^--rungs: fractions is \[0.3, 0.1\], but must ascend"):
        with_overrides(SearchConfig(), rungs=(0.3, 0.1))


def test_differences_name_what_a_resume_may_not_change() -> None:
    run = with_overrides(SearchConfig(), data="a", options={"level": "char"})
    now = with_overrides(
        SearchConfig(space={"max_nodes": 32}),
        steps=800,
        population=20,
        seed=1,
        task="forecasting",
        rungs=(0.1, 0.3),
        keep=0.5,
    )
    assert differences(run, now) == [
        "task.kind: 'text' in the run, 'forecasting' now",
        "task.level: 'char' in the run, not set now",
        "training.steps: 400 in the run, 800 now",
        "space.max_nodes: not set in the run, 32 now",
        "evolution.population: 50 in the run, 20 now",
        "rungs.fractions: [] in the run, [0.1, 0.3] now",
        "rungs.keep: 0.36 in the run, 0.5 now",
        "seed: 0 in the run, 1 now",
    ]


def test_budget_workers_comparison_and_the_place_of_the_data_may_change() -> None:
    now = with_overrides(
        SearchConfig(), evaluations=10, workers=3, address="auto", top=1, data="moved", run="r"
    )
    assert differences(SearchConfig(), now) == []


NAMES = st.text("abcdefgh", min_size=1).map("option_".__add__)
PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, max_examples=50)
@given(
    options=st.dictionaries(NAMES | st.just("options"), PLAIN, max_size=3),
    seed=st.integers(0, 2**63 - 1),
    hours=st.none() | st.floats(0, 1e6, exclude_min=True),
    rate=st.floats(0, 1),
    names=st.lists(st.sampled_from(["gru", "lstm", "rnn"])),
)
def test_a_configuration_survives_the_header(
    options: dict[str, Any], seed: int, hours: float | None, rate: float, names: list[str]
) -> None:
    config = with_overrides(
        SearchConfig(space={"max_states": 2}),
        options=options,
        seed=seed,
        hours=hours,
        identity_rate=rate,
        baselines=names,
    )
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_the_header_holds_every_default() -> None:
    document = to_dict(SearchConfig())
    assert document["evolution"]["population"] == 50
    assert document["training"]["steps"] == 400
    assert tomllib.loads("seed = 0")["seed"] == document["seed"]


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_run_that_knew_no_rungs_has_none_whatever_the_default_is_now(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RungsConfig.__init__, "__defaults__", ((0.1, 0.3), 0.36, 2))
    assert SearchConfig().rungs.fractions == (0.1, 0.3)
    assert from_dict(to_dict(SearchConfig())).rungs.fractions == (0.1, 0.3)
    header = read_header(Path(__file__).parent / "formats" / version)
    assert "rungs" not in header.config
    assert from_dict(header.config).rungs.fractions == ()
