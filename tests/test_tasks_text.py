"""The task kind ``text``: what is read, how it is cut, what is counted, what is refused."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import pickle
import warnings
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from shared_data import shared_data
from torch.nn import functional

from workers.tasks import TaskError, load_task
from workers.tasks.text import IGNORED, UNKNOWN, TextTask

TEXT = "".join(f"{n} times {n} is {n * n}.\n" for n in range(2_000))


def text_task(data: Path | str, **options: object) -> TextTask:
    task = load_task("text", str(data), options)
    assert isinstance(task, TextTask)
    return task


def written(folder: Path, text: str | bytes = TEXT, name: str = "text.txt") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal(data: Path | str, **options: object) -> str:
    with pytest.raises(TaskError) as caught:
        load_task("text", str(data), options)
    return str(caught.value)


def test_the_parts_follow_each_other_80_10_10(tmp_path: Path) -> None:
    task = text_task(written(tmp_path, "ab" * 500 + "c"))
    assert [len(task.training), len(task.validation), len(task.test)] == [800, 100, 101]
    a, b = int(task.training[0]), int(task.training[1])
    assert np.array_equal(task.training, [a, b] * 400)
    assert task.metric.unit == "nats/char"
    assert not task.metric.higher_is_better


def test_the_vocabulary_comes_from_the_training_part_alone(tmp_path: Path) -> None:
    task = text_task(written(tmp_path, "ab" * 400 + "ax" * 50 + "by" * 50))
    assert task.symbols == 3  # a, b, unknown
    assert UNKNOWN not in task.training
    assert (task.validation == UNKNOWN).sum() == 50
    assert (task.test == UNKNOWN).sum() == 50


def test_a_small_vocabulary_keeps_the_most_frequent_symbols(tmp_path: Path) -> None:
    task = text_task(written(tmp_path, "aaabbc" * 200), vocabulary=3)
    assert task.symbols == 3
    assert [int(code) for code in task.training[:6]] == [1, 1, 1, 2, 2, UNKNOWN]


def test_words_are_cut_at_white_space_and_lines_end_in_a_word(tmp_path: Path) -> None:
    task = text_task(written(tmp_path, "the  cat\tsat\n" * 100), level="word", length=8)
    assert len(task.training) + len(task.validation) + len(task.test) == 400
    assert task.symbols == 5  # the, cat, sat, <eos>, unknown
    assert task.metric.unit == "nats/word"
    assert np.array_equal(task.training[:4], task.training[4:8])


def test_the_corpus_own_unk_is_the_unknown_word(tmp_path: Path) -> None:
    task = text_task(written(tmp_path, "the <unk> sat\n" * 100), level="word", length=8)
    assert task.symbols == 4
    assert task.training[1] == UNKNOWN


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_compressed_text_is_the_same_text(tmp_path: Path, suffix: str, pack) -> None:  # type: ignore[no-untyped-def]
    plain = text_task(written(tmp_path))
    packed = text_task(written(tmp_path, pack(TEXT.encode()), "text.txt" + suffix))
    assert packed.data_sha256 == plain.data_sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert np.array_equal(packed.training, plain.training)


def test_the_text_that_python_ships_needs_no_file() -> None:
    task = text_task("builtin:pydoc-topics")
    assert len(task.training) > 300_000
    assert 60 < task.symbols < 300
    assert "Did you mean 'builtin:pydoc-topics'?" in refusal("builtin:pydoc_topics")


def test_training_streams_continue_and_carry_their_state(tmp_path: Path) -> None:
    task = text_task(written(tmp_path), length=16)
    batches = list(islice(task.training_batches(4, np.random.default_rng(0)), 40))
    assert not batches[0].carry_state
    for before, after in pairwise(batches):
        assert after.inputs.shape == after.targets.shape == (16, 4)
        assert torch.equal(after.inputs[1:], after.targets[:-1])
        if after.carry_state:
            assert torch.equal(after.inputs[0], before.targets[-1])


def test_every_pass_starts_elsewhere_without_the_state_of_the_last(tmp_path: Path) -> None:
    task = text_task(written(tmp_path, TEXT[:2000]), length=16)
    stream = len(task.training) // 4
    per_pass = (stream - 1) // 16
    batches = list(islice(task.training_batches(4, np.random.default_rng(0)), 3 * per_pass))
    starts = [number for number, batch in enumerate(batches) if not batch.carry_state]
    assert starts == [0, per_pass, 2 * per_pass]
    assert len({tuple(batches[start].inputs.flatten().tolist()) for start in starts}) == 3


def test_only_the_generator_decides_the_order_of_training(tmp_path: Path) -> None:
    task = text_task(written(tmp_path))

    def first(seed: int) -> list[int]:
        return next(task.training_batches(4, np.random.default_rng(seed))).inputs.flatten().tolist()

    assert first(1) == first(1)
    assert first(1) != first(2)


@pytest.mark.parametrize("count", [2, 3, 255, 513, 5_000, 64 * 128 + 1, 40_000])
def test_every_symbol_but_the_first_is_scored_exactly_once(tmp_path: Path, count: int) -> None:
    # the code of each symbol is its place, so targets say which places were scored
    task = text_task(written(tmp_path))
    task.validation = np.arange(count, dtype=np.int32)
    scored: list[int] = []
    for number, batch in enumerate(task.scoring_batches("validation")):
        assert batch.carry_state == (number > 0)
        counted = batch.targets != IGNORED
        scored += batch.targets[counted].tolist()
        assert torch.equal(batch.inputs[counted] + 1, batch.targets[counted])
    assert sorted(scored) == list(range(1, count))


def test_the_score_is_the_summed_cross_entropy_of_what_is_predicted(tmp_path: Path) -> None:
    task = text_task(written(tmp_path))
    total, count = 0.0, 0
    for batch in task.scoring_batches("test"):
        prediction = torch.zeros(*batch.inputs.shape, task.symbols)
        prediction[..., UNKNOWN] = 1.0
        subtotal, number = task.score(prediction, batch)
        assert task.loss(prediction, batch).item() == pytest.approx(subtotal / number, rel=1e-5)
        total, count = total + subtotal, count + number
    assert count == len(task.test) - 1
    logits = torch.zeros(1, task.symbols)
    logits[0, UNKNOWN] = 1.0
    expected = functional.cross_entropy(logits, torch.tensor([1])).item()
    assert total / count == pytest.approx(expected, rel=1e-6)


def test_a_pickled_task_with_read_only_arrays_trains_without_a_warning(tmp_path: Path) -> None:
    task = pickle.loads(pickle.dumps(text_task(written(tmp_path))))
    for codes in (task.training, task.validation, task.test):
        codes.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next(task.training_batches(4, np.random.default_rng(0)))
        next(task.scoring_batches("validation"))


def test_front_end_and_head_come_from_torchs_generator(tmp_path: Path) -> None:
    task = text_task(written(tmp_path))
    batch = next(task.training_batches(4, np.random.default_rng(0)))

    def predicted(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        front_end, head = task.front_end(12), task.head(12)
        return head(front_end(batch.inputs), None)

    assert predicted(0).shape == (64, 4, task.symbols)
    assert torch.equal(predicted(0), predicted(0))
    assert not torch.equal(predicted(0), predicted(1))


def test_a_byte_that_is_not_utf_8_is_named_with_its_position(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, b"first line\nna\xefve\n" * 10))
    assert "byte 0xef at position 13 (line 2) is not UTF-8" in message
    assert "iconv" in message


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    assert "zero byte at position 3" in refusal(written(tmp_path, b"abc\0def" * 100))


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_an_empty_file_is_refused(tmp_path: Path, suffix: str) -> None:
    assert "the file is empty" in refusal(written(tmp_path, b"", "empty.txt" + suffix))


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_a_damaged_archive_is_refused(tmp_path: Path, suffix: str) -> None:
    pack = gzip.compress if suffix == ".gz" else lzma.compress
    whole = pack(TEXT.encode())
    for number, content in enumerate((b"plain text", whole[: len(whole) // 2])):
        path = written(tmp_path, content, f"{number}.txt{suffix}")
        assert f"{path}: cannot be read: " in refusal(path)


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    assert "there is no such file" in refusal(tmp_path / "absent.txt")
    assert "this is a folder" in refusal(tmp_path)
    with pytest.raises(TaskError, match="task 'text' needs data: the path of a file"):
        load_task("text", None, {})


def test_a_short_text_is_refused_with_the_part_that_lacks_symbols(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, "short"))
    assert "too short: its 5 chars give the training part 4, which needs at least 65" in message


def test_too_many_streams_for_the_text_are_refused_before_the_first_batch(tmp_path: Path) -> None:
    task = text_task(written(tmp_path, TEXT[:1000]))
    with pytest.raises(TaskError, match="800 symbols, too short for 32 streams of length 64"):
        task.training_batches(32, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lenght": 32}, "task 'text' has no option 'lenght'. Did you mean 'length'?"),
        ({"level": "letter"}, "option level must be 'char' or 'word', not 'letter'"),
        ({"length": 0}, "option length must be at least 1, not 0"),
        ({"length": "64"}, "option length must be a whole number, not '64'"),
        ({"length": True}, "option length must be a whole number, not True"),
        ({"vocabulary": 1}, "option vocabulary must be at least 2, not 1"),
        ({"split": [0.8, 0.1]}, "option split must be a list of 3, each item a number"),
        ({"split": [0.8, 0.1, 0.2]}, "three positive fractions with sum at most 1"),
        ({"split": [0.8, 0.2, 0.0]}, "three positive fractions"),
        ({"split": [900_000, 1, 1]}, "three whole numbers of chars with sum at most"),
        (
            {"split": [float("nan"), 0.1, 0.1]},
            "option split must be a list of 3, each item a number",
        ),
    ],
)
def test_a_wrong_option_is_refused(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    assert message in refusal(written(tmp_path), **options)


def test_tiny_shakespeare_is_read_as_its_readme_says() -> None:
    path = shared_data("tinyshakespeare") / "input.txt.gz"
    task = text_task(path, split=[1_003_854, 55_770, 55_770])
    assert task.data_sha256 == "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
    assert task.symbols == 65 + 1
    assert len(task.training) + len(task.validation) + len(task.test) == 1_115_394


def test_wikitext_2_has_the_published_tokens_and_vocabulary() -> None:
    path = shared_data("wikitext-2") / "train.txt.xz"
    task = text_task(path, level="word", split=[2_088_624, 2, 2])
    assert len(task.training) + len(task.validation) + len(task.test) == 2_088_628
    assert task.symbols == 33_278
