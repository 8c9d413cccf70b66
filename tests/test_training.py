"""`evaluate`: deterministic, honest about failures, and learning something."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genomes import SearchSpace, parse_equations, published, random_genome
from tests.tiny import tiny_text
from workers.messages import Progress, Request, Training
from workers.model import SequenceModel, hidden_size_for_model, model_parameters
from workers.tasks import load_task
from workers.tasks.base import Batch, Task
from workers.training import evaluate, learning_rate, train, trainer_for

SMALL = Training(hidden_size=8, steps=20, batch_size=4, learning_rate=1e-2)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return load_task("text", str(tiny_text(tmp_path_factory.mktemp("data"))), {"length": 16})


def request(name: str = "gru", seed: int = 1, training: Training = SMALL) -> Request:
    return Request(0, published(name).to_json(), seed, training)


def test_the_same_request_gives_the_same_bits(task: Task) -> None:
    first, second = evaluate(request(), task), evaluate(request(), task)
    assert replace(first, seconds=0.0) == replace(second, seconds=0.0)


def test_the_callers_random_numbers_neither_matter_nor_change(task: Task) -> None:
    torch.manual_seed(1)
    first = evaluate(request(), task)
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    second = evaluate(request(), task)
    assert first.metric == second.metric
    assert torch.equal(torch.random.get_rng_state(), before)


def test_whoever_reads_the_progress_may_draw_random_numbers(task: Task) -> None:
    training = replace(SMALL, num_layers=2, dropout=0.5)
    quiet = evaluate(request(training=training), task)
    noisy = evaluate(request(training=training), task, lambda progress: torch.rand(3))
    assert noisy.metric == quiet.metric


class HiddenNan(torch.autograd.Function):
    """Nothing forward, NaN backward."""

    @staticmethod
    def forward(ctx: object, loss: torch.Tensor) -> torch.Tensor:
        return loss.clone()

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * math.nan


def test_weights_that_would_become_nan_end_as_diverged_even_if_the_metric_hides_it(
    task: Task,
) -> None:
    class Hiding(Unfinished):
        def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
            return HiddenNan.apply(self._task.loss(prediction, batch))

        def score(self, prediction: torch.Tensor, batch: Batch) -> tuple[float, int]:
            return 1.0, 2

    result = evaluate(request(training=replace(SMALL, steps=1)), Hiding(task))  # type: ignore[arg-type]
    assert result.failure is not None
    assert result.failure.kind == "diverged"
    assert "a weight is not finite after step 1, the last" in result.failure.message


def test_another_seed_gives_another_result(task: Task) -> None:
    assert evaluate(request(seed=1), task).metric != evaluate(request(seed=2), task).metric


def test_dropout_is_drawn_from_the_seed(task: Task) -> None:
    training = replace(SMALL, num_layers=2, dropout=0.5)
    first, second = (evaluate(request(training=training), task) for _ in range(2))
    assert first.metric == second.metric
    assert first.metric != evaluate(request(training=replace(training, dropout=0.0)), task).metric


def test_training_learns(task: Task) -> None:
    result = evaluate(request(training=replace(SMALL, steps=150)), task)
    assert result.failure is None
    assert result.metric is not None
    assert result.metric < 0.7 * math.log(30)
    assert result.fitness == -result.metric
    assert result.curve[-1][1] < 0.7 * result.curve[0][1]


def test_progress_comes_twenty_times_and_becomes_the_curve(task: Task) -> None:
    seen: list[Progress] = []
    result = evaluate(request(training=replace(SMALL, steps=40)), task, seen.append)
    assert [p.step for p in seen] == list(range(2, 41, 2))
    assert result.curve == tuple((p.step, p.loss) for p in seen)


def test_a_short_training_reports_every_step(task: Task) -> None:
    result = evaluate(request(training=replace(SMALL, steps=3)), task)
    assert [step for step, _ in result.curve] == [1, 2, 3]


def test_a_callback_may_stop_the_evaluation(task: Task) -> None:
    def stop(progress: Progress) -> None:
        raise TimeoutError(f"at step {progress.step}")

    with pytest.raises(TimeoutError, match="at step 1"):
        evaluate(request(), task, stop)


def test_a_non_finite_loss_ends_as_diverged_and_never_as_a_number(task: Task) -> None:
    result = evaluate(request(training=replace(SMALL, learning_rate=1e38)), task)
    assert result.failure is not None
    assert result.failure.kind == "diverged"
    assert "at step" in result.failure.message or "validation" in result.failure.message
    assert result.metric is None
    assert result.fitness is None
    assert result.parameters > 0


def test_a_model_that_does_not_fit_ends_as_out_of_memory(task: Task) -> None:
    result = evaluate(request(training=replace(SMALL, hidden_size=3_000_000)), task)
    assert result.failure is not None
    assert result.failure.kind == "out_of_memory"
    assert "recurrent parameters needs" in result.failure.message
    assert "Lower hidden_size" in result.failure.message


def test_other_errors_are_the_callers(task: Task) -> None:
    with pytest.raises(ValueError, match="unknown engine 'fast'"):
        evaluate(request(training=replace(SMALL, engine="fast")), task)


def test_cosine_ends_near_zero_and_constant_does_not() -> None:
    cosine = replace(SMALL, steps=100)
    rates = [learning_rate(cosine, step) for step in range(100)]
    assert rates[0] == SMALL.learning_rate
    assert rates[-1] < 0.001 * rates[0]
    assert rates == sorted(rates, reverse=True)
    assert learning_rate(replace(cosine, schedule="constant"), 99) == SMALL.learning_rate


def test_the_canonical_form_is_what_is_trained(task: Task) -> None:
    wordy = parse_equations(
        """
        unused = tanh(linear(h))
        gate = sigmoid(linear(h, x))
        same = sigmoid(linear(x, h))
        n = tanh(linear(x, same * h))
        h' = identity(blend(gate, h, n))
        """
    )
    assert wordy.digest == published("gru").digest
    plain = evaluate(Request(0, published("gru").to_json(), 1, SMALL), task)
    other = evaluate(Request(0, wordy.to_json(), 1, SMALL), task)
    assert plain.metric == other.metric


def test_the_hidden_size_for_a_parameter_target_is_within_2_percent(task: Task) -> None:
    training = replace(SMALL, hidden_size=64)
    target = model_parameters(published("lstm"), task, training)
    for name in ("gru", "mgu", "rnn"):
        hidden = hidden_size_for_model(published(name), task, training, target)
        count = model_parameters(published(name), task, replace(training, hidden_size=hidden))
        assert abs(count / target - 1) < 0.02


def test_carried_state_changes_what_the_next_batch_sees(task: Task) -> None:
    model = SequenceModel(published("gru"), task, SMALL)
    batches = task.training_batches(4, np.random.default_rng(0))
    first, second = next(batches), next(batches)
    assert not first.carry_state
    assert second.carry_state
    _, state = model(first)
    assert not torch.equal(model(second, state)[0], model(second)[0])


class Unfinished:
    """A task whose loss is fine but whose score is not."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def __getattr__(self, name: str) -> object:
        return getattr(self._task, name)

    def score(self, prediction: torch.Tensor, batch: Batch) -> tuple[float, int]:
        return math.nan, 1

    def scoring_batches(self, part: str) -> Iterator[Batch]:
        return self._task.scoring_batches("validation")


def test_a_metric_that_is_no_number_ends_as_diverged(task: Task) -> None:
    result = evaluate(request(), Unfinished(task))  # type: ignore[arg-type]
    assert result.failure is not None
    assert result.failure.kind == "diverged"
    assert "nan" in result.failure.message


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), states=st.integers(1, 3))
def test_any_genome_builds_and_trains_a_step_with_finite_gradients(seed: int, states: int) -> None:
    genome = random_genome(SearchSpace(), np.random.default_rng(seed), states=states)
    task = Sine()
    model = SequenceModel(genome, task, SMALL)
    batch = next(task.training_batches(4, np.random.default_rng(seed)))
    prediction, _ = model(batch)
    loss = task.loss(prediction, batch)
    loss.backward()
    assert torch.isfinite(loss)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


class Sine:
    """Regression on made-up waves, for models of any cell."""

    def front_end(self, hidden_size: int) -> torch.nn.Module:
        return torch.nn.Linear(1, hidden_size)

    def head(self, hidden_size: int) -> torch.nn.Module:
        return _LastLinear(hidden_size)

    def training_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
        while True:
            phase = rng.uniform(0, 6, size=(1, batch_size, 1))
            wave = np.sin(np.arange(7)[:, None, None] + phase).astype(np.float32)
            yield Batch(torch.from_numpy(wave[:-1]), torch.from_numpy(wave[-1]))

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        return (prediction - batch.targets).square().mean()


class _LastLinear(torch.nn.Module):
    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(hidden_size, 1)

    def forward(self, states: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        return self.linear(states[-1])


def test_training_changes_every_part_of_the_model(task: Task) -> None:
    torch.manual_seed(0)
    model = SequenceModel(published("gru"), task, SMALL)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in train(trainer_for(model, task, SMALL), task, request()):
        pass
    for name, parameter in model.named_parameters():
        assert not torch.equal(parameter, before[name]), name


def test_a_user_text_file_can_be_compressed(tmp_path: Path) -> None:
    import gzip

    plain = tiny_text(tmp_path)
    packed = tmp_path / "tiny.txt.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    one, two = (load_task("text", str(path), {}) for path in (plain, packed))
    assert one.data_sha256 == two.data_sha256
