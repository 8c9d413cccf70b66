"""One digest for one cell: invariance, reductions, and what equal digests promise."""

from __future__ import annotations

import gzip
import json
import time

import numpy as np
import pytest
import torch
from disguise import (
    REWRITINGS,
    Rewritten,
    carried,
    commuted,
    drawn,
    emitted,
    reordered,
    unchanged,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from matching import match
from shared_data import shared_data

from genomes.canonical import canonical, digest
from genomes.equations import parse_equations
from genomes.genome import MAX_NODES, Genome, Node
from genomes.nas_bench_nlp import from_recipe
from genomes.published import published, published_names
from genomes.space import SearchSpace, random_genome

SIZE = 3
STEPS = 4


def sequences(genome: Genome, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """x (STEPS, 2, SIZE) and initial states (S, 2, SIZE)."""
    x = torch.from_numpy(rng.normal(size=(STEPS, 2, SIZE)))
    return x, torch.from_numpy(rng.normal(size=(genome.states, 2, SIZE)))


def assert_same_outputs(one: torch.Tensor, other: torch.Tensor) -> None:
    largest = float(one.abs().max())
    torch.testing.assert_close(one, other, rtol=0, atol=1e-8 * max(1.0, largest))


def assert_computes_the_same(
    genome: Genome, rewritten: Rewritten, rng: np.random.Generator
) -> None:
    """Run both with matched weights and states."""
    weights = drawn(genome, SIZE, rng)
    x, states = sequences(genome, rng)
    free = torch.from_numpy(rng.normal(size=states.shape[1:]))
    their_states = torch.stack([free if k is None else states[k] for k in rewritten.states])
    theirs = carried(rewritten.genome, rewritten.origin, weights, rng)
    assert_same_outputs(
        emitted(genome, weights, x, states), emitted(rewritten.genome, theirs, x, their_states)
    )


def assert_its_form_computes_the_same(genome: Genome, rng: np.random.Generator) -> None:
    form = canonical(genome)
    found = match(genome, form)
    assert found is not None, f"no correspondence between {genome} and {form}"
    origin, states = found
    assert len(origin) == len(drawn(form, SIZE, rng))
    assert_computes_the_same(genome, Rewritten(form, origin, states), rng)


def some_genome(seed: int) -> Genome:
    """A published or a random cell."""
    rng = np.random.default_rng(seed)
    if rng.random() < 0.3:
        return published(str(rng.choice(published_names())))
    return random_genome(SearchSpace(max_nodes=int(rng.integers(6, 40))), rng)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**32), st.lists(st.sampled_from(REWRITINGS), min_size=1, max_size=12))
def test_a_cell_written_differently_has_the_same_digest_and_computes_the_same(
    seed: int, rewritings: list[object]
) -> None:
    rng = np.random.default_rng(seed)
    genome = some_genome(seed)
    cell = unchanged(genome)
    for rewrite in rewritings:
        cell = rewrite(cell, rng)  # type: ignore[operator]
    assert cell.genome.digest == genome.digest
    assert canonical(cell.genome) == canonical(genome)
    assert_computes_the_same(genome, cell, rng)


@pytest.mark.parametrize("rewrite", REWRITINGS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", published_names())
def test_a_published_cell_keeps_its_digest_under_each_rewriting(name: str, rewrite: object) -> None:
    rng = np.random.default_rng(7)
    genome = published(name)
    for _ in range(3):
        cell = rewrite(unchanged(genome), rng)  # type: ignore[operator]
        assert cell.genome.digest == genome.digest
        assert_computes_the_same(genome, cell, rng)


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2**32))
def test_the_canonical_form_computes_what_the_cell_computes(seed: int) -> None:
    # Cells of equal digest have one canonical form, so they compute the same as each other.
    assert_its_form_computes_the_same(some_genome(seed), np.random.default_rng(seed + 1))


def test_the_canonical_form_of_every_recipe_computes_what_the_recipe_computes() -> None:
    rng = np.random.default_rng(0)
    with gzip.open(shared_data("nas-bench-nlp-ptb") / "public.jsonl.gz", "rt") as file:
        genomes = {from_recipe(json.loads(line)["recepie"]) for line in file}
    for genome in sorted(genomes, key=Genome.to_json)[::5]:
        assert_its_form_computes_the_same(genome, rng)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32))
def test_the_canonical_form_is_its_own_canonical_form(seed: int) -> None:
    form = canonical(some_genome(seed))
    assert canonical(form) == form
    assert Genome.from_json(form.to_json()) == form


def test_a_digest_is_32_hex_digits() -> None:
    assert len(published("gru").digest) == 32
    assert int(published("gru").digest, 16) > 0


def same(one: str, other: str) -> bool:
    return parse_equations(one).digest == parse_equations(other).digest


def test_weight_free_common_subexpressions_are_one_node() -> None:
    assert same(
        "a = linear(x, h)\nh' = tanh(a) * h + tanh(a)",
        "a = linear(x, h)\nb = tanh(a)\nh' = h * b + b",
    )
    assert same(
        "h' = linear(tanh(x + h)) * sigmoid(tanh(h + x))",
        "a = tanh(x + h)\nh' = linear(a) * sigmoid(a)",
    )


def test_weighted_nodes_are_never_merged() -> None:
    one = parse_equations("a = linear(x, h)\nh' = tanh(a) * sigmoid(a)")
    two = parse_equations("h' = tanh(linear(x, h)) * sigmoid(linear(x, h))")
    assert one.digest != two.digest
    assert sum(node.op == "linear" for node in canonical(two).nodes) == 2
    assert not same("a = scale(h)\nh' = linear(x) + a + a", "h' = linear(x) + scale(h) + scale(h)")


def test_identities_and_dead_nodes_and_dead_states_go() -> None:
    plain = "h' = tanh(linear(x, h))"
    assert same("h' = identity(tanh(identity(linear(x, identity(h)))))", plain)
    assert same(f"dead = linear(x, h)\n{plain}", plain)
    assert same(f"{plain}\nc' = tanh(linear(c, h'))", plain)
    assert same(f"{plain}\nc' = d\nd' = c", plain)


def test_a_state_that_matters_only_after_two_steps_stays() -> None:
    cell = parse_equations("h' = tanh(linear(x, c))\nc' = d\nd' = h")
    assert canonical(cell).states == 3


GATED = "z = sigmoid(linear(x, h{options}))\n{more}h' = blend(z, {a}, {b})"


def gated(a: str, b: str, options: str = "", more: str = "") -> str:
    return GATED.format(a=a, b=b, options=options, more=more)


def test_a_blend_forgets_its_order_where_negating_the_gate_restores_it() -> None:
    n = "tanh(linear(x))"
    assert same(gated(n, "h"), gated("h", n))
    assert same(gated(n, "h", ", bias=False"), gated("h", n, ", bias=False"))


def test_a_blend_keeps_its_order_where_the_gate_starts_open() -> None:
    n = "tanh(linear(x))"
    assert not same(gated(n, "h", ", bias_init=1"), gated("h", n, ", bias_init=1"))


def test_a_blend_keeps_its_order_where_the_gate_is_read_elsewhere_too() -> None:
    n = "linear(x)"
    assert not same(gated(f"{n} + z", "h"), gated("h", f"{n} + z"))
    both = "a = linear(x, h)\nh' = blend(sigmoid(a), {}, {})"
    assert not same(both.format("tanh(a)", "h"), both.format("h", "tanh(a)"))
    two_states = gated(n, "h") + "\nc' = z\n"
    assert same(two_states, gated("h", n))  # c is dead
    live = "z = sigmoid(linear(x, h))\nc' = z\nh' = blend(z, {}, {})"
    assert not same(live.format("linear(x, c)", "h"), live.format("h", "linear(x, c)"))


def test_a_blend_keeps_its_order_where_its_gate_is_no_sigmoid_of_a_linear() -> None:
    for gate in ("tanh(linear(x, h))", "sigmoid(scale(h))", "sigmoid(linear(x) + h)", "h"):
        cell = f"h' = blend({gate}, {{}}, {{}})"
        assert not same(cell.format("linear(x)", "h"), cell.format("h", "linear(x)")), gate


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("h' = tanh(linear(x, h))", "h' = sigmoid(linear(x, h))"),
        ("h' = tanh(linear(x, h))", "h' = tanh(linear(x, h, bias=False))"),
        ("h' = tanh(linear(x, h))", "h' = tanh(linear(x, h, bias_init=1))"),
        ("h' = linear(x, h, bias_init=1)", "h' = linear(x, h, bias_init=2)"),
        ("h' = tanh(linear(x, h))", "h' = tanh(linear(x, h, h))"),
        ("h' = tanh(linear(x, h))", "h' = tanh(linear(x) + linear(h))"),
        ("h' = linear(x) - h", "h' = h - linear(x)"),
        ("h' = linear(x) + h + h", "h' = linear(x) + h"),
        ("h' = mean(linear(x), h)", "h' = linear(x) + h"),
        ("h' = linear(x, c)\nc' = tanh(h)", "h' = tanh(c)\nc' = linear(x, h)"),
        ("h' = linear(x, h, c)\nc' = h", "h' = linear(x, h)"),
        ("h' = linear(x, c)\nc' = h", "h' = linear(x, c)\nc' = h'"),
    ],
)
def test_cells_that_differ_have_different_digests(one: str, other: str) -> None:
    assert not same(one, other)


def test_a_start_of_minus_zero_is_a_start_of_zero() -> None:
    digests = set()
    for start in (-0.0, 0.0):
        canonical.cache_clear()  # the two cells are equal in Python, so a cache would hide a fault
        digest.cache_clear()
        digests.add(Genome(1, (Node("linear", (0, 1), True, start),), (2,)).digest)
    assert len(digests) == 1


def test_cells_that_colour_refinement_alone_cannot_tell_apart_have_different_digests() -> None:
    # Six alike linears joined in pairs: in one ring of six, or in two rings of three. Every
    # node looks the same from everywhere; only following the ring all round tells them apart.
    def rings(*sizes: int) -> str:
        lines = [f"a{i} = linear(x, h)" for i in range(sum(sizes))]
        pairs, start = [], 0
        for size in sizes:
            pairs += [f"a{start + k} * a{start + (k + 1) % size}" for k in range(size)]
            start += size
        return "\n".join([*lines, f"h' = {' + '.join(pairs)}"])

    assert not same(rings(6), rings(3, 3))
    rng = np.random.default_rng(0)
    for sizes in ((6,), (3, 3)):
        cell = unchanged(parse_equations(rings(*sizes)))
        assert {reordered(cell, rng).genome.digest for _ in range(5)} == {cell.genome.digest}


def test_nodes_that_look_alike_but_are_not_may_stand_in_any_order() -> None:
    # A ring of six beside two rings of three: which linear comes first must not matter.
    lines = [f"a{i} = linear(x, h)" for i in range(12)]
    six = " + ".join(f"a{k} * a{(k + 1) % 6}" for k in range(6))
    threes = " + ".join(f"a{s + k} * a{s + (k + 1) % 3}" for s in (6, 9) for k in range(3))
    cell = unchanged(parse_equations("\n".join([*lines, f"h' = mean({six}, {threes})"])))
    rng = np.random.default_rng(0)
    digests = {reordered(commuted(cell, rng), rng).genome.digest for _ in range(20)}
    assert digests == {cell.genome.digest}


def test_a_large_cell_of_interchangeable_parts_has_its_digest_within_seconds() -> None:
    nodes = [Node("linear", (0, 1), True) for _ in range(40)]
    level = [2 + i for i in range(40)]
    while len(level) > 1:
        groups = [level[k : k + 8] for k in range(0, len(level), 8)]
        level = []
        for group in groups:
            nodes.append(Node("add", tuple(group)))
            level.append(1 + len(nodes))
    assert len(nodes) <= MAX_NODES
    cell = Genome(1, tuple(nodes), (level[0],))
    start = time.process_time()
    name = cell.digest
    assert time.process_time() - start < 10
    shuffled = reordered(unchanged(cell), np.random.default_rng(1)).genome
    assert shuffled != cell
    assert shuffled.digest == name
