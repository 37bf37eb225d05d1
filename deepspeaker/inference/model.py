"""A trained model in use: sounds -> embeddings -> log-likelihood ratios -> decisions.

    import deepspeaker

    model = deepspeaker.load("exp/small/model.pt")
    model.verify("a.wav", "b.wav").same

Shapes: S samples, E dimensions of an embedding.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from deepspeaker.audio.reading import Audio
from deepspeaker.checkpoint import Trained, fingerprint, load_network, write_model
from deepspeaker.datadir.archive import as_stored
from deepspeaker.errors import UserError, examples, first_line
from deepspeaker.extraction.embed import embed_together
from deepspeaker.extraction.fbank import compute_fbank, voiced_frames
from deepspeaker.extraction.sound_quality import sound_quality
from deepspeaker.inference.forks import survive_forks
from deepspeaker.inference.recordings import Heard, Recording, Trials, Verdict
from deepspeaker.inference.sound_files import STDIN, as_samples, read_file
from deepspeaker.inference.speech_check import NARROW, check_voice, judge, net_speech
from deepspeaker.scoring.backends import BACKENDS, make_scorer
from deepspeaker.scoring.calibration import SCORE, Calibration, apply, calibration_of
from deepspeaker.scoring.decisions import supported, threshold
from deepspeaker.scoring.enrolment import Models
from deepspeaker.scoring.inputs import Compared
from deepspeaker.scoring.needs import needs
from deepspeaker.scoring.plda import Plda
from deepspeaker.scoring.quality import QUALITIES, TABLE, measure
from deepspeaker.scoring.scorer import score_pairs

File = str | os.PathLike[str]  # "-" is standard input
T = TypeVar("T")
Sound = File | tuple[np.ndarray, int]  # a file, or (samples (S,), sampling rate in Hz)
survive_forks()


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

    name: of the file, with which error messages begin; a server may leave out the folder.
    """

    def __init__(self, trained: Trained, device: str, name: str) -> None:
        self.config, self.summary = trained.config, trained.content.get("summary", {})
        self.name = self._path = name
        self.origin: dict[str, str] = trained.content.get("origin", {})  # of a network taken over from another project
        self.network, self._device = trained.network.to(device), torch.device(device)
        self.backend: str = self.config.scoring.backends[0]
        content = trained.content
        self._cohort_speakers: list[str] = content.get("cohort_speakers") or []
        self._calibrations = {key: calibration_of(**value) for key, value in content.get("calibration", {}).items()}
        if unknown := {name for found in self._calibrations.values() for name in found.qualities} - QUALITIES.keys():
            raise ValueError(f"no quality {min(unknown)!r}")
        cohort, plda = content.get("cohort"), content.get("plda")
        self.cohort: np.ndarray | None = None if cohort is None else cohort.numpy()  # (C, E)
        self.plda: Plda | None = plda and Plda(**{key: value.numpy() for key, value in plda.items()})
        self._means: dict[str, Any] = {  # what back-ends and qualities may need
            "cohort": self.cohort, "cohort_top": self.config.scoring.cohort_top, "plda": self.plda}

    @property
    def rate(self) -> int:
        """Sampling rate of the front-end in Hz; sounds at other rates are converted to it."""
        return self.config.features.sample_rate

    @property
    def dimensions(self) -> int:
        """E, the number of values of an embedding."""
        return self.network.embedding_dim

    @property
    def calibration(self) -> Calibration | None:
        """Of the back-end; None: its scores are no decisions."""
        return self._calibrations.get(self.backend)

    @property
    def prior(self) -> float:
        """The probability of targets at which decisions are made by default."""
        return self.config.scoring.calibration_prior

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that embeddings depend on."""
        return fingerprint(self.network, self.config)

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
        heard = [_try(path, partial(self._hear, path, any_sound, channel)) for path in paths]
        embeddings = iter(self._embed_together([found for found in heard if isinstance(found, Tensor)]))
        return [next(embeddings) if isinstance(found, Tensor) else found for found in heard]

    def listen(self, sound: Sound, channel: int | None = None) -> Heard:
        """Embed a sound and judge it. UserError, which names the file, if it cannot be read or has no speech.

        channel: which to take of a file with several, from 0; None: their mean.
        """
        if isinstance(sound, tuple):
            return self.hear(Audio(as_samples(*sound, self.rate), sound[1], 0, ""))
        audio = read_file(sound, self.rate, channel)
        with _naming(sound):
            return self.hear(audio)

    def score(self, first: np.ndarray, second: np.ndarray) -> float:
        """The back-end's score of two embeddings (E,), as stage 6 computes it, not calibrated; a cosine is -1..1."""
        return float(self.scores(self._compared([[Recording(first, 1.0)]], Recording(second, 1.0)))[0])

    def llr(self, enrolled: Sequence[Sequence[Recording]], test: Recording) -> np.ndarray:
        """Natural log-likelihood ratios (n,) of `test` against n speakers, each enrolled by one or more recordings."""
        trials = self._compared(enrolled, test)
        return self.llrs(trials, self.scores(trials))

    def threshold(self, prior: float | None = None, cost_miss: float = 1.0, cost_false_accept: float = 1.0) -> float:
        """The log-likelihood ratio from which accepting costs less than rejecting.

        prior: probability that the speakers are the same (default: the prior that the model was calibrated for).
        UserError for a prior outside 0..1, and for costs that are not above 0.
        """
        prior = self.prior if prior is None else prior
        if not 0 < prior < 1 or not 0 < cost_miss < math.inf or not 0 < cost_false_accept < math.inf:
            raise UserError(f"expected a prior between 0 and 1 and costs above 0, found prior {prior}, cost of a miss "
                            f"{cost_miss}, of a false accept {cost_false_accept}")
        return threshold(prior, cost_miss, cost_false_accept)

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest log-likelihood ratio that the calibration's data support, natural logarithms."""
        return self._calibrated().bounds

    def supports(self, threshold: float) -> bool:
        """Whether a decision at this threshold is supported: outside the bounds all are rejected, or all accepted."""
        return supported(self.bounds, threshold)

    def verify(self, first: Sound, second: Sound, prior: float | None = None, cost_miss: float = 1.0,
               cost_false_accept: float = 1.0, channel: int | None = None) -> Verdict:
        """Decide whether two sounds have the same speaker. Arguments and UserError as `listen`, `threshold`, `llr`."""
        return self.compare(self.listen(first, channel), self.listen(second, channel),
                            self.threshold(prior, cost_miss, cost_false_accept))

    def compare(self, first: Heard, second: Heard, threshold: float) -> Verdict:
        """Decide whether two recordings that `listen` returned have the same speaker."""
        trials = self._compared([[first]], second)
        scores = self.scores(trials)
        llr = float(self.llrs(trials, scores)[0])
        return Verdict(llr >= threshold, llr, threshold, self.supports(threshold), float(scores[0]), first.trust,
                       second.trust)

    def write(self, path: File, calibration: Calibration, prior: float, learnt_from: dict[str, object]) -> None:
        """Write the model with another calibration of its back-end, and another default prior.

        learnt_from: on what and when it was calibrated, for the summary.
        """
        scoring = self.config.scoring.model_copy(update={"calibration_prior": prior, "backends": [self.backend]})
        write_model(path, self._path, self.config.model_copy(update={"scoring": scoring}), {
            "calibration": {self.backend: calibration._asdict()},
            "summary": {**self.summary, "calibration": learnt_from}})

    def refuse_cohort(self, speakers: Iterable[str]) -> None:
        """UserError for speakers by whom the back-end normalises scores: theirs are other than those of strangers."""
        if same := sorted({*speakers} & {*self._cohort_speakers}):
            raise UserError(f"{len(same)} speakers are in the model's cohort, which it was trained on: "
                            f"{examples(same)}: calibrate on others, or rename those who are not the same people")

    def hear(self, audio: Audio) -> Heard:
        """Embed a sound at the model's rate, as the readers of deepspeaker.audio return it, and judge it. UserError if
        it has no speech."""
        features, heard = self._judged(audio)
        return heard(self._embed(features))

    def hear_together(self, sounds: Iterable[tuple[str, Callable[[], Audio]]]) -> list[Heard | UserError]:
        """As `hear`, for each (name, what reads the sound when its turn comes); a UserError that names it is returned,
        not raised. Sounds of similar length pass the network together, padded."""
        judged = [_try(name, partial(self._judged_by_name, name, read)) for name, read in sounds]
        embeddings = iter(self._embed_together([found[0] for found in judged if not isinstance(found, UserError)]))
        return [found if isinstance(found, UserError) else found[1](next(embeddings)) for found in judged]

    def _judged(self, audio: Audio) -> tuple[Tensor, Callable[[np.ndarray], Heard]]:
        """Features (T, F) of a sound, and what turns its embedding (E,) into Heard. UserError if it has no speech."""
        fbank, energy = self._features(audio.samples)
        f = self.config.features
        quality = sound_quality(fbank, energy, voiced_frames(energy), f.sample_rate, f.low_freq, f.high_freq)
        hears_more = (f.high_freq or self.rate / 2) > NARROW
        trust = judge(torch.from_numpy(audio.samples), self.rate, energy)._replace(
            rate=audio.rate, upsampled=audio.rate < self.rate, mixed=audio.mixed, snr=round(quality.snr, 1),
            bandwidth=round(quality.bandwidth) if hears_more else None)
        seconds = len(audio.samples) / self.rate
        return self._as_stored(fbank, energy), partial(Heard, seconds=seconds, trust=trust, quality=quality)

    def _judged_by_name(self, name: str, read: Callable[[], Audio]) -> tuple[Tensor, Callable[[np.ndarray], Heard]]:
        audio = read()
        with _naming(name):
            return self._judged(audio)

    def _features(self, samples: np.ndarray) -> tuple[Tensor, Tensor]:
        """(fbank (T, F), log energy (T,)) as stage 2 computes them, before they are stored."""
        f = self.config.features
        found = compute_fbank(torch.from_numpy(samples), snip_edges=f.snip_edges, **f.filterbank)
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

    def _embed(self, features: Tensor) -> np.ndarray:
        return next(self._embed_together([features]))

    def _embed_together(self, features: Sequence[Tensor]) -> Iterator[np.ndarray]:
        f = self.config.features
        return map(self._finite, embed_together(self.network, features, f.normalize, self.config.embedding))

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
            raise UserError(f"{self.name} gives an embedding that is not finite: its weights are damaged")
        return embedding.cpu().numpy()

    def _compared(self, enrolled: Sequence[Sequence[Recording]], test: Recording) -> Trials:
        """The trials of a recording with speaker models."""
        recordings = [test, *(recording for several in enrolled for recording in several)]
        models = Models(np.arange(1, len(recordings)), np.array([len(several) for several in enrolled]))
        return Trials(recordings, models, np.arange(len(enrolled)), np.zeros(len(enrolled), np.int64))

    def scores(self, trials: Trials) -> np.ndarray:
        """The back-end's scores (n,) of trials, before calibration. UserError where it lacks what it needs."""
        if missing := [need for need in needs(BACKENDS[self.backend]) if self._means[need] is None]:
            raise UserError(f"{self.name}: its back-end {self.backend} needs {missing[0]}, which the file lacks")
        embeddings = np.stack([r.embedding for r in trials.recordings]).astype(np.float32, copy=False)
        return score_pairs(make_scorer(self.backend, embeddings, trials.models, **self._means), trials.i, trials.j)

    def columns(self, trials: Trials, scores: np.ndarray, qualities: Iterable[str]) -> dict[str, np.ndarray]:
        """What a calibration is a function of: the scores and these qualities of trials, each (n,).

        UserError for a recording whose sound was not measured.
        """
        names = [str(number) for number in range(len(trials.recordings))]
        embeddings = np.stack([r.embedding for r in trials.recordings])
        compared = Compared([], trials.models, names, embeddings, 1)
        durations = {name: str(r.seconds) for name, r in zip(names, trials.recordings, strict=True)}
        measured = {name: r.quality for name, r in zip(names, trials.recordings, strict=True) if r.quality}
        found = {SCORE: scores}
        for quality in qualities:
            if TABLE in needs(QUALITIES[quality]) and len(measured) < len(names):
                raise UserError(f"{self.name}: its calibration needs the {quality} of each recording, which earlier "
                                "versions did not measure: enrol the speakers again")
            found |= measure(quality, compared, trials.i, trials.j, utt2dur=durations, utt2quality=measured,
                             **self._means)
        return found

    def llrs(self, trials: Trials, scores: np.ndarray) -> np.ndarray:
        """Natural log-likelihood ratios (n,) of scored trials. UserError without a calibration."""
        calibration = self._calibrated()
        return apply(calibration, self.columns(trials, scores, calibration.qualities))

    def _calibrated(self) -> Calibration:
        if self.calibration is None:
            raise UserError(f"{self.name} has no calibration of {self.backend}, so its scores are no decisions: "
                            "use exp/NAME/model.pt, made by a recipe with a development set")
        return self.calibration


def _try(name: File, work: Callable[[], T]) -> T | UserError:
    """What `work` returns, or why it fails: one bad sound must not stop the others."""
    try:
        return work()
    except UserError as error:
        return error
    except Exception as error:
        return UserError(f"{os.fspath(name)}: {error}")


@contextmanager
def _naming(path: File) -> Iterator[None]:
    """Put the name of the file before the message of a UserError."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{'standard input' if path == STDIN else os.fspath(path)}: {error}") from None
