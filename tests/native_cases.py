"""Cells, layers, tasks and comparisons that the tests of the native engine share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from genomes import Genome, Node, SearchSpace, mutate, parse_equations, random_genome
from workers import RecurrentLayer, RecurrentStack
from workers.engine.native.cell import ROWS_IN_BLOCK
from workers.fused import FusedTrainer
from workers.messages import Training
from workers.model import SequenceModel
from workers.tasks.base import Batch, Metric, Task
from workers.tasks.classification import ClassificationTask, Labelled
from workers.tasks.forecasting import ForecastingTask
from workers.tasks.heads import StepHead
from workers.tasks.text import TextTask
from workers.training import TorchTrainer, Trainer

F64 = torch.float64
TOLERANCE = 1e-11
"""Of float64 results, relative to the largest number of the tensor."""


def cell(equations: str) -> Genome:
    """A cell from equations with semicolons between them."""
    return parse_equations(equations.replace(";", "\n"))


EVERYTHING = cell(
    "s = tanh(linear(x)); t = softsign(linear(x, s, bias_init=0.3)); u = scale(s);"
    "r = sigmoid(linear(x, h, c, u)); m = leaky_relu(linear(r * h, t, bias=False));"
    "n = blend(r, m, scale(c)); w = mean(n, h, s, d); k = relu(w - t) + identity(n);"
    "h' = softsign(k); c' = tanh(linear(n, n) + t); d' = 1 - sigmoid(h)"
)
"""All operations and three states; x only through linears, so that any input size fits."""
RAW = cell(
    "z = sigmoid(linear(h, c) + x); v = linear(x); h' = blend(z, tanh(v), x * c * v); c' = x"
)
"""Reads x element by element, and stores it."""
WEIGHTLESS = cell("h' = mean(x, h, c); c' = tanh(h - x)")
"""A cell that has nothing to learn."""


def random_cell(seed: int) -> Genome:
    """A drawn cell after up to four mutations: 1, 2 and 3 states in turn."""
    rng = np.random.default_rng(seed)
    genome = random_genome(SearchSpace(), rng, states=1 + seed % 3)
    for _ in range(seed % 5):
        genome, _ = mutate(genome, SearchSpace(), rng)
    return genome


_DEAD = (
    Node("linear", (0, 1, 2), bias=True),  # 3
    Node("tanh", (3,)),  # 4: a state
    Node("linear", (0,), bias=True),  # 5: dead and static
    Node("scale", (4,)),  # 6: dead and stepped
    Node("linear", (4, 6), bias=True),  # 7: dead
    Node("relu", (7,)),  # 8: dead
    Node("linear", (1, 0)),  # 9
    Node("sigmoid", (9,)),  # 10: dead, over a linear that is needed
    Node("mul", (0, 0)),  # 11: dead, of x itself
    Node("add", (9, 4)),  # 12: a state
)
_SHAPES = {
    "linear of one value twice": "h' = tanh(linear(h, x, h, x))",
    "linear of static and stepped values": (
        "s = tanh(linear(x)); a = sigmoid(linear(x, h)); h' = linear(s, a, x, h)"
    ),
    "linear without bias and static part": "h' = linear(h, bias=False) + x",
    "blend of one value": (
        "a = tanh(linear(x, h)); b = blend(a, a, h) + blend(a, h, a); h' = blend(b, b, b)"
    ),
    "activations on activations": (
        "h' = sigmoid(tanh(relu(one_minus(softsign(identity(linear(x, h)))))))"
    ),
    "an activated linear that is also a state": "a = linear(x, h); h' = tanh(a); c' = a",
    "a linear that two activations read": (
        "a = linear(x, h); s = linear(x); h' = tanh(a) * sigmoid(a) + tanh(s) * sigmoid(s)"
    ),
    "shift register": "h' = tanh(linear(x, h, d)); c' = h; d' = c",
    "emits an earlier state": "h' = d; c' = tanh(linear(x, c)); d' = c",
    "a delay of x": "h' = c; c' = d; d' = x",
    "x in two states": "h' = tanh(linear(c, d, h)); c' = x; d' = x",
    "a static value in two states": (
        "s = sigmoid(linear(x)); h' = tanh(linear(c, d, h)) * s; c' = s; d' = s"
    ),
    "one node for all states": "a = tanh(linear(x, h, c, d)); h' = a; c' = a; d' = a",
    "one earlier state for two states": "h' = tanh(linear(x, c, d)); c' = h; d' = h",
    "states that keep themselves": "h' = tanh(linear(x, c, d)) + d; c' = c; d' = d",
    "states that swap": "h' = tanh(linear(x, c, d)); c' = d; d' = c",
    "states never read": "h' = tanh(linear(x, h)); c' = h' * h'; d' = linear(x, h)",
    "a state never read that holds x": "h' = tanh(linear(x, h)); c' = x; d' = d",
    "state 0 never read": "h' = sigmoid(c); c' = tanh(linear(x, c))",
    "only a scale": "h' = scale(h) + x",
    "only a static scale": "h' = scale(x) - h",
    "only a static linear": "h' = softsign(linear(x)) + h",
}
SHAPES: Mapping[str, Genome] = {
    **{name: cell(equations) for name, equations in _SHAPES.items()},
    "nodes that nobody needs": Genome(2, _DEAD, (12, 4)),
    "no weights": WEIGHTLESS,
    "everything": EVERYTHING,
    "x element by element": RAW,
}
"""Cells by what is special about them."""


def blocks(batch: int, count: int = 2) -> int:
    """So many steps that so many sequences take more than so many blocks."""
    return count * max(1, ROWS_IN_BLOCK // batch) + 3


def shaken(module: nn.Module, seed: int) -> None:
    """Weights away from their special initial values, among them zeros of biases."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=generator, dtype=F64).to(p.dtype))


def run(
    layer: nn.Module, x: Tensor, state: Tensor | None, lengths: Tensor | None = None, seed: int = 0
) -> dict[str, Tensor]:
    """One call forward and backward, with a random linear functional of y and of the final state
    as loss. Masks are drawn from this seed."""
    x = x.clone().requires_grad_()
    state = None if state is None else state.clone().requires_grad_()
    layer.zero_grad()
    torch.manual_seed(seed)
    y, final = layer(x, state, lengths)
    generator = torch.Generator().manual_seed(seed + 1)
    loss = sum(
        (t * torch.randn(t.shape, generator=generator, dtype=F64).to(t.dtype)).sum()
        for t in (y, final)
    )
    loss.backward()
    found = {"y": y.detach(), "final": final.detach(), "dx": x.grad}
    if state is not None:
        found["dstate"] = state.grad
    for name, p in layer.named_parameters():
        if p.numel():  # a cell without weights has an empty vector of them
            found[f"d {name}"] = p.grad.clone()
    return found


def assert_same(
    got: Mapping[str, Tensor], wanted: Mapping[str, Tensor], tolerance: float = TOLERANCE
) -> None:
    """Equal up to a tolerance relative to the largest number of each tensor."""
    assert got.keys() == wanted.keys()
    for name, want in wanted.items():
        assert_close(got[name], want, tolerance, name)


def assert_close(got: Tensor, want: Tensor, tolerance: float = TOLERANCE, what: str = "") -> None:
    assert got.shape == want.shape, what
    if not want.numel():
        return
    assert want.isfinite().all(), f"{what}: the reference is not finite, the case shows nothing"
    scale = max(float(want.abs().max()), 1e-4)  # what cancels leaves a rest of its terms
    error = float((got.to(want.dtype) - want).abs().max())
    assert error <= tolerance * scale, f"{what}: {error:.3g} off, of {scale:.3g}"


def pair(
    genome: Genome, inputs: int, hidden: int, seed: int = 0, stack: bool = False, **options: object
) -> tuple[nn.Module, nn.Module]:
    """The same layer on engine reference and on engine native, float64."""
    kind = RecurrentStack if stack else RecurrentLayer
    torch.manual_seed(seed)
    reference = kind(genome, inputs, hidden, engine="reference", dtype=F64, **options)
    shaken(reference, seed)
    native = kind(genome, inputs, hidden, engine="native", dtype=F64, **options)
    native.load_state_dict(reference.state_dict())
    return reference, native


def compare(
    genome: Genome,
    inputs: int,
    hidden: int,
    steps: int,
    batch: int,
    *,
    lengths: Tensor | None = None,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    scale: float = 0.7,
    **options: object,
) -> None:
    """A layer gives on engine native what it gives on engine reference."""
    reference, native = pair(genome, inputs, hidden, seed=seed, **options)
    generator = torch.Generator().manual_seed(seed + 2)
    x = scale * torch.randn(steps, batch, inputs, generator=generator, dtype=F64)
    shape = (genome.states, batch, hidden)
    state = scale * torch.randn(shape, generator=generator, dtype=F64)
    wanted = run(reference, x, state, lengths, seed)
    assert_same(run(native, x, state, lengths, seed), wanted, tolerance)


METRIC = Metric("loss", "", higher_is_better=False)
TINY = Training(hidden_size=5, batch_size=3, clip_norm=1e6)


def text_task(symbols: int = 11) -> TextTask:
    """Each-step head, cross-entropy, tokens."""
    codes = np.random.default_rng(0).integers(symbols, size=3000).astype(np.int32)
    parts = codes[:2000], codes[2000:2500], codes[2500:]
    return TextTask("text", METRIC, "0" * 64, *parts, symbols=symbols, length=8)


def classes_task(features: int = 3, classes: int = 4) -> ClassificationTask:
    """Head on mean and last state, cross-entropy, features."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 8, size=60)
    values = rng.normal(size=(int(lengths.sum()), features)).astype(np.float32)
    part = Labelled(values, lengths, rng.integers(classes, size=60))
    names = tuple(map(str, range(classes)))
    return ClassificationTask("classes", METRIC, "0" * 64, names, part, part, part)


def forecast_task(columns: int = 3, horizon: int = 2, targets: int = 2) -> ForecastingTask:
    """Head on the last state, squared error, features."""
    series = np.random.default_rng(0).normal(size=(90, columns)).astype(np.float32)
    names = tuple(map(str, range(columns)))
    rows = {"training": (0, 60), "validation": (60, 75), "test": (75, 90)}
    about = "forecast", METRIC, "0" * 64, names, names[:targets], 6, horizon, 1
    moving = np.ones(columns, dtype=bool)
    return ForecastingTask(*about, series, series[:, :targets], False, moving, rows)


class UsersTask:
    """A user's own task: a head for each step, features or tokens, and their own loss."""

    name = "users"
    metric = METRIC
    data_sha256 = "0" * 64

    def __init__(self, front: nn.Module | int, outputs: int) -> None:
        self.front, self.outputs = front, outputs

    def front_end(self, hidden_size: int) -> nn.Module:
        return nn.Linear(self.front, hidden_size) if isinstance(self.front, int) else self.front

    def head(self, hidden_size: int) -> nn.Module:
        return StepHead(hidden_size, self.outputs)

    def training_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
        while True:
            yield feature_batches(self, int(rng.integers(1 << 30)), 5, batch_size, 1)[0]

    def scoring_batches(self, part: str) -> Iterator[Batch]:
        yield feature_batches(self, 5, 5, 4, 1)[0]

    def score(self, prediction: Tensor, batch: Batch) -> tuple[float, int]:
        return float(self.loss(prediction, batch)), 1  # type: ignore[attr-defined]


class RegressionTask(UsersTask):
    """Squared error at each step."""

    training_loss: ClassVar[str] = "squared_error"

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        return functional.mse_loss(prediction, batch.targets)


class TaggingTask(UsersTask):
    """A class at each step."""

    training_loss: ClassVar[str] = "cross_entropy"

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        return functional.cross_entropy(prediction.flatten(0, 1), batch.targets.flatten())


class OwnLossTask(UsersTask):
    """A loss that only torch knows."""

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        return (prediction - batch.targets).abs().mean()


def token_batches(
    seed: int,
    steps: int,
    batch: int,
    count: int,
    *,
    symbols: int = 11,
    carried: tuple[bool, ...] = (False, True, True, False),
    ignored: float = 0.0,
    lengths: bool = False,
) -> list[Batch]:
    """Batches for `text_task`; some targets ignored, some state carried."""
    rng = np.random.default_rng(seed)
    result = []
    for k in range(count):
        inputs, targets = torch.from_numpy(rng.integers(symbols, size=(2, steps, batch)))
        targets[torch.from_numpy(rng.random((steps, batch)) < ignored)] = -100
        made = torch.from_numpy(rng.integers(1, steps + 1, size=batch)) if lengths else None
        result.append(Batch(inputs, targets, made, carried[k % len(carried)]))
    return result


def feature_batches(
    task: Task,
    seed: int,
    steps: int,
    batch: int,
    count: int,
    *,
    lengths: bool = False,
    dtype: torch.dtype = torch.float32,
    carry: bool = False,
) -> list[Batch]:
    """Batches of features for any other task here."""
    rng = np.random.default_rng(seed)
    features = task.front_end(1).in_features
    outputs = task.head(1).get_submodule("linear").out_features

    def drawn(*shape: int) -> Tensor:
        return torch.from_numpy(rng.normal(size=shape)).to(dtype)

    result = []
    for _ in range(count):
        inputs = drawn(steps, batch, features)
        made = torch.from_numpy(rng.integers(1, steps + 1, size=batch)) if lengths else None
        if isinstance(task, ForecastingTask):
            targets = drawn(task.horizon, batch, len(task.targets))
        elif isinstance(task, ClassificationTask):
            targets = torch.from_numpy(rng.integers(outputs, size=batch))
        elif isinstance(task, TaggingTask):
            targets = torch.from_numpy(rng.integers(outputs, size=(steps, batch)))
        else:
            targets = drawn(steps, batch, outputs)
        result.append(Batch(inputs, targets, made, carry))
    return result


def models(
    genome: Genome, task: Task, training: Training, seed: int = 0, dtype: torch.dtype = F64
) -> tuple[SequenceModel, SequenceModel]:
    """The same model on engine reference and on engine native."""
    result = []
    for engine in ("reference", "native"):
        torch.manual_seed(seed)
        model = SequenceModel(genome, task, replace(training, engine=engine)).to(dtype)
        shaken(model, seed)
        result.append(model)
    return result[0], result[1]


def compare_training(
    genome: Genome,
    task: Task,
    batches: list[Batch],
    training: Training = TINY,
    *,
    seed: int = 0,
    tolerance: float = 1e-9,
    dtype: torch.dtype = F64,
    tame: float = float("inf"),
) -> tuple[list[float], FusedTrainer]:
    """Whole steps in the library change a model as torch's optimiser does around the reference.

    Of a drawn cell only the steps before the first loss beyond ``tame`` are run: a cell that
    explodes makes any two engines differ, by what they round.
    """
    rates = [0.02 / (1 + k) for k in range(len(batches))]

    def run_with(trainer: Trainer, steps: int) -> list[float]:
        torch.manual_seed(seed)  # masks
        return trainer.run(batches[:steps], rates[:steps])

    steps = len(batches)
    if math.isfinite(tame):
        reference, _ = models(genome, task, training, seed, dtype)
        losses = run_with(TorchTrainer(reference, task, training.clip_norm), steps)
        steps = next((k for k, loss in enumerate(losses) if not loss <= tame), steps)
    reference, native = models(genome, task, training, seed, dtype)
    torch_trainer = TorchTrainer(reference, task, training.clip_norm)
    trainer = FusedTrainer(native, training.clip_norm)
    wanted, got = run_with(torch_trainer, steps), run_with(trainer, steps)
    assert_close(torch.tensor(got, dtype=F64), torch.tensor(wanted, dtype=F64), tolerance, "losses")
    for (name, one), other in zip(native.named_parameters(), reference.parameters(), strict=True):
        assert_close(one.detach(), other.detach(), tolerance, name)
    if steps:
        assert_close(trainer.state, torch_trainer.state, tolerance, "state")
    return got, trainer
