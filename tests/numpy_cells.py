"""The published cells once more, in NumPy, written from the papers' equations.

Nothing of the project is imported: these are what the genomes are compared with. A cell is a
function of (weights by name, x, earlier states) that returns the new states, emitted one first.

``WEIGHTS`` lists each cell's weights in the order its equations name them. A name starting with
W is a matrix that reads x (hidden x input), with U one that reads a state or another value
(hidden x hidden), with p a learned vector that multiplies, with b a bias.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = Mapping[str, Array]
Cell = Callable[[Weights, Array, tuple[Array, ...]], tuple[Array, ...]]


def s(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


def relu(a: Array) -> Array:
    return np.maximum(a, 0)


def affine(w: Weights, part: str, x: Array, h: Array) -> Array:
    """W x + U h + b with the weights of one gate."""
    return x @ w[f"W_{part}"].T + h @ w[f"U_{part}"].T + w[f"b_{part}"]


def gru(w: Weights, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    (h,) = state
    r, z = s(affine(w, "r", x, h)), s(affine(w, "z", x, h))
    n = np.tanh(affine(w, "h", x, r * h))
    return ((1 - z) * h + z * n,)


def lstm_forget_bias(w: Weights, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    h, c = state
    i, f, o = (s(affine(w, gate, x, h)) for gate in "ifo")
    c = f * c + i * np.tanh(affine(w, "g", x, h))
    return o * np.tanh(c), c


def lstm_tanh_output(w: Weights, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    h, c = state
    i, f = s(affine(w, "i", x, h)), s(affine(w, "f", x, h))
    o = np.tanh(affine(w, "o", x, h))
    c = f * c + i * np.tanh(affine(w, "g", x, h))
    return o * np.tanh(c), c


def lstm_peephole(w: Weights, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    h, c = state
    i = s(affine(w, "i", x, h) + w["p_i"] * c)
    f = s(affine(w, "f", x, h) + w["p_f"] * c)
    c_new = f * c + i * np.tanh(affine(w, "g", x, h))
    o = s(affine(w, "o", x, h) + w["p_o"] * c_new)
    return o * np.tanh(c_new), c_new


def lstm_coupled(w: Weights, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    h, c = state
    i = s(affine(w, "i", x, h))
    c_new = (1 - i) * c + i * np.tanh(affine(w, "c", x, h))
    return s(affine(w, "o", x, h)) * np.tanh(c_new), c_new


def mgu(w: Weights, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    (h,) = state
    f = s(affine(w, "f", x, h))
    return ((1 - f) * h + f * np.tanh(affine(w, "h", x, f * h)),)


def janet(w: Weights, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    (c,) = state  # the paper's h and c are one
    a = affine(w, "f", x, c)
    return (s(a) * c + (1 - s(a - 1)) * np.tanh(affine(w, "c", x, c)),)


def ugrnn(w: Weights, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    (h,) = state
    g = s(affine(w, "g", x, h))
    return (g * h + (1 - g) * np.tanh(affine(w, "n", x, h)),)


def ran(w: Weights, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    h, c = state
    u = x @ w["W_c"].T
    c_new = s(affine(w, "i", x, h)) * u + s(affine(w, "f", x, h)) * c
    return np.tanh(c_new), c_new


def minimal_rnn(w: Weights, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    (h,) = state
    v = np.tanh(x @ w["W_v"].T + w["b_v"])
    u = s(h @ w["U_h"].T + v @ w["U_v"].T + w["b_u"])
    return (u * h + (1 - u) * v,)


def li_gru(w: Weights, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    (h,) = state
    z = s(affine(w, "z", x, h))
    return (z * h + (1 - z) * relu(affine(w, "n", x, h)),)


def sru(w: Weights, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    _, c = state
    u = x @ w["W"].T
    f = s(x @ w["W_f"].T + w["p_f"] * c + w["b_f"])
    r = s(x @ w["W_r"].T + w["p_r"] * c + w["b_r"])
    c_new = f * c + (1 - f) * u
    return r * c_new + (1 - r) * x, c_new


def mut1(w: Weights, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    (h,) = state
    z = s(x @ w["W_z"].T + w["b_z"])
    r = s(affine(w, "r", x, h))
    return (np.tanh((r * h) @ w["U_h"].T + np.tanh(x) + w["b_h"]) * z + h * (1 - z),)


def mut2(w: Weights, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    (h,) = state
    z = s(affine(w, "z", x, h))
    r = s(x + h @ w["U_r"].T + w["b_r"])
    return (np.tanh(affine(w, "h", x, r * h)) * z + h * (1 - z),)


def mut3(w: Weights, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    (h,) = state
    z = s(affine(w, "z", x, np.tanh(h)))
    r = s(affine(w, "r", x, h))
    return (np.tanh(affine(w, "h", x, r * h)) * z + h * (1 - z),)


def nas_cell(w: Weights, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    h, c = state
    p = [x @ w[f"W_{k}"].T for k in range(8)]
    m = [h @ w[f"U_{k}"].T for k in range(8)]
    a0, a1, a2 = s(p[0] + m[0]), relu(p[1] + m[1]), s(p[2] + m[2])
    a3, a4, a5 = relu(p[3] * m[3]), np.tanh(p[4] + m[4]), s(p[5] + m[5])
    a6, a7 = np.tanh(p[6] + m[6]), s(p[7] + m[7])
    b0, b1, b2, b3 = np.tanh(a0 * a1), np.tanh(a2 + a3), np.tanh(a4 * a5), s(a6 + a7)
    c_new = np.tanh(b0 + c) * b1
    return np.tanh(c_new * np.tanh(b2 + b3)), c_new


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "relu": relu,
    "sigmoid": s,
    "identity": lambda a: a,
}
ENAS = "tanh0 tanh1 relu1 tanh3 tanh3 relu3 relu4 relu7 relu8 relu8 relu8".split()
DARTS_V1 = "relu0 relu1 tanh2 relu3 relu4 identity1 relu5 relu1".split()
DARTS_V2 = "sigmoid0 relu1 relu1 identity1 tanh2 sigmoid5 tanh3 relu5".split()


def highway(nodes: list[str], averaged: list[int]) -> Cell:
    """A cell of the ENAS and DARTS spaces; ``relu3`` is a node of that activation and parent."""

    def cell(w: Weights, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        (h,) = state
        gate = s(x @ w["W_k0"].T + h @ w["U_k0"].T)
        made = [h + gate * (np.tanh(x @ w["W_v0"].T + h @ w["U_v0"].T) - h)]
        for i, node in enumerate(nodes, 1):
            name, parent = node[:-1], made[int(node[-1])]
            value = ACTIVATIONS[name](parent @ w[f"U_v{i}"].T)
            made.append(parent + s(parent @ w[f"U_k{i}"].T) * (value - parent))
        return (np.mean([made[k] for k in averaged], axis=0),)

    return cell


def _gates(names: str) -> str:
    return " ".join(f"W_{g} U_{g} b_{g}" for g in names)


def _highway_weights(nodes: list[str]) -> str:
    inner = " ".join(f"U_k{i} U_v{i}" for i in range(1, len(nodes) + 1))
    return f"W_k0 U_k0 W_v0 U_v0 {inner}"


CELLS: Mapping[str, Cell] = {
    "gru": gru,
    "lstm_forget_bias": lstm_forget_bias,
    "lstm_tanh_output": lstm_tanh_output,
    "lstm_peephole": lstm_peephole,
    "lstm_coupled": lstm_coupled,
    "mgu": mgu,
    "janet": janet,
    "ugrnn": ugrnn,
    "ran": ran,
    "minimal_rnn": minimal_rnn,
    "li_gru": li_gru,
    "sru": sru,
    "mut1": mut1,
    "mut2": mut2,
    "mut3": mut3,
    "nas_cell": nas_cell,
    "enas": highway(ENAS, [2, 5, 6, 9, 10, 11]),
    "darts_v1": highway(DARTS_V1, list(range(1, 9))),
    "darts_v2": highway(DARTS_V2, list(range(1, 9))),
}

WEIGHTS: Mapping[str, str] = {
    "gru": _gates("rzh"),
    "lstm_forget_bias": _gates("ifgo"),
    "lstm_tanh_output": _gates("ifgo"),
    "lstm_peephole": "W_i U_i b_i p_i W_f U_f b_f p_f W_g U_g b_g W_o U_o b_o p_o",
    "lstm_coupled": _gates("ico"),
    "mgu": _gates("fh"),
    "janet": _gates("fc"),
    "ugrnn": _gates("gn"),
    "ran": "W_c " + _gates("if"),
    "minimal_rnn": "W_v b_v U_h U_v b_u",
    "li_gru": _gates("zn"),
    "sru": "W W_f b_f p_f W_r b_r p_r",
    "mut1": "W_z b_z W_r U_r b_r U_h b_h",
    "mut2": "W_z U_z b_z U_r b_r U_h W_h b_h",
    "mut3": "W_z U_z b_z W_r U_r b_r U_h W_h b_h",
    "nas_cell": " ".join(f"W_{k} U_{k}" for k in range(8)),
    "enas": _highway_weights(ENAS),
    "darts_v1": _highway_weights(DARTS_V1),
    "darts_v2": _highway_weights(DARTS_V2),
}


def drawn_weights(
    cell: str, input_size: int, hidden_size: int, rng: np.random.Generator
) -> dict[str, Array]:
    """Random weights by name, in the order of ``WEIGHTS``."""
    shapes = {"W": (hidden_size, input_size), "U": (hidden_size, hidden_size)}
    return {
        name: rng.normal(scale=0.7, size=shapes.get(name[0], (hidden_size,)))
        for name in WEIGHTS[cell].split()
    }


def unrolled(
    cell: str, weights: Weights, x: Array, state: tuple[Array, ...]
) -> tuple[Array, tuple[Array, ...]]:
    """Emitted states (T, B, hidden) for x (T, B, input), and the last states."""
    emitted = []
    for x_t in x:
        state = CELLS[cell](weights, x_t, state)
        emitted.append(state[0])
    return np.stack(emitted), state
