"""Calibrate a model anew on recordings of those whom it will meet."""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepspeaker.atomic import check_output
from deepspeaker.datadir import MAX_UNUSABLE_SHARE, read_table, spk2utt
from deepspeaker.datadir.sources import sources
from deepspeaker.datadir.trials import Trial, TrialList, make_trials, read_trial_list
from deepspeaker.errors import UserError, examples, one_line
from deepspeaker.inference.model import Model
from deepspeaker.inference.recordings import Heard, Trials
from deepspeaker.metrics.describe import compute_metrics
from deepspeaker.metrics.sides import trial_sides
from deepspeaker.scoring.calibration import SCORE, Calibration
from deepspeaker.scoring.calibration_trials import MOST, alike, draw, speaker_means
from deepspeaker.scoring.enrolment import Models
from deepspeaker.scoring.evidence import Evidence, held_out_llr, learn

FEWEST, FEW = 5, 20  # speakers with two recordings: below the first an error, below the second a warning
Metrics = Mapping[str, float | int | None]  # as deepspeaker.metrics.describe.compute_metrics returns them


class Recalibrated(NamedTuple):
    """What calibration changed on the recordings that it was learnt from."""

    calibration: Calibration
    prior: float  # of targets, at which decisions are made by default
    before: Metrics  # of the model as it was; empty if it had no calibration
    after: Metrics  # of the new calibration, each trial by one that has not seen a speaker of it
    trials: int
    failed: dict[str, str]  # utterance -> why it was left out
    lines: list[str]  # which qualities were used, and the bounds
    warning: str  # "" for none


def calibrate(model: Model, data_dir: str | os.PathLike[str], output: str | os.PathLike[str],
              prior: float | None = None, pipes: bool = True, seed: int = 0) -> Recalibrated:
    """Calibrate on the recordings of a data directory (wav.scp, utt2spk, maybe segments, spk2gender and trials) and
    write the model with the new calibration.

    Without trials they are made: all pairs of a speaker's recordings, and the speakers that are most alike.
    prior: of targets, at which decisions are made by default (None: the model's). pipes: run commands in wav.scp.
    UserError for fewer than FEWEST speakers, and for speakers of the model's cohort.
    """
    data, prior = Path(data_dir), model.prior if prior is None else prior
    model.threshold(prior)  # refuses what is no prior
    check_output(output)
    utt2spk = read_table(data / "utt2spk")
    model.refuse_cohort(utt2spk.values())
    heard, failed = _listen(model, data, utt2spk, pipes)
    spoken = {utterance: utt2spk[utterance] for utterance in heard}
    _refuse_few(data, spoken, failed)
    trials, evidence = _evidence(model, heard, spoken, _trials(data, heard, spoken, seed))
    learnt = learn(evidence, prior)

    def measured(llr: np.ndarray) -> Metrics:
        return compute_metrics(llr, evidence.labels, llr, evidence.speakers, prior)

    before = measured(model.llrs(trials, evidence.columns[SCORE])) if model.calibration else {}
    after = measured(held_out_llr(evidence, learnt.calibration))
    model.write(output, learnt.calibration, prior, {
        "date": datetime.now(UTC).date().isoformat(), "data": data.resolve().name, "speakers": evidence.n_speakers,
        "utterances": len(heard)})
    return Recalibrated(learnt.calibration, prior, before, after, len(evidence.labels), failed, learnt.lines,
                        _warning(after, evidence.n_speakers))


def _listen(model: Model, data: Path, utt2spk: Mapping[str, str],
            pipes: bool) -> tuple[dict[str, Heard], dict[str, str]]:
    """(utterance -> what was heard, utterance -> why it cannot be used). UserError where too many cannot."""
    found, failed = {}, {}
    for utterance, source in sources(data, pipes).items():
        if utterance not in utt2spk:
            raise UserError(f"{data}/utt2spk lacks {utterance}, which {data}/wav.scp or segments has")
        try:
            found[utterance] = model.hear(source.read(model.rate))
        except (UserError, OSError) as error:
            failed[utterance] = one_line(error)
    if len(failed) > MAX_UNUSABLE_SHARE * (len(found) + len(failed)):
        raise UserError(f"{data}: {len(failed)} of {len(found) + len(failed)} utterances cannot be used: "
                        f"{examples(f'{utterance}: {why}' for utterance, why in failed.items())}")
    return found, failed


def _refuse_few(data: Path, utt2spk: Mapping[str, str], failed: Mapping[str, str]) -> None:
    several = [speaker for speaker, utterances in spk2utt(utt2spk).items() if len(utterances) > 1]
    if len(several) < FEWEST:
        lost = f" ({len(failed)} cannot be used)" if failed else ""
        raise UserError(f"{data}: {len(several)} speakers with two recordings or more{lost}; calibration needs "
                        f"{FEWEST}, better {FEW}: add recordings")


def _trials(data: Path, heard: Mapping[str, Heard], utt2spk: Mapping[str, str], seed: int) -> list[Trial]:
    """The trials of a data directory whose utterances were heard, or made ones."""
    if (data / "trials").exists():
        listed = read_trial_list(data / "trials")
        if unknown := {*listed.first_ids, *listed.second_ids} - read_table(data / "utt2spk").keys():
            raise UserError(f"{data}/trials names {len(unknown)} utterances that {data}/utt2spk lacks: "
                            f"{examples(sorted(unknown))}")
        trial_sides(listed, data / "utt2spk", None)  # refuses labels that contradict the speakers
        return [trial for trial in listed.one_by_one() if trial.first in heard and trial.second in heard]
    names = sorted(heard)
    position = {name: number for number, name in enumerate(names)}
    same = make_trials(utt2spk, targets=MOST, nontargets=0, seed=seed)
    targets = TrialList(names, names, np.array([position[trial.first] for trial in same]),
                        np.array([position[trial.second] for trial in same]), np.ones(len(same), bool))
    means = speaker_means({name: recording.embedding for name, recording in heard.items()}, utt2spk)
    genders = read_table(data / "spk2gender") if (data / "spk2gender").exists() else {}
    who = [utt2spk[name] for name in names]
    return draw(targets, (who, who), alike(means, genders), [(names, names)], seed)


def _evidence(model: Model, heard: Mapping[str, Heard], utt2spk: Mapping[str, str],
              listed: Sequence[Trial]) -> tuple[Trials, Evidence]:
    """The trials as the model scores them, and as calibration learns from them."""
    position = {name: row for row, name in enumerate(heard)}
    number = {speaker: n for n, speaker in enumerate(sorted({*utt2spk.values()}))}
    of = np.array([number[utt2spk[name]] for name in heard])
    i = np.array([position[trial.first] for trial in listed], np.int64)
    j = np.array([position[trial.second] for trial in listed], np.int64)
    rows = np.arange(len(heard))
    trials = Trials([*heard.values()], Models(rows, np.ones_like(rows)), i, j)
    columns = model.columns(trials, model.scores(trials), model.config.scoring.qualities)
    return trials, Evidence(columns, np.array([trial.target for trial in listed], bool),
                            np.column_stack([of[i], of[j]]), np.zeros(len(listed), np.int64), len(heard))


def _warning(after: Metrics, speakers: int) -> str:
    if speakers >= FEW:
        return ""
    ends = (f": on other speakers of the kind Cllr may lie anywhere between {after['cllr_low']:.3f} and "
            f"{after['cllr_high']:.3f} bits (95 % interval)" if after.get("cllr_low") is not None else "")
    return f"only {speakers} speakers, {FEW} or more would be better{ends}"
