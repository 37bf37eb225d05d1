"""Nontarget trials as hard as they are elsewhere, for calibration.

Nontargets drawn at random are mostly easy, and then their number decides the threshold. Here a speaker meets the
third of the others, of the same gender where it is known, whose mean embeddings are the most alike. Every condition is
compared with every other and with itself: clean speech with clean, clean with noisy, and so on.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from deepspeaker.datadir import spk2utt
from deepspeaker.datadir.trials import Trial, TrialList
from deepspeaker.scoring.enrolment import unit

ALIKE = 1 / 3  # of the other speakers, those most alike
MOST = 60_000  # trials of each kind
Names = tuple[Sequence[str], Sequence[str]]  # of a list's first ids and second ids


def speaker_means(vectors: Mapping[str, np.ndarray], utt2spk: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Speaker -> mean of the vectors (E,) of the utterances that have one; of speakers that have any."""
    speakers = {name: several for name, utterances in spk2utt(utt2spk).items()
                if (several := [vectors[u] for u in utterances if u in vectors])}
    return {name: np.stack(several).astype(np.float64).mean(0) for name, several in speakers.items()}


def alike(means: Mapping[str, np.ndarray], genders: Mapping[str, str]) -> set[tuple[str, str]]:
    """The pairs of speakers, in both orders, that make nontargets: each with the ALIKE most similar of its gender.

    means: speaker -> mean embedding (E,). A speaker whose gender is not known, or whom no other shares it with, meets
    any.
    """
    names, vectors = list(means), unit(np.stack([*means.values()]))
    cosines = vectors @ vectors.T
    found = set()
    for row, name in enumerate(names):
        others = [i for i, other in enumerate(names) if i != row]
        same = [i for i in others if genders.get(names[i], "") in (genders.get(name, ""), "") or name not in genders]
        candidates = np.array(same or others, np.int64)
        likest = candidates[np.argsort(-cosines[row, candidates], kind="stable")]
        for i in likest[:int(np.ceil(ALIKE * len(likest)))]:
            found |= {(name, names[i]), (names[i], name)}
    return found


def draw(trials: TrialList, speakers: Names, pairs: set[tuple[str, str]], conditions: Sequence[Names],
         seed: int) -> list[Trial]:
    """The targets of a list, and nontargets of pairs of speakers, in every combination of conditions; sorted.

    speakers: who speaks in the list's ids; conditions: what these ids are called in each condition. At most MOST trials
    of each kind, spread evenly over the combinations and the pairs of speakers.
    """
    rng = np.random.default_rng(seed)
    first_of, second_of = map(_rows_of, speakers)
    between = [(first_of[a], second_of[b]) for a, b in sorted(pairs) if a in first_of and b in second_of]
    same = np.column_stack([trials.first, trials.second])[trials.targets]
    combinations = list(itertools.product(conditions, repeat=2))
    most = MOST // len(combinations)
    found = set()
    for (firsts, _), (_, seconds) in combinations:
        rows = same[_some(len(same), most, rng)]
        found |= {Trial(firsts[i], seconds[j], True) for i, j in rows.tolist()}
        for pair in _some(len(between), most, rng):
            left, right = between[pair]
            picked = _some(len(left) * len(right), max(1, most // len(between)), rng)
            found |= {Trial(firsts[left[n // len(right)]], seconds[right[n % len(right)]], False)
                      for n in picked.tolist()}
    return sorted(found)


def _rows_of(speakers: Sequence[str]) -> dict[str, list[int]]:
    """Speaker -> the positions of its ids."""
    found: dict[str, list[int]] = {}
    for row, speaker in enumerate(speakers):
        found.setdefault(speaker, []).append(row)
    return found


def _some(count: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """`most` of the numbers up to `count`, drawn, or all."""
    return np.arange(count) if count <= most else rng.choice(count, most, replace=False)
