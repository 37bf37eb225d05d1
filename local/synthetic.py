#!/usr/bin/env python3
"""Data directories of a corpus that this program makes itself: the recipe runs where there is no speech.

    local/synthetic.py corpus data

Writes ROOT/voxceleb1 as VoxCeleb1 is laid out (wav, vox1_meta.csv, veri_test2.txt) with sound from a
source-filter model: 150 speakers, 1,800 utterances, 2 h 15 min, 260 MB by default, in about half a minute on
two cores. Then DATA/train and DATA/test by local/voxceleb.py. Target trials are of two recordings.

Speakers overlap and every recording has its own channel: with conf/demo.toml, 38 % EER untrained, 5 % trained.

The same options give the same bytes. A ROOT that already holds this corpus is used as it is; one that holds
anything else is refused. The corpus of a run that was killed is made anew.
"""

import argparse
import itertools
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import sys
import threading
import wave
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deepspeaker.audio import SAMPLE_RATE
from deepspeaker.corpus import say_expected
from deepspeaker.corpus.synthesis import draw_recording, draw_speaker, draw_utterance
from deepspeaker.datadir.trials import nontarget_pairs
from deepspeaker.errors import UserError, run
from local.voxceleb import prepare

VERSION = 1  # of the sound: raised whenever the same options would give other bytes
SETTINGS = "synthetic.json"
FIRST_DEV, FIRST_TEST, MOST = 10_001, 20_001, 9_999  # speaker numbers
NONTARGETS_PER_TARGET = 4
VIDEO_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@dataclass(frozen=True)
class Corpus:
    """What the bytes depend on."""

    seed: int
    speakers: int
    test_speakers: int
    recordings: int
    utterances: int
    version: int = VERSION

    def parts(self) -> dict[str, range]:
        return {"dev": range(FIRST_DEV, FIRST_DEV + self.speakers),
                "test": range(FIRST_TEST, FIRST_TEST + self.test_speakers)}

    def trials(self) -> int:
        each = self.recordings * self.utterances  # utterances of a speaker
        targets = self.test_speakers * math.comb(self.recordings, 2) * self.utterances ** 2
        return targets + min(NONTARGETS_PER_TARGET * targets, math.comb(self.test_speakers, 2) * each ** 2)


def make_speaker(corpus: Corpus, number: int, folder: Path) -> tuple[str, list[list[str]]]:
    """Write one speaker's files; (gender, recordings' file names relative to `folder`).

    Each random generator is seeded with the numbers, from 1, of speaker, recording and utterance, so that neither the
    order nor the processes in which speakers are made matter.
    """
    speaker = draw_speaker(np.random.default_rng([corpus.seed, number]))
    recordings = []
    for take in range(1, corpus.recordings + 1):
        rng = np.random.default_rng([corpus.seed, number, take])
        video = f"id{number}/{''.join(rng.choice(list(VIDEO_LETTERS), 11))}"
        recording = draw_recording(rng)
        (folder / video).mkdir(parents=True)
        names = [f"{video}/{count:05d}.wav" for count in range(1, corpus.utterances + 1)]
        for count, name in enumerate(names, 1):
            rng = np.random.default_rng([corpus.seed, number, take, count])
            write_wav(folder / name, draw_utterance(rng, speaker, recording))
        recordings.append(names)
    return speaker.gender, recordings


def write_wav(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, samples.itemsize, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())


def make_trials(recordings: dict[str, list[list[str]]], seed: int) -> list[str]:
    """VoxCeleb's lines: every pair of one speaker's files in different recordings, and nontargets."""
    targets = [pair for several in recordings.values() for one, other in itertools.combinations(several, 2)
               for pair in itertools.product(one, other)]
    speakers = {speaker: list(itertools.chain(*several)) for speaker, several in recordings.items()}
    nontargets = nontarget_pairs(speakers, None, NONTARGETS_PER_TARGET * len(targets), random.Random(seed))
    return sorted([f"1 {a} {b}\n" for a, b in targets] + [f"0 {a} {b}\n" for a, b in nontargets])


def depend_on_parent() -> None:
    """In a worker: leave Ctrl-C to the parent, and end with it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)
    threading.Thread(target=follow, daemon=True).start()


def make_corpus(corpus: Corpus, folder: Path) -> None:
    """Write the whole of voxceleb1 to `folder`, on every core."""
    parts = {number: part for part, numbers in corpus.parts().items() for number in numbers}
    rows, test = ["VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n"], {}
    workers = min(len(os.sched_getaffinity(0)), len(parts))
    bar = tqdm(total=len(parts), unit="speaker", desc="synthetic speech", disable=None)
    with bar, ProcessPoolExecutor(workers, initializer=depend_on_parent) as pool:
        jobs = {number: pool.submit(make_speaker, corpus, number, folder / part / "wav")
                for number, part in parts.items()}
        try:
            for number, job in jobs.items():
                gender, recordings = job.result()
                rows.append(f"id{number}\tNobody_{number}\t{gender}\tnone\t{parts[number]}\n")
                if parts[number] == "test":
                    test[f"id{number}"] = recordings
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    (folder / "vox1_meta.csv").write_text("".join(rows))
    (folder / "veri_test2.txt").write_text("".join(make_trials(test, corpus.seed)))
    (folder / SETTINGS).write_text(json.dumps(asdict(corpus)) + "\n")


def ensure_corpus(corpus: Corpus, root: Path) -> None:
    """Make ROOT/voxceleb1 unless it is there. Raises UserError when ROOT holds anything else."""
    whole, partial = root / "voxceleb1", root / ".voxceleb1.partial"
    if whole.exists():
        settings = whole / SETTINGS
        if not settings.exists():
            raise UserError(f"{root} holds a voxceleb1 that is not synthetic; give another root")
        found = json.loads(settings.read_text())
        if found != asdict(corpus):
            raise UserError(f"{whole} was made with {described(found)}; asked for is {described(asdict(corpus))}: "
                            "remove it or give another root")
        return
    others = sorted(path.name for path in root.iterdir() if path != partial) if root.exists() else []
    if others:
        raise UserError(f"{root} is not empty ({others[0]} is there); give another root")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        make_corpus(corpus, partial)
        partial.rename(whole)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def described(settings: dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def at_least(lowest: int):
    """An argparse type: a whole number from `lowest` up to what speaker numbers allow."""
    def number(text: str) -> int:
        if not lowest <= int(text) <= MOST:
            raise argparse.ArgumentTypeError(f"expected {lowest} to {MOST}, found {text}")
        return int(text)
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=at_least(0), default=0, help="seed of all that is random (default %(default)s)")
    parser.add_argument("--speakers", type=at_least(1), default=120,
                        help="number of speakers to train on (default %(default)s)")
    parser.add_argument("--test-speakers", type=at_least(2), default=30,
                        help="number of speakers to test on (default %(default)s)")
    parser.add_argument("--recordings", type=at_least(2), default=3,
                        help="number of recordings per speaker (default %(default)s)")
    parser.add_argument("--utterances", type=at_least(1), default=4,
                        help="number of utterances per recording (default %(default)s)")
    parser.add_argument("root", type=Path, metavar="ROOT")
    parser.add_argument("data", type=Path, metavar="DATA")
    args = parser.parse_args()
    corpus = Corpus(args.seed, args.speakers, args.test_speakers, args.recordings, args.utterances)
    say_expected("synthetic speech", [(args.speakers, args.speakers * args.recordings * args.utterances)],
                 f"{corpus.trials():,} trials")
    ensure_corpus(corpus, args.root)
    prepare(args.root, args.data)


if __name__ == "__main__":
    run(main)
