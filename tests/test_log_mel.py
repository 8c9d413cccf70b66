"""Log-mel features: the filters and frames are those of librosa."""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.tasks.log_mel import FLOOR, from_mel, log_mel, mel_filters, to_mel

# librosa 0.11.0: filters.mel(sr=8000, n_fft=64, n_mels=8, htk=True, norm=None)
FILTERS = """
1 .75784 .58265
2 .41735 .97518 .47881
3 .02482 .52119 .98579 .58408 .18238
5 .01421 .41591 .81763 .82249 .49739 .17228
8 .17751 .50261 .82772 .87632 .61321 .35010 .08699
11 .12368 .38679 .64990 .91301 .85747 .64454 .43160 .21867 .00573
15 .14253 .35546 .56840 .78133 .99427 .83231 .65998 .48765 .31533 .14300
20 .16769 .34002 .51235 .68468 .85700 .97626 .83680 .69733 .55786 .41840 .27893 .13947
"""
"""Of each, the first bin that is not zero, and all up to the last."""
# librosa 0.11.0: feature.melspectrogram(y=SOUND, sr=8000, n_fft=256, hop_length=80,
# win_length=200, window="hann", center=True, pad_mode="constant", power=2, n_mels=40, htk=True,
# norm=None), of that log(mel + 1e-6), every fifth band
FEATURES = {
    0: [1.0037, 1.8279, 5.3293, -0.9403, 0.3582, -1.8763, -2.8667, -3.4449],
    1: [-3.7921, -2.778, 6.372, -4.7975, -2.7858, -6.5709, -7.5635, -8.1411],
    12: [-11.0673, -5.7429, 6.3763, -8.1609, 1.8749, -11.8866, -13.7623, -13.8112],
    25: [0.7378, 1.6248, 5.3494, 0.4108, -0.4997, -0.2633, -8.6295, -7.6849],
}
TIME = np.arange(2000) / 8000
SOUND = 0.5 * np.sin(2 * np.pi * 440 * TIME)
SOUND += 0.1 * np.sin(2 * np.pi * (1000 + 1000 * TIME) * TIME)


def test_filters_are_librosas_by_a_table() -> None:
    table = np.zeros((8, 33))
    for row, line in zip(table, FILTERS.strip().split("\n"), strict=True):
        first, *values = line.split()
        row[int(first) : int(first) + len(values)] = [float(value) for value in values]
    assert mel_filters(8, 64, 8000) == pytest.approx(table, abs=1e-5)


def test_features_are_librosas_by_a_table() -> None:
    (features,) = log_mel(8000, bands=40, frame=25, hop=10).features([SOUND])
    assert features.shape == (26, 40)
    for frame, values in FEATURES.items():
        assert features[frame, ::5] == pytest.approx(values, abs=2e-4)


@pytest.mark.parametrize(
    ("rate", "transform", "bands"),
    [(8000, 256, 40), (16_000, 512, 40), (16_000, 512, 80), (22_050, 1024, 64), (44_100, 2048, 9)],
)
def test_filters_and_features_are_librosas_where_it_is_installed(
    rate: int, transform: int, bands: int
) -> None:
    pytest.importorskip("librosa")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        filters = importlib.import_module("librosa.filters")
        feature = importlib.import_module("librosa.feature")
        options = {"sr": rate, "n_fft": transform, "n_mels": bands, "htk": True, "norm": None}
        theirs = filters.mel(**options, dtype=np.float64)
        assert mel_filters(bands, transform, rate) == pytest.approx(theirs, abs=1e-12)
        ours = log_mel(rate, bands, frame=25, hop=10)
        assert ours.transform <= transform
        power = feature.melspectrogram(
            y=SOUND,
            **options | {"n_fft": ours.transform},
            hop_length=ours.hop,
            win_length=ours.frame,
            window="hann",
            center=True,
            pad_mode="constant",
            power=2.0,
        )
    (found,) = ours.features([SOUND])
    assert found == pytest.approx(np.log(power.T + FLOOR), abs=1e-5)


def test_the_mel_scale_is_htks() -> None:
    assert to_mel(np.array([0.0, 700.0, 1000.0, 6300.0])) == pytest.approx(
        [0.0, 2595 * np.log10(2), 999.99, 2595.0], abs=0.01
    )
    hertz = np.linspace(0.0, 20_000.0, 99)
    assert from_mel(to_mel(hertz)) == pytest.approx(hertz)


@given(
    bands=st.integers(1, 128),
    transform=st.sampled_from([64, 256, 512, 4096]),
    rate=st.integers(1000, 200_000),
)
def test_filters_share_each_bin_between_two_neighbours(
    bands: int, transform: int, rate: int
) -> None:
    filters = mel_filters(bands, transform, rate)
    assert filters.shape == (bands, transform // 2 + 1)
    assert filters.min() >= 0
    assert ((filters > 0).sum(axis=0) <= 2).all()
    edges = from_mel(np.linspace(0, float(to_mel(np.array(rate / 2))), bands + 2))
    bins = np.arange(transform // 2 + 1) * (rate / transform)
    inside = (bins >= edges[1]) & (bins <= edges[-2])
    assert filters.sum(axis=0)[inside] == pytest.approx(1.0)


@settings(deadline=None, max_examples=40)
@given(sizes=st.lists(st.integers(1, 900), min_size=1, max_size=9), seed=st.integers(0, 99))
def test_a_recordings_features_are_its_own_whatever_stands_beside_it(
    sizes: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    recordings = [rng.uniform(-1, 1, size=size) for size in sizes]
    made = log_mel(8000, bands=7, frame=25, hop=10)
    together = made.features(recordings)
    for samples, features in zip(recordings, together, strict=True):
        assert features.shape == (1 + len(samples) // 80, 7)
        assert features == pytest.approx(made.features([samples])[0], abs=1e-9)


def test_silence_has_the_logarithm_of_the_floor() -> None:
    (features,) = log_mel(8000, bands=5, frame=25, hop=10).features([np.zeros(300)])
    assert features == pytest.approx(np.full((4, 5), np.log(FLOOR)))
