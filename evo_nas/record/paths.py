"""Where a run lies: a directory of this machine, or below a URI of an object store.

Both are used through the same few members of `pathlib.Path`: ``/``, ``name``, ``parent``,
``exists``, ``read_bytes``, ``iterdir`` and ``glob``. What changes a run goes through
`evo_nas.record.storage`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from evo_nas.errors import RecordError
from evo_nas.record.bucket import SCHEMES, RemotePath, bucket_of

RunPath = Path | RemotePath

_BUCKET = re.compile(r"[A-Za-z0-9._-]+")
"""Names of buckets, those of stores that are less strict than S3 and Google's included."""


def is_uri(text: str) -> bool:
    """Whether a text names a place by a URI."""
    return "://" in text


def run_path(place: str | RunPath) -> RunPath:
    """A run directory as the user names it.

    Args:
        place: A path, or ``file:///...``, ``s3://BUCKET/...``, ``gs://BUCKET/...``.

    Raises:
        RecordError: If the URI is of another scheme, has no bucket or path, or holds more than
            that; or if the environment names a server that is none.
    """
    if not isinstance(place, str):
        return place
    if not is_uri(place):
        return Path(place)
    parts = uri_parts(place)
    if parts.scheme == "file":
        return Path(os.fsdecode(unquote_to_bytes(parts.path)))
    return RemotePath(bucket_of(parts.scheme, parts.netloc), parts.path.strip("/"))


def uri_parts(place: str) -> SplitResult:
    """The parts of a URI that names a place for a run; asks nobody whether there is such a place.

    Raises:
        RecordError: As `run_path`.
    """
    parts = _split(place)
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise RecordError(
            f"{place}: a run directory is a scheme, a bucket and a path, nothing more. Credentials "
            "and the endpoint come from the environment (AWS_PROFILE, AWS_ENDPOINT_URL, ...)."
        )
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise RecordError(
                f"{place}: of a file, give the whole path: file:///home/me/runs/first"
            )
        if b"\0" in unquote_to_bytes(parts.path):
            raise RecordError(f"{place}: no file has a zero byte (%00) in its name.")
        return parts
    if parts.scheme not in SCHEMES:
        raise RecordError(
            f"{place}: runs cannot lie in {parts.scheme}://. Known are "
            f"{', '.join(f'{scheme}://' for scheme in ('file', *SCHEMES))} and plain paths."
        )
    key = parts.path.strip("/")
    names = key.split("/")
    if not _BUCKET.fullmatch(parts.netloc) or any(name in ("", ".", "..") for name in names):
        raise RecordError(
            f"{place} is no place for a run. Give a bucket and a path in it: "
            f"{parts.scheme}://BUCKET/runs/first"
        )
    return parts


def _split(place: str) -> SplitResult:
    try:
        if place.isprintable():  # line breaks and tabs would be left out without a word
            return urlsplit(place)
        why = "it holds what cannot be printed"
    except ValueError as error:
        why = str(error)
    raise RecordError(
        f"{place} is no place for a run: {why}. Give a scheme, a bucket and a path in it: "
        "s3://BUCKET/runs/first"
    )


def stays(place: str) -> bool:
    """Whether a run there outlives a job, whose own folder vanishes: a URI, or an absolute path."""
    return is_uri(place) or Path(place).is_absolute()


def absolute(place: str) -> str:
    """A place that means the same from any working directory; URIs stay as they are."""
    return place if is_uri(place) else os.path.realpath(place)  # which bears links in a circle
