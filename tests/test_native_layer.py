"""The engine `native` as a layer: what the reference gives, forward and backward, any cell."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native_cases import (
    EVERYTHING,
    F64,
    RAW,
    SHAPES,
    TOLERANCE,
    WEIGHTLESS,
    assert_close,
    assert_same,
    blocks,
    cell,
    compare,
    pair,
    random_cell,
    run,
)
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from genomes import Genome, Node, canonical, published, published_names
from genomes.ops import OPS
from workers.engine.native.cell import ROWS_IN_BLOCK

UNEQUAL = torch.tensor([2, 5, 1, 5, 3])


def one_op_cells() -> Iterator[tuple[str, Genome]]:
    """By what they show: cells in which one operation stands in one place."""
    for name, op in OPS.items():
        few, most = op.min_inputs, op.max_inputs

        def call(*sources: str, op: str = name) -> str:
            return f"{op}({', '.join(sources)})"

        stepped = call(*["linear(x, h)", "linear(h, x)", "tanh(linear(x, h))"][:few])
        static = call(*["linear(x)", "tanh(linear(x))", "linear(x, bias=False)"][:few])
        places = {
            "stepped and emitted": f"h' = {stepped}",
            "stepped, read twice": f"a = {stepped}; h' = tanh(linear(a)) + a",
            "static": f"s = {static}; h' = tanh(linear(s, h)) + s",
            "static of x itself": f"s = {call(*['x'] * few)}; h' = s - h",
            "static as a new state": f"s = {static}; h' = tanh(linear(h, c)); c' = s",
            "of an earlier state and x": f"h' = {call(*['h', 'x', 'h'][:few])} + x",
            "under an activation": f"h' = sigmoid({stepped})",
        }
        if most > 1:
            a, s, h = (call(*[v] * few) for v in "ash")
            places |= {
                "of one stepped value": f"a = tanh(linear(x, h)); h' = {a} + a",
                "of one static value": f"s = tanh(linear(x)); h' = {s} + tanh(linear(h))",
                "of one earlier state": f"h' = {h} + tanh(linear(x))",
            }
        if most > few:
            mixed = call(*["a", "h", "s", "x", "a", "linear(h)", "b", "s"][:most])
            fixed = call(*["s", "x", "s", "linear(x)", "x", "s", "x", "x"][:most])
            start = "a = tanh(linear(x, h)); s = sigmoid(linear(x)); b = softsign(a)"
            places |= {
                f"of {most}": f"{start}; h' = {mixed}",
                f"of {most} static values": f"{start}; t = {fixed}; h' = tanh(linear(h)) + t",
            }
        for place, equations in places.items():
            yield f"{name} {place}", cell(equations)


def many_linears(count: int = 72) -> Genome:
    """A cell in which so many linears read one state, and as many x."""
    nodes = [Node("linear", (1, 0), bias=k % 3 == 0) for k in range(count)]
    values = [2 + k for k in range(count)]
    while len(values) > 1:
        parts, values = [values[k : k + 8] for k in range(0, len(values), 8)], []
        for part in parts:
            if len(part) > 1:
                nodes.append(Node("mean", tuple(part)))
                values.append(1 + len(nodes))
            else:
                values += part
    return Genome(1, (*nodes, Node("tanh", (values[0],))), (2 + len(nodes),))


ONE_OP = dict(one_op_cells())


def inputs_of(genome: Genome, steps: int, batch: int, width: int, seed: int = 5):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(steps, batch, width, generator=generator, dtype=F64)
    return x, torch.randn(genome.states, batch, width, generator=generator, dtype=F64)


# ---- cells ----


@pytest.mark.parametrize("name", published_names())
def test_published_cells_as_written_and_canonical(name: str) -> None:
    for genome in (published(name), canonical(published(name))):
        compare(genome, 6, 6, steps=5, batch=3)
        compare(genome, 6, 6, steps=5, batch=5, lengths=UNEQUAL)


@pytest.mark.parametrize("seed", range(200))
def test_random_cells(seed: int) -> None:
    compare(random_cell(seed), 5, 5, steps=4, batch=3, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(200, 5200, 250))
def test_many_more_random_cells_with_unequal_lengths_masks_and_wider_layers(first: int) -> None:
    for seed in range(first, first + 250):
        width = 1 + seed % 37
        compare(
            random_cell(seed),
            width,
            width,
            steps=5,
            batch=5,
            lengths=UNEQUAL,
            seed=seed,
            tolerance=10 * TOLERANCE,
            scale=0.05,
            input_dropout=0.2,
            recurrent_dropout=0.3,
        )


@pytest.mark.parametrize("op", OPS)
def test_an_operation_in_every_place(op: str) -> None:
    cells = [genome for name, genome in ONE_OP.items() if name.startswith(f"{op} ")]
    assert len(cells) >= 7
    for genome in cells:
        compare(genome, 4, 4, steps=4, batch=3)


@pytest.mark.parametrize("name", SHAPES)
def test_cells_of_unusual_shape(name: str) -> None:
    compare(SHAPES[name], 4, 4, steps=5, batch=3)
    compare(SHAPES[name], 4, 4, steps=5, batch=5, lengths=UNEQUAL)
    compare(SHAPES[name], 4, 4, steps=blocks(13), batch=13, recurrent_dropout=0.4)


def test_more_linears_read_one_value_than_are_gathered_at_once() -> None:
    compare(many_linears(72), 3, 4, steps=3, batch=2)
    compare(many_linears(110), 3, 4, steps=3, batch=2)


def test_weights_of_nodes_that_nobody_needs_get_a_gradient_of_zero() -> None:
    genome = SHAPES["nodes that nobody needs"]
    _, layer = pair(genome, 4, 4)
    x, state = inputs_of(genome, 3, 2, 4)
    for _ in range(2):  # in memory that was used before
        got = run(layer, x, state)["d weights"]
        for weight in layer.layout:
            if weight.node in (2, 3, 4):
                size = torch.tensor(weight.shape).prod()
                part = got[weight.offset : weight.offset + size]
                assert torch.equal(part, torch.zeros_like(part)), weight.name


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 100_000), batch=st.integers(1, 4), steps=st.integers(1, 4))
def test_any_cell_trains_a_step_with_finite_gradients_that_are_the_references(
    seed: int, batch: int, steps: int
) -> None:
    genome = random_cell(seed)
    reference, native = pair(genome, 3, 3, seed=seed)
    for layer in (reference, native):
        x, _ = inputs_of(genome, steps, batch, 3, seed)
        optimiser = torch.optim.SGD(layer.parameters(), lr=1e-3)
        y, final = layer(x)
        (y.square().mean() + final.sin().mean()).backward()
        assert layer.weights.grad.isfinite().all()
        optimiser.step()
    assert_close(native.weights.grad, reference.weights.grad)
    assert_close(native.weights.detach(), reference.weights.detach())


# ---- sizes ----


@pytest.mark.parametrize("batch", [1, 2, 5, 13])
@pytest.mark.parametrize("hidden", [1, 3, 17, 33, 130])
def test_sizes(hidden: int, batch: int) -> None:
    for inputs in {1, 7, hidden}:
        compare(EVERYTHING, inputs, hidden, steps=3, batch=batch)
    compare(EVERYTHING, 2, hidden, steps=1, batch=batch)
    compare(RAW, hidden, hidden, steps=2, batch=batch)


@pytest.mark.parametrize("hidden", [8, 15, 16, 31, 32, 48, 64, 65])
def test_sizes_next_to_those_of_a_register_or_a_panel(hidden: int) -> None:
    compare(EVERYTHING, hidden + 1, hidden, steps=2, batch=9)


def test_input_sizes_next_to_those_of_a_panel() -> None:
    for inputs in (8, 15, 16, 17, 31, 32, 33, 70):
        compare(EVERYTHING, inputs, 5, steps=2, batch=3)


@pytest.mark.parametrize("batch", [1, 2, 5, 13])
def test_lengths_of_several_blocks(batch: int) -> None:
    for steps in (blocks(batch), ROWS_IN_BLOCK // batch, ROWS_IN_BLOCK // batch + 1):
        compare(published("lstm_peephole"), 3, 6, steps=steps, batch=batch)
    compare(EVERYTHING, 3, 6, steps=blocks(batch, 1), batch=batch)
    compare(RAW, 4, 4, steps=blocks(batch, 1), batch=batch)


def test_more_sequences_than_a_block_has_rows() -> None:
    batch = ROWS_IN_BLOCK + 9
    compare(EVERYTHING, 3, 4, steps=3, batch=batch)
    compare(RAW, 4, 4, steps=3, batch=batch, lengths=1 + torch.arange(batch) % 3)


def test_rows_whose_size_in_memory_is_a_whole_number_of_pages() -> None:
    for steps, batch in ((4, 16), (8, 16), (16, 32)):
        compare(published("gru"), 9, 9, steps=steps, batch=batch)


def test_a_batch_without_sequences_comes_back_empty() -> None:
    _, layer = pair(EVERYTHING, 2, 3)
    y, final = layer(torch.zeros(4, 0, 2, dtype=F64))
    assert y.shape == (4, 0, 3)
    assert final.shape == (3, 0, 3)


# ---- lengths, states, stacks ----


@pytest.mark.parametrize(
    "lengths",
    [
        [5, 5, 5, 5],
        [1, 1, 1, 1],
        [1, 5, 3, 5],
        [5, 3, 3, 1],
        [1, 2, 3, 4],
        [2, 2, 2, 2],
        [4, 1, 1, 1],
    ],
)
@pytest.mark.parametrize("genome", [EVERYTHING, RAW, WEIGHTLESS, SHAPES["shift register"]])
def test_unequal_lengths(genome: Genome, lengths: list[int]) -> None:
    compare(genome, 4, 4, steps=5, batch=4, lengths=torch.tensor(lengths))


def test_unequal_lengths_over_several_blocks() -> None:
    for batch in (3, 7):
        steps = blocks(batch)
        generator = torch.Generator().manual_seed(batch)
        lengths = torch.randint(1, steps + 1, (batch,), generator=generator)
        compare(EVERYTHING, 3, 5, steps=steps, batch=batch, lengths=lengths)
        # Whole blocks behind the end of all sequences, and a sequence that ends with a block.
        lengths = torch.full((batch,), 2)
        lengths[1] = ROWS_IN_BLOCK // batch
        compare(EVERYTHING, 3, 5, steps=steps, batch=batch, lengths=lengths)


def test_lengths_may_be_of_any_integer_type() -> None:
    for dtype in (torch.int32, torch.uint8, torch.int64):
        compare(published("gru"), 3, 4, steps=5, batch=5, lengths=UNEQUAL.to(dtype))


def test_what_lies_behind_a_sequence_is_never_read_not_even_a_nan() -> None:
    for genome in (EVERYTHING, RAW):
        _, layer = pair(genome, 4, 4)
        x, state = inputs_of(genome, 5, 5, 4)
        wanted = run(layer, x, state, UNEQUAL)
        for b, length in enumerate(UNEQUAL.tolist()):
            x[length:, b] = float("nan")
            for name in ("y", "dx"):
                behind = wanted[name][length:, b]
                assert torch.equal(behind, torch.zeros_like(behind)), name
        got = run(layer, x, state, UNEQUAL)
        for name, want in wanted.items():
            assert torch.equal(got[name], want), name


@pytest.mark.parametrize("genome", [EVERYTHING, RAW, SHAPES["a delay of x"]])
def test_two_calls_with_the_state_carried_and_its_gradient_cut(genome: Genome) -> None:
    reference, native = pair(genome, 4, 4)
    x, state = inputs_of(genome, 8, 3, 4)
    found = []
    for layer in (reference, native):
        first = run(layer, x[:5], state)
        second = run(layer, x[5:], first["final"])
        found.append((first, second))
    for got, wanted in zip(found[1], found[0], strict=True):
        assert_same(got, wanted)


def test_two_calls_with_the_gradient_through_the_carried_state_are_one_call() -> None:
    _, layer = pair(EVERYTHING, 4, 4)
    x, _ = inputs_of(EVERYTHING, 9, 3, 4)
    whole, last = layer(x)
    (whole.square().sum() + last.sum()).backward()
    wanted = layer.weights.grad.clone()
    layer.zero_grad()
    first, state = layer(x[:4])
    second, final = layer(x[4:], state)
    (first.square().sum() + second.square().sum() + final.sum()).backward()
    assert_close(torch.cat([first, second]).detach(), whole.detach())
    assert_close(layer.weights.grad, wanted)


@pytest.mark.parametrize("lengths", [None, UNEQUAL])
@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 2},
        {"bidirectional": True},
        {"num_layers": 2, "bidirectional": True},
        {"num_layers": 2, "batch_first": True},
        {"num_layers": 2, "dropout": 0.3},
        {"num_layers": 3, "dropout": 0.3, "input_dropout": 0.2, "recurrent_dropout": 0.4},
        {"num_layers": 2, "bidirectional": True, "dropout": 0.2, "recurrent_dropout": 0.3},
    ],
    ids=str,
)
def test_stacks(options: dict[str, object], lengths: Tensor | None) -> None:
    for genome in (EVERYTHING, published("gru")):
        reference, native = pair(genome, 3, 4, stack=True, **options)
        x, _ = inputs_of(genome, 5, 5, 3)
        if options.get("batch_first"):
            x = x.transpose(0, 1)
        levels = len(reference.layers)
        generator = torch.Generator().manual_seed(1)
        state = torch.randn(levels, genome.states, 5, 4, generator=generator, dtype=F64)
        wanted = run(reference, x, state, lengths)
        assert_same(run(native, x, state, lengths), wanted)
        assert_same(run(native, x, None, lengths), run(reference, x, None, lengths))


@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"batch_first": True}], ids=str)
def test_a_layer_backward_and_batch_first(options: dict[str, object]) -> None:
    reference, native = pair(EVERYTHING, 3, 4, **options)
    x, state = inputs_of(EVERYTHING, 5, 5, 4)
    x = x[..., :3].transpose(0, 1) if options.get("batch_first") else x[..., :3]
    for lengths in (None, UNEQUAL):
        assert_same(run(native, x, state, lengths), run(reference, x, state, lengths))


def test_packed_sequences() -> None:
    reference, native = pair(EVERYTHING, 3, 4, stack=True, num_layers=2, bidirectional=True)
    x, _ = inputs_of(EVERYTHING, 5, 5, 3)
    packed = pack_padded_sequence(x, UNEQUAL, enforce_sorted=False)
    results = []
    for stack in (reference, native):
        y, final = stack(packed)
        assert isinstance(y, PackedSequence)
        (y.data.square().sum() + final.sum()).backward()
        results.append([y.data, final, *(p.grad for p in stack.parameters())])
    for want, got in zip(*results, strict=True):
        assert_close(got.detach(), want.detach())


@pytest.mark.parametrize(
    "options",
    [
        {"input_dropout": 0.5},
        {"recurrent_dropout": 0.5},
        {"input_dropout": 0.3, "recurrent_dropout": 0.3},
    ],
    ids=str,
)
def test_dropout_masks_are_those_of_the_generator(options: dict[str, float]) -> None:
    for genome in (EVERYTHING, published("lstm"), published("ran"), RAW):
        compare(genome, 4, 4, steps=4, batch=3, **options)
        compare(genome, 4, 4, steps=5, batch=5, lengths=UNEQUAL, **options)
    compare(EVERYTHING, 3, 4, steps=blocks(5), batch=5, **options)


def test_nothing_is_dropped_in_evaluation_mode() -> None:
    _, plain = pair(EVERYTHING, 4, 4)
    _, dropping = pair(EVERYTHING, 4, 4, input_dropout=0.5, recurrent_dropout=0.5)
    x, state = inputs_of(EVERYTHING, 4, 3, 4)
    wanted, got = run(plain, x, state), run(dropping.eval(), x, state)
    assert all(torch.equal(got[name], want) for name, want in wanted.items())
