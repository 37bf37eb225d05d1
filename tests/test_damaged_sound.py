"""One bad file never stops the rest, whatever is wrong with it; the good ones need nothing but their content."""

import contextlib
import io
import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import sound_kinds
from conftest import RATE, ROOT, environment, make_features, noise, write_wav
from sounds import encode

from deepspeaker.audio import probe, read_audio
from deepspeaker.audio.content import Content
from deepspeaker.audio.decoding import Truncated
from deepspeaker.audio.reading import decode
from deepspeaker.config import load_config
from deepspeaker.corpus.check_audio import check_file
from deepspeaker.datadir import read_table
from deepspeaker.errors import UserError

MUTATIONS = 40  # of each kind of file
READ = "import sys; from deepspeaker.audio import read_audio; print(len(read_audio(sys.argv[1], 16000).samples))"


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound") / "kinds"
    folder.mkdir()
    return sound_kinds.write_all(folder)


@pytest.mark.long
def test_damage_of_all_kinds(kinds):
    """Thousands of damaged files give samples or a sentence, in reasonable time and memory, and nothing is printed."""
    words = [sys.executable, str(ROOT / "tests/damage.py"), str(kinds[0].parent), "0", str(MUTATIONS)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(OMP_NUM_THREADS="1"))
    lines = done.stdout.splitlines()
    faults = [line for line in lines if line.startswith("FAULT")]
    assert done.returncode == 0, f"status {done.returncode}: " + "\n".join(faults or lines[-1:])
    assert len(lines) == MUTATIONS * len(kinds)


def test_bad_files_among_good_ones(kinds, tmp_path, conf, monkeypatch, capfd):
    """Stage 2 uses the good ones and lists the bad ones, each with its name; so does the check of stage 1."""
    monkeypatch.setattr("deepspeaker.extraction.make_features.MAX_UNUSABLE_SHARE", 1.0)
    entries = {"good-first": write_wav(tmp_path / "first.wav", noise(0.5, 1))}
    for path in kinds:
        content, beginning, half = path.read_bytes(), tmp_path / f"begin-{path.name}", tmp_path / f"half-{path.name}"
        beginning.write_bytes(content[:12])
        half.write_bytes(content[:len(content) // 2])
        entries |= {f"begin-{path.name}": beginning, f"half-{path.name}": half}
    entries |= {"good-last": write_wav(tmp_path / "last.wav", noise(0.5, 2))}
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "wav.scp").write_text("".join(f"{key} {entries[key]}\n" for key in sorted(entries)))
    (folder / "utt2spk").write_text("".join(f"{key} {key}\n" for key in sorted(entries)))
    make_features(folder, load_config(conf()), tmp_path)
    used, bad = read_table(folder / "feats.scp"), read_table(folder / "bad_utts")
    assert used.keys() | bad.keys() == entries.keys() and {"good-first", "good-last"} <= used.keys()
    assert all(str(entries[key]) in reason for key, reason in bad.items())
    assert {f"begin-{path.name}" for path in kinds} <= bad.keys()
    for key, path in entries.items():
        checked = check_file(str(path))
        assert checked.header or str(path) in checked.detail, checked
        assert checked.header or key in bad, checked
    assert not capfd.readouterr().err


def test_a_cut_is_told_where_the_length_is_stated(kinds, tmp_path):
    for path in kinds:
        if path.name in ("pcm16.wav", "a.rf64", "a.w64", "a.aiff", "a.caf", "a.au", "a.sph", "ulaw.sph", "a.flac",
                         "sndfile.mp3", "a.webm", "a.mka", "a.m4a", "v2.wma", "v1.wma", "pcm.avi", "mp3.avi"):
            content, cut = path.read_bytes(), tmp_path / path.name
            cut.write_bytes(content[:len(content) * 3 // 4])
            for read in (probe, lambda entry: read_audio(entry, RATE)):
                with pytest.raises(UserError if path.name == "a.m4a" else Truncated, match=path.name):
                    read(str(cut))


def refused(path: Path, words: str, capfd) -> None:
    """A file is refused with a sentence that names it, as is its content in memory, and nothing is printed."""
    for read in (probe, lambda entry: read_audio(entry, RATE), lambda entry: read_audio(entry, RATE, 0.5, 0.75)):
        with pytest.raises(UserError, match=words) as raised:
            read(str(path))
        assert str(path) in str(raised.value)
    with pytest.raises(UserError, match=f"standard input.*(?:{words})|(?:{words}).*standard input"):
        decode(Content("standard input", path.read_bytes()), RATE)
    assert capfd.readouterr() == ("", "")


def replaced(path: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    return path


def test_a_codec_that_is_not_known(tmp_path, capfd):
    wav = write_wav(tmp_path / "a.wav", noise(1.0, 1))
    refused(replaced(wav, b"fmt \x10\0\0\0\1\0", b"fmt \x10\0\0\0\xcd\xab"), "no decoder for its sound", capfd)
    mka = encode(tmp_path / "a.mka", noise(1.0, 1, 48000), "libopus", 48000)
    refused(replaced(mka, b"A_OPUS", b"A_OPIS"), "no decoder for its sound", capfd)
    m4a = encode(tmp_path / "a.m4a", noise(1.0, 1), "alac")
    refused(replaced(m4a, b"alac", b"alxc"), "no decoder for its sound", capfd)


def test_a_header_without_its_middle_is_refused_at_once(tmp_path, capfd):
    """FFmpeg would take the samples of this one byte by byte."""
    content = write_wav(tmp_path / "a.wav", np.stack([noise(20.0, 1, 48000)] * 2, 1), 48000, "PCM_32").read_bytes()
    place = content.index(b"fmt ") + 8
    path = tmp_path / "b.wav"
    path.write_bytes(content[:place] + content[place + 12:])
    words = [sys.executable, "-c", READ, str(path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=environment(), timeout=60)
    assert "UserError" in done.stderr and str(path) in done.stderr


def test_an_index_cut_off(tmp_path, capfd):
    path = encode(tmp_path / "a.m4a", noise(1.0, 1), "aac")
    path.write_bytes(path.read_bytes()[:-200])
    refused(path, "is not audio|is truncated", capfd)


@pytest.mark.parametrize("name, before, size", [
    ("a.wav", b"LIST", struct.pack("<i", -8)), ("a.aiff", b"NAME", struct.pack(">i", -8)),
    ("a.caf", b"info", struct.pack(">q", -8))])
def test_negative_sizes(tmp_path, capfd, name, before, size):
    """Of a chunk before all others."""
    path = write_wav(tmp_path / name, noise(1.0, 1))
    begin = 8 if name == "a.caf" else 12
    path.write_bytes(path.read_bytes()[:begin] + before + size + path.read_bytes()[begin:])
    refused(path, "is not audio|is truncated", capfd)


def sparse(path: Path, interval: float) -> Path:
    """Write 400 packets of 20 ms of sound, so many seconds apart."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libopus", rate=48000, layout="mono")
        for number in range(400):
            frame = av.AudioFrame.from_ndarray(noise(0.02, number, 48000).reshape(1, -1), "flt", "mono")
            frame.rate, frame.pts = 48000, 960 * number
            for packet in stream.encode(frame):
                packet.pts = packet.dts = round(packet.pts * interval / 0.02)
                container.mux(packet)
    return path


def test_timestamps_do_not_make_hours_of_silence(tmp_path):
    """Parts that are far from each other follow each other, unless an index says that there is more."""
    path = sparse(tmp_path / "a.mka", 10.0)
    assert abs(len(read_audio(str(path), RATE).samples) - 8 * RATE) < RATE and abs(probe(str(path)).seconds - 8) < 1
    with pytest.raises(Truncated, match=r"a.mp4 is truncated: it states 39[0-9.]+ s, of which [0-9.]+ s are there"):
        read_audio(str(sparse(tmp_path / "a.mp4", 10.0)), RATE)


def test_many_silent_parts_are_no_damage(tmp_path):
    """Opus sends 20 ms of sound in 400 ms while nobody speaks."""
    path = sparse(tmp_path / "a.mka", 0.4)
    assert abs(len(read_audio(str(path), RATE).samples) - 160 * RATE) < RATE
    assert abs(probe(str(path)).seconds - 160) < 1


@pytest.mark.parametrize("name, codec", [("a.m4a", "aac"), ("a.webm", "libopus"), ("a.tta", "tta")])
def test_eight_channels(tmp_path, name, codec):
    """The library that brings FFmpeg to Python once ended the process over a good file of 7.1 channels."""
    sounds = np.stack([0.1 * (channel + 1) * noise(1.0, 1, 48000) for channel in range(8)], 1)
    path = encode(tmp_path / name, sounds, codec, 48000)
    done = subprocess.run([sys.executable, "-c", READ, str(path)], cwd=ROOT, capture_output=True, text=True,
                          env=environment())
    assert done.returncode == 0 and abs(int(done.stdout) - RATE) < 1000, done
    found = read_audio(str(path), 48000, channel=0).samples
    again = read_audio(str(path), 48000, channel=7).samples
    assert 5 < again.std() / found.std() < 10


def test_tags_in_another_alphabet(tmp_path):
    """Tags that are not UTF-8, as of old players, are nobody's concern."""
    path = replaced(encode(tmp_path / "a.avi", noise(1.0, 1), "pcm_s16le"), b"Lavf", b"M\xfcll")
    assert len(read_audio(str(path), RATE).samples) == RATE


@pytest.mark.parametrize("ending", ["au", "gsm", "vox", "sln", "rso", "mp3", "mp2", "aac", "ac3", "dts", "amr", "wav"])
def test_what_is_no_sound_is_none_under_any_name(tmp_path, capfd, ending):
    path = tmp_path / f"a.{ending}"
    path.write_text("These are the minutes of the meeting.\n" * 500)
    refused(path, "is not audio that can be read", capfd)


def test_a_sound_needs_no_name(kinds, tmp_path):
    """Content alone decides, also behind a tag that is longer than what FFmpeg looks at."""
    for path in kinds:
        if path.name != "a.sds":
            content = path.read_bytes()
            plain = tmp_path / "sound"
            plain.write_bytes(content)
            expected = read_audio(str(path), RATE).samples
            np.testing.assert_array_equal(read_audio(str(plain), RATE).samples, expected)
            np.testing.assert_array_equal(decode(Content("standard input", content), RATE).samples, expected)
    mp3 = next(path for path in kinds if path.name == "bare.mp3").read_bytes()
    plain.write_bytes(b"ID3\3\0\0" + bytes([2, 0, 0, 0]) + bytes(2 << 21) + mp3)
    assert len(read_audio(str(plain), RATE).samples) > 1.4 * RATE


def test_decoders_print_nothing(kinds, tmp_path, capfd):
    content = {path.name: path.read_bytes() for path in kinds}
    path = tmp_path / "sound"
    for damaged in (content["a.sds"], content["mp3-by-ffmpeg.wav"][:2000] + bytes(2000),
                    content["a.aiff"][:33] + b"\x53\x53" + content["a.aiff"][35:]):
        path.write_bytes(damaged)
        for read in (lambda: read_audio(str(path), RATE), lambda: probe(str(path)),
                     lambda: decode(Content("standard input", path.read_bytes()), RATE)):
            with contextlib.suppress(UserError):
                read()
    assert capfd.readouterr() == ("", "")


def test_a_disk_that_fails_is_named(tmp_path, monkeypatch):
    class Failing(io.BytesIO):
        def read(self, size=-1):
            raise OSError(5, "Input/output error")

    path = write_wav(tmp_path / "a.wav", noise(0.5, 1))
    monkeypatch.setattr(Content, "open", lambda content: Failing(b"sound"))
    checked = check_file(str(path))
    assert checked.problem == "unreadable" and checked.detail == f"{path}: Input/output error"


@pytest.mark.parametrize("content", [b"AUDIO", b"AUDIO\4", b"AUDIO\xff\xff", b"RIFF", b"fLaC", b"a"])
def test_an_archive_that_ends_within_a_header(tmp_path, content):
    (tmp_path / "a.ark").write_bytes(b"utt " + content)
    checked = check_file(f"{tmp_path}/a.ark:4")
    assert checked.problem == "unreadable" and f"{tmp_path}/a.ark:4" in checked.detail


def test_a_name_with_a_zero_byte():
    for name in ("a\0.wav", "a\0.ark:5", "cat a\0 |"):
        assert "found a zero byte" in check_file(name).detail
