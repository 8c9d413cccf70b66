"""The cluster's token on this machine: whoever has it runs what they like on the cluster."""

from __future__ import annotations

from collections.abc import MutableMapping

from evo_nas.errors import ClusterError
from workers.exposure import token_of


def use_token(environment: MutableMapping[str, str]) -> None:
    """Let Ray in this process, and what it starts, send the token.

    Args:
        environment: The process's; RAY_AUTH_MODE is set in it. Ray reads it when it is imported.

    Raises:
        ClusterError: If there is no token, or others may read its file (`workers.exposure`).
    """
    environment["RAY_AUTH_MODE"] = "token"
    token = token_of(environment)
    if not token.ok:
        raise ClusterError(
            f"{token.text}. The cluster's token is to be there, for nobody else to read: copy it, "
            "or make one before 'ray up': (umask 077 && ray get-auth-token --generate >/dev/null)"
        )
