"""Windows cut from sound, changed, and turned into features: on a CPU, or a batch at a time on a GPU.

The sound of a window is that of its frames, one after another: pieces of the utterance, of which there are several
where frames are left out (VAD) or repeated (an utterance shorter than the window).
"""

import logging
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deepspeaker.audio.frames import frame_sizes
from deepspeaker.batches.changes import add, power, reverberate, telephone
from deepspeaker.batches.plan import ADDED, Plan
from deepspeaker.batches.sound_bank import SoundBank, cut_anywhere
from deepspeaker.batches.speed import change_speed
from deepspeaker.config import FeatureConfig
from deepspeaker.datadir.archive import Index
from deepspeaker.datadir.sound_archive import FULL_SCALE
from deepspeaker.errors import UserError, examples
from deepspeaker.extraction.fbank import fbank_of_frames
from deepspeaker.extraction.feature_set import SoundSet
from deepspeaker.extraction.gpu_archive import ResidentSound
from deepspeaker.gpu import upload

BEFORE = 0.5  # seconds of sound before a window, which a room echoes into it
log = logging.getLogger(__name__)


class Others(NamedTuple):
    """Whose speech may babble behind a speaker: that of all others."""

    order: np.ndarray  # (U,) positions of utterances, speaker by speaker
    begin: np.ndarray  # (n,) where the utterances of each window's own speaker begin in `order`
    own: np.ndarray  # (n,) and how many they are

    def choose(self, draws: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """An utterance for each random number (m,) from 0 to 1; rows: (m,) the windows that they are for."""
        begin, own = self.begin[rows], self.own[rows]
        place = (draws * (len(self.order) - own)).astype(int)
        chosen: np.ndarray = self.order[place + own * (place >= begin)]
        return chosen


class SoundWindows:
    """The windows of a SoundSet. factors: the speeds that a Plan refers to."""

    what = "sound archives"

    def __init__(self, sound: SoundSet, config: FeatureConfig, bank: SoundBank, factors: Sequence[float]):
        self._table, self._utterances = sound.table, sound.utterances
        self._config, self._bank, self._factors = config, bank, factors
        self._length, self._shift = frame_sizes(config.sample_rate)
        self._before = round(BEFORE * config.sample_rate) if bank.has("rooms") else 0
        self._device = torch.device("cpu")
        self._resident: ResidentSound | None = None
        self._silent: set[int] = set()  # utterances that were named
        self._table.read_at_random()

    def use(self, device: torch.device) -> None:
        """Change windows and make features on this device."""
        self._device = device

    def bytes(self) -> int:
        """GPU memory that `upload` takes."""
        return 2 * int(self._table.lengths(np.arange(len(self._utterances))).sum(dtype=np.int64))

    def upload(self, device: torch.device) -> None:
        """Copy the archives to the memory of `device` and cut windows there from now on."""
        self.use(device)
        self._resident = ResidentSound(self._table, device)

    def leave_gpu(self) -> bool:
        """Free that memory and cut from mapped archives again; False where none was taken."""
        was_there, self._resident = self._resident is not None, None
        return was_there

    def frames_needed(self, frames: int) -> np.ndarray:
        """Of the utterance as it is, how many frames give `frames` at each of the speeds."""
        samples = (frames - 1) * self._shift + self._length
        return np.array([frames if factor == 1 else
                         math.ceil((math.ceil(samples * factor) + 1 - self._length) / self._shift) + 1
                         for factor in self._factors])

    def gather(self, which: np.ndarray, index: Sequence[Index], frames: int, plan: Plan, others: Others) -> Tensor:
        """Windows (n, T, F) float32 of T = `frames`, on the device: of utterance which[k] the frames index[k], as many
        as frames_needed says, with the changes of the plan."""
        samples, starts = self._cut(which, index, frames, plan)
        features = self._features(self._changed(samples, which, plan, others), starts)
        if not features.isfinite().all():
            self._find_fault(which, index, frames, plan, others)
        return features

    def _cut(self, which: np.ndarray, index: Sequence[Index], frames: int, plan: Plan) -> tuple[Tensor, Tensor | None]:
        """The samples (n, before + S) of windows at their speeds, and where each frame begins behind `before`: (n, T),
        or None where each begins one shift after the one before it."""
        edge = 0 if self._config.snip_edges else self._length // 2 - self._shift // 2
        before = np.ceil(self._before * np.array(self._factors)[plan.speed]).astype(int)
        pieces = [_pieces(rows, self._length, self._shift, edge, lead)
                  for rows, lead in zip(index, before.tolist(), strict=True)]
        most = max(len(begin) for begin, _, _ in pieces)
        begin, size = np.zeros((2, len(pieces), most), np.int64)
        for k, (first, count, _) in enumerate(pieces):
            begin[k, :len(first)], size[k, :len(count)] = first, count
        samples = self._samples(which, begin, size)
        totals, even = size.sum(1), [starts is None for _, _, starts in pieces]
        wanted = self._before + (frames - 1) * self._shift + self._length
        if all(even) and not plan.speed.any():
            return samples, None
        changed = samples.new_zeros(len(which), max(wanted, int(totals[plan.speed == 0].max(initial=0))))
        for number, factor in enumerate(self._factors):
            if not (rows := np.flatnonzero(plan.speed == number)).size:
                continue
            chosen = upload(torch.from_numpy(rows), self._device)
            if factor == 1:
                longest = int(totals[rows].max())
                changed[chosen, :longest] = samples[chosen, :longest]
            else:
                changed[chosen, :wanted] = change_speed(samples[chosen, :int(totals[rows].max())], factor)[:, :wanted]
        regular = np.arange(frames) * self._shift
        if all(one or speed for one, speed in zip(even, plan.speed.tolist(), strict=True)):
            return changed, None
        starts = np.stack([regular if speed or found is None else found
                           for (_, _, found), speed in zip(pieces, plan.speed.tolist(), strict=True)])
        return changed, upload(torch.from_numpy(starts), self._device)

    def _samples(self, which: np.ndarray, begin: np.ndarray, size: np.ndarray) -> Tensor:
        """Pieces of utterances one after another, (n, most) float32 on the device; as SoundTable.cut."""
        width = int(size.sum(1).max())
        if self._resident:
            return self._resident.cut(which, begin, size, width)
        raw = self._table.cut(which, begin, size, width)
        self._name_silent(which[~raw[:, ::16].any(1)].tolist())
        return self._floats(raw)

    def _floats(self, samples: np.ndarray) -> Tensor:
        return upload(torch.from_numpy(samples), self._device).float() / FULL_SCALE

    def _changed(self, samples: Tensor, which: np.ndarray, plan: Plan, others: Others, kinds: Sequence[str] = ()
                 ) -> Tensor:
        """The samples of windows, (n, S), without what was before them, changed by the plan.

        kinds: if given, raise UserError for the first of these changes whose result is not finite.
        """
        if (rows := np.flatnonzero(plan.reverb)).size:
            chosen = upload(torch.from_numpy(rows), self._device)
            rooms = upload(torch.from_numpy(self._bank.responses(plan.room[rows])), self._device)
            samples[chosen] = reverberate(samples[chosen], rooms, self._before)
            self._check("reverb", samples, which, kinds)
        samples = samples[:, self._before:]
        for kind, rows, sounds in self._added(plan, samples.shape[-1], others):
            chosen, snr = upload((torch.from_numpy(rows), torch.from_numpy(plan.snr[rows, None]).float()), self._device)
            samples[chosen] = add(samples[chosen], sounds, snr)
            self._check(kind, samples, which, kinds)
        if (rows := np.flatnonzero(plan.telephone)).size:
            chosen, line = upload((torch.from_numpy(rows), torch.from_numpy(plan.line[rows]).float()), self._device)
            low, high, loudness = line.split(1, dim=1)
            samples[chosen] = telephone(samples[chosen], low, high, loudness, self._config.sample_rate)
            self._check("telephone", samples, which, kinds)
        return samples

    def _added(self, plan: Plan, size: int, others: Others) -> Iterator[tuple[str, np.ndarray, Tensor]]:
        """Of each kind of added sound: the windows that get it, (m,), and the sounds, (m, size)."""
        for number, kind in enumerate(ADDED):
            rows = np.flatnonzero(plan.added == number)
            if rows.size and kind != "babble":
                yield kind, rows, self._floats(self._bank.excerpts(kind, plan.sound[rows], size))
            elif rows.size:
                yield kind, rows, self._babble(plan, rows, size, others)

    def _babble(self, plan: Plan, rows: np.ndarray, size: int, others: Others) -> Tensor:
        """Several talkers at once, each of one power, (m, size)."""
        row, talker = np.nonzero(np.arange(plan.voices.shape[1]) < plan.talkers[rows, None])
        draws = plan.voices[rows[row], talker]
        if self._bank.has("babble"):
            raw = self._bank.excerpts("babble", draws, size)
        else:
            raw = cut_anywhere(self._table, others.choose(draws[:, 0], rows[row]), draws[:, 1], size)
        voices = self._floats(raw)
        voices = voices / power(voices).sqrt().clamp_min(1 / FULL_SCALE)
        mixed = voices.new_zeros(len(rows), size)
        return mixed.index_add_(0, upload(torch.from_numpy(row), self._device), voices)

    def _features(self, samples: Tensor, starts: Tensor | None) -> Tensor:
        config = self._config
        if starts is None:
            frames = samples.unfold(-1, self._length, self._shift)
        else:
            windows = torch.arange(len(samples), device=samples.device).unsqueeze(1)
            frames = samples.unfold(-1, self._length, 1)[windows, starts]
        return fbank_of_frames(frames, config.sample_rate, config.num_mel_bins, config.low_freq, config.high_freq)[0]

    def _name_silent(self, suspects: Sequence[int]) -> None:
        """Log, once each, the utterances among these that are digital silence from end to end."""
        for i in set(suspects) - self._silent:
            if not self._table.samples(i).any():
                self._silent.add(i)
                log.warning("%s: all samples are 0; nothing is added to it. Look at its audio, or take it out of %s",
                            self._utterances[i], self._table.path)

    def _find_fault(self, which: np.ndarray, index: Sequence[Index], frames: int, plan: Plan, others: Others) -> None:
        """Make the batch again and raise UserError for the first change that leaves values that are not finite."""
        samples, _ = self._cut(which, index, frames, plan)
        self._check("speed", samples, which, ["speed"])
        self._changed(samples, which, plan, others, ["reverb", *ADDED, "telephone"])

    def _check(self, kind: str, samples: Tensor, which: np.ndarray, kinds: Sequence[str]) -> None:
        if kind in kinds and not samples.isfinite().all():
            bad = (~samples.isfinite().all(1)).cpu().numpy()
            names = sorted({self._utterances[i] for i in which[bad].tolist()})
            raise UserError(f"[augment] {kind} made values that are not finite of {examples(names)}: set {kind} to 0 "
                            "in the configuration to go on without it, and report this")


def _pieces(index: Index, length: int, shift: int, edge: int, before: int
            ) -> tuple[list[int], list[int], np.ndarray | None]:
    """(first sample, number of samples) of each piece that holds the frames `index`, and where each frame begins behind
    the first `before` samples, which come from before the first frame; None: one shift after the one before it.

    edge: samples by which frame 0 begins before the utterance does.
    """
    if isinstance(index, slice):
        return [index.start * shift - edge - before], [before + (index.stop - index.start - 1) * shift + length], None
    gaps = np.diff(index) * shift
    cut = np.flatnonzero((gaps < 0) | (gaps > length)) + 1  # frames that begin a piece
    first = index[np.r_[0, cut]] * shift - edge
    last = index[np.r_[cut - 1, len(index) - 1]] * shift - edge
    starts = np.r_[0, np.cumsum(np.where((gaps < 0) | (gaps > length), length, gaps))]
    size = last + length - first
    first[0] -= before
    size[0] += before
    return first.tolist(), size.tolist(), starts
