"""A model that was used before its process forks, as a server does that warms up first, works in the child, too.

A fork copies only the thread that calls it. GNU's OpenMP, with which PyTorch computes on CPUs, does not notice: the
child would wait for the other threads for ever.
"""

import ctypes
import os
from functools import partial

import torch

HARD = 2  # omp_pause_hard: the threads end


def survive_forks() -> None:
    """Let OpenMP end its threads before a fork; parent and child start new ones when they compute.

    An OpenMP without this function, which is part of version 5.0, leaves the child one thread, which waits for nobody.
    """
    end_threads = getattr(ctypes.CDLL(torch._C.__file__), "omp_pause_resource_all", None)  # PyTorch's own OpenMP
    if end_threads:
        os.register_at_fork(before=partial(end_threads, HARD))
    else:
        os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))
