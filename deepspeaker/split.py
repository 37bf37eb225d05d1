"""Splitting a development set off a training set, by speaker."""

import os
import random
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from deepspeaker.command import UserError
from deepspeaker.corpus import replacing
from deepspeaker.datadir import lines, read_table, spk2utt, write_speakers
from deepspeaker.files import atomic
from deepspeaker.trials import make_trials, write_trials

SHARE = 0.02  # of the speakers, at least, go to the development set ...
FEW, FEW_SHARE = 40, 0.10  # ... or so many, but of a small corpus no more than this share
MIN_UTTERANCES, MAX_UTTERANCES = 4, 20  # of a development speaker
MAX_TRIALS = 20_000  # half of them target
LEFT = 2  # speakers that training needs at least

BY_SPEAKER = ("spk2gender", "cmvn.scp")
BY_RECORDING = ("wav.scp", "reco2dur", "reco2file_and_channel")  # where there are segments; else by utterance
NOT_BY_UTTERANCE = ("frame_shift", "trials")


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
    with replacing(dev) as new:
        copy_utterances(train, new, dev_utt2spk)
        half = MAX_TRIALS // 2
        write_trials(new / "trials", make_trials(dev_utt2spk, targets=half, nontargets=half, seed=seed))
    kept = {utterance: speaker for utterance, speaker in utt2spk.items() if speaker not in chosen}
    with replacing(train) as new:
        copy_utterances(train, new, kept)
    return True


def copy_utterances(source: Path, destination: Path, utt2spk: Mapping[str, str]) -> None:
    """Write to `destination` the tables of `source`, with only the lines that belong to these utterances."""
    segments = source / "segments"
    recordings: Collection[str] = utt2spk
    if segments.exists():
        recordings = {value.split()[0] for utt, value in read_table(segments).items() if utt in utt2spk}
    for table in sorted(path for path in source.iterdir() if path.is_file()):
        if table.name in ("utt2spk", "spk2utt"):
            continue
        keys = (set(utt2spk.values()) if table.name in BY_SPEAKER
                else recordings if table.name in BY_RECORDING else utt2spk)
        if table.name in NOT_BY_UTTERANCE:
            shutil.copyfile(table, destination / table.name)
        else:
            keep_lines(table, destination / table.name, keys)
    write_speakers(destination, utt2spk)


def keep_lines(source: Path, destination: Path, keys: Collection[str]) -> None:
    """Copy the lines whose first field is among `keys`."""
    with atomic(destination) as file:
        file.writelines(f"{line}\n" for _, line in lines(source)
                        if line.strip() and line.split(maxsplit=1)[0] in keys)
