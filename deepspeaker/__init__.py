"""Deep Speaker: speaker embeddings from Kaldi-style data, trained with softmax and triplet loss."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepspeaker.inference.calibrate import calibrate
    from deepspeaker.inference.model import Model, load

__version__ = "0.2.0"
__all__ = ["Model", "calibrate", "load"]

# How long PyTorch's threads on CPUs spin for each other before they sleep; OpenMP reads it when PyTorch is imported.
# GNU's counts, by default to 300,000, about 3 ms. Beside other programs the thread that is waited for often has no
# core, and two threads lose most of their speed; few spins cost little on an idle machine
# (tests/benchmarks/bench_openmp.py). Intel's and LLVM's count ms, by default 200. What the user has set stays.
SPINNING = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
if "OMP_WAIT_POLICY" not in os.environ:
    for _name, _value in SPINNING.items():
        os.environ.setdefault(_name, _value)


def __getattr__(name: str) -> object:
    """Import the Python interface on first use, so that `import deepspeaker` alone does not import torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from deepspeaker.inference import calibrate, model

    return calibrate.calibrate if name == "calibrate" else getattr(model, name)
