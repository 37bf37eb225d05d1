"""Sound in wave archives: what is written comes back, other tools read it, and what cannot be read is named; and how
stage 2 makes such archives."""

import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import kaldi_native_io
import kaldiio
import numpy as np
import pytest
import torch
from conftest import RATE, ROOT, noise, write_wav

from deepspeaker.audio import read_audio
from deepspeaker.audio.augment import augment
from deepspeaker.batches.training_set import TrainingSet
from deepspeaker.config import AugmentConfig, BatchConfig, load_config
from deepspeaker.corpus.sounds import make_sounds
from deepspeaker.datadir import read_table
from deepspeaker.datadir.archive import map_file
from deepspeaker.datadir.sound_archive import Pieces, SoundTable, append_sound
from deepspeaker.errors import UserError
from deepspeaker.extraction.feature_set import FeatureSet, SoundSet
from deepspeaker.extraction.make_features import Places, join_features, make_share
from deepspeaker.training import loop

BATCH = BatchConfig(speakers=4, utterances=2, min_frames=50, max_frames=50, speaker_weight="even")
ONLINE = AugmentConfig(copies=[], speeds=[], time_mask=0, frequency_mask=0, online=True)


@pytest.fixture(autouse=True)
def map_anew():
    """Archives that tests replace are not those mapped before."""
    map_file.cache_clear()


def wav_bytes(samples: np.ndarray, rate=RATE, channels=1, bits=16, form=1, before=b"", size=None) -> bytes:
    """A WAV file, with chunks `before` its samples; size: of these, as the header has it."""
    data = samples.tobytes()
    chunks = b"fmt " + struct.pack("<IHHIIHH", 16, form, channels, rate, rate * channels * bits // 8,
                                   channels * bits // 8, bits)
    chunks += before + b"data" + struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def archived(folder: Path, content: bytes, key: str = "a") -> tuple[Path, SoundTable]:
    """An archive of one sound, the third from its start, and its table."""
    ark = folder / "some.ark"
    front = b"x " + wav_bytes(np.zeros(5, "<i2")) + key.encode() + b" "
    ark.write_bytes(front + content)
    (folder / "some.scp").write_text(f"{key} {ark}:{len(front)}\n")
    return ark, SoundTable(folder / "some.scp", RATE)


def test_samples_of_16_bits_come_back_and_others_read_them(tmp_path):
    whole = np.arange(-32768, 32768, dtype=np.int16)
    sounds = {"all": whole, "ünï-1": whole[::-7].copy(), "one": whole[:1]}
    with (tmp_path / "s.ark").open("wb") as file:
        places = {key: append_sound(file, key, sound.astype(np.float32) / 32768, RATE) for key, sound in sounds.items()}
    (tmp_path / "s.scp").write_text("".join(f"{key} {tmp_path}/s.ark:{place}\n" for key, place in places.items()))
    table = SoundTable(tmp_path / "s.scp", RATE)
    assert table.keys == [*sounds] and table.lengths(np.array([2, 0])).tolist() == [1, 65536]
    by_kaldiio = kaldiio.load_scp(str(tmp_path / "s.scp"))
    with kaldi_native_io.SequentialWaveReader(f"ark:{tmp_path}/s.ark") as reader:
        by_kaldi = {key: np.array(wave.data.numpy())[0] for key, wave in reader}
    for i, (key, sound) in enumerate(sounds.items()):
        np.testing.assert_array_equal(table.samples(i), sound)
        rate, found = by_kaldiio[key]
        assert rate == RATE
        np.testing.assert_array_equal(found, sound)
        np.testing.assert_array_equal(by_kaldi[key], sound)
        np.testing.assert_array_equal(read_audio(f"{tmp_path}/s.ark:{places[key]}", RATE).samples * 32768, sound)


def test_what_is_louder_is_clipped_and_between_two_values_the_nearest_is_taken(tmp_path):
    samples = np.array([1.0, 1.5, -1.0, -1.5, 0.4 / 32768, -0.6 / 32768, np.inf], np.float32)
    with (tmp_path / "s.ark").open("wb") as file:
        place = append_sound(file, "a", samples, RATE)
    (tmp_path / "s.scp").write_text(f"a {tmp_path}/s.ark:{place}\n")
    assert SoundTable(tmp_path / "s.scp", RATE).samples(0).tolist() == [32767, 32767, -32768, -32768, 0, -1, 32767]


@pytest.mark.parametrize("words", [b"abcd", b"abcde"])  # those of an odd length are padded, which Kaldi does not know
def test_archives_with_other_chunks_before_the_samples(tmp_path, words):
    """As recorders write them."""
    samples = np.arange(-50, 50, dtype="<i2")
    before = b"LIST" + struct.pack("<I", len(words)) + words + bytes(len(words) % 2)
    ark, table = archived(tmp_path, wav_bytes(samples, before=before + b"fact" + struct.pack("<II", 4, 100)))
    np.testing.assert_array_equal(table.samples(0), samples)
    if len(words) % 2 == 0:
        with kaldi_native_io.SequentialWaveReader(f"ark:{ark}") as reader:
            found = {key: np.array(wave.data.numpy())[0] for key, wave in reader}
        np.testing.assert_array_equal(found["a"], samples)


def test_pieces_and_what_lies_beyond_the_ends(tmp_path):
    samples = np.arange(10, 15, dtype="<i2")
    _, table = archived(tmp_path, wav_bytes(samples))
    begin, size = np.array([[1, 3, 0], [-2, 0, 0], [4, 0, 0]]), np.array([[2, 1, 0], [4, 0, 0], [13, 0, 0]])
    found = np.zeros((3, 13), np.int16)
    table.cut(Pieces(np.zeros(3, int), begin, size), found)
    assert found[0].tolist() == [11, 12, 13] + [0] * 10 and found[1].tolist() == [11, 10, 10, 11] + [0] * 9
    assert found[2].tolist() == [14, 14, 13, 12, 11, 10, 10, 11, 12, 13, 14, 14, 13]


HUNDRED = np.zeros(100, "<i2")
BAD = {
    "truncated": (wav_bytes(HUNDRED)[:-7], "its header announces 200 bytes; the file has 193 from there"),
    "of unknown length": (wav_bytes(HUNDRED, size=0xFFFFFFFF), "its header announces 4294967295 bytes; the file has 2"),
    "another rate": (wav_bytes(HUNDRED, rate=8000), "expected 16000 samples a second, found 8000"),
    "stereo": (wav_bytes(HUNDRED, channels=2), "expected 16-bit samples of one channel, found format 1, 2 channels"),
    "24 bits": (wav_bytes(HUNDRED, bits=24), "found format 1, 1 channels, 24 bits"),
    "float": (wav_bytes(HUNDRED, form=3, bits=32), "found format 3, 1 channels, 32 bits"),
    "no WAV": (b"\0BFM \4" + bytes(99), r"expected a WAV file at this offset, found b'\\x00BFM"),
    "nothing": (b"", "expected a WAV file at this offset, found b''"),
    "no samples": (wav_bytes(HUNDRED[:0]), "expected samples, found none"),
    "samples too far": (wav_bytes(HUNDRED, before=b"junk" + struct.pack("<I", 5000) + bytes(5000)),
                        "no samples within its first 4096 bytes"),
    "header alone": (wav_bytes(HUNDRED)[:40], "expected samples, found none"),
    "half a header": (wav_bytes(HUNDRED)[:30], "no samples within its first 4096 bytes")}


@pytest.mark.parametrize("name", BAD)
def test_sounds_that_cannot_be_read_are_named(tmp_path, name):
    content, what = BAD[name]
    ark, table = archived(tmp_path, content, "utt-7")
    offset = read_table(tmp_path / "some.scp")["utt-7"].rpartition(":")[2]
    with pytest.raises(UserError, match=rf"^utt-7: {ark}:{offset}: .*{what}.*; make the archive again \(stage 2\)$"):
        table.lengths(np.array([0]))


def test_lists_of_archives_that_are_not_there(tmp_path):
    for place, what in ((f"{tmp_path}/none.ark:5", "No such file"), (f"{tmp_path}:5", "Is a directory"),
                        (f"{tmp_path}/empty:0", "cannot mmap an empty file"),
                        (f"{tmp_path}/a.wav", "expected 'file:offset'"),
                        ("cat a.wav |", "expected 'file:offset'"), (f"{tmp_path}/a.ark:-3", "expected 'file:offset'")):
        (tmp_path / "empty").touch()
        (tmp_path / "s.scp").write_text(f"utt-7 {place}\n")
        with pytest.raises(UserError, match=rf"^utt-7: {re.escape(place)}: .*{what}.*; make the archive again"):
            SoundTable(tmp_path / "s.scp", RATE).lengths(np.array([0]))


def make(directory, conf, work, makes, jobs=1):
    """Stage 2 in this process: archives of these kinds."""
    work.mkdir(exist_ok=True)
    config, places = load_config(conf).features, Places(directory.name, work, work, makes)
    for job in range(1, jobs + 1):
        make_share(directory, config, places, job, jobs)
    map_file.cache_clear()
    return join_features(directory, config, places, jobs)


def files(*folders):
    return {path: path.read_bytes() for folder in folders for path in folder.iterdir() if path.is_file()}


def test_a_killed_job_goes_on_and_leaves_the_same_bytes(data_dir, conf, tmp_path):
    directory, work, whole = data_dir(utterances=130, seconds=0.1), tmp_path / "work", tmp_path / "whole"
    make(directory, conf(), whole, ("sound", "vad"))
    expected = {path.name: content for path, content in files(whole).items()}
    entries = (directory / "wav.scp").read_text()
    last = max(entries.splitlines()).split()
    (directory / "wav.scp").write_text(entries.replace(last[1], f"sleep 600; cat {last[1]} |"))
    work.mkdir()
    words = [sys.executable, ROOT / "steps/make_fbank.py", "--conf", conf(), "--make", "sound,vad", "--job", 1,
             directory, work, work]
    process = subprocess.Popen([*map(str, words)], start_new_session=True, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not list(work.glob(".sound_train.1.2.ark.*")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (directory / "wav.scp").write_text(entries)
    before = (work / "sound_train.1.1.ark").stat().st_mtime_ns
    make(directory, conf(), work, ("sound", "vad"))
    assert (work / "sound_train.1.1.ark").stat().st_mtime_ns == before
    found = {path.name: content for path, content in files(work).items()}
    assert {**found, "progress.1": b""} == {**expected, "progress.1": b""}


def test_features_alone_leave_sound_and_voice_activity_as_they_are(data_dir, conf, tmp_path):
    """Also those of more or fewer jobs."""
    directory, arks = data_dir(), tmp_path / "arks"
    make(directory, conf(), arks, ("sound", "vad"), jobs=3)
    before = {path: (content, path.stat().st_mtime_ns) for path, content in files(arks, directory).items()
              if path.suffix == ".ark" or path.name in ("sound.scp", "vad.scp")}
    assert len(before) == 8
    for jobs in (2, 4):
        make(directory, conf(), arks, ("feats",), jobs=jobs)
        assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before}
        assert len(read_table(directory / "feats.scp")) == 16
    alone = data_dir("other")
    shutil.copytree(directory, alone, dirs_exist_ok=True)
    make(alone, conf(), tmp_path / "at once", ("feats", "vad", "sound"), jobs=4)
    for name in ("utt2num_frames", "utt2dur", "frame_shift", "feats_conf.json", "sound_conf.json"):
        assert (alone / name).read_bytes() == (directory / name).read_bytes()
    for kind in ("raw_fbank", "vad", "sound"):
        jobs = 3 if kind != "raw_fbank" else 4
        together = b"".join((arks / f"{kind}_train.{n}.ark").read_bytes() for n in range(1, jobs + 1))
        assert together == b"".join((tmp_path / f"at once/{kind}_other.{n}.ark").read_bytes() for n in range(1, 5))


def test_each_kind_of_archives_has_its_own_configuration(data_dir, conf, tmp_path):
    """Sound is the same for features of any bins; with other frames, features and sound do not go together."""
    directory, arks = data_dir(), tmp_path / "arks"
    make(directory, conf(), arks, ("feats", "vad"))
    forty, edges = {"features.num_mel_bins": 40}, {"features.snip_edges": False}
    make(directory, conf(forty), arks, ("sound", "vad"))
    FeatureSet(directory, load_config(conf()).features)
    with pytest.raises(UserError, match=f"^{directory}/feats.scp was made .*num_mel_bins: 64 -> 40.*make it again"):
        FeatureSet(directory, load_config(conf(forty)).features)
    SoundSet(directory, load_config(conf()).features)
    make(directory, conf(edges), arks, ("sound", "vad"))
    with pytest.raises(UserError, match=f"^no {directory}/feats.scp"):
        FeatureSet(directory, load_config(conf()).features)
    assert (directory / ".backup/feats.scp").exists() and (directory / ".backup/feats_conf.json").exists()
    make(directory, conf(), arks, ("feats",))
    with pytest.raises(UserError, match=f"^no {directory}/sound.scp"):
        SoundSet(directory, load_config(conf()).features)
    with pytest.raises(UserError, match=f"^no {directory}/vad.scp, which .features. vad = true needs"):
        FeatureSet(directory, load_config(conf({"features.vad": True})).features)


def test_a_disk_that_fills_leaves_nothing_half(data_dir, conf, call):
    directory = data_dir(speakers=3, utterances=6, seconds=2.0)
    words = f"{ROOT}/steps/make_fbank.sh --make 'sound vad' --nj 2 --conf {conf()} {directory}"
    done = call("bash", "-c", f"trap '' XFSZ; ulimit -f 64; exec {words}")
    assert done.returncode == 1 and "run.pl: 2 / 2 failed, log is in" in done.stderr
    assert "File too large" in (directory / "log/make_fbank_train.1.log").read_text()
    assert not (directory / "sound.scp").exists() and not list((directory / "data").iterdir())
    assert call("bash", "-c", words).returncode == 0
    assert len(read_table(directory / "sound.scp")) == 18


def test_a_folder_of_sounds_on_a_disk_that_fills_stays_as_it_was(tmp_path):
    make_sounds(tmp_path / "sounds", ["noise"], 8000, seed=0, number=2)
    before = files(tmp_path / "sounds")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (90 * 1024, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large.*sounds/noise.ark"):
            make_sounds(tmp_path / "sounds", ["noise"], 8000, seed=1, number=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(tmp_path / "sounds") == before and [path.name for path in tmp_path.iterdir()] == ["sounds"]
    (tmp_path / "sounds/.noise.ark.123.tmp").write_bytes(b"of a process that was killed")
    make_sounds(tmp_path / "sounds", ["noise"], 8000, seed=0, number=2)
    assert files(tmp_path / "sounds") == before


@pytest.mark.parametrize("what, change", [
    ("its header announces", lambda ark, _: ark.write_bytes(ark.read_bytes()[:-100])),
    ("expected a WAV file at this offset", lambda ark, feats: shutil.copy(feats, ark)),
    ("No such file", lambda ark, _: ark.unlink()),
    ("expected 16000 samples a second, found 8000",
     lambda ark, _: ark.write_bytes(ark.read_bytes().replace(struct.pack("<II", RATE, 2 * RATE),
                                                             struct.pack("<II", 8000, 16000))))])
def test_training_names_an_archive_that_changed_after_stage_2(data_dir, conf, tmp_path, what, change):
    train, dev, out = data_dir(), data_dir("dev", 3, 2), tmp_path / "out"
    changed = conf({"augment.online": True})
    make(train, changed, tmp_path / "arks", ("sound", "vad"))
    make(dev, changed, tmp_path / "arks", ("feats", "vad"))
    out.mkdir()
    ark = tmp_path / "arks/sound_train.1.ark"
    change(ark, tmp_path / "arks/raw_fbank_dev.1.ark")
    with pytest.raises(UserError, match=rf"^s0\d-u0\d: {ark}:\d+: .*{what}.*; make the archive again \(stage 2\)$"):
        loop.fit(load_config(changed), "softmax", train, dev, out, None, 0, torch.device("cpu"))
    assert not list(out.glob("*.pt"))


def test_sound_and_voice_activity_of_different_runs_are_refused(data_dir, conf, tmp_path):
    directory = data_dir()
    make(directory, conf(), tmp_path / "arks", ("sound", "vad"))
    write_wav(tmp_path / "wav/train/s00-u00.wav", noise(0.5, 0))
    make(directory, conf(), tmp_path / "new", ("sound",))
    data = TrainingSet(directory, load_config(conf()).features, 1, ONLINE)
    with pytest.raises(UserError, match=r"^s00-u00: vad.scp has more frames than sound.scp \(48\); make the features"):
        data.features.fingerprint()


@pytest.mark.long
def test_copies_of_the_training_set_are_of_the_changed_sound(data_dir, conf, tmp_path, call):
    train = data_dir()
    changed = conf({"augment.online": True, "augment.speeds": [1.1]})
    write_wav(tmp_path / "musan/noise/hum.wav", noise(2.0, 99))
    step = ROOT / "steps/augment_training_set.sh"
    words = [step, "--nj", 2, "--conf", changed, "--kinds", "speed noise", "--musan", tmp_path / "musan", train,
             tmp_path / "arks"]
    done = call(*words)
    assert done.returncode == 1 and f"no {train}/sound.scp: make it first " in done.stderr
    make(train, changed, tmp_path / "arks", ("sound", "vad", "feats"))
    done = call(*words)
    assert done.returncode == 0, done.stderr
    joined = train.with_name("train_augmented")
    table, entries = SoundTable(joined / "sound.scp", RATE), read_table(joined / "wav.scp")
    changes = read_table(joined / "augment")
    assert len(table.keys) == 3 * 16 and not (joined / "feats.scp").exists()
    assert len({*read_table(joined / "utt2spk").values()}) == 8
    for i, key in enumerate(table.keys):
        expected = read_audio(entries[key], RATE).samples
        if key in changes:
            expected = augment(expected, RATE, changes[key])
        expected = np.clip(np.rint(expected * 32768), -32768, 32767)
        np.testing.assert_allclose(table.samples(i), expected, atol=1)
    data = TrainingSet(joined, load_config(changed).features, 1, ONLINE)
    assert data.draw(np.random.default_rng(0), BATCH).features.isfinite().all()
