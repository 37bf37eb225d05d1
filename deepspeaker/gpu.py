"""What is special about a GPU: how many can be used, copies that do not wait, full precision, and its failures."""

import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from deepspeaker.errors import UserError, first_line

FAILED = re.compile(r"(CUDA|cuDNN|CUBLAS|cuBLAS|NCCL|HIP)( driver| out of memory)? error|_STATUS_")
FULL = re.compile(r"out of memory|_STATUS_ALLOC_FAILED")
OUR_FAULT = "device-side assert"  # an index out of range: its traceback is needed

T = TypeVar("T")


def usable() -> tuple[int, str]:
    """How many GPUs PyTorch can use, of those that CUDA_VISIBLE_DEVICES shows; and why none, where it says why, as it
    does about a driver that is too old."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return torch.cuda.device_count(), ""
    if torch.version.cuda is None and torch.version.hip is None:
        return 0, "it is built without CUDA"
    return 0, _first_sentence(told[0].message) if told else ""


def upload(value: T, device: torch.device) -> T:
    """A tensor, or a tuple with tensors in it, on `device`. On a GPU the copies are queued on the current stream, from
    pinned memory, and nothing waits for them."""
    moved: Any = value
    if isinstance(value, tuple):
        parts = [upload(part, device) for part in value]
        moved = value._make(parts) if hasattr(value, "_make") else tuple(parts)  # a NamedTuple stays one
    elif isinstance(value, Tensor) and value.device.type != device.type:
        moved = value.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else value.to(device)
    return moved  # type: ignore[no-any-return]


def upload_arrays(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """Arrays of one type on `device`, all by one copy."""
    joined = upload(torch.from_numpy(np.concatenate([array.ravel() for array in arrays])), device)
    parts = joined.split([array.size for array in arrays])
    return [part.view(array.shape) for part, array in zip(parts, arrays, strict=True)]


def in_use(value: object) -> None:
    """Tell PyTorch that the current stream uses a tensor, or those in a tuple, which another stream made: their memory
    is given to nobody else before."""
    if isinstance(value, tuple):
        for part in value:
            in_use(part)
    elif isinstance(value, Tensor) and value.is_cuda:
        value.record_stream(torch.cuda.current_stream())


class Download:
    """A tensor on its way to the CPU. Creating it queues the copy; `read` waits for this copy, not for what was queued
    later."""

    def __init__(self, tensor: Tensor):
        self._copy = tensor.to("cpu", non_blocking=True)  # pinned memory, see the documentation of Tensor.to
        self._arrived: torch.cuda.Event | None = None
        if tensor.is_cuda:
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def read(self) -> Tensor:
        if self._arrived:
            self._arrived.synchronize()
        return self._copy


class _Precision:
    """The process's setting for cuDNN, which several threads may want to change at once."""

    def __init__(self) -> None:
        self._lock, self._users, self._before = threading.Lock(), 0, True

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                torch.backends.cudnn.allow_tf32 = self._before


# A context in which convolutions and recurrent layers are computed in full float32: by default cuDNN rounds their
# inputs to TF32's 11 bits.
full_float32 = _Precision()


@contextmanager
def explained(cure: str, kept: str) -> Iterator[None]:
    """Turn failures of a GPU into a UserError of one sentence. cure: what to do when its memory is used up; kept: what
    is not lost."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if isinstance(error, torch.OutOfMemoryError) or FAILED.search(text) and FULL.search(text):
            wanted = re.search(r"Tried to allocate ([\d.]+ \w+)", text)
            raise UserError(f"the GPU's memory is used up{f', {wanted[1]} more were needed' if wanted else ''}: "
                            f"{cure}, or end other programs on this GPU; {kept}") from error
        if not FAILED.search(text) or OUR_FAULT in text:
            raise
        raise UserError(f"the GPU failed ({_first_sentence(error)}): see what nvidia-smi and the system's log say of "
                        f"it, then run again; {kept}") from error


def _first_sentence(error: object) -> str:
    return first_line(error).split(". ", 1)[0].rstrip(".")
