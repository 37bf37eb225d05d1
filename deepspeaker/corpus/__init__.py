"""Stage 1: a corpus -> data directories.

In this file: common parts of the corpus programs of local/: finding audio, naming utterances, writing directories.

holdout.py           development and test speakers split off a training set, and their trials
synthesis.py         speech-like sound of local/synthetic.py
augmented_copies.py  copies of a data directory with other sound: noise, music, babble, rooms, speed
sounds.py            folders of sounds for these and for training: made, or from MUSAN and RIRS_NOISES
check.py             whether data can be used: utils/check_data.py
check_audio.py       its checks of sound files
check_lists.py       its checks of lists and trials
check_findings.py    the faults it can find, with advice; its report
"""

import argparse
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deepspeaker.atomic import atomic, replacing
from deepspeaker.audio import EXTENSIONS
from deepspeaker.datadir import lines, read_table, write_speakers, write_table
from deepspeaker.datadir.trials import Trial, write_trials
from deepspeaker.errors import UserError, examples

MADE = ".corpus"  # in DATA: the directories that the last corpus program made there

HELD_OUT = "some of these speakers go to the test set"


def corpus_parser(description: str | None) -> argparse.ArgumentParser:
    """The command line of a program for a corpus that may come without a test set or trials."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0,
                        help="seed of the test speakers and trials, drawn if the corpus has none (default %(default)s)")
    parser.add_argument("--test-speakers", type=Path, metavar="FILE",
                        help="test speakers, one per line, for a corpus without a test set (default: drawn at random)")
    parser.add_argument("root", type=Path, metavar="ROOT")
    parser.add_argument("data", type=Path, metavar="DATA")
    return parser


def require_root(root: Path, expected: str) -> Path:
    """The corpus folder's absolute path; UserError unless it is there."""
    if not root.is_dir():
        raise UserError(f"no such folder {root}; expected the one that holds {expected}")
    return root.absolute()


def say_expected(corpus: str, train: Iterable[tuple[int, int]], test: str = "") -> None:
    """Print a line with the counts to expect: (speakers, utterances) of each training part, and what is tested on."""
    speakers, utterances = (sum(counts) for counts in zip(*train, strict=True))
    print(f"   Expect of {corpus}: {speakers:,} speakers with {utterances:,} utterances to train on"
          f"{'; ' if test else ''}{test}.")


def subfolders(folder: Path) -> dict[str, Path]:
    """Name -> folder, sorted; links are followed and hidden ones passed over."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    return {name: folder / name for name in names}


def audio_files(folder: str | os.PathLike[str], others: Counter[str] | None = None,
                above: tuple[tuple[int, int], ...] = ()) -> Iterator[str]:
    """Paths of the audio files anywhere below a folder, sorted; hidden ones are passed over.

    No file is opened: EXTENSIONS decide, and files of other endings are counted in `others`. Links are followed, except
    to a folder that leads here (`above`).
    """
    status = os.stat(folder)
    here = status.st_dev, status.st_ino
    if here in above:
        return
    with os.scandir(folder) as entries:
        visible = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in visible:
        if entry.is_dir():
            yield from audio_files(entry.path, others, (*above, here))
        elif is_audio(entry.name):
            yield entry.path
        elif others is not None:
            others[os.path.splitext(entry.name)[1].lower() or entry.name] += 1


def is_audio(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def preferred(path: str, other: str) -> bool:
    """Whether a path's kind of audio comes before another's."""
    rank = [EXTENSIONS.index(os.path.splitext(name)[1].lower()) for name in (path, other)]
    return rank[0] < rank[1]


def speaker_id(name: str) -> str:
    """A speaker's name as an id: blanks, control characters and what sorts below `.` become `_`.

    Utterance ids are SPEAKER-...: they sort in the order of the speakers only if every character of a speaker's id
    sorts after that `-`.
    """
    return "".join(char if char > "-" and char.isprintable() and char != "/" else "_" for char in name)


def utterance_id(speaker: str, name: str) -> str:
    """SPEAKER-NAME, of a path within the speaker's folder without its extension: `/` becomes `-`, blanks `_`."""
    return f"{speaker}-" + "".join(
        "-" if char == "/" else char if char > " " and char.isprintable() else "_" for char in name)


def file_entry(path: str) -> str:
    """A file's entry in wav.scp. Raises UserError for a path that cannot stand on a line of text."""
    if "\n" in path or "\r" in path:
        raise UserError(f"{path!r}: a line break in its name; rename it")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UserError(f"{os.fsencode(path)!r}: its name is not UTF-8; rename it") from None
    return path


@dataclass
class DataSet:
    """A data directory to be written: utterance -> wav.scp entry, utterance -> speaker, genders, trials, enrolment."""

    wav: dict[str, str] = field(default_factory=dict)
    utt2spk: dict[str, str] = field(default_factory=dict)
    spk2gender: dict[str, str] = field(default_factory=dict)
    trials: dict[str, list[Trial]] = field(default_factory=dict)  # by file name: trials, trials_E, ...
    enroll: dict[str, list[str]] = field(default_factory=dict)  # model -> utterances

    def add(self, utterance: str, speaker: str, path: str) -> None:
        """Add an audio file; of two formats of one file the preferred stays. UserError for two files with one id."""
        if len(f"{utterance} {speaker}".split()) != 2:
            raise UserError(f"{path}: a blank in its name or its speaker's; rename it")
        other = self.wav.get(utterance)
        if other is not None and os.path.splitext(other)[0] != os.path.splitext(path)[0]:
            raise UserError(f"{other} and {path} would both be utterance {utterance}; rename one")
        if other is None or preferred(path, other):
            self.wav[utterance] = path
            self.utt2spk[utterance] = speaker


def refuse_missing(path: Path, what: str, missing: Sequence[str], named: Collection[str], folder: Path) -> None:
    """UserError if files (or models) that a list names are missing."""
    if missing:
        raise UserError(f"{path}: {len(missing)} of the {len(named)} {what} it names are not under {folder}: "
                        f"{examples(missing)}; complete the corpus or take these lines out of the list")


@contextmanager
def preparing(data: str | os.PathLike[str]) -> Iterator[Path]:
    """An empty folder whose directories replace DATA's when the block ends well; prints a line of counts for each.

    When the block raises, DATA stays as it was. Directories of an earlier run that this one does not make are
    removed, and so is data/dev, which was split off the old data/train: a stale test set may hold speakers that are now
    trained on. A link is the user's own and stays.
    """
    data = Path(data)
    new = data / ".new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        names = sorted(path.name for path in new.iterdir())
        earlier = [name for _, name in lines(data / MADE)] if (data / MADE).exists() else []
        for name in {*earlier, "dev"} - set(names):
            if not (data / name).is_symlink():
                shutil.rmtree(data / name, ignore_errors=True)
        with atomic(data / MADE) as file:
            file.writelines(f"{name}\n" for name in names)
        for name in names:
            with replacing(data / name) as directory:
                directory.rmdir()
                (new / name).rename(directory)
            print(f"{data / name}: {counts(data / name)}")
    finally:
        shutil.rmtree(new, ignore_errors=True)


def counts(directory: Path) -> str:
    """How many speakers, utterances and trials a data directory has."""
    utt2spk = read_table(directory / "utt2spk")
    found = [f"{len(set(utt2spk.values()))} speakers", f"{len(utt2spk)} utterances"]
    found += [f"{sum(1 for _ in lines(path))} {path.name}" for path in sorted(directory.glob("trials*"))]
    return ", ".join(found)


def write_corpus(data: str | os.PathLike[str], sets: Mapping[str, DataSet]) -> None:
    """Write each set to DATA/NAME, all or none."""
    with preparing(data) as new:
        write_sets(new, sets)


def write_sets(folder: Path, sets: Mapping[str, DataSet]) -> None:
    for name, dataset in sets.items():
        (folder / name).mkdir()
        write_set(folder / name, dataset)


def write_set(directory: Path, dataset: DataSet) -> None:
    """Write wav.scp, utt2spk, spk2utt and, where known, spk2gender, enroll and trial lists."""
    write_table(directory / "wav.scp", {utterance: file_entry(path) for utterance, path in dataset.wav.items()})
    write_speakers(directory, dataset.utt2spk)
    speakers = set(dataset.utt2spk.values())
    genders = {speaker: gender for speaker, gender in dataset.spk2gender.items() if speaker in speakers}
    if genders:
        write_table(directory / "spk2gender", genders)
    if dataset.enroll:
        write_table(directory / "enroll", {model: " ".join(utts) for model, utts in dataset.enroll.items()})
    for name, trials in dataset.trials.items():
        write_trials(directory / name, trials)
