"""Pictures of a cell as text: DOT, SVG, and a diagram for the terminal.

All three place a value below everything it reads (its level is the longest way from an input)
and are the same text for the same genome. Nothing but Python is needed, graphviz included.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from genomes.equations import STATE_NAMES
from genomes.genome import Genome, Node, X, live_values
from genomes.ops import OPS

COLOURS = {
    "input": "#dbeafe",
    "output": "#dcfce7",
    "linear": "#fde68a",
    "scale": "#fef3c7",
    "combine": "#e5e7eb",
    "activation": "#fbcfe8",
}
PLACES = {"blend": ("z", "a", "b"), "sub": ("a", "b")}
"""Names of the sources where their order matters; the edges are labelled with them."""
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 118, 32, 26, 48, 24
"""Of a box, between boxes and round the picture, in SVG user units (pixels)."""


@dataclass(frozen=True, slots=True)
class _Box:
    key: str
    label: str
    kind: str
    level: int


@dataclass(frozen=True, slots=True)
class _Edge:
    source: str
    target: str
    label: str = ""


def dot(genome: Genome) -> str:
    """The cell as a graph in the DOT language; dead nodes are dashed."""
    boxes, edges = _graph(genome)
    dead = _dead(genome)
    lines = ["digraph cell {", "  rankdir=TB;", '  node [shape=box, style="rounded,filled"];']
    for box in boxes:
        style = ', style="rounded,filled,dashed"' if box.key in dead else ""
        colour = COLOURS[box.kind]
        lines.append(f'  {box.key} [label="{_dot_text(box.label)}", fillcolor="{colour}"{style}];')
    for kind in ("input", "output"):
        keys = "; ".join(box.key for box in boxes if box.kind == kind)
        lines.append(f"  {{ rank=same; {keys}; }}")
    for edge in edges:
        label = f' [label="{_dot_text(edge.label)}"]' if edge.label else ""
        lines.append(f"  {edge.source} -> {edge.target}{label};")
    return "\n".join([*lines, "}"]) + "\n"


def svg(genome: Genome) -> str:
    """The cell as an SVG picture, inputs at the top and new states at the bottom."""
    boxes, edges = _graph(genome)
    dead = _dead(genome)
    rows = _rows(boxes, edges)
    widest = max(len(row) for row in rows)
    width = 2 * MARGIN + widest * (WIDTH + GAP_X) - GAP_X
    height = 2 * MARGIN + len(rows) * (HEIGHT + GAP_Y) - GAP_Y
    at: dict[str, tuple[float, float]] = {}
    for level, row in enumerate(rows):
        left = (width - len(row) * (WIDTH + GAP_X) + GAP_X) / 2
        for place, box in enumerate(row):
            x = left + place * (WIDTH + GAP_X) + WIDTH / 2
            at[box.key] = (x, MARGIN + level * (HEIGHT + GAP_Y))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="13">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>',
    ]
    for box in boxes:
        arriving = [edge for edge in edges if edge.target == box.key]
        # Spread over the box, so that two arrows into one box stay two.
        for place, edge in enumerate(arriving, start=1):
            shift = WIDTH * (place / (len(arriving) + 1) - 0.5)
            lines.append(_svg_edge(edge, at, shift))
    for row in rows:
        lines += [_svg_box(box, *at[box.key], dashed=box.key in dead) for box in row]
    return "\n".join([*lines, "</svg>"]) + "\n"


def diagram(genome: Genome) -> str:
    """The cell for a terminal: nodes by level, each with what it reads and who reads it."""
    boxes, edges = _graph(genome)
    dead = _dead(genome)
    names = ["x", *STATE_NAMES[: genome.states], *(f"n{i}" for i in range(len(genome.nodes)))]
    shown = {_key(genome, value): name for value, name in enumerate(names)}
    shown |= {f"new{k}": STATE_NAMES[k] + "'" for k in range(genome.states)}
    texts = {}
    for i, node in enumerate(genome.nodes):
        value = genome.first_node + i
        arguments = ", ".join([names[v] for v in node.inputs] + _bias_text(node))
        texts[_key(genome, value)] = f"{names[value]} = {node.op}({arguments})"
    wide = max((len(text) for text in texts.values()), default=0)
    lines = ["in   " + ", ".join(names[: genome.first_node])]
    for level in range(1, _depth(boxes)):
        lines.append("      │")
        for number, box in enumerate(b for b in boxes if b.level == level):
            readers = dict.fromkeys(shown[e.target] for e in edges if e.source == box.key)
            mark = "unused" if box.key in dead else ", ".join(readers)
            head = f"{level:>4}  ├─ " if number == 0 else "      ├─ "
            lines.append(f"{head}{texts[box.key]:<{wide}}  → {mark}")
    lines.append("      ▼")
    new = (f"{STATE_NAMES[k]}' = {names[v]}" for k, v in enumerate(genome.outputs))
    lines.append("out  " + ", ".join(new))
    return "\n".join(lines) + "\n"


def _graph(genome: Genome) -> tuple[list[_Box], list[_Edge]]:
    names = ["x", *STATE_NAMES[: genome.states]]
    boxes = [_Box(_key(genome, v), name, "input", 0) for v, name in enumerate(names)]
    edges: list[_Edge] = []
    levels = [0] * genome.first_node
    for i, node in enumerate(genome.nodes):
        levels.append(1 + max(levels[v] for v in node.inputs))
        key = _key(genome, genome.first_node + i)
        label = ", ".join([node.op, *_bias_text(node)])
        boxes.append(_Box(key, f"{i}: {label}", OPS[node.op].kind, levels[-1]))
        places = PLACES.get(node.op, ("",) * len(node.inputs))
        for place, value in zip(places, node.inputs, strict=True):
            edges.append(_Edge(_key(genome, value), key, place))
    bottom = 1 + max(levels)
    for k, value in enumerate(genome.outputs):
        boxes.append(_Box(f"new{k}", f"{STATE_NAMES[k]}'", "output", bottom))
        edges.append(_Edge(_key(genome, value), f"new{k}"))
    return boxes, edges


def _key(genome: Genome, value: int) -> str:
    if value == X:
        return "x"
    return f"h{value - 1}" if value <= genome.states else f"n{value - genome.first_node}"


def _bias_text(node: Node) -> list[str]:
    """What a linear says about its bias; nothing for one that starts at 0, the usual case."""
    if node.op != "linear" or (node.bias and not node.bias_init):
        return []
    return [f"bias_init={node.bias_init:g}" if node.bias else "bias=False"]


def _dead(genome: Genome) -> set[str]:
    live = live_values(genome)
    first = genome.first_node
    return {_key(genome, first + i) for i in range(len(genome.nodes)) if first + i not in live}


def _depth(boxes: list[_Box]) -> int:
    return max(box.level for box in boxes)


def _rows(boxes: list[_Box], edges: list[_Edge]) -> list[list[_Box]]:
    """Boxes by level; within a level by the mean place of what they read, to cross few edges."""
    place: dict[str, float] = {}
    rows = []
    for level in range(_depth(boxes) + 1):
        row = [box for box in boxes if box.level == level]
        if 0 < level < _depth(boxes):
            sources = {b.key: [e.source for e in edges if e.target == b.key] for b in row}
            row.sort(key=lambda b: sum(place[s] for s in sources[b.key]) / len(sources[b.key]))
        for number, box in enumerate(row):
            place[box.key] = (number + 0.5) / len(row)
        rows.append(row)
    return rows


def _dot_text(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _svg_box(box: _Box, x: float, y: float, *, dashed: bool) -> str:
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return (
        f'<rect x="{x - WIDTH / 2:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="7" '
        f'fill="{COLOURS[box.kind]}" stroke="#555"{dash}/>'
        f'<text x="{x:g}" y="{y + HEIGHT / 2 + 4.5:g}" text-anchor="middle">'
        f"{escape(box.label)}</text>"
    )


def _svg_edge(edge: _Edge, at: dict[str, tuple[float, float]], shift: float) -> str:
    x1, y1 = at[edge.source]
    x2, y2 = at[edge.target]
    x2, y1 = x2 + shift, y1 + HEIGHT
    bend = (y2 - y1) / 2
    curve = f"M{x1:g} {y1:g}C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}"
    path = f'<path d="{curve}" fill="none" stroke="#555" marker-end="url(#tip)"/>'
    if not edge.label:
        return path
    # Near the reader, where edges from different values lie apart.
    x, y = 0.2 * x1 + 0.8 * x2, 0.2 * y1 + 0.8 * y2
    return f'{path}<text x="{x:g}" y="{y:g}" font-size="11">{escape(edge.label)}</text>'
