"""What a calibration learns from: trials with scores and qualities, their speakers and conditions; and how it learns.

In each pair of conditions, such as clean speech against noisy, each speaker counts once among the targets and each pair
of speakers once among the nontargets; all pairs of conditions count the same. A quality is used only if it lowers the
Cllr of speakers that are held out. The bounds are the widest that a pair of conditions supports.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from deepspeaker.errors import UserError
from deepspeaker.scoring.bounds import empirical_bounds
from deepspeaker.scoring.calibration import SCORE, Calibration, apply, fit, logit, quality_of

FOLDS = 5  # of speakers, each held out once
LEAST_SPEAKERS = 10  # for a quality to be learnt
GAIN = 0.002  # bits by which a quality lowers the Cllr at least ...
AGREE = 4  # ... and in so many of the folds
SEED = 0  # of the folds


class Evidence(NamedTuple):
    """n trials."""

    columns: Mapping[str, np.ndarray]  # `score` and qualities (n,)
    labels: np.ndarray  # (n,) bool, true for targets
    speakers: np.ndarray  # (n, 2) of the two sides, numbered from 0
    conditions: np.ndarray  # (n,) numbers of the pair of conditions
    recordings: float  # utterances of a condition

    def among(self, which: np.ndarray) -> "Evidence":
        """The trials that `which` picks."""
        return self._replace(columns={name: values[which] for name, values in self.columns.items()},
                             labels=self.labels[which], speakers=self.speakers[which],
                             conditions=self.conditions[which])

    @property
    def n_speakers(self) -> int:
        return len(np.unique(self.speakers))

    def weights(self) -> np.ndarray:
        """(n,): in each pair of conditions, each pair of speakers weighs 1."""
        pairs = pair_numbers(*self.speakers.T)
        _, group, count = np.unique(np.stack([self.conditions, pairs]), axis=1, return_inverse=True,
                                    return_counts=True)
        found: np.ndarray = 1 / count[group]
        return found


def pair_numbers(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n,) one number for each pair of numbers (n,) and (n,), in either order."""
    low, high = np.minimum(first, second).astype(np.int64), np.maximum(first, second).astype(np.int64)
    found: np.ndarray = high * (high + 1) // 2 + low
    return found


class Learnt(NamedTuple):
    calibration: Calibration
    lines: list[str]  # for the user: what was chosen, and why


def learn(evidence: Evidence, prior: float) -> Learnt:
    """The calibration of these trials, with the qualities that hold for speakers held out, and with bounds.

    prior: of targets where decisions are made. It is fitted halfway, in log odds, between that and even odds, so that
    decisions at both hold. UserError as calibration.fit.
    """
    prior = halfway(prior)
    names, cllr, lines = choose_qualities(evidence, prior)
    found = _fit(evidence, names, prior)
    bounds = widest_bounds(found, evidence)
    least, most = (1 / (1 + np.exp(end)) for end in reversed(bounds))
    lines.append(f"log-likelihood ratios lie between {bounds[0]:.2f} and {bounds[1]:.2f}: {evidence.n_speakers} "
                 f"speakers support decisions at target priors from {least:.2g} to {most:.2g}")
    return Learnt(found._replace(bounds=bounds, speakers=evidence.n_speakers, cllr=cllr), lines)


def halfway(prior: float) -> float:
    """The prior whose log odds are half of this one's."""
    return float(1 / (1 + np.exp(-logit(prior) / 2)))


def widest_bounds(calibration: Calibration, evidence: Evidence) -> tuple[float, float]:
    """The bounds of the log-likelihood ratios: the widest of all pairs of conditions.

    A condition in which hardly a trial reaches a ratio neither supports nor contradicts it. All pairs of speakers
    count, though only those most alike are tried: the others would mislead less.
    """
    llr, weights, speakers = apply(calibration, evidence.columns), evidence.weights(), evidence.n_speakers
    found = []
    for which in _each_condition(evidence):
        if 0 < evidence.labels[which].sum() < which.sum():
            found.append(empirical_bounds(llr[which], evidence.labels[which], weights[which],
                                          max(1.0, evidence.recordings / 2), max(1.0, speakers * (speakers - 1) / 2)))
    return min((low for low, _ in found), default=0.0), max((high for _, high in found), default=0.0)


def choose_qualities(evidence: Evidence, prior: float) -> tuple[list[str], float | None, list[str]]:
    """(names of the qualities to use, Cllr of speakers held out with them or None, what to tell the user).

    One is added after the other, that which lowers the Cllr most, as long as it lowers it by GAIN and in AGREE folds.
    """
    candidates = list(dict.fromkeys(quality_of(name) for name in evidence.columns if name != SCORE))
    best = held_out_cllr(evidence, [], prior)
    if best is None or evidence.n_speakers < LEAST_SPEAKERS:
        lines = [f"{name}: off, {evidence.n_speakers} speakers are too few to learn it (at least {LEAST_SPEAKERS})"
                 for name in candidates]
        return [], None if best is None else float(best.mean()), lines
    chosen: list[str] = []
    lines = []
    while candidates:
        tried = {n: c for n in candidates if (c := held_out_cllr(evidence, [*chosen, n], prior)) is not None}
        name, cllr = min(tried.items(), key=lambda item: float(item[1].mean()))
        if best.mean() - cllr.mean() < GAIN or (cllr < best).sum() < AGREE:
            lines += [f"{n}: off, Cllr of speakers held out {best.mean():.3f} -> {c.mean():.3f} bits with it"
                      for n, c in tried.items()]
            break
        lines.append(f"{name}: used, Cllr of speakers held out {best.mean():.3f} -> {cllr.mean():.3f} bits")
        best, chosen = cllr, [*chosen, name]
        candidates.remove(name)
    return chosen, float(best.mean()), lines


def held_out_cllr(evidence: Evidence, qualities: Collection[str], prior: float) -> np.ndarray | None:
    """Cllr (FOLDS,) in bits, mean over the pairs of conditions, of trials with a speaker that the fit has not seen.

    None where there are too few speakers to do without a fold.
    """
    try:
        found = np.array([mean_cllr(calibration, evidence.among(held_out))
                          for held_out, calibration in held_out_folds(evidence, qualities, prior)])
    except UserError:
        return None
    return None if np.isnan(found).any() else found


def held_out_llr(evidence: Evidence, calibration: Calibration) -> np.ndarray:
    """Log-likelihood ratios (n,) by calibrations like this one, its bounds included, none of which has seen both
    speakers of the trial; of trials with speakers in two folds the mean of both.

    UserError where there are too few speakers to do without a fold.
    """
    sums, counts = np.zeros(len(evidence.labels)), np.zeros(len(evidence.labels))
    for held_out, found in held_out_folds(evidence, calibration.qualities, calibration.prior):
        bounded = found._replace(bounds=calibration.bounds)
        sums[held_out] += apply(bounded, evidence.among(held_out).columns)
        counts[held_out] += 1
    llr: np.ndarray = sums / counts
    return llr


def held_out_folds(evidence: Evidence, qualities: Collection[str],
                   prior: float) -> Iterator[tuple[np.ndarray, Calibration]]:
    """For each fold of speakers the trials (n,) bool with one of them, and the calibration of the other trials.

    UserError where the others have no targets or no nontargets.
    """
    everybody = np.unique(evidence.speakers)
    fold_of = np.zeros(everybody.max() + 1, np.int64)
    fold_of[np.random.default_rng(SEED).permutation(everybody)] = np.arange(len(everybody)) % FOLDS
    for fold in range(min(FOLDS, len(everybody))):
        held_out = (fold_of[evidence.speakers] == fold).any(1)
        yield held_out, _fit(evidence.among(~held_out), qualities, prior)


def mean_cllr(calibration: Calibration, evidence: Evidence) -> float:
    """Cllr in bits, mean over the pairs of conditions that have targets and nontargets; nan where none has."""
    llr, weights = apply(calibration, evidence.columns), evidence.weights()
    costs = np.logaddexp(0, np.where(evidence.labels, -llr, llr)) / np.log(2)
    found = [np.average(costs[of_targets], weights=weights[of_targets])
             + np.average(costs[of_nontargets], weights=weights[of_nontargets])
             for which in _each_condition(evidence)
             if (of_targets := which & evidence.labels).any() and (of_nontargets := which & ~evidence.labels).any()]
    return float(np.mean(found) / 2) if found else float("nan")


def _fit(evidence: Evidence, qualities: Collection[str], prior: float) -> Calibration:
    columns = {name: values for name, values in evidence.columns.items()
               if name == SCORE or quality_of(name) in qualities}
    return fit(columns, evidence.labels, prior, evidence.weights())


def _each_condition(evidence: Evidence) -> Iterator[np.ndarray]:
    """(n,) bool for each pair of conditions."""
    for number in np.unique(evidence.conditions):
        yield evidence.conditions == number
