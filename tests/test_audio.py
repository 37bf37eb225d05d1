"""Audio as users have it, good and bad."""

import os
import struct
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import RATE, noise, write_wav
from sounds import encode

from deepspeaker.audio import commands, ffmpeg, probe, read_audio, sndfile
from deepspeaker.audio.decoding import Truncated
from deepspeaker.errors import UserError


@pytest.mark.parametrize("ending, subtype, tolerance", [
    ("wav", "PCM_U8", 1e-2), ("wav", "PCM_16", 1e-4), ("wav", "PCM_24", 1e-6), ("wav", "PCM_32", 1e-6),
    ("wav", "FLOAT", 0), ("wav", "DOUBLE", 1e-7), ("flac", "PCM_16", 1e-4)])
def test_lossless_formats(tmp_path, ending, subtype, tolerance):
    samples = noise(0.5, 1)
    found = read_audio(str(write_wav(tmp_path / f"a.{ending}", samples, subtype=subtype)), RATE)
    assert found.converted == "" and found.samples.dtype == np.float32
    np.testing.assert_allclose(found.samples, samples, atol=tolerance)


@pytest.mark.parametrize("ending", ["ogg", "mp3"])
def test_lossy_formats(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    tone = (0.5 * np.sin(np.arange(RATE) * 0.2)).astype(np.float32)
    soundfile.write(path, tone, RATE)
    samples = read_audio(str(path), RATE).samples
    assert abs(len(samples) - RATE) < 3000 and abs(np.abs(samples).max() - 0.5) < 0.1


def test_m4a_through_pyav(tmp_path, monkeypatch):
    path = encode(tmp_path / "a b.m4a", 0.5 * np.sin(np.arange(2 * RATE) * 0.2), "aac")
    whole = read_audio(str(path), RATE).samples
    assert abs(len(whole) - 2 * RATE) < 3000 and abs(np.abs(whole[4000:-4000]).max() - 0.5) < 0.1
    np.testing.assert_array_equal(read_audio(str(path), RATE, 0.5, 1.0).samples, whole[8000:16000])
    monkeypatch.setattr(ffmpeg, "BLOCK_SECONDS", 1)
    np.testing.assert_array_equal(read_audio(str(path), RATE).samples, whole)


def test_segment_of_a_long_m4a_is_found_and_only_its_surroundings_are_decoded(tmp_path, monkeypatch):
    time = np.arange(40 * RATE) / RATE
    path = encode(tmp_path / "long.m4a", 0.5 * np.sin(2 * np.pi * (200 + 20 * time) * time), "aac")
    whole = read_audio(str(path), RATE).samples
    decoded, samples_of = [], ffmpeg.samples_of

    def counted(frame):
        decoded.append(frame.samples)
        return samples_of(frame)

    monkeypatch.setattr(ffmpeg, "samples_of", counted)
    for start, end in ((30.0, 31.5), (5.25, 5.3), (39.0, 40.0), (0.0, 1.0)):
        decoded.clear()
        samples = read_audio(str(path), RATE, start, end).samples
        np.testing.assert_allclose(samples, whole[round(start * RATE):round(end * RATE)], atol=1e-6)
        assert 0 < sum(decoded) < (end - start + 2) * RATE


def test_a_film_without_sound(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for packet in [*stream.encode(av.VideoFrame(32, 32, "yuv420p")), *stream.encode()]:
            container.mux(packet)
    with pytest.raises(UserError, match="film.mp4 is not audio that can be read: there is no sound in it"):
        read_audio(str(tmp_path / "film.mp4"), RATE)


def test_stereo_is_mixed_and_other_rates_are_converted(tmp_path):
    left, right = noise(1.0, 1, 44100), noise(1.0, 2, 44100)
    found = read_audio(str(write_wav(tmp_path / "a.wav", np.stack([left, right], 1), 44100, "FLOAT")), RATE)
    assert len(found.samples) == RATE
    assert found.converted == "2 channels mixed, 44100 Hz to 16000 Hz"
    tone = (0.5 * np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)).astype(np.float32)
    samples = read_audio(str(write_wav(tmp_path / "t.wav", tone, 8000, "FLOAT")), RATE).samples
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(samples[1000:-1000], expected[1000:-1000], atol=1e-3)


def test_channels_are_averaged(tmp_path):
    three = np.stack([noise(0.1, n) for n in (1, 2, 3)], 1)
    found = read_audio(str(write_wav(tmp_path / "a.wav", three, subtype="FLOAT")), RATE)
    np.testing.assert_allclose(found.samples, (three[:, 0] + three[:, 1] + three[:, 2]) / 3, atol=1e-7)


def test_one_of_several_channels(tmp_path):
    left, right = noise(0.5, 1), noise(0.5, 2)
    right[7] = np.nan  # of no concern to whoever takes the left one
    path = str(write_wav(tmp_path / "a.wav", np.stack([left, right], 1), subtype="FLOAT"))
    found = read_audio(path, RATE, channel=0)
    np.testing.assert_array_equal(found.samples, left)
    assert found.converted == "channel 0 of 2"
    for channel, message in ((1, "not finite"), (2, "channel 2 was asked for .* 0 to 1"), (None, "finite")):
        with pytest.raises(UserError, match=message):
            read_audio(path, RATE, channel=channel)
    mono = str(write_wav(tmp_path / "m.wav", left, subtype="FLOAT"))
    np.testing.assert_array_equal(read_audio(mono, RATE, channel=1).samples, left)


def test_blocks_change_nothing(tmp_path, monkeypatch):
    stereo = np.stack([noise(3.5, 1, 44100), noise(3.5, 2, 44100)], 1)
    path = str(write_wav(tmp_path / "a.wav", stereo, 44100, "PCM_24"))
    whole = read_audio(path, RATE)
    assert len(whole.samples) == 3.5 * RATE
    monkeypatch.setattr(sndfile, "BLOCK_SECONDS", 1)
    again = read_audio(path, RATE)
    np.testing.assert_allclose(again.samples, whole.samples, atol=1e-6)
    assert again.converted == whole.converted == "2 channels mixed, 44100 Hz to 16000 Hz"


def test_segment_of_a_recording(tmp_path):
    samples = noise(2.0, 1)
    path = str(write_wav(tmp_path / "a.wav", samples, subtype="FLOAT"))
    np.testing.assert_array_equal(read_audio(path, RATE, 0.25, 1.5).samples, samples[4000:24000])
    for end in (2.2, 2.5):
        np.testing.assert_array_equal(read_audio(path, RATE, 1.5, end).samples, samples[24000:])
    for start, end in ((1.5, 9.0), (1.5, 2.51), (1.5, 1.5), (1.5, 1.0)):
        with pytest.raises(UserError, match=f"segment {start}..{end} s does not lie in .*, which has 2.00 s"):
            read_audio(path, RATE, start, end)


def test_pipe(tmp_path):
    samples = noise(0.5, 1)
    path = write_wav(tmp_path / "a b.wav", samples, subtype="FLOAT")
    for entry in (f"cat '{path}' |", f"cat '{path}'|"):
        np.testing.assert_array_equal(read_audio(entry, RATE).samples, samples)


def test_pipe_of_unknown_length(tmp_path):
    path = write_wav(tmp_path / "a.wav", noise(0.5, 1))
    raw = bytearray(path.read_bytes())
    place = raw.index(b"data") + 4
    raw[place:place + 4] = raw[4:8] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(raw)
    assert len(read_audio(f"cat {path} |", RATE).samples) == 8000


def test_pipe_that_fails(tmp_path):
    with pytest.raises(UserError, match="status 3: .*: no such thing"):
        read_audio("echo no such thing >&2; exit 3 |", RATE)
    with pytest.raises(UserError, match="failed with status"):
        read_audio(f"cat {tmp_path}/none.wav | cat |", RATE)


def test_pipe_that_never_ends():
    mark = "611.417"  # seconds that nothing else sleeps
    before = time.monotonic()
    with pytest.raises(UserError, match=f"did not end within 0.5 s: .*sleep {mark}.*: still here"):
        read_audio(f"echo still here >&2; (sleep {mark}; true) | cat |", RATE, pipe_timeout=0.5)
    assert time.monotonic() - before < 60
    while left := [path for path in Path("/proc").glob("[0-9]*/cmdline") if mark.encode() in path.read_bytes()]:
        assert time.monotonic() - before < 60, left  # the killed end when the system comes to it
        time.sleep(0.05)


def test_pipe_that_never_ends_writing(monkeypatch):
    monkeypatch.setattr(commands, "MOST_PIPED", 1 << 22)
    with pytest.raises(UserError, match="writes more than 4194304 bytes"):
        read_audio("cat /dev/zero |", RATE)


def test_segments_of_one_pipe_run_it_once(tmp_path):
    path = write_wav(tmp_path / "a.wav", noise(2.0, 1), subtype="FLOAT")
    entry = f"echo x >>{tmp_path}/runs; cat {path} |"
    parts = [read_audio(entry, RATE, start, start + 0.5).samples for start in (0.0, 0.5, 1.0)]
    np.testing.assert_array_equal(np.concatenate(parts), read_audio(str(path), RATE, 0.0, 1.5).samples)
    assert (tmp_path / "runs").read_text() == "x\n"


def test_permission_denied(tmp_path):
    path = write_wav(tmp_path / "a.wav", noise(0.1, 1))
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionError, match=str(path)):
            read_audio(str(path), RATE)
    finally:
        os.seteuid(user)


def test_bad_files(tmp_path):
    good = write_wav(tmp_path / "good.wav", noise(0.5, 1)).read_bytes()
    nan = noise(0.5, 1)
    nan[100] = np.nan
    bad = {"empty.wav": (b"", "is empty"), "text.wav": (b"not audio at all, though long enough", "is not audio"),
           "cut.wav": (good[:-1000], "is truncated: its header announces 16000 bytes of samples, 15000"),
           "header.wav": (good[:44], "is truncated"), "head.wav": (good[:20], "is not audio"),
           "noise.flac": (good, None), "chunk.wav": (good[:40] + b"\0\0\0\0", "no samples")}
    for name, (content, message) in bad.items():
        path = tmp_path / name
        path.write_bytes(content)
        if message is None:
            assert len(read_audio(str(path), RATE).samples) == 8000  # a WAV under another name is still a WAV
        else:
            with pytest.raises(UserError, match=message):
                read_audio(str(path), RATE)
    with pytest.raises(UserError, match="not finite"):
        read_audio(str(write_wav(tmp_path / "nan.wav", nan, subtype="FLOAT")), RATE)
    with pytest.raises(FileNotFoundError):
        read_audio(str(tmp_path / "none.wav"), RATE)
    flac = write_wav(tmp_path / "long.flac", noise(2.0, 1)).read_bytes()
    (tmp_path / "cut.flac").write_bytes(flac[:len(flac) // 2])
    with pytest.raises(UserError, match="truncated|is not audio"):
        read_audio(str(tmp_path / "cut.flac"), RATE)


@pytest.mark.parametrize("before", [b"LIST\x03\0\0\0abc\0", b"LIST\x04\0\0\0abcd"])
def test_a_wav_cut_short_is_told_behind_other_chunks(tmp_path, before):
    """A chunk of odd size is followed by a byte that its size does not count."""
    path = write_wav(tmp_path / "a.wav", noise(0.1, 1))
    plain = path.read_bytes()
    path.write_bytes(plain[:36] + before + plain[36:])
    assert len(read_audio(str(path), RATE).samples) == 1600
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="announces 3200 bytes of samples, 3199 are there"):
        read_audio(str(path), RATE)


def test_pipe_can_be_ffmpegs(tmp_path):
    if subprocess.run(["which", "ffmpeg"], capture_output=True).returncode:
        pytest.skip("ffmpeg is not installed")
    path = write_wav(tmp_path / "a.flac", noise(1.0, 1))
    entry = f"ffmpeg -v 8 -i {path} -f wav -acodec pcm_s16le -|"
    np.testing.assert_allclose(read_audio(entry, RATE).samples, read_audio(str(path), RATE).samples, atol=1e-4)


def test_probe(tmp_path):
    stereo = np.stack([noise(0.5, 1), noise(0.5, 2)], 1)
    for name in ("a.wav", "a.flac"):
        path = write_wav(tmp_path / name, stereo)
        assert probe(str(path)) == (8000, RATE, 2) and probe(str(path)).seconds == 0.5
        cut = tmp_path / f"cut-{name}"
        cut.write_bytes(path.read_bytes()[:-2000])
        with pytest.raises(Truncated, match=f"{cut} is truncated"):
            probe(str(cut))
    content = (tmp_path / "a.wav").read_bytes()
    for bad, words in ((b"", "is empty"), (content[:40] + b"\0\0\0\0", "no samples"), (b"x" * 99, "is not audio")):
        (tmp_path / "bad.wav").write_bytes(bad)
        with pytest.raises(UserError, match=words):
            probe(str(tmp_path / "bad.wav"))


@pytest.mark.parametrize("length", [0x7FFFFFFF, 0xFFFFFFFF])
def test_file_of_unknown_length(tmp_path, length):
    path = write_wav(tmp_path / "a.wav", noise(0.5, 1))
    content = path.read_bytes()
    path.write_bytes(content[:40] + struct.pack("<I", length) + content[44:])
    assert len(read_audio(str(path), RATE).samples) == 8000
