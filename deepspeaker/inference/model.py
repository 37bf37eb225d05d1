"""A trained model for use: sound -> embeddings -> log-likelihood ratios -> decisions.

    import deepspeaker

    model = deepspeaker.load("exp/small/model.pt")
    model.verify("a.wav", "b.wav").same

Shapes: S samples, E dimensions of an embedding.
"""

import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deepspeaker.checkpoint import Trained, load_model
from deepspeaker.datadir.archive import as_stored
from deepspeaker.errors import UserError
from deepspeaker.extraction.embed import embed, embed_together
from deepspeaker.extraction.fbank import compute_fbank, voiced_frames
from deepspeaker.inference.sound_files import STDIN, as_samples, read_file
from deepspeaker.inference.speech_check import Trust, check_voice, judge, net_speech
from deepspeaker.provenance import embedded_with
from deepspeaker.scoring import BACKENDS, make_scorer
from deepspeaker.scoring.calibration import Calibration, apply, threshold
from deepspeaker.scoring.enrolment import Models
from deepspeaker.scoring.inputs import Sides
from deepspeaker.scoring.needs import needs
from deepspeaker.scoring.plda import Plda
from deepspeaker.scoring.quality import measure
from deepspeaker.scoring.scorer import score_pairs

Sound = str | os.PathLike | tuple[np.ndarray, int]  # a file, "-" for standard input, or (samples (S,), rate in Hz)


class Recording(NamedTuple):
    """One utterance as decisions see it."""

    embedding: np.ndarray  # (E,) float32 of unit length
    seconds: float
    trust: Trust | None = None  # None where the sound is no longer at hand


class Verdict(NamedTuple):
    """Whether two recordings are of one speaker."""

    same: bool  # llr >= threshold
    llr: float  # natural logarithm of how many times likelier the scores are if it is one speaker
    threshold: float  # from which accepting costs less than rejecting
    score: float  # of the back-end, before calibration
    first: Trust
    second: Trust


def load(path: str | os.PathLike, device: str = "cpu") -> "Model":
    """Read model.pt; with other checkpoints only embed works, and score by cosine. UserError when it is damaged or no
    model, or there is no such device."""
    trained = load_model(path)
    try:
        torch.zeros(1, device=device).tolist()
    except Exception as error:  # torch raises whatever comes to it
        raise UserError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from None
    try:
        return Model(trained, device, os.fspath(path))
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        raise UserError(f"{os.fspath(path)}: its calibration, cohort or PLDA is not of the expected kind: {error}"
                        ) from None


class Model:
    """A network with its front-end, back-end, calibration and what these need."""

    def __init__(self, trained: Trained, device: str, name: str):
        self.config, self.summary, self._name = trained.config, trained.content.get("summary", {}), name
        self.network, self._device = trained.network.to(device), torch.device(device)
        self.backend: str = self.config.scoring.backends[0]
        content = trained.content
        self._calibrations = {key: _calibration(**value) for key, value in content.get("calibration", {}).items()}
        cohort, plda = content.get("cohort"), content.get("plda")
        self._means = {"cohort": None if cohort is None else cohort.numpy(),
                       "cohort_top": self.config.scoring.cohort_top,
                       "plda": plda and Plda(**{key: value.numpy() for key, value in plda.items()})}

    @property
    def rate(self) -> int:
        """Sampling rate in Hz of the front-end; other sounds are converted to it."""
        return self.config.features.sample_rate

    @property
    def dimensions(self) -> int:
        """E, the values of an embedding."""
        return self.network.embedding_dim

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that an embedding depends on: weights, front-end, [model] and [embedding]."""
        tables = self.config.as_tables()
        parts = [tables["features"], tables["model"], embedded_with(tables["embedding"])]
        found = hashlib.sha256(repr(parts).encode())
        for key, value in sorted(self.network.state_dict().items()):
            found.update(f"{key} {tuple(value.shape)} {value.dtype}".encode())
            found.update(value.cpu().contiguous().numpy().tobytes())
        return found.hexdigest()

    def embed(self, samples: np.ndarray, rate: int) -> np.ndarray:
        """Samples (S,) within -1..1 at `rate` Hz -> embedding (E,) float32 of unit length.

        Whatever the samples are is embedded; UserError for fewer than one frame (25 ms).
        """
        fbank, energy = self._features(as_samples(samples, rate, self.rate))
        return self._embed(self._as_stored(fbank, energy))

    def embed_files(self, paths: Sequence[str | os.PathLike], any_sound: bool = False) -> list[np.ndarray | UserError]:
        """The embedding (E,) of each file, "-" being standard input, or a UserError that names it: for what cannot be
        read, is silence, or, unless `any_sound`, has no voice. The network sees those of similar length at once,
        padded."""
        heard = [self._try(path, any_sound) for path in paths]
        embeddings = iter(embed_together(self.network, [found for found in heard if isinstance(found, Tensor)],
                                         self.config.features.normalize, self.config.embedding))
        return [self._finite(next(embeddings)) if isinstance(found, Tensor) else found for found in heard]

    def listen(self, sound: Sound) -> Recording:
        """Embed a sound and judge it. UserError, which names the file, for what cannot be read or has no speech."""
        if isinstance(sound, tuple):
            return self._recording(as_samples(*sound, self.rate))
        samples = read_file(sound, self.rate)
        with _naming(sound):
            return self._recording(samples)

    def score(self, first: np.ndarray, second: np.ndarray) -> float:
        """The back-end's score of two embeddings (E,), as stage 6 computes it: for the cosine, -1..1."""
        return float(self._scores([[Recording(first, 1.0)]], Recording(second, 1.0))[1][0])

    def llr(self, enrolled: Sequence[Sequence[Recording]], test: Recording) -> np.ndarray:
        """Log-likelihood ratios (n,), natural, of `test` with n speakers, each enrolled by one or more recordings."""
        return self._llr(*self._scores(enrolled, test))

    def threshold(self, prior: float | None = None, cost_miss: float = 1.0, cost_false_accept: float = 1.0) -> float:
        """The log-likelihood ratio from which to accept, if targets have this prior (default: the one that the
        calibration is best for). UserError for a prior outside 0..1 and costs that are not above 0."""
        prior = self.config.scoring.calibration_prior if prior is None else prior
        if not 0 < prior < 1 or not 0 < cost_miss < math.inf or not 0 < cost_false_accept < math.inf:
            raise UserError(f"expected a prior between 0 and 1 and costs above 0, found prior {prior}, cost of a miss "
                            f"{cost_miss}, of a false accept {cost_false_accept}")
        return threshold(prior, cost_miss, cost_false_accept)

    def verify(self, first: Sound, second: Sound, prior: float | None = None, cost_miss: float = 1.0,
               cost_false_accept: float = 1.0) -> Verdict:
        """Whether two sounds are of one speaker. UserError as `listen`, `threshold` and `llr`."""
        return self.compare(self.listen(first), self.listen(second),
                            self.threshold(prior, cost_miss, cost_false_accept))

    def compare(self, first: Recording, second: Recording, threshold: float) -> Verdict:
        """The verdict on two recordings that `listen` gave."""
        sides, scores = self._scores([[first]], second)
        llr = float(self._llr(sides, scores)[0])
        return Verdict(llr >= threshold, llr, threshold, float(scores[0]), first.trust, second.trust)

    def _recording(self, samples: np.ndarray) -> Recording:
        fbank, energy = self._features(samples)
        trust = judge(torch.from_numpy(samples), self.rate, energy)
        return Recording(self._embed(self._as_stored(fbank, energy)), len(samples) / self.rate, trust)

    def _features(self, samples: np.ndarray) -> tuple[Tensor, Tensor]:
        """(fbank (T, F), log energy (T,)) as stage 2 computes them, before they are stored."""
        f = self.config.features
        found = compute_fbank(torch.from_numpy(samples), f.sample_rate, f.num_mel_bins, f.low_freq, f.high_freq,
                              f.snip_edges)
        if len(found[0]) == 0:
            raise UserError(f"shorter than one frame: {len(samples)} samples at {self.rate} Hz")
        return found

    def _hear(self, path: str | os.PathLike, any_sound: bool) -> Tensor:
        """Features of a file that is not silent and, unless `any_sound`, has a voice."""
        samples = read_file(path, self.rate)
        with _naming(path):
            fbank, energy = self._features(samples)
            sound = torch.from_numpy(samples), self.rate, voiced_frames(energy)
            net_speech(*sound)
            if not any_sound:
                check_voice(*sound)
            return self._as_stored(fbank, energy)

    def _try(self, path: str | os.PathLike, any_sound: bool) -> Tensor | UserError:
        try:
            return self._hear(path, any_sound)
        except UserError as error:
            return error
        except Exception as error:  # of one file of many: the others are embedded all the same
            return UserError(f"{os.fspath(path)}: {error}")

    def _embed(self, features: Tensor) -> np.ndarray:
        return self._finite(embed(self.network, features, self.config.features.normalize, self.config.embedding))

    def _as_stored(self, fbank: Tensor, energy: Tensor) -> Tensor:
        """Features (T, F) as stage 5 sees them: rounded as archives round, without frames that [features] vad drops."""
        f = self.config.features
        if f.compress:
            fbank = torch.from_numpy(as_stored(fbank.numpy()))
        if f.vad and (voiced := voiced_frames(energy)).any():
            fbank = fbank[voiced]
        return fbank.to(self._device)

    def _finite(self, embedding: Tensor) -> np.ndarray:
        if not embedding.isfinite().all():
            raise UserError(f"{self._name} gives an embedding that is not finite: its weights are damaged")
        return embedding.cpu().numpy()

    def _scores(self, enrolled: Sequence[Sequence[Recording]], test: Recording) -> tuple[Sides, np.ndarray]:
        if missing := [need for need in needs(BACKENDS[self.backend]) if self._means[need] is None]:
            raise UserError(f"{self._name}: its back-end {self.backend} needs {missing[0]}, which is not in it")
        recordings = [test, *(recording for several in enrolled for recording in several)]
        embeddings = np.stack([recording.embedding for recording in recordings]).astype(np.float32, copy=False)
        models = Models(np.arange(1, len(recordings)), np.array([len(several) for several in enrolled]))
        sides = Sides([], models, [str(recording.seconds) for recording in recordings], embeddings, 1)
        scorer = make_scorer(self.backend, embeddings, models, **self._means)
        return sides, score_pairs(scorer, *self._pairs(sides))

    @staticmethod
    def _pairs(sides: Sides) -> tuple[np.ndarray, np.ndarray]:
        """Every model with the first utterance."""
        count = len(sides.models.counts)
        return np.arange(count), np.zeros(count, np.int64)

    def _llr(self, sides: Sides, scores: np.ndarray) -> np.ndarray:
        if self.backend not in self._calibrations:
            raise UserError(f"{self._name} has no calibration of {self.backend}, so no score of it is a decision: "
                            f"use exp/NAME/model.pt of a recipe with a development set")
        columns, durations = {"score": scores}, {name: name for name in sides.utterances}
        for quality in self.config.scoring.qualities:
            columns |= measure(quality, sides, *self._pairs(sides), utt2dur=durations, **self._means)
        return apply(self._calibrations[self.backend], columns)


def _calibration(prior: float, offset: float, weights: Mapping[str, float]) -> Calibration:
    """Of what a file holds. ValueError, TypeError or AttributeError for anything but finite numbers."""
    found = Calibration(prior, float(offset), {key: float(value) for key, value in weights.items()})
    if not all(map(math.isfinite, [found.offset, *found.weights.values()])):
        raise ValueError(f"{found} has numbers that are not finite")
    return found


@contextmanager
def _naming(path: str | os.PathLike) -> Iterator[None]:
    """Put the name of a sound before what is wrong with it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{'standard input' if path == STDIN else os.fspath(path)}: {error}") from None
