"""Speed on samples, and masks on windows."""

import numpy as np
import pytest
import torch
from conftest import RATE, ROOT, noise, write_wav

from deepspeaker.augment import augment, mask
from deepspeaker.command import UserError


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_speed_changes_length_and_pitch(speed):
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    changed = augment(tone, RATE, f"speed {speed}")
    assert abs(len(changed) - RATE / speed) <= 1
    spectrum = np.abs(np.fft.rfft(changed * np.hanning(len(changed))))
    assert spectrum.argmax() * RATE / len(changed) == pytest.approx(1000 * speed, abs=1)


@pytest.mark.parametrize("description", ["speed", "speed x", "echo 3", "speed 1 2"])
def test_unknown_augmentation(description):
    with pytest.raises(UserError, match="augment: expected 'speed NUMBER', found"):
        augment(noise(0.1, 1), RATE, description)


def test_copy_of_a_directory_at_another_speed(data_dir, conf, call, tmp_path):
    source, target = data_dir(speakers=2, utterances=2), tmp_path / "sp"
    step = ROOT / "steps/augment_data_dir.py"
    assert call(ROOT / "steps/make_fbank.sh", "--nj", 1, "--conf", conf(), source).returncode == 0
    done = call(step, "--speed", 0.9, source, target)
    assert done.returncode == 0, done.stderr
    assert (target / "augment").read_text().splitlines()[0] == "sp0.9-s00-u00 speed 0.9"
    assert (target / "utt2spk").read_text().splitlines()[0] == "sp0.9-s00-u00 sp0.9-s00"
    assert not (target / "feats.scp").exists()
    assert call(ROOT / "steps/make_fbank.sh", "--nj", 2, "--conf", conf(), target).returncode == 0
    durations = dict(line.split() for line in (target / "utt2dur").open())
    assert durations["sp0.9-s00-u00"] == f"{1 / 0.9:.3f}"
    done = call(ROOT / "utils/combine_data.sh", tmp_path / "both", source, target)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "both/feats.scp").read_text().splitlines()) == 8
    for speed, directory, message in ((0.9, target, "is augmented already"), (9, source, "expected 0.5 to 2")):
        done = call(step, "--speed", speed, directory, tmp_path / "other")
        assert done.returncode == 1 and message in done.stderr and not (tmp_path / "other").exists()


def test_segments_keep_their_recording(tmp_path, conf, call):
    folder = tmp_path / "seg"
    folder.mkdir()
    wav = write_wav(tmp_path / "long.wav", noise(4.0, 1))
    (folder / "wav.scp").write_text(f"rec {wav}\n")
    (folder / "segments").write_text("s-1 rec 0.0 1.0\ns-2 rec 1.5 3.5\n")
    (folder / "utt2spk").write_text("s-1 s\ns-2 s\n")
    assert call(ROOT / "steps/augment_data_dir.py", "--speed", 1.25, folder, tmp_path / "fast").returncode == 0
    for directory in (folder, tmp_path / "fast"):
        done = call(ROOT / "steps/make_fbank.sh", "--nj", 2, "--conf", conf(), directory)
        assert done.returncode == 0, done.stderr
    durations = [line.split()[1] for line in (tmp_path / "fast/utt2dur").open()]
    assert durations == ["0.800", "1.600"]
    assert [line.split()[1] for line in (folder / "utt2dur").open()] == ["1.000", "2.000"]


def test_masks():
    uniform = torch.rand(2, 2, 400, generator=torch.Generator().manual_seed(0))
    x = torch.ones(400, 30, 20)
    y = mask(x, 10, 5, uniform)
    frames, bins = (y == 0).all(2), (y == 0).all(1)
    assert frames.sum(1).max() == 10 and frames.sum(1).min() == 0 and bins.sum(1).max() == 5
    assert frames.any(0).all() and bins.any(0).all()  # every place is masked now and then
    for run in (frames, bins):
        assert ((run[:, 1:] & ~run[:, :-1]).sum(1) + run[:, 0] <= 1).all()  # one run each
    assert ((y == 0) == (frames[:, :, None] | bins[:, None])).all()
    assert mask(x, 0, 0, uniform) is x
