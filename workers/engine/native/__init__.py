"""The native engine: one C++ library that runs any cell's tape, forward and backward."""

from __future__ import annotations

import ctypes

from workers.engine.native.library import load


def peak() -> float:
    """The rate of the engine's matrix kernel on data in the nearest cache, in GFLOP/s, measured.

    Raises:
        NativeUnavailable: If there is no library.
    """
    measure = load().functions.evo_peak
    measure.restype = ctypes.c_double
    return float(measure())
