"""Splitting a development set or a test set off a training set, by speaker."""

import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from deepspeaker.atomic import replacing
from deepspeaker.corpus import speaker_id
from deepspeaker.datadir import BLANKS, lines, read_table, spk2utt
from deepspeaker.datadir.split import parts_of
from deepspeaker.datadir.tables import write_files
from deepspeaker.datadir.trials import Trial, make_trials, write_trials
from deepspeaker.errors import UserError

SHARE = 0.02  # of the speakers, at least, go to the development set ...
FEW, FEW_SHARE = 40, 0.10  # ... or FEW, but at most FEW_SHARE of a small corpus
MIN_UTTERANCES, MAX_UTTERANCES = 4, 20  # of a development speaker
MAX_TRIALS = 20_000  # half of them target
LEFT = 2  # speakers that training needs at least

TEST_SHARE, FEWEST_TEST, MOST_TEST = 0.10, 5, 40  # speakers of the test set of a corpus that has none
MOST_TARGETS = 20_000  # of the trials made for a test set, and as many nontargets: about what VoxCeleb1-O has


def dev_size(speakers: int) -> int:
    """Number of development speakers of a corpus with `speakers`; at least two, for nontarget trials."""
    return max(2, round(max(SHARE * speakers, min(FEW, FEW_SHARE * speakers))))


def choose_dev(speakers: Mapping[str, Sequence[str]], seed: int,
               name: str | os.PathLike[str]) -> dict[str, list[str]]:
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


def split_dev(data: str | os.PathLike[str], seed: int = 0) -> bool:
    """Split DATA/dev off DATA/train. Returns False, changing nothing, if there is a DATA/dev that shares no speaker.

    The trials are of any gender: a small set would otherwise leave speakers without nontargets.
    """
    train, dev = Path(data) / "train", Path(data) / "dev"
    utt2spk = read_table(train / "utt2spk")
    if (dev / "utt2spk").exists() and not {*read_table(dev / "utt2spk").values()} & {*utt2spk.values()}:
        return False
    chosen = choose_dev(spk2utt(utt2spk), seed, train)
    own = utt2spk_of(chosen)
    trials = make_trials(own, targets=MAX_TRIALS // 2, nontargets=MAX_TRIALS // 2, seed=seed)
    split_off(train, utt2spk, dev, chosen, trials)
    return True


def split_off(train: Path, utt2spk: Mapping[str, str], new_set: Path, chosen: Mapping[str, Sequence[str]],
              trials: Sequence[Trial]) -> None:
    """Make `new_set` of the chosen speakers' chosen utterances, with trials, and `train` what other speakers say."""
    kept = {utterance: speaker for utterance, speaker in utt2spk.items() if speaker not in chosen}
    new_files, train_files = parts_of(train, [utt2spk_lines(utt2spk_of(chosen)), utt2spk_lines(kept)])
    with replacing(new_set) as new:
        write_files(new, new_files)
        write_trials(new / "trials", trials)
    with replacing(train) as new:
        write_files(new, train_files)


def utt2spk_of(speakers: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {utterance: speaker for speaker, utts in speakers.items() for utterance in utts}


def utt2spk_lines(utt2spk: Mapping[str, str]) -> list[bytes]:
    return [f"{utterance} {utt2spk[utterance]}".encode() for utterance in sorted(utt2spk)]


def complete(data: Path, seed: int, test_speakers: Path | None = None) -> None:
    """Give the data directories of a corpus what it came without: a test set split off `train`, and trials.

    data: a folder with train and test* (and dev). test_speakers: a file that names who goes to the test set;
    otherwise they are drawn. Raises UserError where a corpus with a test set is given such a file.
    """
    tests = sorted(path for path in data.glob("test*") if path.is_dir())
    if tests and test_speakers:
        raise UserError(f"--test-speakers {test_speakers}: the corpus has a test set of its own "
                        f"({', '.join(path.name for path in tests)}); leave the option out")
    if not tests:
        split_test(data, seed, test_speakers)
    for directory in [*tests, *filter(Path.is_dir, [data / "dev"])]:
        if not any(directory.glob("trials*")):
            trials = trials_for(directory, read_table(directory / "utt2spk"), seed)
            write_trials(directory / "trials", trials)


def split_test(data: Path, seed: int, test_speakers: Path | None) -> None:
    """Split DATA/test, with trials, off DATA/train: the speakers of a file, or speakers drawn at random."""
    train = data / "train"
    utt2spk = read_table(train / "utt2spk")
    speakers = spk2utt(utt2spk)
    names = read_speakers(test_speakers, speakers) if test_speakers else choose_test(speakers, seed)
    if len(speakers) < len(names) + LEFT:
        raise UserError(f"{test_speakers}: takes {len(names)} of the {len(speakers)} speakers for the test set; "
                        f"training needs {LEFT} others")
    chosen = {name: speakers[name] for name in names}
    split_off(train, utt2spk, data / "test", chosen, trials_for(train, utt2spk_of(chosen), seed))


def choose_test(speakers: Mapping[str, Sequence[str]], seed: int) -> list[str]:
    """Test speakers, drawn at random from those with two utterances or more; UserError with too few speakers."""
    size = min(MOST_TEST, max(FEWEST_TEST, round(TEST_SHARE * len(speakers))))
    eligible = sorted(speaker for speaker, utts in speakers.items() if len(utts) > 1)
    if len(eligible) < size or len(speakers) < size + LEFT:
        raise UserError(f"{len(eligible)} of {len(speakers)} speakers have at least 2 utterances; the test set "
                        f"takes {size} of them, and training {LEFT} others: give more speakers, or name those of "
                        "the test set with --test-speakers")
    return random.Random(seed).sample(eligible, size)


def read_speakers(path: Path, speakers: Mapping[str, object]) -> list[str]:
    """The speakers that a file names, one per line, by their ids or by their names in the corpus."""
    names = {}
    for number, line in lines(path):
        name = line.strip(BLANKS)
        found = name if name in speakers else speaker_id(name)
        if name and found not in speakers:
            raise UserError(f"{path}:{number}: no speaker {name} in the corpus; it has {len(speakers)}, such as "
                            f"{min(speakers)}")
        if name:
            names[found] = number
    if not names:
        raise UserError(f"{path}: names no speaker; expected one per line")
    return list(names)


def trials_for(directory: Path, utt2spk: Mapping[str, str], seed: int) -> list[Trial]:
    """Trials of these utterances, nontargets of one gender where the directory has a file spk2gender."""
    genders = directory / "spk2gender"
    spk2gender = read_table(genders) if genders.exists() else None
    return make_trials(utt2spk, spk2gender, MOST_TARGETS, None, seed)
