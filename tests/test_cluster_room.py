"""Whether the machines of a file for `ray up` hold the workers of a search."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cluster_files import Change, checked, problems, put, read, replace

from evo_nas.config_tables import SearchConfig, WorkersConfig

AWS = "cluster.yaml"
WORKER = "worker_start_ray_commands"
TYPES = "available_node_types"


def _search(**workers: Any) -> SearchConfig:
    return dataclasses.replace(SearchConfig(), workers=WorkersConfig(**workers))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ({"labels": {"tier": "gold"}}, ["1 CPU on a machine with tier = gold", "gpu, has 4 CPUs"]),
        ({"labels": {"ray.io/accelerator-type": "L4"}}, []),  # Ray may add it itself
        ({"workers_per_gpu": 101}, ["workers_per_gpu is 101; it must be a whole number n"]),
        ({"workers": 0}, ["workers is 0, which evaluates in the job's own process"]),
        ({"workers": None}, []),
    ],
)
def test_a_search_that_no_machine_holds_is_noticed(
    tmp_path: Path, workers: dict[str, Any], said: Sequence[str]
) -> None:
    found = problems(tmp_path, read(AWS), search=_search(**workers))
    assert len(found) == bool(said), found
    assert all(part in found[0] for part in said), found


@pytest.mark.parametrize(
    ("workers", "limit", "said"),
    [
        ({"workers": 4}, 4, None),
        ({"workers": 5}, 4, "asks for 5 workers, and all machines of the file have room for 4"),
        ({"workers": 16, "workers_per_gpu": 4}, 4, None),
        # Each machine has four cores, so that not more than four share its GPU.
        ({"workers": 17, "workers_per_gpu": 8}, 4, "room for 16"),
        ({"workers": 4}, 3, "room for 3"),
    ],
)
def test_workers_that_would_find_no_place_are_a_hint_for_a_search_goes_on_without_them(
    tmp_path: Path, workers: dict[str, Any], limit: int, said: str | None
) -> None:
    config = read(AWS)
    config["max_workers"] = limit
    found = checked(tmp_path, config, search=_search(**workers))
    assert found.problems == []
    hints = [hint for hint in found.hints if "[workers]" in hint]
    assert len(hints) == bool(said)
    assert all(str(said) in hint for hint in hints), hints


def test_workers_have_to_be_counted_where_no_machine_is_there_yet(tmp_path: Path) -> None:
    config = read(AWS)
    assert problems(tmp_path, config, search=_search()) == []  # two are always there
    config[TYPES]["gpu"]["min_workers"] = 0
    (found,) = problems(tmp_path, config, search=_search())
    assert "there is nothing to count by. Say with --workers how many" in found
    assert problems(tmp_path, config, search=_search(workers=1)) == []


@pytest.mark.parametrize(
    "change",
    [
        # Ray asks the cloud what such a machine has.
        put(TYPES, "auto", to={"resources": {}, "max_workers": 4, "node_config": {}}),
        # What is said as Ray starts is more than the file's tables say.
        replace(WORKER, "ray start", "ray start --labels=tier=gold"),
    ],
)
def test_where_nobody_knows_what_machines_have_nothing_is_refused(
    tmp_path: Path, change: Change
) -> None:
    config = read(AWS)
    wanted = _search(workers=2, labels={"tier": "gold"})
    assert len(problems(tmp_path, config, search=wanted)) == 1
    change(config)
    found = checked(tmp_path, config, search=wanted)
    assert found.problems == []
    assert [hint for hint in found.hints if "[workers]" in hint] == []


def test_shares_of_gpus_that_nobody_has_are_noticed(tmp_path: Path) -> None:
    config = read(AWS)
    del config[TYPES]["gpu"]["resources"]["GPU"]
    (found,) = problems(tmp_path, config, search=_search(workers_per_gpu=2))
    assert "workers_per_gpu is 2, but no machine of the file has a GPU" in found
