"""The task kind ``speech``: what is read, how it is split, what reaches the cell."""

from __future__ import annotations

import math
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from recordings import RATE, folder, speech, tar, tone, wav, words
from shared_data import shared_data
from torch import nn

from genomes import published
from workers.messages import Request, Training
from workers.tasks.speech import Convolution, Options
from workers.training import evaluate

PARTS = ("training", "validation", "test")


def test_the_index_in_the_name_decides_the_part(tmp_path: Path) -> None:
    task = speech(folder(tmp_path, words()))
    assert task.classes == ("no", "yes")
    sizes = [np.bincount(getattr(task, part).labels).tolist() for part in PARTS]
    assert sizes == [[4, 4], [10, 10], [10, 10]]
    other = speech(tmp_path / "recordings", test_indices=[3, 3], validation_indices=[0, 2])
    assert [len(getattr(other, part).labels) for part in PARTS] == [32, 12, 4]
    assert (task.metric.name, task.metric.higher_is_better) == ("accuracy", True)


def test_the_defaults_are_the_official_test_part_of_the_spoken_digits() -> None:
    found = [Options().part_of(index) for index in (0, 4, 5, 9, 10, 49)]
    assert found == ["test", "test", "validation", "validation", "training", "training"]


def test_a_folder_and_archives_give_the_same_task(tmp_path: Path) -> None:
    files = words()
    plain = speech(folder(tmp_path, files))
    nested = {f"digits/{name[0]}/{name}": files[name] for name in reversed(files)}
    extra = {
        "digits/README.md": b"no recording",
        "digits/._yes_anna_3.wav": b"what a Mac adds",
    }
    for name in ("a.tar", "a.tar.gz", "a.tar.xz"):
        task = speech(tar(tmp_path, {**nested, **extra}, name))
        assert task.data_sha256 == plain.data_sha256
        for part in PARTS:
            for field in ("values", "lengths", "labels"):
                one, other = (getattr(getattr(t, part), field) for t in (task, plain))
                assert np.array_equal(one, other)
    (tmp_path / "recordings" / "yes_anna_3.wav").write_bytes(files["yes_anna_4.wav"])
    assert speech(tmp_path / "recordings").data_sha256 != plain.data_sha256


def test_nothing_of_an_archive_is_written_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tar(tmp_path, words())
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    speech(path)
    assert not list(empty.iterdir())
    assert [file.name for file in tmp_path.iterdir() if file != empty] == [path.name]


def test_eight_bits_sound_like_sixteen(tmp_path: Path) -> None:
    sound = tone(500.0, 0.2)
    files = words() | {"no_eva_20.wav": wav(sound, width=1), "no_eva_21.wav": wav(sound)}
    task = speech(folder(tmp_path, files))
    lengths = task.training.lengths.tolist()
    eight, sixteen = (
        task.training.values[end - length : end]
        for end, length in zip(np.cumsum(lengths), lengths, strict=True)
        if length == 21
    )
    assert np.abs(eight - sixteen).mean() < 0.2  # of standard deviations


def test_features_are_standardised_by_the_training_part_alone(tmp_path: Path) -> None:
    files = words()
    task = speech(folder(tmp_path, files))
    values = task.training.values.astype(np.float64)
    assert np.allclose(values.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(values.std(axis=0), 1, atol=1e-5)
    for name in files:
        if int(name.split("_")[2].removesuffix(".wav")) < 10:
            files[name] = wav(tone(3000.0, 0.3))
    changed = speech(folder(tmp_path, files, "changed"))
    assert np.array_equal(changed.training.values, task.training.values)


def test_options_decide_bands_and_frames(tmp_path: Path) -> None:
    path = folder(tmp_path, words())
    one = speech(path)
    other = speech(path, bands=13, frame=32, hop=20)
    assert one.training.values.shape[1] == 40
    assert other.training.values.shape[1] == 13
    samples = RATE * 5 // 100  # the shortest recording
    assert one.test.lengths.min() == 1 + samples // 80
    assert other.test.lengths.min() == 1 + samples // 160


@pytest.mark.parametrize("front_end", ["linear", "convolution"])
def test_padding_does_not_change_what_is_predicted(tmp_path: Path, front_end: str) -> None:
    task = speech(folder(tmp_path, words()), front_end=front_end)
    order = np.argsort(task.training.lengths)
    torch.manual_seed(0)
    front, cell, head = task.front_end(6), nn.GRU(6, 6), task.head(6)

    def predicted(chosen: np.ndarray) -> torch.Tensor:
        batch = task.training.batch(chosen)
        assert front(batch.inputs).shape == (*batch.inputs.shape[:2], 6)
        return head(cell(front(batch.inputs))[0], batch.lengths)

    together = predicted(order)
    for place in (0, 1, len(order) - 1):
        assert torch.allclose(predicted(order[[place]])[0], together[place], atol=1e-5)


def test_a_convolution_reads_two_frames_on_either_side() -> None:
    torch.manual_seed(0)
    front = Convolution(3, 4)
    with torch.no_grad():
        front.convolution.bias.fill_(100.0)  # the ReLU passes all
        frames = torch.randn(9, 2, 3)
        changed = frames.clone()
        changed[4, 0] += 1
        differs = (front(frames) != front(changed)).any(dim=2)
    assert differs[:, 0].nonzero().flatten().tolist() == [2, 3, 4, 5, 6]
    assert not differs[:, 1].any()


def test_a_pickled_task_with_read_only_arrays_trains_without_a_warning(tmp_path: Path) -> None:
    task = pickle.loads(pickle.dumps(speech(folder(tmp_path, words()))))
    for part in (task.training, task.validation, task.test):
        for array in (part.values, part.lengths, part.labels):
            array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next(task.training_batches(4, np.random.default_rng(0)))
        next(task.scoring_batches("validation"))


def request(**training: object) -> Request:
    options = {"hidden_size": 12, "batch_size": 8, "steps": 40, "learning_rate": 0.01} | training
    return Request(0, published("gru").to_json(), 1, Training(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("front_end", ["linear", "convolution"])
def test_a_gru_tells_two_words_apart(tmp_path: Path, front_end: str) -> None:
    task = speech(folder(tmp_path, words()), front_end=front_end)
    result = evaluate(request(engine="native"), task)
    assert result.metric == 1.0
    assert result.engine.endswith(" fused") == (front_end == "linear")


def test_both_engines_train_it_alike(tmp_path: Path) -> None:
    task = speech(folder(tmp_path, words()), hop=20)
    native = evaluate(request(engine="native", steps=12), task)
    reference = evaluate(request(engine="reference", steps=12), task)
    for one, other in zip(native.curve, reference.curve, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    assert native.metric == reference.metric


def test_the_spoken_digits_are_read_as_their_readme_says() -> None:
    task = speech(shared_data("fsdd") / "recordings.tar.xz")
    assert task.describe() == (
        "speech: 800 / 200 / 200 sequences to train / validate / test, 15 to 132 steps of 40 "
        "features, 10 classes"
    )
    assert task.classes == tuple("0123456789")
    for part in PARTS:
        assert len(set(np.bincount(getattr(task, part).labels).tolist())) == 1
    result = evaluate(request(hidden_size=32, batch_size=32, steps=60), task)
    assert result.metric > 0.5  # chance is 0.1; 0.95 is usual after 600 steps
    assert math.isfinite(result.curve[-1][1])
