"""Every variant of the library, and its tables beside those of the Python code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from project import ROOT
from tiny import environment

from genomes.ops import ACTIVATIONS, LEAKY_RELU_SLOPE, OPS
from genomes.reference import ACTIVATIONS as REFERENCE_ACTIVATIONS
from genomes.reference import COMBINATIONS as REFERENCE_COMBINATIONS
from workers.engine.native import build, library, tape
from workers.form import HEADS, LOSSES
from workers.tasks.heads import HorizonHead, SequenceHead, StepHead


@pytest.mark.slow
@pytest.mark.timeout(290)
@pytest.mark.parametrize("variant", library.supported())
def test_every_variant_that_runs_here_passes_these_tests(variant: str, tmp_path: Path) -> None:
    (wanted,) = (v for v in build.variants() if v.name == variant)
    build.build(wanted, tmp_path)
    # What is started here is not to be sanitized, even if this process is.
    kept = {k: v for k, v in environment().items() if k not in ("LD_PRELOAD", "ASAN_OPTIONS")}
    names = ("layer", "autograd", "fused", "numbers", "threads", "buffers")
    files = [f"tests/test_native_{name}.py" for name in names]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files],
        env=kept | {library.NATIVE_DIR: str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    said = subprocess.run(
        [sys.executable, "-c", "from workers.engine import engine_label as f; print(f('native'))"],
        env=kept | {library.NATIVE_DIR: str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert said.stdout.strip() == f"native/{variant}"


def enumerated(header: str, name: str) -> dict[str, int]:
    text = (build.SOURCE / header).read_text(encoding="utf-8")
    found = re.search(rf"enum {name}\b[^{{]*{{(.*?)}}", text, re.DOTALL)
    assert found is not None, f"{header} has no enum {name}"
    entries = re.sub(r"//[^\n]*", "", found[1])
    return {k: int(v) for k, v in re.findall(r"(\w+)\s*=\s*(\d+)", entries)}


def test_every_operation_has_a_rule_in_every_engine() -> None:
    assert set(tape.OPCODES) | set(tape.ACTIVATIONS) == set(OPS)
    assert not set(tape.OPCODES) & set(tape.ACTIVATIONS)
    assert set(tape.ACTIVATIONS) == set(ACTIVATIONS) == set(REFERENCE_ACTIVATIONS)
    combinations = {name for name, op in OPS.items() if op.kind == "combine"}
    assert set(REFERENCE_COMBINATIONS) == combinations
    assert set(tape.OPCODES) == combinations | {"linear", "scale"}


def test_the_numbers_of_operations_are_those_of_the_source() -> None:
    written = {name.upper(): code for name, code in tape.OPCODES.items()}
    written |= {"ACTIVATE": tape.ACTIVATE, "LOAD": tape.LOAD, "MASK": tape.MASK}
    assert enumerated("tape.h", "Op") == written
    assert len(set(written.values())) == len(written)


def test_the_numbers_of_activations_are_those_of_the_source() -> None:
    names = {"identity": "COPY"}
    written = {names.get(n, n.upper()): code for n, code in tape.ACTIVATIONS.items()}
    assert enumerated("activations.h", "Activation") == written | {"NONE": 0}
    assert len(set(written.values())) == len(written)
    text = (build.SOURCE / "activations.h").read_text(encoding="utf-8")
    assert f"LEAKY_SLOPE = {LEAKY_RELU_SLOPE};" in text


def test_the_numbers_of_heads_and_losses_are_those_of_the_source() -> None:
    heads = {StepHead: "EACH_STEP", HorizonHead: "LAST", SequenceHead: "MEAN_AND_LAST"}
    assert enumerated("trainer.h", "Head") == {heads[h]: code for h, code in HEADS.items()}
    assert enumerated("trainer.h", "Loss") == {n.upper(): code for n, code in LOSSES.items()}
