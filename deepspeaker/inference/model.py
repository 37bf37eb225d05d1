"""A trained model in use: sounds -> embeddings -> log-likelihood ratios -> decisions.

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
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from deepspeaker.audio.reading import Audio
from deepspeaker.checkpoint import Trained, load_network
from deepspeaker.datadir.archive import as_stored
from deepspeaker.errors import UserError, first_line
from deepspeaker.extraction.embed import embed, embed_together
from deepspeaker.extraction.fbank import compute_fbank, voiced_frames
from deepspeaker.inference.forks import survive_forks
from deepspeaker.inference.sound_files import STDIN, as_samples, read_file
from deepspeaker.inference.speech_check import Trust, check_voice, judge, net_speech
from deepspeaker.provenance import embedded_with
from deepspeaker.scoring.backends import BACKENDS, make_scorer
from deepspeaker.scoring.calibration import Calibration, apply
from deepspeaker.scoring.decisions import threshold
from deepspeaker.scoring.enrolment import Models
from deepspeaker.scoring.inputs import Compared
from deepspeaker.scoring.needs import needs
from deepspeaker.scoring.plda import Plda
from deepspeaker.scoring.quality import measure
from deepspeaker.scoring.scorer import score_pairs

File = str | os.PathLike[str]  # "-" is standard input
Sound = File | tuple[np.ndarray, int]  # a file, or (samples (S,), sampling rate in Hz)
survive_forks()


@dataclass(frozen=True, eq=False)
class Recording:
    """One utterance, reduced to what scoring needs."""

    embedding: np.ndarray  # (E,) float32 of unit length
    seconds: float  # length of the sound


@dataclass(frozen=True, eq=False)
class Heard(Recording):
    """A recording whose sound was just heard, and therefore judged; one from a database is a plain Recording."""

    trust: Trust


class Verdict(NamedTuple):
    """Whether two recordings are of one speaker."""

    same: bool  # llr >= threshold
    llr: float  # log-likelihood ratio, natural: log p(score | same speaker) - log p(score | different speakers)
    threshold: float  # from here on accepting costs less than rejecting
    score: float  # the back-end's score, before calibration
    first: Trust
    second: Trust


def load(path: str | os.PathLike[str], device: str = "cpu") -> "Model":
    """Read model.pt. Any other checkpoint can embed, and score by cosine, but has no calibration for decisions.

    UserError if the file is damaged or not a checkpoint, or the device cannot be used.
    """
    trained = load_network(path)
    try:
        torch.zeros(1, device=device).tolist()
    except Exception as error:  # torch raises many kinds
        raise UserError(f"device {device!r} cannot be used: {first_line(error)}") from None
    try:
        return Model(trained, device, os.fspath(path))
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        raise UserError(f"{os.fspath(path)}: its calibration, cohort or PLDA is not of the expected kind: {error}"
                        ) from None


class Model:
    """A network with its front-end, back-end and calibration.

    name: of the file, which error messages begin with.
    """

    def __init__(self, trained: Trained, device: str, name: str) -> None:
        self.config, self.summary, self._name = trained.config, trained.content.get("summary", {}), name
        self.network, self._device = trained.network.to(device), torch.device(device)
        self.backend: str = self.config.scoring.backends[0]
        content = trained.content
        self._calibrations = {key: _calibration(**value) for key, value in content.get("calibration", {}).items()}
        cohort, plda = content.get("cohort"), content.get("plda")
        self._means: dict[str, Any] = {  # what back-ends and qualities may need
            "cohort": None if cohort is None else cohort.numpy(),
            "cohort_top": self.config.scoring.cohort_top,
            "plda": plda and Plda(**{key: value.numpy() for key, value in plda.items()})}

    @property
    def rate(self) -> int:
        """Sampling rate of the front-end in Hz; sounds at other rates are converted to it."""
        return self.config.features.sample_rate

    @property
    def dimensions(self) -> int:
        """E, the number of values of an embedding."""
        return self.network.embedding_dim

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that embeddings depend on: the weights, [features], [model] and [embedding]."""
        tables = self.config.as_tables()
        parts = [tables["features"], tables["model"], embedded_with(tables["embedding"])]
        found = hashlib.sha256(repr(parts).encode())
        for key, value in sorted(self.network.state_dict().items()):
            found.update(f"{key} {tuple(value.shape)} {value.dtype}".encode())
            found.update(value.cpu().contiguous().numpy().tobytes())
        return found.hexdigest()

    def embed(self, samples: np.ndarray, rate: int) -> np.ndarray:
        """Samples (S,) within -1..1 at `rate` Hz -> embedding (E,) float32 of unit length.

        The samples are not judged: noise gets an embedding, too. UserError for less than one frame (25 ms).
        """
        fbank, energy = self._features(as_samples(samples, rate, self.rate))
        return self._embed(self._as_stored(fbank, energy))

    def embed_files(self, paths: Sequence[File], any_sound: bool = False,
                    channel: int | None = None) -> list[np.ndarray | UserError]:
        """For each file its embedding (E,), or a UserError that names it and is returned, not raised.

        Refused are files that cannot be read, silence and, unless `any_sound`, noise and music. Files of similar length
        pass the network together, padded. channel: as in `listen`.
        """
        heard = [self._try(path, any_sound, channel) for path in paths]
        embeddings = iter(embed_together(self.network, [found for found in heard if isinstance(found, Tensor)],
                                         self.config.features.normalize, self.config.embedding))
        return [self._finite(next(embeddings)) if isinstance(found, Tensor) else found for found in heard]

    def listen(self, sound: Sound, channel: int | None = None) -> Heard:
        """Embed a sound and judge it. UserError, which names the file, if it cannot be read or has no speech.

        channel: which to take of a file with several, from 0; None: their mean.
        """
        if isinstance(sound, tuple):
            return self._recording(Audio(as_samples(*sound, self.rate), sound[1], 0, ""))
        audio = read_file(sound, self.rate, channel)
        with _naming(sound):
            return self._recording(audio)

    def score(self, first: np.ndarray, second: np.ndarray) -> float:
        """The back-end's score of two embeddings (E,), as stage 6 computes it, not calibrated; a cosine is -1..1."""
        return float(self._scores([[Recording(first, 1.0)]], Recording(second, 1.0))[1][0])

    def llr(self, enrolled: Sequence[Sequence[Recording]], test: Recording) -> np.ndarray:
        """Natural log-likelihood ratios (n,) of `test` against n speakers, each enrolled by one or more recordings."""
        return self._llr(*self._scores(enrolled, test))

    def threshold(self, prior: float | None = None, cost_miss: float = 1.0, cost_false_accept: float = 1.0) -> float:
        """The log-likelihood ratio from which accepting costs less than rejecting.

        prior: probability that the speakers are the same (default: the prior that the model was calibrated for).
        UserError for a prior outside 0..1, and for costs that are not above 0.
        """
        prior = self.config.scoring.calibration_prior if prior is None else prior
        if not 0 < prior < 1 or not 0 < cost_miss < math.inf or not 0 < cost_false_accept < math.inf:
            raise UserError(f"expected a prior between 0 and 1 and costs above 0, found prior {prior}, cost of a miss "
                            f"{cost_miss}, of a false accept {cost_false_accept}")
        return threshold(prior, cost_miss, cost_false_accept)

    def verify(self, first: Sound, second: Sound, prior: float | None = None, cost_miss: float = 1.0,
               cost_false_accept: float = 1.0, channel: int | None = None) -> Verdict:
        """Decide whether two sounds have the same speaker. Arguments and UserError as `listen`, `threshold`, `llr`."""
        return self.compare(self.listen(first, channel), self.listen(second, channel),
                            self.threshold(prior, cost_miss, cost_false_accept))

    def compare(self, first: Heard, second: Heard, threshold: float) -> Verdict:
        """Decide whether two recordings that `listen` returned have the same speaker."""
        compared, scores = self._scores([[first]], second)
        llr = float(self._llr(compared, scores)[0])
        return Verdict(llr >= threshold, llr, threshold, float(scores[0]), first.trust, second.trust)

    def _recording(self, audio: Audio) -> Heard:
        fbank, energy = self._features(audio.samples)
        trust = judge(torch.from_numpy(audio.samples), self.rate, energy)._replace(
            rate=audio.rate, upsampled=audio.rate < self.rate, mixed=audio.mixed)
        return Heard(self._embed(self._as_stored(fbank, energy)), len(audio.samples) / self.rate, trust)

    def _features(self, samples: np.ndarray) -> tuple[Tensor, Tensor]:
        """(fbank (T, F), log energy (T,)) as stage 2 computes them, before they are stored."""
        f = self.config.features
        found = compute_fbank(torch.from_numpy(samples), f.sample_rate, f.num_mel_bins, f.low_freq, f.high_freq,
                              f.snip_edges)
        if len(found[0]) == 0:
            raise UserError(f"shorter than one frame: {len(samples)} samples at {self.rate} Hz")
        return found

    def _hear(self, path: File, any_sound: bool, channel: int | None) -> Tensor:
        """Features (T, F) of a file. UserError for silence and, unless `any_sound`, for noise and music."""
        samples = read_file(path, self.rate, channel).samples
        with _naming(path):
            fbank, energy = self._features(samples)
            sound = torch.from_numpy(samples), self.rate, voiced_frames(energy)
            net_speech(*sound)
            if not any_sound:
                check_voice(*sound)
            return self._as_stored(fbank, energy)

    def _try(self, path: File, any_sound: bool, channel: int | None) -> Tensor | UserError:
        try:
            return self._hear(path, any_sound, channel)
        except UserError as error:
            return error
        except Exception as error:  # one bad file must not stop the others
            return UserError(f"{os.fspath(path)}: {error}")

    def _embed(self, features: Tensor) -> np.ndarray:
        return self._finite(embed(self.network, features, self.config.features.normalize, self.config.embedding))

    def _as_stored(self, fbank: Tensor, energy: Tensor) -> Tensor:
        """Features (T, F) as stage 5 reads them: rounded by the archive's compression, without unvoiced frames where
        [features] vad is set."""
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

    def _scores(self, enrolled: Sequence[Sequence[Recording]], test: Recording) -> tuple[Compared, np.ndarray]:
        if missing := [need for need in needs(BACKENDS[self.backend]) if self._means[need] is None]:
            raise UserError(f"{self._name}: its back-end {self.backend} needs {missing[0]}, which the file lacks")
        recordings = [test, *(recording for several in enrolled for recording in several)]
        embeddings = np.stack([recording.embedding for recording in recordings]).astype(np.float32, copy=False)
        models = Models(np.arange(1, len(recordings)), np.array([len(several) for several in enrolled]))
        compared = Compared([], models, [str(recording.seconds) for recording in recordings], embeddings, 1)
        scorer = make_scorer(self.backend, embeddings, models, **self._means)
        return compared, score_pairs(scorer, *self._pairs(compared))

    @staticmethod
    def _pairs(compared: Compared) -> tuple[np.ndarray, np.ndarray]:
        """The trials of every speaker model with the first utterance: numbers (n,) of models and of utterances."""
        count = len(compared.models.counts)
        return np.arange(count), np.zeros(count, np.int64)

    def _llr(self, compared: Compared, scores: np.ndarray) -> np.ndarray:
        if self.backend not in self._calibrations:
            raise UserError(f"{self._name} has no calibration of {self.backend}, so its scores are no decisions: "
                            "use exp/NAME/model.pt, made by a recipe with a development set")
        columns, durations = {"score": scores}, {name: name for name in compared.utterances}
        for quality in self.config.scoring.qualities:
            columns |= measure(quality, compared, *self._pairs(compared), utt2dur=durations, **self._means)
        return apply(self._calibrations[self.backend], columns)


def _calibration(prior: float, offset: float, weights: Mapping[str, float]) -> Calibration:
    """The calibration stored in a file. ValueError, TypeError or AttributeError unless all are finite numbers."""
    found = Calibration(prior, float(offset), {key: float(value) for key, value in weights.items()})
    if not all(map(math.isfinite, [found.offset, *found.weights.values()])):
        raise ValueError(f"{found} has numbers that are not finite")
    return found


@contextmanager
def _naming(path: File) -> Iterator[None]:
    """Put the name of the file before the message of a UserError."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{'standard input' if path == STDIN else os.fspath(path)}: {error}") from None
