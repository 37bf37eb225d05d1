#!/usr/bin/env python3
"""Data directories of LibriSpeech, from whichever of its subsets are there.

    local/librispeech.py /db data
    local/librispeech.py --train train-clean-100 --test test-clean,dev-clean /db data

Where to get it: https://www.openslr.org/12 (CC BY 4.0), English audio books read by volunteers, 16 kHz FLAC, about
60 GB with all subsets. A speaker is in one subset only. Subsets: train-clean-100 (6.3 GB), train-clean-360 (23 GB),
train-other-500 (30 GB), dev-clean, dev-other, test-clean and test-other (0.3 GB each), counted in SUBSETS of this file.

It was made for speech recognition and has no trials; a speaker has few recordings, each of one chapter, so error
rates are far below those on speech from the wild.

Reads, and never writes to, ROOT:

    ROOT/[LibriSpeech/]<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac  (or .wav, .ogg, .mp3, .m4a)
    ROOT/[LibriSpeech/]SPEAKERS.TXT                                                    (genders; may be missing)

Utterance ids are the files' names, speaker ids the numbers they begin with.

Writes DATA/train (the subsets of --train; default: all train*) and a directory for each subset of --test (default:
all test*, or where there is none all dev*): DATA/test_clean of test-clean, DATA/test_dev_clean of dev-clean. Without
a test set, speakers leave training for DATA/test: a tenth, at least 5 and at most 40, drawn with --seed; with
--test-speakers, those (and no test subset). Trials are made, nontarget ones of one gender: at most 20,000 of a kind,
shared evenly over the speakers.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deepspeaker.corpus import (
    HELD_OUT,
    DataSet,
    audio_files,
    corpus_parser,
    preparing,
    require_root,
    say_expected,
    subfolders,
    write_sets,
)
from deepspeaker.corpus.holdout import complete
from deepspeaker.datadir import lines
from deepspeaker.errors import UserError, run

EXPECTED = "[LibriSpeech/]<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac"
SUBSETS = {  # (speakers, utterances)
    "train-clean-100": (251, 28_539),
    "train-clean-360": (921, 104_014),
    "train-other-500": (1_166, 148_688),
    "dev-clean": (40, 2_703),
    "dev-other": (33, 2_864),
    "test-clean": (40, 2_620),
    "test-other": (33, 2_939),
}
SPEAKER = re.compile("[0-9]+")
UTTERANCE = re.compile("([0-9]+)-[0-9]+-[0-9]+")


def find_subsets(folders: Sequence[Path]) -> dict[str, Path]:
    """Name -> folder, of the subfolders that hold speakers."""
    found = {}
    for name, folder in (item for base in folders for item in subfolders(base).items()):
        if any(map(SPEAKER.fullmatch, subfolders(folder))):
            found[name] = folder
    return found


def choose(asked: str | None, subsets: Mapping[str, Path], root: Path, *prefixes: str) -> list[str]:
    """The subsets asked for, or all that begin with the first prefix that any begins with."""
    if asked is not None:
        names = [name for name in asked.split(",") if name]
        if absent := [name for name in names if name not in subsets]:
            raise UserError(f"no subset {', '.join(absent)} in {root}; there are: {', '.join(subsets)}")
        return names
    return next(filter(None, ([name for name in subsets if name.startswith(prefix)] for prefix in prefixes)), [])


def read_subset(folder: Path, dataset: DataSet) -> None:
    """Add a subset's utterances. Raises UserError for a file that is not named as LibriSpeech's are."""
    for speaker, own in subfolders(folder).items():
        for path in audio_files(own) if SPEAKER.fullmatch(speaker) else ():
            utterance = Path(path).stem
            name = UTTERANCE.fullmatch(utterance)
            if not name or name[1] != speaker:
                raise UserError(f"{path}: not named {speaker}-<chapter>-<number>, as LibriSpeech's files are")
            dataset.add(utterance, speaker, path)


def read_genders(folders: Sequence[Path]) -> dict[str, str]:
    """Speaker -> m or f, from lines `19 | F | train-clean-100 | ...`; comments begin with `;`."""
    genders = {}
    for path in (folder / "SPEAKERS.TXT" for folder in folders):
        for number, line in lines(path) if path.is_file() else ():
            fields = [text.strip() for text in line.split("|")]
            if line.startswith(";") or not line.strip():
                continue
            if len(fields) < 2 or fields[1] not in ("M", "F"):
                raise UserError(f"{path}:{number}: expected 'speaker | M or F | ...', found {line!r}")
            genders[fields[0]] = fields[1].lower()
    return genders


def data_name(subset: str) -> str:
    """A test subset's data directory."""
    name = subset.replace("-", "_")
    return name if name.startswith("test") else f"test_{name}"


def read_sets(root: Path, train: str | None, test: str | None) -> dict[str, DataSet]:
    """The data directories of the subsets asked for."""
    folders = [folder for folder in (root / "LibriSpeech", root) if folder.is_dir()]
    subsets = find_subsets(folders)
    if not subsets:
        raise UserError(f"{root} holds no LibriSpeech; looked for {EXPECTED}")
    trained = choose(train, subsets, root, "train")
    tested = [name for name in choose(test, subsets, root, "test", "dev") if test or name not in trained]
    if both := sorted({*trained} & {*tested}):
        raise UserError(f"{', '.join(both)} cannot be trained and tested on; leave it out of --train or --test")
    if trained and {*trained, *tested} <= SUBSETS.keys():
        utterances = sum(SUBSETS[name][1] for name in tested)
        say_expected("LibriSpeech", [SUBSETS[name] for name in trained],
                     f"{utterances:,} utterances to test on" if tested else HELD_OUT)
    genders = read_genders(folders)
    sets = {name: DataSet(spk2gender=genders) for name in [*(["train"] if trained else []), *map(data_name, tested)]}
    for name in trained:
        read_subset(subsets[name], sets["train"])
    for name in tested:
        read_subset(subsets[name], sets[data_name(name)])
    for name, dataset in sets.items():
        if not dataset.wav:
            raise UserError(f"{root} holds no audio for data/{name}; looked for {EXPECTED}")
    if not sets:
        raise UserError(f"{root}: no train*, test* or dev* among its subsets {', '.join(subsets)}; name those to use "
                        "with --train and --test")
    return sets


def main() -> None:
    parser = corpus_parser(__doc__)
    parser.add_argument("--train", metavar="SUBSETS",
                        help="subsets to train on, separated by commas (default: all train*)")
    parser.add_argument("--test", metavar="SUBSETS",
                        help="subsets to test on, separated by commas (default: all test*, else all dev*)")
    args = parser.parse_args()
    test = "" if args.test_speakers and args.test is None else args.test
    sets = read_sets(require_root(args.root, EXPECTED), args.train, test)
    with preparing(args.data) as new:
        write_sets(new, sets)
        complete(new, args.seed, args.test_speakers)


if __name__ == "__main__":
    run(main)
