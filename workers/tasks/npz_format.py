"""Labelled sequences in NumPy's ``.npz``. Nothing is unpickled."""

from __future__ import annotations

import io
import lzma
import struct
import tokenize
import zipfile
import zlib

import numpy as np
import numpy.typing as npt

from workers.tasks.errors import TaskError
from workers.tasks.files import most_from
from workers.tasks.sequences import Sequences, check_finite, refuse_many

# numpy's and zipfile's ways to say that a file is damaged, encrypted, pickled or absurdly large
_UNREADABLE = (
    ValueError,
    TypeError,
    SyntaxError,
    OSError,
    EOFError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
_ARRAYS = ("X", "y", "lengths")


def parse_npz(content: bytes, path: str) -> Sequences:
    """Reads the arrays ``X``, ``y`` and, where lengths differ, ``lengths``.

    ``X`` is ``(N, T, features)`` or ``(N, T)`` for one feature, any real number type; ``y`` is
    ``(N,)`` of whole numbers or texts; ``lengths`` is ``(N,)`` of whole numbers from 1 to T.
    What lies beyond a sequence's length is not read. Arrays of other names are ignored.

    Raises:
        TaskError: An array is missing, has the wrong shape or type, or holds a NaN.
    """
    if not content.startswith(b"PK"):
        raise TaskError(f"{path}: this is not an .npz file; save X and y with numpy.savez.")
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    try:
        _refuse_bombs(content, path)
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            found = list(file.files)
            for name in _ARRAYS:
                if name in found:
                    arrays[name] = np.asarray(file[name])
    except TaskError:
        raise
    except _UNREADABLE as error:
        raise TaskError(f"{path}: cannot be read as .npz: {error}") from None
    for name in ("X", "y"):
        if name not in arrays:
            raise TaskError(f"{path}: there is no array {name!r}, only {', '.join(found)}.")
    values, labels = arrays["X"], arrays["y"]
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or values.dtype.kind not in "iufb" or 0 in values.shape[1:]:
        raise TaskError(
            f"{path}: X is {arrays['X'].dtype} of shape {arrays['X'].shape}; it must hold real "
            "numbers of shape (N, T) or (N, T, features)."
        )
    count, steps = values.shape[:2]
    if labels.shape != (count,) or labels.dtype.kind not in "iubU":
        raise TaskError(
            f"{path}: y is {labels.dtype} of shape {labels.shape}; it must hold whole numbers or "
            f"texts of shape ({count},), one for each sequence in X."
        )
    lengths = arrays.get("lengths", np.full(count, steps))
    if (
        lengths.shape != (count,)
        or lengths.dtype.kind not in "iu"
        or not bool(((lengths >= 1) & (lengths <= steps)).all())
    ):
        raise TaskError(
            f"{path}: lengths must hold whole numbers from 1 to {steps} of shape ({count},)."
        )
    lengths = lengths.astype(np.int64)
    refuse_many(path, count, int(lengths.sum()) * values.shape[2])
    inside = values[np.arange(steps) < lengths[:, None]]
    rows = np.ascontiguousarray(inside, dtype=np.float64)
    check_finite(path, rows, lengths)
    names, codes = np.unique(labels, return_inverse=True)
    texts = [str(name) for name in names.tolist()]
    return Sequences(path, rows, lengths, [texts[code] for code in codes.tolist()], content)


def _refuse_bombs(content: bytes, path: str) -> None:
    """A member gives no more bytes than the archive says it has: this is looked at."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [m for m in archive.infolist() if m.filename.removesuffix(".npy") in _ARRAYS]
    size, most = sum(member.file_size for member in members), most_from(path)
    if size > most:
        raise TaskError(
            f"{path}: its arrays unpack to {size:,} bytes; from a file of this size at most "
            f"{most:,} are read. If that is meant, save it with numpy.savez."
        )
