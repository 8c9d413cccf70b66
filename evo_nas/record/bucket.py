"""Objects of S3 and Google Cloud Storage as files of a run, through ``pyarrow.fs``.

An object is there whole or not at all, is never written into another's place but where
`RemotePath.replace` says so, and its size is looked up afterwards: it counts once that agrees. One
put writes it in S3; two requests do in Google's store, and in S3 beyond 10 MB an upload in parts,
which Arrow does not take back if it fails: a rule of the bucket should (docs/cluster.md). What a
network or a server may do for a while is tried again, with longer and longer pauses; what
will not change by itself (no such bucket, no permission) is told at once.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from evo_nas.errors import RecordError
from evo_nas.terminal import warn

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

SCHEMES = ("s3", "gs")
PATIENCE = 600.0
"""Seconds for which a search waits for its bucket, then it ends."""
READ_PATIENCE = 30.0
"""The same of who reads, or only begins: somebody waits for it at a terminal."""
CONNECT_SECONDS, REQUEST_SECONDS = 5.0, 20.0
"""Limits of the client: to connect, and without a byte of the request or of its answer. Google's
has the second alone, and for something else: no try begins later."""
LONGEST = {"s3": 33.0, "gs": 140.0}
"""Seconds that the request lasts at most which puts some bytes, by scheme. The client of S3 waits
up to 7 seconds more than it is told to (measured); Google's gives up a request after 120 seconds
without a byte, which no option of Arrow's changes, and begins none after `REQUEST_SECONDS`."""
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
        """See `LONGEST`. `evo_nas.record.lease` counts on it."""
        return LONGEST[self.scheme]

    def __str__(self) -> str:
        return f"{self.scheme}://{self.name}"


def bucket_of(scheme: str, name: str) -> Bucket:
    """A bucket, with credentials and endpoint from the environment.

    Nothing is asked of it yet, but for the region of a bucket of AWS that nobody names.

    S3 knows the variables and files of AWS; ``AWS_ENDPOINT_URL_S3`` and ``AWS_ENDPOINT_URL`` name
    another server that speaks its protocol. Google's knows its default credentials, and
    ``STORAGE_EMULATOR_HOST``, which is spoken to without any.

    Raises:
        RecordError: If what names another server is no address of one.
        OSError: If the region is not told.
    """
    return Bucket(scheme, name, _s3(name) if scheme == "s3" else _gcs())


def _s3(name: str) -> FileSystem:
    from pyarrow import fs

    options: dict[str, str] = {}
    endpoint = _server("AWS_ENDPOINT_URL_S3") or _server("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if endpoint:
        options |= endpoint
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

    limit = timedelta(seconds=REQUEST_SECONDS)
    if emulator := _server("STORAGE_EMULATOR_HOST"):
        return fs.GcsFileSystem(anonymous=True, retry_time_limit=limit, **emulator)
    return fs.GcsFileSystem(retry_time_limit=limit)


def _server(variable: str) -> dict[str, str]:
    """The server that a variable of the environment names; empty if it names none."""
    text = os.environ.get(variable, "")
    if not text:
        return {}
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https") and parts.netloc and text.isprintable()
    except ValueError:
        known = False
    if not known or parts.path.strip("/") or parts.query or parts.fragment:
        raise RecordError(
            f"{variable}={text} is no address of a server. Give its scheme, name and port, without "
            "a path: http://127.0.0.1:9000"
        )
    return {"scheme": parts.scheme, "endpoint_override": parts.netloc}


@dataclass(frozen=True, slots=True)
class RemotePath:
    """An object, or what stands for a directory: the objects whose keys begin with ``key/``.

    All methods raise ``OSError`` that names the object if the store refuses, or does not answer
    for longer than it is tried: ``patience`` seconds, the path's own unless they are given, 0 for a
    single time.

    Attributes:
        bucket: Where it lies.
        key: Within the bucket, without slashes at its ends.
        patience: Seconds for which whatever is asked of it is tried again.
    """

    bucket: Bucket
    key: str
    patience: float = field(default=READ_PATIENCE, compare=False)

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> RemotePath:
        return self._at(f"{self.key}/{name}" if self.key else name)

    def patient(self) -> RemotePath:
        """The same for who writes a run, and has all the time that a bucket takes."""
        return RemotePath(self.bucket, self.key, PATIENCE)

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
        return self._at(self.key.rpartition("/")[0])

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
            chunks: list[bytes] = []
            size = 0
            with self._system.open_input_stream(self._path) as stream:
                while chunk := stream.read(CHUNK):
                    chunks.append(chunk)
                    size += len(chunk)
                    check(size)
            return b"".join(chunks)

        try:
            return self._try(None, read)
        except FileNotFoundError:
            raise FileNotFoundError(2, "there is no such object", str(self)) from None

    def iterdir(self, patience: float | None = None) -> Iterator[RemotePath]:
        """What lies right below it; nothing if there is nothing."""
        from pyarrow.fs import FileSelector

        # Of Google's store Arrow lists no directory that nobody made, only what is in it.
        recursive = self.bucket.scheme == "gs"
        wanted = FileSelector(self._path, allow_not_found=True, recursive=recursive)
        found = self._try(patience, lambda: self._system.get_file_info(wanted))
        below = (info.path.removeprefix(f"{self._path}/").partition("/")[0] for info in found)
        return iter([self / name for name in dict.fromkeys(below) if name])

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """What lies right below it and fits a pattern without ``/``."""
        return (path for path in self.iterdir() if fnmatchcase(path.name, pattern))

    def put(
        self,
        content: bytes,
        before: Callable[[], None] = lambda: None,
        patience: float | None = None,
    ) -> None:
        """Write a new object.

        Args:
            content: Of it.
            before: Called right before each put, and before it is said that there is another one in
                its place. An ``OSError`` of it is tried again like one of the put, anything else
                ends the tries.

        Raises:
            FileExistsError: If there is another one in its place.
        """

        def write() -> None:
            # A put that seemed to fail may have come to its end: then this is our own.
            size = self._size()
            if size == len(content) and self._holds(content):
                return
            before()
            if size is not None and not (size < len(content) and written):
                raise FileExistsError(f"{self} exists already and is never written again.")
            written.append(True)
            self._put(content)

        written: list[bool] = []
        self._try(patience, write)

    def replace(
        self,
        content: bytes,
        patience: float | None = None,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """Write an object, in the place of another if there is one; ``before`` as of `put`."""

        def write() -> None:
            before()
            self._put(content)

        self._try(patience, write)

    def remove(
        self, patience: float | None = None, before: Callable[[], None] = lambda: None
    ) -> None:
        """Remove an object; one that is gone is fine. ``before`` is called before each try."""

        def delete() -> None:
            before()
            self._system.delete_file(self._path)

        try:
            self._try(patience, delete)
        except FileNotFoundError:
            return

    def modified(self, patience: float | None = None) -> float | None:
        """When the store took the object in, in seconds of the store's clock; None: no object."""
        info = self._info(patience)
        return info.mtime.timestamp() if info.type.name == "File" else None

    def _at(self, key: str) -> RemotePath:
        return RemotePath(self.bucket, key, self.patience)

    @property
    def _system(self) -> FileSystem:
        return self.bucket.system

    @property
    def _path(self) -> str:
        return f"{self.bucket.name}/{self.key}" if self.key else self.bucket.name

    def _kind(self) -> str:
        return str(self._info().type.name)

    def _info(self, patience: float | None = None) -> FileInfo:
        return self._try(patience, lambda: self._system.get_file_info(self._path))

    def _try(self, patience: float | None, action: Callable[[], Answer]) -> Answer:
        return _trying(self, self.patience if patience is None else patience, action)

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
                tried = f" It was tried for {patience:g} seconds." if patience else ""
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
