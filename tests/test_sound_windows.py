"""Windows cut out of sound: the same numbers as from feature archives; each change against a slow second opinion."""

import threading

import numpy as np
import pytest
import scipy.signal
import soxr
import torch
from conftest import RATE, noise, write_wav

from deepspeaker.batches import changes, sound_windows
from deepspeaker.batches.needs import check_speakers
from deepspeaker.batches.plan import ADDED, NONE, draw_plan
from deepspeaker.batches.speed import change_speed
from deepspeaker.batches.training_set import TrainingSet
from deepspeaker.config import AugmentConfig, BatchConfig, load_config
from deepspeaker.config_checks import as_fraction
from deepspeaker.datadir.archive import map_file
from deepspeaker.datadir.sound_archive import append_sound
from deepspeaker.errors import UserError
from deepspeaker.extraction.fbank import compute_fbank
from deepspeaker.extraction.make_features import Places, join_features, make_share

ALL = {"speed": 0.5, "reverb": 0.5, "noise": 0.3, "music": 0.2, "babble": 0.4, "telephone": 0.4}


def augment(**changes):
    return AugmentConfig(copies=[], speeds=[0.9, 1.1], time_mask=0, frequency_mask=0, online=True, **changes)


def power(samples):
    return samples.square().mean(-1, keepdim=True)


def of_size(speakers=4, utterances=2, frames=50):
    return BatchConfig(speakers=speakers, utterances=utterances, min_frames=frames, max_frames=frames,
                       speaker_weight="even")


@pytest.fixture
def corpus(data_dir, conf, tmp_path):
    """A data directory with features in float32 and its sound; and the configuration of its features."""

    def make(changes=None, **sizes):
        changes = {"features.compress": False, **(changes or {})}
        directory, config = data_dir(**sizes), load_config(conf(changes)).features
        places = Places(directory.name, tmp_path, tmp_path, ("feats", "vad", "sound"))
        make_share(directory, config, places, 1, 1)
        join_features(directory, config, places, 1)
        map_file.cache_clear()
        return directory, config

    return make


@pytest.mark.parametrize("vad", [False, True])
@pytest.mark.parametrize("snip_edges", [False, True])
@pytest.mark.parametrize("frames", [50, 150])  # shorter and longer than the utterances
def test_without_changes_windows_are_those_of_feature_archives(corpus, vad, snip_edges, frames):
    directory, config = corpus({"features.vad": vad, "features.snip_edges": snip_edges}, seconds=1.2)
    stored, sound = TrainingSet(directory, config), TrainingSet(directory, config, 1, augment())
    for seed in range(10):
        expected, found = (data.draw(np.random.default_rng(seed), of_size(frames=frames)) for data in (stored, sound))
        assert torch.equal(expected.labels.utterances, found.labels.utterances)
        assert torch.equal(expected.labels.speakers, found.labels.speakers)
        torch.testing.assert_close(found.features, expected.features, atol=1e-4, rtol=0)


def test_archives_in_device_memory_give_the_same(corpus, sounds):
    directory, config = corpus({"features.vad": True, "features.snip_edges": False}, seconds=1.2)
    mapped, moved = (TrainingSet(directory, config, 1, augment(**ALL), sounds) for _ in range(2))
    moved.upload(torch.device("cpu"))
    for seed in range(10):
        expected, found = (data.draw(np.random.default_rng(seed), of_size(frames=70)) for data in (mapped, moved))
        torch.testing.assert_close(found.features, expected.features, atol=1e-4, rtol=1e-4)
    assert moved.leave_gpu() and not moved.leave_gpu()
    assert torch.equal(moved.draw(np.random.default_rng(9), of_size(frames=70)).features,
                       mapped.draw(np.random.default_rng(9), of_size(frames=70)).features)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_threads_that_train_draw_between_steps_where_they_are_several(corpus, threads):
    directory, config = corpus()
    before, found = torch.get_num_threads(), []
    torch.set_num_threads(threads)
    try:
        for data in (TrainingSet(directory, config), TrainingSet(directory, config, 1, augment())):
            def draw(step, data=data):
                found.append(threading.current_thread() is threading.main_thread())
                return data.draw(np.random.default_rng(step), of_size())

            list(data.batches(draw, range(2)))
    finally:
        torch.set_num_threads(before)
    assert found == [False, False] + 2 * [threads > 1]


@pytest.mark.parametrize("vad", [False, True])
def test_a_part_of_a_batch_is_that_part(corpus, sounds, vad):
    directory, config = corpus({"features.vad": vad}, seconds=1.2)
    kinds = {**ALL, "telephone": 0.0}  # whose 8 bits may round either way
    data = TrainingSet(directory, config, 1, augment(**kinds), sounds)
    whole = data.draw(np.random.default_rng(3), of_size())
    for part in (slice(0, 4), slice(4, 8)):
        found = data.draw(np.random.default_rng(3), of_size(), part)
        assert torch.equal(found.labels.speakers, whole.labels.speakers)
        torch.testing.assert_close(found.features, whole.features[part], atol=1e-3, rtol=1e-3)


def test_windows_are_as_wide_as_the_widest_of_the_batch(corpus, sounds, monkeypatch):
    """Where VAD leaves frames out, the samples of a window are more than those of others."""
    directory, config = corpus({"features.vad": True}, seconds=1.2)
    data = TrainingSet(directory, config, 1, augment(**{**ALL, "speed": 0.0, "telephone": 0.0}), sounds)
    for seed in range(4):
        whole = data.draw(np.random.default_rng(seed), of_size(frames=60)).features
        monkeypatch.setattr(sound_windows, "AT_ONCE", {"cpu": 1})
        torch.testing.assert_close(data.draw(np.random.default_rng(seed), of_size(frames=60)).features, whole,
                                   atol=1e-3, rtol=1e-3)
        monkeypatch.undo()


def test_speeds_are_new_speakers(corpus):
    directory, config = corpus(speakers=3, seconds=2.0)
    data = TrainingSet(directory, config, 1, augment(speed=0.5))
    assert data.speakers == [f"{prefix}s{n:02d}" for prefix in ("", "sp0.9-", "sp1.1-") for n in range(3)]
    rng, drawn = np.random.default_rng(0), []
    for _ in range(300):
        drawn += data.draw(rng, of_size(1, 2)).labels.speakers[:1].tolist()
    shares = np.bincount(drawn, minlength=9).reshape(3, 3).sum(1) / len(drawn)
    np.testing.assert_allclose(shares, [0.5, 0.25, 0.25], atol=0.08)
    assert len(set(data.draw(rng, of_size(9, 1)).labels.speakers.tolist())) == 9


def test_speakers_at_their_own_speed_are_not_drawn_where_all_speech_is_at_others(corpus):
    directory, config = corpus(speakers=3)
    for weight in ("even", "utterances"):
        data, size = TrainingSet(directory, config, 1, augment(speed=1.0)), of_size(6, 1)
        batch = data.draw(np.random.default_rng(0), size.model_copy(update={"speaker_weight": weight}))
        assert sorted(batch.labels.speakers.tolist()) == [3, 4, 5, 6, 7, 8]
    with pytest.raises(UserError, match=r"\[softmax\] speakers = 7, but 6 of the 9 training speakers have 1 or more"):
        check_speakers("softmax", 7, data.counts.tolist())


@pytest.mark.parametrize("factor", [0.9, 1.1, 0.95, 1.25])
def test_speed_against_another_resampler(factor):
    samples = scipy.signal.firwin(201, 0.7) @ np.lib.stride_tricks.sliding_window_view(noise(1.5, 1), 201).T
    expected = soxr.resample(samples, factor * RATE, RATE)
    found = change_speed(torch.from_numpy(samples)[None].float(), as_fraction(factor))[0].numpy()
    assert abs(len(found) - len(expected)) <= 1
    middle = slice(200, len(expected) - 200)
    error = found[middle] - expected[middle]
    assert 10 * np.log10(np.mean(error ** 2) / np.mean(expected[middle] ** 2)) < -38


@pytest.mark.parametrize("speed", [0.5, 0.833, 0.917, 1.0999, 1.875, 2.0])
def test_windows_of_every_length_have_enough_samples_at_every_speed(corpus, speed):
    directory, config = corpus({"features.vad": False}, seconds=8.0, speakers=1, utterances=1)
    data = TrainingSet(directory, config, 1, augment().model_copy(update={"speed": 1.0, "speeds": [speed]}))
    for frames in range(100, 350, 7):
        needed = int(data.windows.frames_needed(frames)[1])
        given = (needed - 1) * 160 + 400
        assert int(given / as_fraction(speed)) >= (frames - 1) * 160 + 400 > int((given - 160) / as_fraction(speed))
    for frames in (100, 268, 349):
        assert data.draw(np.random.default_rng(0), of_size(1, 1, frames)).features.shape == (1, frames, 64)


@pytest.mark.parametrize("vad", [False, True])
def test_an_utterance_of_one_frame(corpus, sounds, vad):
    directory, config = corpus({"features.vad": vad}, speakers=2, utterances=1, seconds=0.03)
    for data in (TrainingSet(directory, config, 1, augment(speed=0.7)), TrainingSet(directory, config, 1, augment())):
        for seed in range(8):
            found = data.draw(np.random.default_rng(seed), of_size(2, 1, 40)).features
            assert found.shape == (2, 40, 64) and (found.amax((1, 2)) > 0).all()  # no window is silent


def test_a_window_at_another_speed_is_the_utterance_at_that_speed(corpus):
    directory, config = corpus({"features.vad": False}, speakers=1, utterances=1, seconds=1.0)
    data = TrainingSet(directory, config, 1, augment(speed=1.0))
    samples = noise(1.0, 0)
    for seed in range(6):
        batch = data.draw(np.random.default_rng(seed), of_size(1, 1))
        factor = (0.9, 1.1)[int(batch.labels.speakers[0]) - 1]

        def distance(start, factor=factor, found=batch.features[0]):
            changed = soxr.resample(samples[start:], factor * RATE, RATE)[:49 * 160 + 400]
            expected = compute_fbank(torch.from_numpy(changed), RATE, 64, 20.0, 0.0, True)[0]
            loud = expected.mean(-1) > expected.mean(-1).max() - 5  # in silence resamplers differ
            return float((expected - found)[loud][2:-2, :50].abs().mean())

        assert min(distance(start) for start in range(0, len(samples) - 9300, 160)) < 0.02


def test_reverberation_against_direct_convolution():
    rng = np.random.default_rng(0)
    for size, before, length in ((4000, 1000, 900), (4000, 1000, 3000), (500, 0, 2000)):
        samples = rng.standard_normal((3, before + size)).astype(np.float32)
        rooms = (rng.standard_normal((3, length)) * np.exp(-np.arange(length) / 200)).astype(np.float32)
        found = changes.reverberate(torch.from_numpy(samples), torch.from_numpy(rooms), before)[:, before:].numpy()
        for dry, room, wet in zip(samples, rooms, found, strict=True):
            expected = scipy.signal.convolve(dry, room, method="direct")[before:before + size]
            expected *= np.sqrt(np.mean(dry[before:] ** 2) / np.mean(expected ** 2))
            np.testing.assert_allclose(wet, expected, atol=1e-4)


def test_added_sounds_lie_where_they_should():
    rng = np.random.default_rng(0)
    speech, sound = (torch.from_numpy(rng.standard_normal((4, 5000)).astype(np.float32)) for _ in range(2))
    speech[3] = 0
    snr = torch.tensor([[0.0], [5.0], [20.0], [5.0]])
    rest = changes.add(speech, 7 * sound, snr) - speech
    found = 10 * torch.log10(power(speech) / power(rest))
    torch.testing.assert_close(found[:3], snr[:3], atol=1e-3, rtol=0)
    assert not rest[3].any()
    assert torch.equal(changes.add(speech, torch.zeros_like(sound), snr), speech)


def test_a_telephone_has_its_band_clips_and_keeps_the_power():
    rng = np.random.default_rng(0)
    samples = torch.from_numpy(0.1 * rng.standard_normal((2, RATE)).astype(np.float32))
    found = changes.telephone(samples, *(torch.full((2, 1), value) for value in (300.0, 3400.0, 0.5)), RATE)
    torch.testing.assert_close(power(found), power(samples))
    hertz, density = scipy.signal.welch(found.numpy(), RATE, nperseg=1024)
    level = 10 * np.log10(density / density[:, (hertz > 800) & (hertz < 2000)].mean(1, keepdims=True))
    assert (level[:, hertz < 130] < -15).all() and (level[:, hertz > 5500] < -12).all()
    assert (np.abs(level[:, (hertz > 400) & (hertz < 2800)]) < 3).all()
    clipped = changes.telephone(samples, *(torch.full((2, 1), value) for value in (300.0, 3400.0, 2.0)), RATE)
    largest = clipped.abs().amax(1, keepdim=True)
    assert ((clipped.abs() > 0.99 * largest).float().mean(1) > 1e-3).all()


def test_mu_law_against_its_formula():
    samples = np.linspace(-1, 1, 65535, dtype=np.float32)
    code = np.round(127 * np.sign(samples) * np.log(1 + 255 * np.abs(samples)) / np.log(256))
    expected = np.sign(code) * (256 ** (np.abs(code) / 127) - 1) / 255
    found = changes.mu_law(torch.from_numpy(samples)).numpy()
    assert len(np.unique(found)) == 255
    assert (np.abs(found - expected) < 1e-4).mean() > 0.99  # where a code changes, 16 bits may round the other way


def test_plans_follow_the_probabilities():
    rng, speed = np.random.default_rng(0), np.zeros(20000, int)
    plan = draw_plan(rng, speed, augment(**ALL))
    assert plan.reverb.mean() == pytest.approx(0.5, abs=0.02)
    assert plan.telephone.mean() == pytest.approx(0.4, abs=0.02)
    for number, kind in enumerate(ADDED):
        assert (plan.added == number).mean() == pytest.approx(ALL[kind], abs=0.02)
        low, high = getattr(augment(), f"{kind}_snr")
        snr = plan.snr[plan.added == number]
        assert low <= snr.min() < low + 0.1 and high - 0.1 < snr.max() <= high
    quiet = draw_plan(rng, speed, augment(**{**ALL, "babble": 0.0}))
    assert (quiet.added == NONE).mean() == pytest.approx(0.5, abs=0.02)
    assert {3, 4, 5, 6, 7} == set(plan.talkers.tolist())
    none = draw_plan(rng, speed, augment())
    assert not none.reverb.any() and not none.telephone.any() and (none.added == NONE).all()


def test_babble_is_of_several_talkers_equally_loud(corpus, tmp_path, monkeypatch):
    """Each talker in the folder is a tone of its own, at a level of its own."""
    directory, config = corpus({"features.vad": False})
    tones, lines = [500 + 30 * n for n in range(200)], []
    with (tmp_path / "babble.ark").open("wb") as file:
        for n, hertz in enumerate(tones):
            tone = np.sin(2 * np.pi * hertz * np.arange(2 * RATE) / RATE) / (1 + n / 20)
            lines.append(f"t{n} {tmp_path}/babble.ark:{append_sound(file, f't{n}', tone.astype(np.float32), RATE)}\n")
    (tmp_path / "babble.scp").write_text("".join(lines))
    data, added = TrainingSet(directory, config, 1, augment(babble=1.0), tmp_path), []
    monkeypatch.setattr(sound_windows, "add", lambda samples, sounds, snr: added.append(sounds) or samples)
    for seed in range(5):
        data.draw(np.random.default_rng(seed), of_size(frames=100))
    counts = set()
    for window in torch.cat(added):
        spectrum = torch.fft.rfft(window * torch.hann_window(len(window))).abs()
        levels = spectrum[np.rint(np.array(tones) * len(window) / RATE)]
        talking = levels[levels > levels.max() / 10]
        assert ((talking / talking.median()).log().abs() < 0.3).sum() >= len(talking) - 1  # one may be drawn twice
        counts.add(len(talking))
    assert counts == {3, 4, 5, 6, 7}


def test_missing_sounds_are_named(corpus, sounds):
    directory, config = corpus()
    with pytest.raises(UserError, match=r"no folder of sounds \(--sounds\): windows with noise need it; make it with"):
        TrainingSet(directory, config, 1, augment(noise=0.5))
    (sounds / "music.scp").unlink()
    with pytest.raises(UserError, match=r"no .*music\.scp: windows with music need it"):
        TrainingSet(directory, config, 1, augment(music=0.5), sounds)
    (directory / "sound.scp").unlink()
    with pytest.raises(UserError, match=r"no .*sound\.scp, which \[augment\] online needs: make it from .*wav\.scp"):
        TrainingSet(directory, config, 1, augment())


def test_empty_lists_are_named(corpus, sounds):
    directory, config = corpus()
    for name in ("noise", "rooms"):
        text = (sounds / f"{name}.scp").read_text()
        (sounds / f"{name}.scp").write_text("\n")
        with pytest.raises(UserError, match=rf"^{sounds}/{name}\.scp is empty: make the sounds again"):
            TrainingSet(directory, config, 1, augment(noise=0.5, reverb=0.5), sounds)
        (sounds / f"{name}.scp").write_text(text)
    for name, how in (("sound", augment()), ("feats", None)):
        (directory / f"{name}.scp").write_text("")
        with pytest.raises(UserError, match=rf"^{directory}/{name}\.scp is empty: make it again \(stage 2\)$"):
            TrainingSet(directory, config, 1, how)


def test_sounds_shorter_than_a_window_go_on_mirrored_and_rooms_may_be_longer(corpus, sounds):
    """Noises of 1.5 and 0.3 s, rooms of 0.5 s, windows of 0.1 s and of 2.5 s."""
    directory, config = corpus({"features.vad": False}, seconds=0.4)
    data = TrainingSet(directory, config, 1, augment(noise=1.0, reverb=1.0), sounds)
    for frames in (10, 250):
        batch = data.draw(np.random.default_rng(frames), of_size(frames=frames))
        assert batch.features.shape == (8, frames, 64) and batch.features.isfinite().all()
    draws = np.array([[0.5, 0.0], [0.9, 0.99]])  # both the shorter one, 0.3 s
    short = np.rint(noise(0.3, 101) * 32768)
    mirrored = np.concatenate([short, short[::-1]])
    found = np.zeros((2, 3 * len(short)), np.int16)
    data.bank.tables["noise"].cut(data.bank.excerpts("noise", draws, found.shape[1]), found)
    for row in found:
        np.testing.assert_array_equal(row, np.concatenate([mirrored, short]))


def test_a_room_without_sound_is_named(corpus, sounds):
    directory, config = corpus()
    ark = sounds / "zeros.ark"
    with ark.open("wb") as file:
        offset = append_sound(file, "zeros", np.zeros(300, np.float32), RATE)
    (sounds / "rooms.scp").write_text(f"zeros {ark}:{offset}\n")
    data = TrainingSet(directory, config, 1, augment(reverb=1.0), sounds)
    with pytest.raises(UserError, match=f"^zeros in {sounds}/rooms.scp: an impulse response of zeros"):
        data.draw(np.random.default_rng(0), of_size())


def test_silence_is_named_once_and_stays_silence(corpus, sounds, caplog):
    directory, config = corpus({"features.vad": False}, speakers=2, utterances=1)
    write_wav(directory.parents[1] / "wav" / directory.name / "s01-u00.wav", np.zeros(RATE, np.float32))
    places = Places(directory.name, directory.parent, directory.parent, ("sound", "vad"))
    make_share(directory, config, places, 1, 1)
    join_features(directory, config, places, 1)
    map_file.cache_clear()
    data = TrainingSet(directory, config, 1, augment(**ALL), sounds)
    for seed in range(8):
        batch = data.draw(np.random.default_rng(seed), of_size(2, 1))
        if not (batch.labels.speakers % 2).any():
            continue
        silent = batch.features[batch.labels.speakers % 2 == 1]
        assert batch.features.isfinite().all() and (silent == silent.min()).all()
    assert [record.message for record in caplog.records if "all samples are 0" in record.message] == [
        "s01-u00: all samples are 0; nothing is added to it. Look at its audio, or take it out of "
        f"{directory}/sound.scp"]
