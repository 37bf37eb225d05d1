"""What the report compares: the scored trial lists of an experiment, and the systems that scored them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from deepspeaker.datadir import Segment, read_segments, read_table
from deepspeaker.datadir.trials import TrialList
from deepspeaker.metrics.bootstrap import enough_speakers, resampled
from deepspeaker.metrics.compare import difference
from deepspeaker.metrics.describe import read_alike, score_metrics
from deepspeaker.metrics.rates import eer_threshold, rank
from deepspeaker.metrics.sides import Sides, trial_sides
from deepspeaker.recipe.results import collect
from deepspeaker.scoring.score_files import read_scored

COMPARED = ("eer", "min_dcf_0.01")
WORST = 10  # errors listed of each kind


@dataclass(eq=False)
class System:
    """The scores of one phase and back-end."""

    phase: str
    backend: str
    metrics: Mapping[str, Any]  # as compute_metrics.py --json prints them
    scores: np.ndarray  # (n,)
    llr: np.ndarray | None  # (n,); None if not calibrated

    @property
    def name(self) -> str:
        return f"{self.phase}, {self.backend}"


@dataclass(eq=False)
class ScoredList:
    """One trial list and its systems, in the order of results.tsv."""

    set: str
    name: str
    directory: Path  # the test set's data directory
    trials: TrialList  # the n trials that have a score
    sides: Sides
    systems: list[System]

    @property
    def labels(self) -> np.ndarray:
        """(n,) bool, true for targets."""
        return self.trials.targets

    def latest(self) -> list[System]:
        """The systems of the last phase."""
        return [system for system in self.systems if system.phase == self.systems[-1].phase]


def scored_lists(exp: Path, data: Path, phases: Iterable[str]) -> list[ScoredList]:
    """All trial lists that stage 6 scored, with the scores of these phases and of every back-end."""
    return [_scored_list(exp, data / name, trials, list(rows))
            for (name, trials), rows in groupby(collect(exp, phases), key=lambda row: (row["set"], row["trials"]))]


def _scored_list(exp: Path, directory: Path, trials: str, rows: list[dict[str, Any]]) -> ScoredList:
    path = directory / trials

    def file(kind: str, row: dict[str, Any]) -> Path:
        return Path(exp, row["phase"], kind, directory.name, f"{trials}.{row['backend']}")

    first = read_scored(file("scores", rows[0]), path)
    systems = [System(row["phase"], row["backend"], row, read_alike(file("scores", row), path, first),
                      read_alike(file("llr", row), path, first) if file("llr", row).exists() else None)
               for row in rows]
    enroll = directory / "enroll"
    sides = trial_sides(first.trials, directory / "utt2spk", enroll if enroll.exists() else None)
    return ScoredList(directory.name, trials, directory, first.trials, sides, systems)


def differences(scored: ScoredList) -> list[dict[str, Any]]:
    """Differences of the metrics COMPARED: of each phase from the phase before and, in the last phase, of each back-end
    from the cosine or, where there is none, from the first."""
    pairs = [(a, b) for backend in dict.fromkeys(s.backend for s in scored.systems)
             for a, b in pairwise(s for s in scored.systems if s.backend == backend)]
    first, *others = sorted(scored.latest(), key=lambda s: s.backend != "cosine")
    pairs += [(first, other) for other in others]
    metrics = {name: metric for name, metric in score_metrics().items() if name in COMPARED}
    drawn: dict[str, Mapping[str, np.ndarray]] = {system.name: {} for system in scored.systems}
    if enough_speakers(scored.labels, scored.sides.speakers):
        drawn = {s.name: resampled(s.scores, scored.labels, scored.sides.speakers, metrics) for s in scored.systems}
    return [{"first": a.name, "second": b.name, **{
        name: difference(a.metrics[name], b.metrics[name], drawn[a.name].get(name), drawn[b.name].get(name))
        for name in metrics}} for a, b in pairs]


@dataclass
class Side:
    """One side of a trial to listen to."""

    name: str
    recordings: list[tuple[str, str]]  # (wav.scp entry, the part of it that was used and how it was augmented)
    seconds: float | None  # of all utterances; None if unknown


def worst_errors(scored: ScoredList, system: System) -> dict[str, list[dict[str, object]]]:
    """The WORST errors at the EER threshold: accepted nontarget trials with the highest scores, and rejected target
    trials with the lowest."""
    accepted = system.scores > eer_threshold(rank(system.scores, scored.labels))
    accepts, rejects = np.flatnonzero(accepted & ~scored.labels), np.flatnonzero(~accepted & scored.labels)
    accepts = accepts[np.argsort(-system.scores[accepts], kind="stable")[:WORST]]
    rejects = rejects[np.argsort(system.scores[rejects], kind="stable")[:WORST]]
    seconds = {utterance: float(text) for utterance, text in _table(scored.directory / "utt2dur").items()}
    wav = _table(scored.directory / "wav.scp")
    segments = read_segments(scored.directory) if wav else {}
    changes = _table(scored.directory / "augment")

    def side(name: str, utterances: Sequence[str]) -> Side:
        lengths = [seconds[u] for u in utterances if u in seconds]
        recordings = [_recording(u, wav, segments, changes) for u in utterances]
        return Side(name, recordings, sum(lengths) if lengths else None)

    def trial(i: int) -> dict[str, object]:
        first, second = scored.trials.first[i], scored.trials.second[i]
        return {"score": float(system.scores[i]), "sides": (
            side(scored.trials.first_ids[first], scored.sides.first[first]),
            side(scored.trials.second_ids[second], scored.sides.second[second]))}

    return {"false accepts": [trial(i) for i in accepts.tolist()],
            "false rejects": [trial(i) for i in rejects.tolist()]}


def _recording(utterance: str, wav: Mapping[str, str], segments: Mapping[str, Segment],
               changes: Mapping[str, str]) -> tuple[str, str]:
    if utterance not in segments:
        return utterance, ""
    recording, start, end, channel = segments[utterance]
    until = "" if end is None else f" to {end:g} s"
    part = f"from {start:g} s{until}" if start or until else ""
    side = "" if channel is None else f"channel {channel}"
    return wav.get(recording, recording), " ".join(filter(None, (part, side, changes.get(utterance))))


def _table(path: Path) -> dict[str, str]:
    return read_table(path) if path.exists() else {}
