#!/usr/bin/env python3
"""Data directories of VoxCeleb1 and VoxCeleb2, from the folders as distributed.

    local/voxceleb.py /db data          # trains on VoxCeleb2 where it is there, else on VoxCeleb1
    local/voxceleb.py --train both /db data

Where to get it: https://www.robots.ox.ac.uk/~vgg/data/voxceleb (CC BY 4.0; the audio itself by request).
VoxCeleb1: 1,251 speakers, 153,516 utterances, 38 GB of WAV; 4,874 utterances of 40 speakers are the test part.
VoxCeleb2: 72 GB of M4A in its dev part. DEV_PARTS in this file counts the dev parts.

Reads, and never writes to, ROOT:

    ROOT/voxceleb1/{dev,test}/wav/<speaker>/<video>/<number>.wav
    ROOT/voxceleb2/{dev,test}/aac/<speaker>/<video>/<number>.m4a
    ROOT/voxceleb1/{vox1_meta.csv,veri_test2.txt,veri_test.txt,list_test_all2.txt,list_test_hard2.txt}

Audio may be .wav, .flac, .ogg, .mp3 or .m4a; the wav or aac level may be missing. VoxCeleb1 may lack the dev and test
level: its test speakers are then those of the trial list. Lists and tables may lie in ROOT itself. The case
of the folders' names does not matter.

Writes DATA/train (the dev parts of --train), DATA/test (VoxCeleb1's test part; trials: VoxCeleb1-O, cleaned
where that list is there; trials_original) and, where VoxCeleb1 is not trained on and their lists are there,
DATA/test_vox1 (all of VoxCeleb1; trials_E, trials_H).
"""

import argparse
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deepspeaker.corpus import DataSet, is_audio, preferred, refuse_missing, say_expected, write_corpus
from deepspeaker.datadir import lines
from deepspeaker.datadir.trials import Trial
from deepspeaker.errors import UserError, run

TRAIN = {"voxceleb1": ("voxceleb1",), "voxceleb2": ("voxceleb2",), "both": ("voxceleb1", "voxceleb2")}
NAMES = {"voxceleb1": "VoxCeleb1", "voxceleb2": "VoxCeleb2"}
DEV_PARTS = {"voxceleb1": (1_211, 148_642), "voxceleb2": (5_994, 1_092_009)}  # (speakers, utterances) as distributed
TRIALS = 37_611  # of VoxCeleb1-O, cleaned
FORMATS = ("wav", "flac", "aac", "m4a")  # names of the level above the speakers
LISTS = {  # our name of a trial list: the names it is distributed under
    "cleaned": ("veri_test2.txt", "voxceleb1_test_v2.txt"),
    "original": ("veri_test.txt",),
    "trials_E": ("list_test_all2.txt",),
    "trials_H": ("list_test_hard2.txt",),
}
EXPECTED = ("voxceleb1/{dev,test}/wav/<speaker>/<video>/<number>.wav",
            "voxceleb2/dev/aac/<speaker>/<video>/<number>.m4a")
SPEAKER = re.compile(r"id\d+")

Audio = dict[str, str]  # utterance -> path


def subfolders(folder: Path) -> dict[str, Path]:
    """Name in lower case -> folder; of names that differ in case alone, the one in lower case wins."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir())
    return {name.lower(): folder / name for name in names}


def speaker_folders(corpus: Path) -> Iterator[tuple[str, Path]]:
    """(part, a speaker's folder) under corpus/[dev|test/][wav|flac|aac|m4a/]; part "" without that level."""
    below = subfolders(corpus)
    bases = {"": corpus, **{part: below[part] for part in ("dev", "test") if part in below}}
    for part, base in bases.items():
        inner = subfolders(base)
        for level in (base, *(inner[name] for name in FORMATS if name in inner)):
            yield from ((part, path) for name, path in subfolders(level).items() if SPEAKER.fullmatch(name))


def scan(corpus: Path) -> dict[str, Audio]:
    """Part -> its audio. Names alone are read: no file is opened or asked for its size."""
    parts: dict[str, Audio] = {}
    for part, speaker in speaker_folders(corpus):
        audio = parts.setdefault(part, {})
        for video in os.scandir(speaker):
            if video.name.startswith(".") or not video.is_dir():
                continue
            for file in os.scandir(video.path):
                if not is_audio(file.name) or file.name.startswith("."):
                    continue
                stem = os.path.splitext(file.name)[0]
                utterance = f"{speaker.name}-{video.name}-{stem}"
                if len(utterance.split()) != 1:
                    raise UserError(f"{file.path}: a blank in its name or its video's; rename it")
                if utterance not in audio or preferred(file.path, audio[utterance]):
                    audio[utterance] = file.path
    return parts


def speaker_of(utterance: str) -> str:
    return utterance.partition("-")[0]


def find_lists(folders: Sequence[Path]) -> dict[str, Path]:
    """Our name -> file, for the trial lists that are there."""
    found = {}
    for name, distributed in LISTS.items():
        files = [folder / file for file in distributed for folder in folders if (folder / file).is_file()]
        if files:
            found[name] = files[0]
    return found


def trial_fields(path: Path) -> Iterator[tuple[str, str, str]]:
    """The three fields of each line; raises UserError naming file and line."""
    for number, line in lines(path):
        fields = line.split()
        if len(fields) != 3 or fields[0] not in ("0", "1") or {name.count("/") for name in fields[1:]} != {2}:
            raise UserError(f"{path}:{number}: expected '1|0 speaker/video/file speaker/video/file', "
                            f"found {line!r}")
        yield fields[0], fields[1], fields[2]


def listed_speakers(path: Path) -> set[str]:
    return {name.partition("/")[0] for _, *names in trial_fields(path) for name in names}


def read_list(path: Path, audio: Mapping[str, str], corpus: Path) -> list[Trial]:
    """VoxCeleb's trials as trials of utterances, each once. Raises UserError if one names a file that is not there."""
    utterances: dict[str, str] = {}
    trials = []
    for label, *names in trial_fields(path):
        for name in names:
            if name not in utterances:
                utterances[name] = name.rpartition(".")[0].replace("/", "-")
        trials.append(Trial(utterances[names[0]], utterances[names[1]], label == "1"))
    missing = [name for name, utterance in utterances.items() if utterance not in audio]
    refuse_missing(path, "files", missing, utterances, corpus)
    distinct = list(dict.fromkeys(trials))
    if len(distinct) < len(trials):
        print(f"{path}: {len(trials) - len(distinct)} trials are repeated, each is taken once")
    return distinct


def read_genders(folders: Sequence[Path]) -> dict[str, str]:
    """Speaker -> m or f, from vox1_meta.csv and vox2_meta.csv (fields between tabs or commas)."""
    genders = {}
    for file in (folder / name for folder in folders for name in ("vox1_meta.csv", "vox2_meta.csv")):
        if not file.is_file():
            continue
        for _, line in lines(file):
            fields = [text.strip() for text in re.split("[\t,]", line)]
            speaker = next(filter(SPEAKER.fullmatch, fields), None)
            gender = next((text for text in fields if text in ("m", "f")), None)
            if speaker and gender:
                genders[speaker] = gender
    return genders


def dataset(audio: Audio, genders: dict[str, str], trials: dict[str, list[Trial]] | None = None) -> DataSet:
    utt2spk = {utterance: sys.intern(speaker_of(utterance)) for utterance in audio}
    return DataSet(audio, utt2spk, genders, trials or {})


def split_voxceleb1(corpus: Path, lists: dict[str, Path]) -> tuple[Audio, Audio]:
    """(dev, test): test speakers are those of the test folder and of the VoxCeleb1-O list."""
    parts = scan(corpus)
    test_speakers = {speaker_of(utterance) for utterance in parts.get("test", ())}
    for name in {"cleaned", "original"} & set(lists):
        test_speakers |= listed_speakers(lists[name])
    if "" in parts and not test_speakers:
        raise UserError(f"{corpus} has no dev and test folders, so its test speakers must be taken from a "
                        f"trial list: put {LISTS['cleaned'][0]} there")
    dev, test = {}, {}
    for part in ("", "dev", "test"):
        for utterance, path in parts.get(part, {}).items():
            (test if speaker_of(utterance) in test_speakers else dev)[utterance] = path
    return dev, test


def find_corpora(root: Path) -> dict[str, Path]:
    """voxceleb1, voxceleb2 -> folder, for those that are there."""
    if not root.is_dir():
        raise UserError(f"no such folder {root}; expected the one that holds {' or '.join(EXPECTED)}")
    below = subfolders(root)
    corpora = {name: below[name] for name in TRAIN["both"] if name in below}
    if not corpora:
        raise UserError(f"{root} holds no VoxCeleb; looked for {' and '.join(EXPECTED)}")
    return corpora


def training_audio(dev: Mapping[str, Audio], train: str | None, root: Path) -> tuple[Sequence[str], Audio]:
    """(corpora trained on, their audio); raises UserError when a corpus that was asked for is not there."""
    chosen = TRAIN[train or ("voxceleb2" if dev["voxceleb2"] else "voxceleb1")]
    absent = [name for name in chosen if not dev[name]]
    if train and absent:
        raise UserError(f"--train {train}: no dev part of {' and '.join(absent)} under {root}")
    return chosen, {utterance: path for name in chosen for utterance, path in dev[name].items()}


def prepare(root: Path, data: Path, train: str | None = None) -> None:
    """Write DATA/train, DATA/test and DATA/test_vox1 as the head of this file says."""
    root = root.absolute()
    corpora = find_corpora(root)
    folders = [*corpora.values(), root]
    dev: dict[str, Audio] = {"voxceleb1": {}, "voxceleb2": {}}
    test: Audio = {}
    lists = {}
    if "voxceleb1" in corpora:
        lists = find_lists([corpora["voxceleb1"], root])
        dev["voxceleb1"], test = split_voxceleb1(corpora["voxceleb1"], lists)
    if "voxceleb2" in corpora:
        parts = scan(corpora["voxceleb2"])
        dev["voxceleb2"] = {**parts.get("", {}), **parts.get("dev", {})}
    if not test and not any(dev.values()):
        raise UserError(f"{root} holds no audio; looked for {' and '.join(EXPECTED)}")
    chosen, audio = training_audio(dev, train, root)
    held_out = {speaker_of(utterance) for utterance in test}
    audio = {utterance: path for utterance, path in audio.items() if speaker_of(utterance) not in held_out}
    genders = read_genders(folders)
    sets = {"train": dataset(audio, genders)} if audio else {}
    if test:
        sets["test"] = dataset(test, genders, standard_trials(lists, test, corpora["voxceleb1"]))
    wide = [name for name in ("trials_E", "trials_H") if name in lists]
    if wide and dev["voxceleb1"] and "voxceleb1" not in chosen:
        both = {**dev["voxceleb1"], **test}
        trials = {name: read_list(lists[name], both, corpora["voxceleb1"]) for name in wide}
        sets["test_vox1"] = dataset(both, genders, trials)
    write_corpus(data, sets)


def standard_trials(lists: Mapping[str, Path], test: Audio, corpus: Path) -> dict[str, list[Trial]]:
    """trials and trials_original of VoxCeleb1's test part."""
    if not {"cleaned", "original"} & set(lists):
        names = ", ".join(name for kind in ("cleaned", "original") for name in LISTS[kind])
        raise UserError(f"{corpus}: has a test part but no trial list; put one of {names} there")
    trials = {"trials": read_list(lists.get("cleaned", lists.get("original")), test, corpus)}
    if "original" in lists:
        trials["trials_original"] = read_list(lists["original"], test, corpus)
    return trials


def say_expected_of(root: Path, train: str | None) -> None:
    """Print the counts of the whole corpora that are trained and tested on."""
    corpora = find_corpora(root.absolute())
    chosen = TRAIN[train or ("voxceleb2" if "voxceleb2" in corpora else "voxceleb1")]
    say_expected(" and ".join(NAMES[name] for name in chosen), [DEV_PARTS[name] for name in chosen],
                 f"{TRIALS:,} trials of VoxCeleb1-O, cleaned" if "voxceleb1" in corpora else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", choices=TRAIN,
                        help="corpora to train on (default: voxceleb2 where it is there, else voxceleb1)")
    parser.add_argument("root", type=Path, metavar="ROOT")
    parser.add_argument("data", type=Path, metavar="DATA")
    args = parser.parse_args()
    say_expected_of(args.root, args.train)
    prepare(args.root, args.data, args.train)


if __name__ == "__main__":
    run(main)
