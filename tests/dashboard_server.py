"""What Ray's client takes for a head's dashboard: it keeps the packages and jobs it is sent."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Dashboard(ThreadingHTTPServer):
    """A running server.

    Attributes:
        packages: The content of each package, in the order they came.
        jobs: What each submission asked for.
        authorizations: Of every request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.packages: list[bytes] = []
        self.jobs: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []
        self.status = "SUCCEEDED"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: the client has left."""

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.server_port}"

    def files(self) -> list[str]:
        """What the last package holds."""
        return sorted(zipfile.ZipFile(io.BytesIO(self.packages[-1])).namelist())


class _Handler(BaseHTTPRequestHandler):
    server: Dashboard

    def do_GET(self) -> None:
        parts = self.path.strip("/").split("/")
        if parts == ["api", "version"]:
            self._answer({"version": "4", "ray_version": "2.60.0", "ray_commit": "", "session": ""})
        elif parts[:2] == ["api", "packages"]:
            self._answer({}, 404)
        elif parts == ["api", "jobs"]:
            self._answer([self._job(job) for job in self.server.jobs])
        else:
            asked = [job for job in self.server.jobs if job["submission_id"] == parts[2]]
            self._answer({"logs": ""} if parts[3:] == ["logs"] else self._job(asked[0]))

    def do_PUT(self) -> None:
        self.server.packages.append(self._body())
        self._answer({})

    def do_POST(self) -> None:
        job = json.loads(self._body())
        self.server.jobs.append(job)
        self._answer({"job_id": job["submission_id"], "submission_id": job["submission_id"]})

    def _job(self, job: dict[str, Any]) -> dict[str, Any]:
        known = {key: job[key] for key in ("submission_id", "entrypoint", "metadata")}
        return {"type": "SUBMISSION", "status": self.server.status, **known}

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _answer(self, what: Any, code: int = 200) -> None:
        self.server.authorizations.append(self.headers["Authorization"])
        body = json.dumps(what).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def running_dashboard() -> Iterator[Dashboard]:
    """Serve on a port of its own."""
    with Dashboard() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
