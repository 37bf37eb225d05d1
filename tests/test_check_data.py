"""utils/check_data.py: every finding from files that have it, what each means for the exit status, and the report."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import noise, write_wav

from deepspeaker.audio.frames import FRAME_LENGTH
from deepspeaker.corpus.check import KINDS, check_data
from deepspeaker.corpus.check_audio import parallel, repeated
from deepspeaker.corpus.check_findings import EXAMPLES
from deepspeaker.extraction.fbank import num_frames


def found(*directories, train=None):
    """{kind: (count, examples)} of all directories."""
    rows = check_data([*directories], train, 2).rows()
    return {row["kind"]: (row["count"], row["examples"]) for row in rows}


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def wav_of(directory, utterance):
    """The sound file of an utterance."""
    entries = dict(line.split(maxsplit=1) for line in (directory / "wav.scp").read_text().splitlines())
    return Path(entries[utterance])


def add_utterances(directory, speaker, wavs):
    """Utterances SPEAKER-x00, -x01, ... with these sound files."""
    for name, values in (("wav.scp", wavs), ("utt2spk", [speaker] * len(wavs))):
        with (directory / name).open("a") as file:
            file.writelines(f"{speaker}-x{n:02d} {value}\n" for n, value in enumerate(values))


@pytest.fixture
def good(data_dir):
    """Five speakers of five utterances; no finding."""
    directory = data_dir("train", 5, 5, 0.2)
    assert found(directory) == {}
    return directory


def test_good_data(call, data_dir):
    train, test = data_dir("train", 3, 2, 0.2), data_dir("test", 2, 2, 0.3)
    for name in ("utt2spk", "wav.scp", "trials"):
        text = (test / name).read_text()
        (test / name).write_text(text.replace("s00", "t00").replace("s01", "t01").replace("/t0", "/s0"))
    before = {path: path.read_bytes() for path in train.parent.rglob("*") if path.is_file()}
    done = call("utils/check_data.py", "--train", train, test)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout == (f"{train}: 3 speakers, 6 utterances, 6 recordings, 15 trials\n"
                           f"{test}: 2 speakers, 4 utterances, 4 recordings, 6 trials\n"
                           "0 kinds of errors, 0 kinds of warnings\n")
    assert {path: path.read_bytes() for path in train.parent.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name, kind", [("wav.scp", "no_audio"), ("utt2spk", "no_speaker")])
def test_ids_that_differ(good, name, kind):
    for trials in good.glob("trials"):
        trials.unlink()
    change(good / name, (good / name).read_text().splitlines(True)[1], "")
    assert found(good) == {kind: (1, ["s00-u01"])}


def test_segments_and_recordings_that_differ(good):
    utterances = [line.split()[0] for line in (good / "utt2spk").open()]
    (good / "segments").write_text("".join(f"{u} {u} 0.05 -1\n" for u in utterances[:-1]))
    change(good / "segments", "s01-u00 s01-u00", "s01-u00 none")
    assert found(good) == {
        "no_audio": (1, ["s04-u04"]), "no_recording": (1, ["s01-u00 of none"]),
        "unused_recording": (2, ["s01-u00", "s04-u04"])}


def spoil_missing(wav):
    wav.unlink()


def spoil_truncated(wav):
    os.truncate(wav, 3000)


def spoil_unreadable(wav):
    wav.write_text("this is no audio")


def spoil_short(wav):
    write_wav(wav, noise(0.02, 99))


@pytest.mark.parametrize("spoil, kind, message", [
    (spoil_missing, "missing", "s02-u03.wav"), (spoil_truncated, "truncated", "2956 are there"),
    (spoil_unreadable, "unreadable", "is not audio that can be read"), (spoil_short, "too_short", "0.0200 s"),
    (lambda wav: os.truncate(wav, 0), "unreadable", "s02-u03.wav is empty"),
    (lambda wav: (wav.unlink(), wav.mkdir()), "unreadable", "s02-u03.wav")])
def test_unusable_audio(good, spoil, kind, message):
    spoil(wav_of(good, "s02-u03"))
    findings = found(good)
    count, examples = findings.pop(kind)
    assert count == 1 and examples[0].startswith("s02-u03: ") and message in examples[0] and not findings


@pytest.mark.parametrize("extension", ["flac", "mp3", "ogg"])
def test_compressed_audio_cut_short(good, extension):
    sound = write_wav(good.parent / f"whole.{extension}", noise(2.0, 98), subtype=None)
    change(good / "wav.scp", str(wav_of(good, "s02-u03")), str(sound))
    assert found(good) == {}
    os.truncate(sound, sound.stat().st_size // 2)
    (kind, (count, examples)), = found(good).items()
    assert count == 1 and kind in ("truncated", "unreadable") and f"whole.{extension}" in examples[0]


def test_audio_that_pyav_reads(good):
    av = pytest.importorskip("av")
    sound = good.parent / "sound.m4a"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        samples = (noise(1.0, 97) * 20000).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.rate = 16000
        container.mux([*stream.encode(frame), *stream.encode()])
    change(good / "wav.scp", str(wav_of(good, "s02-u03")), str(sound))
    assert found(good) == {}
    os.truncate(sound, sound.stat().st_size // 2)
    assert found(good)["unreadable"][0] == 1


@pytest.mark.parametrize("samples, short", [(399, True), (400, False)])
def test_the_shortest_utterance_has_one_frame(good, samples, short):
    write_wav(wav_of(good, "s02-u03"), noise(1.0, 96)[:samples])
    assert ("too_short" in found(good)) == short == (num_frames(samples, 16000, snip_edges=True) == 0)
    assert round(FRAME_LENGTH * 16000) == 400


def test_a_few_unusable_files_are_a_warning_more_an_error(good, call):
    wav_of(good, "s02-u03").unlink()
    assert call("utils/check_data.py", good).returncode == 0  # 1 of 25, less than 5 %
    wav_of(good, "s02-u02").unlink()
    done = call("utils/check_data.py", good)
    assert done.returncode == 1 and "more than 5 % of the utterances are unusable" in done.stdout
    assert "2 of 25 utterances" in done.stdout


def test_segments_outside_their_recording(good):
    utterances = [line.split()[0] for line in (good / "utt2spk").open()]
    (good / "segments").write_text("".join(f"{u} {u} 0 0.2\n" for u in utterances))
    change(good / "segments", "s00-u01 0 0.2", "s00-u01 0 0.71")
    change(good / "segments", "s00-u02 0 0.2", "s00-u02 0 0.69")  # as far beyond as stage 2 allows
    change(good / "segments", "s00-u03 0 0.2", "s00-u03 0.3 -1")
    change(good / "segments", "s00-u04 0 0.2", "s00-u04 0.18 0.3")
    findings = found(good)
    assert findings["bad_segment"][0] == 2 and "0.0..0.71 s of 0.200 s" in findings["bad_segment"][1][0]
    assert findings["too_short"][0] == 1 and findings["too_many_unusable"][1] == ["3 of 25 utterances"]


def test_audio_that_is_converted(good, call):
    write_wav(wav_of(good, "s02-u03"), noise(0.5, 95), rate=8000)
    write_wav(wav_of(good, "s02-u04"), np.stack([noise(0.5, 94), noise(0.5, 93)], axis=1))
    findings = found(good)
    assert findings.keys() == {"rate", "channels"}
    assert findings["rate"][1][0].endswith(": 8000 Hz") and findings["channels"][1][0].endswith(": 2 channels")
    assert call("utils/check_data.py", good).returncode == 0


def test_duplicates(good):
    """Copies, hard links, and one file twice; files that differ in one byte alone are none."""
    original = wav_of(good, "s02-u03")
    shutil.copy(original, wav_of(good, "s02-u04"))
    wav_of(good, "s03-u00").unlink()
    os.link(original, wav_of(good, "s03-u00"))
    change(good / "wav.scp", str(wav_of(good, "s04-u00")), str(original))
    other = bytearray(original.read_bytes())
    other[-1] ^= 1
    wav_of(good, "s04-u01").write_bytes(other)
    other[len(other) // 2] ^= 1
    wav_of(good, "s04-u02").write_bytes(other)
    count, examples = found(good)["duplicate"]
    assert count == 3 and [example.split(": ")[0] for example in examples] == [
        "s02-u04 is s02-u03", "s03-u00 is s02-u03", "s04-u00 is s02-u03"]


def test_every_file_is_looked_at():
    paths = [str(n) for n in range(130)]
    assert parallel(int, paths, 2, "numbers") == dict(zip(paths, range(130), strict=True))
    assert parallel(int, [], 2, "numbers") == {}
    groups = [["1", "21", "3", "11"], ["31", "5", "15"]]
    assert repeated(groups, lambda path: path[-1]) == [["1", "21", "11"], ["5", "15"]]


def test_training_audio_in_a_test_set(good, data_dir):
    test = data_dir("test", 2, 2, 0.3)
    for name in ("utt2spk", "wav.scp", "trials"):
        change(test / name, "s0", "t0")
    change(test / "wav.scp", "/t0", "/s0")
    shutil.copy(wav_of(good, "s02-u03"), wav_of(test, "t01-u00"))
    count, (example,) = found(test, train=good)["train_audio"]
    assert count == 1 and example.startswith("t01-u00 is s02-u03: ")
    assert found(good, test) == {}  # two sets of which none is trained on


def test_one_utterance_of_a_speaker(good):
    add_utterances(good, "s05", [write_wav(good.parent / "more.wav", noise(0.3, 92))])
    assert found(good) == {"one_utterance": (1, ["s05 (s05-x00)"])}


def test_speakers_of_train_in_a_test_set(good, data_dir, call):
    test = data_dir("test", 2, 2, 0.3)
    count, examples = found(good, test, train=good)["train_speaker"]
    assert (count, examples[0]) == (2, "s00 (2 utterances here, 5 trained on)")
    done = call("utils/check_data.py", test, "--train", good)
    assert done.returncode == 1 and "  error         2  speakers that are in the training set, too\n" in done.stdout
    assert call("utils/check_data.py", test).returncode == 0


@pytest.mark.parametrize("old, new, kind, example", [
    ("s00-u00 s00-u01", "s00-u00 x", "trial_unknown", "trials:1: s00-u00 x: no x"),
    ("s00-u00 s00-u01 target", "x y target", "trial_unknown", "trials:1: x y: no x and no y"),
    ("s00-u00 s00-u02 target", "s00-u00 s00-u02 nontarget", "trial_label",
     "trials:2: s00-u00 s00-u02 nontarget: of s00 and s00"),
    ("s00-u00 s01-u01 nontarget", "s00-u00 s01-u01 target", "trial_label",
     "trials:6: s00-u00 s01-u01 target: of s00 and s01")])
def test_trials(good, call, old, new, kind, example):
    change(good / "trials", old, new)
    assert found(good) == {kind: (1, [example])}
    assert call("utils/check_data.py", good).returncode == 1
    wav_of(good, "s00-u00").unlink()
    done = call("utils/check_data.py", "--trials-only", good)
    assert done.returncode == 1 and example in done.stdout and "1 kinds of errors, 0 kinds of warn" in done.stdout


def test_lists_without_targets_or_nontargets(good):
    for label in ("target", "nontarget"):
        lines = [line for line in (good / "trials").open() if line.split()[2] == label]
        (good / f"trials_{label}").write_text("".join(lines))
    assert found(good) == {"one_label": (2, ["trials_nontarget: 250, all nontarget", "trials_target: 50, all target"])}


def test_a_list_that_cannot_be_read_is_told_with_the_rest(good):
    (good / "trials").write_text("s00-u00 s00-u01 1\n")
    wav_of(good, "s00-u00").unlink()
    listed = found(good)
    assert listed.keys() == {"missing", "trial_list"}
    assert "trials:1: expected 'id1 id2 target|nontarget', found 's00-u00 s00-u01 1'" in listed["trial_list"][1][0]


def test_lists_as_voxceleb_has_them_are_told_with_the_rest(good):
    (good / "trials").write_text("1 s00-u00 s00-u01\n0 s00-u00 s01-u01\n")
    (good / "trials_models").write_text("nobody s00-u01 target\ns00-u00 s01-u01 nontarget\n")
    listed = found(good)
    assert listed.keys() == {"trial_list", "trial_unknown"}
    convert = re.search(r"convert it with (.*)", listed["trial_list"][1][0])[1]
    (good / "old").write_bytes((good / "trials").read_bytes())
    subprocess.run(["bash", "-c", convert.replace(" LIST ", " old ")], cwd=good, check=True)
    assert (good / "trials").read_text() == "s00-u00 s00-u01 target\ns00-u00 s01-u01 nontarget\n"
    assert found(good).keys() == {"trial_unknown"}


def test_every_list_of_trials_is_checked(good):
    (good / "trials_E").write_text("s00-u00 s00-u01 target\ns00-u00 none nontarget\n")
    assert found(good)["trial_unknown"][1] == ["trials_E:2: s00-u00 none: no none"]


def test_enrolment(good):
    (good / "enroll").write_text("m0 s00-u00 s00-u01\nm1 s01-u00\n")
    (good / "trials").write_text("m0 s00-u02 target\nm1 s00-u02 nontarget\n")
    assert found(good) == {}
    (good / "enroll").write_text("m0 s00-u00 s01-u01\nm1 s01-u00 none\nm2 s02-u00\n")
    (good / "trials").write_text("m0 s00-u02 target\nm1 s01-u02 nontarget\nm2 s02-u01 target\ns02-u00 s02-u01 target\n")
    assert found(good) == {
        "enroll_speakers": (1, ["m0: of s00 and s01"]), "enroll_unknown": (1, ["m1: no none"]),
        "trial_label": (1, ["trials:2: m1 s01-u02 nontarget: of s01 and s01"]),
        "trial_unknown": (1, ["trials:4: s02-u00 s02-u01: no s02-u00"])}


def test_commands_are_counted_not_run(good, call):
    change(good / "wav.scp", str(wav_of(good, "s02-u03")), f"touch {good}/ran; false |")
    done = call("utils/check_data.py", good)
    assert done.returncode == 0 and "1 commands in wav.scp, not run and not checked" in done.stdout
    assert not (good / "ran").exists()


def test_report(good, call):
    trials = (good / "trials").read_text().splitlines(True)
    (good / "trials").write_text("".join(line.replace(" s", " x") for line in trials[:7]) + "".join(trials[7:]))
    add_utterances(good, "s05", [write_wav(good.parent / "more.wav", noise(0.3, 91))])
    done = call("utils/check_data.py", good)
    assert done.stdout.splitlines()[1:8] == [
        "  error         7  trials that name an id the data directory does not have",
        *(f"{'':19}trials:{n}: s00-u00 {line.split()[1].replace('s', 'x')}: no {line.split()[1].replace('s', 'x')}"
          for n, line in enumerate(trials[:EXAMPLES], 1)),
        f"{'':19}... and 2 more"]
    assert done.stdout.splitlines()[-1] == "1 kinds of errors, 1 kinds of warnings"
    done = call("utils/check_data.py", "--json", good)
    report = json.loads(done.stdout)
    assert done.returncode == 1 and (report["errors"], report["warnings"]) == (1, 1)
    assert report["directories"] == {str(good): {"speakers": 6, "utterances": 26, "recordings": 26, "trials": 300}}
    first, second = report["findings"]
    assert (first["kind"], first["level"], first["count"], len(first["examples"])) == ("trial_unknown", "error", 7, 5)
    assert (second["kind"], second["level"], second["directory"]) == ("one_utterance", "warning", str(good))
    assert first["advice"] == KINDS["trial_unknown"].advice


@pytest.mark.parametrize("name, text, message", [
    ("utt2spk", "s00-u00\n", "utt2spk:1: expected 'key value', found 's00-u00'"),
    ("wav.scp", "s00-u00 x\ns00-u00 y\n", "wav.scp:2: s00-u00 stands here for the second time"),
    ("segments", "s00-u00 s00-u00 2 1\n", "segments: s00-u00: expected 'recording start end'"),
    ("utt2spk", None, "no such file ")])
def test_malformed_files(good, call, name, text, message):
    if text is None:
        (good / name).unlink()
    else:
        (good / name).write_text(text)
    done = call("utils/check_data.py", good)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


def test_command_line(call):
    assert "expected a data directory" in call("utils/check_data.py").stderr
    assert "goes without --train" in call("utils/check_data.py", "--trials-only", "--train", "a", "b").stderr
    assert "--nj" in call("utils/check_data.py", "--nj", 0, "data").stderr
