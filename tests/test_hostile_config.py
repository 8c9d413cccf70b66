"""Configurations from strangers: a value or one line, quickly, and no file but the run's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from evo_nas.config import ConfigError, from_dict, load
from evo_nas.config_tables import RANGES, TABLES
from evo_nas.errors import shown
from tests.hostile import assert_readable, bounded, ran, refused, unchanged
from tests.tiny import SMALL, arguments, tiny_text

WRONG: dict[str, tuple[bytes, str]] = {
    "nested lists": (b"seed = " + b"[" * 50_000, "nested too deeply"),
    "nested tables": (b"seed = " + b"{a=" * 50_000, "nested too deeply"),
    "nested by dots": (b"[task]\n" + b"a." * 50_000 + b"b = 1", "nested too deeply"),
    "nested by quoted dots": (b"[task]\n" + b'"a" . ' * 40_000 + b"b = 1", "nested too deeply"),
    "nested by some dots": (b"[task]\n" + b"a.b = 1\n" + b"c" * 200_000, "is not TOML"),
    "very many quotes": (b"seed = " + b'"' * 200_000, "is not TOML"),
    "very many short keys": (b"".join(b"a.b%d.c.d = 1\n" % n for n in range(9_000)), "no 'a'"),
    "nested by a header": (b"[task." + b"a." * 50_000 + b"b]", "nested too deeply"),
    "very many headers": (b"".join(b"[a%d.b.c.d]\n" % n for n in range(16_000)), "no 'a0'"),
    "latin-1": ("seed = 1 # ü".encode("latin-1"), "cannot be read as text"),
    "utf-16": ("seed = 1".encode("utf-16"), "cannot be read as text"),
    "zeros": (b"\0" * 999, "is not TOML"),
    "a long line": (b'run = "' + b"r" * 200_000 + b'"', "run has 200,000 characters"),
    "a long key": (b"k" * 200_000 + b" = 1", "there is no 'kkk"),
    "a key that acts on a terminal": (b'"\\u001b[2J\\n" = 1', "there is no '\\x1b[2J\\n'"),
    "such a key of the task": (b'[task]\n"\\u001b[2J\\n" = 1979-05-27', "[task] '\\x1b[2J\\n' is "),
    "such a value": (b'[training]\nengine = 1\nschedule = "\\u001b[2J\\n"', "engine is 1, but"),
    "a zero byte": (b'[task]\ndata = "a\\u0000b"', "zero bytes"),
    "a zero byte in the run": (b'run = "a\\u0000b"', "zero bytes"),
    "a run outside": (b'run = "../../elsewhere"', "does not lie below the folder"),
    "a run outside in disguise": (b'run = "runs/./x/../../../elsewhere"', "does not lie below"),
    "a run at the root": (b'run = "/elsewhere"', "say so: --run /elsewhere"),
    "a run in a bucket": (b'run = "s3://theirs/run"', "say so: --run s3://theirs/run"),
    "scalars outside": (b'[watching]\ntensorboard = "../elsewhere"', "--tensorboard ../elsewhere"),
    "scalars at the root": (b'[watching]\ntensorboard = "/elsewhere"', "--tensorboard /elsewhere"),
    "scalars in a bucket": (b'[watching]\ntensorboard = "s3://x/y"', "go to a folder of this mach"),
    "digits": (b"seed = " + b"9" * 5_000, "is not TOML"),
    "hexadecimal digits": (b"seed = 0x" + b"f" * 100_000, "is an integer of 400,000 bits"),
    "such an option": (b"[task]\nx = 0x" + b"f" * 100_000, "is an integer of 400,000 bits"),
    "not a number": (b"[training]\nlearning_rate = nan", "must be a finite number"),
    "infinite": (b"[budget]\nhours = inf", "must be a finite number"),
    "an infinite option": (b"[task]\nx = [[-inf]]", "[task] x[0][0] is -inf"),
    "a truth value": (b"[training]\nsteps = true", "must be an integer"),
    "a date": (b"seed = 1979-05-27", "must be an integer"),
    "a table for a number": (b"[seed]\nx = 1", "must be an integer"),
    "a number for a table": (b"training = 1", "must be a table [training]"),
    "a list of tables": (b"[[training]]\nsteps = 1", "must be a table [training]"),
    "very many items": (
        b"[rungs]\nfractions = [" + b"0.1," * 50_000 + b"]",
        "fractions has 50,000 items; at most 1,000",
    ),
    "items that are none": (b"[compare]\nbaselines = [[]]", "must be a list of names"),
    "a space that is none": (b"[space]\nmax_nodes = 1e300", "[space]"),
    "a space of lists": (b"[space]\nactivations = [[[]]]", "[space]"),
    "a space of names": (b'[space]\nactivations = ["\\u001b[2J"]', "[space]"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_hostile_configuration_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    content, message = WRONG[case]
    path = tmp_path / "search.toml"
    path.write_bytes(content)
    with bounded(100 * 2**20, seconds=10.0), unchanged(tmp_path):
        said = refused("search", str(path), "--evaluations", "2", "--workers", "0")
    assert said.startswith(f"{path}: ") and message in said


@pytest.mark.parametrize(
    "key", sorted(key for key, span in RANGES.items() if span.ceiling is not None)
)
def test_a_number_beyond_all_use_is_refused(key: str) -> None:
    (table,) = [name for name, kind in TABLES.items() if key in kind.__dataclass_fields__]
    ceiling = RANGES[key].ceiling
    assert ceiling is not None
    assert from_dict({table: {key: int(ceiling)}})
    with pytest.raises(ConfigError, match="is no use"):
        from_dict({table: {key: int(ceiling) + 1}})


def test_a_configuration_of_a_terabyte_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "search.toml"
    path.touch()
    os.truncate(path, 2**40)
    with bounded(20 * 2**20, seconds=2.0):
        assert "Is it a configuration?" in refused("search", str(path))


def test_a_configuration_that_is_a_pipe_or_device_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        assert refused("search", str(path)) == f"{path}: is no ordinary file."
    assert "cannot be read as text" in refused("search", str(tmp_path))


def test_a_header_nested_too_deeply_is_refused() -> None:
    deep: object = 1
    for _ in range(900):
        deep = [deep]
    with pytest.raises(ConfigError, match="nested too deeply"):
        from_dict({"task": {"options": {"x": deep}}})


def test_half_a_character_is_refused() -> None:
    with pytest.raises(ConfigError, match="no text") as caught:
        from_dict({"task": {"data": "\ud800"}})
    assert_readable(shown(caught.value))


def test_a_run_named_on_the_command_line_may_lie_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    words = arguments(tmp_path, "--evaluations", "2", "--seeds", "0", run="here/../there")
    assert ran(*words).exit_code == 0
    assert (tmp_path / "there" / "run.json").exists()


def test_places_below_the_folder_one_is_in_need_not_be_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "search.toml"
    config.write_text('run = "runs/first"\n[watching]\ntensorboard = "board"\n')
    words = [*SMALL, "--data", str(tiny_text(tmp_path)), "--workers", "0", "--seeds", "0"]
    assert ran("search", str(config), *words, "--evaluations", "1").exit_code == 0
    assert (tmp_path / "runs" / "first" / "run.json").exists()
    assert len([*(tmp_path / "board").glob("first-*/events.out.tfevents.*")]) == 1


def test_a_link_that_came_along_leads_nothing_out_of_the_folder_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, precious = tmp_path / "here", tmp_path / "precious"
    here.mkdir()
    precious.mkdir()
    monkeypatch.chdir(here)
    (here / "there").symlink_to(precious)
    (here / "circle").symlink_to(here / "circle")
    (here / "run.toml").write_text('run = "there/first"\n')
    (here / "board.toml").write_text('[watching]\ntensorboard = "there/board"\n')
    (here / "circle.toml").write_text('[watching]\ntensorboard = "circle"\n')
    words = [*SMALL, "--data", str(tiny_text(tmp_path)), "--workers", "0", "--evaluations", "1"]
    with unchanged(precious):
        assert "say so: --run there/first" in refused("search", "run.toml", *words)
        assert "say so: --tensorboard there/board" in refused("search", "board.toml", *words)
        assert "circle" in refused("search", "circle.toml", *words)


def test_a_good_configuration_is_still_good(tmp_path: Path) -> None:
    path = tmp_path / "search.toml"
    path.write_text('run = "/somewhere/else"\n[task]\nnested = { a = [1, { b = "ü" }] }\n')
    config = load(path)
    assert config.run == "/somewhere/else"
    assert config.task.options == {"nested": {"a": [1, {"b": "ü"}]}}
