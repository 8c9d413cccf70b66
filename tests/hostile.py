"""What strangers might send, and the only two ways in which a command may end on it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from evo_nas.cli import main
from evo_nas.record import HEADER
from evo_nas.record.sealed import opened, sealed
from tests.tiny import ROOT
from workers.tasks import TaskError, load_task

MiB = 2**20
LONGEST = 2000
"""Characters of a message that is still one readable line."""


def ran(*words: str) -> Result:
    """Run the command line in this process; any error but a told one is raised here."""
    result = CliRunner().invoke(main, list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def refused(*words: str) -> str:
    """The one line with which a command line ends with exit code 1."""
    result = ran(*words)
    assert result.exit_code == 1, result.output
    *_, line = result.stderr.splitlines()
    assert line.startswith("Error: "), result.stderr
    assert_readable(line)
    return line.removeprefix("Error: ")


def assert_readable(line: str) -> None:
    """One line of bounded length that does nothing to a terminal."""
    assert len(line) < LONGEST, f"{len(line)} characters"
    assert line.isprintable(), ascii(line)


def strangers_run(folder: Path, number: int = 3) -> Path:
    """A run of a recorded format, to be changed as one likes."""
    return Path(shutil.copytree(ROOT / "tests" / "formats" / str(number), folder / "stranger"))


def edit_document(path: Path, **changes: Any) -> None:
    """Replace keys of a sealed document, and seal it again: whoever edits it can do that too."""
    document = opened(path.read_bytes())[0]
    path.write_bytes(sealed(document | changes))


def edit_config(run: Path, table: str, **values: Any) -> None:
    """Replace values of the configuration in a run's header and in all its session files."""
    for path in [run / HEADER, *(run / "sessions").glob("*.json")]:
        document = opened(path.read_bytes())[0]
        config = document["config"] if path.name == HEADER else document
        config[table] = {**config[table], **values}
        path.write_bytes(sealed(document))


def contents(folder: Path) -> Mapping[str, bytes]:
    """Every file below a folder that is no link, by its path."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Whatever happens inside, no file below the folder comes, goes or changes."""
    before = contents(folder)
    yield
    assert contents(folder) == before


@contextmanager
def bounded(memory: int = 500 * MiB, seconds: float = 20.0) -> Iterator[None]:
    """What happens inside takes at most so many bytes more than before, and so much of the CPU."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest so far
    before, start = _memory("VmRSS"), time.process_time()
    yield
    took, grew = time.process_time() - start, _memory("VmHWM") - before
    assert took < seconds, f"{took:.1f} s of the CPU"
    assert grew < memory, f"{grew:,} bytes"


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return 1024 * int(kilobytes)


def refused_data(path: Path, kind: str, **options: Any) -> str:
    """The message of a task that is refused; nothing beside its file was touched."""
    with unchanged(path.parent), pytest.raises(TaskError) as caught:
        load_task(kind, str(path), options)
    assert_readable(str(caught.value))
    return str(caught.value)


def written(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name
