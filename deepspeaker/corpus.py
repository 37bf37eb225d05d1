"""What every corpus program of local/ does with what it found: write the data directories of stage 1."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deepspeaker.datadir import lines, write_speakers, write_table
from deepspeaker.files import atomic
from deepspeaker.trials import Trial, write_trials

RECORD = ".corpus"  # in DATA: the directories that the last corpus program made there


@dataclass
class DataSet:
    """One data directory to be: utterance -> wav.scp entry, utterance -> speaker, and what else is known."""

    wav: dict[str, str] = field(default_factory=dict)
    utt2spk: dict[str, str] = field(default_factory=dict)
    spk2gender: dict[str, str] = field(default_factory=dict)
    trials: dict[str, list[Trial]] = field(default_factory=dict)  # by file name: trials, trials_E, ...

    def add(self, utterance: str, speaker: str, entry: str) -> None:
        self.wav[utterance] = entry
        self.utt2spk[utterance] = speaker


@contextmanager
def replacing(directory: str | os.PathLike) -> Iterator[Path]:
    """An empty folder beside `directory` that takes its place, as a whole, when the block ends well.

    When the block raises, whatever stood at `directory` stays as it was; what a killed run left is removed.
    """
    directory = Path(directory)
    new, old = (directory.with_name(f".{directory.name}.{end}") for end in ("new", "old"))
    tidy(directory, new, old)
    new.mkdir(parents=True)
    try:
        yield new
        if directory.exists():
            directory.rename(old)
        new.rename(directory)
    finally:
        tidy(directory, new, old)


def tidy(directory: Path, new: Path, old: Path) -> None:
    """Put the old directory back if nothing took its place, and remove what is left over."""
    if old.exists() and not directory.exists():
        old.rename(directory)
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)


def write_corpus(data: str | os.PathLike, sets: Mapping[str, DataSet]) -> None:
    """Write each set to data/NAME, replacing it as a whole, and print a line of counts for it.

    Directories of an earlier run that this one does not make are removed, data/dev among them (it was split
    off a data/train that is no more): a stale test set may hold speakers that are trained on now.
    """
    data = Path(data)
    data.mkdir(parents=True, exist_ok=True)
    earlier = [name for _, name in lines(data / RECORD)] if (data / RECORD).exists() else []
    for name in {*earlier, "dev"} - set(sets):
        shutil.rmtree(data / name, ignore_errors=True)
    with atomic(data / RECORD) as file:
        file.writelines(f"{name}\n" for name in sets)
    for name, dataset in sets.items():
        with replacing(data / name) as directory:
            write_set(directory, dataset)
        counts = [f"{len(set(dataset.utt2spk.values()))} speakers", f"{len(dataset.wav)} utterances"]
        counts += [f"{len(trials)} {file}" for file, trials in dataset.trials.items()]
        print(f"{data / name}: {', '.join(counts)}")


def write_set(directory: Path, dataset: DataSet) -> None:
    """Write wav.scp, utt2spk, spk2utt and, where known, spk2gender and trial lists."""
    write_table(directory / "wav.scp", dataset.wav)
    write_speakers(directory, dataset.utt2spk)
    speakers = set(dataset.utt2spk.values())
    genders = {speaker: gender for speaker, gender in dataset.spk2gender.items() if speaker in speakers}
    if genders:
        write_table(directory / "spk2gender", genders)
    for name, trials in dataset.trials.items():
        write_trials(directory / name, trials)
