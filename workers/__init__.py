"""Training and scoring of candidates. Names that need torch are loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workers.layers import RecurrentLayer, RecurrentStack

__all__ = ["RecurrentLayer", "RecurrentStack"]


def __getattr__(name: str) -> Any:
    # The command line reads records without torch, which takes a second to import.
    if name in __all__:
        from workers import layers

        return getattr(layers, name)
    raise AttributeError(f"module 'workers' has no attribute {name!r}")
