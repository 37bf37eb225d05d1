"""Score files: lines `id1 id2 score`, one for each trial of a list."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepspeaker.atomic import atomic
from deepspeaker.datadir.text_columns import Numbering, read_blocks
from deepspeaker.datadir.trials import TrialList, read_trial_list
from deepspeaker.errors import UserError, examples

LINES_AT_ONCE = 1 << 12  # written together


class Scored(NamedTuple):
    """The trials of a list that have a score."""

    trials: TrialList
    scores: np.ndarray  # (n,) float64
    lost: int  # trials without a score


def write_scores(path: str | os.PathLike[str], trials: TrialList, scores: np.ndarray) -> None:
    """Write the scores (n,) of trials, in their order. Raises UserError for a score that is not a number."""
    if (wrong := np.flatnonzero(np.isnan(scores))).size:
        raise UserError(f"{path}: {wrong.size} scores are not numbers: {examples(trials.named(wrong))}; check the "
                        f"embeddings")
    first, second = np.array(trials.first_ids, object)[trials.first], np.array(trials.second_ids, object)[trials.second]
    with atomic(path) as file:
        for start in range(0, len(scores), LINES_AT_ONCE):
            block = slice(start, start + LINES_AT_ONCE)
            rows = zip(first[block].tolist(), second[block].tolist(), scores[block].tolist(), strict=True)
            file.write("".join([f"{a} {b} {score:.6f}\n" for a, b, score in rows]))


def write_best(path: str | os.PathLike[str], models: Sequence[str], utterances: Sequence[str],
               blocks: Iterable[Sequence[np.ndarray]]) -> None:
    """Write the blocks of best_models as lines `model utterance score`, the best models of an utterance first."""
    with atomic(path) as file:
        for rows, best, scores in blocks:
            file.writelines(f"{models[i]} {utterances[row]} {score:.6f}\n"
                            for row, several, values in zip(rows, best, scores, strict=True)
                            for i, score in zip(several, values, strict=True))


def read_scores(path: str | os.PathLike[str], trials: TrialList, trials_path: str | os.PathLike[str]) -> np.ndarray:
    """The scores (n,) float64 of n trials, in their order; NaN where the file has none.

    UserError for a malformed line, a score that is not a number, a pair that appears twice, and pairs that are not
    trials; trials_path: for the message.
    """
    listed, (scored, values) = trials.pairs(), _scored_pairs(path, trials)
    if np.array_equal(scored, listed):  # the usual case
        return values
    rank, order = np.argsort(scored, kind="stable"), np.argsort(listed)
    place = order[np.searchsorted(listed, scored[rank], sorter=order).clip(max=len(listed) - 1)]
    if (stray := rank[listed[place] != scored[rank]]).size:
        raise UserError(f"{path}: {stray.size} scored pairs are not trials of {trials_path}, the first in line "
                        f"{stray.min() + 1}: is it the score file of another list?")
    if (again := rank[1:][place[1:] == place[:-1]]).size:
        raise UserError(f"{path}: {again.size} pairs have a second score, the first in line {again.min() + 1}")
    found = np.full(len(listed), np.nan)
    found[place] = values[rank]
    return found


def _scored_pairs(path: str | os.PathLike[str], trials: TrialList) -> tuple[np.ndarray, np.ndarray]:
    """Each line's (number that TrialList.pairs gives its pair, -1 for other ids; score float64), (n,) each."""
    expected = "id1 id2 score"
    first, second = Numbering(trials.first_ids), Numbering(trials.second_ids)
    pairs, values = [np.zeros(0, np.int64)], [np.zeros(0)]
    for block in read_blocks(path, 3, expected):
        scores = _floats(block.texts(2))
        if (wrong := np.flatnonzero(np.isnan(scores))).size:
            found = block.data.split(b"\n", wrong[0] + 1)[wrong[0]].decode()
            raise UserError(f"{path}:{block.number + wrong[0]}: expected '{expected}', found {found!r}")
        i, j = first.known(block, 0).astype(np.int64), second.known(block, 1)
        pairs.append(np.where((i < 0) | (j < 0), -1, i * len(trials.second_ids) + j))
        values.append(scores)
    return np.concatenate(pairs), np.concatenate(values)


def read_measured(trials: Path, scores: Path, qualities: Sequence[Path]) -> tuple[TrialList, dict[str, np.ndarray]]:
    """(the trials of a list that have a score, their columns (n,): `score` and each quality by its name).

    A quality's name is the ending of its file's name. UserError for a quality that lacks one of the trials.
    """
    listed = read_trial_list(trials)
    columns = {name: read_scores(path, listed, trials)
               for name, path in {"score": scores, **{path.suffix[1:]: path for path in qualities}}.items()}
    scored = ~np.isnan(columns["score"])
    for path in qualities:
        if (missing := np.flatnonzero(scored & np.isnan(columns[path.suffix[1:]]))).size:
            raise UserError(f"{path}: {missing.size} trials with a score have no value: "
                            f"{examples(listed.named(missing))}")
    return listed.subset(scored), {name: values[scored] for name, values in columns.items()}


def read_scored(scores: str | os.PathLike[str], trials: str | os.PathLike[str]) -> Scored:
    """The scores of a list, in its order. Raises UserError as read_trial_list and read_scores."""
    listed = read_trial_list(trials)
    values = read_scores(scores, listed, trials)
    scored = ~np.isnan(values)
    return Scored(listed.subset(scored), values[scored], int((~scored).sum()))


def _floats(texts: list[bytes]) -> np.ndarray:
    """(n,) float64; NaN for a text that is not a number."""
    try:
        return np.fromiter(map(float, texts), np.float64, len(texts))
    except ValueError:
        return np.array([_float(text) for text in texts])


def _float(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
