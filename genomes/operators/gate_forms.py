"""The published forms of a gate, as rows of data.

A gate is a value that multiplies another or blends two. s is the sigmoid, x the input, h the
state the gate looks at, c another state (h itself in a cell of one state), v what the gate
lets through, g another gate of the cell and a the value under g's sigmoid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from genomes.draft import Draft
from genomes.genome import X


@dataclass(frozen=True, slots=True)
class GateContext:
    """The values that a gate of a given cell can be made of (ids of a draft).

    Attributes:
        state: h, the state the gate looks at.
        memory: c, another state if there is one.
        new_memory: The new value of c.
        gated: v, what the gate multiplies.
        other: g, another gate, or None.
        under_other: a, if g is a sigmoid of a.
    """

    state: int
    memory: int
    new_memory: int
    gated: int
    other: int | None
    under_other: int | None


Build = Callable[[Draft, GateContext], int | None]


@dataclass(frozen=True, slots=True)
class GateForm:
    """A published gate.

    Attributes:
        name: Name in the record.
        equation: What it computes, in the letters above.
        source: Where it was published.
        needs: Operations besides ``linear`` that a search space must allow.
        build: Adds it to a draft and returns its id; None where the cell lacks a part of it.
    """

    name: str
    equation: str
    source: str
    needs: tuple[str, ...]
    build: Build


def _of_linear(op: str, sources: Callable[[GateContext], list[int]], init: float = 0.0) -> Build:
    """A gate that is one activation of one linear."""
    return lambda d, c: d.add(op, [d.add("linear", sources(c), bias_init=init)])


def _with_scale(
    sources: Callable[[GateContext], list[int]], scaled: Callable[[GateContext], int]
) -> Build:
    """A sigmoid of a linear plus a learned vector times a memory."""

    def build(d: Draft, c: GateContext) -> int:
        linear = d.add("linear", sources(c))
        return d.add("sigmoid", [d.add("add", [linear, d.add("scale", [scaled(c)])])])

    return build


def _tanh_state(d: Draft, c: GateContext) -> int:
    return d.add("sigmoid", [d.add("linear", [X, d.add("tanh", [c.state])])])


def _raw_input(d: Draft, c: GateContext) -> int:
    return d.add("sigmoid", [d.add("add", [X, d.add("linear", [c.state])])])


def _coupled(d: Draft, c: GateContext) -> int | None:
    return None if c.other is None else d.add("one_minus", [c.other])


def _shifted(d: Draft, c: GateContext) -> int | None:
    if c.under_other is None:
        return None
    return d.add("sigmoid", [d.add("one_minus", [c.under_other])])


GATE_FORMS: tuple[GateForm, ...] = (
    GateForm(
        "full",
        "s(W x + U h + b)",
        "Hochreiter & Schmidhuber 1997; Cho et al. 2014",
        ("sigmoid",),
        _of_linear("sigmoid", lambda c: [X, c.state]),
    ),
    GateForm(
        "open",
        "s(W x + U h + b), b starts at 1",
        "Jozefowicz et al. 2015",
        ("sigmoid",),
        _of_linear("sigmoid", lambda c: [X, c.state], 1.0),
    ),
    GateForm(
        "tanh",
        "tanh(W x + U h + b)",
        "Jozefowicz et al. 2015 (output gate); NAS-Bench-NLP's LSTM",
        ("tanh",),
        _of_linear("tanh", lambda c: [X, c.state]),
    ),
    GateForm(
        "input_only",
        "s(W x + b)",
        "Jozefowicz et al. 2015 (MUT1, update gate)",
        ("sigmoid",),
        _of_linear("sigmoid", lambda c: [X]),
    ),
    GateForm(
        "state_only",
        "s(U h + b)",
        "Dey & Salem 2017 (GRU1)",
        ("sigmoid",),
        _of_linear("sigmoid", lambda c: [c.state]),
    ),
    GateForm(
        "tanh_state",
        "s(W x + U tanh(h) + b)",
        "Jozefowicz et al. 2015 (MUT3, update gate)",
        ("sigmoid", "tanh"),
        _tanh_state,
    ),
    GateForm(
        "raw_input",
        "s(x + U h + b)",
        "Jozefowicz et al. 2015 (MUT2, reset gate)",
        ("sigmoid", "add"),
        _raw_input,
    ),
    GateForm(
        "of_gated",
        "s(U h + V v + b)",
        "Chen 2017 (minimalRNN)",
        ("sigmoid",),
        _of_linear("sigmoid", lambda c: [c.state, c.gated]),
    ),
    GateForm(
        "peephole",
        "s(W x + U h + p * c + b)",
        "Gers & Schmidhuber 2000 (input and forget gates)",
        ("sigmoid", "add", "scale"),
        _with_scale(lambda c: [X, c.state], lambda c: c.memory),
    ),
    GateForm(
        "peephole_new",
        "s(W x + U h + p * c' + b)",
        "Gers & Schmidhuber 2000 (output gate)",
        ("sigmoid", "add", "scale"),
        _with_scale(lambda c: [X, c.state], lambda c: c.new_memory),
    ),
    GateForm(
        "vector",
        "s(W x + v * c + b), v learned",
        "Lei et al. 2018 (SRU)",
        ("sigmoid", "add", "scale"),
        _with_scale(lambda c: [X], lambda c: c.memory),
    ),
    GateForm(
        "coupled",
        "1 - g",
        "Greff et al. 2015 (CIFG)",
        ("one_minus",),
        _coupled,
    ),
    GateForm(
        "shifted",
        "s(1 - a)",
        "van der Westhuizen & Lasenby 2018 (JANET)",
        ("sigmoid", "one_minus"),
        _shifted,
    ),
    GateForm(
        "shared",
        "g",
        "Zhou et al. 2016 (MGU)",
        (),
        lambda d, c: c.other,
    ),
)
