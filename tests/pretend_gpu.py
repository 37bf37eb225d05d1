"""A GPU that is not there: tensors that say they are on cuda while their data is on the CPU, and what is asked of it.

    with pretend_gpu(free=1 << 40) as gpu:  # bytes of its memory that are free
        ...                                 # work on torch.device("cuda")
    print(gpu.steps[3].waits, gpu.drawing.kernels)

A kernel is an operation that launches at least one. A wait is a place where the host stops until the GPU has caught up.
"""

import sys
import threading
from collections import Counter
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

CUDA, PACKAGE = torch.device("cuda", 0), f"{Path(__file__).resolve().parents[1]}/deepspeaker/"
NO_KERNEL = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "lift_fresh",
             "_local_scalar_dense"}  # nor has an operation whose result is a view
WAITING = {"nonzero", "bincount", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "equal",
           "_local_scalar_dense"}  # the host must know sizes or values
CUDNN = ("benchmark", "deterministic", "allow_tf32")


@dataclass
class Work:
    """What was asked of the GPU, with how often."""

    kernels: Counter = field(default_factory=Counter)  # name of the operation
    waits: Counter = field(default_factory=Counter)  # "FILE:LINE in FUNCTION: why", of deepspeaker/


class PretendGPU:
    """steps: work of the thread that made this, divided by step(); drawing: work of all other threads; mixtures:
    operations on tensors of both devices, which a GPU refuses or waits for."""

    def __init__(self):
        self.steps, self.drawing, self.mixtures = [Work()], Work(), Counter()
        self._thread, self._pinned = threading.get_ident(), {}

    waits = property(lambda self: sum((step.waits for step in self.steps), Counter()))
    kernels = property(lambda self: sum((step.kernels for step in self.steps), Counter()))

    def step(self):
        """Begin a step. An event that was recorded in an earlier one is over: nobody waits for it."""
        self.steps.append(Work())

    def work(self) -> Work:
        return self.steps[-1] if threading.get_ident() == self._thread else self.drawing

    def wait(self, why: str):
        self.work().waits[f"{_place()}: {why}"] += 1

    def pin(self, tensor: Tensor) -> Tensor:
        """A pinned copy. It is kept, so that no other tensor gets its place in memory."""
        pinned = tensor.clone()
        return self._pinned.setdefault(pinned.untyped_storage().data_ptr(), pinned)

    def is_pinned(self, tensor: Tensor) -> bool:
        return not isinstance(tensor, OnGPU) and tensor.untyped_storage().data_ptr() in self._pinned

    def copied(self, way: str, host: Tensor, non_blocking: bool):
        self.work().kernels["copy"] += 1
        if not (non_blocking and self.is_pinned(host)):
            self.wait(f"copy {way} {'pinned' if self.is_pinned(host) else 'pageable'} memory")

    def run(self, func, args, kwargs):
        """Do an operation on the CPU; record it if it is the GPU's."""
        name, device, pinned = func._schema.name.split("::")[1], kwargs.get("device"), kwargs.get("pin_memory")
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        host = [x for x in tensors if not isinstance(x, OnGPU)]
        ours, new = len(host) < len(tensors), device is not None and torch.device(device).type == "cuda"
        download = ours and name == "copy_" and args[0] is host[0] if host else False
        if ours and host and name == "copy_":
            self.copied("to" if download else "from", host[0], args[2:] == (True,) or kwargs.get("non_blocking", False))
        elif ours or new:
            self._record(func, name, args, kwargs, host)
        kwargs_here = kwargs | ({"device": "cpu"} if new else {}) | ({"pin_memory": False} if pinned else {})
        result = func(*tree_map_only(OnGPU, _data, args), **tree_map_only(OnGPU, _data, kwargs_here))
        if pinned or download or not (ours or new):
            return self.pin(result) if pinned else result
        wrapped = tree_map_only(Tensor, partial(OnGPU, gpu=self), result)
        return return_and_correct_aliasing(func, args, kwargs, wrapped) if ours else wrapped

    def _record(self, func, name, args, kwargs, host):
        if not func.is_view and name not in NO_KERNEL:
            self.work().kernels[name] += 1
        masked = "index" in name and any(x.dtype == torch.bool for x in tree_leaves(args[1]) if isinstance(x, Tensor))
        if name in WAITING or masked or name == "repeat_interleave" and kwargs.get("output_size") is None:
            self.wait(name.replace("_local_scalar_dense", "item"))
        if any(x.dim() for x in host):
            self.mixtures[f"{_place()}: {name}"] += 1


def _place() -> str:
    """Where in deepspeaker/ the caller is."""
    frame = sys._getframe(1)
    while frame and not frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    if frame is None:
        return "elsewhere"
    return f"{frame.f_code.co_filename.removeprefix(PACKAGE)}:{frame.f_lineno} in {frame.f_code.co_name}"


def _data(tensor: "OnGPU") -> Tensor:
    return tensor.data_here


class OnGPU(Tensor):
    """A tensor that says it is on CUDA. To PyTorch it is one of the CPU: backward runs in the thread that calls it."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    device, is_cuda, is_cpu = (property(lambda self, value=value: value) for value in (CUDA, True, False))

    @staticmethod
    def __new__(cls, data: Tensor, gpu: PretendGPU):
        tensor = Tensor._make_wrapper_subclass(cls, data.size(), strides=data.stride(), dtype=data.dtype,
                                               storage_offset=data.storage_offset())
        tensor.data_here, tensor.gpu = data, gpu
        return tensor

    def __init__(self, data: Tensor, gpu: PretendGPU):
        pass

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        gpu = next(x.gpu for x in tree_leaves((args, kwargs)) if isinstance(x, OnGPU))
        return gpu.run(func, args, kwargs or {})

    def __tensor_flatten__(self):
        return ["data_here"], self.gpu

    @staticmethod
    def __tensor_unflatten__(inner, gpu, size, stride):
        return OnGPU(inner["data_here"], gpu)

    def __repr__(self, **_):
        return f"OnGPU(shape={tuple(self.shape)})"

    def __reduce_ex__(self, protocol):  # torch.save
        return self.cpu().__reduce_ex__(protocol)

    def cpu(self):
        return self.to("cpu")

    def tolist(self):
        return self.cpu().tolist()

    def numpy(self, **_):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def record_stream(self, stream):
        pass


class Everywhere(TorchDispatchMode):
    """Shows a GPU all operations of a thread, also those that make tensors from nothing."""

    def __init__(self, gpu: PretendGPU):
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return self.gpu.run(func, args, kwargs or {})


class Event:
    def __init__(self, gpu: PretendGPU, **_):
        self._gpu, self._step = gpu, 0

    def record(self, stream=None):
        self._step = len(self._gpu.steps)

    def query(self):
        return self._step < len(self._gpu.steps)

    def synchronize(self):
        if not self.query():
            self._gpu.wait("event")

    def wait(self, stream=None):
        pass


class Stream:
    device = CUDA

    def __init__(self, gpu: PretendGPU, device=None, **_):
        self._gpu = gpu

    def synchronize(self):
        self._gpu.wait("stream")

    def record_event(self, event=None):
        event = event or Event(self._gpu)
        event.record()
        return event

    def wait_event(self, event):
        pass

    def wait_stream(self, stream):
        pass


def _to(gpu: PretendGPU):
    """Tensor.to between the devices; gradients do not pass."""
    real = Tensor.to

    def to(self, *args, **kwargs):
        if args and isinstance(args[0], Tensor):
            args = (args[0].device, args[0].dtype, *args[1:])
        device, dtype, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)
        moved = self
        if device is not None and (device.type == "cuda") != isinstance(self, OnGPU):
            host = self if device.type == "cuda" else gpu.pin(_data(self)) if non_blocking else _data(self).clone()
            gpu.copied("from" if host is self else "to", host, non_blocking)
            moved = OnGPU(self.detach().clone(), gpu) if host is self else host
        return real(moved, dtype) if dtype else moved

    return to


def _changes(gpu: PretendGPU, free: int) -> list:
    """Of PyTorch, as context managers."""
    autocast, enabled, run_thread = torch.autocast, torch.is_autocast_enabled, threading.Thread.run
    tensor, generator = torch.tensor, torch.Generator
    group, kinds = torch._C._group_tensors_by_device_and_dtype, [Tensor, torch.nn.Parameter, OnGPU]
    default = Stream(gpu)

    class Generator(torch.Generator):
        def __new__(cls, device=None):
            return generator()

    def run(thread):
        with Everywhere(gpu):
            run_thread(thread)

    return [
        patch.multiple(
            torch.cuda, _lazy_init=lambda: None, mem_get_info=lambda device=None: (free, free), stream=nullcontext,
            Stream=partial(Stream, gpu), current_stream=lambda device=None: default,
            default_stream=lambda device=None: default, Event=partial(Event, gpu),
            synchronize=lambda device=None: gpu.wait("synchronize"), set_device=lambda device: None),
        patch.multiple(Tensor, to=_to(gpu), pin_memory=lambda tensor: gpu.pin(tensor),
                       is_pinned=lambda tensor: gpu.is_pinned(tensor)),
        patch.multiple(
            torch, Generator=Generator, autocast=lambda device, *args, **kwargs: autocast("cpu", *args, **kwargs),
            is_autocast_enabled=lambda device: enabled("cpu"),
            tensor=lambda *args, device=None, **kwargs: tensor(*args, **kwargs).to(device or "cpu")),
        patch("torch.optim.optimizer._foreach_supported_types", kinds),
        patch("torch.utils._foreach_utils._foreach_supported_types", kinds),
        patch.object(torch._C, "_group_tensors_by_device_and_dtype", lambda lists, *args: {
            (lists[0][0].device, kind): found for (_, kind), found in group(lists, *args).items()}),
        patch.object(threading.Thread, "run", run),
        Everywhere(gpu)]


@contextmanager
def pretend_gpu(free: int):
    """A PretendGPU with `free` bytes of free memory; PyTorch is as before when the context ends."""
    gpu = PretendGPU()
    with ExitStack() as stack:
        for name in CUDNN:
            stack.callback(setattr, torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
        for change in _changes(gpu, free):
            stack.enter_context(change)
        yield gpu
