"""Any input at all gives a value or an error of ours, and reading writes nothing."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evo_nas.births import read_births
from evo_nas.comparison import output
from evo_nas.comparison.folders import folders_of
from evo_nas.comparison.reading import read_comparison
from evo_nas.config import ConfigError, from_dict, load
from evo_nas.errors import BenchError, LineageError, RecordError
from evo_nas.past import COLUMNS, EVERYTHING, past_of
from evo_nas.record import read_events
from evo_nas.record.reading import read_table
from evo_nas.record.sealed import opened, sealed
from evo_nas.sessions import last_config
from evo_nas.status import summary, to_json, to_text
from evo_nas.warm_start import FILE, earlier_of
from evo_nas.watching.ending import course_of
from genomes import Genome
from genomes.canonical import canonical
from genomes.equations import equations, parse_equations
from genomes.genome import InvalidGenome
from genomes.nas_bench_nlp import from_recipe
from genomes.published import published, published_names
from genomes.source import python_source
from tests.hostile import edit_config, strangers_run, unchanged
from tests.recordings import words
from tests.test_hostile_recordings import tar
from workers.tasks import TaskError, load_task

OURS = (InvalidGenome, ConfigError, RecordError, LineageError, BenchError, TaskError)
FEW = settings(
    max_examples=120,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
MANY = pytest.param(3000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)], id="many")

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """A file with some bytes changed, cut out, put in, repeated or moved."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        if not changed:
            break
        at = int(rng.integers(len(changed)))
        size = int(rng.integers(1, 9))
        kind = rng.integers(5)
        if kind == 0:
            changed[at] = rng.integers(256)
        elif kind == 1:
            del changed[at : at + size]
        elif kind == 2:
            changed[at:at] = rng.bytes(size)
        elif kind == 3:
            changed[at:at] = changed[at : at + size] * int(rng.integers(1, 50))
        else:
            changed[at : at + size] = rng.choice([b"\xff", b"\0", b"9", b"[", b'"']) * size
    return bytes(changed)


def allowed(read: Callable[[], object]) -> bool:
    """Whether it gave a value; anything but an error of ours is raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # of parse_equations: "1(x)"
        try:
            read()
        except OURS as error:
            assert str(error).isprintable() or isinstance(error, ConfigError | RecordError)
            return False
    return True


def use(genome: Genome) -> None:
    """All that is done with a genome of a stranger."""
    compile(python_source(canonical(genome)), "cell", "exec")
    assert parse_equations("\n".join(equations(genome))).digest == genome.digest


@FEW
@given(values)
def test_any_json_is_a_genome_or_refused(value: object) -> None:
    allowed(lambda: Genome.from_json(json.dumps(value)))
    allowed(lambda: from_recipe(value))  # type: ignore[arg-type]


@FEW
@given(st.text() | st.text("xhcd'=+-*(), \nlinear1.0e9sigmoid", max_size=60))
def test_any_text_is_equations_or_refused(text: str) -> None:
    allowed(lambda: parse_equations(text))
    allowed(lambda: Genome.from_json(text))


@pytest.mark.parametrize("rounds", [150, MANY])
def test_a_mutated_genome_is_one_or_refused(rounds: int) -> None:
    rng = np.random.default_rng(1)
    texts = [published(name).to_json().encode() for name in published_names()]
    for number in range(rounds):
        text = mutated(texts[number % len(texts)], rng).decode("utf-8", "replace")
        allowed(lambda text=text: use(Genome.from_json(text)))


def test_a_genome_whose_expression_doubles_with_each_node_takes_no_time() -> None:
    nodes = [{"op": "linear", "inputs": [0, 1], "bias": True}]
    nodes += [{"op": "add", "inputs": [2 + k, 2 + k]} for k in range(120)]
    document = {"format": "evo-nas-genome", "version": 1, "states": 1, "nodes": nodes}
    use(Genome.from_json(json.dumps(document | {"outputs": [122]})))


@FEW
@given(values)
def test_any_document_is_a_configuration_or_refused(value: object) -> None:
    keys = ("task", "training", "space", "rungs", "evolution", "seed", "run")
    for document in [value, *({key: value} for key in keys), {"task": {"options": value}}]:
        if isinstance(document, dict):
            allowed(lambda document=document: from_dict(document))


@pytest.mark.parametrize("rounds", [150, MANY])
def test_a_mutated_configuration_is_one_or_refused(tmp_path: Path, rounds: int) -> None:
    rng = np.random.default_rng(2)
    whole = b'seed = 1\nrun = "runs/x"\n[task]\nkind = "text"\ndata = "a.txt"\nlevel = "char"\n'
    whole += b"[training]\nsteps = 400\nlearning_rate = 3e-3\n[space]\nmax_nodes = 9\n"
    whole += b'[evolution]\npreset = "real2019"\n[rungs]\nfractions = [0.1, 0.3]\n'
    path = tmp_path / "search.toml"
    read = 0
    for _ in range(rounds):
        path.write_bytes(mutated(whole, rng))
        read += allowed(lambda: load(path))
    assert 0 < read < rounds


def read_all(run: Path) -> None:
    """All that is read of a run and shown of it, but for what lies beside its record."""
    header, births, _ = read_births(run)
    read_events(run)
    past_of(run, header, read_table(run, COLUMNS), EVERYTHING, failures=EVERYTHING)
    course_of(run, last_config(run, header), births)
    found = summary(header, births)  # the Pareto front among others
    assert_shown(to_text(found, header), to_json(found))


def read_beside(run: Path) -> None:
    """The comparisons of a run, and what it learned from others."""
    for folder in folders_of(run):
        compared = read_comparison(folder)
        assert_shown(output.table(compared), output.to_json(compared))
        assert_shown(output.markdown(compared), "{}")
    earlier_of(run, ["/nowhere"])


def assert_shown(text: str, document: str) -> None:
    """What is shown does not act on a terminal, and is JSON where it is to be."""
    assert all(line.isprintable() for line in text.split("\n")), ascii(text)
    json.loads(document)


@pytest.mark.parametrize("rounds", [60, MANY])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_run_with_a_mutated_file_is_read_or_refused(
    tmp_path: Path, number: int, rounds: int
) -> None:
    rng = np.random.default_rng(number)
    run = strangers_run(tmp_path, number)
    names = ("run.json", "segments", "checkpoints", "sessions")
    files = [p for name in names for p in [run / name, *(run / name).glob("*")] if p.is_file()]
    assert len(files) > 3
    read = 0
    for turn in range(rounds):
        path = files[turn % len(files)]
        whole = path.read_bytes()
        path.write_bytes(mutated(whole, rng))
        with unchanged(run):
            read += allowed(lambda: read_all(run))
        path.write_bytes(whole)
    assert read < rounds


ODD: list[Any] = [None, True, 0, -1, 7, 2**63, 10**400, 0.5, -1e308, "", "x", "nsga2"]
ODD += ["\ud800", "\x1b[2J\n", [], [[]], ["x"], {}, {"a": 1}]


def edited(value: Any, rng: np.random.Generator, depth: int = 0) -> Any:
    """A document with one of its values, however deep, replaced by another one or taken away."""
    if not isinstance(value, dict | list) or not value or (depth and rng.random() < 0.2):
        return ODD[int(rng.integers(len(ODD)))]
    changed = value.copy()
    keys = [*value] if isinstance(value, dict) else [*range(len(value))]
    key = keys[int(rng.integers(len(keys)))]
    if rng.random() < 0.1:
        del changed[key]
    else:
        changed[key] = edited(value[key], rng, depth + 1)
    return changed


@pytest.mark.parametrize("rounds", [10, MANY])
def test_a_run_with_an_edited_document_is_read_or_refused(tmp_path: Path, rounds: int) -> None:
    rng = np.random.default_rng(4)
    run = strangers_run(tmp_path)
    edit_config(run, "evolution", strategy="nsga2", objectives=["parameters", "multiply_adds"])
    cells = [[published(name).to_json(), 0.5] for name in ("gru", "lstm")]
    (run / FILE).write_bytes(sealed({"runs": ["/nowhere"], "cells": cells}))
    files = [*run.glob("*.json"), *run.glob("sessions/*"), *run.glob("checkpoints/*")]
    files += [run / "comparisons" / "003" / "run.json"] * 3  # which has most in it
    shutil.rmtree(run / "comparisons" / "001")
    shutil.rmtree(run / "comparisons" / "002")
    assert len(files) > 6
    read_beside(run)
    read = 0
    for turn in range(rounds):
        path = files[turn % len(files)]
        whole = path.read_bytes()
        path.write_bytes(sealed(edited(opened(whole)[0], rng)))
        with unchanged(run):
            beside = path.name == FILE or path.parent.parent.name == "comparisons"
            read += allowed(partial(read_beside if beside else read_all, run))
        path.write_bytes(whole)
    assert 0 < read < rounds


def table_bytes(kind: str) -> bytes:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = {"a": [k * 0.5 for k in range(200)], "label": [f"c{k % 3}" for k in range(200)]}
    buffer = io.BytesIO()
    if kind == "parquet":
        pq.write_table(pa.table(rows), buffer)
    elif kind == "npz":
        values = np.arange(400.0).reshape(40, 10)
        np.savez_compressed(buffer, X=values, y=np.arange(40) % 2)
    elif kind == "csv":
        pairs = zip(rows["a"], rows["label"], strict=True)
        return b"a,label\n" + "".join(f"{a},{b}\n" for a, b in pairs).encode()
    elif kind == "ts":
        lines = "".join(f"{k},{k + 1},2:c{k % 2}\n" for k in range(40))
        return f"@timestamps false\n@classLabel true c0 c1\n@data\n{lines}".encode()
    elif kind == "json":
        piece = [[60, 64], [], [67], [60]] * 3
        return json.dumps({name: [piece, piece] for name in ("train", "valid", "test")}).encode()
    return buffer.getvalue()


DATA = {
    "classification": ["parquet", "npz", "csv", "ts"],
    "forecasting": ["parquet", "csv"],
    "music": ["json"],
    "speech": ["tar"],
    "text": ["csv"],
}


@pytest.mark.parametrize("rounds", [40, MANY])
@pytest.mark.parametrize(
    ("kind", "form"), [(kind, form) for kind, forms in DATA.items() for form in forms]
)
def test_a_mutated_data_file_is_read_or_refused(
    tmp_path: Path, kind: str, form: str, rounds: int
) -> None:
    rng = np.random.default_rng(len(kind) + len(form))
    whole = tar() if form == "tar" else table_bytes(form)
    assert form != "tar" or len(whole) > len(words())
    path = tmp_path / f"data.{form}"
    options = {"window": 4, "horizon": 2, "columns": ["a"]} if kind == "forecasting" else {}
    path.write_bytes(whole)
    load_task(kind, str(path), options)
    for _ in range(rounds):
        path.write_bytes(mutated(whole, rng))
        with unchanged(tmp_path):
            allowed(lambda: load_task(kind, str(path), options))


def test_reading_a_whole_run_writes_nothing(tmp_path: Path) -> None:
    run = strangers_run(tmp_path)
    with unchanged(tmp_path):
        read_all(run)
    shutil.rmtree(run)
