"""A cell of the native library: a tape at given sizes, and the library's functions by type."""

from __future__ import annotations

import ctypes
import weakref
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from genomes.program import Program, layout
from workers.engine.native.library import load
from workers.engine.native.tape import Tape, tape

SUFFIX = {torch.float32: "f32", torch.float64: "f64"}
"""Types the library computes in."""
ROWS_IN_BLOCK = 160
"""Rows (steps x sequences) worked on together: enough for the products, few enough for the cache."""


class Handle:
    """Something the library made; freed with this object."""

    def __init__(self, address: int, free: Any) -> None:
        self.address = address
        weakref.finalize(self, free, ctypes.c_void_p(address))


@dataclass(frozen=True)
class NativeCell:
    """A tape at given sizes, known to the library.

    Attributes:
        tape: What it runs.
        handle: The library's cell.
        numbers: Length of the flat weight vector.
        complete: Whether every number of that vector is a weight of some instruction.
    """

    tape: Tape
    handle: Handle
    numbers: int
    complete: bool


@lru_cache(maxsize=256)
def native_cell(
    program: Program, input_size: int, hidden_size: int, masked: bool = False
) -> NativeCell:
    """The cell of a program at given sizes.

    Raises:
        NativeUnavailable: If there is no library.
    """
    functions = load().functions
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
    numbers = sum(int(np.prod(w.shape)) for w in weights.values())
    code = np.array(lowered.code, dtype=np.int32)
    offsets = np.array(places, dtype=np.int64)
    new = functions.evo_cell_new
    new.restype = ctypes.c_void_p
    address = new(pointer(code), pointer(offsets), input_size, hidden_size)
    free = functions.evo_cell_free
    free.restype = None
    return NativeCell(lowered, Handle(address, free), numbers, used == numbers)


@lru_cache(maxsize=8)
def threads(count: int) -> Handle:
    """Threads of the library's own, waiting for work; one is the caller."""
    functions = load().functions
    new = functions.evo_pool_new
    new.restype = ctypes.c_void_p
    free = functions.evo_pool_free
    free.restype = None
    return Handle(new(ctypes.c_int32(count)), free)


def function(name: str, dtype: torch.dtype) -> Any:
    """A function of the library that returns nothing, for a type of numbers."""
    found = getattr(load().functions, f"{name}_{SUFFIX[dtype]}")
    found.restype = None
    return found


def pointer(array: npt.NDArray[Any] | Tensor | None) -> ctypes.c_void_p:
    """The address of an array's first number; the array must outlive the call."""
    if array is None:
        return ctypes.c_void_p(None)
    if isinstance(array, Tensor):
        return ctypes.c_void_p(array.data_ptr())
    return ctypes.c_void_p(array.ctypes.data)


def sizes_of(steps: int, batch: int) -> npt.NDArray[np.int64]:
    """Steps, sequences, and steps of a block, as the library takes them."""
    block = max(1, min(steps, ROWS_IN_BLOCK // max(batch, 1)))
    return np.array([steps, batch, block], dtype=np.int64)
