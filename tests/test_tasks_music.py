"""The task kind ``music``: what is read, how it is cut, what is counted, what is refused."""

from __future__ import annotations

import gzip
import json
import lzma
import math
import pickle
import warnings
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_data import shared_data

from genomes import published
from workers.messages import Request, Training
from workers.tasks import TaskError, load_task
from workers.tasks.base import Batch
from workers.tasks.groups import groups
from workers.tasks.music import SCORED_STEPS, MusicTask, windows
from workers.tasks.piano_rolls import Pieces
from workers.training import evaluate

Song = list[list[int]]


def song(steps: int, first: int = 0) -> Song:
    """Key ``first + t`` sounds at step t, and key 87 at all."""
    return [[87, (first + step) % 80] for step in range(steps)]


def written(folder: Path, document: object, name: str = "songs.json") -> Path:
    path = folder / name
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    path.write_bytes(content)
    return path


def songs(train: list[Song], valid: list[Song] | None = None) -> dict[str, list[Song]]:
    return {"train": train, "valid": valid or [song(3)], "test": [song(4), song(2, 5)]}


def music_task(data: Path, **options: object) -> MusicTask:
    task = load_task("music", str(data), options)
    assert isinstance(task, MusicTask)
    return task


def refusal(data: Path, **options: object) -> str:
    with pytest.raises(TaskError) as caught:
        load_task("music", str(data), options)
    return str(caught.value)


def test_a_song_is_a_roll_of_zeros_and_ones(tmp_path: Path) -> None:
    task = music_task(written(tmp_path, songs([[[3, 0], [], [87]]])))
    assert task.training.rolls.shape == (3, 88)
    assert [np.flatnonzero(row).tolist() for row in task.training.rolls] == [[0, 3], [], [87]]
    assert task.describe() == (
        "music: 1 / 1 / 2 pieces to train / validate / test, 2 to 4 steps of 88 keys"
    )
    assert (task.metric.unit, task.metric.higher_is_better) == ("nats/step", False)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_compressed_songs_are_the_same_songs(tmp_path: Path, suffix: str, pack) -> None:  # type: ignore[no-untyped-def]
    plain = written(tmp_path, songs([song(5)]))
    packed = written(tmp_path, pack(plain.read_bytes()), f"songs.json{suffix}")
    assert music_task(packed).data_sha256 == music_task(plain).data_sha256


def test_a_batch_predicts_the_next_step_and_is_silent_past_the_end(tmp_path: Path) -> None:
    task = music_task(written(tmp_path, songs([song(5), song(3), song(9)])))
    batch = next(task.training_batches(3, np.random.default_rng(0)))
    assert batch.inputs.shape == batch.targets.shape == (8, 3, 88)
    assert batch.inputs.dtype == batch.targets.dtype == torch.float32
    assert sorted(batch.lengths.tolist()) == [2, 4, 8]
    for place, length in enumerate(batch.lengths.tolist()):
        inputs, targets = batch.inputs[:, place], batch.targets[:, place]
        assert torch.equal(inputs[1:length], targets[: length - 1])
        assert bool((inputs[:length].sum(dim=1) == 2).all())
        assert not inputs[length:].any()
        assert not targets[length:].any()


def test_pieces_of_one_length_need_no_lengths(tmp_path: Path) -> None:
    task = music_task(written(tmp_path, songs([song(5), song(5, 9)])))
    assert next(task.training_batches(2, np.random.default_rng(0))).lengths is None


@given(
    lengths=st.lists(st.integers(2, 60), min_size=1, max_size=12),
    length=st.integers(1, 40),
)
def test_windows_predict_every_step_but_the_first_once(lengths: list[int], length: int) -> None:
    total = sum(lengths)
    pieces = Pieces(np.zeros((total, 88), np.uint8), np.array(lengths))
    starts, sizes = windows(pieces, length)
    assert sizes.min() >= 1
    assert sizes.max() <= length
    predicted = [
        step
        for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)
        for step in range(start + 1, start + size + 1)
    ]
    firsts = np.cumsum(lengths) - lengths
    assert predicted == sorted(set(range(total)) - set(firsts.tolist()))
    short = -(-(np.array(lengths) - 1) // length)
    assert len(starts) == short.sum()
    assert all(np.ptp(w) <= 1 for w in np.split(sizes, np.cumsum(short)[:-1]))


def test_training_takes_all_windows_in_an_order_of_the_generators(tmp_path: Path) -> None:
    task = music_task(written(tmp_path, songs([song(21, n) for n in range(5)])), length=5)

    def first_steps(seed: int) -> list[tuple[int, ...]]:
        batches = islice(task.training_batches(5, np.random.default_rng(seed)), 4)
        return [tuple(roll.nonzero().flatten().tolist()) for b in batches for roll in b.inputs[0]]

    assert first_steps(1) == first_steps(1)
    assert first_steps(1) != first_steps(2)
    assert sorted(first_steps(1)) == [(key, 87) for key in range(20)]  # every one of 5 x 4 windows
    assert next(task.training_batches(99, np.random.default_rng(0))).inputs.shape == (5, 20, 88)


def test_scoring_takes_each_piece_whole_whatever_the_option_length(tmp_path: Path) -> None:
    lengths = [4, 2, 300, 7]
    task = music_task(written(tmp_path, songs([song(5)], [song(n, n) for n in lengths])), length=3)
    (batch,) = task.scoring_batches("validation")
    assert batch.lengths.tolist() == [1, 3, 6, 299]
    assert [int(b.targets.sum()) for b in task.scoring_batches("test")] == [2 * (3 + 1)]


@given(
    lengths=st.lists(st.integers(1, 900), min_size=1, max_size=90),
    sequences=st.integers(1, 20),
    numbers=st.integers(1, 4000),
)
def test_groups_hold_all_once_and_are_no_larger_than_asked(
    lengths: list[int], sequences: int, numbers: int
) -> None:
    given_lengths = np.array(lengths)
    found = list(groups(given_lengths, sequences, numbers))
    assert sorted(np.concatenate(found).tolist()) == list(range(len(lengths)))
    assert (np.diff(given_lengths[np.concatenate(found)]) >= 0).all()
    for group in found:
        padded = len(group) * given_lengths[group].max()
        assert len(group) <= sequences
        assert padded <= numbers or len(group) == 1


def test_long_pieces_are_scored_in_smaller_batches(tmp_path: Path) -> None:
    many = [song(SCORED_STEPS // 4 + 1, n) for n in range(5)] + [song(2 * SCORED_STEPS)]
    task = music_task(written(tmp_path, songs([song(5)], many)))
    shapes = [tuple(b.inputs.shape[:2]) for b in task.scoring_batches("validation")]
    steps = SCORED_STEPS // 4
    assert shapes == [(steps, 4), (steps, 1), (2 * SCORED_STEPS - 1, 1)]


def test_the_score_is_the_mean_over_all_steps_not_over_pieces(tmp_path: Path) -> None:
    loud = [list(range(88))] * 9  # 8 steps on which the prediction below is bad
    task = music_task(written(tmp_path, songs([song(5)], [loud, [[], []]])))
    total, count = 0.0, 0
    for batch in task.scoring_batches("validation"):
        prediction = torch.full((*batch.inputs.shape[:2], 88), -1.0)
        subtotal, number = task.score(prediction, batch)
        assert task.loss(prediction, batch).item() == pytest.approx(subtotal / number, rel=1e-6)
        total, count = total + subtotal, count + number
    played, silent = 88 * math.log1p(math.e), 88 * math.log1p(math.exp(-1))
    assert count == 9
    assert total / count == pytest.approx((8 * played + silent) / 9, rel=1e-6)


def test_what_is_predicted_past_the_end_counts_for_nothing(tmp_path: Path) -> None:
    task = music_task(written(tmp_path, songs([song(5), song(3)])))
    batch = next(task.training_batches(2, np.random.default_rng(0)))
    prediction = torch.randn(4, 2, 88, requires_grad=True)
    short = int(batch.lengths.argmin())
    with torch.no_grad():
        prediction[2:, short] = math.nan
    loss = task.loss(prediction, batch)
    loss.backward()
    assert math.isfinite(loss.item())
    assert not prediction.grad[2:, short].any()
    assert task.score(prediction.detach(), batch)[1] == 6
    with torch.no_grad():
        prediction[1, short, 3] = math.nan
    assert math.isnan(task.loss(prediction, batch).item())
    assert math.isnan(task.score(prediction.detach(), batch)[0])


def test_a_pickled_task_with_read_only_arrays_trains_without_a_warning(tmp_path: Path) -> None:
    task = pickle.loads(pickle.dumps(music_task(written(tmp_path, songs([song(5)])))))
    for part in (task.training, task.validation, task.test):
        part.rolls.flags.writeable = part.lengths.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next(task.training_batches(4, np.random.default_rng(0)))
        next(task.scoring_batches("validation"))


def test_the_head_begins_with_how_often_keys_sound(tmp_path: Path) -> None:
    task = music_task(written(tmp_path, songs([[[1], [1, 2], [1], [1]]], [song(9)])))
    bias = task.head(7).linear.bias.detach()
    assert torch.sigmoid(bias[:4]).tolist() == pytest.approx([0.1, 0.9, 0.3, 0.1], rel=1e-6)
    assert torch.sigmoid(bias[4:]).tolist() == pytest.approx([0.1] * 84, rel=1e-6)


def request(**training: object) -> Request:
    options = {"hidden_size": 8, "batch_size": 4, "steps": 12, "learning_rate": 0.02} | training
    return Request(0, published("gru").to_json(), 1, Training(**options))  # type: ignore[arg-type]


def test_both_engines_train_it_alike_and_the_native_one_whole(tmp_path: Path) -> None:
    pieces = [song(4 + 3 * n, 5 * n) for n in range(8)]
    task = music_task(written(tmp_path, songs(pieces, pieces)), length=9)
    native = evaluate(request(engine="native"), task)
    reference = evaluate(request(engine="reference"), task)
    assert native.engine.endswith(" fused")
    assert native.metric == pytest.approx(reference.metric, rel=1e-4)
    for one, other in zip(native.curve, reference.curve, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    longer = evaluate(request(engine="native", steps=150), task)
    assert longer.metric < 0.6 * native.metric


def test_a_batch_without_lengths_scores_all_its_steps(tmp_path: Path) -> None:
    task = music_task(written(tmp_path, songs([song(5)])))
    silent = torch.zeros(4, 3, 88)
    assert task.score(silent, Batch(silent, silent)) == pytest.approx((12 * 88 * math.log(2), 12))


def changed(**parts: object) -> dict[str, object]:
    return {**songs([song(3)]), **parts}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"{", "cannot be read as JSON: "),
        (b"[" * 100_000, "cannot be read as JSON: "),
        (b'{"train": ' + b"9" * 5_000 + b"}", "cannot be read as JSON: "),
        (b"\xff\xfe", "byte 0xff at position 0 (line 1) is not UTF-8"),
        (b"", "the file is empty"),
        ([], "holds a list, not an object with the lists train, valid and test"),
        (None, "holds the value null, not an object"),
        (changed(vaild=[]), "has a part 'vaild'. Did you mean 'valid'?"),
        ({"train": [], "test": []}, "has no part 'valid'; it must hold an object with the lists"),
        (changed(train={}), "train is an object, not a list of pieces"),
        (changed(test=[]), "test has no pieces. Each part needs at least one"),
        (changed(valid=[song(3), 5]), "valid, piece 2 is the value 5, not a list of steps"),
        (changed(valid=[song(3), [[1]]]), "valid, piece 2 has 1 steps: with fewer than 2"),
        (changed(valid=[[]]), "valid, piece 1 has 0 steps: with fewer than 2"),
        (changed(test=[[[1], 60]]), "test, piece 1, step 2 is the value 60, not a list of keys"),
        (changed(train=[[[1], [2, 88]]]), "train, piece 1, step 2: key 88 is not in 0..87. From"),
        (changed(train=[[[-1], [2]]]), "train, piece 1, step 1: key -1 is not in 0..87"),
        (changed(train=[[[10**400], [2]]]), "step 1: key 10000000000000000000 is not in 0..87"),
        (changed(train=[[[1.0], []]]), "step 1: the value 1.0 is no key, which is a whole number"),
        (changed(train=[[[True], []]]), "step 1: the value true is no key"),
        (changed(train=[[[math.nan], []]]), "step 1: the value NaN is no key"),
        (changed(train=[[["60"], []]]), "step 1: the text '60' is no key"),
        (changed(train=[[[[6]], []]]), "step 1: a list is no key"),
        (changed(train=[[[4, 6, 4], []]]), "step 1: key 4 stands there twice"),
    ],
)
def test_hostile_files_are_refused(tmp_path: Path, document: object, message: str) -> None:
    path = written(tmp_path, document)
    found = refusal(path)
    assert found.startswith(f"{path}: ")
    assert message in found


def test_another_format_a_missing_file_and_wrong_options_are_refused(tmp_path: Path) -> None:
    assert "the suffix '.mat' tells no known format. Known: .json, also with" in refusal(
        written(tmp_path, b"MATLAB", "songs.mat")
    )
    assert "there is no such file" in refusal(tmp_path / "absent.json")
    assert "option length must be at least 1, not 0" in refusal(tmp_path / "unread", length=0)
    assert "no option 'lenght'. Did you mean 'length'?" in refusal(tmp_path / "unread", lenght=9)
    with pytest.raises(TaskError, match="task 'music' needs data: the path of a file"):
        load_task("music", None, {})


PART = st.lists(
    st.lists(st.lists(st.integers(-1, 89) | st.floats() | st.booleans(), max_size=3), max_size=3),
    max_size=3,
)


@settings(deadline=None)
@given(document=st.fixed_dictionaries({"train": PART, "valid": PART, "test": PART}))
def test_any_document_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]
) -> None:
    path = written(tmp_path_factory.getbasetemp(), document)
    try:
        task = music_task(path)
    except TaskError as error:
        assert str(error).startswith(f"{path}: ")
    else:
        assert sum(len(part) for part in document.values()) == sum(
            len(part.lengths) for part in (task.training, task.validation, task.test)
        )


def test_the_chorales_are_read_as_their_readme_says() -> None:
    task = music_task(shared_data("polyphonic-music") / "jsb-chorales.json.gz")
    parts = (task.training, task.validation, task.test)
    assert [len(part.lengths) for part in parts] == [229, 76, 77]
    assert [int(part.lengths.sum()) for part in parts] == [13_807, 4_602, 4_725]
    # what the keys' frequencies as prediction give, which the README has too
    rows = task.training.rolls.astype(np.float64)
    share = (rows.sum(axis=0) + 0.5) / (len(rows) + 1)
    logits = torch.from_numpy(np.log(share / (1 - share))).float()
    sums, counts, means = [], [], []
    for batch in task.scoring_batches("test"):
        for place, length in enumerate(batch.lengths.tolist()):
            one = Batch(batch.inputs[:length, [place]], batch.targets[:length, [place]])
            score, count = task.score(logits.expand(length, 1, 88), one)
            sums.append(score)
            counts.append(count)
            means.append(score / count)
    assert np.mean(means) == pytest.approx(11.04, abs=0.01)
    assert sum(sums) / sum(counts) == pytest.approx(11.09, abs=0.01)


def test_a_gru_learns_more_of_the_chorales_than_how_often_keys_sound() -> None:
    task = music_task(shared_data("polyphonic-music") / "jsb-chorales.json.gz")
    result = evaluate(request(hidden_size=32, batch_size=8, steps=200), task)
    assert result.metric < 8.9  # 11.1 is what frequencies give, 8.4 what takes longer
