"""Noises and rooms made of random numbers, folders of sounds in archives, and copies that are made of them."""

import resource
import shlex
import shutil
from pathlib import Path

import kaldi_native_io
import kaldiio
import numpy as np
import pytest
from conftest import RATE, ROOT, make_features, noise, write_wav
from scipy.signal import butter, fftconvolve, sosfilt

from deepspeaker.audio import made_noise, read_audio
from deepspeaker.audio.augment import augment
from deepspeaker.audio.made_noise import make_noise
from deepspeaker.audio.made_rooms import diffuse_tail, make_room
from deepspeaker.config import load_config
from deepspeaker.corpus.augmented_copies import noisy_copy, reverberant_copy
from deepspeaker.corpus.sounds import SECONDS, make_sounds
from deepspeaker.datadir import read_table
from deepspeaker.datadir.sound_archive import SoundTable, to_16_bits
from deepspeaker.errors import UserError

RATES = [8000, 16000, 44100]
STEP = ROOT / "steps/make_sounds.py"


def decibels(ratio):
    return 10 * np.log10(np.maximum(ratio, 1e-12))


def power(samples, rate):
    """Frequencies (Hz) and the power at each."""
    return np.fft.rfftfreq(len(samples), 1 / rate), np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2


def frames(samples, size):
    return samples[:len(samples) // size * size].reshape(-1, size)


@pytest.fixture(scope="module")
def noises():
    """Rate -> 80 noises of two seconds."""
    return {rate: [make_noise(np.random.default_rng(n), 2 * rate, rate) for n in range(80)] for rate in RATES}


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("strikes, quietest, below", [(0, -26, 0.05), (1, -50, 0.1)])
def test_noises_fill_16_bits_and_are_heard(monkeypatch, rate, strikes, quietest, below):
    """Below 20 Hz there is only what events and strikes spread there."""
    monkeypatch.setattr(made_noise, "STRIKES", strikes)
    for n in range(80):
        made = make_noise(np.random.default_rng(n), 2 * rate, rate)
        assert made.shape == (2 * rate,) and made.dtype == np.float32 and np.abs(made).max() == 1
        assert decibels(np.mean(made ** 2)) > quietest
        frequency, found = power(made, rate)
        assert found[frequency < 18].sum() < below * found.sum()


@pytest.mark.parametrize("rate", RATES)
def test_no_two_noises_are_alike(noises, rate):
    """In colour: levels of octaves, which on average fall. In time: some are steady, some rise and fall."""
    edges = np.array([62.5, 125, 250, 500, 1000, 2000, 3600])
    spectra = [power(made, rate) for made in noises[rate]]
    octaves = decibels(np.array([[found[(frequency >= low) & (frequency < high)].sum() / found.sum()
                                  for low, high in zip(edges, edges[1:], strict=False)]
                                 for frequency, found in spectra]))
    assert octaves.std(axis=0).min() > 4
    slopes = np.polyfit(np.arange(6), (octaves - decibels(np.diff(edges))).T, 1)[0]  # dB an octave, of the density
    assert np.median(slopes) == pytest.approx(-2, abs=1.5)
    distances = np.abs(octaves[:, None] - octaves).max(axis=2)[np.triu_indices(len(octaves), 1)]
    assert distances.min() > 0.5 and np.median(distances) > 8
    swings = np.array([np.ptp(decibels(np.mean(frames(made, rate // 10) ** 2, axis=1))) for made in noises[rate]])
    assert np.mean(swings < 8) > 0.1 and np.mean(swings > 15) > 0.3


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("even", [0, 1])
def test_strikes_set_in_at_once_and_die_away(monkeypatch, rate, even):
    """White noise that is struck five times a second, with 5 ms to die away by a factor of e, in frames of 1 ms."""
    for name, value in {"TILT": (0, 0), "RESONANCES": 0, "LOW_PASS": 0, "HIGH_PASS": 0, "EVENTS": 0, "TONES": 0,
                        "STRIKES": 1, "STRIKE_RATE": (5, 5), "EVEN": even, "STRIKE_LEVELS": (0, 0),
                        "STRIKE_DECAY": (0.005, 0.005), "BETWEEN_STRIKES": (-90, -90)}.items():
        monkeypatch.setattr(made_noise, name, value)
    levels, distances = [], []
    for n in range(40):
        made = make_noise(np.random.default_rng(n), 2 * rate, rate)
        level = np.sum(frames(made, rate // 1000) ** 2, axis=1)
        begun = np.flatnonzero(decibels(level[20:] / level[:-20].clip(1e-9)) > 40) + 20  # loud, silent 20 ms before
        first = begun[np.diff(begun, prepend=-20) > 15]
        distances += np.diff(first).tolist()
        levels += [level[at:at + 30] for at in first if at + 100 < len(level)]
    fall = decibels(np.median(levels, axis=0))
    assert fall[2] - fall[12] == pytest.approx(20 / np.log(10) * 2, abs=3)  # 10 ms later
    assert np.std(distances) < 2 if even else np.std(distances) > 50


@pytest.mark.parametrize("rate", RATES)
def test_tones_have_harmonics_that_glide(monkeypatch, rate):
    monkeypatch.setattr(made_noise, "EVENTS", 0)
    monkeypatch.setattr(made_noise, "TONES", 1)
    monkeypatch.setattr(made_noise, "TONE_LEVELS", (100, 100))
    moved, pitches, shares, size = [], [], [], rate // 20
    for n in range(60):
        spectra = np.abs(np.fft.rfft(frames(make_noise(np.random.default_rng(n), 2 * rate, rate), size)
                                     * np.hanning(size))) ** 2
        loud = spectra[spectra.sum(axis=1) > 0.1 * spectra.sum(axis=1).max()]
        if len(loud) < 10:
            continue  # a short cry
        strongest = np.sort(loud, axis=1)[:, -60:]  # five of each of the harmonics
        shares.append(np.median(strongest.sum(axis=1) / loud.sum(axis=1)))
        strong = loud.argmax(axis=1) * 20
        pitches.append(np.median(strong))
        moved.append(np.ptp(strong) > 0.1 * np.median(strong))
    assert np.median(shares) > 0.95
    assert 0.3 < np.mean(moved) < 1 and min(pitches) < 200 and max(pitches) > 1500


def test_a_few_samples_of_noise():
    for size in (1, 2, 100):
        assert np.abs(make_noise(np.random.default_rng(0), size, RATE)).max() == 1


def decay(response, rate, low, high):
    """Reverberation time (seconds) between two frequencies, from the energy that is still to come (Schroeder 1965)
    where it falls from -5 to -25 dB."""
    high_pass = butter(4, low, "highpass", fs=rate, output="sos")
    band = sosfilt(high_pass, response)
    if high < rate / 2:
        band = sosfilt(butter(4, high, "lowpass", fs=rate, output="sos"), band)
    left = decibels(np.cumsum(band[::-1] ** 2)[::-1] / np.sum(band ** 2))
    begin, end = np.argmax(left < -5), np.argmax(left < -25)
    slope = np.polyfit(np.arange(begin, end) / rate, left[begin:end], 1)[0]
    return -60 / slope


@pytest.mark.parametrize("rate", RATES)
def test_bands_of_a_tail_decay_in_their_times(rate):
    count = {8000: 5, 16000: 6, 44100: 8}[rate]
    times = np.linspace(0.8, 0.4, count)
    edges = [0, 250, 500, 1000, 2000, 4000, 8000, 16000, 22050][:count] + [rate / 2]
    for n in range(5):
        tail = diffuse_tail(np.random.default_rng(n), 2 * rate, rate, times)
        assert tail.shape == (2 * rate,)
        for band in range(2, count):
            assert decay(tail, rate, edges[band], edges[band + 1]) == pytest.approx(times[band], rel=0.15)
        spectrum = power(tail[:rate // 20], rate)[1]  # all bands begin at one level
        parts = [spectrum[round(low / 20):round(high / 20)].mean() for low, high in zip(edges[2:], edges[3:],
                                                                                        strict=False)]
        assert np.ptp(decibels(np.array(parts))) < 7


@pytest.mark.parametrize("rate", RATES)
def test_rooms_are_within_their_ranges(rate):
    """The direct sound leads; without the strongest samples of the first 40 ms, its reflections, the tail is left."""
    ratios, low, high, lengths = [], [], [], []
    for n in range(150):
        response = make_room(np.random.default_rng(n), rate)
        assert response.dtype == np.float32 and response[0] == 1 and np.abs(response[1:]).max() <= 0.9001
        lengths.append(len(response) / rate)
        rest = response[1:].astype(float)
        early = rest[:round(0.041 * rate)]
        early[np.argsort(-np.abs(early))[:8]] = 0
        ratios.append(-decibels(np.sum(rest ** 2)))
        late = response[round(0.042 * rate):]
        low.append(decay(late, rate, 500, 2000))
        high.append(decay(late, rate, 2000, min(8000, rate / 2)))
    assert 0.14 < min(lengths) < 0.17 and max(lengths) == pytest.approx(0.8, abs=0.001)
    assert -6.5 < min(ratios) < -4.5 and 10.5 < max(ratios) < 13 and np.median(ratios) == pytest.approx(3.5, abs=1.5)
    assert 0.09 < min(low) < 0.25 and 0.9 < max(low) < 1.7 and np.median(low) == pytest.approx(0.6, abs=0.15)
    assert np.median(np.array(high) / low) == pytest.approx(0.78, abs=0.1)


@pytest.fixture
def recorded(tmp_path):
    """MUSAN and RIRS_NOISES in folders whose names have a blank: another rate, stereo, digital silence."""
    musan, rirs = tmp_path / "my musan", tmp_path / "my rirs"
    write_wav(musan / "noise/free sound/n1.wav", 0.2 * noise(1.0, 1))
    write_wav(musan / "noise/other/n1.wav", np.stack([noise(1.0, 2), noise(1.0, 3)], 1))
    write_wav(musan / "noise/other/silence.wav", np.zeros(8000))
    write_wav(musan / "music/fma/m1.wav", noise(1.0, 4, 44100), 44100)
    for n in range(5):
        write_wav(musan / f"speech/us-gov/s{n}.flac", noise(0.5 + n, 5 + n), subtype=None)
    for n, room in enumerate(["smallroom/Room001", "mediumroom/Room002", "largeroom/Room003"]):
        response = noise(0.3, 20 + n) * np.exp(-np.arange(4800) / 400)
        write_wav(rirs / "simulated_rirs" / room / "r.wav", np.stack([response, -response], 1), subtype="FLOAT")
    return musan, rirs


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("rate", RATES)
def test_sounds_made_follow_from_seed_kind_and_number(tmp_path, rate):
    for name, seed, number in (("a", 0, 3), ("b", 0, 5), ("c", 1, 3)):
        made = make_sounds(tmp_path / name, ["noise", "reverb"], rate, seed, number=number)
        assert made.counts == {"noise": number, "reverb": number} and not made.silent
        assert sorted(content(tmp_path / name)) == ["noise.ark", "noise.scp", "rooms.ark", "rooms.scp"]
    for scp in ("noise.scp", "rooms.scp"):
        a, b, c = (SoundTable(tmp_path / name / scp, rate) for name in "abc")
        assert a.keys == b.keys[:3] == c.keys
        heard = [a.samples(n) for n in range(3)]
        for n in range(3):
            np.testing.assert_array_equal(heard[n], b.samples(n))
            assert heard[n].tobytes() not in (c.samples(n).tobytes(), heard[n - 1].tobytes())
            assert np.abs(heard[n].astype(int)).max() >= 32767
        if scp == "noise.scp":
            assert {len(each) for each in heard} == {round(SECONDS * rate)}
    assert all(place.startswith(f"{tmp_path}/a/noise.ark:") for place in read_table(tmp_path / "a/noise.scp").values())


def test_training_speech_babbles(data_dir, call, tmp_path):
    """Talkers are the first 5 s of utterances of all speakers; what cannot be used is named."""
    speech = data_dir(speakers=5, utterances=4, seconds=6.0)
    wav = speech.parents[1] / "wav" / speech.name
    write_wav(wav / "s00-u00.wav", np.zeros(RATE, np.float32))
    (wav / "s04-u03.wav").write_bytes(b"RIFF no sound")
    done = call(STEP, "--kinds", "babble", "--speech", speech, "--rate", 8000, "--number", 7, tmp_path / "sounds")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (f"{tmp_path}/sounds: sounds at 8000 Hz: 5 babble; left out as digital silence: s00-u00; "
                           "left out as unreadable: s04-u03\n")
    table = SoundTable(tmp_path / "sounds/babble.scp", 8000)
    assert table.keys == ["s00-u03", "s01-u02", "s02-u02", "s03-u01", "s04-u00"]
    expected = read_audio(str(wav / "s01-u02.wav"), 8000).samples[:40000]
    np.testing.assert_allclose(table.samples(1) / 32768, expected / np.abs(expected).max(), atol=1e-4)
    (speech / "wav.scp").write_text("".join(f"{line.split()[0]} cat {line.split()[1]} |\n" for line in
                                            (speech / "wav.scp").read_text().splitlines()))
    done = call(STEP, "--kinds", "babble", "--speech", speech, "--no-pipes", tmp_path / "other")
    assert done.returncode == 1 and "20 entries are commands" in done.stderr and "--no-pipes runs none" in done.stderr
    (speech / "wav.scp").write_text("")
    done = call(STEP, "--kinds", "babble", "--speech", speech, tmp_path / "sounds")
    assert done.returncode == 1 and f"{speech}: nothing in it can be used as babble" in done.stderr
    assert SoundTable(tmp_path / "sounds/babble.scp", 8000).keys == table.keys


def test_others_read_the_archives(tmp_path):
    make_sounds(tmp_path / "sounds", ["noise", "reverb"], 8000, 0, number=3)
    for name in ("noise", "rooms"):
        scp = tmp_path / "sounds" / f"{name}.scp"
        ours = SoundTable(scp, 8000)
        theirs = kaldiio.load_scp(str(scp))
        assert list(theirs) == ours.keys
        for (key, wave), n in zip(kaldi_native_io.SequentialWaveReader(f"scp:{scp}"), range(3), strict=True):
            rate, samples = theirs[key]
            assert rate == wave.sample_freq == 8000
            np.testing.assert_array_equal(samples, ours.samples(n))
            np.testing.assert_array_equal(wave.data.numpy()[0], ours.samples(n))


def test_recorded_sounds_are_copied(recorded, call, tmp_path):
    musan, rirs = recorded
    done = call(STEP, "--kinds", "noise music babble reverb", "--musan", musan, "--rirs", rirs, tmp_path / "s")
    assert done.returncode == 0 and done.stdout.count("\n") == 1 and not done.stderr, done.stderr
    assert "16000 Hz: 2 noise, 1 music, 5 babble, 2 reverb; left out as digital silence: " in done.stdout
    assert f"{musan}/noise/other/silence.wav" in done.stdout
    table = SoundTable(tmp_path / "s/noise.scp", RATE)
    assert table.keys == ["noise000001-n1", "noise000002-n1"]
    mixed = (noise(1.0, 2) + noise(1.0, 3)) / 2
    for n, expected in enumerate((noise(1.0, 1), mixed)):
        np.testing.assert_allclose(table.samples(n) / 32768, expected / np.abs(expected).max(), atol=0.002)
    music = read_audio(read_table(tmp_path / "s/music.scp")["music000001-m1"], RATE)
    assert music.rate == RATE and len(music.samples) == RATE
    rooms = SoundTable(tmp_path / "s/rooms.scp", RATE)
    response = noise(0.3, 20) * np.exp(-np.arange(4800) / 400)  # of the first channel
    assert np.corrcoef(rooms.samples(0), response)[0, 1] > 0.999
    assert rooms.keys == ["reverb000001-r", "reverb000002-r"]


def test_each_kind_is_replaced_as_a_whole_or_not_at_all(recorded, tmp_path):
    musan, sounds = recorded[0], tmp_path / "sounds"
    make_sounds(sounds, ["noise", "reverb"], RATE, 0, number=2)
    before = content(sounds)
    (musan / "speech/broken.wav").write_bytes(b"RIFF no sound")
    with pytest.raises(UserError, match=r"my musan/speech/broken\.wav"):
        make_sounds(sounds, ["babble", "noise"], RATE, 0, musan)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            make_sounds(sounds, ["noise"], RATE, 0, number=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert content(sounds) == before
    make_sounds(sounds, ["music", "noise"], RATE, 0, musan)
    after = content(sounds)
    assert sorted(after) == sorted([*before, "music.ark", "music.scp"])
    assert {name for name in before if after[name] != before[name]} == {"noise.ark", "noise.scp"}


@pytest.mark.parametrize("options, message", [
    ({"kinds": ["noise", "speed"]}, "no kind of sounds 'speed'; there are: noise music babble reverb"),
    ({"kinds": []}, "no kind of sounds is asked for"),
    ({"kinds": ["noise", "music"]}, "'music' needs --musan"),
    ({"kinds": ["babble", "noise"]}, "'babble' needs --speech, a data directory whose speakers talk, or --musan"),
    ({"kinds": ["babble"], "speech": Path("/nowhere")}, "/nowhere/wav.scp"),
    ({"number": 0}, "at least 1 sound of each kind, found 0"),
    ({"rate": 16}, "expected a rate of 4000 to 192000 Hz, found 16"), ({"rate": 10 ** 9}, "found 1000000000"),
    ({"seed": -1}, "at least 0, found -1"),
    ({"musan": Path("/nowhere")}, "no sound files in /nowhere/noise: expected MUSAN's layout"),
    ({"kinds": ["reverb"], "rirs": Path("/nowhere")}, "no sound files in /nowhere: expected impulse responses"),
    ({"folder": Path("mine/thesis.tex")}, "thesis.tex is a file"),
    ({"folder": Path("a\nb")}, "a line break in its name")])
def test_sounds_that_cannot_be_made(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name in ("noise.ark", "thesis.tex"):
        (tmp_path / "mine" / name).touch()
    with pytest.raises(UserError, match=message):
        make_sounds(**{"folder": Path("sounds"), "kinds": ["noise"], "rate": RATE, "seed": 0, **options})
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine", "noise.ark", "thesis.tex"]


def test_nothing_but_silence(tmp_path, call):
    write_wav(tmp_path / "musan/music/m.wav", np.full(8000, 1e-6), subtype="FLOAT")
    done = call(STEP, "--kinds", "music", "--musan", tmp_path / "musan", tmp_path / "sounds")
    assert done.returncode == 1 and f"{tmp_path}/musan: nothing in it can be used as music, " in done.stderr
    assert not list((tmp_path / "sounds").iterdir())


@pytest.fixture
def folder(tmp_path, recorded):
    """Made noises and rooms, and recorded babble, in a folder whose name has a blank and a quotation mark."""
    make_sounds(tmp_path / "Ann's sounds", ["noise", "reverb"], RATE, 0, number=4)
    make_sounds(tmp_path / "Ann's sounds", ["babble"], RATE, 0, recorded[0])
    return tmp_path / "Ann's sounds"


def test_copies_of_archived_sounds_sound_as_they_should(data_dir, folder, call, tmp_path):
    """Each is the utterance with what its line names, from its second on and at its level, or in its room."""
    source, speech = data_dir(speakers=2, utterances=3), noise(1.0, 0)
    for kind in ("noise", "babble", "reverb"):
        done = call(ROOT / "steps/augment_data_dir.py", "--seed", 3, f"--{kind}", folder, source, tmp_path / kind)
        assert done.returncode == 0, done.stderr
    tables = {name: SoundTable(folder / f"{name}.scp", RATE) for name in ("noise", "babble", "rooms")}

    def sound(name, entry):
        table = tables[name]
        return table.samples(table.specifiers.index(entry)) / 32768

    chosen, begins = set(), set()
    for kind in ("noise", "babble"):
        lines = read_table(tmp_path / kind / "augment")
        for line in lines.values():
            _, snr, *places = shlex.split(line)
            assert len(places) in {"noise": [2], "babble": [6, 8, 10]}[kind]
            parts = [np.resize(np.roll(sound(kind, entry), -round(float(second) * RATE)), RATE)
                     for second, entry in zip(places[::2], places[1::2], strict=True)]
            expected = sum(part / np.sqrt(np.mean(part ** 2)) for part in parts)
            added = augment(speech, RATE, line) - speech
            assert np.corrcoef(added, expected)[0, 1] > 0.999
            assert decibels(np.mean(speech ** 2) / np.mean(added ** 2)) == pytest.approx(float(snr), abs=0.01)
            chosen |= {*places[1::2]}
            begins |= {*map(float, places[::2])}
    assert max(begins) > 2
    rooms = read_table(tmp_path / "reverb/augment")
    for line in rooms.values():
        _, entry = shlex.split(line)
        expected = fftconvolve(speech, sound("rooms", entry))[:RATE]
        expected *= np.sqrt(np.mean(speech ** 2) / np.mean(expected ** 2))
        np.testing.assert_allclose(augment(speech, RATE, line), expected, atol=1e-5)
        chosen.add(entry)
    assert len(chosen) > 8


def test_features_of_a_copy_with_archived_sounds(data_dir, conf, folder, tmp_path):
    source = data_dir(speakers=1, utterances=2)
    assert noisy_copy(source, tmp_path / "noisy", "noise", folder, 0) == 2
    assert reverberant_copy(tmp_path / "noisy", tmp_path / "both", folder, 0) == 2
    make_features(tmp_path / "both", load_config(conf()), tmp_path)
    assert list(read_table(tmp_path / "both/feats.scp")) == ["s00-u00-noise-reverb", "s00-u01-noise-reverb"]


@pytest.mark.parametrize("kind, lines, message", [
    ("noise", "n cat a.wav |\n", "found 'cat a.wav |': make the sounds again"),
    ("reverb", "r /gone/rooms.ark:5\n", "rooms.scp: expected 'FILE.ark:OFFSET' of an archive that is there, found "),
    ("reverb", "", "rooms.scp is empty"),
    ("music", None, "no sound files in .*/music: expected MUSAN's layout .*, or .*/music.scp")])
def test_folders_that_hold_no_such_sounds(data_dir, tmp_path, kind, lines, message):
    (tmp_path / "sounds").mkdir()
    if lines is not None:
        (tmp_path / "sounds" / {"noise": "noise.scp", "reverb": "rooms.scp"}[kind]).write_text(lines)
    with pytest.raises(UserError, match=message.replace("|", r"\|") if "cat" in message else message):
        if kind == "reverb":
            reverberant_copy(data_dir(), tmp_path / "new", tmp_path / "sounds", 0)
        else:
            noisy_copy(data_dir(), tmp_path / "new", kind, tmp_path / "sounds", 0)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_no_description_can_name(data_dir, tmp_path):
    make_sounds(tmp_path / "odd; name", ["noise"], RATE, 0, number=1)
    with pytest.raises(UserError, match="odd; name/noise.ark.*separates operations"):
        noisy_copy(data_dir(), tmp_path / "new", "noise", tmp_path / "odd; name", 0)


def test_16_bits_hold_a_made_sound():
    for samples in (make_noise(np.random.default_rng(0), RATE, RATE), make_room(np.random.default_rng(0), RATE)):
        np.testing.assert_allclose(to_16_bits(samples) / 32768, samples, atol=1.01 / 32768)


@pytest.mark.long
def test_a_condition_is_the_same_in_every_folder_and_another_for_each_set(data_dir, conf, tmp_path, call):
    tiny = conf({"features.sample_rate": 8000, "features.high_freq": 3800.0})
    data_dir("test", 2, 2), data_dir("test_b", 2, 2)
    made = {}
    for folder, name in (("a", "test"), ("b", "test"), ("b", "test_b")):
        (tmp_path / folder).mkdir(exist_ok=True)
        shutil.copytree(tmp_path / "data" / name, tmp_path / folder / name)
        done = call(ROOT / "steps/make_condition.sh", "--condition", "noise", "--nj", 1, "--conf", tiny,
                    tmp_path / folder / name, tmp_path / folder / "sounds")
        assert done.returncode == 0, done.stderr
        copy = tmp_path / folder / f"{name}_noise"
        assert (copy / "trials").exists() and len(read_table(copy / "feats.scp")) == 4
        made[folder, name] = (tmp_path / folder / f"sounds/{copy.name}/noise.ark").read_bytes()
    assert made["a", "test"] == made["b", "test"] != made["b", "test_b"]
