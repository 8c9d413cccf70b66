"""The project as files: where it lies, what it pins, which Python files are its own."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("genomes", "workers", "evo_nas")


def pins() -> dict[str, str]:
    """Version by package name, both as in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name.lower(): version for name, version in found}


def sources(*folders: str) -> list[Path]:
    """The Python files below folders of the project, sorted."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    """``workers.tasks`` for workers/tasks/__init__.py, ``workers.pool`` for workers/pool.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
