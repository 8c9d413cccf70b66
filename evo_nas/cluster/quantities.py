"""Quantities as Kubernetes writes them: ``4``, ``500m``, ``16Gi``, ``1e3``."""

from __future__ import annotations

import re
from fractions import Fraction

from evo_nas.cluster.parts import shown

_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:[eE]([+-]?\d{1,2})|([numkMGTPE]|[KMGTPE]i)?)")
_SCALE = {"n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000)}
_SCALE |= {unit: Fraction(1000) ** n for n, unit in enumerate(["", *"kMGTPE"])}
_SCALE |= {f"{unit}i": Fraction(1024) ** n for n, unit in enumerate("KMGTPE", start=1)}


def quantity(value: object) -> Fraction | None:
    """What a quantity of Kubernetes stands for (``4``, ``500m``, ``16Gi``); None if it is none."""
    match = _QUANTITY.fullmatch(shown(value))
    if match is None or isinstance(value, bool):
        return None
    number, exponent, unit = match.groups()
    return Fraction(number) * (Fraction(10) ** int(exponent) if exponent else _SCALE[unit or ""])
