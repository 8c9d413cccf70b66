"""Numbers of the native engine: NaN and infinity, accuracy, the same bits however it runs."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from native_cases import (
    EVERYTHING,
    F64,
    RAW,
    TINY,
    TaggingTask,
    assert_close,
    classes_task,
    feature_batches,
    forecast_task,
    models,
    pair,
    run,
    text_task,
    token_batches,
)
from torch import Tensor

from genomes import Genome, parse_equations, published
from genomes.ops import ACTIVATIONS
from genomes.reference import ACTIVATIONS as REFERENCE_ACTIVATIONS
from workers import RecurrentLayer
from workers.fused import FusedTrainer
from workers.tasks.base import Batch, Task

F32 = torch.float32
NAN, INF = math.nan, math.inf


def activation_cells(name: str) -> list[Genome]:
    """One activation: over a linear, by itself, over a linear that something else reads, static."""
    return [
        parse_equations(text)
        for text in (
            f"h' = {name}(linear(x, h))",
            f"h' = {name}(x + h)",
            f"a = linear(x, h)\nh' = {name}(a) + a",
            f"s = {name}(linear(x))\nh' = s + tanh(linear(h))",
            f"h' = {name}(x) + tanh(linear(h))",
        )
    ]


def assert_same_kinds(got: Tensor, want: Tensor, what: str) -> None:
    """NaN, infinities and numbers stand in the same places."""
    assert torch.equal(got.isnan(), want.isnan()), what
    infinite = want.isinf()
    assert torch.equal(got.isinf(), infinite), what
    assert torch.equal(got[infinite], want[infinite]), what
    finite = want.isfinite()
    if finite.any():
        assert_close(got[finite], want[finite], 1e-11, what)


# ---- NaN and infinities ----


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("value", [NAN, INF, -INF, 1e300])
def test_nan_and_infinity_pass_an_activation_as_in_torch(name: str, value: float) -> None:
    for genome in activation_cells(name):
        for place in range(5):  # the last columns stand beside padding
            reference, native = pair(genome, 5, 5)
            x = torch.randn(3, 2, 5, dtype=F64, generator=torch.Generator().manual_seed(1))
            x[1, 0, place] = value
            wanted, got = run(reference, x, None), run(native, x, None)
            assert got["y"][:, 1].isfinite().all(), "another sequence"
            for key in ("y", "final"):
                assert_same_kinds(got[key], wanted[key], f"{key} of {genome}")
            if math.isnan(value):
                assert got["y"][1, 0].isnan().any()
                for key in wanted:
                    assert torch.equal(got[key].isnan(), wanted[key].isnan()), f"{key} of {genome}"


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_of_nan_is_nan_and_of_infinity_its_limit(
    name: str, dtype: torch.dtype
) -> None:
    x = torch.tensor([NAN, INF, -INF, 0.0, -0.0, 3e38, -3e38], dtype=dtype)
    x = x[:, None].expand(7, 19).contiguous()  # in each lane
    got = applied(name, x)
    want = REFERENCE_ACTIVATIONS[name](x)
    assert torch.equal(got.isnan(), want.isnan())
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-30, equal_nan=True)


@pytest.mark.parametrize("genome", [EVERYTHING, RAW, published("lstm_peephole")])
def test_nan_in_a_weight_reaches_what_it_reaches_in_the_reference(genome: Genome) -> None:
    for k in range(40):
        reference, native = pair(genome, 3, 3)
        place = k * (reference.weights.numel() - 1) // 39
        with torch.no_grad():
            reference.weights[place] = native.weights[place] = NAN
        x = torch.randn(2, 2, 3, dtype=F64, generator=torch.Generator().manual_seed(k))
        wanted, got = run(reference, x, None), run(native, x, None)
        assert wanted["final"].isnan().any()
        for key in ("y", "final"):
            assert torch.equal(got[key].isnan(), wanted[key].isnan()), (key, place)


@pytest.mark.parametrize("genome", [EVERYTHING, RAW, published("lstm_peephole")])
def test_nan_in_a_state_reaches_what_it_reaches_in_the_reference(genome: Genome) -> None:
    for k in range(genome.states):
        reference, native = pair(genome, 3, 3)
        x = torch.randn(3, 2, 3, dtype=F64, generator=torch.Generator().manual_seed(k))
        state = torch.zeros(genome.states, 2, 3, dtype=F64)
        state[k, 1, 2] = NAN
        wanted, got = run(reference, x, state), run(native, x, state)
        assert wanted["final"].isnan().any()
        for key in ("y", "final", "dx", "dstate", "d weights"):
            assert torch.equal(got[key].isnan(), wanted[key].isnan()), key


def test_nan_in_the_gradient_from_above_reaches_x_and_the_weights() -> None:
    for place in range(4):
        found = []
        for layer in pair(EVERYTHING, 3, 4):
            x = torch.randn(3, 2, 3, dtype=F64, generator=torch.Generator().manual_seed(1))
            y, _ = layer(x.requires_grad_())
            gradient = torch.ones_like(y)
            gradient[1, 0, place] = NAN
            y.backward(gradient)
            found.append((x.grad, layer.weights.grad))
        for want, got in zip(*found, strict=True):
            assert torch.equal(got.isnan(), want.isnan())
        assert found[1][0][2].isfinite().all()
        assert found[1][0][:2, 0].isnan().any()


def losses_after(
    spoil: Callable[[FusedTrainer], None], task: Task, batches: list[Batch]
) -> list[float]:
    _, model = models(EVERYTHING, task, TINY, dtype=F32)
    trainer = FusedTrainer(model, 1.0)
    with torch.no_grad():
        spoil(trainer)
    before = trainer.flat.clone()
    losses = trainer.run(batches, [0.01] * len(batches))
    if not math.isfinite(losses[0]):
        assert torch.equal(trainer.flat.nan_to_num(7), before.nan_to_num(7)), "nothing changes"
    return losses


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_what_is_no_number_in_any_parameter_comes_out_as_a_loss_that_is_none(value: float) -> None:
    tasks = (
        (text_task(), token_batches(1, 4, 3, 2)),
        (classes_task(), feature_batches(classes_task(), 1, 4, 3, 2)),
        (forecast_task(), feature_batches(forecast_task(), 1, 4, 3, 2)),
    )
    for task, batches in tasks:
        reference, _ = models(EVERYTHING, task, TINY, dtype=F32)
        for name, parameter in reference.named_parameters():
            for place in {0, parameter.numel() // 2, parameter.numel() - 1}:
                index = place
                if name == "front_end.weight" and task.name == "text":
                    index = int(batches[0].inputs[0, 0]) * parameter.shape[1]

                def spoil(trainer: FusedTrainer, name: str = name, index: int = index) -> None:
                    trainer.model.get_parameter(name).view(-1)[index] = value

                losses = losses_after(spoil, task, batches)
                # A gate or -inf beside a target may hide an infinity; a NaN never.
                with torch.no_grad():
                    plain, _ = models(EVERYTHING, task, TINY, dtype=F32)
                    plain.get_parameter(name).view(-1)[index] = value
                    wanted = float(task.loss(plain(batches[0])[0], batches[0]))
                assert math.isfinite(losses[0]) == math.isfinite(wanted), (name, index)
                if math.isnan(value):
                    assert math.isnan(losses[0]), (task.name, name, index)


def test_nan_in_a_token_that_the_batch_lacks_is_not_read() -> None:
    batches = token_batches(1, 2, 2, 1)
    missing = next(t for t in range(11) if t not in batches[0].inputs)

    def spoil(trainer: FusedTrainer) -> None:
        trainer.model.front_end.weight[missing] = NAN

    assert math.isfinite(losses_after(spoil, text_task(), batches)[0])


def test_nan_in_features_targets_and_carried_state_comes_out_as_a_loss_of_nan() -> None:
    task = forecast_task()
    for where in ("inputs", "targets"):
        for t in range(2):
            batches = feature_batches(task, 1, 4, 3, 1)
            getattr(batches[0], where)[t, 1, 1] = NAN
            assert math.isnan(losses_after(lambda trainer: None, task, batches)[0])
    _, model = models(EVERYTHING, text_task(), TINY)
    trainer = FusedTrainer(model, 1.0)
    batches = token_batches(1, 4, 3, 3)
    trainer.run(batches[:1], [0.01])
    trainer.state[0, 1, 2, 4] = NAN
    assert math.isnan(trainer.run(batches[1:], [0.01] * 2)[0])


def test_nan_behind_the_end_of_a_sequence_is_not_read() -> None:
    task = classes_task()
    batches = feature_batches(task, 1, 5, 4, 1, lengths=True)
    wanted = losses_after(lambda trainer: None, task, batches)
    # The projection multiplies it by a gradient of zero: NaN in torch as well, so 1e30 here.
    for b, length in enumerate(batches[0].lengths.tolist()):
        batches[0].inputs[length:, b] = 1e30
    assert losses_after(lambda trainer: None, task, batches) == wanted


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("outputs", [1, 5, 16, 32, 37, 64])
def test_cross_entropy_of_extreme_logits_is_torchs(outputs: int, dtype: torch.dtype) -> None:
    task = TaggingTask(2, outputs)
    batch = feature_batches(task, 1, 3, 5, 1, dtype=dtype)
    for value in (NAN, INF, -INF, 1e4, -1e4, 88.0, 3e8, -3e8):
        for place in range(outputs):
            reference, native = models(published("rnn"), task, TINY, dtype=dtype)
            with torch.no_grad():
                for model in (reference, native):
                    model.head.linear.bias[place] = value
                wanted = float(task.loss(reference(batch[0])[0], batch[0]))
            (got,) = FusedTrainer(native, 1.0).run(batch, [0.0])
            assert math.isfinite(got) == math.isfinite(wanted), (value, place)
            if math.isfinite(wanted):
                assert got == pytest.approx(wanted, rel=1e-6), (value, place)
            if math.isnan(value):
                assert math.isnan(got), place


# ---- accuracy ----


def applied(name: str, values: Tensor) -> Tensor:
    """An activation by itself, of values (B, H): h' = f(x + h) from h = 0."""
    genome = parse_equations(f"h' = {name}(x + h)")
    width = values.shape[1]
    layer = RecurrentLayer(genome, width, width, engine="native", dtype=values.dtype)
    with torch.no_grad():
        return layer(values[None])[0][0]


def applied_to_a_product(name: str, values: Tensor) -> Tensor:
    """An activation over a linear that multiplies by one."""
    width = values.shape[1]
    genome = parse_equations(f"h' = {name}(linear(x, h))")
    layer = RecurrentLayer(genome, width, width, engine="native", dtype=values.dtype)
    weights = {name: torch.zeros_like(w) for name, w in layer.named_weights().items()}
    weights["node0_weight_0"] = torch.eye(width, dtype=values.dtype)
    layer.load_weights(weights)
    with torch.no_grad():
        return layer(values[None])[0][0]


def grid(dtype: torch.dtype) -> Tensor:
    """Numbers of all sizes: subnormal, around multiples of ln 2 / 2, saturated; (B, 40)."""
    finfo = torch.finfo(dtype)
    least, most = math.log10(finfo.tiny * finfo.eps), math.log10(finfo.max)
    sizes = torch.logspace(least, most - 0.01, 30_000, dtype=F64)
    steps = torch.arange(1, 400, dtype=F64)[:, None] * math.log(2) / 4
    near = steps * (1 + torch.linspace(-2e-7, 2e-7, 21, dtype=F64))
    positive = torch.cat(
        [sizes, torch.linspace(0, 12, 60_000, dtype=F64), near.flatten(), torch.zeros(1, dtype=F64)]
    ).to(dtype)
    values = torch.cat([positive, -positive])
    values = values[values.isfinite()]
    return values[: len(values) // 40 * 40].view(-1, 40)


def without_subnormals(values: Tensor) -> Tensor:
    """As the engine has them: zero where they are subnormal."""
    return values.where(values.abs() >= torch.finfo(values.dtype).tiny, 0)


@pytest.mark.parametrize("apply", [applied, applied_to_a_product])
@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_tanh_and_sigmoid_in_float32_are_accurate_to_3e_7(name: str, apply: Callable) -> None:
    x = grid(F32)
    got, want = apply(name, x).double(), REFERENCE_ACTIVATIONS[name](x.double())
    assert got.isfinite().all()
    assert float((got - want).abs().max()) <= 3e-7
    if name == "tanh":
        normal = x.abs() >= torch.finfo(F32).tiny
        assert float(((got - want).abs() / want.abs().clamp_min(1e-300))[normal].max()) <= 3e-7
        assert not got[~normal].any()
        assert got.abs().max() <= 1
    else:
        assert got.min() >= 0 and got.max() <= 1


@pytest.mark.parametrize("apply", [applied, applied_to_a_product])
@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_tanh_and_sigmoid_in_float64_are_accurate_to_1e_14(name: str, apply: Callable) -> None:
    x = grid(F64)
    got, want = apply(name, x), REFERENCE_ACTIVATIONS[name](x)
    assert got.isfinite().all()
    assert float((got - want).abs().max()) <= 1e-14
    if name == "tanh":
        normal = x.abs() >= torch.finfo(F64).tiny
        assert float(((got - want).abs() / want.abs().clamp_min(5e-324))[normal].max()) <= 1e-14
        assert not got[~normal].any()
        assert got.abs().max() <= 1


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("name", [a for a in ACTIVATIONS if a not in ("tanh", "sigmoid")])
def test_the_other_activations_are_exact_or_round_once(name: str, dtype: torch.dtype) -> None:
    x = grid(dtype)
    for apply in (applied, applied_to_a_product):
        got = apply(name, x)
        want = without_subnormals(REFERENCE_ACTIVATIONS[name](without_subnormals(x)))
        if name == "softsign":
            assert ((got - want).abs() <= torch.finfo(dtype).eps * want.abs()).all()
        else:
            assert torch.equal(got, want)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives_in_float32_are_accurate(name: str) -> None:
    x = torch.linspace(-12, 12, 40_000, dtype=F64).view(-1, 40)
    genome = parse_equations(f"h' = {name}(x + h)")
    found = []
    for dtype, engine in ((F64, "reference"), (F32, "native")):
        layer = RecurrentLayer(genome, 40, 40, engine=engine, dtype=dtype)
        given = x.to(dtype)[None].requires_grad_()
        layer(given)[0].sum().backward()
        found.append(given.grad.double())
    assert float((found[1] - found[0]).abs().max()) <= 1e-6


def test_the_mean_loss_of_many_rows_is_accurate_in_float32() -> None:
    task = TaggingTask(2, 300)
    batch = feature_batches(task, 1, 50, 60, 1)
    reference, native = models(published("gru"), task, TINY, dtype=F32)
    with torch.no_grad():
        exact = reference.double()
        doubled = feature_batches(task, 1, 50, 60, 1, dtype=F64)
        wanted = float(task.loss(exact(doubled[0])[0], batch[0]))
    assert FusedTrainer(native, 1.0).run(batch, [0.0])[0] == pytest.approx(wanted, rel=1e-6)
