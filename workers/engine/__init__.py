"""Engines: functions that run a program forward, differentiable backward, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from workers.engine.interface import Engine
from workers.engine.reference_engine import run_reference
from workers.engine.torch_engine import run_torch

ENGINES: Mapping[str, Engine] = MappingProxyType({"reference": run_reference, "torch": run_torch})
AUTO = "torch"
"""What ``engine="auto"`` stands for."""


def engine_name(engine: str) -> str:
    """The engine that a name stands for.

    Raises:
        ValueError: If there is no such engine.
    """
    name = AUTO if engine == "auto" else engine
    if name not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}. Known are: auto, {', '.join(ENGINES)}.")
    return name
