"""A cell as readable equations: the text notation, both ways.

One assignment a line. ``x`` is the input; ``h``, ``c``, ``d`` are the earlier states 0, 1, 2
and ``h'``, ``c'``, ``d'`` the new ones; any other name is an intermediate value. Operations are
called by name (``linear(x, h)``, ``linear(x, bias=False)``, ``linear(x, h, bias_init=1)``,
``blend(z, n, h)``); ``+``, ``*``, ``-`` and ``1 - a`` stand for add, mul, sub and one_minus.
A GRU::

    r = sigmoid(linear(x, h))
    z = sigmoid(linear(x, h))
    n = tanh(linear(x, r * h))
    h' = blend(z, n, h)
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from genomes.genome import Genome, InvalidGenome, Node
from genomes.ops import OPS

STATE_NAMES = ("h", "c", "d")
MAX_CHARACTERS = 20_000
MAX_BIAS_INIT = 10**9
_NEW = "_new"

Change = tuple[str | None, str | None]
"""A line before and after; None where it came or went."""


def _cut(text: str) -> str:
    return text if len(text) < 60 else text[:57] + "..."


def parse_equations(text: str) -> Genome:
    """Read a cell from its equations.

    Raises:
        InvalidGenome: Naming the line and what is wrong with it.
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidGenome(f"the equations have {len(text):,} characters; {MAX_CHARACTERS:,} do.")
    lines = [(i, line.split("#")[0].strip()) for i, line in enumerate(text.splitlines(), 1)]
    lines = [(i, line) for i, line in lines if line]
    targets = {line.partition("=")[0].strip() for _, line in lines}
    states = max((k + 1 for k, name in enumerate(STATE_NAMES) if name + "'" in targets), default=0)
    if not states:
        raise InvalidGenome("no equation gives the new state. End with a line  h' = ...")
    reader = _Reader(states)
    for number, line in lines:
        reader.read(number, line)
    missing = [n + "'" for n in STATE_NAMES[:states] if n + _NEW not in reader.values]
    if missing:
        raise InvalidGenome(f"no equation gives {missing[0]}, but a later state has one.")
    outputs = tuple(reader.values[name + _NEW] for name in STATE_NAMES[:states])
    return Genome(states, tuple(reader.nodes), outputs)


class _Reader:
    """Collects the nodes of the lines read so far."""

    def __init__(self, states: int) -> None:
        self.nodes: list[Node] = []
        self.first = states + 1
        self.values = {"x": 0} | {name: k + 1 for k, name in enumerate(STATE_NAMES[:states])}

    def read(self, number: int, line: str) -> None:
        self.where = f"line {number} ({_cut(line)})"
        name, equals, right = line.partition("=")
        name = name.strip().replace("'", _NEW)
        if not equals or not name.isidentifier():
            raise InvalidGenome(f"{self.where}: not of the form  name = expression.")
        if name in self.values:
            raise InvalidGenome(f"{self.where}: {name.replace(_NEW, chr(39))} has a value already.")
        self.right = re.sub(r"(\w)'", rf"\1{_NEW}", right.strip())
        try:
            tree = ast.parse(self.right, mode="eval")
        except (SyntaxError, RecursionError, MemoryError, ValueError):
            raise InvalidGenome(f"{self.where}: the right side is no expression.") from None
        try:
            self.values[name] = self.value(tree.body)
        except RecursionError:
            raise InvalidGenome(f"{self.where}: nested too deeply. Name a part of it.") from None

    def value(self, tree: ast.expr) -> int:
        if isinstance(tree, ast.Name):
            if tree.id not in self.values:
                raise InvalidGenome(
                    f"{self.where}: {tree.id.replace(_NEW, chr(39))!r} is not known here. "
                    "Define it on an earlier line."
                )
            return self.values[tree.id]
        if isinstance(tree, ast.BinOp):
            return self.infix(tree)
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
            return self.call(tree.func.id, tree)
        # Not ast.unparse: it fails on numbers of thousands of digits.
        part = _cut(ast.get_source_segment(self.right, tree) or "").replace(_NEW, "'")
        raise InvalidGenome(f"{self.where}: {part!r} is no value, sum or call.")

    def infix(self, tree: ast.BinOp) -> int:
        if isinstance(tree.op, ast.Sub):
            if isinstance(tree.left, ast.Constant) and tree.left.value == 1:
                return self.node("one_minus", (self.value(tree.right),))
            return self.node("sub", (self.value(tree.left), self.value(tree.right)))
        if not isinstance(tree.op, ast.Add | ast.Mult):
            raise InvalidGenome(f"{self.where}: only +, - and * join values.")
        op = "add" if isinstance(tree.op, ast.Add) else "mul"
        terms: list[ast.expr] = [tree.right]
        left = tree.left
        while isinstance(left, ast.BinOp) and type(left.op) is type(tree.op):
            terms.append(left.right)
            left = left.left
        return self.node(op, tuple(self.value(t) for t in [left, *reversed(terms)]))

    def call(self, op: str, tree: ast.Call) -> int:
        if op not in OPS:
            raise InvalidGenome(f"{self.where}: unknown operation {op!r}. Known: {', '.join(OPS)}.")
        options: dict[str, bool | float] = {}
        for keyword in tree.keywords:
            if op != "linear" or keyword.arg not in ("bias", "bias_init"):
                raise InvalidGenome(f"{self.where}: {op} takes no {keyword.arg!r}.")
            if keyword.arg in options:
                raise InvalidGenome(f"{self.where}: {keyword.arg} stands twice in one call.")
            try:
                options[keyword.arg] = ast.literal_eval(keyword.value)
            except (ValueError, TypeError):
                raise InvalidGenome(f"{self.where}: {keyword.arg} is no plain number.") from None
        bias, init = options.get("bias", op == "linear"), options.get("bias_init", 0.0)
        if not isinstance(bias, bool) or type(init) not in (int, float):
            raise InvalidGenome(f"{self.where}: bias is True or False, bias_init a number.")
        if abs(init) > MAX_BIAS_INIT:
            raise InvalidGenome(f"{self.where}: bias_init is beyond {MAX_BIAS_INIT:,}.")
        return self.node(op, tuple(self.value(a) for a in tree.args), bias, float(init))

    def node(
        self, op: str, inputs: tuple[int, ...], bias: bool = False, bias_init: float = 0.0
    ) -> int:
        self.nodes.append(Node(op, inputs, bias, bias_init))
        return self.first + len(self.nodes) - 1


def equations(genome: Genome) -> list[str]:
    """The cell's equations, one line for each value that is read more than once or is a new state.

    ``parse_equations("\\n".join(lines))`` gives a cell with the same digest.
    """
    return list(_written(genome).lines.values())


def changed_equations(parent: Genome, child: Genome) -> list[Change]:
    """The lines that differ, as pairs (before, after); None where a line came or went.

    Values that both cells compute in the same way keep the parent's name in the child, so a
    change shows up as the line it was made in and not as a renumbering of all that follow.
    """
    return _changes(_written(parent), _written(child))


def lineage_equations(line: Iterable[Genome]) -> Iterator[tuple[list[str], list[Change]]]:
    """Of each cell its `equations` and its `changed_equations` against the cell before it.

    Each cell is worked through once, not once as a child and once as a parent: a lineage may be
    thousands of cells long.
    """
    before: _Written | None = None
    for genome in line:
        cell = _written(genome)
        yield list(cell.lines.values()), [] if before is None else _changes(before, cell)
        before = cell


@dataclass(frozen=True, slots=True)
class _Written:
    """A cell and what its equations are made of.

    Attributes:
        named: Values with a line of their own: new states, values read more than once, and gates.
        names: Of these values.
        lines: By the name they define, in an order in which they can be read again.
        keys: For each value the expression below it, inputs and states by name.
    """

    genome: Genome
    named: list[int]
    names: dict[int, str]
    lines: dict[str, str]
    keys: list[object]


def _written(genome: Genome) -> _Written:
    named = _named_values(genome)
    names = _state_names(genome)
    others = (value for value in named if value not in names)
    names |= {value: f"v{k}" for k, value in enumerate(others, 1)}
    return _Written(genome, named, names, _lines(genome, names), _deep_keys(genome))


def _named_values(genome: Genome) -> list[int]:
    first = genome.first_node
    reads = [0] * (first + len(genome.nodes))
    for node in genome.nodes:
        for value in node.inputs:
            reads[value] += 1
    named: list[int] = []
    for value, node in enumerate(genome.nodes, first):
        if reads[value] != 1 or value in genome.outputs or _is_gate(genome, node, named):
            named.append(value)
    return named


def _is_gate(genome: Genome, node: Node, named: Collection[int]) -> bool:
    """Whether a node read once is an activation over a linear or a sum, as gates are."""
    if OPS[node.op].kind != "activation" or node.op in ("one_minus", "identity"):
        return False
    source = genome.node_of(node.inputs[0])
    return source is not None and node.inputs[0] not in named and source.op in ("linear", "add")


def _state_names(genome: Genome) -> dict[int, str]:
    """The primed name of each value that is a new state (the first, if it is several)."""
    names: dict[int, str] = {}
    for k, value in enumerate(genome.outputs):
        if value >= genome.first_node:
            names.setdefault(value, STATE_NAMES[k] + "'")
    return names


def _lines(genome: Genome, names: Mapping[int, str]) -> dict[str, str]:
    """Lines by the name they define, in an order in which they can be read again."""
    known = {0: "x", **dict(enumerate(STATE_NAMES[: genome.states], 1)), **names}
    lines = {}
    for value in sorted(names):
        lines[names[value]] = f"{names[value]} = {_expression(genome, value, known)}"
    for k, value in enumerate(genome.outputs):
        new = STATE_NAMES[k] + "'"
        if new not in lines:
            lines[new] = f"{new} = {known[value]}"
    return lines


_INFIX = {"add": " + ", "mul": " * ", "sub": " - "}


def _expression(genome: Genome, value: int, known: Mapping[int, str]) -> str:
    nodes, first = genome.nodes, genome.first_node
    node = nodes[value - first]  # inputs and states always have names
    op, head = node.op, node.inputs[0]
    # (a + b) + c would be read as one sum of three: the inner sum needs the call form.
    nested = op != "sub" and head not in known and nodes[head - first].op == op
    infix = op in _INFIX and not nested
    arguments = []
    for source in node.inputs:
        text = known.get(source)
        if text is None:
            text = _expression(genome, source, known)
            below = nodes[source - first].op
            if (infix or op == "one_minus") and (below in _INFIX or below == "one_minus"):
                binds = below == "mul" and op in ("add", "one_minus")
                text = text if binds else f"({text})"
        arguments.append(text)
    if infix:
        return _INFIX[op].join(arguments)
    if op == "one_minus":
        return f"1 - {arguments[0]}"
    if op == "linear" and not node.bias:
        arguments.append("bias=False")
    elif node.bias_init:
        arguments.append(f"bias_init={node.bias_init:g}" if _exact(node) else _init(node))
    return f"{op}({', '.join(arguments)})"


def _exact(node: Node) -> bool:
    return float(f"{node.bias_init:g}") == node.bias_init


def _init(node: Node) -> str:
    return f"bias_init={node.bias_init!r}"


def _changes(parent: _Written, child: _Written) -> list[Change]:
    names = _names_like(parent, child)
    before, after = parent.lines, child.lines
    if names != child.names:
        after = _lines(child.genome, names)
    changes: list[Change] = []
    for name in dict.fromkeys([*after, *before]):
        old, new = before.get(name), after.get(name)
        if old != new:
            changes.append((old, new))
    return changes


def _names_like(parent: _Written, child: _Written) -> dict[int, str]:
    result = _state_names(child.genome)
    wanted = [value for value in child.named if value not in result]
    free = {value: name for value, name in parent.names.items() if not name.endswith("'")}
    # First the values computed identically, then those made of the same values by another
    # operation, then those made by the same operations.
    for same in (_deep_key, _inputs_key, _shallow_key):
        left = [value for value in wanted if value not in result]
        if not left:
            break
        keys: dict[object, list[int]] = {}
        for value in free:
            keys.setdefault(same(parent, value), []).append(value)
        for value in left:
            matches = keys.get(same(child, value), [])
            if matches:
                # Gates look alike: the one at the same place is the one that was kept.
                place = value - child.genome.first_node
                start = parent.genome.first_node
                match = min(matches, key=lambda v: abs(v - start - place))
                matches.remove(match)
                result[value] = free.pop(match)
    used = set(parent.names.values())
    fresh = (f"v{k}" for k in range(1, 10_000) if f"v{k}" not in used)
    for value in wanted:
        if value not in result:
            result[value] = next(fresh)
    return result


def _deep_keys(genome: Genome) -> list[object]:
    keys: list[object] = ["x", *STATE_NAMES[: genome.states]]
    for node in genome.nodes:
        below = [keys[value] for value in node.inputs]
        if len(below) > 1 and OPS[node.op].commutative:
            below.sort(key=repr)
        keys.append(hash((node.op, node.bias, node.bias_init, tuple(below))))
    return keys


def _deep_key(cell: _Written, value: int) -> object:
    """The expression below a value."""
    return cell.keys[value]


def _inputs_key(cell: _Written, value: int) -> object:
    """The expressions a value is made of, whatever operation joins them."""
    node = cell.genome.nodes[value - cell.genome.first_node]
    return tuple(sorted(repr(cell.keys[source]) for source in node.inputs))


def _shallow_key(cell: _Written, value: int) -> object:
    """The operation of a value, that of what it reads first, and which new states it is."""
    genome = cell.genome
    node = genome.nodes[value - genome.first_node]
    source = genome.node_of(node.inputs[0])
    return (node.op, source.op if source else "", tuple(k == value for k in genome.outputs))
