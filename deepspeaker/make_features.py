"""Stage 2: wav.scp -> archives of features and voice activity, in jobs that are joined at the end."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from deepspeaker.archive import append
from deepspeaker.audio import MOST_BAD, Audio, read_audio
from deepspeaker.augment import augment
from deepspeaker.command import UserError
from deepspeaker.config import FeatureConfig
from deepspeaker.datadir import read_segments, read_table, write_table
from deepspeaker.dataset import features_record, write_record
from deepspeaker.features import compute_fbank, voiced_frames
from deepspeaker.files import atomic
from deepspeaker.frames import FRAME_SHIFT
from deepspeaker.jobs import join, share
from deepspeaker.progress import Reporter


class Source(NamedTuple):
    """Where an utterance's audio lies: a wav.scp entry, the part of it in seconds, and what to do to it."""

    entry: str
    start: float = 0.0
    end: float | None = None
    augment: str | None = None


def sources(data_dir: Path) -> dict[str, Source]:
    """Utterance -> Source, of a data directory with or without segments and augment, sorted."""
    wav = read_table(data_dir / "wav.scp")
    changes = read_table(data_dir / "augment") if (data_dir / "augment").exists() else {}
    found = {}
    for utterance, (recording, start, end) in read_segments(data_dir).items():
        if recording not in wav:
            raise UserError(f"{data_dir}/segments: {utterance} is of recording {recording}, which is not in wav.scp")
        found[utterance] = Source(wav[recording], start, end, changes.get(utterance))
    return found


def make_share(data_dir: Path, config: FeatureConfig, job: int, jobs: int, paths: Mapping[str, Path],
               progress: Path) -> str:
    """Compute the features of one job's utterances; returns a line of counts.

    paths: where to write `fbank` and `vad` (STEM.ark and STEM.scp) and the tables `utt2num_frames`, `utt2dur` and
    `bad` (utterance, reason). Audio that cannot be read is noted and passed over.
    """
    everything = sources(data_dir)
    mine = share(list(everything), job, jobs)
    tables: dict[str, dict[str, object]] = {name: {} for name in paths}
    reporter, converted, start = Reporter(progress, len(mine)), 0, time.monotonic()
    with atomic(ark(paths["fbank"]), "wb") as fbank_ark, atomic(ark(paths["vad"]), "wb") as vad_ark:
        for utterance in mine:
            try:
                audio, fbank, voiced = _features(everything[utterance], config)
            except (UserError, OSError) as error:
                tables["bad"][utterance] = " ".join(str(error).split())
                reporter.advance()
                continue
            seconds = len(audio.samples) / config.sample_rate
            if audio.converted:
                converted += 1
                print(f"{utterance}: {audio.converted}")
            for name, file, value in (("fbank", fbank_ark, fbank), ("vad", vad_ark, voiced)):
                offset = append(file, utterance, value, compress=config.compress and name == "fbank")
                tables[name][utterance] = f"{os.path.abspath(ark(paths[name]))}:{offset}"
            tables["utt2num_frames"][utterance] = len(fbank)
            tables["utt2dur"][utterance] = f"{seconds:.3f}"
            reporter.advance(seconds)
    for name, table in tables.items():
        write_table(paths[name], table)
    hours = sum(map(float, tables["utt2dur"].values())) / 3600
    rate = 3600 * hours / (time.monotonic() - start)
    return (f"{len(tables['fbank'])} utterances, {hours:.2f} h, {rate:.0f} times real time, {converted} converted, "
            f"{len(tables['bad'])} bad")


def ark(scp: Path) -> Path:
    """The archive beside its scp file."""
    return scp.with_suffix(".ark")


def _features(source: Source, config: FeatureConfig) -> tuple[Audio, np.ndarray, np.ndarray]:
    """(audio, fbank (T, F) float32, voiced (T,) float32 of 0 and 1)"""
    audio = read_audio(source.entry, config.sample_rate, source.start, source.end)
    if source.augment:
        audio = audio._replace(samples=augment(audio.samples, config.sample_rate, source.augment))
    fbank, energy = compute_fbank(torch.from_numpy(audio.samples), config.sample_rate, config.num_mel_bins,
                                  config.low_freq, config.high_freq, config.snip_edges)
    if len(fbank) == 0:
        raise UserError(f"shorter than one frame: {len(audio.samples)} samples at {config.sample_rate} Hz")
    return audio, fbank.numpy(), voiced_frames(energy).float().numpy()


def join_shares(data_dir: Path, config: FeatureConfig, jobs: int, paths: Mapping[str, Path]) -> str:
    """Join the jobs' tables into DATA_DIR/{feats.scp,vad.scp,utt2num_frames,utt2dur,frame_shift,bad_utts}.

    Returns a line of counts. Raises UserError, leaving earlier features as they were, when more than 5 % of the
    utterances could not be read.
    """
    tables = {name: join(path, jobs) for name, path in paths.items()}
    bad, total = len(tables["bad"]), len(tables["fbank"]) + len(tables["bad"])
    write_table(data_dir / "bad_utts", tables["bad"])
    if bad > MOST_BAD * total:
        examples = "; ".join(f"{utterance}: {reason}" for utterance, reason in list(tables["bad"].items())[:2])
        raise UserError(f"{bad} of {total} utterances of {data_dir} cannot be used, more than "
                        f"{100 * MOST_BAD:.0f} %; all are listed in {data_dir}/bad_utts, such as {examples}")
    for name, table in (("feats.scp", "fbank"), ("vad.scp", "vad"), ("utt2num_frames", "utt2num_frames"),
                        ("utt2dur", "utt2dur")):
        write_table(data_dir / name, tables[table])
    with atomic(data_dir / "frame_shift") as file:
        file.write(f"{FRAME_SHIFT}\n")
    write_record(data_dir, features_record(config))
    frames, hours = (sum(map(float, tables[name].values())) for name in ("utt2num_frames", "utt2dur"))
    listed = f", listed in {data_dir}/bad_utts" if bad else ""
    return (f"{data_dir}: {total - bad} utterances, {frames:.0f} frames, {hours / 3600:.2f} h; "
            f"{bad} could not be used{listed}")


def paths_of(data_dir: Path, log_dir: Path, ark_dir: Path) -> dict[str, Path]:
    """Where the parts of a data directory's features lie; jobs.part gives one job's."""
    name = data_dir.resolve().name
    return {"fbank": ark_dir / f"raw_fbank_{name}.scp", "vad": ark_dir / f"vad_{name}.scp",
            **{table: log_dir / f"{table}_{name}" for table in ("utt2num_frames", "utt2dur", "bad")}}
