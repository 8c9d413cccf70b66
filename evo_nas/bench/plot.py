"""Mean regret against evaluations as an SVG picture, one line a strategy, its interval shaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from evo_nas.bench.summary import Summary
from genomes.readable import readable

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 76, 20, 44, 52
COLOURS = ("#4d4d4d", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
"""Told apart with any colour vision (Okabe and Ito 2008)."""
LOWEST = 1e-4
"""Regret axis ends here: below it lies nothing but 0."""


def to_svg(summary: Summary) -> str:
    """The picture. The axis of regret is logarithmic."""
    standings = summary.standings
    count = len(standings[0].curve)
    top = max(max(s.high) for s in standings)
    bottom = max(LOWEST, min(v for s in standings for v in (*s.low, *s.curve) if v > 0) * 0.8)
    upper, lower = math.log10(max(top, 2 * bottom) * 1.1), math.log10(bottom)

    def x(evaluation: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * evaluation / count

    def y(regret: float) -> float:
        share = (math.log10(max(regret, bottom)) - lower) / (upper - lower)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    def points(values: Sequence[float], backwards: bool = False) -> str:
        pairs = [f"{x(i + 1):.1f},{y(v):.1f}" for i, v in enumerate(values)]
        return " ".join(reversed(pairs) if backwards else pairs)

    unit = f" ({summary.unit})" if summary.unit else ""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 22, f"{summary.table}: mean regret{unit} over {summary.seeds} seeds"),
        _text(WIDTH / 2, HEIGHT - 12, "evaluations", "middle"),
    ]
    for decade in range(math.ceil(lower), math.floor(upper) + 1):
        parts.append(_line(LEFT, y(10.0**decade), WIDTH - RIGHT, y(10.0**decade)))
        parts.append(_text(LEFT - 8, y(10.0**decade) + 4, f"{10.0**decade:g}", "end"))
    step = max(1, count // 8)
    for evaluation in range(0, count + 1, step):
        parts.append(_line(x(evaluation), HEIGHT - BOTTOM, x(evaluation), HEIGHT - BOTTOM + 5))
        parts.append(_text(x(evaluation), HEIGHT - BOTTOM + 20, str(evaluation), "middle"))
    for number, standing in enumerate(standings):
        colour = COLOURS[number % len(COLOURS)]
        band = f"{points(standing.low)} {points(standing.high, backwards=True)}"
        parts.append(f'<polygon points="{band}" fill="{colour}" fill-opacity="0.15"/>')
        parts.append(
            f'<polyline points="{points(standing.curve)}" fill="none" stroke="{colour}" '
            'stroke-width="2"/>'
        )
        parts.append(
            _text(WIDTH - RIGHT - 8, TOP + 16 * (number + 1), standing.strategy, "end", colour)
        )
    return "\n".join([*parts, "</svg>", ""])


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = "black") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">'
        f"{escape(readable(text))}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#dddddd"/>'
