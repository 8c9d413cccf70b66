"""A cloud on this machine for Ray's real autoscaler: each machine it starts is a raylet here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ray.autoscaler._private.fake_multi_node.node_provider import (
    FAKE_HEAD_NODE_ID,
    FakeMultiNodeProvider,
)

HEAD_ENVIRONMENT = {
    "RAY_FAKE_CLUSTER": "1",
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
}
"""Of the head and its autoscaler: the provider names machines by Ray's own identifiers."""


class LocalCloud(FakeMultiNodeProvider):  # type: ignore[misc]
    """Ray's own pretended cloud, which only its test suite can name."""


def write_autoscaling_file(folder: Path, address: str, kinds: dict[str, Any]) -> Path:
    """The file of an autoscaler that starts machines of these kinds, and ends idle ones soon."""
    head = {"resources": {"CPU": 0}, "node_config": {}, "min_workers": 0, "max_workers": 0}
    commands = (
        "initialization_commands setup_commands head_setup_commands worker_setup_commands "
        "head_start_ray_commands worker_start_ray_commands"
    )
    config = {
        "cluster_name": "here",
        "max_workers": 4,
        "idle_timeout_minutes": 0.1,
        "provider": {
            "type": "external",
            "module": "ray_provider.LocalCloud",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "launch_multiple": True,
            "head_node_id": FAKE_HEAD_NODE_ID,
            "gcs_address": address,
        },
        "auth": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        "head_node_type": "ray.head.default",
        "available_node_types": {"ray.head.default": head}
        | {name: {"node_config": {}, "min_workers": 0} | kind for name, kind in kinds.items()},
    } | {key: [] for key in commands.split()}
    path = folder / "autoscaler.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path
