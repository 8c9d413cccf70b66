"""What decides on a cluster, part by part and without one: labels, plan, blame, surplus, words."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from misbehaving import asked

from evo_nas.config import ConfigError, from_dict, to_dict
from evo_nas.config_tables import SearchConfig, WorkersConfig
from evo_nas.setting import pool_of
from workers.autoscaler import Outlook, autoscaling_file, read_types
from workers.cluster_plan import plan_on_cluster
from workers.cohorts import cohorts
from workers.evaluator import nothing_yet
from workers.labels import check, could_match, matches
from workers.limits import Limits, PoolError
from workers.losses import Loss, Losses
from workers.open_pool import open_pool
from workers.resources import Machine, NodeType, Plan, Wanted
from workers.slot import Job, Slot
from workers.surplus import least_busy_last, surplus
from workers.waiting import why_waiting

ACCELERATOR = "ray.io/accelerator-type"
HEAD = Machine("head", {"CPU": 0.0}, {})
SMALL = Machine("small", {"CPU": 4.0}, {"zone": "north"})
GPU = Machine("gpu", {"CPU": 8.0, "GPU": 2.0}, {ACCELERATOR: "L4"})
L4 = NodeType("l4", {"CPU": 4.0, "GPU": 1.0, "accelerator_type:L4": 1.0}, {}, 4)
T4 = NodeType("t4", {"CPU": 4.0, "GPU": 1.0}, {ACCELERATOR: "T4"}, 2)
FILE = """
cluster_name: evo-nas
max_workers: 3
head_node_type: head
available_node_types:
  head: {resources: {CPU: 0}, max_workers: 0, node_config: {}}
  gpu: {resources: {CPU: 4, GPU: 1}, labels: {market: spot}, max_workers: 9, node_config: {}}
  any: {node_config: {}}
"""


@pytest.mark.parametrize(
    ("selector", "fits"),
    [
        ("L4", {"L4"}),
        ("!L4", {"T4", None}),
        ("in(L4,T4)", {"L4", "T4"}),
        ("!in(L4,T4)", {None}),
    ],
)
def test_a_selector_picks_machines_as_ray_does(selector: str, fits: set[str | None]) -> None:
    for value in ("L4", "T4", None):
        labels = {} if value is None else {"kind": value}
        assert matches(labels, {"kind": selector}) == (value in fits)
        assert could_match(labels, {"kind": selector}) == (value in fits)
    assert could_match({}, {ACCELERATOR: "L4"}), "Ray adds it once the machine has started"
    assert not could_match({ACCELERATOR: "T4"}, {ACCELERATOR: "L4"})


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"kind": "L4 or T4"}, r"\[workers\] labels says 'L4 or T4' of kind, but must give"),
        ({"kind": "in()"}, r"labels says 'in\(\)' of kind"),
        ({"kind": 4}, "labels says 4 of kind"),
        ({"a kind": "L4"}, "labels has the key 'a kind', which no label can have"),
        (["L4"], r"labels is \['L4'\], but must be a table such as"),
    ],
)
def test_labels_that_are_none_are_refused_with_the_configuration(labels: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        from_dict({"workers": {"labels": labels}}, "search.toml")


def test_labels_travel_with_the_configuration() -> None:
    labels = {ACCELERATOR: "L4"}
    config = SearchConfig(workers=WorkersConfig(labels=labels))
    assert from_dict(to_dict(config)) == config
    check(labels)


def test_all_that_a_configuration_says_of_workers_reaches_the_pool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[tuple[Any, ...]] = []

    def open_pool(workers: int, task: Any, limits: Limits, **more: Any) -> Any:
        opened.append((workers, limits, more))
        return closing

    closing = SimpleNamespace(close=lambda: opened.append(("closed",)))
    monkeypatch.setattr("workers.open_pool.open_pool", open_pool)
    said: list[str] = []
    times = {"evaluation_seconds": 1.0, "stall_seconds": 2.0, "start_seconds": 3.0}
    counts = {"attempts": 4, "machines": 5, "idle_seconds": 6.0}
    where: dict[str, Any] = {"address": "head:1", "labels": {"kind": "L4"}, "workers_per_gpu": 7}
    where["cohort"] = 9
    workers = WorkersConfig(workers=8, **times, **counts, **where)  # type: ignore[arg-type]
    task: Any = None
    with pool_of(SearchConfig(workers=workers), task, said.append) as pool:
        assert pool is closing
    (number, limits, more), ended = opened
    assert (number, limits, ended) == (8, Limits(**times, **counts), ("closed",))  # type: ignore[arg-type]
    assert more == where | {"dashboard": False, "at_most": None, "say": said.append}


def test_labels_without_a_cluster_are_refused() -> None:
    with pytest.raises(PoolError, match="labels choose among the machines of a cluster, but the a"):
        open_pool(1, None, Limits(), labels={"kind": "L4"})  # type: ignore[arg-type]


def test_without_a_number_a_cluster_gets_the_workers_that_fit_now() -> None:
    assert plan_on_cluster(Wanted(None), [HEAD, SMALL], []) == (Plan(4, 1.0, 0.0), 4)
    assert plan_on_cluster(Wanted(None, at_most=3), [HEAD, SMALL], []) == (Plan(3, 1.0, 0.0), 3)
    assert plan_on_cluster(Wanted(None, 2), [HEAD, SMALL, GPU], []) == (Plan(4, 1.0, 0.5), 4)


def test_a_cluster_may_be_asked_for_more_than_fit_now() -> None:
    assert plan_on_cluster(Wanted(9), [HEAD, SMALL], []) == (Plan(9, 1.0, 0.0), 4)
    assert plan_on_cluster(Wanted(9, 2), [HEAD], [L4]) == (Plan(9, 1.0, 0.5), 0)
    assert plan_on_cluster(Wanted(9), [HEAD], None) == (Plan(9, 1.0, 0.0), 0)
    unknown = replace(L4, resources=None)
    assert plan_on_cluster(Wanted(9), [HEAD], [unknown]) == (Plan(9, 1.0, 0.0), 0)


def test_labels_decide_which_machines_count() -> None:
    north, l4 = {"zone": "north"}, {ACCELERATOR: "L4"}
    assert plan_on_cluster(Wanted(None, labels=north), [HEAD, SMALL, GPU], []) == (
        Plan(4, 1.0, 0.0),
        4,
    )
    assert plan_on_cluster(Wanted(None, labels=l4), [HEAD, SMALL, GPU], []) == (
        Plan(2, 1.0, 1.0),
        2,
    )
    assert plan_on_cluster(Wanted(3, labels=l4), [HEAD, SMALL], [T4, L4]) == (Plan(3, 1.0, 1.0), 0)


def test_what_no_kind_of_machine_could_hold_is_refused_with_the_largest() -> None:
    with pytest.raises(
        PoolError,
        match=r"no worker could ever start: each wants 1 CPU and 1/2 GPU on a machine with "
        r"ray\.io/accelerator-type = L4; the largest of the autoscaler's 1 kinds of machines, t4, "
        r"has 4 CPUs, 1 GPUs and labels ray\.io/accelerator-type = T4 \(at most 2 of them\)\. "
        r"Other labels in \[workers\], or other machines are needed",
    ):
        plan_on_cluster(
            Wanted(4, 2, labels={ACCELERATOR: "L4"}),
            [HEAD, Machine("alone", {"GPU": 1.0}, {ACCELERATOR: "L4"})],
            [T4],
        )
    with pytest.raises(PoolError, match=r"1 CPU and 1 GPU; .* GPUs and no labels"):
        plan_on_cluster(Wanted(1), [HEAD], [NodeType("odd", {"GPU": 1.0}, {}, 5)])
    with pytest.raises(PoolError, match="at most 0 of them"):
        plan_on_cluster(Wanted(1), [HEAD], [replace(L4, most=0)])


def test_nothing_to_count_by_is_an_error_that_asks_for_a_number() -> None:
    with pytest.raises(PoolError, match="Say with --workers how many the cluster is to make room"):
        plan_on_cluster(Wanted(None), [HEAD], [L4])


def test_the_file_of_an_autoscaler_gives_its_kinds_of_machines() -> None:
    assert read_types(FILE) == [
        NodeType("gpu", {"CPU": 4, "GPU": 1}, {"market": "spot"}, 3),
        NodeType("any", None, {}, 3),
    ]


@pytest.mark.parametrize("text", ["{", "[]", "cluster_name: x", "available_node_types: 3"])
def test_a_file_that_is_none_of_an_autoscaler_is_refused(text: str) -> None:
    with pytest.raises(PoolError, match="file of the cluster's autoscaler cannot be read"):
        read_types(text)


def test_no_monitor_no_autoscaler() -> None:
    assert autoscaling_file("session_of_nobody") == (None, False)


def job_with(own: int = 0, undecided: int = 0, machines: int = 0, drained: int = 0) -> Job:
    job = Job(asked("behaves"), nothing_yet(asked("behaves")))
    loss = Loss("worker_lost", "died", "worker-7", "Ray said so.", "node", 1.0, 2.0)
    for blame, count in [("own", own), ("open", undecided), ("machine", machines)]:
        for _ in range(count):
            job.lost(loss, blame)  # type: ignore[arg-type]
    for _ in range(drained):
        job.lost(loss, "drained")
    return job


def test_only_losses_with_a_living_machine_are_attempts() -> None:
    limits = Limits(attempts=3, machines=4)
    assert job_with(own=2, machines=3, drained=50).given_up(limits) is None
    lost = job_with(own=3, drained=1).given_up(limits)
    assert lost is not None and lost.failure is not None and lost.seconds == 2.0
    assert lost.failure.message.startswith("3 workers died over it; the last, worker-7: Ray")
    lost = job_with(machines=4).given_up(limits)
    assert lost is not None and lost.failure is not None and lost.failure.kind == "worker_lost"
    assert lost.failure.message == (
        "4 machines went down under it; the last, with worker-7: Ray said so."
    )


def test_a_loss_that_may_be_a_machines_holds_the_last_attempt_back_until_it_is_known() -> None:
    limits = Limits(attempts=3)
    job = job_with(own=2, undecided=1)
    assert not job.may_begin(limits) and job.given_up(limits) is None
    job.losses.judge(lambda loss: "open")
    assert not job.may_begin(limits) and job.given_up(limits) is None
    job.losses.judge(lambda loss: "machine")
    assert job.may_begin(limits) and job.given_up(limits) is None
    job = job_with(own=2, undecided=1)
    job.losses.judge(lambda loss: "own")
    assert not job.may_begin(limits) and job.given_up(limits) is not None


def test_losses_are_each_in_one_place() -> None:
    losses = Losses()
    loss = Loss("worker_lost", "stalled", "worker-1", "it stalled.")
    losses.add(loss, "open")
    losses.judge(lambda each: "drained")
    assert (losses.own, losses.open, losses.machines) == ([], [], [])


def slot(number: int, node: str = "", busy: bool = False, ready: bool = True) -> Slot:
    jobs = [Job(asked("behaves"), nothing_yet(asked("behaves")))] if busy else []
    starting = None if ready else object()
    return Slot(None, 0.0, starting, f"worker-{number}", jobs, node=node)


def test_work_goes_to_machines_that_are_busy_anyway() -> None:
    slots = [slot(0, "a"), slot(1, "b"), slot(2, "b", busy=True), slot(3, "c")]
    assert least_busy_last([slots[0], slots[1]], slots) == [slots[1], slots[0]]


def test_candidates_that_often_lose_machines_together_are_kept_apart() -> None:
    limits = Limits(machines=4)
    twice, again, once = job_with(machines=2), job_with(machines=3), job_with(machines=1)
    a, b, c = slot(0, "a"), slot(1, "a"), slot(2, "b")
    for most in (1, 5):
        pairs = partial(cohorts, limits=limits, most=most)
        assert pairs([a, b], [twice, again], [a, b]) == [(a, [twice])]
        assert pairs([a, b], [twice, again, once], [a, b]) == [(a, [twice]), (b, [once])]
        assert pairs([a, b, c], [twice, again], [a, b, c]) == [(a, [twice]), (c, [again])]
    a.jobs = [once, twice]
    assert cohorts([b], [again], [a, b], limits, 1) == []
    assert cohorts([b], [again, once], [a, b], limits, 1) == [(b, [once])]


def test_surplus_workers_end_after_a_while_those_that_wait_for_room_first() -> None:
    slots = [slot(0, "a"), slot(1, "b"), slot(2, "b", busy=True), slot(3, ready=False)]

    def ended(todo: int, now: float) -> list[int]:
        return sorted(slots.index(s) for s in surplus(slots, todo, now, idle_seconds=10))

    assert ended(1, 100) == []
    assert ended(1, 109) == []
    assert ended(2, 111) == [3]  # the two that are ready are wanted
    assert ended(1, 112) == [3]  # 0 has been surplus since just now only
    assert ended(1, 123) == [0, 3]
    assert ended(3, 130) == []
    assert ended(0, 131) == []


def test_why_workers_wait_names_what_is_asked_what_there_is_and_what_comes() -> None:
    view = Outlook(3, (4.0, 0.0), Counter(gpu=2), Counter())
    said = why_waiting(
        3, 2, 5, 42.4, Plan(5, 1.0, 0.5), {ACCELERATOR: "L4"}, [HEAD, SMALL, GPU], view, True
    )
    assert said == (
        "3 of 5 workers have waited 42 s for room. Each wants 1 CPU and 0.5 GPU on a machine with "
        "ray.io/accelerator-type = L4. The cluster has 3 machines, 1 with these labels, with 8 "
        "CPUs and 2 GPUs; 4 CPUs and 0 GPUs of the whole cluster are free. Machines are being "
        "started: 2 of kind gpu. The search goes on with 2 workers."
    )
    view = Outlook(3, (0.0, 0.0), Counter(), Counter(gpu=1))
    said = why_waiting(1, 0, 1, 31.0, Plan(1, 1.0, 0.0), {}, [HEAD], view, True)
    assert "Its autoscaler is starting none at the moment" in said
    assert said.endswith(
        "Starts that failed lately: 1 of kind gpu. The search waits; Ctrl-C ends it, and it can "
        "be resumed."
    )


@pytest.mark.parametrize("name", ["machines", "attempts"])
def test_a_limit_that_is_no_count_is_refused(name: str) -> None:
    with pytest.raises(PoolError, match=f"{name} is 0; it must be a whole number from 1 up"):
        Limits(**{name: 0})
    with pytest.raises(PoolError, match=r"idle_seconds is 0; it must be a number of seconds"):
        Limits(idle_seconds=0)
