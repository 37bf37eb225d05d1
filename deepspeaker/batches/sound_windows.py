"""Windows cut from sound, changed, and turned into features: on a CPU, or a batch at a time on a GPU.

The sound of a window is that of its frames, one after another: pieces of the utterance, of which there are several
where frames are left out (VAD) or repeated (an utterance shorter than the window).
"""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deepspeaker.audio.frames import frame_sizes
from deepspeaker.batches.changes import add, power, reverberate, telephone
from deepspeaker.batches.plan import ADDED, Plan
from deepspeaker.batches.sound_bank import SoundBank
from deepspeaker.batches.speed import change_speed
from deepspeaker.config import FeatureConfig
from deepspeaker.datadir.archive import Index
from deepspeaker.datadir.sound_archive import FULL_SCALE
from deepspeaker.errors import UserError, examples
from deepspeaker.extraction.fbank import fbank_of_frames
from deepspeaker.extraction.feature_set import SoundSet
from deepspeaker.extraction.gpu_archive import ResidentSound
from deepspeaker.gpu import upload

BEFORE = 0.25  # seconds of sound before a window, which a room echoes into it
AT_ONCE = {"cpu": 8}  # windows: their samples then stay in the processor's cache; on a GPU all of a batch
log = logging.getLogger(__name__)


class Layout(NamedTuple):
    """Where the samples of n windows lie. Each has `before` samples in front, which its first piece includes."""

    which: np.ndarray  # (n,) utterances
    begin: np.ndarray  # (n, P) the first sample of each piece
    size: np.ndarray  # (n, P) how many it has; 0: no such piece
    length: np.ndarray  # (n,) samples of the window, without those in front, at its speed
    starts: np.ndarray | None  # (n, T) samples at which frames begin; None: one shift after the one before
    width: int  # the largest length of the batch, of which these may be a part

    def part(self, rows: slice) -> "Layout":
        starts = None if self.starts is None else self.starts[rows]
        return Layout(self.which[rows], self.begin[rows], self.size[rows], self.length[rows], starts, self.width)


class SoundWindows:
    """The windows of a SoundSet. factors: the speeds that a Plan refers to."""

    what = "sound archives"

    def __init__(self, sound: SoundSet, config: FeatureConfig, bank: SoundBank, factors: Sequence[Fraction]):
        self._table, self._utterances = sound.table, sound.utterances
        self._config, self._bank, self._factors = config, bank, factors
        self._length, self._shift = frame_sizes(config.sample_rate)
        self._before = round(BEFORE * config.sample_rate) if bank.has("reverb") else 0
        self._device = torch.device("cpu")
        self._resident: ResidentSound | None = None
        self._silent: set[int] = set()  # utterances that were named

    def use(self, device: torch.device) -> None:
        """Change windows and make features on this device."""
        self._device = device

    def bytes(self) -> int:
        """GPU memory that `upload` takes, at most."""
        return self._table.bytes()

    def upload(self, device: torch.device) -> None:
        """Copy the archives to the memory of `device` and cut windows there from now on."""
        self.use(device)
        self._resident = ResidentSound(self._table, device)
        self._name_silent(self._resident.silent)

    def leave_gpu(self) -> bool:
        """Free that memory and cut from mapped archives again; False where none was taken."""
        was_there, self._resident = self._resident is not None, None
        return was_there

    def frames_needed(self, frames: int) -> np.ndarray:
        """Of the utterance as it is, how many frames give `frames` at each of the speeds."""
        samples = (frames - 1) * self._shift + self._length
        return np.array([math.ceil((samples * factor - self._length) / self._shift) + 1 for factor in self._factors])

    def gather(self, which: np.ndarray, index: Sequence[Index], frames: int, plan: Plan, part: slice = slice(None)
               ) -> Tensor:
        """Windows (n, T, F) float32 of T = `frames`, on the device: of utterance which[k] the frames index[k], as many
        as frames_needed says, with the changes of the plan. part: which of the windows to make."""
        layout = self._lay_out(which, index, frames, plan.speed).part(part)
        plan = plan.part(part)
        at_once = AT_ONCE.get(self._device.type, len(layout.which))
        made = []
        for start in range(0, len(layout.which), at_once):
            some = slice(start, start + at_once)
            made.append(self._make(layout.part(some), plan.part(some)))
        return torch.cat(made)

    def _make(self, layout: Layout, plan: Plan) -> Tensor:
        features = self._features(self._changed(layout, plan), layout.starts)
        if not features.sum().isfinite():
            self._changed(layout, plan, check=True)
        return features

    def _lay_out(self, which: np.ndarray, index: Sequence[Index], frames: int, speed: np.ndarray) -> Layout:
        edge = 0 if self._config.snip_edges else self._length // 2 - self._shift // 2
        in_front = np.array([math.ceil(self._before * factor) for factor in self._factors])[speed]
        pieces = [_pieces(rows, self._length, self._shift, edge, front)
                  for rows, front in zip(index, in_front.tolist(), strict=True)]
        begin, size = np.zeros((2, len(pieces), max(len(first) for first, _, _ in pieces)), np.int64)
        for k, (first, count, _) in enumerate(pieces):
            begin[k, :len(first)], size[k, :len(count)] = first, count
        even = np.arange(frames) * self._shift
        length = np.where(speed == 0, size.sum(1) - in_front, even[-1] + self._length)
        starts = None
        if any(found is not None and not fast for (_, _, found), fast in zip(pieces, speed.tolist(), strict=True)):
            starts = np.stack([even if fast or found is None else found
                               for (_, _, found), fast in zip(pieces, speed.tolist(), strict=True)])
        return Layout(which, begin, size, length, starts, int(length.max()))

    def _at_speed(self, layout: Layout, speed: np.ndarray) -> Tensor:
        """The samples of windows at their speeds (n, before + width), zero behind the end of each."""
        samples = self._samples(layout)
        width = self._before + layout.width
        if samples.shape[-1] == width and not speed.any():
            return samples
        changed = samples.new_zeros(len(samples), width)
        for number, factor in enumerate(self._factors):
            if (rows := np.flatnonzero(speed == number)).size:
                chosen, most = self._up(rows), int(layout.size[rows].sum(1).max())
                found = samples[chosen, :most] if factor == 1 else change_speed(samples[chosen, :most], factor)
                long = self._before + int(layout.length[rows].max())
                changed[chosen, :long] = found[:, :long]
        return changed

    def _samples(self, layout: Layout) -> Tensor:
        """The samples of windows as the utterances have them, (n, most) float32 on the device."""
        width = int(layout.size.sum(1).max())
        if self._resident:
            return self._resident.cut(layout.which, layout.begin, layout.size, width)
        raw = self._table.cut(layout.which, layout.begin, layout.size, width)
        self._name_silent(layout.which[~raw[:, ::16].any(1)].tolist())
        return self._floats(raw)

    def _changed(self, layout: Layout, plan: Plan, check: bool = False) -> Tensor:
        """The samples of windows (n, width), changed by the plan, without what was in front of them.

        check: raise UserError for the first change whose result is not finite.
        """
        samples = self._at_speed(layout, plan.speed)

        def put(kind: str, rows: np.ndarray, change: Callable[[Tensor], Tensor]) -> None:
            chosen = self._up(rows)
            samples[chosen] = change(samples[chosen])
            if check and not samples.sum().isfinite():
                raise self._not_finite(kind, layout.which[~samples.isfinite().all(1).cpu().numpy()])

        if (rows := np.flatnonzero(plan.reverb)).size:
            rooms = self._up(self._bank.responses(plan.room[rows]))
            put("reverb", rows, lambda some: reverberate(some, rooms, self._before))
        samples = samples[:, self._before:]
        inside = None
        if (layout.length < layout.width).any():
            inside = torch.arange(layout.width, device=self._device) < self._up(layout.length[:, None])
        for number, kind in enumerate(ADDED):
            if (rows := np.flatnonzero(plan.added == number)).size:
                sounds = self._sounds(kind, plan, rows, layout.width)
                if inside is not None:
                    sounds = sounds * inside[self._up(rows)]
                snr = self._up(plan.snr[rows, None]).float()
                put(kind, rows, partial(add, sounds=sounds, snr=snr))
        if (rows := np.flatnonzero(plan.telephone)).size:
            low, high, loudness = self._up(plan.line[rows]).float().split(1, dim=1)
            put("telephone", rows, partial(telephone, low=low, high=high, loudness=loudness,
                                           rate=self._config.sample_rate))
        return samples

    def _sounds(self, kind: str, plan: Plan, rows: np.ndarray, size: int) -> Tensor:
        """The sounds that are added to the windows `rows`, (m, size)."""
        if kind != "babble":
            return self._floats(self._bank.excerpts(kind, plan.sound[rows], size))
        row, talker = np.nonzero(np.arange(plan.voices.shape[1]) < plan.talkers[rows, None])
        draws = plan.voices[rows[row], talker]
        voices = self._floats(self._bank.excerpts("babble", draws, size))
        loudness = 1 / power(voices).sqrt().clamp_min(1 / FULL_SCALE)  # so that all talk equally loud
        counts = plan.talkers[rows].tolist()
        return torch.stack([each @ some for each, some in
                            zip(loudness[:, 0].split(counts), voices.split(counts), strict=True)])

    def _features(self, samples: Tensor, starts: np.ndarray | None) -> Tensor:
        config = self._config
        if starts is None:
            frames = samples.unfold(-1, self._length, self._shift)
        else:
            rows = torch.arange(len(samples), device=samples.device).unsqueeze(1)
            frames = samples.unfold(-1, self._length, 1)[rows, self._up(starts)]
        return fbank_of_frames(frames, config.sample_rate, config.num_mel_bins, config.low_freq, config.high_freq)[0]

    def _up(self, values: np.ndarray) -> Tensor:
        return upload(torch.from_numpy(values), self._device)

    def _floats(self, samples: np.ndarray) -> Tensor:
        return self._up(samples).float().mul_(1 / FULL_SCALE)

    def _name_silent(self, suspects: Iterable[int]) -> None:
        """Log, once each, the utterances among these that are digital silence from end to end."""
        for i in set(suspects) - self._silent:
            if not self._table.samples(i).any():
                self._silent.add(i)
                log.warning("%s: all samples are 0; nothing is added to it. Look at its audio, or take it out of %s",
                            self._utterances[i], self._table.path)

    def _not_finite(self, kind: str, which: np.ndarray) -> UserError:
        names = sorted({self._utterances[i] for i in which.tolist()})
        return UserError(f"[augment] {kind} made values that are not finite of {examples(names)}: set {kind} to 0 in "
                         "the configuration to go on without it, and report this")


def _pieces(index: Index, length: int, shift: int, edge: int, before: int
            ) -> tuple[list[int], list[int], np.ndarray | None]:
    """(first sample, number of samples) of each piece that holds the frames `index`, and where each frame begins behind
    the first `before` samples, which come from before the first frame; None: one shift after the one before it.

    edge: samples by which frame 0 begins before the utterance does.
    """
    if isinstance(index, slice):
        return [index.start * shift - edge - before], [before + (index.stop - index.start - 1) * shift + length], None
    gaps = np.diff(index) * shift
    apart = (gaps <= 0) | (gaps > length)
    cut = np.flatnonzero(apart) + 1  # frames that begin a piece
    first = index[np.r_[0, cut]] * shift - edge
    last = index[np.r_[cut - 1, len(index) - 1]] * shift - edge
    starts = np.r_[0, np.cumsum(np.where(apart, length, gaps))]
    size = last + length - first
    first[0] -= before
    size[0] += before
    return first.tolist(), size.tolist(), starts
