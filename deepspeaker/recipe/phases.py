"""The phases of an experiment, in their order, and the network that each leaves."""

from pathlib import Path

NETWORKS = {  # phase -> file below exp/NAME
    "untrained": "softmax/initial.pt",  # before the first step: with --init, what it starts from
    "softmax": "softmax/final.pt",
    "triplet": "triplet/final.pt",
}
PHASES = tuple(NETWORKS)
LAST = PHASES[-1]  # the one that becomes model.pt


def networks(exp: Path) -> dict[str, Path]:
    """Phase -> its network in an experiment's folder: those that exist, or all before there is any."""
    every = {phase: exp / name for phase, name in NETWORKS.items()}
    return {phase: path for phase, path in every.items() if path.exists()} or every
