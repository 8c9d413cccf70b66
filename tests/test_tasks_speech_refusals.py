"""What the task kind ``speech`` refuses, and in which words."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import folder, refusal, speech, tar, tone, wav, words

from workers.tasks import TaskError
from workers.tasks.wav_files import MAX_WAV, parse_wav, read_recordings

GOOD = wav(tone(400.0))
SOUND = np.zeros(800)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"ID3 and so on", "cannot be read as a PCM wav file: file does not start with RIFF id"),
        (b"RIFF\x04\x00\x00\x00WAVE", "cannot be read as a PCM wav file: fmt chunk and/or data"),
        (GOOD[:30], "cannot be read as a PCM wav file: it ends too early"),
        (GOOD[:20] + b"\x03" + GOOD[21:], "cannot be read as a PCM wav file: unknown format: 3"),
        (GOOD[:-300], "is cut off: 650 of 800 samples are there"),
        (wav(SOUND[:0]), "holds no samples"),
        (wav(SOUND, channels=2), "has 2 channels, not 1. Convert it, for example with sox"),
        (wav(SOUND, width=4), "has samples of 32 bits, not 8 or 16. Convert it"),
        (wav(SOUND, rate=999), "999 samples a second are not in 1,000..400,000"),
        (wav(SOUND, rate=16_000), "has 16,000 samples a second, but"),
    ],
)
def test_a_recording_that_cannot_be_used_is_named(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = folder(tmp_path, words() | {"yes_zoe_30.wav": content})
    found = refusal(path)
    assert found.startswith(f"{path / 'yes_zoe_30.wav'}: ")
    assert message in found
    if content:
        archive = tar(tmp_path, words() | {"yes_zoe_30.wav": content})
        assert message in refusal(archive)
        assert f"{archive}: yes_zoe_30.wav: " in refusal(archive)


@pytest.mark.parametrize("name", ["yes.wav", "yes_anna.wav", "yes_anna_1b.wav", "_anna_1.wav"])
def test_a_name_that_does_not_say_enough_is_refused(tmp_path: Path, name: str) -> None:
    found = refusal(folder(tmp_path, words() | {name: GOOD}))
    assert f"{name}: the name is not of the form LABEL_SPEAKER_INDEX.wav, such as" in found


def test_a_label_may_hold_underscores_and_a_suffix_capitals(tmp_path: Path) -> None:
    path = folder(tmp_path, {"turn_left_anna_07.WAV": GOOD})
    (found,) = read_recordings(str(path)).values()
    assert (found.label, found.index) == ("turn_left", 7)


def member(name: str, kind: bytes, size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, "yes_anna_1.wav", size
    return info


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"../yes_eva_1.wav": GOOD}, "../yes_eva_1.wav: a path out of the archive"),
        ({"/tmp/yes_eva_1.wav": GOOD}, "/tmp/yes_eva_1.wav: a path out of the archive"),
        ({"a/../yes_eva_1.wav": GOOD}, "a/../yes_eva_1.wav: a path out of the archive"),
        ({"b/yes_anna_1.wav": GOOD}, "b/yes_anna_1.wav: there is a second 'yes_anna_1.wav'"),
        (
            {"l": member("yes_eva_1.wav", tarfile.SYMTYPE)},
            "yes_eva_1.wav: is no ordinary file. Pack it anew without links",
        ),
        ({"l": member("yes_eva_1.wav", tarfile.LNKTYPE)}, "yes_eva_1.wav: is no ordinary file"),
        ({"l": member("yes_eva_1.wav", tarfile.CHRTYPE)}, "yes_eva_1.wav: is no ordinary file"),
        ({"l": member("yes_eva_1.wav", tarfile.DIRTYPE)}, "yes_eva_1.wav: is no ordinary file"),
    ],
)
def test_an_archive_with_surprises_is_refused(
    tmp_path: Path, extra: dict[str, bytes | tarfile.TarInfo], message: str
) -> None:
    path = tar(tmp_path, words() | extra)
    assert refusal(path).startswith(f"{path}: {message}")


@pytest.mark.parametrize("size", [MAX_WAV + 1, 2**50])
def test_a_giant_is_refused_before_it_is_read(tmp_path: Path, size: int) -> None:
    info = tarfile.TarInfo("yes_eva_1.wav")
    info.size = size
    path = tmp_path / "giant.tar"
    path.write_bytes(info.tobuf() + b"\0" * 1024)
    assert f"has {size:,} bytes, but a recording may have {MAX_WAV:,}" in refusal(path)
    place = folder(tmp_path, {}) / "yes_eva_1.wav"
    with place.open("wb") as file:
        file.truncate(MAX_WAV + 1)
    assert f"{place}: has {MAX_WAV + 1:,} bytes, but" in refusal(place.parent)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    whole = tar(tmp_path, words()).read_bytes()
    for number, content in enumerate((b"no archive" * 99, whole[:2000], whole[:700])):
        path = tmp_path / f"{number}.tar"
        path.write_bytes(content)
        assert refusal(path).startswith(f"{path}: cannot be read as a tar archive: ")
    header = 512 + -(-len(words()["no_anna_0.wav"]) // 512) * 512  # the second of the archive
    two = tar(tmp_path, {n: words()[n] for n in ("no_anna_0.wav", "no_anna_1.wav")}).read_bytes()
    for number, content in enumerate((two[:header], two[: header + 99])):
        path = tmp_path / f"{number}.tar"
        path.write_bytes(content)
        assert f"{path}: is damaged or cut off at byte {header:,}. Pack" in refusal(path)
    path.write_bytes(two[:header] + b"?" + two[header + 1 :])
    assert f"{path}: is damaged or cut off at byte {header:,}. Pack" in refusal(path)
    packed = tar(tmp_path, words(), "a.tar.xz").read_bytes()
    path = tmp_path / "cut.tar.xz"
    path.write_bytes(packed[: len(packed) // 2])
    assert f"{path}: cannot be read: " in refusal(path)


def test_a_place_without_recordings_is_refused(tmp_path: Path) -> None:
    empty = folder(tmp_path, {"README.md": b"nothing here", ".hidden_a_1.wav": GOOD})
    assert refusal(empty) == f"{empty}: there are no *.wav files in it."
    assert "there are no *.wav files in it" in refusal(tar(tmp_path, {"a.txt": b"text"}))
    assert "is neither a folder nor named .tar, .tar.gz or .tar.xz" in refusal(empty / "README.md")
    assert "there is no such folder or file (looked in" in refusal(tmp_path / "absent")
    with pytest.raises(TaskError, match="task 'speech' needs data: the path of a folder or"):
        speech("")  # type: ignore[arg-type]
    (empty / "yes_anna_1.wav").mkdir()
    assert "yes_anna_1.wav: is no ordinary file" in refusal(empty)


def test_parts_and_classes_must_be_there(tmp_path: Path) -> None:
    path = folder(tmp_path, words(8))
    assert (
        "none of its 32 recordings is of the training part: their indices go from 0 to 7. Give the "
        "options test_indices and validation_indices"
    ) in refusal(path)
    assert "of the validation part" in refusal(path, validation_indices=[90, 99])
    only = {name: content for name, content in words().items() if name.startswith("no")}
    assert "all recordings that train are of one class, 'no'" in refusal(
        folder(tmp_path, only, "only")
    )
    more = folder(tmp_path, words() | {"nope_anna_7.wav": GOOD}, "more")
    assert (
        f"{more}/nope_anna_7.wav: the validation part has the label 'nope', which the training "
        "part lacks. Did you mean 'no'?"
    ) in refusal(more)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_indices": [4, 3]}, "test_indices must be two whole numbers from 0 on, the first"),
        ({"test_indices": [-1, 3]}, "not [-1, 3]"),
        ({"test_indices": [0, 5]}, "must be apart from validation_indices, [5, 9], not [0, 5]"),
        ({"test_indices": 3}, "test_indices must be a list of 2, each item a whole number"),
        ({"bands": 0}, "option bands must be at least 1, not 0"),
        ({"bands": 400}, "option bands = 400: band 1 lies between two frequencies of a frame of"),
        ({"frame": 0}, "option frame must be more than 0 and at most 1000, not 0"),
        ({"frame": 1}, "option frame gives 8 samples at 8,000 a second, but at least 16"),
        ({"hop": -1.0}, "option hop must be more than 0"),
        ({"hop": 0.05}, "option hop gives 0 samples at 8,000 a second, but at least 1"),
        ({"front_end": "conv"}, "front_end must be 'linear' or 'convolution', not 'conv'"),
        ({"band": 3}, "has no option 'band'. Did you mean 'bands'?"),
    ],
)
def test_a_wrong_option_is_refused(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    assert message in refusal(folder(tmp_path, words()), **options)


SMALL_TAR = io.BytesIO()
with tarfile.open(fileobj=SMALL_TAR, mode="w") as _archive:
    for _name in ("a_b_1.wav", "longer/" * 20 + "c_d_2.wav"):  # a long name has headers of its own
        _info = tarfile.TarInfo(_name)
        _info.size = len(GOOD)
        _archive.addfile(_info, io.BytesIO(GOOD))
CHANGES = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6)


@given(changes=CHANGES, cut=st.integers(0, len(GOOD)))
def test_any_bytes_are_a_recording_or_refused(changes: list[tuple[int, int]], cut: int) -> None:
    content = bytearray(GOOD)
    for place, value in changes:
        content[place % 64] = value  # the header
    try:
        rate, samples = parse_wav(bytes(content[:cut] if cut % 2 else content), "here")
    except TaskError as error:
        assert str(error).startswith("here: ")
    else:
        assert rate > 0
        assert len(samples) >= 1
        assert np.abs(samples).max() <= 1


@settings(deadline=None)
@given(changes=CHANGES, cut=st.integers(0, 12_000))
def test_any_bytes_are_an_archive_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], cut: int
) -> None:
    content = bytearray(SMALL_TAR.getvalue())
    for place, value in changes:
        content[place % 4096] = value
    path = tmp_path_factory.getbasetemp() / "changed.tar"
    path.write_bytes(bytes(content[:cut] if cut % 2 else content) or b"\0")
    try:
        found = read_recordings(str(path))
    except TaskError as error:
        assert str(error).startswith(f"{path}: ")
    else:
        assert all(len(recording.samples) >= 1 for recording in found.values())
