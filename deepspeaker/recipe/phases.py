"""The phases of an experiment in order, and the network that each leaves."""

from pathlib import Path

FILES = {  # phase -> its network's file below exp/NAME
    "untrained": "softmax/initial.pt",  # before the first step: random, or the weights given by --init
    "softmax": "softmax/final.pt",
    "triplet": "triplet/final.pt",
}
PHASES = tuple(FILES)
TRAINED = PHASES[1:]  # by train.py
LAST = PHASES[-1]  # its network goes into model.pt


def networks(exp: Path) -> dict[str, Path]:
    """Phase -> its network in an experiment's folder: those that exist or, before there is any, all of them."""
    every = {phase: exp / name for phase, name in FILES.items()}
    return {phase: path for phase, path in every.items() if path.exists()} or every
