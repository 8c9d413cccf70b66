"""Engines: functions that run a program forward, differentiable backward, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch

from workers.engine.interface import Engine
from workers.engine.native.cell import SUFFIX
from workers.engine.native.layer import engine_cannot_see, run_native
from workers.engine.native.library import NativeUnavailable, load
from workers.engine.reference_engine import run_reference
from workers.engine.torch_engine import run_torch

ENGINES: Mapping[str, Engine] = MappingProxyType(
    {"reference": run_reference, "torch": run_torch, "native": run_native}
)
AUTO = "auto"
"""The fastest engine for where the numbers lie: ``native`` on the CPU if there is a library, else
``torch``; ``torch`` too while torch traces, compiles or transforms the model."""


def check_engine(engine: str) -> str:
    """The name of an engine, checked.

    Raises:
        ValueError: If there is no such engine.
        NativeUnavailable: If it is ``native`` and there is no library.
    """
    if engine != AUTO and engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}. Known are: auto, {', '.join(ENGINES)}.")
    if engine == "native":
        load()
    return engine


def engine_for(engine: str, device: torch.device, dtype: torch.dtype = torch.float32) -> str:
    """The engine that a name stands for where numbers of a type lie on a device."""
    if engine != AUTO:
        return engine
    if device.type != "cpu" or dtype not in SUFFIX or engine_cannot_see():
        return "torch"
    return "torch" if why_not_native() else "native"


def engine_here(engine: str) -> str:
    """The engine that a name stands for on the device this process trains on: the GPU it may see,
    else the CPU.

    Raises:
        ValueError: If it is ``native`` and there is a GPU, where it cannot run.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if engine == "native" and device.type != "cpu":
        raise ValueError(
            "engine 'native' trains on the CPU, but this process sees a GPU and would train there. "
            "Use engine 'auto', or hide the GPU with CUDA_VISIBLE_DEVICES= (empty)."
        )
    return engine_for(engine, device)


def why_slow(engine: str) -> str:
    """Why ``auto`` must train with torch on the CPU here, in one line; empty if it need not."""
    on_gpu = torch.cuda.is_available()
    return "" if engine != AUTO or on_gpu else why_not_native()


def why_not_native() -> str:
    """Why there is no native library, in one line; empty if there is one."""
    try:
        load()
    except NativeUnavailable as error:
        return str(error)
    return ""


def engine_label(engine: str) -> str:
    """What the record says: the engine and, of the native one, the variant of its library."""
    return f"native/{load().variant}" if engine == "native" else engine
