"""Whole training steps inside the library: what torch's optimiser makes of the reference."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from native_cases import (
    EVERYTHING,
    F64,
    RAW,
    SHAPES,
    TINY,
    RegressionTask,
    TaggingTask,
    assert_close,
    classes_task,
    compare_training,
    feature_batches,
    forecast_task,
    models,
    random_cell,
    text_task,
    token_batches,
)

from genomes import published, published_names
from workers.engine.native.cell import ROWS_IN_BLOCK
from workers.fused import FusedTrainer
from workers.messages import Training
from workers.model import SequenceModel
from workers.tasks.base import Task
from workers.training import TorchTrainer

FEATURE_TASKS = {
    "classes": classes_task(),
    "forecast": forecast_task(),
    "regression": RegressionTask(2, 3),
    "tagging": TaggingTask(2, 3),
}
GRU = published("gru")


def features(task: Task, seed: int = 1, steps: int = 5, batch: int = 3, **options: object):
    return feature_batches(task, seed, steps, batch, 4, dtype=F64, **options)


# ---- cells ----


@pytest.mark.parametrize("name", published_names())
def test_published_cells_learn_text_and_classes(name: str) -> None:
    genome = published(name)
    compare_training(genome, text_task(), token_batches(1, 5, 3, 4))
    compare_training(genome, classes_task(), features(classes_task(), lengths=True))


@pytest.mark.parametrize("seed", range(45))
def test_random_cells_learn_text_and_one_other_task(seed: int) -> None:
    genome = random_cell(seed)
    compare_training(genome, text_task(), token_batches(seed, 4, 3, 4), seed=seed, tame=20)
    task = list(FEATURE_TASKS.values())[seed % 4]
    batches = features(task, seed, 4, lengths=seed % 3 > 0)
    compare_training(genome, task, batches, seed=seed, tame=20)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 1300, 100))
def test_many_more_random_cells_with_all_dropout_and_several_layers(first: int) -> None:
    for seed in range(first, first + 100):
        training = Training(
            hidden_size=1 + seed % 37,
            num_layers=1 + seed % 3,
            dropout=0.2 * (seed % 2),
            input_dropout=0.1 * (seed % 3),
            recurrent_dropout=0.2 * (seed % 4 > 1),
            clip_norm=1.0,
        )
        genome = random_cell(seed)
        batches = token_batches(seed, 4, 5, 4, lengths=seed % 5 == 0, ignored=0.1)
        compare_training(genome, text_task(), batches, training, seed=seed, tame=20, tolerance=1e-8)


@pytest.mark.parametrize("name", SHAPES)
def test_cells_of_unusual_shape_learn_text_and_classes(name: str) -> None:
    compare_training(SHAPES[name], text_task(), token_batches(1, 5, 3, 4))
    compare_training(SHAPES[name], classes_task(), features(classes_task(), lengths=True))


# ---- tasks, sizes ----


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("task", FEATURE_TASKS.values(), ids=FEATURE_TASKS)
def test_tasks_on_features(task: Task, layers: int, lengths: bool) -> None:
    training = replace(TINY, num_layers=layers)
    for genome in (EVERYTHING, RAW):
        compare_training(genome, task, features(task, lengths=lengths), training)


def test_features_with_the_state_carried() -> None:
    for task in FEATURE_TASKS.values():
        for lengths in (False, True):
            batches = features(task, lengths=lengths, carry=True)
            compare_training(published("lstm"), task, batches, replace(TINY, num_layers=2))


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_text_with_and_without_carried_state(layers: int) -> None:
    training = replace(TINY, num_layers=layers)
    for genome in (EVERYTHING, RAW, published("lstm")):
        for lengths in (False, True):
            batches = token_batches(2, 5, 4, 6, lengths=lengths)
            assert [b.carry_state for b in batches] == [False, True, True, False, False, True]
            compare_training(genome, text_task(), batches, training)


def test_the_projects_own_batches_of_text() -> None:
    task = text_task()
    drawn = task.training_batches(3, np.random.default_rng(4))
    compare_training(EVERYTHING, task, [next(drawn) for _ in range(4)])


def test_the_projects_own_batches_of_sequences() -> None:
    for task in (classes_task(), forecast_task()):
        drawn = task.training_batches(7, np.random.default_rng(4))
        batches = [next(drawn) for _ in range(4)]
        doubled = [
            replace(
                b,
                inputs=b.inputs.double(),
                targets=b.targets.double() if b.targets.is_floating_point() else b.targets,
            )
            for b in batches
        ]
        compare_training(EVERYTHING, task, doubled, replace(TINY, num_layers=2))


@pytest.mark.parametrize("batch", [1, 2, 13])
@pytest.mark.parametrize("hidden", [1, 3, 17, 33, 130])
def test_sizes(hidden: int, batch: int) -> None:
    training = replace(TINY, hidden_size=hidden)
    genome = published("lstm_peephole") if hidden == 130 else EVERYTHING
    compare_training(genome, text_task(), token_batches(1, 3, batch, 3), training)
    compare_training(genome, classes_task(), features(classes_task(), 1, 3, batch), training)


@pytest.mark.parametrize("steps", [1, 2])
def test_short_sequences_one_at_a_time(steps: int) -> None:
    for genome in (EVERYTHING, RAW):
        compare_training(genome, text_task(), token_batches(1, steps, 1, 4))
        for task in FEATURE_TASKS.values():
            compare_training(genome, task, features(task, 1, steps, 1))


@pytest.mark.parametrize("batch", [3, 13, ROWS_IN_BLOCK + 5])
def test_batches_of_several_blocks(batch: int) -> None:
    steps = max(3, 2 * ROWS_IN_BLOCK // batch + 3)
    training = replace(TINY, num_layers=2)
    genome = published("mgu")
    for lengths in (False, True):
        batches = token_batches(1, steps, batch, 2, lengths=lengths, ignored=0.1)
        compare_training(genome, text_task(), batches, training)
    for task in FEATURE_TASKS.values():
        batches = features(task, 1, steps, batch, lengths=True)[:2]
        compare_training(genome, task, batches, training)


@pytest.mark.parametrize("outputs", [1, 2, 15, 16, 17, 31, 32, 33, 65, 100])
def test_numbers_of_classes_and_features(outputs: int) -> None:
    for task in (classes_task(outputs, outputs), TaggingTask(outputs, outputs)):
        compare_training(GRU, task, features(task, 1, 2))
    task = RegressionTask(outputs, outputs)
    compare_training(GRU, task, features(task, 1, 2))


def test_horizons_and_targets_of_a_forecast() -> None:
    for horizon, targets in ((1, 1), (5, 1), (1, 3), (17, 2)):
        task = forecast_task(3, horizon, targets)
        compare_training(GRU, task, features(task))


@pytest.mark.parametrize("hidden", [6, 40])
def test_a_vocabulary_of_words_of_which_a_batch_holds_few(hidden: int) -> None:
    task = text_task(331)
    for carried in ((False, True), (False,)):
        batches = token_batches(3, 4, 3, 4, symbols=331, carried=carried)
        assert len(batches[0].inputs.unique()) < 13
        compare_training(EVERYTHING, task, batches, replace(TINY, hidden_size=hidden))


def test_one_token_all_over_a_batch_and_the_last_of_the_vocabulary() -> None:
    batches = [replace(b, inputs=torch.full_like(b.inputs, 10)) for b in token_batches(3, 9, 4, 3)]
    for genome in (EVERYTHING, RAW):
        compare_training(genome, text_task(), batches)


def test_batches_of_changing_length_and_number_of_sequences() -> None:
    batches = [
        *token_batches(1, 6, 3, 2),
        *token_batches(2, 2, 3, 1, carried=(True,)),
        *token_batches(3, 4, 5, 2),
        *token_batches(4, 7, 2, 2),
        *token_batches(5, 1, 2, 1, carried=(True,)),
    ]
    compare_training(EVERYTHING, text_task(), batches, replace(TINY, num_layers=2))


def test_a_first_batch_that_wants_carried_state_begins_with_zeros() -> None:
    compare_training(EVERYTHING, text_task(), token_batches(1, 4, 3, 2, carried=(True,)))


# ---- dropout, loss, optimiser ----


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"dropout": 0.3},
        {"input_dropout": 0.3},
        {"recurrent_dropout": 0.3},
        {"input_dropout": 0.2, "recurrent_dropout": 0.3},
        {"dropout": 0.2, "input_dropout": 0.2, "recurrent_dropout": 0.3},
    ],
    ids=str,
)
def test_dropout_masks_are_those_of_the_generator(options: dict[str, float], lengths: bool) -> None:
    for layers in (1, 2, 3):
        training = replace(TINY, num_layers=layers, **options)
        for genome in (EVERYTHING, RAW, published("ran")):
            batches = token_batches(1, 4, 4, 4, lengths=lengths)
            compare_training(genome, text_task(), batches, training)
        for task in FEATURE_TASKS.values():
            batches = features(task, lengths=lengths)
            compare_training(EVERYTHING, task, batches, training)


def test_ignored_targets_count_for_nothing() -> None:
    for ignored in (0.1, 0.8):
        batches = token_batches(1, 9, 4, 4, ignored=ignored)
        compare_training(EVERYTHING, text_task(), batches)
    batches = token_batches(1, 6, 3, 4, ignored=0.2)
    for batch in batches:
        batch.targets[:2] = -100  # whole steps
        batch.targets[:, 1] = -100  # a whole sequence
    compare_training(EVERYTHING, text_task(), batches)
    task = classes_task()
    batches = features(task, batch=5)
    for batch in batches:
        batch.targets[2] = -100
    compare_training(EVERYTHING, task, batches)


def test_a_batch_whose_targets_are_all_ignored_has_a_loss_of_nan_and_changes_nothing() -> None:
    batch = token_batches(1, 6, 3, 1, ignored=1.0)[0]
    _, model = models(GRU, text_task(), TINY)
    trainer = FusedTrainer(model, 1.0)
    before = trainer.flat.clone()
    (loss,) = trainer.run([batch], [0.1])
    assert math.isnan(loss)
    assert torch.equal(trainer.flat, before)


def test_what_comes_after_a_loss_that_is_no_number_is_not_run() -> None:
    batches = token_batches(1, 4, 3, 5)
    batches[2] = replace(batches[2], targets=torch.full_like(batches[2].targets, -100))
    for training in (TINY, replace(TINY, input_dropout=0.2)):
        reference, native = models(GRU, text_task(), training)
        found = []
        for trainer in (
            TorchTrainer(reference, text_task(), 1.0),
            FusedTrainer(native, 1.0),
        ):
            torch.manual_seed(0)
            found.append(trainer.run(batches, [0.01] * 5))
        assert [len(losses) for losses in found] == [3, 3]
        assert math.isnan(found[1][2])
        for one, other in zip(native.parameters(), reference.parameters(), strict=True):
            assert_close(one.detach(), other.detach(), 1e-9)


@pytest.mark.parametrize("clip_norm", [1e-4, 0.1, 1e9])
def test_gradients_are_clipped_by_their_norm(clip_norm: float) -> None:
    training = replace(TINY, clip_norm=clip_norm)
    compare_training(EVERYTHING, text_task(), token_batches(1, 5, 3, 6), training)
    compare_training(EVERYTHING, forecast_task(), features(forecast_task()), training)


def test_many_steps_follow_torchs_adam() -> None:
    batches = token_batches(1, 2, 2, 60)
    losses, trainer = compare_training(GRU, text_task(), batches, tolerance=1e-7)
    assert len(losses) == trainer.done == 60


def test_training_in_float32_is_close_to_torchs() -> None:
    for genome in (published("lstm"), EVERYTHING):
        batches = token_batches(1, 8, 5, 6)
        compare_training(genome, text_task(), batches, tolerance=2e-3, dtype=torch.float32)
        _, doubles = models(genome, text_task(), TINY)
        _, floats = models(genome, text_task(), TINY, dtype=torch.float32)
        losses = [FusedTrainer(m, 1.0).run(batches, [0.01] * 6) for m in (doubles, floats)]
        assert_close(torch.tensor(losses[1]), torch.tensor(losses[0]), 1e-5)


def test_an_overflowing_gradient_norm_is_a_step_left_out_as_torchs_is() -> None:
    task = RegressionTask(2, 3)
    batches = feature_batches(task, 1, 4, 3, 3)
    batches[1] = replace(batches[1], targets=batches[1].targets * 3e18)
    for clip_norm in (1.0, 0.1):
        reference, native = models(GRU, task, TINY, dtype=torch.float32)
        found = [
            TorchTrainer(reference, task, clip_norm).run(batches, [0.01] * 3),
            FusedTrainer(native, clip_norm).run(batches, [0.01] * 3),
        ]
        assert_close(torch.tensor(found[1]), torch.tensor(found[0]), 1e-4)
        for one, other in zip(native.parameters(), reference.parameters(), strict=True):
            assert_close(one.detach(), other.detach(), 1e-3)


def test_steps_run_together_are_the_steps_run_one_by_one_to_the_bit() -> None:
    batches = token_batches(1, 5, 3, 6)
    flats = []
    for together in (1, 2, 6):
        _, model = models(EVERYTHING, text_task(), TINY, dtype=torch.float32)
        trainer = FusedTrainer(model, 0.5)
        for first in range(0, 6, together):
            trainer.run(batches[first : first + together], [0.01] * together)
        flats.append(trainer.flat)
    assert torch.equal(flats[0], flats[1])
    assert torch.equal(flats[0], flats[2])


def test_the_batches_are_left_as_they_were() -> None:
    for task in FEATURE_TASKS.values():
        batches = features(task, lengths=True)
        before = [tuple(t.clone() for t in (b.inputs, b.targets, b.lengths)) for b in batches]
        _, model = models(EVERYTHING, task, replace(TINY, num_layers=2, input_dropout=0.2))
        FusedTrainer(model, 1.0).run(batches, [0.1] * 4)
        for batch, (inputs, targets, lengths) in zip(batches, before, strict=True):
            assert torch.equal(batch.inputs, inputs)
            assert torch.equal(batch.targets, targets)
            assert torch.equal(batch.lengths, lengths)


def test_batches_that_are_views_are_read_as_they_are() -> None:
    batches = token_batches(1, 5, 3, 4)
    views = [
        replace(
            b,
            inputs=b.inputs.t().contiguous().t(),
            targets=torch.stack([b.targets, b.targets], 2)[..., 0],
        )
        for b in batches
    ]
    assert not views[0].inputs.is_contiguous()
    losses = []
    for given in (batches, views):
        _, model = models(GRU, text_task(), TINY)
        losses.append(FusedTrainer(model, 1.0).run(given, [0.1] * 4))
    assert losses[0] == losses[1]


def test_the_model_scores_with_what_was_trained() -> None:
    reference, native = models(EVERYTHING, text_task(), TINY)
    batches = token_batches(1, 5, 3, 4)
    TorchTrainer(reference, text_task(), 1.0).run(batches, [0.05] * 4)
    FusedTrainer(native, 1.0).run(batches, [0.05] * 4)
    with torch.no_grad():
        assert_close(native(batches[0])[0], reference(batches[0])[0], 1e-9)
    copied = SequenceModel(EVERYTHING, text_task(), replace(TINY, engine="native")).to(F64)
    copied.load_state_dict(native.state_dict())
    with torch.no_grad():
        assert torch.equal(copied(batches[0])[0], native(batches[0])[0])


def test_a_released_model_holds_each_parameter_in_memory_of_its_own() -> None:
    _, model = models(GRU, text_task(), TINY)
    trainer = FusedTrainer(model, 1.0)
    trainer.run(token_batches(1, 5, 3, 2), [0.01] * 2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer.release()
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name])
        assert p.untyped_storage().nbytes() == p.numel() * p.element_size()
