"""The cluster's token on this machine: whoever has it runs what they like on the cluster."""

from __future__ import annotations

import os
import stat
from collections.abc import MutableMapping
from pathlib import Path

from evo_nas.errors import ClusterError

_HOW = (
    "Copy the cluster's, or make one before 'ray up': "
    "(umask 077 && ray get-auth-token --generate >/dev/null)"
)


def use_token(environment: MutableMapping[str, str]) -> None:
    """Let Ray in this process, and what it starts, send the token.

    Ray's own order: RAY_AUTH_TOKEN, then the file RAY_AUTH_TOKEN_PATH names, then
    ``~/.ray/auth_token``.

    Args:
        environment: The process's; RAY_AUTH_MODE is set in it. Ray reads it when it is imported.

    Raises:
        ClusterError: If there is no token, or others may read its file.
    """
    if not environment.get("RAY_AUTH_TOKEN"):
        _refuse_open(Path(environment.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"))
    environment["RAY_AUTH_MODE"] = "token"


def _refuse_open(path: Path) -> None:
    path = path.expanduser()
    try:
        found = path.stat()
    except FileNotFoundError:
        raise ClusterError(f"there is no token: {path} is missing. {_HOW}") from None
    mode = stat.S_IMODE(found.st_mode)
    if mode != 0o600:
        raise ClusterError(
            f"{path} has mode {mode:04o}, so that others may have read the token. Make a new one, "
            f"or if nobody could: chmod 600 {path}"
        )
    if found.st_uid != os.geteuid():
        raise ClusterError(f"{path} belongs to somebody else. Make it yours: chown $USER {path}")
    if not path.read_text(encoding="utf-8").strip():
        raise ClusterError(f"{path} is empty. {_HOW}")
