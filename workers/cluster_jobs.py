"""Jobs of a Ray cluster, through its dashboard's address."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 60.0
"""How long the dashboard may take for an answer, but for an upload."""
UPLOAD_SECONDS = 1800.0


class JobsError(RuntimeError):
    """The cluster cannot be asked, or refuses a job; the message says why."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the cluster knows it.

    Attributes:
        name: Its submission id.
        status: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED.
        metadata: What was noted with it.
        message: What Ray says of the status.
    """

    name: str
    status: str
    metadata: Mapping[str, str]
    message: str

    @property
    def has_ended(self) -> bool:
        """Whether it will do nothing any more."""
        return self.status in ("STOPPED", "SUCCEEDED", "FAILED")


class Jobs:
    """The jobs of one cluster. Every call raises JobsError if the cluster cannot be asked."""

    def __init__(self, address: str) -> None:
        """Connect to the dashboard at a URL.

        Raises:
            JobsError: If nobody answers there, or the token is missing or wrong.
        """
        self.address = address
        # Ray takes the address of this variable, or of RAY_ADDRESS, before the one it is given.
        os.environ["RAY_API_SERVER_ADDRESS"] = address
        with _asking(address):
            self._client = _client(address)

    def all(self) -> list[Job]:
        """Every job that was submitted since the head began."""
        with _asking(self.address):
            return [_job(details) for details in self._client.list_jobs() if details.submission_id]

    def one(self, name: str) -> Job:
        """The job of that name, as it is now."""
        with _asking(self.address):
            return _job(self._client.get_job_info(name))

    def output(self, name: str) -> str:
        """What a job has printed so far."""
        with _asking(self.address):
            return str(self._client.get_job_logs(name))

    def submit(self, name: str, command: str, package: Path, metadata: Mapping[str, str]) -> None:
        """Begin a job.

        Args:
            name: Its submission id, which no other job of the cluster has or had.
            command: What the shell of the head runs.
            package: A zip: it goes along, and what it holds is the job's working directory.
            metadata: Noted with it.

        Raises:
            JobsError: If the cluster refuses it, a name that is taken included.
        """
        with _asking(self.address):
            self._client.submit_job(
                entrypoint=command,
                submission_id=name,
                runtime_env={"working_dir": str(package)},
                metadata=dict(metadata),
            )


def _client(address: str) -> Any:
    """Ray's client, which alone waits for ever for a server that takes a request and is silent."""
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):  # type: ignore[misc]  # Ray is not typed
        def _do_request(self, method: str, endpoint: str, **more: Any) -> Any:
            # While a body is sent, the first number holds for all of it.
            upload = method == "PUT"
            seconds = (UPLOAD_SECONDS,) * 2 if upload else (CONNECT_SECONDS, ANSWER_SECONDS)
            return super()._do_request(method, endpoint, timeout=seconds, **more)

    return Client(address)


@contextmanager
def _asking(address: str) -> Iterator[None]:
    """Turn whatever Ray's client raises into the one error of this module."""
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise JobsError(
            f"the cluster at {address} does not take this token: {_short(error)} Put the "
            "cluster's token into ~/.ray/auth_token (mode 0600) or RAY_AUTH_TOKEN."
        ) from error
    except (RuntimeError, OSError, ValueError) as error:  # OSError: whatever HTTP may end with
        raise JobsError(f"the cluster at {address} cannot be used: {_short(error)}") from error


def _job(details: Any) -> Job:
    status = getattr(details.status, "value", details.status)
    return Job(
        details.submission_id, str(status), dict(details.metadata or {}), details.message or ""
    )


def _short(error: Exception) -> str:
    """An error's text on one line; of a traceback the end says why."""
    text = " ".join(str(error).split())
    return text if len(text) <= 600 else f"{text[:150]} [...] {text[-450:]}"
