"""Run directories from strangers: an answer or one line, and no file outside them touched."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result

from evo_nas.record import HEADER
from evo_nas.record.sealed import sealed
from evo_nas.record.segments import SCHEMA, decode, encode
from tests.formats.make_run import text
from tests.hostile import MiB, assert_readable, bounded, edit_config, edit_document, ran, unchanged
from tests.hostile import strangers_run as stranger

READING = [
    ("status",),
    ("status", "--json"),
    ("lineage",),
    ("lineage", "--dot"),
    ("lineage", "--mutations"),
    ("export",),
    ("compare", "--last"),
    ("compare", "--last", "--markdown"),
    ("status", "--watch"),
    ("lineage", "--best", "3", "--json"),
]


def put_rows(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the rows of every segment; the file's own SHA-256 is right again."""
    for path in (run / "segments").glob("*.parquet"):
        rows = decode(path.read_bytes()).to_pylist()
        for row in rows:
            change(row)
        path.write_bytes(encode(pa.Table.from_pylist(rows, SCHEMA)))
    shutil.rmtree(run / "checkpoints", ignore_errors=True)  # there may be none


def rows_with(kind: str, **values: Any) -> Callable[[Path], None]:
    def change(row: dict[str, Any]) -> None:
        row |= values if row["event"] == kind else {}

    return lambda run: put_rows(run, change)


def header_with(**changes: Any) -> Callable[[Path], None]:
    return lambda run: edit_document(run / HEADER, **changes)


def header_text(content: str) -> Callable[[Path], None]:
    return lambda run: (run / HEADER).write_text(content) and None


def manifest(**changes: Any) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        path = max((run / "checkpoints").iterdir())
        document = json.loads(path.read_bytes())
        document.pop("sha256")
        path.write_bytes(sealed(document | changes))

    return change


def rolled(**values: Any) -> dict[str, Any]:
    return {"first": 0, "last": 3, "events": 9, "size": 5, "digest": "x"} | values


def immense(row: dict[str, Any]) -> None:
    """Let metrics be the largest numbers there are, so that gains and means are none."""
    if row["event"] == "told" and row["fitness"] is not None:
        metric = 1.7e308 * (-1) ** (row["birth"] // 3)
        row |= {"metric": metric, "fitness": -metric}


FORGED = "Error: forged"
"""What would stand for a line of ours."""
TERMINAL = f"\x1b[2J\x1b]0;owned\x07\r\n{FORGED}\n"
MILLION = '{"nodes":[' + '{"op":"tanh","inputs":[1]},' * 10**6 + "{}]}"
CHANGES: dict[str, Callable[[Path], None]] = {
    **{
        f"header: {name} is {value!r}": header_with(**{name: value})
        for name, value in {
            "config": [],
            "task": {"a": 1},
            "metric": None,
            "unit": 7,
            "higher_is_better": "yes",
            "created": [1],
            "engine": 3,
            "data_sha256": None,
            "version": 10**30,
            "program": TERMINAL,
        }.items()
    },
    "header: nothing configured": header_with(config={}),
    "header: acts on a terminal": header_with(task=TERMINAL, metric=TERMINAL, created=TERMINAL),
    "header: nested": header_text('{"config":' + "[" * 100_000),
    "header: not a number": header_text('{"config": NaN, "sha256": "x"}'),
    "header: an infinite number": header_text('{"config": 1e999, "sha256": "x"}'),
    "header: no objectives": lambda run: edit_config(
        run, "evolution", strategy="nsga2", objectives=[]
    ),
    "header: digits": header_text('{"version": ' + "9" * 5_000 + "}"),
    "header: steps of text": lambda run: edit_config(run, "training", steps="x"),
    "header: a width beyond all": lambda run: edit_config(run, "training", hidden_size=10**30),
    "header: very many layers": lambda run: edit_config(run, "training", num_layers=10**9),
    **{
        f"asked: {name} is {str(value)[:20]}": rows_with("asked", **{name: value})
        for name, value in {
            "mutation": "{",
            "genome": "{}",
            "digest": None,
            "hidden_size": None,
            "generation": -5,
            "parent": 10**6,
            "birth": 0,
            "duplicates": None,
            "budget": -1,
            "operator": None,
        }.items()
    },
    "asked: a mutation that is a list": rows_with("asked", mutation="[]"),
    "asked: a nested mutation": rows_with("asked", mutation="[" * 100_000),
    "asked: a mutation that is not a number": rows_with(
        "asked", mutation='{"operator":"random","x":NaN}', operator="random"
    ),
    "asked: an infinite mutation": rows_with(
        "asked", mutation='{"operator":"random","x":-1e999}', operator="random"
    ),
    "asked: an infinite genome": rows_with("asked", genome='{"a":1e999}'),
    "asked: a mutation that acts on a terminal": rows_with(
        "asked", mutation=json.dumps({"operator": TERMINAL, "name": TERMINAL}), operator=TERMINAL
    ),
    "asked: a nested genome": rows_with("asked", genome="[" * 100_000),
    "asked: a genome of a million nodes": lambda run: put_rows(
        run, lambda row: row.update(genome=MILLION) if row["birth"] == 0 else None
    ),
    **{
        f"told: {name} is {str(value)[:20]}": rows_with("told", **{name: value})
        for name, value in {
            "status": None,
            "metric": float("nan"),
            "fitness": None,
            "message": None,
            "seconds": None,
            "elapsed": float("inf"),
            "birth": 77,
            "steps": -3,
            "parameters": None,
            "curve_losses": [1.0],
            "rung_metrics": [1.0, 2.0, 3.0],
            "event": "exec",
        }.items()
    },
    "told: numbers whose sums are none": lambda run: put_rows(run, immense),
    "told: a status that acts on a terminal": rows_with("told", status=TERMINAL),
    "manifest: a path upwards": manifest(files=[rolled(first="../../x", last="../../y")]),
    "manifest: numbers of text": manifest(files=[rolled(events="9")]),
    "manifest: numbers below zero": manifest(files=[rolled(first=-1)]),
    "manifest: something else": manifest(files=[rolled(path="../../x")]),
    "manifest: no events": manifest(events=None),
}


OFTEN = {
    "header: config is []",
    "header: nothing configured",
    "header: acts on a terminal",
    "header: nested",
    "header: a width beyond all",
    "header: an infinite number",
    "header: no objectives",
    "asked: a nested mutation",
    "asked: a mutation that is not a number",
    "asked: an infinite genome",
    "asked: a mutation that acts on a terminal",
    "asked: a nested genome",
    "asked: digest is None",
    "told: curve_losses is [1.0]",
    "told: numbers whose sums are none",
    "manifest: a path upwards",
    "manifest: numbers of text",
}
"""Cases of the default suite; the others are for `make test-slow`."""
assert set(CHANGES) >= OFTEN


@pytest.mark.parametrize(
    "case",
    [c if c in OFTEN else pytest.param(c, marks=pytest.mark.slow) for c in CHANGES],
)
def test_a_hostile_run_is_answered_or_refused_in_one_line(tmp_path: Path, case: str) -> None:
    run = stranger(tmp_path)
    CHANGES[case](run)
    with unchanged(tmp_path), bounded(seconds=60):
        for command, *more in READING:
            result = looked_at_once(command, str(run), *more)
            assert_harmless(result)
            if result.exit_code:
                assert result.exit_code == 1
                assert_readable(result.stderr.splitlines()[-1])
    data = tmp_path / "tiny.txt"
    data.write_text(text())
    with unchanged_beside(run), bounded(seconds=60):
        words = ("--evaluations", "15", "--workers", "0", "--seeds", "0", "--data", str(data))
        result = ran("resume", str(run), *words)
    assert_harmless(result)
    if result.exit_code:
        assert_readable(result.stderr.splitlines()[-1])


def looked_at_once(*words: str) -> Result:
    """What a command line prints; ``--watch`` is interrupted after its first look."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evo_nas.watching.watch.time.sleep", interrupted)
        return ran(*words)


def interrupted(seconds: float) -> None:
    raise KeyboardInterrupt


def assert_harmless(result: Result) -> None:
    """Nothing that was printed acts on a terminal or passes for a line of ours."""
    for line in (result.stdout + result.stderr).splitlines():
        assert line.isprintable(), ascii(line)
        assert not line.startswith(FORGED)


def unchanged_beside(run: Path) -> Any:
    """Nothing changes that does not lie in the run."""
    from contextlib import contextmanager

    from tests.hostile import contents

    def beside() -> dict[str, bytes]:
        found = contents(run.parent)
        return {name: content for name, content in found.items() if "stranger" not in name}

    @contextmanager
    def check() -> Any:
        before = beside()
        yield
        assert beside() == before

    return check()


LINKS = {
    "lock": "lock",
    "the next segment, half written": "segments/00000015.parquet.tmp",
    "the header, half written": "run.json.tmp",
    "the next session, half written": "sessions/003.json.tmp",
    "the folder of segments": "segments",
    "the folder of sessions": "sessions",
    "the folder of checkpoints": "checkpoints",
    "the folder of comparisons": "comparisons",
    "a folder that is not there": "tuning2",
}


@pytest.mark.parametrize("case", LINKS)
@pytest.mark.parametrize("command", ["resume", pytest.param("compare", marks=pytest.mark.slow)])
def test_nothing_is_written_through_a_link(tmp_path: Path, case: str, command: str) -> None:
    run, target = stranger(tmp_path), tmp_path / "precious"
    place = run / LINKS[case]
    if place.is_dir():
        place.rename(target)
    else:
        target.write_text("mine")
    place.unlink(missing_ok=True)
    place.symlink_to(target)
    data = tmp_path / "tiny.txt"
    data.write_text(text())
    more = ("--evaluations", "20") if command == "resume" else ("--steps", "3")
    with unchanged_beside(run):
        result = ran(command, str(run), *more, "--workers", "0", "--data", str(data))
    assert result.exit_code == 1
    assert f"{place} is a link" in result.stderr.splitlines()[-1]


def test_a_lock_that_is_a_link_is_not_followed_without_the_check(tmp_path: Path) -> None:
    from evo_nas.record.durable import Lock, replace_durably

    precious = tmp_path / "precious"
    precious.write_text("mine")
    for name in ("lock", "file.tmp"):
        (tmp_path / name).symlink_to(precious)
    with pytest.raises(OSError, match="symbolic links"):
        Lock(tmp_path / "lock")
    with pytest.raises(OSError, match="symbolic links"):
        replace_durably(tmp_path / "file", b"theirs")
    assert precious.read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["run.json", "segments/00000000-00000007.parquet", "checkpoints", "sessions/001.json"]
)
@pytest.mark.parametrize("kind", ["pipe", "device", "terabyte"])
def test_a_file_that_never_ends_is_refused_or_passed_over(
    tmp_path: Path, name: str, kind: str
) -> None:
    run = stranger(tmp_path)
    path = run / name
    if path.is_dir():
        path = max(path.iterdir())
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.touch()
        os.truncate(path, 2**40)
    with bounded(100 * MiB, seconds=30):
        for command, *more in READING[::3]:
            result = ran(command, str(run), *more)
            assert result.exit_code in (0, 1)
            for line in result.stderr.splitlines():
                assert_readable(line)


def bomb(kind: str) -> bytes:
    """A segment of a few kilobytes that decodes to gigabytes."""
    rows, items = 2_000, 10_000_000
    columns: dict[str, Any] = {}
    for field in SCHEMA:
        if field.type == pa.string():
            value = "x" * (1_000_000 if kind == "texts" and field.name == "genome" else 1)
            indices = pa.array(np.zeros(rows, np.int32))
            columns[field.name] = pa.DictionaryArray.from_arrays(indices, pa.array([value]))
        elif field.name == "curve_steps" and kind == "lists":
            ends = pa.array([0] * rows + [items], pa.int32())
            columns[field.name] = pa.ListArray.from_arrays(ends, pa.array(np.zeros(items, int)))
        elif field.nullable:
            columns[field.name] = pa.nulls(rows, field.type)
        else:
            columns[field.name] = pa.array(np.zeros(rows, int))
    schema = pa.schema([pa.field(f.name, columns[f.name].type, f.nullable) for f in SCHEMA])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=schema), sink, compression="zstd", store_schema=False)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("kind", "message"), [("texts", "its texts decode to more"), ("lists", "it decodes to more")]
)
def test_a_segment_that_decodes_to_gigabytes_is_refused(
    tmp_path: Path, kind: str, message: str
) -> None:
    run = stranger(tmp_path)
    for folder in ("segments", "checkpoints"):
        for path in (run / folder).iterdir():
            path.unlink()
    content = bomb(kind)
    assert len(content) < MiB
    (run / "segments" / "00000000.parquet").write_bytes(content)
    (run / "segments" / "00000001.parquet").write_bytes(content)
    with bounded(50 * MiB):
        result = ran("status", str(run))
    assert result.exit_code == 1
    assert_readable(result.stderr.splitlines()[-1])
    assert message in result.stderr
