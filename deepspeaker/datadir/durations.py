"""Seconds of utterances and recordings, from their features or the headers of their audio: get_utt2dur.sh,
get_reco2dur.sh."""

import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deepspeaker.audio.frames import FRAME_SHIFT
from deepspeaker.datadir.options import expect, number, parse, shell_door
from deepspeaker.datadir.tables import (
    lengths,
    read_keys,
    read_lines,
    refuse_repeated,
    require,
    require_values,
    segment_rows,
    shown,
    write_files,
)
from deepspeaker.errors import UserError

# --cmd and --read-entire-file are for callers that hand them to Kaldi's scripts: these durations need no
# jobs, and a command's output is always read to its end.
OPTIONS = {"--nj": "", "--frame-shift": "", "--cmd": "", "--read-entire-file": ""}
REPORTED = 5  # recordings named in a message
OVERLAP = 1.5  # shifts by which frames last longer than their shifts: (25 ms - 10 ms) / 10 ms, as Kaldi assumes


def seconds(entry: str) -> float:
    """Length of the audio of a wav.scp entry."""
    from deepspeaker.audio.reading import seconds  # here alone: the other tools start without libsndfile

    try:
        return seconds(entry)
    except FileNotFoundError as error:
        raise UserError(f"no such file {error.filename}") from None


def written(length: float) -> bytes:
    """Seconds with at most six decimals, trailing zeros left out."""
    return f"{length:.6f}".rstrip("0").rstrip(".").encode()


def recording_durations(directory: Path, jobs: int) -> dict[bytes, float]:
    """Recording -> seconds, for all of wav.scp. Raises UserError that names what could not be read."""
    path = require(directory / "wav.scp")
    lines = read_lines(path)
    require_values(lines, path)
    rows = [line.split(None, 1) for line in lines]
    refuse_repeated([row[0] for row in rows], path)

    def attempt(row: list[bytes]) -> float | str:
        try:
            return seconds(os.fsdecode(row[1]).strip())
        except (UserError, OSError) as error:
            return f"{shown(row[0])}: {error}"

    with ThreadPoolExecutor(jobs) as pool:
        found = list(pool.map(attempt, rows))
    if failed := [result for result in found if isinstance(result, str)]:
        more = f"\n... and {len(failed) - REPORTED} more" if len(failed) > REPORTED else ""
        raise UserError(
            f"{path}: {len(failed)} of {len(rows)} failed:\n" + "\n".join(failed[:REPORTED]) + more
        )
    return {row[0]: length for row, length in zip(rows, found, strict=True) if not isinstance(length, str)}


def segment_durations(directory: Path, jobs: int) -> dict[bytes, float]:
    """Utterance -> seconds, from segments; audio is opened only for segments up to the end of a recording (-1)."""
    path = directory / "segments"
    rows = segment_rows(read_lines(path), path)
    try:
        times = [(float(start), float(end)) for _, _, start, end, *_ in rows]
    except ValueError as error:
        raise UserError(f"badly formatted segments file {path}: {error}") from None
    whole: Mapping[bytes, float] = {}
    if any(end == -1 for _, end in times):
        whole = recording_durations(directory, jobs)
    found = {}
    for line, ((utterance, recording, *_), (start, end)) in enumerate(zip(rows, times, strict=True), 1):
        length = (whole.get(recording, 0.0) if end == -1 else end) - start
        if length <= 0:
            raise UserError(
                f"badly formatted segments file {path}:{line}: {shown(utterance)} lasts {length} s"
            )
        found[utterance] = length
    return found


def frame_counts(directory: Path) -> dict[bytes, float]:
    """Utterance -> frames, from utt2num_frames, else feats.scp. UserError where there is neither."""
    path, feats = directory / "utt2num_frames", directory / "feats.scp"
    if path.is_file():
        return lengths(read_lines(path), path)
    if not feats.is_file():
        raise UserError(f"expected segments, wav.scp, utt2num_frames or feats.scp in {directory}, found none of them")
    import numpy as np  # here alone, and what imports it: the other tools start without it

    from deepspeaker.datadir.archive import MatrixTable

    table = MatrixTable(feats)
    rows = table.layout(np.arange(len(table.keys)))["rows"].tolist()
    return {key.encode(): float(count) for key, count in zip(table.keys, rows, strict=True)}


def utterance_durations(directory: Path, jobs: int, frame_shift: float = FRAME_SHIFT) -> dict[bytes, float]:
    """Utterance -> seconds, from the first of these that is there: segments; the frames of all utterances and their
    shift (utt2num_frames, frame_shift); wav.scp; frames, `frame_shift` seconds apart where no file says it."""
    if (directory / "segments").is_file():
        return segment_durations(directory, jobs)
    shift = directory / "frame_shift"
    counted = shift.is_file() and complete(directory / "utt2num_frames", directory / "utt2spk")
    if not counted and (directory / "wav.scp").is_file():
        return recording_durations(directory, jobs)
    counts = frame_counts(directory)
    if shift.is_file():
        frame_shift = positive(shift.read_text(), shift)
    return {utterance: (count + OVERLAP) * frame_shift for utterance, count in counts.items()}


def positive(text: str, what: str | os.PathLike[str]) -> float:
    """A number of seconds above 0, or UserError."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise UserError(f"{what}: expected seconds above 0, found {text.strip()!r}")
    return found


def complete(path: Path, expected: Path) -> bool:
    """Whether a file has a line for each id of another."""
    return path.is_file() and set(read_keys(path)) >= set(read_keys(expected))


def main() -> None:
    tool = Path(sys.argv[0]).stem  # get_utt2dur or get_reco2dur
    values, args = parse(sys.argv[1:], OPTIONS, f"{tool}.sh [--nj N] [--frame-shift SECONDS] data-dir")
    directory = Path(*expect(args, (1,), f"{tool}.sh data-dir"))
    jobs = number(values["--nj"], "--nj") if values["--nj"] else os.cpu_count() or 1
    of_recordings = tool == "get_reco2dur"
    name, source = ("reco2dur", "wav.scp") if of_recordings else ("utt2dur", "utt2spk")
    if complete(directory / name, require(directory / source)):
        print(f"{tool}.sh: {directory / name} already exists and is complete")
        return
    known = directory / "utt2dur"
    if not of_recordings:
        shift = values["--frame-shift"]
        found = utterance_durations(directory, jobs, positive(shift, "--frame-shift") if shift else FRAME_SHIFT)
    elif not (directory / "segments").is_file() and complete(known, directory / source):
        found = lengths(read_lines(known), known)  # an utterance is a recording
    else:
        found = recording_durations(directory, jobs)
    write_files(directory, {name: [key + b" " + written(found[key]) for key in sorted(found)]})
    print(
        f"{tool}.sh: computed {directory / name}: {len(found)} lines, {sum(found.values()) / 3600:.2f} hours"
    )


if __name__ == "__main__":
    shell_door(main)
