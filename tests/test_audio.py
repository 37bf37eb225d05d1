"""Audio as users have it, good and bad."""

import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from conftest import RATE, noise, write_wav

from deepspeaker.audio import read_audio
from deepspeaker.command import UserError


@pytest.mark.parametrize("ending, subtype, tolerance", [
    ("wav", "PCM_U8", 1e-2), ("wav", "PCM_16", 1e-4), ("wav", "PCM_24", 1e-6), ("wav", "PCM_32", 1e-6),
    ("wav", "FLOAT", 0), ("wav", "DOUBLE", 1e-7), ("flac", "PCM_16", 1e-4)])
def test_lossless_formats(tmp_path, ending, subtype, tolerance):
    samples = noise(0.5, 1)
    audio = read_audio(str(write_wav(tmp_path / f"a.{ending}", samples, subtype=subtype)), RATE)
    assert audio.converted == "" and audio.samples.dtype == np.float32
    np.testing.assert_allclose(audio.samples, samples, atol=tolerance)


@pytest.mark.parametrize("ending", ["ogg", "mp3"])
def test_lossy_formats(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    tone = (0.5 * np.sin(np.arange(RATE) * 0.2)).astype(np.float32)
    soundfile.write(path, tone, RATE)
    samples = read_audio(str(path), RATE).samples
    assert abs(len(samples) - RATE) < 3000 and abs(np.abs(samples).max() - 0.5) < 0.1


def test_m4a_through_pyav(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "a b.m4a"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        tone = (0.5 * np.sin(np.arange(2 * RATE) * 0.2)).astype(np.float32)
        for start in range(0, len(tone), 1024):
            frame = av.AudioFrame.from_ndarray(tone[None, start:start + 1024], format="fltp", layout="mono")
            frame.rate = RATE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    whole = read_audio(str(path), RATE).samples
    assert abs(len(whole) - 2 * RATE) < 3000 and abs(np.abs(whole[4000:-4000]).max() - 0.5) < 0.1
    np.testing.assert_array_equal(read_audio(str(path), RATE, 0.5, 1.0).samples, whole[8000:16000])


def test_m4a_without_pyav_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "a.m4a"
    path.write_bytes(b"whatever")
    with pytest.raises(UserError, match="pip install av"):
        read_audio(str(path), RATE)


def test_stereo_is_mixed_and_other_rates_are_converted(tmp_path):
    left, right = noise(1.0, 1, 44100), noise(1.0, 2, 44100)
    audio = read_audio(str(write_wav(tmp_path / "a.wav", np.stack([left, right], 1), 44100, "FLOAT")), RATE)
    assert len(audio.samples) == RATE
    assert audio.converted == "2 channels mixed, 44100 Hz to 16000 Hz"
    tone = (0.5 * np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)).astype(np.float32)
    samples = read_audio(str(write_wav(tmp_path / "t.wav", tone, 8000, "FLOAT")), RATE).samples
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(samples[1000:-1000], expected[1000:-1000], atol=1e-3)


def test_segment_of_a_recording(tmp_path):
    samples = noise(2.0, 1)
    path = str(write_wav(tmp_path / "a.wav", samples, subtype="FLOAT"))
    np.testing.assert_array_equal(read_audio(path, RATE, 0.25, 1.5).samples, samples[4000:24000])
    np.testing.assert_array_equal(read_audio(path, RATE, 1.5, 2.2).samples, samples[24000:])
    with pytest.raises(UserError, match="segment 1.5..9.0 s does not lie in .*, which has 2.00 s"):
        read_audio(path, RATE, 1.5, 9.0)


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


def test_pipe_can_be_ffmpegs(tmp_path):
    if subprocess.run(["which", "ffmpeg"], capture_output=True).returncode:
        pytest.skip("ffmpeg is not installed")
    path = write_wav(tmp_path / "a.flac", noise(1.0, 1))
    entry = f"ffmpeg -v 8 -i {path} -f wav -acodec pcm_s16le -|"
    np.testing.assert_allclose(read_audio(entry, RATE).samples, read_audio(str(path), RATE).samples, atol=1e-4)
