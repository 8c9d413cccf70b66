"""How many workers fit, and what each asks for."""

from __future__ import annotations

import pytest

from workers.limits import PoolError
from workers.resources import Plan, Wanted, gpu_share, plan

LAPTOP = [{"CPU": 4.0}]
GPU_MACHINE = [{"CPU": 16.0, "GPU": 2.0}]


def test_without_gpus_there_is_one_worker_per_core() -> None:
    assert plan(Wanted(None), LAPTOP) == Plan(4, 1.0, 0.0)
    assert plan(Wanted(3), LAPTOP) == Plan(3, 1.0, 0.0)


def test_there_are_no_more_workers_than_can_have_work() -> None:
    assert plan(Wanted(None, at_most=3), LAPTOP) == Plan(3, 1.0, 0.0)
    assert plan(Wanted(None, at_most=8), LAPTOP) == Plan(4, 1.0, 0.0)


def test_with_gpus_there_is_one_worker_per_gpu_share() -> None:
    assert plan(Wanted(None), GPU_MACHINE) == Plan(2, 1.0, 1.0)
    assert plan(Wanted(None, 4), GPU_MACHINE) == Plan(8, 1.0, 0.25)


def test_a_head_without_gpus_gets_no_workers_where_others_have_them() -> None:
    assert plan(Wanted(None, 2), [{"CPU": 8.0}, {"CPU": 4.0, "GPU": 1.0}]) == Plan(2, 1.0, 0.5)


def test_a_core_and_a_gpu_on_different_machines_are_room_for_nobody() -> None:
    with pytest.raises(PoolError, match=r"8 CPUs and 1 GPUs on 2 machines: room for 0"):
        plan(Wanted(1), [{"CPU": 8.0}, {"GPU": 1.0}])


def test_too_many_workers_are_refused_with_the_number_that_fits() -> None:
    with pytest.raises(
        PoolError,
        match=r"5 workers cannot run at once: each wants 1 CPU, and .*"
        r"4 CPUs on 1 machine: room for 4\. Ask for fewer workers",
    ):
        plan(Wanted(5), LAPTOP)
    with pytest.raises(PoolError, match=r"1 CPU and 1/2 GPU.*room for 4.*raise workers_per_gpu"):
        plan(Wanted(5, 2), GPU_MACHINE)


def test_half_a_core_is_room_for_nobody() -> None:
    with pytest.raises(PoolError, match="room for 0"):
        plan(Wanted(None), [{"CPU": 0.5}])


@pytest.mark.parametrize("workers", [-1, 1.5, True])
def test_a_number_of_workers_that_makes_no_sense_is_refused(workers: int) -> None:
    with pytest.raises(PoolError, match="whole number from 1 up, or 0 to evaluate in process"):
        plan(Wanted(workers), LAPTOP)


@pytest.mark.parametrize("workers_per_gpu", [0, 1.67, -2, 101])
def test_only_whole_parts_of_a_gpu_are_shared_out(workers_per_gpu: int) -> None:
    with pytest.raises(PoolError, match="each 1/n of it. With other shares some would wait"):
        plan(Wanted(1, workers_per_gpu), LAPTOP)


def test_the_shares_of_a_gpu_never_add_up_to_more_than_it() -> None:
    # Ray counts in units of 1/10,000.
    for n in range(1, 101):
        assert n * round(gpu_share(n) * 10_000) <= 10_000
        assert (n + 1) * round(gpu_share(n) * 10_000) > 10_000
