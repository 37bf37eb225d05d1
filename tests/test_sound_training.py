"""Training on windows cut out of sound: stopped and gone on with, and other sound or sounds than it began with."""

import shutil
import signal
import subprocess
import time

import pytest
import torch
from conftest import RATE, environment, finish, hear_interrupts, make_features, noise, same, train_command, weights

from deepspeaker.checkpoint import load
from deepspeaker.config import load_config
from deepspeaker.datadir.sound_archive import append_sound
from deepspeaker.errors import UserError
from deepspeaker.training import loop

EVERYTHING = {"augment.online": True, "augment.copies": [], "augment.speed": 0.5, "augment.reverb": 0.5,
              "augment.noise": 0.3, "augment.music": 0.2, "augment.babble": 0.4, "augment.telephone": 0.4,
              "augment.time_mask": 10}


def fit(conf, train, dev, out, sounds=None):
    out.mkdir(exist_ok=True)
    loop.fit(load_config(conf), "softmax", train, dev, out, None, 0, torch.device("cpu"), None, sounds)


@pytest.mark.long
@pytest.mark.parametrize("how, status", [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_stopped_and_started_again_ends_with_the_same_parameters(ready, sounds, tmp_path, how, status):
    conf, train, dev = ready({**EVERYTHING, "features.vad": True, "softmax.epochs": 4, "softmax.steps_per_epoch": 30,
                              "training.checkpoint_minutes": 0.0005})
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    fit(conf, train, dev, whole, sounds)
    words = train_command(conf, train, dev, stopped, "softmax", "--sounds", sounds)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, env=environment(), preexec_fn=hear_interrupts)
    until = time.monotonic() + 100
    while len(list(stopped.glob("step-*.pt"))) < 2 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(how)
    process.communicate()
    assert process.returncode == status and not (stopped / "final.pt").exists()
    done = finish(words)
    assert done.returncode == 0, done.stderr
    assert "resuming from" in (stopped / "train.log").read_text() and "sound archives" in done.stdout
    assert same(weights(whole / "final.pt"), weights(stopped / "final.pt"))
    last = sorted(path.name for path in whole.glob("step-*.pt"))[-1]
    a, b = load(whole / last), load(stopped / last)
    assert same(a["model"], b["model"]) and same(a["loss"], b["loss"]) and a["loss"]["weight"].shape[0] == 8
    a, b = a["optimizer"]["state"], b["optimizer"]["state"]
    assert a.keys() == b.keys() and all(same(a[i], b[i]) for i in a)


def test_other_sounds_and_other_sound_are_refused(ready, sounds, tmp_path):
    conf, train, dev = ready({**EVERYTHING, "softmax.epochs": 1})
    out, other = tmp_path / "out", tmp_path / "other sounds"
    fit(conf, train, dev, out, sounds)
    found = load(out / "final.pt")["identity"]
    assert found["speakers"] == 8 and found["utterances"] == 16 and len(found["sounds"]) == 16
    shutil.copytree(sounds, other)
    for scp in other.glob("*.scp"):
        scp.write_text(scp.read_text().replace(f"{sounds}/", f"{tmp_path}/moved/"))
    shutil.copytree(sounds, tmp_path / "moved")
    fit(conf, train, dev, out, other)  # the same in another place
    (out / "final.pt").unlink()
    with (tmp_path / "moved/noise.ark").open("wb") as file:
        for key, samples in (("noise0", noise(1.5, 7)), ("noise1", noise(0.3, 8))):
            append_sound(file, key, samples, RATE)
    with pytest.raises(UserError, match=r"was trained with other data or settings \(sounds: '\w{16}' -> '\w{16}'\)"):
        fit(conf, train, dev, out, copy_of(other, tmp_path / "again"))
    with pytest.raises(UserError, match=r"other data or settings \(augment.noise: 0.3 -> 0.2\)"):
        fit(conf_with(conf, "noise = 0.3", "noise = 0.2"), train, dev, out, sounds)
    ark = tmp_path / "sound_train.1.ark"
    before = ark.read_bytes()
    (tmp_path / "changed.ark").write_bytes(before[:-8] + bytes([before[-8] ^ 1]) + before[-7:])
    (train / "sound.scp").write_text((train / "sound.scp").read_text().replace(str(ark), str(tmp_path / "changed.ark")))
    with pytest.raises(UserError, match=r"settings \(train_features: '\w{16}' -> '\w{16}'\): move .* away"):
        fit(conf, train, dev, out, sounds)


def copy_of(sounds, folder):
    """The same lists for archives that lie elsewhere, which are therefore not those mapped before."""
    folder.mkdir()
    for path in sounds.glob("*.scp"):
        archive = path.read_text().split()[1].rpartition(":")[0]
        shutil.copy(archive, folder)
        (folder / path.name).write_text(path.read_text().replace(archive, f"{folder}/{path.stem}.ark"))
    return folder


def conf_with(conf, old, new):
    text = conf.read_text()
    assert text.count(old) == 1
    path = conf.with_name("other.toml")
    path.write_text(text.replace(old, new))
    return path


def test_windows_of_sound_unchanged_train_as_those_of_features_do(ready, tmp_path):
    """But for the rounding of archives: labels are the same, losses nearly so."""
    losses = []
    conf, train, dev = ready({"features.compress": False, "softmax.epochs": 1, "training.average": 0})
    make_features(train, load_config(conf), tmp_path, ("sound",))
    for online in ("false", "true"):
        other = conf_with(conf, "online = false", f"online = {online}")
        fit(other, train, dev, tmp_path / online)
        content = load(sorted((tmp_path / online).glob("step-*.pt"))[-1])
        losses.append([entry["loss"] for entry in content["history"]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_archives_of_another_tool_without_sound(ready, tmp_path):
    """What is missing, and what it is made from."""
    conf, train, dev = ready()
    online = conf_with(conf, "online = false", "online = true")
    with pytest.raises(UserError, match=rf"^no {train}/sound.scp, which \[augment\] online needs: make it from {train}"
                                        r"/wav.scp \(stage 2, or steps/make_fbank.sh --make 'sound vad'\)$"):
        fit(online, train, dev, tmp_path / "out")
    (train / "wav.scp").unlink()
    with pytest.raises(UserError, match=rf"^no {train}/sound.scp, .*: it is made from {train}/wav.scp, which is not "
                                        "there either; train on its features with online = false$"):
        fit(online, train, dev, tmp_path / "out")


def test_a_change_that_gives_nan_is_named(ready, sounds, tmp_path, monkeypatch):
    conf, train, dev = ready({**EVERYTHING, "augment.noise": 0.6, "augment.music": 0.0, "augment.babble": 0.0})
    monkeypatch.setattr("deepspeaker.batches.sound_windows.add", lambda samples, sounds, snr: samples * float("nan"))
    with pytest.raises(UserError, match=r"\[augment\] noise made values that are not finite of s.*: set noise to 0"):
        fit(conf, train, dev, tmp_path / "out", sounds)
