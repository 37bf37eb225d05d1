"""Windows cut from sound, changed, and turned into features: on a CPU, or a batch at a time on a GPU.

The sound of a window is that of its frames, one after another: pieces of the utterance, of which there are several
where frames are left out (VAD) or repeated (an utterance shorter than the window).
"""

import logging
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deepspeaker.audio.frames import frame_sizes
from deepspeaker.batches.changes import add, mixed, reverberate, telephone
from deepspeaker.batches.plan import ADDED, Plan
from deepspeaker.batches.sound_bank import SoundBank
from deepspeaker.batches.speed import change_speed
from deepspeaker.config import FeatureConfig
from deepspeaker.datadir.archive import Index
from deepspeaker.datadir.sound_archive import FULL_SCALE, Pieces
from deepspeaker.errors import UserError, examples
from deepspeaker.extraction.fbank import fbank_of_frames
from deepspeaker.extraction.feature_set import SoundSet
from deepspeaker.extraction.gpu_archive import ResidentSound
from deepspeaker.gpu import upload, upload_arrays

BEFORE = 0.25  # seconds of sound before a window, which a room echoes into it
AT_ONCE = {"cpu": 8}  # windows: their samples then stay in the processor's cache; on a GPU all of a batch
SPEECH = "speech"  # the table of the utterances
log = logging.getLogger(__name__)


class Layout(NamedTuple):
    """Where the samples of n windows lie. Each has `before` samples in front, which its first piece includes."""

    pieces: Pieces  # of utterances
    length: np.ndarray  # (n,) samples of the window, without those in front, at its speed
    starts: np.ndarray | None  # (n, T) samples at which frames begin; None: one shift after the one before
    width: int  # the largest length of the batch, of which these may be a part

    def part(self, rows: slice | np.ndarray) -> "Layout":
        starts = None if self.starts is None else self.starts[rows]
        return Layout(self.pieces.part(rows), self.length[rows], starts, self.width)


class SoundWindows:
    """The windows of a SoundSet. factors: the speeds that a Plan refers to."""

    what = "sound archives"

    def __init__(self, sound: SoundSet, config: FeatureConfig, bank: SoundBank, factors: Sequence[Fraction]):
        self._tables, self._utterances = {SPEECH: sound.table, **bank.tables}, sound.utterances
        self._config, self._bank, self._factors = config, bank, factors
        self._length, self._shift = frame_sizes(config.sample_rate)
        self._before = round(BEFORE * config.sample_rate) if "reverb" in bank.tables else 0
        self._device = torch.device("cpu")
        self._resident: ResidentSound | None = None
        self._silent: set[int] = set()  # utterances that were named

    def use(self, device: torch.device) -> None:
        """Change windows and make features on this device."""
        self._device = device

    def bytes(self) -> int:
        """GPU memory that `upload` takes, at most."""
        return sum(table.bytes() for table in self._tables.values())

    def upload(self, device: torch.device) -> None:
        """Copy the archives to the memory of `device` and cut windows there from now on."""
        self.use(device)
        self._resident = ResidentSound(self._tables, device)
        self._name_silent(range(len(self._utterances)))

    def leave_gpu(self) -> bool:
        """Free that memory and cut from mapped archives again; False where none was taken."""
        was_there, self._resident = self._resident is not None, None
        return was_there

    def frames_needed(self, frames: int) -> np.ndarray:
        """Of the utterance as it is, how many frames give `frames` at each of the speeds."""
        samples = (frames - 1) * self._shift + self._length
        return np.array([math.ceil((samples * factor - self._length) / self._shift) + 1 for factor in self._factors])

    def gather(self, which: np.ndarray, index: Sequence[Index], frames: int, plan: Plan, part: slice = slice(None),
               check: bool = False) -> Tensor:
        """Windows (n, T, F) float32 of T = `frames`, on the device: of utterance which[k] the frames index[k], as many
        as frames_needed says, with the changes of the plan. part: which of the windows to make. check: raise UserError
        for the first change whose result is not finite."""
        layout = self._lay_out(which, index, frames, plan.speed).part(part)
        plan = plan.part(part)
        at_once = AT_ONCE.get(self._device.type, len(layout.length))
        made = []
        for start in range(0, len(layout.length), at_once):
            some = slice(start, start + at_once)
            made.append(self._make(layout.part(some), plan.part(some), check))
        return torch.cat(made)

    def _make(self, layout: Layout, plan: Plan, check: bool) -> Tensor:
        order = np.argsort(plan.speed, kind="stable")  # so that windows of a speed lie together
        layout, plan = layout.part(order), plan.part(order)
        features = self._features(self._changed(layout, plan, check), layout.starts)
        return features[self._up(np.argsort(order))[0]]

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
        return Layout(Pieces(which, begin, size), length, starts, int(length.max()))

    def _changed(self, layout: Layout, plan: Plan, check: bool) -> Tensor:
        """The samples of windows (n, width), changed by the plan, without what was in front of them. The windows are in
        order of their speeds."""
        rooms, adds = np.flatnonzero(plan.reverb), [np.flatnonzero(plan.added == n) for n in range(len(ADDED))]
        added, phones = np.concatenate(adds), np.flatnonzero(plan.telephone)
        found = self._cut({SPEECH: layout.pieces} | self._wanted(plan, rooms, adds, layout.width))
        in_room, with_sound, by_phone, length = self._up(rooms, added, phones, layout.length)
        snr, line = self._up(plan.snr[added].astype(np.float32), plan.line[phones].astype(np.float32))
        samples = self._at_speed(found[SPEECH], layout, plan.speed)

        def put(rows: np.ndarray, chosen: Tensor, changed: Tensor, kind: str = "") -> None:
            samples[chosen] = changed
            if check and (bad := rows[~changed.isfinite().all(1).cpu().numpy()]).size:
                raise self._not_finite(kind or ADDED[plan.added[bad[0]]], layout.pieces.which[bad])

        if rooms.size:
            put(rooms, in_room, reverberate(samples[in_room], found["reverb"], self._before), "reverb")
        samples = samples[:, self._before:]
        if added.size:
            sounds = torch.cat([mixed(found[kind].view(len(rows), -1, layout.width)) if kind == "babble" else
                                found[kind] for kind, rows in zip(ADDED, adds, strict=True) if rows.size])
            if (layout.length < layout.width).any():
                sounds = sounds * (torch.arange(layout.width, device=self._device) < length[with_sound, None])
            put(added, with_sound, add(samples[with_sound], sounds, snr[:, None]))
        if phones.size:
            low, high, loudness = line.split(1, dim=1)
            rate = self._config.sample_rate
            put(phones, by_phone, telephone(samples[by_phone], low, high, loudness, rate), "telephone")
        return samples

    def _wanted(self, plan: Plan, rooms: np.ndarray, adds: Sequence[np.ndarray], size: int) -> dict[str, Pieces]:
        """What is to be cut from the bank for the windows `rooms` and `adds`, the latter by kind."""
        wanted = {"reverb": self._bank.responses(plan.room[rooms])} if rooms.size else {}
        for kind, rows in zip(ADDED, adds, strict=True):
            if rows.size and kind == "babble":
                talks = np.arange(plan.voices.shape[1]) < plan.talkers[rows, None]
                voices = self._bank.excerpts(kind, plan.voices[rows].reshape(-1, 2), size)
                wanted[kind] = voices._replace(size=voices.size * talks.reshape(-1, 1))
            elif rows.size:
                wanted[kind] = self._bank.excerpts(kind, plan.sound[rows], size)
        return wanted

    def _cut(self, wanted: dict[str, Pieces]) -> dict[str, Tensor]:
        """The pieces of each table, (n, their width) float32 on the device, zero behind the last piece of a row."""
        width, counts = max(pieces.width for pieces in wanted.values()), [len(p.which) for p in wanted.values()]
        if self._resident:
            samples = self._resident.cut(wanted, width)
        else:
            raw = torch.zeros(sum(counts), width, dtype=torch.int16, pin_memory=self._device.type == "cuda")
            for (kind, pieces), out in zip(wanted.items(), np.split(raw.numpy(), np.cumsum(counts)[:-1]), strict=True):
                self._tables[kind].cut(pieces, out)
                if kind == SPEECH:
                    self._name_silent(pieces.which[~out[:, ::16].any(1)].tolist())
            samples = upload(raw, self._device).float().mul_(1 / FULL_SCALE)
        return {kind: rows[:, :pieces.width]
                for (kind, pieces), rows in zip(wanted.items(), samples.split(counts), strict=True)}

    def _at_speed(self, samples: Tensor, layout: Layout, speed: np.ndarray) -> Tensor:
        """The samples of windows at their speeds (n, before + width), zero behind the end of each. They may share the
        memory of those given."""
        width, ends = self._before + layout.width, np.cumsum(np.bincount(speed, minlength=len(self._factors)))
        if ends[0] == len(speed) and samples.shape[1] >= width:
            return samples[:, :width]
        changed = samples.new_zeros(len(samples), width)
        for factor, stop, start in zip(self._factors, ends.tolist(), [0, *ends.tolist()], strict=False):
            if start < stop:
                some, most = slice(start, stop), layout.pieces.part(slice(start, stop)).width
                found = samples[some, :most] if factor == 1 else change_speed(samples[some, :most], factor)
                long = self._before + int(layout.length[some].max())
                changed[some, :long] = found[:, :long]
        return changed

    def _features(self, samples: Tensor, starts: np.ndarray | None) -> Tensor:
        if starts is None:
            frames = samples.unfold(-1, self._length, self._shift)
        else:
            rows = torch.arange(len(samples), device=samples.device).unsqueeze(1)
            frames = samples.unfold(-1, self._length, 1)[rows, self._up(starts)[0]]
        return fbank_of_frames(frames, **self._config.filterbank)[0]

    def _up(self, *arrays: np.ndarray) -> list[Tensor]:
        return upload_arrays(arrays, self._device)

    def _name_silent(self, suspects: Iterable[int]) -> None:
        """Log, once each, the utterances among these that are digital silence from end to end."""
        for i in set(suspects) - self._silent:
            if not self._tables[SPEECH].samples(i).any():
                self._silent.add(i)
                log.warning("%s: all samples are 0; nothing is added to it. Look at its audio, or take it out of %s",
                            self._utterances[i], self._tables[SPEECH].path)

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
