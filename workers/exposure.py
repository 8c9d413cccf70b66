"""Who else can reach the Ray in use, and whether it asks them for a token.

Whoever reaches a Ray that asks for none can run code in it. Ray's servers listen to all interfaces,
also those of a Ray that one process starts for itself, whatever address they go by: so such a Ray
gets a token (`protect`). Nothing here imports Ray, which reads its token once, when it is imported;
so whether a cluster takes anybody is asked from another process.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import stat
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

_LISTENING = "0A"
"""State of a socket in /proc/net/tcp."""
SHOWN = 3
ASK_SECONDS = 30.0
"""How long a cluster may take to answer, or to refuse, who has no token."""
_ASK = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"
"""A client asks for the cluster's identifier first."""


@dataclass(frozen=True, slots=True, order=True)
class Listener:
    """A TCP socket that takes connections.

    Attributes:
        host: Address it is bound to; ``0.0.0.0`` and ``::`` are all interfaces.
        port: Its port.
    """

    host: str
    port: int

    @property
    def reachable(self) -> bool:
        """Whether other machines may reach it, as far as no firewall is between."""
        return not is_loopback(self.host)


@dataclass(frozen=True, slots=True)
class Token:
    """How Ray's token is set in an environment.

    Attributes:
        wanted: Whether RAY_AUTH_MODE says ``token``.
        text: What there is, for a person.
        ok: Whether it is right: where one is wanted it is there, and only you can read it.
    """

    wanted: bool
    text: str
    ok: bool


def token_of(environment: Mapping[str, str]) -> Token:
    """How Ray's token is set; Ray takes RAY_AUTH_TOKEN, then the file RAY_AUTH_TOKEN_PATH names,
    then ``~/.ray/auth_token``."""
    if environment.get("RAY_AUTH_MODE", "").lower() != "token":
        return Token(False, "RAY_AUTH_MODE is not 'token'; set it before 'ray start --head'", True)
    if environment.get("RAY_AUTH_TOKEN"):
        return Token(True, "RAY_AUTH_TOKEN is set", True)
    home = environment.get("HOME", "~")
    path = Path(environment.get("RAY_AUTH_TOKEN_PATH") or f"{home}/.ray/auth_token").expanduser()
    wrong = _wrong_with(path)
    return Token(True, wrong or f"{path} is there, and nobody else's to read", wrong is None)


def _wrong_with(path: Path) -> str | None:
    try:
        found = path.stat()
        if found.st_uid != os.geteuid():
            return f"{path} belongs to another user"
        if (mode := stat.S_IMODE(found.st_mode)) & 0o077:
            return f"{path} has mode {mode:04o}, which must be 0600"
        return None if path.read_bytes().strip() else f"{path} is empty"
    except FileNotFoundError:
        return f"there is no token: {path} is missing"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"


def protect(environment: MutableMapping[str, str]) -> None:
    """Let the Ray that this process is about to start ask for a token.

    It is the user's own, if there is one that nobody else can read, else a random one that only
    this process and its children know. What the user said of RAY_AUTH_MODE stays.

    Args:
        environment: Of this process. It has no effect on a Ray that is imported already.
    """
    if "RAY_AUTH_MODE" in environment:
        return
    environment["RAY_AUTH_MODE"] = "token"
    if not token_of(environment).ok:
        environment["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def is_loopback(host: str) -> bool:
    """Whether an address leads to this machine alone."""
    if host in ("localhost", ""):
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False  # a name, which anyone may give to anything
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def listeners(pids: Iterable[int]) -> list[Listener]:
    """The TCP sockets on which some processes listen; one that has ended has none (Linux)."""
    known = {**_sockets("/proc/net/tcp"), **_sockets("/proc/net/tcp6")}
    found: set[Listener] = set()
    for pid in pids:
        try:
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                found |= {known[name] for name in [_target(descriptor)] if name in known}
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue  # it ended, or is another user's
    return sorted(found)


def listeners_at(port: int) -> list[Listener]:
    """The sockets that listen at a port of this machine, whoever's they are (Linux)."""
    known = {**_sockets("/proc/net/tcp"), **_sockets("/proc/net/tcp6")}
    return sorted({each for each in known.values() if each.port == port})


def users_at(port: int) -> set[int] | None:
    """The users whose processes listen at a port of this machine; None where that cannot be told,
    which is everywhere but on Linux."""
    if not Path("/proc/net/tcp").exists():
        return None
    rows = _listening("/proc/net/tcp") + _listening("/proc/net/tcp6")
    return {int(row[7]) for row in rows if _listener(row[1]).port == port}


def takes_anyone(address: str) -> bool:
    """Whether a cluster answers who has no token, asked from a process without one.

    Args:
        address: Of its head, as ``host:port``.

    Raises:
        OSError: If that cannot be found out; the message says why.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH_")}
    environment["RAY_AUTH_MODE"] = "disabled"
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _ASK, address],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=ASK_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"no answer within {ASK_SECONDS:g} s") from error
    if asked.returncode == 0:
        return True
    if "InvalidAuthToken" in asked.stderr:
        return False
    raise OSError((asked.stderr.strip() or f"exit code {asked.returncode}").splitlines()[-1])


def _target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)
    except FileNotFoundError:  # closed while we looked
        return ""


def _sockets(table: str) -> dict[str, Listener]:
    """Listening sockets by the name that descriptors have."""
    return {f"socket:[{row[9]}]": _listener(row[1]) for row in _listening(table)}


def _listening(table: str) -> list[list[str]]:
    """The rows of listening sockets; none where the system has no such table."""
    path = Path(table)
    if not path.exists():
        return []
    rows = (line.split() for line in path.read_text(encoding="ascii").splitlines()[1:])
    return [row for row in rows if row and row[3] == _LISTENING]


def _listener(text: str) -> Listener:
    """``0100007F:1F90``: words of four bytes in the machine's order, and a port."""
    host, _, port = text.partition(":")
    words = [bytes.fromhex(host[at : at + 8])[::-1] for at in range(0, len(host), 8)]
    return Listener(str(ipaddress.ip_address(b"".join(words))), int(port, 16))


def descendants(pid: int) -> list[int]:
    """A process and all that descend from it (Linux)."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def warning(
    address: str,
    environment: Mapping[str, str],
    listening: Collection[Listener] = (),
    is_open: bool = False,
) -> str | None:
    """What the user should know of the Ray in use; None if nothing.

    Args:
        address: ``local``, or where the cluster was reached, as ``host:port``.
        environment: Of this process. A cluster that wants a token would not have taken one
            without it.
        listening: For ``local``, and a cluster whose head is on this machine: its sockets.
        is_open: Whether the cluster takes anybody, though this process has a token.
    """
    token = token_of(environment)
    if token.wanted and not is_open:
        return None if token.ok else f"Ray's token: {token.text}."
    host, _, _ = address.rpartition(":")
    open_to_all = [f"{each.host}:{each.port}" for each in listening if each.reachable]
    if address == "local" and open_to_all:
        what, where = "the Ray started here", open_to_all
    elif address != "local" and (open_to_all or not is_loopback(host)):
        what, where = f"the Ray cluster at {address}", open_to_all or [address]
    else:
        return None
    more = f" and {len(where) - SHOWN} more" if len(where) > SHOWN else ""
    return (
        f"{what} asks for no token, and listens to other machines ({', '.join(where[:SHOWN])}"
        f"{more}): whoever reaches it can run code in it. Set RAY_AUTH_MODE=token before it "
        "starts; 'ray get-auth-token --generate' makes a token."
    )
