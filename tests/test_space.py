"""How much disk features will take: 100 frames a second, num_mel_bins values each, and one for vad.scp."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, tiny_conf, write_wav

from deepspeaker.corpus.sounds import make_sounds
from deepspeaker.errors import UserError
from deepspeaker.recipe import disk_space
from deepspeaker.recipe.disk_space import check_space, hours_of, sound_bytes

HALF_PRECISION, FULL = ({"num_mel_bins": 64, "compress": compress, "sample_rate": 16000} for compress in (True, False))


@pytest.fixture
def hour(tmp_path):
    """A data directory with an hour of audio, by its segments."""
    folder = tmp_path / "hour"
    folder.mkdir()
    (folder / "segments").write_text("a r 10 1810\nb r 1810 3610\nc r 20 -1\n")
    return folder


def left(monkeypatch, count):
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda folder: SimpleNamespace(free=count))


def test_bytes(hour, tmp_path, monkeypatch):
    left(monkeypatch, 2e9)
    arks = tmp_path / "fbank"
    assert check_space(HALF_PRECISION, {"hour": hour}, arks) == (  # 360000 * (2 * 64 + 4)
        "Expect about 0.4 million frames in 47.5 MB; 2.0 GB are free")
    assert check_space(FULL, {"hour": hour}, arks).startswith(
        "Expect about 0.4 million frames in 93.6 MB; ")  # 360000 * (4 * 64 + 4)
    assert check_space(HALF_PRECISION, {"hour": hour, "copy": hour, "speed": hour}, arks).startswith(
        "Expect about 1.1 million frames in 0.1 GB; ")
    (hour / "segments").write_text("a r 0 60\n")
    assert check_space(HALF_PRECISION, {"hour": hour}, arks).startswith("Expect about 6,000 frames in 0.8 MB; ")


def test_a_disk_too_small_but_for_what_is_replaced(hour, tmp_path, monkeypatch):
    arks, need = tmp_path / "fbank", 360000 * 132
    left(monkeypatch, need)
    check_space(HALF_PRECISION, {"hour": hour}, arks)
    left(monkeypatch, need - 100)
    arks.mkdir()
    (arks / "fbank_other.1.ark").write_bytes(bytes(100))
    for size in (60, 39):
        with pytest.raises(UserError, match="need about 47.5 MB, the disk has 47.5 MB left"):
            check_space(HALF_PRECISION, {"hour": hour}, arks)
        (arks / f"raw_fbank_hour.{size}.ark").write_bytes(bytes(size))
    (arks / "vad_hour.1.ark").write_bytes(bytes(1))
    check_space(HALF_PRECISION, {"hour": hour}, arks)


def test_sound_and_what_stays(hour, tmp_path, monkeypatch):
    """An hour of sound takes 115.2 MB, of voice activity 1.4 MB; archives that are not made again free nothing."""
    left(monkeypatch, 360000 * 324)
    arks = tmp_path / "fbank"
    arks.mkdir()
    for name in ("raw_fbank_hour", "raw_fbank_copy", "sound_copy"):
        (arks / f"{name}.1.ark").write_bytes(bytes(99))
    make = {"hour": {"sound", "vad"}}
    assert check_space(FULL, {"hour": hour}, arks, make) == (
        "Expect about 0.4 million frames in 0.1 GB; 0.1 GB are free")
    left(monkeypatch, 360000 * 324 - 1)
    with pytest.raises(UserError, match="features and sound need about 0.1 GB"):
        check_space(FULL, {"hour": hour}, arks, make)
    left(monkeypatch, 360000 * (324 + 324 + 128) - 99 - 99)
    make = {"hour": {"feats", "sound", "vad"}, "copy": {"sound", "vad"}}
    check_space(HALF_PRECISION, {"hour": hour, "copy": hour}, arks, make)
    left(monkeypatch, 360000 * (324 + 324 + 128) - 99 - 99 - 1)
    with pytest.raises(UserError, match="need about 0.3 GB"):
        check_space(HALF_PRECISION, {"hour": hour, "copy": hour}, arks, make)


@pytest.mark.parametrize("copies, size", [(["noise", "sound vad"], 58.3), (["noise speed", "feats vad"], 47.5)])
def test_copies_alone(hour, tmp_path, call, copies, size):
    """Of a training set whose own archives are there."""
    conf = tiny_conf(tmp_path / "tiny.toml", {"augment.online": True})
    (hour / "segments").write_text("a r 10 1810\n")
    done = call(ROOT / "steps/check_space.py", "--conf", conf, "--copies", hour, *copies, tmp_path / "fbank")
    assert done.returncode == 0, done.stderr
    assert f" in {size} MB; " in done.stdout


def test_sounds_to_change_speech_with(hour, data_dir, tmp_path, monkeypatch, call):
    """As much as make_sounds writes, made or recorded, beside the features."""
    monkeypatch.setattr(disk_space, "NUMBER", 20)
    for n in range(3):
        write_wav(tmp_path / f"musan/noise/n{n}.wav", np.full(8000 * (n + 1), 0.5, np.float32), 8000)
    speech = data_dir(speakers=4, utterances=5, seconds=5.5)
    for musan, kinds in ((None, ["noise", "reverb", "babble"]), (tmp_path / "musan", ["noise", "reverb"])):
        shutil.rmtree(tmp_path / "sounds", ignore_errors=True)
        make_sounds(tmp_path / "sounds", kinds, 16000, 0, musan, speech=speech, number=20)
        written = sum(path.stat().st_size for path in (tmp_path / "sounds").glob("*.ark"))
        expected = sound_bytes(kinds, 16000, str(musan or ""))
        assert 0.9 * written < expected < 1.3 * written  # rooms are as long as their echo
    conf = tiny_conf(tmp_path / "tiny.toml")
    done = call(ROOT / "steps/check_space.py", "--conf", conf, "--sounds", "noise babble", tmp_path / "musan", "",
                tmp_path / "fbank", hour)
    assert done.returncode == 1 and f"no sound files in {tmp_path}/musan/speech" in done.stderr
    done = call(ROOT / "steps/check_space.py", "--conf", conf, "--sounds", "noise", "", "", tmp_path / "fbank", hour)
    assert done.returncode == 0 and " frames in 0.3 GB; " in done.stdout, done.stderr


def test_hours_of_recordings(tmp_path):
    long, short = (write_wav(tmp_path / f"{n}.wav", np.zeros(n * 16000, np.float32)) for n in (3, 1))
    (tmp_path / "wav.scp").write_text(f"a {long}\nb cat {long} |\nc {short}\nd {tmp_path}/none.wav\n")
    assert hours_of(tmp_path) == pytest.approx(4 * 2 / 3600)  # two of four are known: 2 s on average
    (tmp_path / "wav.scp").write_text("".join(f"{n:03d} {short if n % 3 == 0 else long}\n" for n in range(300)))
    assert hours_of(tmp_path) == pytest.approx(300 * 1 / 3600)  # every third is looked at
    (tmp_path / "wav.scp").write_text("a cat x |\n")
    assert hours_of(tmp_path) == 0


def test_commands_alone_are_no_estimate(hour, tmp_path):
    (tmp_path / "wav.scp").write_text("a cat x |\n")
    assert check_space(FULL, {"all": tmp_path}, tmp_path).startswith(
        f"How many frames to expect is not known before {tmp_path} is read; ")
    assert f" MB, and those of {tmp_path}, whose lengths are not known before it is read; " in check_space(
        FULL, {"all": tmp_path, "hour": hour}, tmp_path)
