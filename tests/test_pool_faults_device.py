"""What evaluations do to the device of their process: seen with torch's own errors, without one."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from misbehaving import NO_DEVICE_MEMORY, asked

from workers import actor
from workers.evaluator import evaluated
from workers.limits import Limits, PoolError
from workers.messages import Progress, Request, Result, Unusable, failed
from workers.open_pool import open_pool

DETAILS = """
CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below
might be incorrect.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
"""
BROKEN = [
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered" + DETAILS),
    torch.AcceleratorError("CUDA error: device-side assert triggered" + DETAILS),
    RuntimeError("CUDA error: unspecified launch failure" + DETAILS),
    RuntimeError("CUDA error: misaligned address" + DETAILS),
    RuntimeError("CUDA error: uncorrectable ECC error encountered" + DETAILS),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError(
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb, "
        "m, n, k, &alpha, a, lda, b, ldb, &beta, c, ldc)`"
    ),
]
TOO_LITTLE_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError(NO_DEVICE_MEMORY),
    torch.cuda.OutOfMemoryError(NO_DEVICE_MEMORY),
    torch.AcceleratorError("CUDA error: out of memory" + DETAILS),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:126] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
]
THE_CANDIDATES_OWN = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)"),
    RuntimeError("CUDA error: invalid configuration argument" + DETAILS),
    ValueError("a task may call this an illegal memory access"),
]


def first_line(error: Exception) -> str:
    return (str(error) or repr(error)).split("\n")[0]


def ends_with(error: Exception) -> Result | Unusable:
    """What comes of an evaluation that raises an error."""

    def raising(request: Request, task: Any, worker: str) -> Iterator[Progress]:
        yield Progress(request.birth, 1, 10, 1.0)
        raise error

    *_, last = evaluated(raising, asked("raises"), None, "worker")  # type: ignore[arg-type]
    assert isinstance(last, Result | Unusable)
    return last


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As if this process had begun to use a GPU."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    return monkeypatch


def raising(error: Exception) -> Any:
    def function(*_: Any, **__: Any) -> None:
        raise error

    return function


@pytest.mark.parametrize("error", BROKEN, ids=first_line)
def test_an_error_that_breaks_the_device_is_no_result(error: Exception) -> None:
    end = ends_with(error)
    assert isinstance(end, Unusable)
    assert first_line(error) in end.why.split("\n")[0]
    assert "test_pool_faults_device.py" in end.why, "the traceback is there"


@pytest.mark.parametrize("error", TOO_LITTLE_MEMORY, ids=first_line)
def test_too_little_memory_is_the_failure_of_that_name(error: Exception) -> None:
    end = ends_with(error)
    assert isinstance(end, Result) and end.failure is not None
    assert end.failure.kind == "out_of_memory"


@pytest.mark.parametrize("error", THE_CANDIDATES_OWN, ids=first_line)
def test_an_error_after_which_the_device_still_works_is_a_failure(
    error: Exception, cuda: pytest.MonkeyPatch
) -> None:
    end = ends_with(error)
    assert isinstance(end, Result) and end.failure is not None
    assert end.failure.kind == "error"


def test_a_device_that_does_not_answer_is_broken_whatever_the_error_said(
    cuda: pytest.MonkeyPatch,
) -> None:
    cuda.setattr(torch.cuda, "synchronize", raising(BROKEN[1]))
    end = ends_with(ValueError("the loss came out odd"))
    assert isinstance(end, Unusable) and end.why.startswith("ValueError: the loss came out odd")


@pytest.mark.parametrize("way", ["raises", "gives"])
def test_what_a_device_keeps_is_freed_once_the_evaluation_has_let_go_of_it(
    cuda: pytest.MonkeyPatch, way: str
) -> None:
    held: list[weakref.ref[torch.nn.Module]] = []
    left: list[Any] = []
    cuda.setattr(torch.cuda, "empty_cache", lambda: left.extend(model() for model in held))

    def too_large(request: Request, task: Any, worker: str) -> Iterator[Progress | Result]:
        model = torch.nn.Linear(3, 3)
        model.itself = [model]
        held.append(weakref.ref(model))
        yield Progress(request.birth, 1, 10, 1.0)
        if way == "raises":
            raise torch.OutOfMemoryError(NO_DEVICE_MEMORY)
        yield failed(request, "out_of_memory", NO_DEVICE_MEMORY)
        model.zero_grad()

    *_, end = evaluated(too_large, asked("raises"), None, "worker")  # type: ignore[arg-type]
    assert isinstance(end, Result) and end.failure is not None
    assert end.failure.kind == "out_of_memory"
    assert left == [None]


def test_a_device_that_cannot_even_free_memory_is_broken(cuda: pytest.MonkeyPatch) -> None:
    cuda.setattr(torch.cuda, "empty_cache", raising(BROKEN[0]))
    end = ends_with(torch.OutOfMemoryError(NO_DEVICE_MEMORY))
    assert isinstance(end, Unusable) and "illegal memory access" in end.why


def test_an_evaluator_cannot_say_of_itself_that_its_process_is_unusable() -> None:
    def claiming(request: Request, task: Any, worker: str) -> Iterator[Any]:
        yield Unusable("I am tired")

    (end,) = evaluated(claiming, asked("raises"), None, "worker")  # type: ignore[arg-type]
    assert isinstance(end, Result) and end.failure is not None
    assert end.failure.message == "the evaluator gave an object of type Unusable, not a Result."


def test_in_process_a_broken_device_settles_nothing_and_says_to_resume() -> None:
    pool = open_pool(0, None, Limits(), evaluator="misbehaving:evaluator")  # type: ignore[arg-type]
    pool.submit(asked("breaks_the_device", 5))
    with pytest.raises(PoolError, match="so birth 5 was not settled") as info:
        pool.poll(0)
    assert "Resume the run; with --workers 1 or more" in str(info.value)
    assert "It said:\nRuntimeError: CUDA error: an illegal memory access" in str(info.value)
    assert pool.free() == 0, "it still waits"


def test_in_process_too_little_device_memory_is_a_failure_and_the_next_one_runs() -> None:
    pool = open_pool(0, None, Limits(), evaluator="misbehaving:evaluator")  # type: ignore[arg-type]
    kinds = []
    for genome in ("exceeds_the_device", "behaves"):
        pool.submit(asked(genome))
        (result,) = pool.poll(0)
        kinds.append(result.failure and result.failure.kind)
    assert kinds == ["out_of_memory", None]


def test_a_gpu_that_is_out_of_order_is_found_when_a_worker_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", raising(BROKEN[4]))
    with pytest.raises(RuntimeError, match="uncorrectable ECC"):
        actor._check_gpu()
