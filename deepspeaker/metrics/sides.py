"""The two sides of trials: their speakers, and their values in tables of the data directory.

A side is one utterance; with a file `enroll`, the first side is a speaker model: all utterances that enrol it.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepspeaker.datadir import read_lists, read_table
from deepspeaker.datadir.trials import TrialList
from deepspeaker.errors import UserError, examples
from deepspeaker.metrics.breakdown import Grouping, by_category, by_number
from deepspeaker.metrics.identification import ranks
from deepspeaker.scoring.calibration_set import CONDITION
from deepspeaker.scoring.evidence import Evidence, pair_numbers

MOST_CATEGORIES = 10  # different numbers of a column that are grouped as categories


class Sides(NamedTuple):
    """The utterances of each id of a TrialList, and the trials' speakers."""

    first: Sequence[Sequence[str]]  # of each of first_ids
    second: Sequence[Sequence[str]]  # of each of second_ids
    models: bool  # whether the first ids are models
    utt2spk: Mapping[str, str]
    speakers: np.ndarray  # (n, 2) of each trial's two sides, numbered from 0 in the order of names
    names: list[str]


def trial_sides(trials: TrialList, utt2spk: str | os.PathLike[str], enroll: str | os.PathLike[str] | None) -> Sides:
    """Raises UserError for ids without a speaker, models of several, and labels that contradict the speakers."""
    table = read_table(utt2spk)
    second = [[utterance] for utterance in trials.second_ids]
    first = _enrolled(trials.first_ids, enroll) if enroll else [[utterance] for utterance in trials.first_ids]
    of_first, of_second = ([_speaker(side, table, utt2spk) for side in sides] for sides in (first, second))
    names = sorted({*of_first, *of_second})
    number = {name: i for i, name in enumerate(names)}
    speakers = np.column_stack([np.array([number[speaker] for speaker in side])[index]
                                for side, index in ((of_first, trials.first), (of_second, trials.second))])
    if (wrong := np.flatnonzero((speakers[:, 0] == speakers[:, 1]) != trials.targets)).size:
        raise UserError(f"{wrong.size} trials contradict {utt2spk} (targets of two speakers, nontargets of one): "
                        f"{examples(trials.named(wrong))}")
    return Sides(first, second, enroll is not None, table, speakers, names)


def read_evidence(data: Path, trials: TrialList, columns: Mapping[str, np.ndarray]) -> Evidence:
    """Trials with `score` and qualities (n,), with what utt2spk, enroll and utt2condition of their data directory say.

    Without utt2spk each trial counts as one of speakers of its own, without utt2condition all as of one condition.
    """
    if not (data / "utt2spk").exists():
        own = np.arange(len(trials.first))
        return Evidence(columns, trials.targets, np.column_stack([2 * own, 2 * own + ~trials.targets]),
                        np.zeros(len(own), np.int64), 2 * float(trials.targets.sum()))
    enroll = data / "enroll"
    sides = trial_sides(trials, data / "utt2spk", enroll if enroll.exists() else None)
    table = read_table(data / CONDITION) if (data / CONDITION).exists() else dict.fromkeys(sides.utt2spk, "")
    names = sorted({*table.values()})
    first, second = (np.array([names.index(table[side[0]]) for side in each])[index]
                     for each, index in ((sides.first, trials.first), (sides.second, trials.second)))
    recordings = {utterance for side in (*sides.first, *sides.second) for utterance in side}
    return Evidence(columns, trials.targets, sides.speakers, pair_numbers(first, second), len(recordings) / len(names))


def identification_ranks(scores: np.ndarray, trials: TrialList, sides: Sides) -> tuple[np.ndarray, np.ndarray]:
    """identification.ranks of a list: a trial's second side is the probe; of two utterances, either is."""
    speakers = sides.speakers
    if sides.models:
        return ranks(scores, trials.second, speakers[:, 1], speakers[:, 0])
    number = {name: i for i, name in enumerate(trials.second_ids)}
    probes = np.array([number.setdefault(name, len(number)) for name in trials.first_ids])[trials.first]
    return ranks(np.tile(scores, 2), np.append(trials.second, probes), speakers.T[::-1].ravel(), speakers.T.ravel())


def grouping(option: str, trials: TrialList, sides: Sides) -> Grouping:
    """The groups of trials by a table FILE, or FILE:N by its N-th column after the key.

    A table named spk2... is keyed by speaker, any other by utterance. Columns of more than MOST_CATEGORIES different
    numbers are grouped by number (of a model the sum over its utterances, such as all its seconds), others by category
    (of a model the one that all its utterances have).
    """
    path, column = _table_and_column(option)
    rows = {key: row[column - 1] for key, row in read_lists(path).items() if len(row) >= column}
    if not rows:
        raise UserError(f"{path}: no line has {column} fields after the key")
    if path.name.startswith("spk2"):
        rows = {utterance: rows[speaker] for utterance, speaker in sides.utt2spk.items() if speaker in rows}
    name = path.name + (f", column {column}" if column > 1 else "")
    try:
        numbers = {key: float(value) for key, value in rows.items()}
    except ValueError:
        numbers = {}
    if len(set(numbers.values())) > MOST_CATEGORIES:
        return by_number(name, *_values(trials, sides, lambda side: sum(numbers.get(u, np.nan) for u in side), float))
    return by_category(name, *_values(trials, sides, lambda side: _common({rows.get(u) for u in side}), object))


def _values(trials: TrialList, sides: Sides, of_side: Callable[[Sequence[str]], object],
            kind: type) -> list[np.ndarray]:
    """Each trial's value (n,) of its first and of its second side."""
    return [np.array([of_side(side) for side in ids], kind)[index]
            for ids, index in ((sides.first, trials.first), (sides.second, trials.second))]


def _common(values: set[str | None]) -> str | None:
    return values.pop() if len(values) == 1 else None


def _enrolled(models: Sequence[str], path: str | os.PathLike[str]) -> list[list[str]]:
    enroll = read_lists(path)
    if missing := [model for model in models if model not in enroll]:
        raise UserError(f"trials name {len(missing)} models missing from {path}: {examples(missing)}")
    return [enroll[model] for model in models]


def _speaker(side: Sequence[str], utt2spk: Mapping[str, str], path: str | os.PathLike[str]) -> str:
    if missing := [utterance for utterance in side if utterance not in utt2spk]:
        raise UserError(f"trials name {missing[0]}, which has no speaker in {path}")
    speakers = {utt2spk[utterance] for utterance in side}
    if len(speakers) > 1:
        raise UserError(f"the model of {side[0]} has utterances of {len(speakers)} speakers: "
                        f"{examples(sorted(speakers))}")
    return speakers.pop()


def _table_and_column(option: str) -> tuple[Path, int]:
    path, colon, column = option.rpartition(":")
    if colon and column.isdecimal() and int(column) > 0:
        return Path(path), int(column)
    return Path(option), 1
