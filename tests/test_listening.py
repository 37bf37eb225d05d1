"""Samples and sound files as users give them: what is taken as it is, what is converted, what is refused."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from conftest import RATE, noise, write_wav
from sounds import encode

from deepspeaker.audio import ffmpeg, sndfile
from deepspeaker.audio.content import content_of
from deepspeaker.audio.decoding import Limits
from deepspeaker.audio.reading import decode
from deepspeaker.errors import UserError
from deepspeaker.inference import sound_files
from deepspeaker.inference.sound_files import as_samples, read_file


@pytest.mark.parametrize("samples, rate, words", [
    (np.zeros((2, 9)), RATE, r"found shape \(2, 9\) of float64"), (np.zeros((9, 1)), RATE, "found shape"),
    (np.float64(1.0), RATE, "found shape"), (np.zeros(9, np.int16), RATE, "of int16"),
    (np.zeros(0), RATE, r"found shape \(0,\)"), (np.array([0.0, np.inf]), RATE, "not finite"),
    (np.array([0.0, np.nan]), RATE, "not finite"), (np.array([0.0, 2.1]), RATE, r"-1\.\.1, found 2\.1"),
    (np.array([0.0, -2.1]), RATE, "found 2.1"), (np.zeros(9), 0, "expected a sampling rate in Hz, found 0")])
def test_samples_that_are_refused(samples, rate, words):
    with pytest.raises(UserError, match=words):
        as_samples(samples, rate, RATE)


def test_samples_of_another_type_and_rate():
    samples = np.array([0.5, -2.0, 2.0])
    found = as_samples(samples, RATE, RATE)
    assert found.dtype == np.float32 and found.tolist() == samples.tolist()
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)
    found = as_samples(tone, 8000, RATE)
    assert found.dtype == np.float32 and len(found) == RATE
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(found[1000:-1000], expected[1000:-1000], atol=1e-3)


def test_files(tmp_path):
    samples = noise(0.5, 1)
    path = write_wav(tmp_path / "a.wav", np.stack([samples, 0.5 * samples], 1), subtype="FLOAT")
    np.testing.assert_allclose(read_file(path, RATE).samples, 0.75 * samples, atol=1e-6)
    assert len(read_file(path, 8000).samples) == 4000
    (tmp_path / "cat a.wav |").write_bytes(b"x")
    for name, words in (("none.wav", "none.wav: no such file"), (".", "not a file"),
                        ("cat a.wav |", r"commands are not run")):
        with pytest.raises(UserError, match=words):
            read_file(tmp_path / name, RATE)


def test_a_reason_begins_with_the_file(tmp_path):
    loud = write_wav(tmp_path / "loud.wav", 100 * noise(0.1, 1), subtype="FLOAT")
    text = tmp_path / "text.wav"
    text.write_text("this is no sound")
    for path, words in ((loud, ": expected samples within"), (text, " is not audio")):
        with pytest.raises(UserError, match=f"^{path}{words}"):
            read_file(path, RATE)


@pytest.mark.parametrize("seconds, refused", [(1800, False), (1801, True)])
def test_longest_file(tmp_path, seconds, refused):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(seconds * 1000, np.float32), 1000, "PCM_U8")
    if refused:
        with pytest.raises(UserError, match="long.wav is longer than 30 minutes: cut it into shorter files"):
            read_file(path, RATE)
    else:
        assert len(read_file(path, 1000).samples) == 1800000


def test_standard_input(tmp_path, monkeypatch):
    content = write_wav(tmp_path / "a.wav", noise(0.5, 1), subtype="FLOAT").read_bytes()

    def read(given):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(given)))
        return read_file("-", RATE).samples

    np.testing.assert_array_equal(read(content), noise(0.5, 1))
    for given, words in ((b"", "^standard input is empty$"), (b"this is no sound", "^standard input is not audio"),
                         (b"\0\0\0\x18ftypM4A nothing of the kind", "^standard input is not audio")):
        with pytest.raises(UserError, match=words) as error:
            read(given)
        assert "/sound" not in str(error.value)
    monkeypatch.setattr(sound_files, "MOST_PIPED", len(content))
    assert len(read(content)) == 8000
    with pytest.raises(UserError, match="standard input has more than"):
        read(content + b"x")


def limited(path, **limits):
    return decode(content_of(str(path)), RATE, limits=Limits(**limits))


def test_a_file_that_states_too_much_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    for name, decoder in (("a.flac", sndfile), ("a.m4a", ffmpeg)):
        path = tmp_path / name
        encode(path, noise(3.0, 1), "aac" if name == "a.m4a" else "flac")
        assert limited(path, seconds=3.5).rate == RATE
        with monkeypatch.context() as patch:
            patch.setattr(decoder, "decode", None)
            with pytest.raises(UserError, match=f"{name} is longer than 0.041.* minutes: cut it"):
                limited(path, seconds=2.5)


def test_a_file_that_states_nothing_is_decoded_up_to_the_limit(tmp_path):
    encode(tmp_path / "a.aac", noise(3.0, 1), "aac")
    with pytest.raises(UserError, match="a.aac is longer than 0.041.* minutes"):
        limited(tmp_path / "a.aac", seconds=2.5)


def test_a_small_file_that_becomes_a_large_one(tmp_path):
    """Silence in FLAC: frames of 16 bytes. What is there is refused once the first minute is decoded."""
    path = tmp_path / "zeros.flac"
    soundfile.write(path, np.zeros((600 * RATE, 2), np.int16), RATE)
    ratio = 600 * RATE * 2 * 4 / path.stat().st_size
    assert ratio > 1000 and len(limited(path, expansion=1.01 * ratio).samples) == 600 * RATE
    with pytest.raises(UserError, match="zeros.flac has .* bytes, from which more than 1000 times as many would be"):
        limited(path, expansion=1000)
    soundfile.write(path, np.zeros((60 * RATE, 2), np.int16), RATE)
    assert len(limited(path, expansion=1).samples) == 60 * RATE  # harmless
