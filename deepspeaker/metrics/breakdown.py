"""Errors by groups of trials, at the threshold of the whole list's EER.

A system in use has one threshold: a group's miss and false-accept rates at it show which trials the system fails on,
while a group's own EER shows how well targets and nontargets of the group can be separated.
"""

from typing import NamedTuple

import numpy as np

from deepspeaker.metrics import rates
from deepspeaker.metrics.bootstrap import enough_speakers, interval, resampled
from deepspeaker.metrics.rates import eer_threshold, rank

QUARTILES = (25, 50, 75)
MOST_VALUES = 12  # of a category, for each value to get a row
UNKNOWN = "unknown"


class Grouping(NamedTuple):
    """Named groups of trials; they may overlap."""

    name: str
    groups: dict[str, np.ndarray]  # group -> (n,) bool


def by_number(name: str, first: np.ndarray, second: np.ndarray) -> Grouping:
    """Quartiles of the trials by the smaller of their two sides' numbers (n,), nan: unknown. The smaller duration or
    signal-to-noise ratio limits what a trial can show."""
    smaller = np.minimum(first, second)
    known = ~np.isnan(smaller)
    groups = {}
    if known.any():
        edges = np.unique(np.percentile(smaller[known], QUARTILES))
        place = np.searchsorted(edges, smaller)  # the edge itself belongs below
        shown = [f"{edge:.4g}" for edge in edges]
        names = [f"up to {shown[0]}", *(f"{a} to {b}" for a, b in zip(shown, shown[1:], strict=False)),
                 f"over {shown[-1]}"]
        groups = {group: known & (place == i) for i, group in enumerate(names)}
    return Grouping(f"{name}, smaller side", _nonempty(groups | {UNKNOWN: ~known}))


def by_category(name: str, first: np.ndarray, second: np.ndarray) -> Grouping:
    """Trials whose two sides have the same value, by value and all together, and trials whose sides differ.

    first, second (n,): values, None: unknown. With more than MOST_VALUES values only the sums are shown.
    """
    known = np.array([a is not None and b is not None for a, b in zip(first, second, strict=True)], bool)
    same = known & (first == second)
    values = sorted(set(first[same]))
    groups = {f"both {value}": same & (first == value) for value in values} if len(values) <= MOST_VALUES else {}
    return Grouping(name, _nonempty(groups | {"same": same, "different": known & ~same, UNKNOWN: ~known}))


def breakdown(grouping: Grouping, scores: np.ndarray, labels: np.ndarray,
              speakers: np.ndarray) -> list[dict[str, float | int | str | None]]:
    """A row for each group: its trials, its miss and false-accept rate in percent at the whole list's EER threshold,
    and its own EER with its interval. What a group without targets or nontargets cannot have is None."""
    accepted = scores > eer_threshold(rank(scores, labels))
    rows = []
    for group, mask in grouping.groups.items():
        target, nontarget = mask & labels, mask & ~labels
        row: dict[str, float | int | str | None] = {
            "group": group, "n_target": int(target.sum()), "n_nontarget": int(nontarget.sum()),
            "miss": 100 * float(1 - accepted[target].mean()) if target.any() else None,
            "false_accept": 100 * float(accepted[nontarget].mean()) if nontarget.any() else None,
            "eer": None, "eer_low": None, "eer_high": None}
        if target.any() and nontarget.any():
            row["eer"] = 100 * rates.eer(rank(scores[mask], labels[mask]))
            if enough_speakers(labels[mask], speakers[mask]):
                drawn = resampled(scores[mask], labels[mask], speakers[mask], {"eer": rates.eer})["eer"]
                row["eer_low"], row["eer_high"] = (100 * end for end in interval(drawn))
        rows.append(row)
    return rows


def _nonempty(groups: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: mask for name, mask in groups.items() if mask.any()}
