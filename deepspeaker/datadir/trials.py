"""Trial lists: lines `id1 id2 target|nontarget`, read, written, and made from a data directory's speakers."""

import itertools
import math
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from deepspeaker.atomic import atomic
from deepspeaker.datadir import spk2utt
from deepspeaker.datadir.text_columns import Numbering, read_blocks
from deepspeaker.errors import UserError, examples

TARGET, NONTARGET = "target", "nontarget"
VOXCELEB = ("1 ", "0 ")  # how lines begin in VoxCeleb's lists, '1|0 id1 id2'
CONVERT = (", VoxCeleb's form: give ids of utt2spk instead of paths, move the list away, and convert it with "
           f"""awk '{{print $2, $3, $1 ? "{TARGET}" : "{NONTARGET}"}}' LIST >trials""")


class Trial(NamedTuple):
    """Two utterances (or a speaker model and an utterance) and whether the same person speaks."""

    first: str
    second: str
    target: bool


class TrialList(NamedTuple):
    """Trials by index: n trials in the file's order; each id is listed once."""

    first_ids: list[str]
    second_ids: list[str]
    first: np.ndarray  # (n,) int32, positions in first_ids
    second: np.ndarray  # (n,) int32, positions in second_ids
    targets: np.ndarray  # (n,) bool

    def pairs(self) -> np.ndarray:
        """(n,) int64: one number for each pair of ids."""
        found: np.ndarray = self.first.astype(np.int64) * len(self.second_ids) + self.second
        return found

    def named(self, which: np.ndarray) -> Iterator[str]:
        """The ids of the trials that `which` picks, for a message."""
        return (f"{self.first_ids[self.first[n]]} {self.second_ids[self.second[n]]}" for n in which)

    def one_by_one(self) -> list[Trial]:
        """The trials in the file's order."""
        return [Trial(self.first_ids[i], self.second_ids[j], target)
                for i, j, target in zip(self.first.tolist(), self.second.tolist(), self.targets.tolist(), strict=True)]

    def subset(self, which: np.ndarray) -> "TrialList":
        """The trials that `which` picks; the ids stay."""
        return self._replace(first=self.first[which], second=self.second[which], targets=self.targets[which])


def read_trial_list(path: str | os.PathLike[str]) -> TrialList:
    """Raises UserError for a malformed line, a trial that stands twice (with or without the same label), and a list
    without any."""
    expected = f"id1 id2 {TARGET}|{NONTARGET}"
    first, second, labels = (Numbering() for _ in range(3))
    blocks = [(first.numbers(block, 0), second.numbers(block, 1), labels.numbers(block, 2))
              for block in read_blocks(path, 3, expected)]
    if not blocks:
        raise UserError(f"{path}: holds no trials; expected lines '{expected}'")
    i, j, label = map(np.concatenate, zip(*blocks, strict=True))
    if strange := [number for number, name in enumerate(labels.ids) if name not in (TARGET, NONTARGET)]:
        line = int(np.argmax(label == strange[0]))
        found = f"{first.ids[i[line]]} {second.ids[j[line]]} {labels.ids[strange[0]]}"
        convert = CONVERT if line == 0 and found.startswith(VOXCELEB) else ""
        raise UserError(f"{path}:{line + 1}: expected '{expected}', found {found!r}{convert}")
    trials = TrialList(first.ids, second.ids, i, j, np.array([name == TARGET for name in labels.ids])[label])
    _refuse_repeated(path, trials)
    return trials


def _refuse_repeated(path: str | os.PathLike[str], trials: TrialList) -> None:
    pairs = trials.pairs()
    ranked = np.sort(pairs)
    if (ranked[1:] != ranked[:-1]).all():
        return
    order = np.argsort(pairs, kind="stable")
    again = np.flatnonzero(pairs[order[1:]] == pairs[order[:-1]])
    before, after = order[again], order[again + 1]
    contradictory = trials.targets[before] != trials.targets[after]
    if contradictory.any():
        before, after = before[contradictory], after[contradictory]
    what = "are both target and nontarget" if contradictory.any() else "stand twice"
    lines = (f"{trial} (lines {a + 1} and {b + 1})"
             for trial, a, b in zip(trials.named(before), before, after, strict=True))
    raise UserError(f"{path}: {len(before)} trials {what}: {examples(lines)}; leave one line of each")


def read_trials(path: str | os.PathLike[str]) -> list[Trial]:
    """The trials in the file's order; raises UserError as read_trial_list."""
    return read_trial_list(path).one_by_one()


def write_trials(path: str | os.PathLike[str], trials: Iterable[Trial]) -> None:
    """Write trials in the order given, under a temporary name renamed when whole."""
    with atomic(path) as file:
        file.writelines(f"{a} {b} {TARGET if target else NONTARGET}\n" for a, b, target in trials)


def make_trials(utt2spk: Mapping[str, str], spk2gender: Mapping[str, str] | None = None,
                targets: int | None = None, nontargets: int | None = None, seed: int = 0) -> list[Trial]:
    """Target and nontarget trials, sorted; no pair twice, in either order, none of an utterance with itself.

    targets: their maximum number (None: every pair of utterances of a speaker); nontargets: theirs (None: as many as
    targets). With spk2gender, both speakers of a nontarget have the same gender. Trials are spread evenly over the
    speakers as far as their utterances allow. Raises UserError where no target or no nontarget trial is possible.
    """
    rng = random.Random(seed)
    speakers = spk2utt(utt2spk)
    same = target_pairs(speakers, targets, rng)
    other = nontarget_pairs(speakers, spk2gender, len(same) if nontargets is None else nontargets, rng)
    found = f"found {len(utt2spk)} utterances of {len(speakers)} speakers"
    if targets != 0 and not same:
        raise UserError(f"no target trial is possible: {found}, none with two utterances")
    if nontargets != 0 and not other:
        alike = " of one gender" if spk2gender is not None else ""
        raise UserError(f"no nontarget trial is possible: {found}, no two{alike}")
    return sorted(Trial(min(pair), max(pair), target) for pairs, target in ((same, True), (other, False))
                  for pair in pairs)


def target_pairs(speakers: Mapping[str, Sequence[str]], count: int | None,
                 rng: random.Random) -> list[tuple[str, str]]:
    """`count` pairs (None: all) of utterances of one speaker, shared evenly over the speakers."""
    room = {speaker: len(utts) * (len(utts) - 1) // 2 for speaker, utts in speakers.items()}
    if count is None or count >= sum(room.values()):
        return [pair for utts in speakers.values() for pair in itertools.combinations(utts, 2)]
    pairs = []
    for speaker, number in share_evenly(count, room, rng).items():
        utts = speakers[speaker]
        pairs += [unordered_pair(utts, index) for index in rng.sample(range(room[speaker]), number)]
    return pairs


def unordered_pair(items: Sequence[str], index: int) -> tuple[str, str]:
    """Pair number `index` of the n(n-1)/2 pairs (0,1) (0,2) (1,2) (0,3) ..., without listing them."""
    later = (1 + math.isqrt(1 + 8 * index)) // 2
    return items[index - later * (later - 1) // 2], items[later]


def nontarget_pairs(speakers: Mapping[str, Sequence[str]], spk2gender: Mapping[str, str] | None, count: int,
                    rng: random.Random) -> list[tuple[str, str]]:
    """`count` pairs of utterances of two speakers (of one gender), shared evenly over the speakers."""
    rivals = {}
    for alike in by_gender(speakers, spk2gender):
        rng.shuffle(alike)
        rivals.update({speaker: ahead(alike, position) for position, speaker in enumerate(alike)})
    size = {speaker: len(utts) for speaker, utts in speakers.items()}
    room = {speaker: size[speaker] * sum(size[rival] for rival in rivals[speaker]) for speaker in rivals}
    pairs = []
    for speaker, number in share_evenly(count, room, rng).items():
        pool = {rival: size[speaker] * size[rival] for rival in rivals[speaker]} if number else {}
        for rival, several in share_evenly(number, pool, rng).items():
            for index in rng.sample(range(pool[rival]), several):
                own, other = divmod(index, size[rival])
                pairs.append((speakers[speaker][own], speakers[rival][other]))
    return pairs


def by_gender(speakers: Iterable[str], spk2gender: Mapping[str, str] | None) -> list[list[str]]:
    """The speakers in groups of one gender; one group when genders are not given."""
    groups: dict[str | None, list[str]] = {}
    for speaker in speakers:
        groups.setdefault(spk2gender.get(speaker) if spk2gender else None, []).append(speaker)
    return list(groups.values())


def ahead(circle: Sequence[str], position: int) -> list[str]:
    """The half of a circle that follows a place: so each pair of the circle falls to exactly one of its two.

    In an even circle the one opposite falls to whoever stands in its first half.
    """
    size = len(circle)
    steps = (size - 1) // 2 + (size % 2 == 0 and position < size // 2)
    return [circle[(position + step) % size] for step in range(1, steps + 1)]


def share_evenly(total: int, room: Mapping[str, int], rng: random.Random) -> dict[str, int]:
    """Share `total` out as evenly as possible, nobody above its room; what does not divide goes by lot."""
    given = dict.fromkeys(room, 0)
    left = min(total, sum(room.values()))
    unfilled = [name for name in room if room[name]]
    while left >= len(unfilled) > 0:
        each = left // len(unfilled)
        for name in unfilled:
            extra = min(each, room[name] - given[name])
            given[name] += extra
            left -= extra
        unfilled = [name for name in unfilled if given[name] < room[name]]
    for name in rng.sample(unfilled, left):
        given[name] += 1
    return given
