"""Sound in the formats that people have: content decides, lengths are counted, time begins with the first sample."""

import io
import os
import struct
import subprocess
import sys
from types import SimpleNamespace

import kaldiio
import numpy as np
import pytest
import soundfile
from conftest import RATE, ROOT, environment, noise, write_wav
from sounds import encode

from deepspeaker.audio import EXTENSIONS, ffmpeg, probe, read_audio
from deepspeaker.audio.decoding import Truncated
from deepspeaker.audio.reading import seconds
from deepspeaker.datadir import read_segments
from deepspeaker.errors import UserError
from deepspeaker.inference.sound_files import read_file

SECONDS = 6.0
FORMATS = {  # ending -> codec, rate, options, FFmpeg's name of the container
    "m4a": ("aac", RATE, {}, None), "fast.m4a": ("aac", RATE, {"movflags": "+faststart"}, None),
    "fragmented.mp4": ("aac", RATE, {"movflags": "frag_keyframe+empty_moov"}, None),
    "mp3": ("libmp3lame", RATE, {}, None),
    "bare.mp3": ("libmp3lame", RATE, {"write_xing": "0", "id3v2_version": "0"}, None),
    "webm": ("libopus", 48000, {}, None), "live.webm": ("libopus", 48000, {"live": "1"}, None),
    "mkv": ("aac", RATE, {}, None), "ts": ("aac", RATE, {}, None), "aac": ("aac", RATE, {}, None),
    "avi": ("libmp3lame", RATE, {}, None), "flv": ("libmp3lame", 44100, {}, None),
    "opus": ("libopus", 48000, {}, "ogg"), "flac": ("flac", RATE, {}, None), "aiff": ("pcm_s16be", RATE, {}, None),
    "caf": ("pcm_s16be", RATE, {}, None), "mp3.wav": ("libmp3lame", RATE, {}, None)}
INEXACT = {"bare.mp3", "avi", "flv", "fragmented.mp4", "mp3.wav"}  # these do not state the encoder's delay


def chirp(rate=RATE, length=SECONDS, low=200.0, rise=150.0):
    time = np.arange(round(length * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * (low + rise * time) * time)).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    return {ending: encode(folder / f"a.{ending}", chirp(rate), codec, rate, options, kind)
            for ending, (codec, rate, options, kind) in FORMATS.items()}


def same_part(found, expected, most=16):
    """Whether two pieces of sound are the same, but for a shift of a few samples."""
    count = min(len(found), len(expected)) - 2 * most
    shifts = [np.corrcoef(found[most + k:most + k + count], expected[most:most + count])[0, 1]
              for k in range(-most, most + 1)]
    return abs(len(found) - len(expected)) <= most and max(shifts) > 0.98


@pytest.mark.parametrize("ending", FORMATS)
def test_length_and_segments(files, ending, capfd):
    """A segment is that part of the whole, whichever way it is found."""
    path = str(files[ending])
    whole = read_audio(path, RATE).samples
    assert abs(len(whole) / RATE - SECONDS) < 0.15 and abs(probe(path).seconds - SECONDS) < 0.15
    assert abs(seconds(path) - len(whole) / RATE) < 1e-3
    if ending not in INEXACT:
        assert same_part(whole[:80000], chirp()[:80000])
    for start, end in ((0.0, 1.0), (0.7, 1.9), (2.5, 3.5), (4.2, 5.4)):
        part = read_audio(path, RATE, start, end).samples
        assert same_part(part, whole[round(start * RATE):round(end * RATE)]), (start, end)
    with pytest.raises(UserError, match=r"segment 5..9 s does not lie in .*, which has [56]\.[0-9]+ s"):
        read_audio(path, RATE, 5, 9)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("ending, kind", [("mkv", "matroska"), ("ts", "mpegts"), ("webm", "webm"), ("m4a", "ipod")])
def test_time_is_counted_from_the_first_sample(tmp_path, files, ending, kind):
    codec, rate, _, _ = FORMATS[ending]
    path = encode(tmp_path / f"late.{ending}", chirp(rate), codec, rate, kind=kind, since=5.0)
    whole = read_audio(str(files[ending]), RATE).samples
    assert abs(probe(path).seconds - SECONDS) < 0.1
    assert same_part(read_audio(str(path), RATE).samples[:80000], whole[:80000])
    for start, end in ((0.0, 1.0), (2.5, 3.5)):
        part = chirp()[round(start * RATE):round(end * RATE)]
        assert same_part(read_audio(str(path), RATE, start, end).samples, part)


@pytest.mark.parametrize("ending, hole, silence", [("mkv", 2.0, 2.0), ("webm", 0.5, 0.5), ("webm", 4000.0, 0.0)])
def test_a_hole_in_the_timestamps_is_silence_unless_the_clock_was_set_anew(tmp_path, ending, hole, silence):
    codec, rate, _, _ = FORMATS[ending]
    path = str(encode(tmp_path / f"hole.{ending}", chirp(rate), codec, rate, hole=(3.0, hole)))
    whole = read_audio(path, RATE).samples
    assert abs(len(whole) / RATE - SECONDS - silence) < 0.1 and abs(probe(path).seconds - SECONDS - silence) < 0.1
    if silence:
        assert not whole[round(3.1 * RATE):round((2.95 + silence) * RATE)].any()
        start = 4.0 + silence
        assert same_part(read_audio(path, RATE, start, start + 1).samples, chirp()[4 * RATE:5 * RATE])


def test_a_header_that_states_a_long_title_costs_no_memory(tmp_path):
    """In a process of its own, whose memory is measured."""
    path, size = tmp_path / "title.wav", 2_000_000_000
    path.write_bytes(b"RIFF\x64\0\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, 7, 1, RATE, RATE, 1, 8) + b"LIST"
                     + struct.pack("<I", size + 64) + b"INFOISFT" + struct.pack("<I", size) + bytes(16))
    script = ("import resource, sys\n"
              "from deepspeaker.audio import read_audio\n"
              "from deepspeaker.errors import UserError\n"
              "try:\n    read_audio(sys.argv[1], 16000)\nexcept UserError:\n"
              "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)")
    done = subprocess.run([sys.executable, "-c", script, path], env=environment(PYTHONPATH=str(ROOT)),
                          capture_output=True, text=True)
    assert int(done.stdout) < 1_000_000, done.stderr


def test_the_silence_of_a_hole_is_not_held_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(ffmpeg, "BLOCK_VALUES", 20_000)
    codec, rate, _, _ = FORMATS["mkv"]
    path = encode(tmp_path / "hole.mkv", chirp(rate), codec, rate, hole=(3.0, 4.0))
    with open(path, "rb") as file:
        sizes = [len(block) for block, _ in ffmpeg.decode(file, "hole", 0.0, None)]
    assert max(sizes) < 30_000 and abs(sum(sizes) / rate - SECONDS - 4.0) < 0.1


@pytest.mark.parametrize("ending", ["mp3", "bare.mp3", "opus", "aac", "flac", "ts"])
def test_files_in_a_row_are_read_to_the_end(tmp_path, files, ending):
    codec, rate, options, kind = FORMATS[ending]
    other = encode(tmp_path / f"b.{ending}", chirp(rate, 5.0, 900.0, 100.0), codec, rate, options, kind)
    joined = tmp_path / f"joined.{ending}"
    joined.write_bytes(files[ending].read_bytes() + other.read_bytes())
    first, second, both = (read_audio(str(path), RATE).samples for path in (files[ending], other, joined))
    assert abs(len(both) - len(first) - len(second)) < 0.2 * RATE
    assert abs(probe(joined).seconds - 11) < 0.3
    late = len(both) - 2 * RATE
    assert same_part(both[late:late + RATE], second[len(second) - 2 * RATE:len(second) - RATE], most=round(0.1 * RATE))
    part = read_audio(str(joined), RATE, late / RATE, late / RATE + 1).samples
    assert same_part(part, both[late:late + RATE], most=round(0.1 * RATE))


def test_files_of_other_rates_in_a_row(tmp_path, files):
    stereo = np.stack([chirp(44100, 3.0, 900.0, 50.0)] * 2, 1)
    other = encode(tmp_path / "b.mp3", stereo, "libmp3lame", 44100)
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(files["mp3"].read_bytes() + other.read_bytes())
    found = read_audio(str(joined), RATE)
    assert abs(len(found.samples) / RATE - SECONDS - 3) < 0.3
    assert found.converted == "2 channels mixed, 44100 Hz to 16000 Hz"
    late = slice(-2 * RATE, -RATE)
    assert same_part(found.samples[late], read_audio(str(other), RATE).samples[late], most=999)


def test_tags_and_rubbish_around_mp3(tmp_path, files):
    sound = files["bare.mp3"].read_bytes()
    for name, content in {"tags": b"ID3\x03\0\0\0\0\0\x0a" + bytes(10) + sound + b"TAG" + bytes(125),
                          "end": sound + b"rubbish" * 300, "half": sound[:-100], "zeros": bytes(3000) + sound,
                          "within": sound[1000:]}.items():
        path = tmp_path / f"{name}.mp3"
        path.write_bytes(content)
        assert abs(len(read_audio(str(path), RATE).samples) / RATE - SECONDS) < 0.3, name
    middle = sound.index(sound[:2], len(sound) // 2)
    (tmp_path / "torn.mp3").write_bytes(sound[:middle] + bytes(2000) + sound[middle:])
    for read in (probe, lambda path: read_audio(str(path), RATE)):
        with pytest.raises(UserError, match=r"torn.mp3 is damaged at [0-9.]+ s: "):
            read(tmp_path / "torn.mp3")


@pytest.mark.parametrize("size", [0, 0x7FFF0000, 0x7FFFF000, 0x7FFFFF00, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_wav_of_unknown_length_is_read_to_its_end(tmp_path, size):
    path = write_wav(tmp_path / "a.wav", noise(0.5, 1))
    expected = read_audio(str(path), RATE).samples
    content = path.read_bytes()
    for riff in (struct.pack("<I", size), struct.pack("<I", 36), content[4:8]):
        path.write_bytes(content[:4] + riff + content[8:40] + struct.pack("<I", size) + content[44:])
        np.testing.assert_array_equal(read_audio(str(path), RATE).samples, expected)
        np.testing.assert_array_equal(read_audio(f"cat {path} |", RATE).samples, expected)
        assert probe(path).seconds == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("kind, subtype", [
    ("WAV", "PCM_16"), ("WAVEX", "FLOAT"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("W64", "ULAW"), ("AIFF", "PCM_16"),
    ("AU", "ULAW"), ("CAF", "PCM_24"), ("NIST", "PCM_16"), ("NIST", "ULAW"), ("FLAC", "PCM_16")])
def test_a_file_that_was_cut_short_is_told(tmp_path, kind, subtype):
    path, cut = tmp_path / "a", tmp_path / "cut"
    soundfile.write(path, noise(2.0, 1), RATE, format=kind, subtype=subtype)
    np.testing.assert_allclose(read_audio(str(path), RATE).samples, noise(2.0, 1), atol=0.02)
    assert probe(path) == (2 * RATE, RATE, 1)
    for lost in (1000, 10000):
        cut.write_bytes(path.read_bytes()[:-lost])
        for read in (probe, lambda entry: read_audio(str(entry), RATE), lambda entry: read_file(entry, RATE)):
            with pytest.raises(Truncated, match=f"{cut} is truncated"):
                read(cut)


@pytest.mark.parametrize("ending", ["fast.m4a", "mp3", "webm", "mkv", "caf"])
def test_compressed_sound_that_was_cut_short_is_told(tmp_path, files, ending):
    cut = tmp_path / f"cut.{ending}"
    cut.write_bytes(files[ending].read_bytes()[:-files[ending].stat().st_size // 3])
    for read in (probe, lambda path: read_audio(str(path), RATE)):
        with pytest.raises(Truncated, match=f"{cut} is truncated"):
            read(cut)


@pytest.mark.parametrize("ending", ["m4a", "webm", "live.webm", "mp3", "opus", "aac", "flac", "aiff"])
def test_content_decides_what_a_sound_is(tmp_path, monkeypatch, files, ending):
    expected = read_audio(str(files[ending]), RATE)
    content = files[ending].read_bytes()
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "a.flac", "none", "a:b.mp3", "http:x", "b.m4a"):
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(read_audio(name, RATE).samples, expected.samples)
        assert probe(name) == probe(files[ending])
    assert read_audio(f"cat {tmp_path}/none |", RATE)[1:] == expected[1:]
    np.testing.assert_array_equal(read_audio(f"cat {tmp_path}/none |", RATE).samples, expected.samples)
    np.testing.assert_array_equal(read_audio(f"cat {tmp_path}/none |", RATE, 2.5, 3.5).samples,
                                  read_audio("none", RATE, 2.5, 3.5).samples)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    np.testing.assert_array_equal(read_file("-", RATE).samples, expected.samples)


def test_a_playlist_opens_no_other_file(tmp_path, files):
    sound = files["ts"]
    for text in (f"#EXTM3U\n#EXTINF:6,\n{sound}\n#EXT-X-ENDLIST\n", f"ffconcat version 1.0\nfile {sound}\n"):
        (tmp_path / "list.m3u8").write_text(text)
        with pytest.raises(UserError, match="list.m3u8 is not audio that can be read"):
            read_audio(str(tmp_path / "list.m3u8"), RATE)


def test_what_is_no_sound_is_named(tmp_path):
    with pytest.raises(UserError) as error:
        read_audio("echo hello |", RATE)
    assert str(error.value).startswith("the output of 'echo hello |' is not audio that can be read: ")
    with pytest.raises(UserError, match="^the output of 'true |' is empty$"):
        read_audio("true |", RATE)
    for name, content in {"text": b"hello " * 99, "random": np.random.default_rng(0).bytes(9999), "zeros": bytes(9999),
                          "riff": b"RIFF\xff\xff\xff\x7fWAVE" + bytes(999)}.items():
        path = tmp_path / name
        path.write_bytes(content)
        for read in (probe, lambda entry: read_audio(str(entry), RATE)):
            with pytest.raises(UserError) as error:
                read(path)
            assert str(error.value).startswith(f"{path} is not audio that can be read: ")
            assert " at 0x" not in str(error.value)


def test_16_bit_values_in_floats_are_refused_everywhere(tmp_path):
    path = write_wav(tmp_path / "a.wav", np.round(32768 * noise(0.5, 1)), subtype="FLOAT")
    for read in (probe, lambda entry: read_audio(str(entry), RATE), lambda entry: read_file(entry, RATE), seconds):
        with pytest.raises(UserError, match=f"^{path}: expected samples within -1..1, found [0-9.]+: these are 16-bit "
                                            "values stored as floats; divide them by 32768"):
            read(str(path))


def test_a_header_that_cannot_be_true(tmp_path):
    path = write_wav(tmp_path / "a.wav", noise(0.1, 1))
    content = path.read_bytes()
    for rate in (1, 0xFFFFFFF0):
        path.write_bytes(content[:24] + struct.pack("<I", rate) + content[28:])
        for read in (probe, lambda entry: read_audio(str(entry), RATE)):
            with pytest.raises(UserError, match=f"{path}"):
                read(path)


def test_entries_of_wave_archives(tmp_path, monkeypatch):
    """As Kaldi's wav-copy writes them, and kaldiio in its own form with WAV and FLAC."""
    sounds = {f"u{n}": noise(1.0 + n, n) for n in range(3)}
    kaldi = b""
    entries = {}
    for name, samples in sounds.items():
        wav = write_wav(tmp_path / "one.wav", samples).read_bytes()
        kaldi += f"{name} ".encode()
        entries[name] = f"{tmp_path}/kaldi.ark:{len(kaldi)}"
        kaldi += wav
    (tmp_path / "kaldi.ark").write_bytes(kaldi)
    for function in (None, "soundfile"):
        kaldiio.save_ark(str(tmp_path / f"{function}.ark"), {
            name: (RATE, np.round(32767 * x).astype(np.int16)) for name, x in sounds.items()},
            scp=str(tmp_path / "scp"), write_function=function)
        for line in (tmp_path / "scp").read_text().splitlines():
            name, entry = line.split()
            np.testing.assert_allclose(read_audio(entry, RATE).samples, sounds[name], atol=1e-4)
    for name, samples in sounds.items():
        np.testing.assert_allclose(read_audio(entries[name], RATE).samples, samples, atol=1e-4)
        np.testing.assert_array_equal(read_audio(entries[name], RATE, 0.5, 1.0).samples,
                                      read_audio(entries[name], RATE).samples[8000:16000])
        assert probe(entries[name]) == (len(samples), RATE, 1)
    monkeypatch.chdir(tmp_path)
    assert len(read_audio("kaldi.ark:3", RATE).samples) == RATE
    np.testing.assert_array_equal(read_file(entries["u1"], RATE).samples, read_audio(entries["u1"], RATE).samples)
    (tmp_path / "kaldi.ark:3").write_bytes(wav)
    assert len(read_audio("kaldi.ark:3", RATE).samples) == 3 * RATE  # a file of that name comes first


@pytest.mark.parametrize("place, message", [
    (4, "expected a WAV file, or what kaldiio writes as"), (10 ** 6, "the archive has only [0-9]+ bytes"),
    (3, "the archive ends 1000 bytes before the end of this sound")])
def test_entries_of_wave_archives_that_lead_nowhere(tmp_path, place, message):
    wav = write_wav(tmp_path / "a.wav", noise(0.5, 1)).read_bytes()
    (tmp_path / "wav.ark").write_bytes(b"u1 " + wav[:-1000])
    for read in (probe, lambda entry: read_audio(entry, RATE)):
        with pytest.raises(UserError, match=f"wav.ark:{place}: {message}"):
            read(f"{tmp_path}/wav.ark:{place}")
    with pytest.raises(FileNotFoundError, match="none.ark"):
        read_audio(f"{tmp_path}/none.ark:3", RATE)


def test_channels_that_are_alike_are_not_told_as_mixed(tmp_path):
    left, right = noise(0.5, 1), noise(0.5, 2)
    for name, channels, mixed in (("mono", [left], 0), ("alike", [left, left], 0), ("call", [left, right], 2)):
        path = str(write_wav(tmp_path / f"{name}.wav", np.stack(channels, 1)))
        assert read_audio(path, RATE).mixed == mixed
        assert read_audio(path, RATE, channel=0).mixed == 0
    with pytest.raises(UserError, match="expected a channel from 0 on, found -1"):
        read_audio(path, RATE, channel=-1)


def test_segments_may_name_a_channel(tmp_path):
    (tmp_path / "segments").write_text("u1 r 0 1 0\nu2 r 0.5 -1 1\nu3 r 0 1 B\nu4 r 0 1\n")
    assert [segment.channel for segment in read_segments(tmp_path).values()] == [0, 1, 1, None]
    for fields in ("r 0 1 C", "r 0 1 -1", "r 0 1 0 0", "r 0", "r"):
        (tmp_path / "segments").write_text(f"u1 {fields}\n")
        with pytest.raises(UserError, match=f"segments: u1: expected 'recording start end'.*, found '{fields}'"):
            read_segments(tmp_path)


def test_endings_are_those_of_files_that_are_read():
    assert len(set(EXTENSIONS)) == len(EXTENSIONS) and all(ending == ending.lower() for ending in EXTENSIONS)
    films = {".mp4", ".mkv", ".ts", ".avi", ".flv"}  # read if they are named, but mostly copies of a sound beside them
    assert {os.path.splitext(f"a.{ending}")[1] for ending in FORMATS} - films <= {*EXTENSIONS}
