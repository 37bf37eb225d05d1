"""Whether data can be trained and tested on: sound files, duplicates, speakers, trials. Nothing is written."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from deepspeaker.audio.content import is_command
from deepspeaker.audio.decoding import OVERHANG
from deepspeaker.audio.frames import FRAME_LENGTH
from deepspeaker.corpus.check_audio import Checked, check_file, oddities, parallel, same_content
from deepspeaker.corpus.check_findings import KINDS, Findings
from deepspeaker.corpus.check_lists import Lists, check_speakers, check_trials, read_directory
from deepspeaker.datadir import MAX_UNUSABLE_SHARE, read_table

__all__ = ["KINDS", "Findings", "check_data", "check_trial_lists"]


def check_data(directories: Sequence[Path], train: Path | None, jobs: int) -> Findings:
    """Check data directories, and `train` with them: the others may share neither speakers nor audio with it.

    Commands in wav.scp are not run; the directories' counts say how many there are. Raises UserError for files that
    are missing or malformed, with the line.
    """
    unique = {os.path.realpath(each): each for each in reversed([*([train] if train else []), *directories])}
    findings = Findings()
    lists = {each: read_directory(each, findings) for each in reversed(unique.values())}
    trained = unique[os.path.realpath(train)] if train else None
    for directory, own in lists.items():
        check_trials(directory, own.utt2spk, findings)
        if trained and directory != trained:
            check_speakers(directory, own.utt2spk, lists[trained].utt2spk, findings)
    paths = sorted({entry for own in lists.values() for entry in own.wav.values() if not is_command(entry)})
    checked = parallel(check_file, paths, jobs, "check audio")
    for directory, own in lists.items():
        note_recordings(directory, own, checked, findings)
        note_utterances(directory, own, checked, findings)
    same = same_content(checked, jobs)
    for directory, own in lists.items():
        note_duplicates(directory, own.wav, same, findings)
        if trained and directory != trained:
            note_train_audio(directory, own.wav, lists[trained].wav, same, findings)
    return findings


def check_trial_lists(directories: Sequence[Path]) -> Findings:
    """Check the trial lists and enroll of data directories alone. UserError for files that are missing or malformed."""
    findings = Findings()
    for directory in directories:
        utt2spk = read_table(directory / "utt2spk")
        findings.directories[directory] = {"utterances": len(utt2spk)}
        check_trials(directory, utt2spk, findings)
    return findings


def note_recordings(directory: Path, lists: Lists, checked: Mapping[str, Checked], findings: Findings) -> None:
    """Note what is wrong with each sound file of a directory."""
    for recording, entry in sorted(lists.wav.items()):
        if entry not in checked:
            continue
        found = checked[entry]
        if found.header is None:
            findings.add(directory, found.problem, f"{recording}: {found.detail}")
            continue
        for kind, detail in oddities(found.header):
            findings.add(directory, kind, f"{recording}: {entry}: {detail}")
    commands = sum(entry not in checked for entry in lists.wav.values())
    if commands:
        findings.directories[directory]["commands in wav.scp, not run and not checked"] = commands


def note_utterances(directory: Path, lists: Lists, checked: Mapping[str, Checked], findings: Findings) -> None:
    """Note utterances that are too short or lie outside their recording, and whether too many cannot be used."""
    unusable = 0
    for utterance, (recording, start, end, channel) in lists.segments.items():
        found = checked.get(lists.wav.get(recording, ""))
        if found is None:  # a command, or no such recording
            continue
        unusable += found.header is None
        if found.header is None:
            continue
        length = found.header.seconds
        where = f"{utterance}: {lists.wav[recording]}"
        if start > length or (end or 0) > length + OVERHANG:
            findings.add(directory, "bad_segment", f"{where}: {start}..{end} s of {length:.3f} s")
        elif 1 < found.header.channels <= (channel or 0):
            findings.add(directory, "bad_segment", f"{where}: channel {channel} of {found.header.channels}, counted "
                                                   "from 0")
        elif (used := min(end or length, length) - start) < FRAME_LENGTH:
            findings.add(directory, "too_short", f"{where}: {used:.4f} s")
        else:
            continue
        unusable += 1
    if unusable > MAX_UNUSABLE_SHARE * len(lists.segments):
        findings.add(directory, "too_many_unusable", f"{unusable} of {len(lists.segments)} utterances")


def note_duplicates(directory: Path, wav: Mapping[str, str], same: Mapping[str, str], findings: Findings) -> None:
    """Note recordings with the same content as an earlier one of the directory."""
    seen: dict[str, str] = {}
    for recording, entry in sorted(wav.items()):
        if entry in same and (earlier := seen.setdefault(same[entry], recording)) != recording:
            findings.add(directory, "duplicate", f"{recording} is {earlier}: {entry}")


def note_train_audio(directory: Path, wav: Mapping[str, str], trained: Mapping[str, str], same: Mapping[str, str],
                     findings: Findings) -> None:
    """Note recordings with the same content as one of the training set."""
    known = {same[entry]: recording for recording, entry in sorted(trained.items(), reverse=True) if entry in same}
    for recording, entry in sorted(wav.items()):
        if entry in same and same[entry] in known:
            findings.add(directory, "train_audio", f"{recording} is {known[same[entry]]}: {entry}")
