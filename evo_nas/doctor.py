"""What this installation can do: versions, devices, engine, where our packages come from."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from evo_nas.interrupt import ctrl_c_held_back
from workers.exposure import token_of

PACKAGES = ("torch", "ray", "deap", "numpy", "pyarrow", "click", "safetensors")
OURS = ("genomes", "workers", "evo_nas")
LOW_DISK_GB = 1.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; ``ok`` is False for what keeps a search from running well."""

    topic: str
    text: str
    ok: bool = True


def examine(directory: Path) -> list[Finding]:
    """Look at this machine and installation; ``directory`` is where runs would be written."""
    return [
        Finding("python", f"{platform.python_version()} on {platform.machine()}"),
        *(_package(name) for name in PACKAGES),
        *_origins(),
        *_engines(),
        Finding("cores", f"{len(os.sched_getaffinity(0))} usable"),
        _disk(directory),
        _token(),
    ]


def as_text(findings: list[Finding]) -> str:
    """One line each; what is wrong is marked."""
    return "\n".join(f"{'ok ' if f.ok else 'BAD'} {f.topic:<12} {f.text}" for f in findings)


def as_plain(findings: list[Finding]) -> list[dict[str, object]]:
    """For JSON."""
    return [asdict(finding) for finding in findings]


def _package(name: str) -> Finding:
    try:
        return Finding(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        if name == "ray":
            return Finding(name, "not installed: only --workers 0 works")
        return Finding(name, "not installed. Install evo-nas again.", ok=False)


def _origins() -> list[Finding]:
    """A folder named like one of our packages in the working directory would shadow ours."""
    home = Path(__file__).resolve().parent.parent
    findings = []
    for name in OURS:
        spec = importlib.util.find_spec(name)
        origin = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
        ours = origin is not None and origin.parent.parent == home
        text = str(origin) if ours else f"{origin}, not beside evo_nas in {home}: it shadows ours"
        findings.append(Finding(name, text, ok=ours))
    return findings


def _engines() -> list[Finding]:
    try:
        with ctrl_c_held_back():
            torch = importlib.import_module("torch")
        engine = importlib.import_module("workers.engine")
    except ImportError as error:
        return [Finding("engine", f"torch cannot be imported: {error}", ok=False)]
    count = torch.cuda.device_count()
    names = [torch.cuda.get_device_name(i) for i in range(count)]
    devices = ", ".join(names) if names else "no GPU: candidates train on the CPU"
    cpu, gpu = (engine.engine_for(engine.AUTO, torch.device(d)) for d in ("cpu", "cuda"))
    return [
        Finding("devices", devices),
        Finding(
            "engine",
            f"'auto' stands for {cpu} on the CPU and {gpu} on a GPU (reference is for checking)",
        ),
        _native(needed=not names),
    ]


def _native(needed: bool) -> Finding:
    library = importlib.import_module("workers.engine.native.library")
    try:
        found = library.load()
    except library.NativeUnavailable as error:
        return Finding("native", str(error), ok=not needed)
    others = [variant for variant in library.supported() if variant != found.variant]
    also = f" ({', '.join(others)} also run here)" if others else ""
    return Finding("native", f"{found.variant}{also}, {found.path}")


def _disk(directory: Path) -> Finding:
    resolved = directory.resolve()
    existing = next(path for path in (resolved, *resolved.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1e9
    return Finding(
        "disk", f"{free:,.1f} GB free for runs in {existing.resolve()}", free > LOW_DISK_GB
    )


def _token() -> Finding:
    """A Ray without a token runs code of anyone who reaches its port."""
    token = token_of(os.environ)
    return Finding("token", token.text, token.ok)
