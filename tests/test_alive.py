"""Numerically dead cells are told before they are trained, if that is wanted, and nobody else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from genomes import parse_equations, published, published_names
from genomes.genome import Genome
from tests.tiny import tiny_text
from workers.alive import first_batch, why_dead
from workers.messages import Request, Training
from workers.tasks import load_task
from workers.tasks.base import Batch, Task
from workers.training import build, evaluate

CHECKED = Training(hidden_size=8, steps=20, batch_size=4, learning_rate=1e-2, refuse_dead=True)
ZERO = parse_equations("h' = h * sigmoid(linear(x))")
DOUBLING = parse_equations("h' = h + (h + linear(x))")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return load_task("text", str(tiny_text(tmp_path_factory.mktemp("data"))), {"length": 40})


def request(genome: Genome, training: Training = CHECKED) -> Request:
    return Request(0, genome.to_json(), 1, training)


@pytest.mark.parametrize(
    ("genome", "message"),
    [
        (ZERO, "its output is the same for all 4 sequences (within 0). It was not trained"),
        (DOUBLING, "after at most 40 steps in time. It was not trained"),
    ],
    ids=["zero", "doubling"],
)
def test_a_dead_cell_counts_as_diverged_and_makes_no_step(
    task: Task, genome: Genome, message: str
) -> None:
    result = evaluate(request(genome), task)
    assert result.failure is not None
    assert result.failure.kind == "diverged"
    assert result.failure.message.startswith("dead before the first step: its ")
    assert message in result.failure.message
    assert (result.steps, result.curve, result.engine) == (0, (), "")
    assert result.parameters > 0


def test_without_the_check_it_is_trained(task: Task) -> None:
    result = evaluate(request(ZERO, replace(CHECKED, refuse_dead=False)), task)
    assert result.failure is None
    assert result.steps == 20


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_the_check_changes_no_bit_of_a_training(task: Task, engine: str) -> None:
    training = replace(CHECKED, engine=engine, num_layers=2, dropout=0.3, recurrent_dropout=0.2)
    checked = evaluate(request(published("gru"), training), task)
    plain = evaluate(request(published("gru"), replace(training, refuse_dead=False)), task)
    assert checked.failure is None
    assert replace(checked, seconds=0.0) == replace(plain, seconds=0.0)


@pytest.mark.parametrize("name", published_names())
def test_no_published_cell_is_dead(task: Task, name: str) -> None:
    asked = request(published(name))
    with torch.random.fork_rng():
        assert why_dead(build(asked, task), first_batch(asked, task)) is None


def test_padding_does_not_make_a_constant_output_look_alive(task: Task) -> None:
    asked = request(ZERO)
    with torch.random.fork_rng():
        model = build(asked, task)
        batch = first_batch(asked, task)
        padded = Batch(batch.inputs, batch.targets, torch.tensor([40, 3, 7, 5]), False)
        assert "the same for all 4 sequences" in str(why_dead(model, padded))
        alone = Batch(batch.inputs[:, :1], batch.targets[:, :1], None, False)
        assert "the same at all times" in str(why_dead(model, alone))
