"""Drawings name every value and every reading, escaped, and are the same every time."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from genomes.draw import diagram, dot, svg
from genomes.equations import parse_equations
from genomes.genome import Genome
from genomes.published import published, published_names

SVG = "{http://www.w3.org/2000/svg}"
DEAD = "a = relu(h) \n h' = tanh(linear(x, h, bias=False))"


def readings(genome: Genome) -> int:
    return sum(len(node.inputs) for node in genome.nodes) + genome.states


@pytest.mark.parametrize("name", published_names())
def test_every_box_and_edge_of_a_published_cell_is_drawn(name: str) -> None:
    genome = published(name)
    boxes = 1 + 2 * genome.states + len(genome.nodes)
    text = dot(genome)
    assert len(re.findall(r"^  \w+ \[label=", text, re.M)) == boxes
    assert text.count(" -> ") == readings(genome)
    picture = ElementTree.fromstring(svg(genome))
    assert len(picture.findall(f"{SVG}rect")) == boxes
    assert len(picture.findall(f"{SVG}path")) == readings(genome)
    assert len(re.findall(r"├─ n\d+ = ", diagram(genome))) == len(genome.nodes)


def test_svg_boxes_lie_inside_the_picture_and_do_not_overlap() -> None:
    picture = ElementTree.fromstring(svg(published("enas")))
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    spots = [
        tuple(float(r.attrib[k]) for k in ("x", "y", "width", "height"))
        for r in picture.findall(f"{SVG}rect")
    ]
    for x, y, w, h in spots:
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height
    for i, (x, y, w, h) in enumerate(spots):
        for x2, y2, _, _ in spots[:i]:
            assert abs(x - x2) >= w or abs(y - y2) >= h


def test_every_svg_edge_runs_downwards() -> None:
    picture = ElementTree.fromstring(svg(published("nas_cell")))
    for path in picture.findall(f"{SVG}path"):
        numbers = [float(n) for n in re.findall(r"[-\d.]+", path.attrib["d"])]
        assert numbers[1] < numbers[-1]


def test_labels_are_escaped() -> None:
    text = svg(published("gru"))
    assert "h&#x27;</text>" in text
    labels = {t.text for t in ElementTree.fromstring(text).iter(f"{SVG}text")}
    assert {"x", "h", "h'", "0: linear", "z", "a", "b"} <= labels
    assert 'label="h\'"' in dot(published("gru"))


def test_the_order_of_sources_is_shown_where_it_matters() -> None:
    text = dot(parse_equations("a = linear(x, h) \n h' = a - h"))
    assert 'n0 -> n1 [label="a"];' in text
    assert 'h0 -> n1 [label="b"];' in text
    assert "x -> n0;" in text


def test_dead_nodes_are_dashed_and_called_unused() -> None:
    genome = parse_equations(DEAD)
    assert next(line for line in dot(genome).splitlines() if "dashed" in line).startswith("  n0 ")
    assert svg(genome).count("stroke-dasharray") == 1
    assert "n0 = relu(h)                   → unused" in diagram(genome)


def test_the_diagram_of_an_lstm() -> None:
    genome = parse_equations(
        "f = sigmoid(linear(x, h, bias_init=1)) \n c' = f * c \n h' = tanh(c')"
    )
    assert diagram(genome) == (
        "in   x, h, c\n"
        "      │\n"
        "   1  ├─ n0 = linear(x, h, bias_init=1)  → n1\n"
        "      │\n"
        "   2  ├─ n1 = sigmoid(n0)                → n2\n"
        "      │\n"
        "   3  ├─ n2 = mul(n1, c)                 → n3, c'\n"
        "      │\n"
        "   4  ├─ n3 = tanh(n2)                   → h'\n"
        "      ▼\n"
        "out  h' = n3, c' = n2\n"
    )


def test_drawings_do_not_depend_on_the_hash_seed() -> None:
    code = (
        "from genomes.draw import diagram, dot, svg; from genomes.published import published;"
        "g = published('darts_v2'); print(dot(g) + svg(g) + diagram(g))"
    )
    root = Path(__file__).resolve().parents[1]
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env={"PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1
