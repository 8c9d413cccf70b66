"""What an error says about the accelerator: too little memory, or out of order.

Torch is looked up, never imported: not everything that evaluates has use for it.
"""

from __future__ import annotations

import gc
import re
import sys
from typing import Any

NO_MEMORY = re.compile(
    "can't allocate memory|not enough memory|(CUDA|HIP) error: out of memory|_STATUS_ALLOC_FAILED"
)
"""Of torch's errors about memory, those that have no class of their own."""

BROKEN = re.compile(
    "illegal memory access|misaligned address|illegal instruction|invalid program counter|"
    "device-side assert triggered|hardware stack error|unspecified launch failure|launch timed out|"
    "uncorrectable (ECC|NVLink) error|_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR|MAPPING_ERROR)"
)
"""After these CUDA, cuDNN or cuBLAS may refuse everything else that the process asks for."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory of the machine or of its device did not suffice."""
    torch = sys.modules.get("torch")
    kinds = MemoryError if torch is None else MemoryError | torch.OutOfMemoryError
    if isinstance(error, kinds):
        return True
    return isinstance(error, RuntimeError) and NO_MEMORY.search(str(error)) is not None


def breaks_the_device(error: BaseException) -> bool:
    """Whether this process can compute on its device no more, after an error.

    Whose fault that is, the error does not say: kernels run late, so that one evaluation may be
    told of what another one did, and failing hardware sounds like a wrong index.
    """
    if isinstance(error, RuntimeError) and BROKEN.search(str(error)):
        return True
    cuda = _cuda_in_use()
    if cuda is None:
        return False
    try:
        # Whatever the error was, a broken context repeats its own at each call.
        cuda.synchronize()
    except RuntimeError:
        return True
    return False


def free_device_memory() -> None:
    """Give back what torch keeps of the device's memory for later use."""
    cuda = _cuda_in_use()
    if cuda is not None:
        gc.collect()  # tracebacks are cycles, and hold tensors
        cuda.empty_cache()


def _cuda_in_use() -> Any:
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None
