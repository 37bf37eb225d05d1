"""The pretended GPU: each kind of wait is seen, and nothing else is; results are those of the CPU."""

import threading
from functools import partial

import pytest
import torch
from pretend_gpu import CUDA, OnGPU, pretend_gpu
from torch import nn

FLAGS = torch.tensor([True, False, True])
WAITS = {  # what a wait is for -> what waits, given three numbers on the GPU
    "copy from pageable memory": lambda x: FLAGS.to("cuda", non_blocking=True),
    "copy from pinned memory": lambda x: FLAGS.pin_memory().to("cuda"),
    "copy to pageable memory": lambda x: x.cpu().numpy(),
    "item": lambda x: float(x[1]),
    "nonzero": lambda x: (x > 1).nonzero(),
    "bincount": lambda x: x.long().bincount(),
    "masked_select": lambda x: x.masked_select(x > 1),
    "_unique2": lambda x: x.unique(),
    "index": lambda x: x[x > 1],
    "index_put_": lambda x: x.__setitem__(x > 1, 0.0),
    "repeat_interleave": lambda x: x.repeat_interleave(x.long()),
    "event": lambda x: torch.cuda.current_stream().record_event().synchronize(),
    "stream": lambda x: torch.cuda.Stream(x.device).synchronize(),
    "synchronize": lambda x: torch.cuda.synchronize(),
}


@pytest.mark.parametrize("why", WAITS)
def test_a_wait_is_seen(why):
    with pretend_gpu(free=0) as gpu:
        x = torch.arange(3.0, device="cuda")
        WAITS[why](x)
    assert dict(gpu.waits) == {f"elsewhere: {why}": 1}


def test_what_does_not_wait():
    with pretend_gpu(free=5) as gpu:
        x = torch.arange(6.0).pin_memory()[2:].to("cuda", non_blocking=True)
        y = (2 * x).to("cpu", non_blocking=True)
        torch.empty(4, pin_memory=True).copy_(x, non_blocking=True)
        x[torch.arange(2, device=x.device)] = x.repeat_interleave(x.long(), output_size=14)[:2]
        torch.rand(4, generator=torch.Generator(x.device).manual_seed(1), device=x.device)
        event = torch.cuda.Event()
        event.record()
        gpu.step()
        event.synchronize()
        assert torch.cuda.mem_get_info(CUDA) == (5, 5) and y.is_pinned()
    assert gpu.waits == {} and y.tolist() == [4, 6, 8, 10]
    assert gpu.kernels == {"copy": 3, "mul": 1, "arange": 1, "_to_copy": 1, "repeat_interleave": 1, "index_select": 1,
                           "index_put_": 1, "rand": 1}
    assert gpu.steps[1].kernels == {}


def test_other_threads_are_recorded_apart():
    def draw():
        torch.zeros(3, device="cuda").tolist()

    with pretend_gpu(free=0) as gpu:
        thread = threading.Thread(target=draw)
        thread.start()
        thread.join()
    assert gpu.kernels == gpu.waits == {}
    assert gpu.drawing.kernels == {"zeros": 1, "copy": 1} and gpu.drawing.waits.total() == 1


def test_a_mixture_of_devices_is_seen():
    with pretend_gpu(free=0) as gpu:
        torch.zeros(3, device="cuda") * torch.ones(3)
        torch.zeros(3, device="cuda") * torch.tensor(2.0)  # one number may be anywhere
    assert gpu.mixtures == {"elsewhere: mul": 1}


def train(device, optimizer):
    """A step's loss, and the parameters after it."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6), nn.Linear(5, 3)).to(device)
    steps = optimizer(network.parameters())
    loss = network(torch.randn(8, 4, 7).to(device)).square().sum()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 0.1)
    steps.step()
    return loss, list(network.parameters())


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize("fused", [None, True])
def test_a_step_is_that_of_the_cpu(kind, fused):
    optimizer = partial(kind, lr=0.1, fused=fused)
    loss, parameters = train("cpu", optimizer)
    with pretend_gpu(free=0) as gpu:
        there, moved = train("cuda", optimizer)
        assert gpu.mixtures == {} and set(map(_why, gpu.waits)) == {"copy from pageable memory"}
        assert any(name.startswith("_fused" if fused else "_foreach_add") for name in gpu.kernels)
        assert all(isinstance(x, OnGPU) and isinstance(x, nn.Parameter) and x.device == CUDA for x in moved)
        torch.testing.assert_close(there.cpu(), loss)
        for a, b in zip(moved, parameters, strict=True):
            torch.testing.assert_close(a.detach().cpu(), b.detach())


def _why(wait):
    return wait.rpartition(": ")[2]


def test_it_leaves_nothing_behind():
    before = torch.Tensor.to, torch.autocast, torch.Generator, torch.cuda.Event, threading.Thread.run
    with pretend_gpu(free=0):
        torch.backends.cudnn.allow_tf32 = not (allowed := torch.backends.cudnn.allow_tf32)
    assert before == (torch.Tensor.to, torch.autocast, torch.Generator, torch.cuda.Event, threading.Thread.run)
    assert torch.backends.cudnn.allow_tf32 == allowed
    with pytest.raises((RuntimeError, AssertionError)):
        torch.zeros(1, device="cuda")
