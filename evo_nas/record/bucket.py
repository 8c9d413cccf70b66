"""Objects of S3 and Google Cloud Storage as files of a run, through ``pyarrow.fs``.

An object is written by one put, whole or not at all, never into another's place but where
`RemotePath.replace` says so, and its size is looked up afterwards: a put counts once that agrees.
What a network or a server may do for a while is tried again, with longer and longer pauses; what
will not change by itself (no such bucket, no permission) is told at once.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from evo_nas.terminal import warn

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

SCHEMES = ("s3", "gs")
PATIENCE = 600.0
"""Seconds for which a write is tried again: a search waits for its bucket so long, then it ends."""
READ_PATIENCE = 30.0
"""The same of what is read: somebody waits for it at a terminal."""
CONNECT_SECONDS, REQUEST_SECONDS = 5.0, 20.0
"""Limits of the client: to connect, and without a byte of the request or of its answer. Google's
has the second alone, and for something else: no try begins later."""
LONGEST = {"s3": 33.0, "gs": 140.0}
"""Seconds that a put of some bytes lasts at most, by scheme. The client of S3 waits up to 7 seconds
more than it is told to; Google's gives up a request after 120 seconds without a byte, which no
option of Arrow's changes, and begins none after `REQUEST_SECONDS`."""
CHUNK = 1 << 24
"""Bytes of an object that are read at once."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0

_FINAL = (
    "ACCESS_DENIED",
    "NO_SUCH_BUCKET",
    "INVALID_ACCESS_KEY_ID",
    "INVALID_CLIENT_TOKEN_ID",
    "SIGNATURE_DOES_NOT_MATCH",
    "UNRECOGNIZED_CLIENT",
    "EXPIRED_TOKEN",
    "HTTP response code 403",
    "HTTP response code 401",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "The specified bucket does not exist",
)
"""What the texts of errors hold that another try does not mend. Arrow has no classes for them."""

Answer = TypeVar("Answer")


class _NotWhole(OSError):
    """An object that was just put is not there in its full size."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket and how it is talked to.

    Attributes:
        scheme: ``s3`` or ``gs``.
        name: Of the bucket.
        system: Arrow's file system.
    """

    scheme: str
    name: str
    system: FileSystem

    @property
    def longest(self) -> float:
        """Seconds that a put of some bytes lasts at most. `evo_nas.record.lease` counts on it."""
        return LONGEST[self.scheme]

    def __str__(self) -> str:
        return f"{self.scheme}://{self.name}"


def bucket_of(scheme: str, name: str) -> Bucket:
    """A bucket, with credentials and endpoint from the environment; nothing is asked of it yet.

    S3 knows the variables and files of AWS; ``AWS_ENDPOINT_URL_S3`` and ``AWS_ENDPOINT_URL`` name
    another server that speaks its protocol. Google's knows its default credentials, and
    ``STORAGE_EMULATOR_HOST``, which is spoken to without any.
    """
    return Bucket(scheme, name, _s3(name) if scheme == "s3" else _gcs())


def _s3(name: str) -> FileSystem:
    from pyarrow import fs

    options: dict[str, str] = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if endpoint:
        parts = urlsplit(endpoint)
        options |= {"scheme": parts.scheme, "endpoint_override": parts.netloc}
    if endpoint and not region:
        region = "us-east-1"
    if not region:
        region = _trying(f"s3://{name}", READ_PATIENCE, lambda: fs.resolve_s3_region(name))
    return fs.S3FileSystem(
        region=region,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        # Trying again is done here, where it can be said and ended.
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
        # One put for an object: else a multi-part upload of three requests begins at once.
        allow_delayed_open=True,
        **options,
    )


def _gcs() -> FileSystem:
    from pyarrow import fs

    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    limit = timedelta(seconds=REQUEST_SECONDS)
    if emulator:
        parts = urlsplit(emulator)
        return fs.GcsFileSystem(
            anonymous=True,
            scheme=parts.scheme,
            endpoint_override=parts.netloc,
            retry_time_limit=limit,
        )
    return fs.GcsFileSystem(retry_time_limit=limit)


@dataclass(frozen=True, slots=True)
class RemotePath:
    """An object, or what stands for a directory: the objects whose keys begin with ``key/``.

    All methods raise ``OSError`` that names the object if the store refuses, or does not answer
    for longer than it is tried: ``patience`` seconds where it is given, 0 for a single time.

    Attributes:
        bucket: Where it lies.
        key: Within the bucket, without slashes at its ends.
    """

    bucket: Bucket
    key: str

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(self.bucket, f"{self.key}/{name}")

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its last suffix."""
        return self.name.rpartition(".")[0] or self.name

    @property
    def parent(self) -> RemotePath:
        """What holds it."""
        return RemotePath(self.bucket, self.key.rpartition("/")[0])

    def with_name(self, name: str) -> RemotePath:
        """Another one beside it."""
        return self.parent / name

    def resolve(self) -> RemotePath:
        """Itself: a URI means the same everywhere."""
        return self

    def exists(self) -> bool:
        """Whether there is an object, or any below it."""
        return self._kind() != "NotFound"

    def is_dir(self) -> bool:
        """Whether there is any object below it."""
        return self._kind() == "Directory"

    def is_file(self) -> bool:
        """Whether it is an object."""
        return self._kind() == "File"

    def read_bytes(self, check: Callable[[int], None] = lambda size: None) -> bytes:
        """The whole object.

        Args:
            check: Called with the bytes read so far, again and again; may raise to end that.

        Raises:
            FileNotFoundError: If there is none.
        """

        def read() -> bytes:
            content = b""
            with self._system.open_input_stream(self._path) as stream:
                while chunk := stream.read(CHUNK):
                    content += chunk
                    check(len(content))
            return content

        try:
            return _trying(self, READ_PATIENCE, read)
        except FileNotFoundError:
            raise FileNotFoundError(2, "there is no such object", str(self)) from None

    def iterdir(self, patience: float | None = None) -> Iterator[RemotePath]:
        """What lies right below it; nothing if there is nothing."""
        from pyarrow.fs import FileSelector

        # Of Google's store Arrow lists no directory that nobody made, only what is in it.
        recursive = self.bucket.scheme == "gs"
        wanted = FileSelector(self._path, allow_not_found=True, recursive=recursive)
        found = _trying(self, _of_reads(patience), lambda: self._system.get_file_info(wanted))
        below = (info.path.removeprefix(f"{self._path}/").partition("/")[0] for info in found)
        return iter([self / name for name in dict.fromkeys(below) if name])

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """What lies right below it and fits a pattern without ``/``."""
        return (path for path in self.iterdir() if fnmatchcase(path.name, pattern))

    def put(self, content: bytes, before: Callable[[], None] = lambda: None) -> None:
        """Write a new object.

        Args:
            content: Of it.
            before: Called right before each put. An ``OSError`` of it is tried again like one
                of the put, anything else ends the tries.

        Raises:
            FileExistsError: If there is another one in its place.
        """

        def write() -> None:
            # A put that seemed to fail may have come to its end: then this is our own.
            size = self._size()
            if size == len(content) and self._holds(content):
                return
            if size is not None and not (size < len(content) and written):
                raise FileExistsError(f"{self} exists already and is never written again.")
            before()
            written.append(True)
            self._put(content)

        written: list[bool] = []
        _trying(self, PATIENCE, write)

    def replace(self, content: bytes, patience: float = PATIENCE) -> None:
        """Write an object, in the place of another if there is one."""
        _trying(self, patience, lambda: self._put(content))

    def remove(self, patience: float | None = None) -> None:
        """Remove an object; one that is gone is fine."""
        try:
            _trying(
                self,
                PATIENCE if patience is None else patience,
                lambda: self._system.delete_file(self._path),
            )
        except FileNotFoundError:
            return

    def modified(self, patience: float | None = None) -> float | None:
        """When the store took the object in, in seconds of the store's clock; None: no object."""
        info = self._info(patience)
        return info.mtime.timestamp() if info.type.name == "File" else None

    @property
    def _system(self) -> FileSystem:
        return self.bucket.system

    @property
    def _path(self) -> str:
        return f"{self.bucket.name}/{self.key}"

    def _kind(self) -> str:
        return str(self._info().type.name)

    def _info(self, patience: float | None = None) -> FileInfo:
        wanted = _of_reads(patience)
        return _trying(self, wanted, lambda: self._system.get_file_info(self._path))

    def _size(self) -> int | None:
        info = self._system.get_file_info(self._path)
        size: int | None = info.size if info.type.name == "File" else None
        return size

    def _holds(self, content: bytes) -> bool:
        with self._system.open_input_stream(self._path) as stream:
            return bool(stream.read() == content)

    def _put(self, content: bytes) -> None:
        stream = self._system.open_output_stream(self._path)
        stream.write(content)
        stream.close()
        if (size := self._size()) != len(content):
            found = "none" if size is None else size
            raise _NotWhole(f"{len(content)} bytes were written and {found} are there")


def _of_reads(patience: float | None) -> float:
    return READ_PATIENCE if patience is None else patience


def _trying(what: object, patience: float, action: Callable[[], Answer]) -> Answer:
    """Do it, again and again if need be.

    Raises:
        OSError: That names ``what``, after so many seconds or at once if trying does not help.
            ``FileNotFoundError`` and ``FileExistsError`` come through as they are.
    """
    end = time.monotonic() + patience
    pause = FIRST_PAUSE
    told = False
    while True:
        try:
            return action()
        except (FileNotFoundError, FileExistsError):
            raise
        except OSError as error:
            why = str(error)
            if any(sign in why for sign in _FINAL):
                raise OSError(f"{what}: {why}. {_cure(what)}") from error
            left = end - time.monotonic()
            if left <= 0:
                tried = f" It was tried for {patience:.0f} seconds." if patience else ""
                raise OSError(f"{what}: {why}.{tried} {_cure(what)}") from error
        if not told:
            told = True
            warn([f"{what}: {why}; trying again for {left:.0f} seconds"])
        # Many readers and managers must not come back all at once.
        time.sleep(min(pause * random.uniform(0.5, 1.0), max(left, 0.0)))
        pause = min(2 * pause, LONGEST_PAUSE)


def _cure(what: object) -> str:
    if str(what).startswith("gs://"):
        return "Check the bucket, the network and Google's application default credentials."
    return "Check the bucket, the network and the AWS credentials, region and endpoint in use."
