"""The phases of an experiment: which there are, and the network of each."""

from pathlib import Path

TRAINED = {"softmax": 3, "triplet": 4}  # phase -> the stage that trains it
PHASES = ("init", "untrained", *TRAINED)  # in the order of results.tsv; an experiment has one of the first two
ALL = " ".join(TRAINED)


def networks(exp: Path, phases: str, init: str) -> dict[str, Path]:
    """Phase -> its network: the one that training starts from, then the one that each of `phases` leaves in an
    experiment's folder. init: checkpoint to start from, "" for random weights. Where the last one, which goes into
    model.pt, is there without others, as --stage 4 --init leaves it, these are left out."""
    first = {"init": Path(init)} if init else {"untrained": exp / "softmax/initial.pt"}
    every = first | {phase: exp / phase / "final.pt" for phase in phases.split()}
    finished = [*every.values()][-1].exists()
    return {phase: path for phase, path in every.items() if path.exists() or not finished}


def skipped(phases: str) -> dict[int, str]:
    """Stage -> the phase that it would train, for those that are not among `phases`."""
    return {stage: phase for phase, stage in TRAINED.items() if phase not in phases.split()}
