"""Splitting a development set off a training set, by speaker."""

import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from deepspeaker.command import UserError
from deepspeaker.corpus import replacing
from deepspeaker.datadir import read_table, spk2utt
from deepspeaker.datadir.split import parts_of
from deepspeaker.datadir.tables import write_files
from deepspeaker.trials import make_trials, write_trials

SHARE = 0.02  # of the speakers, at least, go to the development set ...
FEW, FEW_SHARE = 40, 0.10  # ... or so many, but of a small corpus no more than this share
MIN_UTTERANCES, MAX_UTTERANCES = 4, 20  # of a development speaker
MAX_TRIALS = 20_000  # half of them target
LEFT = 2  # speakers that training needs at least


def dev_size(speakers: int) -> int:
    """How many of so many speakers go to the development set; two at least, for nontarget trials."""
    return max(2, round(max(SHARE * speakers, min(FEW, FEW_SHARE * speakers))))


def choose_dev(speakers: Mapping[str, Sequence[str]], seed: int,
               name: str | os.PathLike) -> dict[str, list[str]]:
    """Development speaker -> its utterances, drawn at random. Raises UserError with too few speakers."""
    rng = random.Random(seed)
    size = dev_size(len(speakers))
    eligible = sorted(speaker for speaker, utts in speakers.items() if len(utts) >= MIN_UTTERANCES)
    if len(eligible) < size or len(speakers) < size + LEFT:
        raise UserError(
            f"{name}: {len(eligible)} of {len(speakers)} speakers have at least {MIN_UTTERANCES} utterances; "
            f"the development set needs {size} such speakers, and training {LEFT} others: give more speakers "
            "or more utterances of each, or make the development directory, with trials, yourself")
    return {speaker: sorted(rng.sample(speakers[speaker], min(MAX_UTTERANCES, len(speakers[speaker]))))
            for speaker in rng.sample(eligible, size)}


def split_dev(data: str | os.PathLike, seed: int = 0) -> bool:
    """Split DATA/dev off DATA/train; False, doing nothing, if the two share no speaker already.

    The trials are of any gender: a small set would otherwise leave speakers without nontargets.
    """
    train, dev = Path(data) / "train", Path(data) / "dev"
    utt2spk = read_table(train / "utt2spk")
    if (dev / "utt2spk").exists() and not {*read_table(dev / "utt2spk").values()} & {*utt2spk.values()}:
        return False
    chosen = choose_dev(spk2utt(utt2spk), seed, train)
    dev_utt2spk = {utterance: speaker for speaker, utts in chosen.items() for utterance in utts}
    kept = {utterance: speaker for utterance, speaker in utt2spk.items() if speaker not in chosen}
    trials = make_trials(dev_utt2spk, targets=MAX_TRIALS // 2, nontargets=MAX_TRIALS // 2, seed=seed)
    dev_files, train_files = parts_of(train, [utt2spk_lines(dev_utt2spk), utt2spk_lines(kept)])
    with replacing(dev) as new:
        write_files(new, dev_files)
        write_trials(new / "trials", trials)
    with replacing(train) as new:
        write_files(new, train_files)
    return True


def utt2spk_lines(utt2spk: Mapping[str, str]) -> list[bytes]:
    return [f"{utterance} {utt2spk[utterance]}".encode() for utterance in sorted(utt2spk)]
