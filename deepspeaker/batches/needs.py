"""What the batches of a phase need: of the training set, and of the processes that share them.

Does not import torch: run.sh asks before the first features are made.
"""

from collections.abc import Sequence

from deepspeaker.errors import UserError

MIN_UTTERANCES = {"softmax": 1, "triplet": 2}  # phase -> of each speaker that is drawn; a positive pair has two


def counts_at_speeds(counts: Sequence[int], speeds: int, chance: float) -> list[int]:
    """Utterances of each speaker that can be drawn: of those of the training set, then of the same at each of so many
    other speeds, which are drawn with a probability of `chance` in all. 0 for a speaker that is never drawn."""
    return [count * (chance < 1) for count in counts] + [*counts] * (speeds if chance else 0)


def check_speakers(phase: str, speakers: int, counts: Sequence[int]) -> None:
    """UserError where too few have utterances enough for a batch of `speakers`; counts: utterances of each speaker."""
    fewest = MIN_UTTERANCES[phase]
    enough = sum(count >= fewest for count in counts)
    if speakers > enough:
        raise UserError(f"[{phase}] speakers = {speakers}, but {enough} of the {len(counts)} training speakers have "
                        f"{fewest} or more utterances: lower it, or train on more speakers")


def check_share(phase: str, speakers: int, utterances: int, processes: int) -> None:
    """UserError where processes cannot evenly share a batch of `speakers` x `utterances` windows."""
    if speakers * utterances % processes:
        raise UserError(f"[{phase}]: {processes} processes cannot evenly share a batch of {speakers} x {utterances} "
                        "windows: change speakers or --gpus")
