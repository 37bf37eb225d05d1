#!/usr/bin/env python3
"""Data directories that are Kaldi's already: made by a Kaldi recipe, by ESPnet, or by hand.

    local/kaldi.py /kaldi/egs/mine/s5/data data

Reads, and never writes to, ROOT:

    ROOT/train, ROOT/test*       wav.scp and utt2spk, and what else Kaldi knows: segments, spk2gender, text, ...
    ROOT/test*/trials*, enroll   lines 'id1 id2 target|nontarget'; 'model utterance ...' (then id1 is a model)
    ROOT/dev                     if it is there; where it shares speakers with train, stage 1 makes another

Writes the same directories to DATA, fixed as utils/fix_data_dir.sh does: sorted, and without utterances that some
file lacks. Features, voice activity and their lengths are not carried over, since stage 2 makes its own. A directory
without trials gets them: at most 20,000 target and as many nontarget ones, of one gender where there is
a spk2gender. Without a test set, speakers leave training for DATA/test: a tenth, at least 5 and at most 40, drawn with
--seed, or those of --test-speakers.

A relative path in wav.scp is one from the folder in which the Kaldi recipe ran, that is the one above ROOT; if it
is not there, from ROOT or from the data directory itself. Commands (`... |`) are run in the first of these that has a
file they name.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deepspeaker.audio.content import PLACE, is_command
from deepspeaker.corpus import corpus_parser, preparing, require_root, subfolders
from deepspeaker.corpus.holdout import complete
from deepspeaker.datadir import read_lists
from deepspeaker.datadir.check import ROWS, check_rows
from deepspeaker.datadir.fix import fixed, ordered, read_file
from deepspeaker.datadir.tables import KNOWN_FILES, read_lines, require_values, shown, write_files
from deepspeaker.datadir.trials import read_trials, write_trials
from deepspeaker.errors import UserError, run

EXPECTED = "train/{wav.scp,utt2spk} and test*/{wav.scp,utt2spk}"
LEFT_OUT = ("spk2utt", "feats.scp", "vad.scp", "sound.scp", "cmvn.scp", "utt2num_frames",
            "utt2dur", "utt2quality")  # made anew, here or in stage 2


def absolute(entry: str, bases: Sequence[Path]) -> str:
    """A wav.scp entry that means the same in any working directory. Raises FileNotFoundError for no such file."""
    if is_command(entry):
        try:
            words = shlex.split(entry)
        except ValueError:
            words = entry.split()
        for base in bases:
            if any((base / word).is_file() for word in words if not word.startswith("/")):
                return f"cd {shlex.quote(str(base))} && {entry}"
        return entry
    if entry.startswith("/"):
        return entry
    archive = PLACE.fullmatch(entry)
    for base in bases:
        if (base / entry).exists() or (archive and (base / archive[1]).exists()):
            return str(base / entry)
    raise FileNotFoundError


def wav_lines(path: Path, bases: Sequence[Path]) -> list[bytes]:
    """The lines of a wav.scp with absolute paths. Raises UserError for a relative path that leads nowhere."""
    found = read_lines(path)
    require_values(found, path)
    for number, line in enumerate(found, 1):
        key, entry = line.split(None, 1)
        try:
            found[number - 1] = key + b" " + os.fsencode(absolute(os.fsdecode(entry).rstrip(), bases))
        except FileNotFoundError:
            looked = ", ".join(map(str, bases))
            raise UserError(f"{path}:{number}: no file {shown(entry)} in {looked}; make its path absolute, or put the "
                            "audio there") from None
    return found


def read_directory(source: Path, bases: Sequence[Path]) -> dict[str, list[bytes]]:
    """The files (name -> lines) of a data directory, fixed. Raises UserError for what no rule fixes."""
    files = {}
    for name in (name for name in KNOWN_FILES if name not in LEFT_OUT and (source / name).is_file()):
        path = source / name
        if name in ROWS:
            check_rows(path, read_lines(path), *ROWS[name])
        files[name] = ordered(wav_lines(path, bases), path) if name == "wav.scp" else read_file(path)
    for name in ("wav.scp", "utt2spk"):
        if not files.get(name):
            raise UserError(f"{source / name} is missing or empty; expected {EXPECTED}")
    return fixed(files, source)


def copy(source: Path, target: Path, bases: Sequence[Path]) -> None:
    """Write a data directory's copy, with its trials and enrolment."""
    write_files(target, read_directory(source, bases))
    for path in sorted(path for path in source.glob("trials*") if path.is_file()):
        write_trials(target / path.name, read_trials(path))
    if (source / "enroll").is_file():
        if not any(target.glob("trials*")):
            raise UserError(f"{source}/enroll: models, but no trials of them; expected {source}/trials")
        models = read_lists(source / "enroll")
        write_files(target, {"enroll": [f"{model} {' '.join(models[model])}".encode() for model in sorted(models)]})


def main() -> None:
    args = corpus_parser(__doc__).parse_args()
    root = require_root(args.root, EXPECTED)
    if root.resolve() == args.data.resolve():
        raise UserError(f"{root} is both ROOT and DATA; give another folder for DATA (run.sh --dir)")
    sources = {name: folder for name, folder in subfolders(root).items()
               if name in ("train", "dev") or name.startswith("test")}
    if not sources.keys() - {"dev"}:
        raise UserError(f"{root} holds no data directories; expected {EXPECTED}")
    with preparing(args.data) as new:
        for name, source in sources.items():
            copy(source, new / name, (root.parent, root, source))
        complete(new, args.seed, args.test_speakers)


if __name__ == "__main__":
    run(main)
