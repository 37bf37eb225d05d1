"""Trial lists: lines `id1 id2 target|nontarget`, read, written, and made from a data directory's speakers.

VoxCeleb's lists, lines `1|0 id1 id2`, are read as well. Their ids may be paths below the corpus's folder:
`id10270/x6uYqmx31kE/00001.wav` is utterance `id10270-x6uYqmx31kE-00001`, as local/voxceleb.py and local/folder.py
name it.
"""

import itertools
import math
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepspeaker.atomic import atomic
from deepspeaker.datadir import lines, read_table, spk2utt, words
from deepspeaker.datadir.text_columns import Numbering, read_blocks
from deepspeaker.errors import UserError, examples

TARGET, NONTARGET = "target", "nontarget"


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

    def subset(self, which: np.ndarray) -> "TrialList":
        """The trials that `which` picks; the ids stay."""
        return self._replace(first=self.first[which], second=self.second[which], targets=self.targets[which])


class Form(NamedTuple):
    """How the lines of a trial list are written."""

    line: str  # for messages
    first: int  # column of id1
    second: int  # column of id2
    label: int
    targets: dict[str, bool]  # label -> whether it is a target
    repeats: bool  # whether a trial may stand twice


KALDI = Form(f"id1 id2 {TARGET}|{NONTARGET}", 0, 1, 2, {TARGET: True, NONTARGET: False}, repeats=False)
VOXCELEB = Form("1|0 id1 id2", 1, 2, 0, {"1": True, "0": False}, repeats=True)


def read_trial_list(path: str | os.PathLike[str]) -> TrialList:
    """Raises UserError for a malformed line, a trial that stands twice (with or without the same label), and a list
    without any. The first line says which form a list has. A trial that VoxCeleb repeats is taken once, and an id that
    utt2spk and enroll beside the list lack is taken for a path, if they have its utterance."""
    return _read(path)[0]


def _read(path: str | os.PathLike[str]) -> tuple[TrialList, np.ndarray]:
    """(the trials, the number of each one's line)."""
    form = _form(path)
    first, second, labels = (Numbering() for _ in range(3))
    blocks = [(first.numbers(block, form.first), second.numbers(block, form.second), labels.numbers(block, form.label))
              for block in read_blocks(path, 3, form.line)]
    if not blocks:
        raise UserError(f"{path}: holds no trials; expected lines '{form.line}'")
    i, j, label = map(np.concatenate, zip(*blocks, strict=True))
    if strange := [number for number, name in enumerate(labels.ids) if name not in form.targets]:
        number = int(np.argmax(label == strange[0]))
        fields = {form.first: first.ids[i[number]], form.second: second.ids[j[number]],
                  form.label: labels.ids[strange[0]]}
        found = " ".join(fields[column] for column in sorted(fields))
        raise UserError(f"{path}:{number + 1}: expected '{form.line}', found {found!r}")
    first_ids, second_ids = first.ids, second.ids
    if form is VOXCELEB:
        known = _known_ids(Path(path).parent)
        (first_ids, i), (second_ids, j) = _without_paths(first_ids, i, known), _without_paths(second_ids, j, known)
    trials = TrialList(first_ids, second_ids, i, j, np.array([form.targets[name] for name in labels.ids])[label])
    again = _repeated(path, trials, form)
    kept = np.delete(np.arange(len(i)), again)
    return trials.subset(kept) if again.size else trials, kept + 1


def _form(path: str | os.PathLike[str]) -> Form:
    fields = words(next(lines(path), (1, ""))[1])
    kaldi = fields[KALDI.label:KALDI.label + 1] and fields[KALDI.label] in KALDI.targets
    return VOXCELEB if fields and fields[VOXCELEB.label] in VOXCELEB.targets and not kaldi else KALDI


def _known_ids(directory: Path) -> set[str]:
    """The utterances and the speaker models of a data directory."""
    paths = (directory / "utt2spk", directory / "enroll")
    return set().union(*(read_table(path) for path in paths if path.exists()))


def _without_paths(ids: Sequence[str], index: np.ndarray, known: set[str]) -> tuple[list[str], np.ndarray]:
    """Ids and the index (n,) into them, with utterances in place of paths."""
    names = [name if name in known or utterance_of(name) not in known else utterance_of(name) for name in ids]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return [*numbers], np.array([numbers[name] for name in names], np.int32)[index]


def utterance_of(path: str) -> str:
    """The utterance of a file that is named by its path below the corpus's folder, SPEAKER/VIDEO/NUMBER.wav."""
    return os.path.splitext(path)[0].replace("/", "-")


def _repeated(path: str | os.PathLike[str], trials: TrialList, form: Form) -> np.ndarray:
    """The numbers of trials that have stood in the list before. UserError where the form allows none, and where the
    labels differ."""
    pairs = trials.pairs()
    ranked = np.sort(pairs)
    if (ranked[1:] != ranked[:-1]).all():
        return np.array([], np.int64)
    order = np.argsort(pairs, kind="stable")
    again = np.flatnonzero(pairs[order[1:]] == pairs[order[:-1]])
    before, after = order[again], order[again + 1]
    contradictory = trials.targets[before] != trials.targets[after]
    if contradictory.any():
        before, after = before[contradictory], after[contradictory]
    elif form.repeats:
        return after
    what = "are both target and nontarget" if contradictory.any() else "stand twice"
    both = (f"{trial} (lines {a + 1} and {b + 1})"
            for trial, a, b in zip(trials.named(before), before, after, strict=True))
    raise UserError(f"{path}: {len(before)} trials {what}: {examples(both)}; leave one line of each")


def read_trials(path: str | os.PathLike[str]) -> list[Trial]:
    """The trials in the file's order; raises UserError as read_trial_list."""
    return [trial for _, trial in numbered_trials(path)]


def numbered_trials(path: str | os.PathLike[str]) -> list[tuple[int, Trial]]:
    """(number of its line, trial) for each trial; raises UserError as read_trial_list."""
    trials, numbers = _read(path)
    columns = (numbers.tolist(), trials.first.tolist(), trials.second.tolist(), trials.targets.tolist())
    return [(number, Trial(trials.first_ids[i], trials.second_ids[j], target))
            for number, i, j, target in zip(*columns, strict=True)]


def write_trials(path: str | os.PathLike[str], trials: Iterable[Trial]) -> None:
    """Write trials in the order given, under a temporary name renamed when whole."""
    with atomic(path) as file:
        file.writelines(f"{line}\n" for line in trial_lines(trials))


def trial_lines(trials: Iterable[Trial]) -> Iterator[str]:
    """A list's lines without their ends."""
    return (f"{a} {b} {TARGET if target else NONTARGET}" for a, b, target in trials)


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
