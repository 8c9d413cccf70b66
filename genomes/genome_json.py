"""Genomes as versioned JSON, read defensively: a genome file may come from a stranger."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from genomes.genome import MAX_NODES, Genome, InvalidGenome, Node
from genomes.ops import OPS

FORMAT = "evo-nas-genome"
VERSION = 1
MAX_CHARACTERS = 1_000_000
"""Longer text is refused unread; the largest valid genome takes less than a tenth of it."""
MAX_ABSOLUTE_INTEGER = 10**9
_NODE_KEYS = {"op", "inputs", "bias", "bias_init"}
_GENOME_KEYS = {"format", "version", "states", "nodes", "outputs"}
_NUMBER = "(?:0|[1-9][0-9]{0,8})"
_AS_WRITTEN = re.compile(
    rf'{{"format":"{FORMAT}","version":{VERSION},"states":([1-9]),'
    rf'"nodes":\[{{(.*)}}\],"outputs":\[({_NUMBER}(?:,{_NUMBER})*)\]}}'
)
"""What `to_json` writes; the nodes are what stands between ``},{``."""


def to_json(genome: Genome) -> str:
    """The genome as one line of JSON with a fixed key order (equal genomes, equal text)."""
    nodes: list[dict[str, Any]] = []
    for node in genome.nodes:
        entry: dict[str, Any] = {"op": node.op, "inputs": list(node.inputs)}
        if node.op == "linear":
            entry["bias"] = node.bias
            if node.bias:
                entry["bias_init"] = float(node.bias_init)
        nodes.append(entry)
    document = {
        "format": FORMAT,
        "version": VERSION,
        "states": genome.states,
        "nodes": nodes,
        "outputs": list(genome.outputs),
    }
    return json.dumps(document, separators=(",", ":"))


def from_json(text: str) -> Genome:
    """Read a genome.

    Raises:
        InvalidGenome: If ``text`` is not a genome of a known version, with one clear reason.
    """
    if not isinstance(text, str):
        raise InvalidGenome(f"a genome is read from text, not from {type(text).__name__}.")
    if len(text) > MAX_CHARACTERS:
        raise InvalidGenome(
            f"the text has {len(text):,} characters, but a genome has at most "
            f"{MAX_CHARACTERS:,} ({MAX_NODES} nodes)."
        )
    document = _parse(text)
    if not isinstance(document, dict):
        raise InvalidGenome(f"a genome is a JSON object, not {_kind(document)}.")
    if document.get("format") != FORMAT:
        raise InvalidGenome(f"'format' is {_short(document.get('format'))}, not {FORMAT!r}.")
    version = document.get("version")
    if type(version) is not int or version != VERSION:
        raise InvalidGenome(
            f"genome version {_short(version)} is not known; this program reads version {VERSION}. "
            "Update evo-nas, or write the genome again with this version."
        )
    _refuse_other_keys(document, _GENOME_KEYS, "the genome")
    nodes = document.get("nodes")
    if not isinstance(nodes, list):
        raise InvalidGenome(f"'nodes' is {_kind(nodes)}, not a list.")
    if len(nodes) > MAX_NODES:
        raise InvalidGenome(f"the genome has {len(nodes)} nodes, but the limit is {MAX_NODES}.")
    return Genome(
        states=_integer(document.get("states"), "'states'"),
        nodes=tuple(_node(i, entry) for i, entry in enumerate(nodes)),
        outputs=_integers(document.get("outputs"), "'outputs'"),
    )


def from_json_all(texts: Iterable[str]) -> Iterator[Genome]:
    """Read many genomes; a node that several of them have is read once.

    The genomes of a lineage, whose cells differ from their parents in a node or two, are read
    several times as fast as one by one.

    Raises:
        InvalidGenome: As `from_json`.
    """
    known: dict[str, Node] = {}
    for text in texts:
        try:
            genome = _assembled(text, known)
        except InvalidGenome:
            genome = None  # the other way says why, or reads what was written in another way
        yield from_json(text) if genome is None else genome


def _assembled(text: str, known: dict[str, Node]) -> Genome | None:
    """A genome out of nodes that were read before, and of new ones; None if it is not laid out
    as `to_json` does it."""
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        return None
    match = _AS_WRITTEN.fullmatch(text)
    if match is None:
        return None
    parts = match[2].split("},{")
    for part in parts:
        # Each part is a whole object, or it is refused: so what was split was a list of objects.
        if part not in known:
            known[part] = _node(0, _parse(f"{{{part}}}"))
    nodes = tuple([known[part] for part in parts])
    return Genome(int(match[1]), nodes, tuple(map(int, match[3].split(","))))


def _parse(text: str) -> Any:
    try:
        return json.loads(
            text,
            object_pairs_hook=_object_without_duplicates,
            parse_constant=_refuse_constant,
            parse_int=_bounded_integer,
        )
    except RecursionError:
        raise InvalidGenome("the JSON is nested too deeply; a genome has four levels.") from None
    except json.JSONDecodeError as error:
        raise InvalidGenome(
            f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        ) from None


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise InvalidGenome(f"the key {_short(key)} stands twice in one object. Keep one.")
        result[key] = value
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidGenome(f"{name} is not a number a genome can hold.")


def _bounded_integer(digits: str) -> int:
    # int() of thousands of digits is slow, and since Python 3.11 an error of its own.
    if len(digits) > 11 or abs(int(digits)) > MAX_ABSOLUTE_INTEGER:
        raise InvalidGenome(
            f"the integer {_short(digits)} is out of range; "
            f"numbers in a genome stay below {MAX_ABSOLUTE_INTEGER:,}."
        )
    return int(digits)


def _node(index: int, entry: Any) -> Node:
    where = f"node {index}"
    if not isinstance(entry, dict):
        raise InvalidGenome(f"{where} is {_kind(entry)}, not an object.")
    _refuse_other_keys(entry, _NODE_KEYS, where)
    op = entry.get("op")
    if not isinstance(op, str):
        raise InvalidGenome(f"{where}: 'op' is {_kind(op)}, not text.")
    if op not in OPS:
        raise InvalidGenome(
            f"{where} has the unknown operation {_short(op)}. Known are: {', '.join(OPS)}."
        )
    bias = entry.get("bias", False)
    if type(bias) is not bool:
        raise InvalidGenome(f"{where} ({op}): 'bias' is {_kind(bias)}, not true or false.")
    bias_init = entry.get("bias_init", 0.0)
    if type(bias_init) not in (int, float):
        raise InvalidGenome(f"{where} ({op}): 'bias_init' is {_kind(bias_init)}, not a number.")
    inputs = _integers(entry.get("inputs"), f"{where} ({op}): 'inputs'")
    return Node(op, inputs, bias, float(bias_init))


def _integers(value: Any, what: str) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise InvalidGenome(f"{what} is {_kind(value)}, not a list of value numbers.")
    return tuple(_integer(item, f"an entry of {what}") for item in value)


def _integer(value: Any, what: str) -> int:
    if type(value) is not int:
        raise InvalidGenome(f"{what} is {_kind(value)}, not an integer.")
    return value


def _refuse_other_keys(entry: dict[str, Any], known: set[str], where: str) -> None:
    for key in entry:
        if key not in known:
            raise InvalidGenome(
                f"{where} has the unknown key {_short(key)}. Known are: {', '.join(sorted(known))}."
            )


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value"}
    if value is None:
        return "missing or null"
    return names.get(type(value), f"the number {_short(value)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
