"""Log-mel features: how much energy a recording has in each band of pitch, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from workers.tasks.errors import TaskError
from workers.tasks.groups import groups
from workers.tasks.sequences import Floats

FLOOR = 1e-6
"""Added to the energy of a band, so that silence has a logarithm: about the noise of 16 bits."""

MOST_FILTERS = 2**26
"""Bands times points of the transform: 256 MiB of filters."""
TOGETHER = 2**18
"""Samples that are transformed at once, unless a single recording has more."""


@dataclass(frozen=True, slots=True)
class LogMel:
    """What log-mel features are made with.

    Attributes:
        filters: ``(bands, bins)``, see `mel_filters`.
        frame: Samples of a frame.
        hop: Samples from one frame to the next.
        transform: Points of the Fourier transform of a frame, ``2 * (bins - 1)``.
    """

    filters: Floats
    frame: int
    hop: int
    transform: int

    def features(self, recordings: Sequence[Floats]) -> list[Floats]:
        """Features ``(1 + n // hop, bands)`` of each recording of n samples between -1 and 1.

        Frame t lies around sample ``t * hop``, with silence before the first sample and after the
        last. It is weighted by a Hann window; the squared magnitudes of its Fourier transform go
        through the filters, and the logarithm of that plus ``FLOOR`` is the feature.
        """
        lengths = np.array([len(samples) for samples in recordings], dtype=np.int64)
        found: dict[int, Floats] = {}
        # together, since each call of torch's costs far more than its few frames
        for group in groups(lengths, len(lengths), TOGETHER):
            padded = np.zeros((len(group), int(lengths[group].max())))
            for row, index in zip(padded, group.tolist(), strict=True):
                row[: lengths[index]] = recordings[index]
            for features, index in zip(self._features(padded), group.tolist(), strict=True):
                found[index] = features[: 1 + lengths[index] // self.hop]
        return [found[index] for index in range(len(recordings))]

    def _features(self, samples: Floats) -> Floats:
        """Of ``(N, n)`` samples those of ``(N, 1 + n // hop, bands)``."""
        spectrum = torch.stft(
            torch.from_numpy(samples),
            self.transform,
            hop_length=self.hop,
            win_length=self.frame,
            window=torch.hann_window(self.frame, dtype=torch.float64),
            center=True,
            pad_mode="constant",
            return_complex=True,
        )
        power = spectrum.abs().square().transpose(1, 2) @ torch.from_numpy(self.filters).T
        features: Floats = (power + FLOOR).log().numpy()
        return features


def log_mel(rate: int, bands: int, frame: float, hop: float) -> LogMel:
    """What makes the features of recordings.

    Args:
        rate: Samples a second.
        bands: Features of a frame.
        frame: Length of a frame, in milliseconds.
        hop: From one frame to the next, in milliseconds.

    Raises:
        TaskError: A frame or hop is shorter than it can be, or there are too many bands for it.
    """
    width, step = round(rate * frame / 1000), round(rate * hop / 1000)
    for name, samples, least in (("frame", width, 16), ("hop", step, 1)):
        if samples < least:
            raise TaskError(
                f"option {name} gives {samples} samples at {rate:,} a second, but at least {least} "
                "are needed. Raise it."
            )
    transform = 1 << (width - 1).bit_length()
    if bands * transform > MOST_FILTERS:
        raise TaskError(
            f"option bands = {bands} is too large for frames of {frame:g} ms at {rate:,} samples a "
            "second. Lower it or frame."
        )
    filters = mel_filters(bands, transform, rate)
    empty = ~filters.any(axis=1)
    if empty.any():
        raise TaskError(
            f"option bands = {bands}: band {int(empty.argmax()) + 1} lies between two frequencies "
            f"of a frame of {frame:g} ms at {rate:,} samples a second. Lower bands or raise frame."
        )
    return LogMel(filters, width, step, transform)


def mel_filters(bands: int, transform: int, rate: int) -> Floats:
    """Triangular filters ``(bands, transform // 2 + 1)`` over the bins of a Fourier transform.

    The mel scale is that of HTK (Young et al., The HTK Book, section 5.4: mel = 2595 log10(1 +
    f / 700)). ``bands + 2`` frequencies lie evenly on it from 0 to rate / 2; filter k rises from
    frequency k to 1 at frequency k + 1 and falls to frequency k + 2, straight over f. There is no
    normalisation by area.
    """
    edges = from_mel(np.linspace(0.0, float(to_mel(np.array(rate / 2))), bands + 2))
    bins = np.arange(transform // 2 + 1) * (rate / transform)
    distance = edges[:, None] - bins
    gaps = np.diff(edges)[:, None]
    rising, falling = -distance[:-2] / gaps[:-1], distance[2:] / gaps[1:]
    return np.maximum(0.0, np.minimum(rising, falling))


def to_mel(hertz: Floats) -> Floats:
    """Frequencies on the mel scale of HTK."""
    return 2595.0 * np.log10(1.0 + hertz / 700.0)


def from_mel(mel: Floats) -> Floats:
    """The inverse of `to_mel`, in Hertz."""
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
