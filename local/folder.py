#!/usr/bin/env python3
"""Data directories of any tree of audio with one folder for each speaker.

    local/folder.py /db/mine data
    local/folder.py --test-speakers /db/held_out.txt /db/mine data

Reads, and never writes to, ROOT:

    ROOT/<speaker>/**/*          sound files: .wav, .flac, .ogg, .opus, .mp3, .m4a, .webm, .aiff, .sph, .aac and others

at any depth below a speaker, links followed; EXTENSIONS in deepspeaker/audio/__init__.py lists all endings, and files
of other endings are left out and counted. A speaker's id is its folder's name, in which blanks and characters
that sort below `.` (`-`, `'`, `+`, ...) become `_`, for ids of Kaldi's order; an utterance's id is
SPEAKER-FOLDER-FILE without the extension. Two names that become one id are refused. Of one file in two kinds
(a.wav, a.mp3) the one that EXTENSIONS names first is taken. Folders without audio are passed over, and counted.

Writes DATA/train and DATA/test with trials. To the test set go a tenth of the speakers, at least 5 and at most 40,
drawn with --seed from those with two utterances, or the speakers of --test-speakers. Made are at most 20,000 target
trials and as many nontarget ones, shared evenly over the speakers.
"""

import os
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deepspeaker.corpus import (
    DataSet,
    audio_files,
    corpus_parser,
    is_audio,
    preparing,
    require_root,
    speaker_id,
    subfolders,
    utterance_id,
    write_sets,
)
from deepspeaker.corpus.holdout import complete
from deepspeaker.errors import UserError, examples, run

EXPECTED = "<speaker>/**/* of sound files, such as .wav, .flac, .mp3 and .m4a (all endings: folder.py --help)"


def scan(root: Path) -> DataSet:
    """All of the tree's audio. Raises UserError for names that clash and for audio outside the speakers' folders."""
    dataset = DataSet()
    names: dict[str, str] = {}
    silent, others = [], Counter[str]()
    for name, folder in subfolders(root).items():
        speaker = speaker_id(name)
        if speaker in names:
            raise UserError(f"{root}: the folders {names[speaker]!r} and {name!r} would both be speaker {speaker}; "
                            "rename one, or join them")
        names[speaker] = name
        files = list(audio_files(folder, others))
        for path in files:
            inner = os.path.splitext(os.path.relpath(path, folder))[0]
            dataset.add(utterance_id(speaker, inner), speaker, path)
        if not files:
            silent.append(name)
    if stray := sorted(entry.name for entry in os.scandir(root) if is_audio(entry.name) and not entry.is_dir()):
        raise UserError(f"{root}: {len(stray)} audio files lie in no speaker's folder ({examples(stray)}); "
                        f"expected {EXPECTED}")
    if not dataset.wav:
        raise UserError(f"{root} holds no audio; expected {EXPECTED}")
    if others:
        kinds = examples(f"{count} {kind}" for kind, count in others.most_common())
        print(f"folder.py: {others.total()} files of {root} do not end like sound files and are left out: {kinds}",
              file=sys.stderr)
    if silent:
        print(f"folder.py: {len(silent)} of {len(names)} folders of {root} hold no audio and are passed over: "
              f"{examples(silent)}", file=sys.stderr)
    return dataset


def main() -> None:
    args = corpus_parser(__doc__).parse_args()
    dataset = scan(require_root(args.root, EXPECTED))
    with preparing(args.data) as new:
        write_sets(new, {"train": dataset})
        complete(new, args.seed, args.test_speakers)


if __name__ == "__main__":
    run(main)
