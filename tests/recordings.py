"""Small recordings in folders and archives, and the task or the refusal they give."""

from __future__ import annotations

import io
import tarfile
import wave
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from workers.tasks import TaskError, load_task
from workers.tasks.speech import SpeechTask

RATE = 8000


def wav(samples: np.ndarray, rate: int = RATE, width: int = 2, channels: int = 1) -> bytes:
    """A PCM file of samples from -1 to 1."""
    if width == 1:
        data = np.round(samples * 127 + 128).astype(np.uint8).tobytes()
    else:
        data = np.round(samples * (2 ** (8 * width - 1) - 1)).astype(f"<i{width}").tobytes()
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)
    return buffer.getvalue()


def tone(hertz: float, seconds: float = 0.1, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """A tone in noise."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(size=len(time))
    return 0.4 * np.sin(2 * np.pi * hertz * time) + 0.02 * noise


def words(per_speaker: int = 12) -> dict[str, bytes]:
    """Recordings of two words by two speakers, of unequal lengths."""
    files = {}
    for number, (word, hertz) in enumerate((("yes", 400.0), ("no", 1500.0))):
        for speaker, pitch in (("anna", 1.1), ("ben", 0.9)):
            for index in range(per_speaker):
                seed = 100 * number + 7 * index + len(speaker)
                samples = tone(hertz * pitch, 0.05 + 0.01 * (seed % 5), seed=seed)
                files[f"{word}_{speaker}_{index}.wav"] = wav(samples)
    return files


def folder(parent: Path, files: Mapping[str, bytes], name: str = "recordings") -> Path:
    path = parent / name
    path.mkdir()
    for file, content in files.items():
        (path / file).write_bytes(content)
    return path


def tar(
    parent: Path, members: Mapping[str, bytes | tarfile.TarInfo], name: str = "recordings.tar"
) -> Path:
    """An archive of files by name, or of members as they are."""
    path = parent / name
    modes = {".gz": "w:gz", ".xz": "w:xz"}
    with tarfile.open(path, modes.get(path.suffix, "w")) as archive:
        for member, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def speech(data: Path, **options: object) -> SpeechTask:
    task = load_task("speech", str(data), options)
    assert isinstance(task, SpeechTask)
    return task


def refusal(data: Path, **options: object) -> str:
    with pytest.raises(TaskError) as caught:
        load_task("speech", str(data), options)
    return str(caught.value)
