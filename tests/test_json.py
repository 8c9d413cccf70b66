"""Genomes as JSON: what is written is read back, and what is no genome is refused at once."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomes.genome import Genome, InvalidGenome
from genomes.genome_json import from_json_all
from genomes.published import published, published_names
from genomes.space import SearchSpace, random_genome

WRITTEN_BY_VERSION_1 = (
    '{"format":"evo-nas-genome","version":1,"states":2,"nodes":['
    '{"op":"linear","inputs":[0,1],"bias":true,"bias_init":1.0},'
    '{"op":"linear","inputs":[0],"bias":false},'
    '{"op":"scale","inputs":[2]},'
    '{"op":"sigmoid","inputs":[3]},'
    '{"op":"blend","inputs":[6,5,4]},'
    '{"op":"tanh","inputs":[7]}],'
    '"outputs":[8,7]}'
)
"""Never edit: files of version 1 exist, and this is one."""


def document(**changes: Any) -> dict[str, Any]:
    """A small valid genome as a JSON document, with some keys replaced."""
    nodes = [{"op": "linear", "inputs": [0, 1], "bias": True}, {"op": "tanh", "inputs": [2]}]
    valid = {"format": "evo-nas-genome", "version": 1, "states": 1, "nodes": nodes, "outputs": [3]}
    return valid | changes


def text(**changes: Any) -> str:
    return json.dumps(document(**changes))


def with_node(**node: Any) -> str:
    return text(nodes=[{"op": "linear", "inputs": [0, 1]}, node])


def raw(old: str, new: str) -> str:
    """The valid genome's text with a piece of it replaced."""
    valid = text()
    assert old in valid
    return valid.replace(old, new)


TOO_DEEP = "the JSON is nested too deeply|is a list, not|not a list"
"""Where the interpreter's JSON parser gives up depends on its version."""

HOSTILE: dict[str, tuple[Callable[[], str], str]] = {
    "empty": (lambda: "", r"not JSON: Expecting value \(line 1, column 1\)"),
    "no JSON": (lambda: "h' = tanh(x)", "not JSON"),
    "cut off": (lambda: text()[:-5], "not JSON"),
    "two documents": (lambda: text() + text(), "not JSON: Extra data"),
    "byte order mark": (lambda: "\ufeff" + text(), "not JSON: Unexpected UTF-8 BOM"),
    "null": (lambda: "null", "a genome is a JSON object, not missing or null"),
    "list": (lambda: "[]", "a genome is a JSON object, not a list"),
    "number": (lambda: "7", "a genome is a JSON object, not the number 7"),
    "empty object": (lambda: "{}", "'format' is None, not 'evo-nas-genome'"),
    "other format": (lambda: text(format="onnx"), "'format' is 'onnx', not 'evo-nas-genome'"),
    "version 2": (
        lambda: text(version=2),
        "genome version 2 is not known; this program reads version 1. Update evo-nas",
    ),
    "version true": (lambda: text(version=True), "genome version True is not known"),
    "version 1.0": (lambda: text(version=1.0), "genome version 1.0 is not known"),
    "version as text": (lambda: text(version="1"), "genome version '1' is not known"),
    "unknown key": (
        lambda: text(name="gru"),
        "the genome has the unknown key 'name'. Known are: format, nodes, outputs, states, version",
    ),
    "unknown key of a node": (
        lambda: with_node(op="tanh", inputs=[2], slope=1),
        "node 1 has the unknown key 'slope'. Known are: bias, bias_init, inputs, op",
    ),
    "key twice": (
        lambda: raw('"states": 1', '"states": 1, "states": 2'),
        "the key 'states' stands twice in one object. Keep one",
    ),
    "key of a node twice": (
        lambda: raw('"op": "tanh"', '"op": "tanh", "op": "relu"'),
        "the key 'op' stands twice in one object",
    ),
    "NaN": (
        lambda: raw('"bias": true', '"bias": true, "bias_init": NaN'),
        "NaN is not a number a genome can hold",
    ),
    "Infinity": (
        lambda: raw('"bias": true', '"bias": true, "bias_init": -Infinity'),
        "-Infinity is not a number a genome can hold",
    ),
    "infinite by overflow": (
        lambda: raw('"bias": true', '"bias": true, "bias_init": 1e999'),
        r"node 0 \(linear\): bias_init is inf; it must be finite",
    ),
    "states missing": (
        lambda: raw('"states": 1, ', ""),
        "'states' is missing or null, not an integer",
    ),
    "states 0": (lambda: text(states=0), "states is 0, but a cell has 1 to 3 states"),
    "states 4": (lambda: text(states=4, outputs=4 * [3]), "states is 4, but a cell has 1 to 3"),
    "states true": (lambda: text(states=True), "'states' is a truth value, not an integer"),
    "states 1.0": (lambda: text(states=1.0), "'states' is the number 1.0, not an integer"),
    "states -1": (lambda: text(states=-1), "states is -1, but"),
    "huge integer": (
        lambda: raw('"states": 1', '"states": 1' + 30 * "0"),
        r"the integer '10{30}' is out of range; numbers in a genome stay below 1,000,000,000",
    ),
    "integer of 5,000 digits": (
        lambda: raw("[0, 1]", "[0, 1" + 5000 * "0" + "]"),
        r"the integer '10{35}\.\.\. is out of range",
    ),
    "number of 400,000 digits": (
        lambda: raw('"states": 1', '"states": ' + 400_000 * "7" + ".5"),
        "'states' is the number inf, not an integer",
    ),
    "negative input": (
        lambda: raw("[0, 1]", "[0, -1]"),
        r"node 0 \(linear\): reads value -1, but only values 0 to 1 exist at that point",
    ),
    "cycle": (
        lambda: raw("[0, 1]", "[0, 1, 3]"),
        r"node 0 \(linear\): reads value 3, but only values 0 to 1 exist at that point. "
        "Reorder the nodes",
    ),
    "node that reads itself": (
        lambda: raw("[2]", "[3]"),
        r"node 1 \(tanh\): reads value 3, but only values 0 to 2 exist at that point",
    ),
    "dangling input": (
        lambda: raw("[2]", "[99]"),
        r"node 1 \(tanh\): reads value 99, but only values 0 to 2 exist",
    ),
    "dangling output": (
        lambda: text(outputs=[44]),
        "output h_new_0 reads value 44, but only values 0 to 3 exist",
    ),
    "no outputs": (lambda: text(outputs=[]), "outputs names 0 values, but the cell has 1 states"),
    "outputs as text": (
        lambda: text(outputs="3"),
        "'outputs' is text, not a list of value numbers",
    ),
    "outputs of null": (
        lambda: text(outputs=[None]),
        "an entry of 'outputs' is missing or null, not an integer",
    ),
    "input as float": (
        lambda: raw("[2]", "[2.0]"),
        r"an entry of node 1 \(tanh\): 'inputs' is the number 2.0, not an integer",
    ),
    "input true": (
        lambda: raw("[0, 1]", "[0, true]"),
        r"an entry of node 0 \(linear\): 'inputs' is a truth value, not an integer",
    ),
    "inputs missing": (
        lambda: with_node(op="tanh"),
        r"node 1 \(tanh\): 'inputs' is missing or null, not a list of value numbers",
    ),
    "inputs an object": (
        lambda: with_node(op="tanh", inputs={"0": 2}),
        r"node 1 \(tanh\): 'inputs' is an object, not a list",
    ),
    "wrong arity": (
        lambda: with_node(op="tanh", inputs=[1, 2]),
        r"node 1 \(tanh\): reads 2 values, but takes 1\.",
    ),
    "wrong arity of a linear": (
        lambda: with_node(op="linear", inputs=[0, 1, 2, 0, 1]),
        r"node 1 \(linear\): reads 5 values, but takes 1 to 4",
    ),
    "300,000 inputs": (
        lambda: with_node(op="add", inputs=300_000 * [2]),
        r"node 1 \(add\): reads 300000 values, but takes 2 to 8|the text has",
    ),
    "unknown op": (
        lambda: with_node(op="conv", inputs=[2]),
        "node 1 has the unknown operation 'conv'. Known are: linear, scale, add",
    ),
    "op with control characters": (
        lambda: with_node(op="\x1b[2J\n", inputs=[2]),
        r"node 1 has the unknown operation '\\x1b\[2J\\n'",
    ),
    "op of 900,000 characters": (
        lambda: with_node(op="t" * 900_000, inputs=[2]),
        r"node 1 has the unknown operation 't{36}\.\.\.\.",
    ),
    "op a number": (
        lambda: with_node(op=3, inputs=[2]),
        "node 1: 'op' is the number 3, not text",
    ),
    "op missing": (
        lambda: with_node(inputs=[2]),
        "node 1: 'op' is missing or null, not text",
    ),
    "bias 1": (
        lambda: raw('"bias": true', '"bias": 1'),
        r"node 0 \(linear\): 'bias' is the number 1, not true or false",
    ),
    "bias of a tanh": (
        lambda: with_node(op="tanh", inputs=[2], bias=True),
        r"node 1 \(tanh\): has a bias, but only a linear takes one",
    ),
    "bias_init true": (
        lambda: raw('"bias": true', '"bias": true, "bias_init": true'),
        r"node 0 \(linear\): 'bias_init' is a truth value, not a number",
    ),
    "bias_init without a bias": (
        lambda: raw('"bias": true', '"bias": false, "bias_init": 1'),
        r"node 0 \(linear\): has a bias_init but no bias",
    ),
    "node a list": (lambda: text(nodes=[["tanh", 2]]), "node 0 is a list, not an object"),
    "nodes an object": (lambda: text(nodes={}), "'nodes' is an object, not a list"),
    "no nodes": (lambda: text(nodes=[], outputs=[1]), "h_new_0 never depends on x"),
    "no recurrence": (
        lambda: raw("[0, 1]", "[0]"),
        "h_new_0 never depends on an earlier state, so the cell is not recurrent",
    ),
    "129 nodes": (
        lambda: text(nodes=129 * [{"op": "tanh", "inputs": [0]}]),
        "the genome has 129 nodes, but the limit is 128",
    ),
    "a million nodes": (
        lambda: text(nodes=10**6 * [{"op": "tanh", "inputs": [0]}]),
        r"the text has \d\d,\d{3},\d{3} characters, but a genome has at most 1,000,000",
    ),
    "300,000 empty nodes": (
        lambda: text(nodes=300_000 * [0]),
        "the genome has 300000 nodes, but the limit is 128",
    ),
    "60,000 keys": (
        lambda: json.dumps({str(k): 0 for k in range(60_000)}),
        "'format' is None, not 'evo-nas-genome'",
    ),
    "nested 2,000 lists deep": (lambda: 2000 * "[" + 2000 * "]", TOO_DEEP),
    "nested 400,000 lists deep": (lambda: 400_000 * "[", "nested too deeply"),
    "nested 2,000 objects deep": (
        lambda: 2000 * '{"nodes":' + "1" + 2000 * "}",
        "nested too deeply|'format' is None",
    ),
    "nested 2,000 deep in a node": (
        lambda: text(nodes=["?"]).replace('"?"', 2000 * "[" + 2000 * "]"),
        TOO_DEEP,
    ),
    "nested 2,000 deep in the format": (
        lambda: text(format="?").replace('"?"', 2000 * "[" + 2000 * "]"),
        r"nested too deeply|'format' is",
    ),
    "key of 900,000 characters": (
        lambda: raw('"states"', '"' + 900_000 * "k" + '"'),
        r"the genome has the unknown key 'k{36}\.\.\.",
    ),
    "half a surrogate pair": (
        lambda: with_node(op="\ud800", inputs=[2]),
        r"node 1 has the unknown operation '\\ud800'",
    ),
    "zero byte": (lambda: text() + "\0", "not JSON: Extra data"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_json_gives_one_clear_error_within_a_second(case: str) -> None:
    make, message = HOSTILE[case]
    hostile = make()
    start = time.process_time()
    with pytest.raises(InvalidGenome, match=message) as caught:
        Genome.from_json(hostile)
    assert time.process_time() - start < 1
    said = str(caught.value)
    assert len(said) < 300
    said.encode()  # can be printed: no half surrogate pairs
    assert said.isprintable()


@pytest.mark.parametrize("depth", [*range(880, 1000, 7), 1500, 20_000])
def test_nesting_of_any_depth_is_refused_and_never_crashes(depth: int) -> None:
    hostile = text(format="?").replace('"?"', depth * "[" + depth * "]")
    with pytest.raises(InvalidGenome, match="nested too deeply|'format' is"):
        Genome.from_json(hostile)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidGenome, match="a genome is read from text, not from bytes"):
        Genome.from_json(text().encode())  # type: ignore[arg-type]


def test_integers_beyond_the_limit_of_python_itself_are_refused_too() -> None:
    limit = sys.get_int_max_str_digits()
    with pytest.raises(InvalidGenome, match="out of range"):
        Genome.from_json(raw('"states": 1', '"states": 9' + (limit + 10) * "9"))


def test_a_genome_written_by_version_1_still_reads() -> None:
    genome = Genome.from_json(WRITTEN_BY_VERSION_1)
    assert genome.states == 2
    assert [node.op for node in genome.nodes] == "linear linear scale sigmoid blend tanh".split()
    assert [node.bias for node in genome.nodes] == [True] + 5 * [False]
    assert genome.nodes[0].bias_init == 1
    assert genome.outputs == (8, 7)
    assert genome.to_json() == WRITTEN_BY_VERSION_1


def test_the_digest_of_a_cell_never_changes_between_versions() -> None:
    # Records name cells by digest: a change here makes every earlier record unreadable.
    assert Genome.from_json(WRITTEN_BY_VERSION_1).digest == "b46606e68951b792616b4b149b15d647"
    assert published("gru").digest == "5988053fda724220e8f52c6d9c552be2"
    assert published("enas").digest == "b9801dd39855a2bf84861f229eefec01"


@pytest.mark.parametrize("name", published_names())
def test_a_published_cell_survives_json(name: str) -> None:
    genome = published(name)
    assert Genome.from_json(genome.to_json()) == genome


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32))
def test_a_random_cell_survives_json_and_keeps_its_digest(seed: int) -> None:
    genome = random_genome(SearchSpace(), np.random.default_rng(seed))
    again = Genome.from_json(genome.to_json())
    assert again == genome
    assert again.digest == genome.digest
    assert again.to_json() == genome.to_json()


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**32), st.data())
def test_json_damaged_at_any_place_is_read_or_refused_but_never_crashes(
    seed: int, data: st.DataObject
) -> None:
    whole = random_genome(SearchSpace(), np.random.default_rng(seed)).to_json()
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + data.draw(st.sampled_from('"{}[],:-.0123456789eNx ')) + whole[at + 1 :]
    try:
        genome = Genome.from_json(damaged)
    except InvalidGenome:
        return  # any other exception fails the test
    assert Genome.from_json(genome.to_json()) == genome


def alone(text: str) -> Genome | str:
    """The genome, or why it is none."""
    try:
        return Genome.from_json(text)
    except InvalidGenome as error:
        return str(error)


def together(first: str, text: str) -> Genome | str:
    """The same, read after another genome."""
    reading = from_json_all([first, text])
    assert next(reading) == Genome.from_json(first)
    try:
        return next(reading)
    except InvalidGenome as error:
        return str(error)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 50), st.integers(0, 50), st.data())
def test_genomes_read_together_are_what_they_are_alone(
    first: int, second: int, data: st.DataObject
) -> None:
    one, other = (
        random_genome(SearchSpace(), np.random.default_rng(seed)).to_json()
        for seed in (first, second)
    )
    assert together(one, other) == Genome.from_json(other)
    at = data.draw(st.integers(0, len(other)))
    put = data.draw(st.sampled_from([*'"{}[],:-.019', "},{", "{},", '}],"outputs":[1]', '"op":']))
    end = at + data.draw(st.integers(0, 3))
    damaged = other[:at] + put + other[end:]
    assert together(one, damaged) == alone(damaged)


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_json_is_refused_after_another_genome_too(case: str) -> None:
    hostile = HOSTILE[case][0]()
    assert together(WRITTEN_BY_VERSION_1, hostile) == alone(hostile)
    compact = hostile.replace(", ", ",").replace(": ", ":")
    assert together(WRITTEN_BY_VERSION_1, compact) == alone(compact)
