"""Checks of lists: whether a directory's files have the same ids, and whether trials agree with utt2spk."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from deepspeaker.corpus.check_findings import Findings
from deepspeaker.datadir import Segment, read_lists, read_segments, read_table, spk2utt
from deepspeaker.datadir.trials import NONTARGET, TARGET, read_trials
from deepspeaker.errors import UserError


class Lists(NamedTuple):
    """The tables of a data directory."""

    utt2spk: dict[str, str]
    wav: dict[str, str]  # recording -> entry
    segments: dict[str, Segment]  # utterance -> part of a recording, of utterances with audio


def read_directory(directory: Path, findings: Findings) -> Lists:
    """Read utt2spk, wav.scp and segments and note where their ids differ."""
    utt2spk, wav = read_table(directory / "utt2spk"), read_table(directory / "wav.scp")
    segments = read_segments(directory)
    for utterance in sorted(utt2spk.keys() - segments.keys()):
        findings.add(directory, "no_audio", utterance)
    for utterance in sorted(segments.keys() - utt2spk.keys()):
        findings.add(directory, "no_speaker", utterance)
    used = {segment.recording for segment in segments.values()}
    for recording in sorted(wav.keys() - used):
        findings.add(directory, "unused_recording", recording)
    for utterance, segment in segments.items():
        if segment.recording not in wav:
            findings.add(directory, "no_recording", f"{utterance} of {segment.recording}")
    speakers = spk2utt(utt2spk)
    for speaker, utterances in speakers.items():
        if len(utterances) == 1:
            findings.add(directory, "one_utterance", f"{speaker} ({utterances[0]})")
    findings.directories[directory] = {"speakers": len(speakers), "utterances": len(utt2spk), "recordings": len(wav)}
    return Lists(utt2spk, wav, segments)


def check_speakers(directory: Path, utt2spk: Mapping[str, str], train: Mapping[str, str], findings: Findings) -> None:
    """Note speakers that the training set has, too."""
    own, trained = spk2utt(utt2spk), spk2utt(train)
    for speaker in sorted(own.keys() & trained.keys()):
        findings.add(directory, "train_speaker",
                     f"{speaker} ({len(own[speaker])} utterances here, {len(trained[speaker])} trained on)")


def check_trials(directory: Path, utt2spk: Mapping[str, str], findings: Findings) -> None:
    """Check enroll and every file trials* of a directory; with a file `enroll`, the first ids are its models."""
    first = utt2spk
    if (directory / "enroll").exists():
        first = model_speakers(directory, utt2spk, findings)
    count = 0
    for path in sorted(directory.glob("trials*")):
        try:
            listed = read_trials(path)
        except UserError as error:
            findings.add(directory, "trial_list", str(error))
            continue
        count += len(listed)
        if len(labels := {trial.target for trial in listed}) < 2:
            findings.add(directory, "one_label", f"{path.name}: {len(listed)}, all {_label(labels.pop())}")
        for number, trial in enumerate(listed, 1):
            where = f"{path.name}:{number}: {trial.first} {trial.second}"
            unknown = [name for name, known in ((trial.first, first), (trial.second, utt2spk)) if name not in known]
            if unknown:
                findings.add(directory, "trial_unknown", f"{where}: no {' and no '.join(unknown)}")
                continue
            speakers = first[trial.first], utt2spk[trial.second]
            if (speakers[0] == speakers[1]) != trial.target and all(speakers):
                findings.add(directory, "trial_label",
                             f"{where} {_label(trial.target)}: of {' and '.join(speakers)}")
    if count:
        findings.directories[directory]["trials"] = count


def _label(target: bool) -> str:
    return TARGET if target else NONTARGET


def model_speakers(directory: Path, utt2spk: Mapping[str, str], findings: Findings) -> dict[str, str]:
    """Model -> its speaker, from `enroll`; "" where its utterances have none or several."""
    models = {}
    for model, utterances in read_lists(directory / "enroll").items():
        unknown = [utterance for utterance in utterances if utterance not in utt2spk]
        if unknown:
            findings.add(directory, "enroll_unknown", f"{model}: no {unknown[0]}")
        speakers = sorted({utt2spk[utterance] for utterance in utterances if utterance in utt2spk})
        if len(speakers) > 1:
            findings.add(directory, "enroll_speakers", f"{model}: of {' and '.join(speakers)}")
        models[model] = speakers[0] if len(speakers) == 1 else ""
    return models
