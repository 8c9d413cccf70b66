"""Exported weights: no program of ours reads them, so what is tested is how a user would."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from tests.formats.make_run import text
from tests.hostile import MiB, bounded, ran, strangers_run


def with_header(content: bytes, change: Callable[[dict[str, dict[str, object]]], object]) -> bytes:
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    change(header)
    packed = json.dumps(header).encode()
    return len(packed).to_bytes(8, "little") + packed + content[8 + size :]


LIES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda c: b"",
    "a header of 2**63 bytes": lambda c: (2**63).to_bytes(8, "little") + c[8:],
    "a header of 4 GB": lambda c: (2**32).to_bytes(8, "little") + c[8:],
    "a nested header": lambda c: (99_999).to_bytes(8, "little") + b"[" * 99_999,
    "a tensor beyond the file": lambda c: with_header(
        c, lambda h: h["a"].update(shape=[2**40], data_offsets=[0, 2**42])
    ),
    "a shape beyond 64 bits": lambda c: with_header(c, lambda h: h["a"].update(shape=[2**40] * 3)),
    "a negative shape": lambda c: with_header(c, lambda h: h["a"].update(shape=[-6])),
    "an unknown type": lambda c: with_header(c, lambda h: h["a"].update(dtype="PICKLE")),
    "a torn end": lambda c: c[:-3],
    "a pickle": lambda c: b"\x80\x04cos\nsystem\n(S'true'\ntR.",
}


@pytest.mark.parametrize("case", LIES)
def test_weights_whose_header_lies_are_refused_by_their_reader(tmp_path: Path, case: str) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.arange(6.0), "b": torch.ones(2, 3)}, path)
    path.write_bytes(LIES[case](path.read_bytes()))
    with bounded(50 * MiB), pytest.raises(SafetensorError):
        load_file(path)


def test_an_export_says_the_sha256_of_its_weights(tmp_path: Path) -> None:
    run, weights, data = strangers_run(tmp_path), tmp_path / "w.safetensors", tmp_path / "tiny.txt"
    data.write_text(text())
    done = ran("export", str(run), "--weights", str(weights), "--data", str(data))
    assert done.exit_code == 0
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert done.stderr.splitlines()[-1] == f"SHA-256 {digest}"
    assert all(name.startswith("layer0.") for name in load_file(weights))
