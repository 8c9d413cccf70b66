"""The engine `native` as a part of autograd: which gradients, when, and what is refused."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from native_cases import (
    EVERYTHING,
    F64,
    RAW,
    SHAPES,
    assert_close,
    assert_same,
    pair,
    run,
)
from torch import Tensor

from genomes import Genome, published
from workers import RecurrentLayer
from workers.engine.native.cell import native_cell
from workers.engine.native.layer import SCORED_STEPS
from workers.engine.native.memory import BUFFERS


def inputs_of(genome: Genome, steps: int, batch: int, width: int, seed: int = 5):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(steps, batch, width, generator=generator, dtype=F64)
    return x, torch.randn(genome.states, batch, width, generator=generator, dtype=F64)


@pytest.mark.parametrize("wanted", ["weights", "x", "state", "weights x", "x state"])
def test_only_what_wants_a_gradient_gets_one(wanted: str) -> None:
    for genome in (EVERYTHING, RAW, SHAPES["only a static linear"]):
        found = []
        for layer in pair(genome, 4, 4):
            x, state = inputs_of(genome, 4, 3, 4)
            given = {"weights": layer.weights, "x": x, "state": state}
            for name, tensor in given.items():
                tensor.requires_grad_(name in wanted.split())
            y, final = layer(x, state)
            (y.square().sum() + final.sum()).backward()
            for name, tensor in given.items():
                assert (tensor.grad is not None) == (name in wanted.split()), name
            found.append([t.grad for t in given.values() if t.grad is not None])
        for want, got in zip(*found, strict=True):
            assert_close(got, want)


def test_a_loss_of_the_outputs_alone_or_of_the_final_state_alone() -> None:
    for use in (lambda y, final: y[1:3].sin().sum(), lambda y, final: final[1].sin().sum()):
        found = []
        for layer in pair(EVERYTHING, 4, 4):
            x, state = inputs_of(EVERYTHING, 4, 3, 4)
            x.requires_grad_()
            use(*layer(x, state)).backward()
            found.append((x.grad, layer.weights.grad))
        for want, got in zip(*found, strict=True):
            assert_close(got, want)


def test_gradients_that_are_views_or_broadcast_are_read_as_they_are() -> None:
    found = []
    for layer in pair(published("gru"), 4, 4):
        x, state = inputs_of(published("gru"), 4, 3, 4)
        y, final = layer(x.transpose(0, 1).contiguous().transpose(0, 1), state)
        torch.autograd.backward(
            [y, final],
            [torch.ones(1, 1, 4, dtype=F64).expand(4, 3, 4), final.detach().flip(2)],
        )
        found.append(layer.weights.grad)
    assert_close(found[1], found[0])


@pytest.mark.parametrize("lengths", [None, torch.tensor([70, 3, 33, 64, 32])])
def test_without_gradients_the_outputs_are_the_same(lengths: Tensor | None) -> None:
    assert SCORED_STEPS < 64
    for genome in (EVERYTHING, RAW):
        _, layer = pair(genome, 4, 4)
        x, state = inputs_of(genome, 70, 5, 4)
        y, final = layer(x, state, lengths)
        assert y.requires_grad
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                scored, last = layer(x, state, lengths)
            assert not scored.requires_grad
            assert_close(scored.clone(), y.detach(), 1e-14)
            assert_close(last.clone(), final.detach(), 1e-14)
        layer.weights.requires_grad_(False)
        assert_close(layer(x, state, lengths)[0], y.detach(), 1e-14)


def test_without_gradients_masks_hold_for_all_steps() -> None:
    reference, native = pair(EVERYTHING, 4, 4, input_dropout=0.3, recurrent_dropout=0.4)
    x, state = inputs_of(EVERYTHING, 70, 3, 4)
    found = []
    for layer in (reference, native):
        torch.manual_seed(3)
        with torch.no_grad():
            found.append(layer(x, state))
    for want, got in zip(*found, strict=True):
        assert_close(got, want)


def test_without_gradients_the_memory_does_not_grow_with_the_length() -> None:
    _, layer = pair(published("gru"), 4, 4)
    sizes = []
    for steps in (3 * SCORED_STEPS, 20 * SCORED_STEPS):
        BUFFERS.clear()
        with torch.no_grad():
            layer(torch.zeros(steps, 2, 4, dtype=F64))
        sizes.append(BUFFERS.free_bytes())
    assert sizes[1] == sizes[0] > 0


@pytest.mark.parametrize("genome", [EVERYTHING, RAW, published("lstm")])
def test_float32_is_close_to_float64(genome: Genome) -> None:
    _, exact = pair(genome, 20, 20)
    layer = RecurrentLayer(genome, 20, 20, engine="native", dtype=torch.float32)
    layer.load_state_dict(exact.state_dict())
    x, state = inputs_of(genome, 12, 5, 20)
    x, state = 0.5 * x, 0.5 * state
    assert_same(run(layer, x.float(), state.float()), run(exact, x, state), 3e-5)


def test_two_forwards_before_one_backward_and_backward_in_the_other_order() -> None:
    reference, native = pair(EVERYTHING, 4, 4)
    x, state = inputs_of(EVERYTHING, 6, 3, 4)
    y, z = inputs_of(EVERYTHING, 2, 5, 4)
    wanted = run(reference, x, state)["d weights"], run(reference, y, z)["d weights"]
    for order in ((0, 1), (1, 0)):
        losses = []
        for inputs, start in ((x, state), (y, z)):
            torch.manual_seed(0)
            outputs = native(inputs, start)
            generator = torch.Generator().manual_seed(1)
            losses.append(
                sum(
                    (o * torch.randn(o.shape, generator=generator, dtype=F64)).sum()
                    for o in outputs
                )
            )
        for k in order:
            native.zero_grad()
            losses[k].backward()
            assert_close(native.weights.grad, wanted[k])
    native.zero_grad()
    torch.stack([native(x, state)[0].sum(), native(x, state)[1].sum()]).sum().backward()
    both = native.weights.grad.clone()
    native.zero_grad()
    outputs = native(x, state)
    (outputs[0].sum() + outputs[1].sum()).backward()
    assert_close(native.weights.grad, both)


def test_a_second_backward_of_a_retained_graph_gives_the_same_gradients() -> None:
    _, layer = pair(EVERYTHING, 4, 4, recurrent_dropout=0.3)
    x, state = inputs_of(EVERYTHING, 4, 3, 4)
    x.requires_grad_()
    y, final = layer(x, state)
    loss = y.sin().sum() + final.sin().sum()
    first = torch.autograd.grad(loss, (layer.weights, x), retain_graph=True)
    layer(x.detach().flip(0), state)  # other calls between
    second = torch.autograd.grad(loss, (layer.weights, x))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(loss, layer.weights)


def test_weights_changed_between_forward_and_backward_are_torchs_error() -> None:
    _, layer = pair(EVERYTHING, 4, 4)
    x, state = inputs_of(EVERYTHING, 4, 3, 4)
    y, _ = layer(x, state)
    with torch.no_grad():
        layer.weights.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_an_input_changed_between_forward_and_backward_changes_nothing() -> None:
    _, layer = pair(EVERYTHING, 4, 4)
    x, state = inputs_of(EVERYTHING, 4, 3, 4)
    wanted = run(layer, x, state)["d weights"]
    layer.zero_grad()
    x, state = x.clone(), state.clone()
    y, final = layer(x, state)
    x.zero_(), state.zero_()
    generator = torch.Generator().manual_seed(1)
    loss = [(t * torch.randn(t.shape, generator=generator, dtype=F64)).sum() for t in (y, final)]
    sum(loss).backward()
    assert torch.equal(layer.weights.grad, wanted)


@pytest.mark.parametrize("lengths", [None, torch.tensor([3, 1])])
def test_gradcheck(lengths: Tensor | None) -> None:
    for genome in (published("lstm_peephole"), RAW):
        _, layer = pair(genome, 2, 2)
        x, state = inputs_of(genome, 3, 2, 2)

        def call(flat: Tensor, x: Tensor, state: Tensor, layer: RecurrentLayer = layer) -> object:
            return torch.func.functional_call(layer, {"weights": flat}, (x, state, lengths))

        inputs = (layer.weights.detach().clone(), x, state)
        assert torch.autograd.gradcheck(call, tuple(t.requires_grad_() for t in inputs))


def test_gradients_of_gradients_are_refused() -> None:
    _, layer = pair(published("gru"), 3, 3)
    x, _ = inputs_of(published("gru"), 3, 2, 3)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def summed(layer: RecurrentLayer) -> Callable[[Tensor], Tensor]:
    return lambda x: layer(x)[0].square().sum()


@pytest.mark.parametrize(
    "transform",
    [
        lambda layer, x: torch.func.grad(summed(layer))(x),
        lambda layer, x: torch.func.vmap(summed(layer))(torch.stack([x, x])),
        lambda layer, x: torch.jit.trace(layer, (x,))(x)[0],
    ],
    ids=["grad", "vmap", "trace"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_what_torch_records_or_transforms_is_refused_and_left_to_its_own_engine_by_auto(
    transform: Callable[[RecurrentLayer, Tensor], Tensor],
) -> None:
    _, layer = pair(EVERYTHING, 4, 4)
    x, _ = inputs_of(EVERYTHING, 3, 2, 4)
    with pytest.raises(ValueError, match="torch cannot trace, compile or transform it. Use"):
        transform(layer, x)
    layer.engine = "auto"
    got = transform(layer, x).detach()
    layer.engine = "torch"
    assert_close(got, transform(layer, x).detach(), 1e-14)


@pytest.mark.filterwarnings("ignore:Dynamo detected a call", "ignore::DeprecationWarning")
def test_a_compiled_layer_computes_the_same() -> None:
    _, layer = pair(published("gru"), 4, 4)
    x, _ = inputs_of(published("gru"), 3, 2, 4)
    wanted = layer(x)[0].detach()
    layer.engine = "auto"
    got = torch.compile(layer, backend="eager")(x)[0].detach()
    torch._dynamo.reset()
    assert_close(got, wanted, 1e-14)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_derivatives_forward_in_time_of_the_graph_are_refused() -> None:
    _, layer = pair(EVERYTHING, 4, 4)
    x, _ = inputs_of(EVERYTHING, 3, 2, 4)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        with pytest.raises(RuntimeError, match="jvp"):
            layer(dual)


def test_a_batch_without_sequences_has_gradients_of_zero() -> None:
    _, layer = pair(EVERYTHING, 2, 3)
    y, final = layer(torch.zeros(4, 0, 2, dtype=F64, requires_grad=True))
    (y.sum() + final.sum()).backward()
    assert torch.equal(layer.weights.grad, torch.zeros_like(layer.weights))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_other_types_are_refused_by_name(dtype: torch.dtype) -> None:
    layer = RecurrentLayer(published("gru"), 3, 3, engine="native").to(dtype)
    with pytest.raises(ValueError, match=rf"float32 or float64 on the CPU, but x is {dtype}"):
        layer(torch.zeros(2, 1, 3, dtype=dtype))


def test_mixed_types_are_refused_by_name() -> None:
    layer = RecurrentLayer(published("gru"), 3, 3, engine="native", dtype=F64)
    with pytest.raises(ValueError, match=r"x is torch.float32 .* the weights are torch.float64"):
        layer(torch.zeros(2, 1, 3))
    with pytest.raises(ValueError, match=r"the state are torch.float32"):
        layer(torch.zeros(2, 1, 3, dtype=F64), torch.zeros(1, 1, 3))


def test_a_copied_or_pickled_layer_computes_the_same() -> None:
    _, layer = pair(EVERYTHING, 4, 4, input_dropout=0.1)
    x, state = inputs_of(EVERYTHING, 4, 3, 4)
    wanted = run(layer, x, state)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        got = run(other, x, state)
        assert all(torch.equal(got[name], want) for name, want in wanted.items())


def test_more_cells_than_are_kept_at_hand_can_be_in_use() -> None:
    x, state = inputs_of(published("rnn"), 3, 2, 2)
    x.requires_grad_()
    _, layer = pair(published("rnn"), 2, 2)
    y, _ = layer(x, state)
    (wanted,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
    for hidden in range(3, 3 + native_cell.cache_info().maxsize):
        RecurrentLayer(published("rnn"), 1, hidden, engine="native")(torch.zeros(1, 1, 1))
    (got,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(got, wanted)
