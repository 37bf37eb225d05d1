"""Speed, noise and rooms on samples, data directories of such copies, and masks on windows."""

import shlex
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RATE, ROOT, make_features, noise, write_wav

from deepspeaker.audio import read_audio
from deepspeaker.audio.augment import augment
from deepspeaker.audio.simulated_rooms import simulate_rooms
from deepspeaker.batches.masking import draw_masks, mask
from deepspeaker.config import load_config
from deepspeaker.corpus.augmented_copies import (
    copy_names,
    noisy_copy,
    remove_copies,
    reverberant_copy,
    sound_files,
    speed_copy,
)
from deepspeaker.datadir import read_table
from deepspeaker.datadir.archive import open_matrix
from deepspeaker.datadir.check import OPTIONS, check
from deepspeaker.errors import UserError
from deepspeaker.extraction.make_features import Places, join_features, make_share


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_speed_changes_length_and_pitch(speed):
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    changed = augment(tone, RATE, f"speed {speed}")
    assert abs(len(changed) - RATE / speed) <= 1
    spectrum = np.abs(np.fft.rfft(changed * np.hanning(len(changed))))
    assert spectrum.argmax() * RATE / len(changed) == pytest.approx(1000 * speed, abs=1)


@pytest.mark.parametrize("description, message", [
    ("echo 3", "expected one of speed, add, reverb, found 'echo 3'"), ("speed", "malformed operation 'speed'"),
    ("speed x", "malformed operation 'speed x'"), ("speed 1 2", "malformed"), ("add 10 0", "malformed"),
    ("add 10 0 a.wav 3", "malformed|No such file"), ("speed 0.9; echo", "found 'echo'"), ("add 10 0 'a", "found .add"),
    ("add 10 0 'cat a.wav |'", "expected a sound file, found the command"), ("reverb 'cat a.wav |'", "the command")])
def test_unknown_augmentation(tmp_path, monkeypatch, description, message):
    write_wav(tmp_path / "a.wav", noise(0.1, 2))
    monkeypatch.chdir(tmp_path)
    with pytest.raises((UserError, FileNotFoundError), match=message):
        augment(noise(0.1, 1), RATE, description)


@pytest.mark.parametrize("snr", [0, 15])
def test_noise_is_added_at_its_level_from_its_second_on(tmp_path, snr):
    speech, sound = noise(1.0, 1), noise(3.0, 2)
    path = write_wav(tmp_path / "a b.wav", sound, subtype="FLOAT")
    for second, expected in ((1.5, sound[24000:40000]), (2.75, np.concatenate([sound[44000:], sound[:12000]]))):
        added = augment(speech, RATE, f"add {snr} {second} '{path}'") - speech
        np.testing.assert_allclose(10 * np.log10(np.mean(speech ** 2) / np.mean(added ** 2)), snr, atol=1e-3)
        np.testing.assert_allclose(added / np.sqrt(np.mean(added ** 2)), expected / np.sqrt(np.mean(expected ** 2)),
                                   atol=1e-3)
    short = write_wav(tmp_path / "short.wav", noise(0.25, 3), subtype="FLOAT")
    added = augment(speech, RATE, f"add 5 0.1 {short}") - speech
    np.testing.assert_allclose(added[:4000], added[4000:8000], atol=1e-5)


def test_babble_is_several_talkers_of_one_power(tmp_path):
    speech, one, two = noise(0.5, 1), 0.02 * noise(0.5, 2), noise(0.5, 3)
    paths = [write_wav(tmp_path / f"{n}.wav", x, subtype="FLOAT") for n, x in enumerate((one, two))]
    added = augment(speech, RATE, f"add 13 0 {paths[0]} 0 {paths[1]}") - speech
    mixed = one / np.sqrt(np.mean(one ** 2)) + two / np.sqrt(np.mean(two ** 2))
    np.testing.assert_allclose(np.corrcoef(added, mixed)[0, 1], 1, atol=1e-5)
    np.testing.assert_allclose(10 * np.log10(np.mean(speech ** 2) / np.mean(added ** 2)), 13, atol=1e-3)
    silence = write_wav(tmp_path / "silence.wav", np.zeros(8000))
    np.testing.assert_array_equal(augment(speech, RATE, f"add 13 0 {silence}"), speech)


@pytest.mark.parametrize("sign", [1, -1])
def test_reverberation_leaves_the_direct_sound_in_place(tmp_path, sign):
    speech, response = noise(0.5, 1), np.zeros(3000)
    response[100], response[100 + 800] = 0.5 * sign, 0.25  # an echo of half the strength after 50 ms
    path = write_wav(tmp_path / "rir.wav", np.stack([response, response[::-1]], 1), subtype="FLOAT")
    wet = augment(speech, RATE, f"reverb {path}")
    expected = sign * speech
    expected[800:] += 0.5 * speech[:-800]
    expected *= np.sqrt(np.mean(speech ** 2) / np.mean(expected ** 2))
    np.testing.assert_allclose(wet, expected, atol=1e-5)


def test_a_room_without_sound_is_named(tmp_path):
    path = write_wav(tmp_path / "rir.wav", np.zeros(300))
    with pytest.raises(UserError, match=f"^{path}: an impulse response of zeros"):
        augment(noise(0.5, 1), RATE, f"reverb {path}")


def test_operations_follow_each_other(tmp_path):
    path = write_wav(tmp_path / "n.wav", noise(2.0, 2))
    both = augment(noise(1.0, 1), RATE, f"speed 1.25; add 10 0.5 {path}")
    np.testing.assert_array_equal(both, augment(augment(noise(1.0, 1), RATE, "speed 1.25"), RATE, f"add 10 0.5 {path}"))


@pytest.fixture
def sounds(tmp_path):
    """MUSAN's and RIRS_NOISES' layouts, in folders whose name has a blank."""
    for n, name in enumerate(["noise/free-sound/n1", "noise/free-sound/n2", "music/fma/m1", "speech/us-gov/s1",
                              "speech/us-gov/s2", "speech/librivox/s3"]):
        write_wav(tmp_path / "my musan" / f"{name}.wav", noise(1.0 + n, 100 + n))
    for n, room in enumerate(["smallroom/Room001", "mediumroom/Room002", "largeroom/Room003"]):
        response = noise(0.3, 200 + n) * np.exp(-np.arange(4800) / 400)
        write_wav(tmp_path / "my rirs/simulated_rirs" / room / "r.wav", response, subtype="FLOAT")
    return tmp_path / "my musan", tmp_path / "my rirs"


@pytest.mark.long
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
    done = call(step, "--speed", 9, source, tmp_path / "other")
    assert done.returncode == 1 and "expected 0.5 to 2" in done.stderr and not (tmp_path / "other").exists()


def test_copies_with_other_sound(data_dir, conf, sounds, tmp_path):
    """Lines as documented, the same for the same seed, and archives that follow from them byte for byte."""
    source, (musan, rirs) = data_dir(speakers=3, utterances=4), sounds
    config = load_config(conf()).features
    found = {}
    for kind in ("noise", "music", "babble", "reverb"):
        for seed, name in ((0, kind), (0, f"{kind}-again"), (1, f"{kind}-other")):
            target = tmp_path / name
            if kind == "reverb":
                assert reverberant_copy(source, target, rirs, seed) == 12
            else:
                assert noisy_copy(source, target, kind, musan, seed) == 12
            found[name] = read_table(target / "augment")
        assert found[kind] == found[f"{kind}-again"] != found[f"{kind}-other"]
        assert list(found[kind]) == [f"{utterance}-{kind}" for utterance in read_table(source / "wav.scp")]
        assert read_table(tmp_path / kind / "utt2spk")[f"s00-u00-{kind}"] == "s00"
        check(tmp_path / kind, dict.fromkeys(OPTIONS, False) | {"--no-feats": True, "--no-text": True})
    words = [shlex.split(line) for line in found["noise"].values()]
    assert {int(line[1]) for line in words} <= {0, 5, 10, 15} and len({line[3] for line in words}) == 2
    assert all(line[0] == "add" and len(line) == 4 and Path(line[3]).is_file() for line in words)
    assert {len(shlex.split(line)) for line in found["babble"].values()} == {8}  # no more than 3 talkers are there
    assert "largeroom" not in "".join(found["reverb"].values()) and len(set(found["reverb"].values())) == 2

    first = compressed(tmp_path / "noise", config, tmp_path / "x", jobs=1)
    assert first == compressed(tmp_path / "noise-again", config, tmp_path / "y", jobs=3)
    other = compressed(tmp_path / "noise-other", config, tmp_path / "z", jobs=1)
    assert first.keys() == other.keys() and first != other


def test_sounds_behind_links_are_found(data_dir, sounds, tmp_path):
    """A MUSAN of links, one of which leads back up."""
    musan = tmp_path / "linked"
    musan.mkdir()
    (musan / "noise").symlink_to(sounds[0] / "noise")
    (sounds[0] / "noise" / "up").symlink_to(sounds[0] / "noise")
    found = sound_files(musan / "noise", "noise")
    assert found == [musan / "noise/free-sound/n1.wav", musan / "noise/free-sound/n2.wav"]
    assert noisy_copy(data_dir(), tmp_path / "noisy", "noise", musan, 0) == 16


def test_copy_of_a_test_set_keeps_its_trials(data_dir, sounds, tmp_path):
    source, target = data_dir(speakers=2, utterances=2), tmp_path / "noisy"
    (source / "trials").write_text("s00-u00 s00-u01 target\ns00-u00 s01-u00 nontarget\n")
    (source / "trials_models").write_text("anna s01-u01 nontarget\n")
    (source / "enroll").write_text("anna s00-u00 s00-u01\n")
    noisy_copy(source, target, "noise", sounds[0], 0)
    assert (target / "trials").read_text() == (
        "s00-u00-noise s00-u01-noise target\ns00-u00-noise s01-u00-noise nontarget\n")
    assert (target / "trials_models").read_text() == "anna s01-u01-noise nontarget\n"
    assert (target / "enroll").read_text() == "anna s00-u00-noise s00-u01-noise\n"


def compressed(directory, config, work, jobs):
    """Utterance -> its bytes in the archives that stage 2 makes."""
    work.mkdir()
    places = Places(directory.name, work, work)
    for job in range(1, jobs + 1):
        make_share(directory, config, places, job, jobs)
    join_features(directory, config, places, jobs)
    table = read_table(directory / "feats.scp")
    return {key: open_matrix(specifier, key).stored.tobytes() for key, specifier in table.items()}


def test_noise_on_top_of_another_speed(data_dir, sounds, tmp_path):
    source = data_dir(speakers=1, utterances=2)
    speed_copy(source, tmp_path / "fast", 1.1)
    noisy_copy(tmp_path / "fast", tmp_path / "both", "noise", sounds[0], 0)
    line = (tmp_path / "both/augment").read_text().splitlines()[0]
    assert line.startswith("sp1.1-s00-u00-noise speed 1.1; add ")


def test_folders_without_sounds_are_named(data_dir, tmp_path, call):
    source = data_dir(speakers=1, utterances=1)
    for kind, message in (("noise", "/noise: expected MUSAN's layout"), ("babble", "/speech: expected MUSAN's"),
                          ("reverb", "expected impulse responses below")):
        done = call(ROOT / "steps/augment_data_dir.py", f"--{kind}", tmp_path / "none", source, tmp_path / "new")
        assert done.returncode == 1 and message in done.stderr and not (tmp_path / "new").exists(), done.stderr


def test_what_no_copy_can_be_made_of(data_dir, sounds, tmp_path):
    source = data_dir(speakers=1, utterances=1)
    before = (source / "utt2spk").read_bytes()
    with pytest.raises(UserError, match="the source and the copy are both"):
        noisy_copy(source, source.parent / "x" / ".." / source.name, "noise", sounds[0], 0)
    write_wav(tmp_path / "odd; names/noise/n.wav", noise(1.0, 1))
    with pytest.raises(UserError, match="odd; names/noise/n.wav: '; ' in a sound's path .* rename it"):
        noisy_copy(source, tmp_path / "new", "noise", tmp_path / "odd; names", 0)
    assert (source / "utt2spk").read_bytes() == before and not (tmp_path / "new").exists()


def test_simulated_rooms(tmp_path):
    pytest.importorskip("pyroomacoustics", reason="pyroomacoustics is not installed")
    simulate_rooms(tmp_path / "a", 3, seed=0)
    time.sleep(1)  # a file that held the time would differ
    simulate_rooms(tmp_path / "b", 3, seed=0)
    simulate_rooms(tmp_path / "c", 3, seed=1)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.wav"))
    assert [str(path) for path in files] == [f"simulated_rirs/{kind}/Room00{n}/Room00{n}-1.wav"
                                             for kind in ("mediumroom", "smallroom") for n in (1, 2, 3)]
    for path in files:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
        assert (tmp_path / "a" / path).read_bytes() != (tmp_path / "c" / path).read_bytes()
        response = read_audio(str(tmp_path / "a" / path), RATE).samples
        direct = np.abs(response).argmax()
        after = response[direct + 160:]  # decays, and is no silence
        assert np.abs(response).max() > 0.999 and np.sum(after ** 2) > 0 and direct < 2000
        assert np.sum(after[len(after) // 2:] ** 2) < 0.2 * np.sum(response ** 2)


def test_rooms_without_pyroomacoustics_name_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    with pytest.raises(UserError, match="pip install pyroomacoustics"):
        simulate_rooms(tmp_path / "a", 1, 0)


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
    y = mask(x, draw_masks(30, 20, 10, 5, uniform))
    frames, bins = (y == 0).all(2), (y == 0).all(1)
    assert frames.sum(1).max() == 10 and frames.sum(1).min() == 0 and bins.sum(1).max() == 5
    assert frames.any(0).all() and bins.any(0).all()  # every place is masked now and then
    for run in (frames, bins):
        assert ((run[:, 1:] & ~run[:, :-1]).sum(1) + run[:, 0] <= 1).all()  # one run each
    assert ((y == 0) == (frames[:, :, None] | bins[:, None])).all()
    assert mask(x, draw_masks(30, 20, 0, 0, uniform)) is x


def test_masks_by_hand():
    """Half of 0 to 4 frames from the first on, as no run is longer than the window; 3 bins, the last ones."""
    uniform = torch.tensor([[[0.5], [0.0]], [[0.99], [0.99]]])
    expected = torch.ones(1, 4, 6)
    expected[0, :2], expected[0, :, 3:] = 0, 0
    assert torch.equal(mask(torch.ones(1, 4, 6), draw_masks(4, 6, 10, 3, uniform)), expected)


@pytest.mark.parametrize("kind, folder, levels, most", [
    ("noise", "noise", {0, 5, 10, 15}, 1), ("music", "music", {5, 8, 10, 15}, 1),
    ("babble", "speech", {13, 15, 17, 20}, 7)])
def test_what_many_utterances_get(tmp_path, kind, folder, levels, most):
    for place in ("noise", "music", "speech"):
        for n, name in enumerate(("b.wav", "a.FLAC", "c.wav", "d.ogg", "e.wav", "f.wav", "g.wav", "h.wav")):
            write_wav(tmp_path / "musan" / place / name, noise(0.1 + 0.1 * n, n), subtype=None)
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    names = [f"s-{n:03d}" for n in range(300)]
    for file in ("wav.scp", "utt2spk"):
        (source / file).write_text("".join(f"{name} s\n" for name in names))
    assert noisy_copy(source, target, kind, tmp_path / "musan", 0) == 300
    drawn = [shlex.split(line) for line in read_table(target / "augment").values()]
    assert {int(words[1]) for words in drawn} == levels
    assert {len(words[3::2]) for words in drawn} == ({1} if most == 1 else {3, 4, 5, 6, 7})
    files = sorted((tmp_path / "musan" / folder).iterdir())
    assert {file for words in drawn for file in words[3::2]} == {str(file) for file in files}
    for words in drawn:
        assert len(set(words[3::2])) == len(words[3::2])
        for second, file in zip(words[2::2], words[3::2], strict=True):
            assert float(second) <= 0.1 + 0.1 * "bacdefgh".index(Path(file).stem)


def test_names_of_copies():
    assert copy_names(["speed", "noise", "reverb"], [0.9, 1.1]) == [
        "train_sp0.9", "train_sp1.1", "train_noise", "train_reverb"]
    assert copy_names(["babble", "speed"], [1.0], "data/other set") == [
        "data/other set_babble", "data/other set_sp1"]
    with pytest.raises(UserError, match="no kind of augmentation 'echo'; there are: speed noise music babble reverb"):
        copy_names(["noise", "echo"], [])
    with pytest.raises(UserError, match="the kind of augmentation 'noise' is named twice"):
        copy_names(["noise", "reverb", "noise"], [])
    with pytest.raises(UserError, match="'speed' needs speeds"):
        copy_names(["speed"], [])


def test_copies_of_a_train_that_is_no_more(tmp_path):
    for name in ("train", "train_sp0.9", "train_noise", "train_reverb", "train_augmented", "train_mine", "train_spare"):
        (tmp_path / name).mkdir()
    (tmp_path / "train_music").symlink_to(tmp_path / "train_mine")
    remove_copies(tmp_path / "train")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train", "train_mine", "train_spare"]


@pytest.mark.long
def test_training_set_with_its_copies(data_dir, conf, sounds, call, tmp_path):
    """Features of the original and of each copy in one directory."""
    source, (_, rirs), settings = data_dir(speakers=2, utterances=1), sounds, conf({"augment.speeds": [1.1]})
    ark, step = tmp_path / "the fbank", ROOT / "steps/augment_training_set.sh"
    ark.mkdir()
    done = call(step, "--conf", settings, "--kinds", "speed", source, ark)
    assert done.returncode == 1 and "no " + str(source / "feats.scp") in done.stderr
    make_features(source, load_config(settings), ark)
    done = call(step, "--conf", settings, "--kinds", "reverb noise", source, ark)
    assert done.returncode == 1 and "needs --musan" in done.stderr and not Path(f"{source}_reverb").exists()
    done = call(step, "--conf", settings, "--kinds", "speed reverb", "--rirs", rirs, "--seed", 5,
                "--nj", 1, source, ark)
    assert done.returncode == 0, done.stderr
    expected = ["s00-u00", "s00-u00-reverb", "s01-u00", "s01-u00-reverb", "sp1.1-s00-u00", "sp1.1-s01-u00"]
    everything = Path(f"{source}_augmented")
    features = read_table(everything / "feats.scp")
    assert list(features) == expected and {Path(place.split(":")[0]).parent for place in features.values()} == {ark}
    assert read_table(everything / "utt2spk")["sp1.1-s01-u00"] == "sp1.1-s01"
    reverberant_copy(source, tmp_path / "again", rirs, 5)
    assert read_table(Path(f"{source}_reverb/augment")) == read_table(tmp_path / "again/augment")
    done = call(step, "--conf", settings, "--kinds", "noise reverb", "--rirs", rirs, source, ark)
    assert done.returncode == 1 and "needs --musan, or a folder of sounds" in done.stderr


def test_space_for_copies_is_counted(data_dir, conf, call, tmp_path):
    """Of 24,000 frames: 64 bins of 2 bytes and 4 bytes of voice activity each, 3.168 MB; the same for each copy."""
    source, step = data_dir(speakers=1, utterances=1, seconds=240.0), ROOT / "steps/check_space.py"
    settings = conf({"augment.speeds": [0.9, 1.1], "features.num_mel_bins": 64, "features.compress": True})
    for options, expected in (((), "   Expect about 24,000 frames in 3.2 MB; "),
                              (("--copies", source, "speed reverb", "feats vad"),
                               "   Expect about 96,000 frames in 12.7 MB; ")):
        done = call(step, "--conf", settings, *options, tmp_path / "fbank", source)
        assert done.returncode == 0 and done.stdout.startswith(expected), done.stdout + done.stderr
    for options, message in ((("--copies", source, "echo", "feats"), "no kind of augmentation 'echo'"),
                             (("--copies", source, "noise", "feat"), "no kind of archives 'feat'"),
                             (("--make", source, "vad x"), "no kind of archives 'x'; there are: feats vad sound\n")):
        wrong = call(step, "--conf", settings, *options, tmp_path / "fbank", source)
        assert wrong.returncode == 1 and message in wrong.stderr and wrong.stderr.count("\n") == 1
