"""What a search says and records about the engine its candidates train in."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import arguments, evo_nas

from evo_nas.events import Told
from evo_nas.record import read_events
from workers.engine import engine_here
from workers.engine.native.library import load

FEW = ("--evaluations", "4", "--seeds", "0")


def engines(run: Path) -> set[str]:
    return {event.engine for event in read_events(run)[0] if isinstance(event, Told)}


def without_library(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("EVO_NAS_NATIVE_DIR", str(folder / "nothing"))


def test_the_native_engine_is_the_default_and_the_record_names_variant_and_path(
    tmp_path: Path,
) -> None:
    done = evo_nas(*arguments(tmp_path, *FEW))
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    assert engines(tmp_path / "run") == {f"native/{load().variant} fused"}


def test_a_search_without_the_library_trains_with_torch_and_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_library(monkeypatch, tmp_path)
    done = evo_nas(*arguments(tmp_path, *FEW))
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if "warning" in line]
    assert len(said) == 1
    assert "candidates train more slowly, with torch: EVO_NAS_NATIVE_DIR is" in said[0]
    assert engines(tmp_path / "run") == {"torch"}


def test_the_native_engine_asked_for_by_name_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_library(monkeypatch, tmp_path)
    done = evo_nas(*arguments(tmp_path, *FEW, "--engine", "native"))
    assert done.returncode == 1
    assert "EVO_NAS_NATIVE_DIR is" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_that_goes_on_with_another_engine_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evo_nas(*arguments(tmp_path, *FEW)).returncode == 0
    run = str(tmp_path / "run")
    same = evo_nas("resume", run, "--evaluations", "6")
    assert same.returncode == 0, same.stderr
    assert "warning" not in same.stderr
    without_library(monkeypatch, tmp_path)
    other = evo_nas("resume", run, "--evaluations", "8")
    assert other.returncode == 0, other.stderr
    assert "warning: engine native ran before, here it is torch" in other.stderr
    exported = evo_nas("export", run, "--birth", "0", "--weights", str(tmp_path / "w.safetensors"))
    assert exported.returncode == 0, exported.stderr
    assert "warning: engine native ran before, here it is torch" in exported.stderr


def test_the_native_engine_is_refused_by_name_where_a_gpu_would_be_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert engine_here("auto") == "torch"
    with pytest.raises(ValueError, match="hide the GPU with CUDA_VISIBLE_DEVICES="):
        engine_here("native")
