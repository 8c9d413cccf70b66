"""A cell of the native library: a tape at given sizes, and the library's functions by type."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from genomes.program import Program, layout
from workers.engine.native.library import load
from workers.engine.native.tape import Tape, tape

SUFFIX = {torch.float32: "f32", torch.float64: "f64"}
"""Types the library computes in."""
ROWS_IN_BLOCK = 128
"""Rows (steps x sequences) worked on together: many for the products, few for the cache."""


class Handle:
    """Something the library made; freed with this object."""

    def __init__(self, address: int, free: Any) -> None:
        self.address = address
        weakref.finalize(self, free, address)


@dataclass(frozen=True, eq=False)
class NativeCell:
    """A tape at given sizes, known to the library; compared by identity.

    Attributes:
        tape: What it runs.
        handle: The library's cell.
        complete: Whether every number of the flat weight vector is a weight of some instruction.
    """

    tape: Tape
    handle: Handle
    complete: bool


@lru_cache(maxsize=256)
def native_cell(
    program: Program, input_size: int, hidden_size: int, masked: bool = False
) -> NativeCell:
    """The cell of a program at given sizes.

    Raises:
        NativeUnavailable: If there is no library.
    """
    lowered = tape(program, masked)
    weights = {w.name: w for w in layout(program, input_size, hidden_size)}
    places: list[int] = []
    used = 0
    for name in lowered.matrices:
        places += [weights[name].offset, weights[name].shape[1]]
        used += hidden_size * weights[name].shape[1]
    for name in lowered.vectors:
        places.append(weights[name].offset)
        used += hidden_size
    code = np.array(lowered.code, dtype=np.int32)
    offsets = np.array(places, dtype=np.int64)
    functions = library()
    address = functions.cell_new(code.ctypes.data, offsets.ctypes.data, input_size, hidden_size)
    numbers = sum(int(np.prod(w.shape)) for w in weights.values())
    return NativeCell(lowered, Handle(address, functions.cell_free), used == numbers)


WORTH_WAKING = 20_000_000
"""Multiply-adds from which on further threads pay for being woken."""


def threads(count: int) -> int:
    """Threads of the library's own, waiting for work; one of them is the caller.

    Returns:
        Their address in the library. They last as long as the process; one that was forked off
        has none of its parent's threads and gets its own.
    """
    return _threads(count, WORTH_WAKING, os.getpid())


@cache
def _threads(count: int, worth_waking: int, process: int) -> int:
    address: int = library().pool_new(count, worth_waking)
    return address


@lru_cache(maxsize=1024)
def layer_bytes(
    cell: NativeCell, steps: int, batch: int, masked: bool, dtype: torch.dtype
) -> tuple[int, int, int]:
    """What a layer takes: for the values kept for backward, and besides them forward, backward."""
    sizes = sizes_of(steps, batch)
    needed = np.zeros(3, dtype=np.int64)
    library().typed[dtype].layer_bytes(
        cell.handle.address, sizes.ctypes.data, masked, needed.ctypes.data
    )
    return int(needed[0]), int(needed[1]), int(needed[2])


@lru_cache(maxsize=1024)
def sizes_of(steps: int, batch: int) -> npt.NDArray[np.int64]:
    """Steps, sequences, and steps of a block, as the library takes them."""
    block = max(1, min(steps, ROWS_IN_BLOCK // max(batch, 1)))
    return np.array([steps, batch, block], dtype=np.int64)


@dataclass(frozen=True)
class Typed:
    """The functions for one type of numbers; ``source/*_api.cpp`` says what they do."""

    layer_bytes: Any
    layer_forward: Any
    layer_backward: Any
    trainer_new: Any
    trainer_free: Any
    trainer_bytes: Any
    trainer_run: Any


@dataclass(frozen=True)
class Functions:
    """The library's functions, ready to be called with addresses and numbers."""

    cell_new: Any
    cell_free: Any
    pool_new: Any
    typed: Mapping[torch.dtype, Typed]


@lru_cache(maxsize=1)
def library() -> Functions:
    """The functions of the library that was loaded.

    Raises:
        NativeUnavailable: If there is none.
    """
    loaded = load().functions
    p, i = ctypes.c_void_p, ctypes.c_int32

    def function(name: str, arguments: list[Any], result: Any = None) -> Any:
        found = loaded[f"evo_{name}"]  # by index: a fresh object, whose types nobody else sets
        found.argtypes, found.restype = arguments, result
        return found

    def typed(suffix: str) -> Typed:
        return Typed(
            function(f"layer_bytes_{suffix}", [p, p, i, p]),
            function(f"layer_forward_{suffix}", [p] * 12),
            function(f"layer_backward_{suffix}", [p] * 13),
            function(f"trainer_new_{suffix}", [p] * 3, p),
            function(f"trainer_free_{suffix}", [p]),
            function(f"trainer_bytes_{suffix}", [p, p], ctypes.c_int64),
            function(
                f"trainer_run_{suffix}",
                [p, p, ctypes.c_int64, ctypes.c_int64, *[p] * 8],
                ctypes.c_int64,
            ),
        )

    return Functions(
        function("cell_new", [p, p, i, i], p),
        function("cell_free", [p]),
        function("pool_new", [i, ctypes.c_int64], p),
        {dtype: typed(suffix) for dtype, suffix in SUFFIX.items()},
    )
