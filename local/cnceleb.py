#!/usr/bin/env python3
"""Data directories of CN-Celeb1 and CN-Celeb2, from the folders as distributed.

    local/cnceleb.py /db data
    local/cnceleb.py --concatenated /db data

Where to get it: https://www.openslr.org/82 (22 GB for CN-Celeb1, CN-Celeb2 in three parts). Chinese celebrities in
eleven genres, from interviews to singing, 16 kHz FLAC. CN-Celeb1: 997 speakers, 126,532 utterances; 200 of the speakers
are for testing, with 17,777 utterances, 196 models and 17,755 target trials. CN-Celeb2: more speakers to train on.
TRAIN and TRIALS in this file count training speakers, their utterances and all trials. Many utterances are shorter than
2 s.

Reads, and never writes to, ROOT (folders may also be called CN-Celeb, cnceleb1, CN-Celeb_wav, ...; of several copies
the first by name is taken; audio may be .wav, .flac, .ogg, .mp3 or .m4a, whatever the lists say):

    ROOT/CN-Celeb_flac/data/<speaker>/<genre>-<session>-<number>.flac
    ROOT/CN-Celeb_flac/eval/test/<speaker>-<genre>-<session>-<number>.flac
    ROOT/CN-Celeb_flac/eval/enroll/<model>.flac        one file for each model, its utterances one after the other
    ROOT/CN-Celeb_flac/eval/lists/enroll.map           lines '<model> <speaker>/<file>.wav ...', files of data/
    ROOT/CN-Celeb_flac/eval/lists/trials.lst           lines '<model> test/<file>.wav 1|0'
    ROOT/CN-Celeb2_flac/data/<speaker>/<genre>-<session>-<number>.flac

Writes DATA/train, everyone in data/ who is not in eval/, and DATA/test with `trials` and `enroll`: a model is the
mean of several utterances' embeddings, those of enroll.map; with --concatenated, or without an enroll.map, it is the
one file of eval/enroll. Without eval/, speakers leave training for DATA/test, and trials are made: a tenth of the
speakers, at least 5 and at most 40, drawn with --seed, or those of --test-speakers.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deepspeaker.corpus import (
    HELD_OUT,
    DataSet,
    audio_files,
    corpus_parser,
    preparing,
    refuse_missing,
    require_root,
    say_expected,
    subfolders,
    utterance_id,
    write_sets,
)
from deepspeaker.corpus.holdout import complete
from deepspeaker.datadir import lines
from deepspeaker.datadir.trials import Trial
from deepspeaker.errors import UserError, run

EXPECTED = "CN-Celeb_flac/{data,eval/{enroll,test,lists}}, CN-Celeb2_flac/data"
CORPUS = re.compile(r"cn-?celeb(?P<number>[12]?)(_.*)?", re.IGNORECASE)
TRAIN = {"1": (797, 107_953), "2": (1_996, 524_787)}  # (speakers, utterances) as distributed, those of eval/ left out
TRIALS = 3_484_292
LABELS = {"1": True, "0": False}


def find_corpora(root: Path) -> dict[str, Path]:
    """"1" and "2" -> folder, for those that are there."""
    found: dict[str, Path] = {}
    for name, folder in subfolders(root).items():
        if match := CORPUS.fullmatch(name):
            found.setdefault(match["number"] or "1", folder)
    if not found:
        raise UserError(f"{root} holds no CN-Celeb; looked for {EXPECTED}")
    return found


def read_speakers(data: Path) -> DataSet:
    """All utterances of a folder of speakers."""
    dataset = DataSet()
    for speaker, folder in subfolders(data).items() if data.is_dir() else ():
        for path in audio_files(folder):
            dataset.add(utterance_id(speaker, os.path.splitext(os.path.relpath(path, folder))[0]), speaker, path)
    return dataset


def speaker_of(name: str) -> str:
    return name.partition("-")[0]


def read_folder(folder: Path) -> DataSet:
    """eval/test or eval/enroll: files whose names begin with the speaker's."""
    dataset = DataSet()
    for path in audio_files(folder) if folder.is_dir() else ():
        dataset.add(Path(path).stem, speaker_of(Path(path).stem), path)
    return dataset


def list_fields(path: Path, expected: str, valid: Callable[[list[str]], bool]) -> Iterator[list[str]]:
    """The fields of each line; UserError naming file and line if they are not valid."""
    for number, line in lines(path):
        fields = line.split()
        if not valid(fields):
            raise UserError(f"{path}:{number}: expected '{expected}', found {line!r}")
        yield fields


def read_trials(path: Path, test: DataSet) -> list[Trial]:
    """Trials of models and of utterances of eval/test."""
    utterances: dict[str, str] = {}
    trials = []
    for model, name, label in list_fields(
            path, "<model> test/<file>.wav 1|0", lambda fields: len(fields) == 3 and fields[2] in LABELS):
        if name not in utterances:
            utterances[name] = Path(name).stem
        trials.append(Trial(sys.intern(model), utterances[name], LABELS[label]))
    missing = [name for name, utterance in utterances.items() if utterance not in test.wav]
    refuse_missing(path, "files", missing, utterances, path.parents[1])
    return trials


def enroll_several(path: Path, everyone: DataSet, test: DataSet) -> None:
    """Add the models of enroll.map, and their utterances, to the test set."""
    missing, named = [], set()
    for model, *names in list_fields(path, "<model> <speaker>/<file>.wav ...", lambda fields: len(fields) > 1):
        for name in names:
            speaker, _, inner = name.removeprefix("data/").rpartition(".")[0].partition("/")
            utterance = utterance_id(speaker, inner)
            named.add(name)
            if utterance not in everyone.wav:
                missing.append(name)
                continue
            enrolled = utterance_id(f"{speaker}-enroll", inner)  # an utterance of eval/test may have the other id
            test.add(enrolled, speaker, everyone.wav[utterance])
            test.enroll.setdefault(model, []).append(enrolled)
    refuse_missing(path, "files", missing, named, path.parents[2] / "data")


def enroll_concatenated(folder: Path, test: DataSet) -> None:
    """Add the files of eval/enroll to the test set, each a model of its name."""
    enroll = read_folder(folder)
    if not enroll.wav:
        raise UserError(f"{folder} holds no audio; expected <model>.flac")
    test.wav |= enroll.wav
    test.utt2spk |= enroll.utt2spk
    test.enroll = {model: [model] for model in enroll.wav}


def read_test(corpus: Path, everyone: DataSet, concatenated: bool) -> DataSet:
    """The evaluation set of CN-Celeb1. Raises UserError for trials whose model or file is not there."""
    lists, test = corpus / "eval/lists", read_folder(corpus / "eval/test")
    trials = read_trials(lists / "trials.lst", test)
    if concatenated or not (lists / "enroll.map").exists():
        enroll_concatenated(corpus / "eval/enroll", test)
    else:
        enroll_several(lists / "enroll.map", everyone, test)
    models = {trial.first for trial in trials}
    refuse_missing(lists / "trials.lst", "models", sorted(models - test.enroll.keys()), models, corpus / "eval")
    test.trials["trials"] = trials
    return test


def read_sets(root: Path, concatenated: bool) -> dict[str, DataSet]:
    """train and, where there is an evaluation set, test."""
    corpora = find_corpora(root)
    evaluated = "1" in corpora and (corpora["1"] / "eval").is_dir()
    if evaluated or "1" not in corpora:
        say_expected(" and ".join(f"CN-Celeb{number}" for number in sorted(corpora)),
                     [TRAIN[number] for number in corpora], f"{TRIALS:,} trials" if evaluated else HELD_OUT)
    speakers = {number: read_speakers(folder / "data") for number, folder in corpora.items()}
    test = DataSet()
    if evaluated:
        test = read_test(corpora["1"], speakers["1"], concatenated)
    train, held_out = DataSet(), set(test.utt2spk.values())
    for dataset in speakers.values():
        for utterance, speaker in dataset.utt2spk.items():
            if speaker not in held_out:
                train.add(utterance, speaker, dataset.wav[utterance])
    sets = {name: dataset for name, dataset in (("train", train), ("test", test)) if dataset.wav}
    if not sets:
        raise UserError(f"{root} holds no audio; looked for {EXPECTED}")
    return sets


def main() -> None:
    parser = corpus_parser(__doc__)
    parser.add_argument("--concatenated", action="store_true", help="enrol each model from its one file in eval/enroll")
    args = parser.parse_args()
    sets = read_sets(require_root(args.root, EXPECTED), args.concatenated)
    with preparing(args.data) as new:
        write_sets(new, sets)
        complete(new, args.seed, args.test_speakers)


if __name__ == "__main__":
    run(main)
