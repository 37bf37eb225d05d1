"""Stage 2: wav.scp -> archives of features, voice activity and sound, in jobs that are joined at the end.

A job works through its share in pieces, each with archives of its own and, written last, a JSON file of their contents.
A job that is started again keeps the pieces that have this file; joining makes the data directory's tables from all
such files.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch

from deepspeaker import __version__
from deepspeaker.atomic import atomic, remove_unfinished
from deepspeaker.audio import Audio
from deepspeaker.audio.commands import PIPE_TIMEOUT
from deepspeaker.audio.frames import FRAME_SHIFT
from deepspeaker.config import FeatureConfig
from deepspeaker.datadir import ARCHIVES, MAX_UNUSABLE_SHARE, archives, write_table
from deepspeaker.datadir.archive import append
from deepspeaker.datadir.sound_archive import append_sound
from deepspeaker.datadir.sources import Source, sources
from deepspeaker.datadir.tables import set_aside
from deepspeaker.errors import UserError
from deepspeaker.extraction.fbank import compute_fbank, voiced_frames
from deepspeaker.extraction.feature_set import DEPENDS, outdated, write_conf
from deepspeaker.extraction.parallel_jobs import Reporter, job_share, progress_file
from deepspeaker.extraction.sound_quality import sound_quality
from deepspeaker.provenance import sampled, stored
from deepspeaker.scoring.quality import SoundQuality

PIECE = 500  # utterances; a job that was stopped repeats at most these


class Places(NamedTuple):
    """Which kinds of archives are made of one data directory, and where they go."""

    name: str  # of the data directory
    log_dir: Path
    ark_dir: Path
    makes: tuple[str, ...] = ("feats", "vad")  # of ARCHIVES

    def pieces(self, job: int, count: int) -> list[tuple[dict[str, Path], Path]]:
        """(kind -> archive, file of their contents) of each piece of a job's share of `count` utterances."""
        number = -(-count // PIECE)
        ends = [f"{job}" if number == 1 else f"{job}.{n}" for n in range(1, number + 1)]
        return [({kind: self.ark_dir / f"{prefix}{end}.ark" for kind, prefix in self.prefixes.items()},
                 self.log_dir / f"piece_{self.name}.{end}.json") for end in ends]

    @property
    def prefixes(self) -> dict[str, str]:
        """Kind -> how the names of its archives begin."""
        return {kind: f"{ARCHIVES[kind]}_{self.name}." for kind in self.makes}


def make_share(data_dir: Path, config: FeatureConfig, places: Places, job: int, jobs: int, pipes: bool = True,
               pipe_timeout: float = PIPE_TIMEOUT) -> str:
    """Make the archives of one job's utterances, except pieces made before; returns a line of counts.

    Audio that cannot be read is noted and left out; a piece with such audio is made again by the next run.
    """
    everything = sources(data_dir, pipes)
    mine = job_share(list(everything), job, jobs)
    reporter, start = Reporter(progress_file(places.log_dir, job), len(mine)), time.monotonic()
    kept, seconds, converted, bad = 0, 0.0, 0, 0
    for number, (arks, contents) in enumerate(places.pieces(job, len(mine))):
        piece = {utterance: everything[utterance] for utterance in mine[number * PIECE:(number + 1) * PIECE]}
        fingerprint = _fingerprint(piece, config, places.makes)
        if _made(contents, fingerprint, arks.values()):
            kept += len(piece)
            reporter.advance(utterances=len(piece))
            continue
        _remove_leftovers(contents, *arks.values())
        with ExitStack() as stack:
            files = {kind: stack.enter_context(atomic(ark, "wb")) for kind, ark in arks.items()}
            found = _make_piece(piece, config, files, reporter, pipe_timeout)
        with atomic(contents) as file:
            places_of = {kind: os.path.abspath(ark) for kind, ark in arks.items()}
            json.dump({"fingerprint": fingerprint, "archives": places_of, **found}, file)
        seconds += sum(line["seconds"] for line in found["utterances"].values())
        converted += found["converted"]
        bad += len(found["bad"])
    rate = seconds / (time.monotonic() - start)
    return (f"{len(mine) - kept - bad} utterances, {seconds / 3600:.2f} h, {rate:.0f} times real time, "
            f"{converted} converted, {bad} bad, {kept} made before")


def _fingerprint(piece: Mapping[str, Source], config: FeatureConfig, makes: Sequence[str]) -> str:
    """A hash of everything that a piece's archives depend on."""
    facts = __version__, SoundQuality._fields, stored(config.model_dump()), makes, list(piece.items())
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _made(contents: Path, fingerprint: str, archives: Iterable[Path]) -> bool:
    """Whether a piece is there, with this fingerprint and without unreadable audio."""
    try:
        found = json.loads(contents.read_text())
    except (OSError, ValueError):
        return False
    return found["fingerprint"] == fingerprint and not found["bad"] and all(path.exists() for path in archives)


def _remove_leftovers(contents: Path, *archives: Path) -> None:
    """Remove what a killed or an earlier run left in the place of a piece."""
    contents.unlink(missing_ok=True)
    for ark in archives:
        remove_unfinished(ark)


def _make_piece(piece: Mapping[str, Source], config: FeatureConfig, files: Mapping[str, IO[bytes]], reporter: Reporter,
                pipe_timeout: float) -> dict[str, Any]:
    """Write a piece's archives, one file for each kind; returns their contents.

    utterances: name -> offset in the archive of each kind, frames, seconds, quality as it is written; bad: name ->
    reason; converted: how many.
    """
    utterances, bad, converted = {}, {}, 0
    for utterance, source in piece.items():
        try:
            audio, fbank, voiced, quality = _features(source, config, pipe_timeout)
        except (UserError, OSError) as error:
            bad[utterance] = " ".join(str(error).split())
            reporter.advance()
            continue
        seconds = len(audio.samples) / config.sample_rate
        if audio.converted:
            converted += 1
            print(f"{utterance}: {audio.converted}")
        utterances[utterance] = {"frames": len(fbank), "seconds": round(seconds, 3), "quality": quality}
        if "feats" in files:
            utterances[utterance]["feats"] = append(files["feats"], utterance, fbank, config.compress)
        if "vad" in files:
            utterances[utterance]["vad"] = append(files["vad"], utterance, voiced)
        if "sound" in files:
            utterances[utterance]["sound"] = append_sound(files["sound"], utterance, audio.samples, config.sample_rate)
        reporter.advance(seconds)
    return {"utterances": utterances, "bad": bad, "converted": converted}


@torch.inference_mode()
def _features(source: Source, config: FeatureConfig,
              pipe_timeout: float) -> tuple[Audio, np.ndarray, np.ndarray, str]:
    """(audio, fbank (T, F) float32, voiced (T,) float32 of 0 and 1, the sound's quality as utt2quality has it)"""
    audio = source.read(config.sample_rate, pipe_timeout)
    fbank, energy = compute_fbank(torch.from_numpy(audio.samples), snip_edges=config.snip_edges, **config.filterbank)
    if len(fbank) == 0:
        raise UserError(f"shorter than one frame: {len(audio.samples)} samples at {config.sample_rate} Hz")
    voiced = voiced_frames(energy)
    quality = sound_quality(fbank, energy, voiced, config.sample_rate, config.low_freq, config.high_freq)
    return audio, fbank.numpy(), voiced.float().numpy(), quality.as_text()


def join_features(data_dir: Path, config: FeatureConfig, places: Places, jobs: int) -> str:
    """Join the jobs' pieces: write DATA_DIR/{utt2num_frames,utt2dur,utt2quality,frame_shift,bad_utts} and KIND.scp
    of each kind. Lists of other kinds whose frames are others go into .backup/.

    Returns a line of counts. Raises UserError, leaving earlier features as they were, when more than MAX_UNUSABLE_SHARE
    of the utterances could not be read.
    """
    everything = list(sources(data_dir))
    pieces = [contents for job in range(1, jobs + 1)
              for _, contents in places.pieces(job, len(job_share(everything, job, jobs)))]
    lists = [f"{kind}.scp" for kind in places.makes]
    tables: dict[str, dict[str, Any]] = {name: {} for name in (*lists, "utt2num_frames", "utt2dur", "utt2quality")}
    bad: dict[str, str] = {}
    made: set[Path] = set()
    for contents in pieces:
        found = json.loads(contents.read_text())
        bad |= found["bad"]
        made |= {Path(ark) for ark in found["archives"].values()}
        for utterance, facts in found["utterances"].items():
            for kind, ark in found["archives"].items():
                tables[f"{kind}.scp"][utterance] = f"{ark}:{facts[kind]}"
            tables["utt2num_frames"][utterance] = facts["frames"]
            tables["utt2dur"][utterance] = f"{facts['seconds']:.3f}"
            tables["utt2quality"][utterance] = facts["quality"]
    write_table(data_dir / "bad_utts", bad)
    if len(bad) > MAX_UNUSABLE_SHARE * len(everything):
        examples = "; ".join(f"{utterance}: {reason}" for utterance, reason in list(bad.items())[:2])
        raise UserError(f"{len(bad)} of {len(everything)} utterances of {data_dir} cannot be used, more than "
                        f"{100 * MAX_UNUSABLE_SHARE:.0f} %; all are listed in {data_dir}/bad_utts, such as {examples}")
    before = archives(data_dir, *lists)
    for kind in DEPENDS.keys() - places.makes:
        if outdated(data_dir, kind, config, sampled):  # its frames are others than these
            set_aside(data_dir, [f"{kind}.scp", f"{kind}_conf.json", *({"vad.scp"} - set(lists))])
    for name, table in tables.items():
        write_table(data_dir / name, table)
    with atomic(data_dir / "frame_shift") as file:
        file.write(f"{FRAME_SHIFT}\n")
    for kind in DEPENDS.keys() & places.makes:
        write_conf(data_dir, kind, config)
    for contents in pieces:
        contents.unlink()
    for ark in before - made:
        if ark.parent == places.ark_dir.absolute() and ark.name.startswith(tuple(places.prefixes.values())):
            ark.unlink(missing_ok=True)  # of more jobs than there are now
    frames, hours = sum(tables["utt2num_frames"].values()), sum(map(float, tables["utt2dur"].values())) / 3600
    listed = f", listed in {data_dir}/bad_utts" if bad else ""
    return (f"{data_dir}: {len(tables['utt2dur'])} utterances, {frames} frames, {hours:.2f} h; "
            f"{len(bad)} could not be used{listed}")
