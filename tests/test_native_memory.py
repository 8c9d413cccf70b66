"""Memory of the native engine: what is free, what is refused, what is used again."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType, SimpleNamespace

import pytest
import torch
from native_cases import (
    F64,
    TINY,
    OwnLossTask,
    models,
    text_task,
    token_batches,
)
from torch import Tensor

from genomes import published
from workers import RecurrentLayer
from workers.engine.native import memory
from workers.engine.native.memory import BUFFERS, KEPT, UNCHECKED, Buffers, NotEnoughMemory
from workers.fused import FusedTrainer
from workers.messages import Request, Training
from workers.training import evaluate

MEMINFO = "MemTotal:       16000000 kB\nMemFree:  100 kB\nMemAvailable:    8000000 kB\n"
GRU = published("gru")
MEGABYTE = 1 << 20


def machine(root: Path, **files: str) -> Path:
    """A file system that says this about memory; ``__`` in a name stands for a folder."""
    for name, text in files.items():
        places = {"meminfo": "proc/meminfo", "v2": "sys/fs/cgroup", "v1": "sys/fs/cgroup/memory"}
        folder, _, file = name.partition("__")
        path = root / places[folder] / file if file else root / places[folder]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def what() -> str:
    return "a test"


# ---- what there is ----


def test_the_kernel_says_what_is_available(tmp_path: Path) -> None:
    assert memory.available_bytes(machine(tmp_path, meminfo=MEMINFO)) == 8_000_000 * 1024


def test_the_limit_of_the_control_group_counts_if_it_is_lower(tmp_path: Path) -> None:
    files = {"meminfo": MEMINFO, "v2__memory.max": "3000000000\n"}
    root = machine(tmp_path, **files, **{"v2__memory.current": "1000000000\n"})
    assert memory.available_bytes(root) == 2_000_000_000


@pytest.mark.parametrize("place", ["jobs", "jobs/job7"])
def test_the_limit_of_any_group_around_the_process_counts(tmp_path: Path, place: str) -> None:
    root = machine(tmp_path, meminfo=MEMINFO)
    (root / "proc/self").mkdir()
    (root / "proc/self/cgroup").write_text("0::/jobs/job7\n")
    group = root / "sys/fs/cgroup" / place
    group.mkdir(parents=True)
    (group / "memory.max").write_text("3000000000\n")
    (group / "memory.current").write_text("1000000000\n")
    assert memory.available_bytes(root) == 2_000_000_000


def test_a_control_group_without_limit_changes_nothing(tmp_path: Path) -> None:
    files = {"meminfo": MEMINFO, "v2__memory.max": "max\n", "v2__memory.current": "5\n"}
    assert memory.available_bytes(machine(tmp_path, **files)) == 8_000_000 * 1024


def test_the_limit_of_a_group_of_the_first_version_counts_too(tmp_path: Path) -> None:
    files = {"meminfo": MEMINFO, "v1__memory.limit_in_bytes": "500000000\n"}
    root = machine(tmp_path, **files, **{"v1__memory.usage_in_bytes": "100000000\n"})
    assert memory.available_bytes(root) == 400_000_000


def test_an_endless_limit_of_a_group_of_the_first_version_changes_nothing(tmp_path: Path) -> None:
    files = {"meminfo": MEMINFO, "v1__memory.limit_in_bytes": f"{2**63 - 4096}\n"}
    root = machine(tmp_path, **files, **{"v1__memory.usage_in_bytes": "100000000\n"})
    assert memory.available_bytes(root) == 8_000_000 * 1024


def test_a_group_that_uses_more_than_its_limit_has_nothing_left(tmp_path: Path) -> None:
    files = {"v2__memory.max": "3000\n", "v2__memory.current": "3001\n"}
    assert memory.available_bytes(machine(tmp_path, **files)) == 0


def test_what_a_group_holds_of_files_can_be_had_back(tmp_path: Path) -> None:
    """Linux counts cached pages of files that were read as used, and drops them when asked for
    memory: a worker that has read its data has not lost that memory."""
    stat = "anon 400000000\nfile 2500000000\ninactive_file 2000000000\nactive_file 500000000\n"
    files = {"v2__memory.max": "3000000000\n", "v2__memory.current": "2900000000\n"}
    root = machine(tmp_path, **files, **{"v2__memory.stat": stat})
    assert memory.available_bytes(root) >= 2_100_000_000


def test_where_nothing_says_what_is_free_it_is_unknown(tmp_path: Path) -> None:
    assert memory.available_bytes(tmp_path) is None


def test_this_machine_says_something() -> None:
    free = memory.available_bytes()
    assert free is None or free > 0


# ---- what is refused ----


def test_what_does_not_fit_is_refused_naming_both_numbers() -> None:
    message = r"a layer needs 5,000 MB, but 1,200 MB of memory are free\. Lower hidden_size"
    with pytest.raises(NotEnoughMemory, match=message):
        memory.check_fits(5_000_000_000, "a layer", 1_200_000_000)
    assert issubclass(NotEnoughMemory, MemoryError)


def test_what_fits_with_something_left_for_the_rest_is_taken() -> None:
    memory.check_fits(1_000_000_000, "a layer", 1_000_000_000 + memory.RESERVE)
    with pytest.raises(NotEnoughMemory):
        memory.check_fits(1_000_000_000, "a layer", 1_000_000_000 + memory.RESERVE - 1)


def test_small_needs_are_not_held_against_what_is_free() -> None:
    memory.check_fits(UNCHECKED, "a layer", 0)
    with pytest.raises(NotEnoughMemory):
        memory.check_fits(UNCHECKED + 1, "a layer", 0)


def test_where_the_memory_is_unknown_everything_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    memory.check_fits(1 << 50, "a layer")


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each fresh buffer from here on; none is at hand from before."""
    sizes: list[int] = []

    def empty(size: int, **options: object) -> Tensor:
        sizes.append(size)
        return torch.empty(size, **options)  # type: ignore[call-overload]

    BUFFERS.clear()
    fake = SimpleNamespace(empty=empty, uint8=torch.uint8, from_numpy=torch.from_numpy)
    monkeypatch.setattr(memory, "torch", fake)
    return sizes


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 100 MB left."""
    monkeypatch.setattr(memory, "available_bytes", lambda: 100_000_000)


def test_a_layer_that_does_not_fit_is_refused_before_anything_is_taken(
    taken: list[int], little: None
) -> None:
    layer = RecurrentLayer(GRU, 64, 64, engine="native")
    x = torch.zeros(300, 200, 64)
    message = r"hidden size 64 over 300 steps of 200 sequences needs \d+ MB, but 100 MB"
    with pytest.raises(NotEnoughMemory, match=message):
        layer(x)
    assert taken == []
    with torch.no_grad():
        layer(x)  # a few steps at a time
    assert max(taken) < UNCHECKED


@pytest.mark.parametrize("fused", [True, False])
def test_an_evaluation_that_does_not_fit_ends_as_out_of_memory_before_anything_is_taken(
    taken: list[int], little: None, fused: bool
) -> None:
    task = text_task() if fused else OwnLossTask(2, 3)
    task.length = 200
    task.training = task.training.repeat(30) if fused else None
    training = Training(hidden_size=400, batch_size=100 if fused else 4000, steps=2)
    result = evaluate(Request(0, GRU.to_json(), 1, training), task)
    assert result.failure is not None
    assert result.failure.kind == "out_of_memory"
    assert "hidden size 400" in result.failure.message
    assert " MB, but 100 MB of memory are free. Lower hidden_size" in result.failure.message
    assert result.engine.endswith("fused") == fused
    assert result.parameters > 0
    assert taken == []


def test_buffers_kept_for_later_make_way_before_a_need_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = Buffers()
    home.lend(30 * MEGABYTE, what)
    assert home.free_bytes() == 30 * MEGABYTE
    free = iter([10 * MEGABYTE, 400 * MEGABYTE])
    monkeypatch.setattr(memory, "available_bytes", lambda: next(free))
    home.check(300 * MEGABYTE, "a test")
    assert home.free_bytes() == 0
    home.lend(30 * MEGABYTE, what)
    left: list[int] = []
    monkeypatch.setattr(memory, "available_bytes", lambda: left.append(len(home._free)) or 1 << 40)
    assert home.lend(300 * MEGABYTE, what).numel() == 300 * MEGABYTE
    assert left == [0], "asked when nothing was kept any more"


# ---- what is used again ----


def test_a_buffer_that_came_back_is_lent_again() -> None:
    home = Buffers()
    lease = home.lend(1000, what)
    address = lease.data_ptr()
    assert home.free_bytes() == 0
    del lease
    assert home.free_bytes() == 1000
    assert home.lend(1000, what).data_ptr() == address
    assert home.lend(900, what).data_ptr() == address


def test_a_buffer_comes_back_when_nobody_sees_any_part_of_it() -> None:
    home = Buffers()
    lease = home.lend(1000, what)
    part, copied = lease[10:20].view(torch.uint8), lease.clone()
    del lease
    assert home.free_bytes() == 0
    del part
    assert home.free_bytes() == 1000
    assert copied.numel() == 1000


def test_two_leases_at_once_are_two_buffers() -> None:
    home = Buffers()
    home.lend(1000, what)
    leases = [home.lend(1000, what) for _ in range(3)]
    assert len({lease.data_ptr() for lease in leases}) == 3


def test_a_buffer_too_small_or_much_too_large_is_not_lent() -> None:
    for kept, wanted, lent in (
        (1000, 1001, 1001),
        (64 * MEGABYTE, 1000, 1000),
        (64 * MEGABYTE, 60 * MEGABYTE, 64 * MEGABYTE),
    ):
        home = Buffers()
        home.lend(kept, what)
        assert home.lend(wanted, what).numel() == lent


def test_the_smallest_that_fits_is_lent() -> None:
    home = Buffers()
    leases = [home.lend(size, what) for size in (3000, 1000, 2000)]
    del leases
    assert [home.lend(size, what).numel() for size in (900, 1001)] == [1000, 2000]


def test_of_many_buffers_that_come_back_the_last_are_kept() -> None:
    home = Buffers()
    sizes = [1000 + k for k in range(KEPT + 4)]
    leases = [home.lend(size, what) for size in sizes]
    while leases:
        leases.pop(0)
    assert home.free_bytes() == sum(sizes[-KEPT:])
    home.clear()
    assert home.free_bytes() == 0


def test_leases_are_taken_and_given_back_by_many_threads_at_once() -> None:
    home = Buffers()
    shared: list[int] = []

    def work(k: int) -> None:
        for turn in range(300):
            lease = home.lend(1000 + turn % 7, what)
            lease[:8] = k
            if not bool((lease[:8] == k).all()):
                shared.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shared == []


def test_a_lease_that_the_garbage_collector_gives_back_amid_a_call_does_not_block_it() -> None:
    """A collection begins wherever something is allocated, between any two lines of a call."""
    home = Buffers()

    class Cycle:
        def __init__(self) -> None:
            self.itself, self.lease = self, home.lend(1000, what)

    gc.freeze()  # so that the many collections have little to look through
    garbage = [Cycle() for _ in range(30)]

    def collect(frame: FrameType, event: str, argument: object) -> Callable | None:
        if frame.f_code.co_filename != memory.__file__:
            return None
        if garbage:
            garbage.pop()
            gc.collect()
        return collect

    def work() -> None:
        for _ in range(5):
            home.lend(1000, what)
        home.clear()

    thread = threading.Thread(target=work, daemon=True)
    threading.settrace(collect)
    try:
        thread.start()
    finally:
        threading.settrace(None)  # type: ignore[arg-type]
    thread.join(60)
    gc.unfreeze()
    assert not thread.is_alive(), "the call waits for a lock that it holds itself"


def test_a_call_works_in_the_buffers_of_the_call_before(taken: list[int]) -> None:
    layer = RecurrentLayer(GRU, 8, 8, engine="native")
    x = torch.zeros(6, 4, 8)

    def step() -> None:
        y, final = layer(x)
        (y.sum() + final.sum()).backward()

    step()
    fresh = len(taken)
    assert fresh > 0
    for _ in range(20):
        step()
    assert len(taken) == fresh


def test_two_forward_passes_before_a_backward_pass_keep_two_buffers(taken: list[int]) -> None:
    layer = RecurrentLayer(GRU, 64, 64, engine="native", dtype=F64)
    x = torch.randn(60, 8, 64, dtype=F64)
    first, second = layer(x)[0], layer(2 * x)[0]
    wanted = [torch.autograd.grad(layer(k * x)[0].sum(), layer.weights)[0] for k in (1, 2)]
    got = [torch.autograd.grad(y.sum(), layer.weights)[0] for y in (first, second)]
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


def test_the_values_of_a_result_that_is_dropped_come_back(taken: list[int]) -> None:
    layer = RecurrentLayer(GRU, 8, 8, engine="native")
    x = torch.zeros(6, 4, 8)
    layer(x)  # never run backward
    fresh = len(taken)
    for _ in range(20):
        layer(x)
    assert len(taken) == fresh


@pytest.mark.parametrize("layers", [1, 2])
def test_a_training_of_many_steps_takes_no_more_buffers(taken: list[int], layers: int) -> None:
    _, model = models(GRU, text_task(), replace(TINY, num_layers=layers))
    trainer = FusedTrainer(model, 1.0)
    batches = token_batches(1, 6, 3, 4)
    trainer.run(batches, [0.01] * 4)
    fresh = len(taken)
    assert fresh > 0
    for _ in range(30):
        trainer.run(batches, [0.01] * 4)
    assert len(taken) == fresh
