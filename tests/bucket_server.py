"""A bucket on this machine, and a way to it that can be broken.

moto serves S3; a proxy before it counts what is put and, on demand, does not answer, is slow,
refuses, leaves half an object, or does what it is asked and says nothing.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import boto3
import pytest
from moto.server import ThreadedMotoServer

BUCKET = "runs"
Fault = Literal["none", "down", "slow", "forbidden", "unavailable", "half", "mute", "unanswered"]

_BODIES = {
    "forbidden": (403, "AccessDenied", "Access Denied"),
    "unavailable": (503, "SlowDown", "Please reduce your request rate."),
}


@dataclass
class Store:
    """A bucket of S3.

    Attributes:
        environment: What a client has to have in its environment.
        client: boto3's, which goes round the faults.
        fault: What happens to requests now.
        left: To how many of them; None for all, those of the lease included.
        puts: How often each key was put.
        faulty: How many requests met a fault, those of a lease left out.
        healed: Set when a fault ends, for whom it lets wait.
    """

    environment: Mapping[str, str]
    client: Any
    fault: Fault = "none"
    left: int | None = None
    puts: Counter[str] = field(default_factory=Counter)
    faulty: int = 0
    healed: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def used_by(self, monkeypatch: pytest.MonkeyPatch) -> Store:
        """The store, whole, and in the environment of a test."""
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        self.breaks("none")
        self.puts.clear()
        return self

    def breaks(self, fault: Fault, requests: int | None = None) -> None:
        """Let a fault begin, for so many requests, or puts if they are to be halved or answered by
        nothing. Renewals of a lease, which nobody sees, use none of them up."""
        with self._lock:
            self.fault, self.left, self.faulty = fault, requests, 0
        (self.healed.clear if fault == "mute" else self.healed.set)()

    def below(self, prefix: str) -> list[str]:
        """Keys of the objects, directory markers left out."""
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return [each["Key"] for each in found if not each["Key"].endswith("/")]

    def content(self, key: str) -> bytes:
        """What an object holds."""
        return bytes(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def put(self, key: str, content: bytes) -> None:
        """Put an object past the proxy."""
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def takes(self, command: str, path: str) -> Fault:
        """The fault of one more request."""
        with self._lock:
            if self.fault in ("half", "unanswered") and command != "PUT":
                return "none"
            of_a_lease = "/lease" in path or "%2Flease" in path
            if self.left is not None:
                if self.left <= 0 or of_a_lease:
                    return "none"
                self.left -= 1
            self.faulty += self.fault != "none" and not of_a_lease
            return self.fault


@contextmanager
def running_store() -> Iterator[Store]:
    """A server, a bucket in it, and the proxy that clients talk to."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    _, port = moto.get_host_and_port()
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    client = boto3.client(
        "s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1", **keys
    )
    client.create_bucket(Bucket=BUCKET)
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
    proxy.daemon_threads = True
    store = Store(
        {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.server_address[1]}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        },
        client,
    )
    proxy.store, proxy.target = store, port  # type: ignore[attr-defined]
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        proxy.shutdown()
        proxy.server_close()
        moto.stop()


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        store: Store = self.server.store  # type: ignore[attr-defined]
        body = self._body()
        fault = store.takes(self.command, self.path)
        if fault == "mute":
            store.healed.wait(60)
        if fault in ("down", "mute"):
            self.close_connection = True
            return
        if fault == "slow":
            time.sleep(0.5)
        if fault in _BODIES:
            status, code, message = _BODIES[fault]
            text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
            self._answer(status, {"Content-Type": "application/xml"}, text.encode())
            return
        forward = http.client.HTTPConnection("127.0.0.1", self.server.target)  # type: ignore[attr-defined]
        headers = {k: v for k, v in self.headers.items() if k.lower() != "transfer-encoding"}
        forward.request(self.command, self.path, body, headers)
        answer = forward.getresponse()
        content = answer.read()
        if self.command == "PUT":
            key = self.path.partition("?")[0].removeprefix(f"/{BUCKET}/")
            store.puts[key] += 1
            if fault == "half":
                store.put(key, store.content(key)[: len(store.content(key)) // 2])
        forward.close()
        if fault == "unanswered":
            self.close_connection = True
            return
        self._answer(answer.status, dict(answer.getheaders()), content)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.send_response_only(status)
        hop = {"connection", "transfer-encoding", "content-length"}
        for name, value in headers.items():
            if name.lower() not in hop:
                self.send_header(name, value)
        size = len(content)
        if self.command == "HEAD":
            size = int(next((v for k, v in headers.items() if k.lower() == "content-length"), 0))
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
