"""The task kind ``classification``: formats, splits, unequal lengths, what is refused."""

from __future__ import annotations

import hashlib
import lzma
import pickle
import warnings
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from labelled_data import classification, npz, ramps, written
from shared_data import shared_data
from torch import nn

from workers.tasks.classification import FIFTH, TENTH, ClassificationTask
from workers.tasks.splits import stratified


def rows_of(task: ClassificationTask) -> list[bytes]:
    """Every sequence of the task, as bytes, in any order."""
    found = []
    for part in (task.training, task.validation, task.test):
        pieces = np.split(part.values, np.cumsum(part.lengths)[:-1])
        found += [piece.tobytes() for piece in pieces]
    return sorted(found)


def test_npz_csv_parquet_and_ts_give_the_same_task(tmp_path: Path) -> None:
    values, labels = ramps()
    names = [f"{axis}{step}" for step in range(8) for axis in "xy"]
    columns = dict(zip(names, values.reshape(60, 16).T, strict=True))
    table = pa.table({**columns, "class": labels})
    pa.parquet.write_table(table, tmp_path / "data.parquet")
    pa.csv.write_csv(table, tmp_path / "data.csv")
    features = [
        ":".join(",".join(map(repr, feature.tolist())) for feature in sequence.T)
        for sequence in values
    ]
    lines = [f"{text}:{label}" for text, label in zip(features, labels, strict=True)]
    ts = "@timestamps false\n@classLabel true 0 1\n@data\n" + "\n".join(lines) + "\n"
    tasks = [
        classification(npz(tmp_path, X=values, y=labels)),
        classification(tmp_path / "data.parquet", features=2),
        classification(tmp_path / "data.csv", features=2, label="class"),
        classification(written(tmp_path, "data.ts", ts)),
        classification(written(tmp_path, "data.ts.xz", lzma.compress(ts.encode()))),
    ]
    for task in tasks:
        assert task.classes == ("0", "1")
        for part in ("training", "validation", "test"):
            assert np.array_equal(getattr(task, part).values, getattr(tasks[0], part).values)
            assert np.array_equal(getattr(task, part).labels, getattr(tasks[0], part).labels)
    assert tasks[3].data_sha256 == tasks[4].data_sha256
    assert tasks[2].data_sha256 != tasks[3].data_sha256


def test_a_single_feature_needs_no_third_axis(tmp_path: Path) -> None:
    values, labels = ramps()
    task = classification(npz(tmp_path, X=values[:, :, 1], y=np.array(["no", "yes"])[labels]))
    assert task.classes == ("no", "yes")
    assert task.training.values.shape[1] == 1


def test_the_split_keeps_the_mixture_of_classes_and_needs_no_seed(tmp_path: Path) -> None:
    values, _ = ramps(100)
    labels = np.repeat([0, 1, 2], [70, 20, 10])
    task = classification(npz(tmp_path, X=values, y=labels))
    for part, counts in (("training", [56, 16, 8]), ("validation", [7, 2, 1]), ("test", [7, 2, 1])):
        assert np.bincount(getattr(task, part).labels).tolist() == counts
    turned = classification(npz(tmp_path, "turned.npz", X=values[::-1], y=labels[::-1]))
    for part in ("training", "validation", "test"):
        one, other = getattr(task, part), getattr(turned, part)
        assert sorted(one.values[:, 1]) == pytest.approx(sorted(other.values[:, 1]))


@pytest.mark.parametrize("shares", [[TENTH, TENTH], [FIFTH]])
def test_the_parts_are_the_first_of_each_class_by_the_hash_of_their_content(
    shares: list[Fraction],
) -> None:
    """Recorded runs depend on it: the same rule, put class by class."""
    rng = np.random.default_rng(3)
    for count, classes in ((9, 3), (200, 4), (300, 90)):
        labels = rng.integers(0, classes, count)
        keys = [bytes([rng.integers(40)]) for _ in range(count)]  # some come up again
        parts: list[list[int]] = [[] for _ in range(len(shares) + 1)]
        for label in range(classes):
            members = [i for i in range(count) if labels[i] == label]
            members.sort(key=lambda i: (hashlib.sha256(keys[i]).digest(), i))
            sizes = [int(len(members) * share + Fraction(1, 2)) for share in shares]
            if len(members) > len(shares):
                sizes = [max(1, size) for size in sizes]
            for part, size in zip(parts[1:], sizes, strict=True):
                part += members[:size]
                members = members[size:]
            parts[0] += members
        for found, expected in zip(stratified(keys, labels, shares), parts, strict=True):
            assert found.tolist() == sorted(expected)


def test_a_test_file_is_the_test_part_and_a_fifth_of_the_rest_validates(tmp_path: Path) -> None:
    values, labels = ramps(60)
    test = npz(tmp_path, "test.npz", X=values[:7] + 1, y=labels[:7])
    train = npz(tmp_path, X=values, y=labels)
    task = classification(train, test_data=str(test))
    assert [len(p.labels) for p in (task.training, task.validation, task.test)] == [48, 12, 7]
    assert task.data_sha256 != classification(train).data_sha256
    assert np.array_equal(task.test.labels, labels[:7])


def test_only_the_training_part_decides_the_scale(tmp_path: Path) -> None:
    values, labels = ramps()
    task = classification(npz(tmp_path, X=values, y=labels))
    assert task.training.values.mean(axis=0) == pytest.approx([0, 0], abs=1e-5)
    assert task.training.values.std(axis=0) == pytest.approx([1, 1], abs=1e-5)
    assert abs(task.test.values.std(axis=0) - 1).max() > 1e-3
    raw = classification(npz(tmp_path, X=values, y=labels), standardise=False)
    assert raw.training.values[:, 1].mean() == pytest.approx(100, abs=1)
    expected = sorted(row.astype(np.float32).tobytes() for row in values)
    assert rows_of(raw) == expected


def test_a_constant_feature_is_no_division_by_nothing(tmp_path: Path) -> None:
    values, labels = ramps()
    values[:, :, 0] = 0.1
    task = classification(npz(tmp_path, X=values, y=labels))
    assert np.abs(task.test.values[:, 0]).max() < 1e-6


def test_unequal_lengths_are_padded_to_the_longest_of_the_batch(tmp_path: Path) -> None:
    values, labels = ramps()
    lengths = np.arange(60) % 8 + 1
    values[np.arange(8)[None, :] >= lengths[:, None]] = np.nan  # padding is not read
    task = classification(npz(tmp_path, X=values, y=labels, lengths=lengths), standardise=False)
    for batch in islice(task.training_batches(5, np.random.default_rng(0)), 8):
        assert batch.lengths is not None
        assert batch.inputs.shape == (int(batch.lengths.max()), 5, 2)
        for place, length in enumerate(batch.lengths.tolist()):
            assert torch.all(batch.inputs[length:, place] == 0)
            assert torch.all(batch.inputs[:length, place, 1] > 50)


def test_short_rows_of_a_table_are_short_sequences(tmp_path: Path) -> None:
    lines = [f"{n},{n + 1},{n + 2},{n + 3},a\n{n},{n + 9},,,b\n" for n in range(20)]
    path = written(tmp_path, "short.csv", "x1,y1,x2,y2,kind\n" + "".join(lines))
    task = classification(path, features=2)
    for part in (task.training, task.validation, task.test):
        assert np.array_equal(part.lengths, np.where(part.labels == 0, 2, 1))


def test_equal_lengths_need_no_lengths(tmp_path: Path) -> None:
    values, labels = ramps()
    task = classification(npz(tmp_path, X=values, y=labels))
    assert next(task.scoring_batches("test")).lengths is None


def test_training_sees_each_sequence_once_a_pass_in_the_order_of_the_generator(
    tmp_path: Path,
) -> None:
    values, labels = ramps(100)
    task = classification(npz(tmp_path, X=values, y=labels))  # 80 to train

    def order(seed: int) -> list[float]:
        batches = islice(task.training_batches(16, np.random.default_rng(seed)), 5)
        return [value for batch in batches for value in batch.inputs[0, :, 0].tolist()]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert len(set(order(1))) == 80
    assert next(task.training_batches(500, np.random.default_rng(0))).inputs.shape[1] == 80


def test_the_metric_is_the_share_that_is_right(tmp_path: Path) -> None:
    values, labels = ramps(200)
    task = classification(npz(tmp_path, X=values, y=labels))
    assert task.metric.higher_is_better
    scores = [
        task.score(nn.functional.one_hot(1 - batch.targets, 2).float(), batch)
        for batch in task.scoring_batches("test")
    ]
    assert [sum(column) for column in zip(*scores, strict=True)] == [0, 20]
    batch = next(task.scoring_batches("test"))
    assert task.score(nn.functional.one_hot(batch.targets, 2).float(), batch) == (20.0, 20)


def test_a_prediction_that_is_not_finite_has_no_score(tmp_path: Path) -> None:
    values, labels = ramps()
    task = classification(npz(tmp_path, X=values, y=labels))
    batch = next(task.scoring_batches("test"))
    prediction = torch.zeros(len(batch.targets), 2)
    prediction[0, 0] = torch.nan
    assert np.isnan(task.score(prediction, batch)[0])


def test_the_head_reads_the_mean_and_the_last_state_before_the_padding(tmp_path: Path) -> None:
    values, labels = ramps()
    head = classification(npz(tmp_path, X=values, y=labels)).head(3)
    states = torch.randn(6, 2, 3)
    padded = states.clone()
    padded[4:, 0] = torch.inf
    lengths = torch.tensor([4, 6])
    short = head(states[:4, :1], None)
    assert torch.allclose(head(padded, lengths)[:1], short, atol=1e-6)
    assert torch.allclose(head(padded, lengths)[1], head(states, None)[1], atol=1e-6)


def test_a_pickled_task_with_read_only_arrays_trains_without_a_warning(tmp_path: Path) -> None:
    values, labels = ramps()
    task = pickle.loads(pickle.dumps(classification(npz(tmp_path, X=values, y=labels))))
    for part in (task.training, task.validation, task.test):
        for array in (part.values, part.lengths, part.labels):
            array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next(task.training_batches(4, np.random.default_rng(0)))
        next(task.scoring_batches("validation"))


@pytest.mark.parametrize(
    ("name", "train", "test", "features", "steps", "classes"),
    [
        ("BasicMotions", 40, 40, 6, (100, 100), 4),
        ("JapaneseVowels", 270, 370, 12, (7, 29), 9),
        ("GunPoint", 50, 150, 1, (150, 150), 2),
        ("ItalyPowerDemand", 67, 1029, 1, (24, 24), 2),
        ("ArrowHead", 36, 175, 1, (251, 251), 3),
    ],
)
def test_archive_files_are_read_as_their_readme_says(
    name: str, train: int, test: int, features: int, steps: tuple[int, int], classes: int
) -> None:
    folder = shared_data("ts-classification")
    task = classification(
        folder / f"{name}_TRAIN.ts.xz", test_data=str(folder / f"{name}_TEST.ts.xz")
    )
    assert len(task.training.labels) + len(task.validation.labels) == train
    assert len(task.test.labels) == test
    assert task.training.values.shape[1] == features
    assert len(task.classes) == classes
    lengths = np.concatenate([p.lengths for p in (task.training, task.validation, task.test)])
    assert (lengths.min(), lengths.max()) == steps
    assert len(np.unique(task.validation.labels)) == classes


def test_libras_and_digits_are_read_from_plain_rows() -> None:
    hands = classification(
        shared_data("libras") / "movement_libras.csv.gz", features=2, header=False, skip_lines=1
    )
    assert [len(p.labels) for p in (hands.training, hands.validation, hands.test)] == [300, 30, 30]
    assert hands.classes == tuple(str(n) for n in range(1, 16))
    assert set(hands.training.lengths.tolist()) == {45}
    digits = classification(
        shared_data("digits-rows") / "digits.csv.gz", features=8, header=False, label=65
    )
    assert len(digits.classes) == 10
    assert next(digits.scoring_batches("test")).inputs.shape[::2] == (8, 8)


def test_a_gru_learns_the_speakers_of_japanese_vowels() -> None:
    folder = shared_data("ts-classification")
    task = classification(
        folder / "JapaneseVowels_TRAIN.ts.xz",
        test_data=str(folder / "JapaneseVowels_TEST.ts.xz"),
    )
    torch.manual_seed(0)
    front_end, cell, head = task.front_end(32), nn.GRU(32, 32), task.head(32)
    parameters = [*front_end.parameters(), *cell.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(parameters, 1e-2)
    for batch in islice(task.training_batches(32, np.random.default_rng(0)), 80):
        optimiser.zero_grad()
        loss = task.loss(head(cell(front_end(batch.inputs))[0], batch.lengths), batch)
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        scores = [
            task.score(head(cell(front_end(batch.inputs))[0], batch.lengths), batch)
            for batch in task.scoring_batches("test")
        ]
    right, count = (sum(column) for column in zip(*scores, strict=True))
    assert count == 370
    assert right / count > 0.9  # 0.951 to 0.968 is usual after 60 passes, chance is 0.11
