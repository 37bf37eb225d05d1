"""Stage 2 as it is run: stopped and started again, on segments, channels and pipes, and on audio of all sizes."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT, environment, noise, write_wav

from deepspeaker.config import load_config
from deepspeaker.datadir import read_table
from deepspeaker.datadir.archive import open_matrix, open_vector
from deepspeaker.datadir.sources import sources
from deepspeaker.errors import UserError
from deepspeaker.extraction.fbank import compute_fbank, voiced_frames
from deepspeaker.extraction.make_features import Places, join_features, make_share
from deepspeaker.extraction.sound_quality import sound_quality


@pytest.fixture
def directory(tmp_path):
    """Make a data directory from the text of its files."""

    def make(**files):
        folder = tmp_path / "set"
        folder.mkdir()
        for name, text in files.items():
            (folder / name.replace("_scp", ".scp")).write_text(text)
        return folder

    return make


def stored(directory: Path) -> dict[str, tuple[bytes, bytes]]:
    """Utterance -> bytes of its features and of its voice activity."""
    feats, vad = read_table(directory / "feats.scp"), read_table(directory / "vad.scp")
    assert feats.keys() == vad.keys()
    return {key: (open_matrix(feats[key], key).stored.tobytes(), open_vector(vad[key], key).tobytes()) for key in feats}


def run_all(directory, config, work, jobs=1, **options):
    work.mkdir(exist_ok=True)
    places = Places(directory.name, work, work)
    lines = [make_share(directory, config, places, job, jobs, **options) for job in range(1, jobs + 1)]
    return lines, join_features(directory, config, places, jobs)


def test_killed_and_started_again(tmp_path, directory, conf):
    """kill -9 in the third of three pieces: the first two are kept, and all is as if nothing had happened."""
    wavs = [write_wav(tmp_path / f"{n}.wav", noise(0.05 + 0.01 * n, n)) for n in range(5)]
    entries = {f"u{n:04d}": str(wavs[n % 5]) for n in range(1010)}
    text = {"utt2spk": "".join(f"{utterance} u\n" for utterance in entries)}
    folder = directory(wav_scp="".join(f"{u} {e}\n" for u, e in entries.items()), **text)
    work, config = tmp_path / "work", load_config(conf()).features
    run_all(folder, config, tmp_path / "undisturbed")
    expected = stored(folder)

    with (folder / "wav.scp").open("w") as file:
        file.writelines(f"{u} {'sleep 600; cat ' + e + ' |' if u == 'u1007' else e}\n" for u, e in entries.items())
    work.mkdir()
    words = [sys.executable, str(ROOT / "steps/make_fbank.py"), "--conf", str(conf()), "--job", "1", str(folder),
             str(work), str(work)]
    process = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not (list(work.glob(".raw_fbank_set.1.3.ark.*")) and (work / "piece_set.1.2.json").exists()):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {path.name: path.stat().st_mtime_ns for path in work.glob("*.ark")}
    assert before.keys() == {f"{kind}_set.1.{n}.ark" for kind in ("raw_fbank", "vad") for n in (1, 2)}

    (folder / "wav.scp").write_text("".join(f"{u} {e}\n" for u, e in entries.items()))
    lines, _ = run_all(folder, config, work)
    assert lines[0].startswith("10 utterances") and lines[0].endswith("1000 made before")
    assert {name: (work / name).stat().st_mtime_ns for name in before} == before
    assert stored(folder) == expected and not list(work.glob(".*")) and not list(work.glob("piece*"))
    lines, _ = run_all(folder, config, work)
    assert lines[0].endswith("0 made before")  # what was joined is made anew when asked for


def test_pieces_of_other_input_or_with_bad_audio_are_made_again(tmp_path, directory, conf):
    wavs = [write_wav(tmp_path / f"{n}.wav", noise(0.1, n)) for n in range(2)]
    folder = directory(wav_scp=f"a {wavs[0]}\nb {wavs[1]}\nc {tmp_path}/none.wav\n", utt2spk="a a\nb b\nc c\n")
    config, places = load_config(conf()).features, Places("set", tmp_path, tmp_path)
    for change in (lambda: None, lambda: write_wav(tmp_path / "none.wav", noise(0.1, 3))):
        change()
        assert make_share(folder, config, places, 1, 1).endswith("0 made before")
    assert make_share(folder, config, places, 1, 1).endswith("3 made before")
    other = load_config(conf({"features.num_mel_bins": 40})).features
    assert make_share(folder, other, places, 1, 1).endswith("0 made before")
    record = tmp_path / "piece_set.1.json"
    record.write_text(record.read_text()[:-9])
    assert make_share(folder, other, places, 1, 1).endswith("0 made before")
    (tmp_path / "vad_set.1.ark").unlink()
    assert make_share(folder, other, places, 1, 1).endswith("0 made before")
    (folder / "augment").write_text("a speed 1.1\n")
    assert make_share(folder, other, places, 1, 1).endswith("0 made before")
    assert json.loads(record.read_text())["utterances"].keys() == {"a", "b", "c"}


def test_segments_and_channels(tmp_path, directory, conf):
    left, right = noise(3.0, 1), noise(3.0, 2)
    stereo = write_wav(tmp_path / "s.wav", np.stack([left, right], 1), subtype="FLOAT")
    for name, part in (("l", left[8000:24000]), ("r", right[16000:])):
        write_wav(tmp_path / f"{name}.wav", part, subtype="FLOAT")
    folder = directory(wav_scp=f"rec-a {stereo}\nrec-b {stereo}\n", reco2file_and_channel="rec-a s A\nrec-b s B\n",
                       segments="u-a rec-a 0.5 1.5\nu-b rec-b 1.0 -1\n", utt2spk="u-a u\nu-b u\n")
    config = load_config(conf()).features
    run_all(folder, config, tmp_path / "a")
    found = stored(folder)
    (folder / "segments").write_text("u-a rec-a 0.5 1.5 0\nu-b rec-a 1.0 -1 1\n")  # before the recording's channel
    run_all(folder, config, tmp_path / "c")
    assert stored(folder) == found
    (folder / "segments").unlink()
    (folder / "reco2file_and_channel").unlink()
    (folder / "wav.scp").write_text(f"u-a {tmp_path}/l.wav\nu-b {tmp_path}/r.wav\n")
    run_all(folder, config, tmp_path / "b")
    assert stored(folder) == found
    (folder / "reco2file_and_channel").write_text("u-a s 1\n")
    with pytest.raises(UserError, match="u-a: expected channel A or B, found '1'"):
        sources(folder)


def test_one_bad_utterance_spoils_nothing(tmp_path, directory, conf):
    """Odd ones among good ones: what can be read is, and the others are named with their reason."""
    sound, rng = noise(0.5, 1), np.random.default_rng(0)
    odd = {"clipped": np.clip(20 * sound, -1, 1), "dc": np.full(8000, 0.5), "zeros": np.zeros(8000),
           "tiny": 1e-8 * rng.standard_normal(8000), "16bit": 32768 * sound}
    wavs = {name: write_wav(tmp_path / f"{name}.wav", samples, subtype="FLOAT") for name, samples in odd.items()}
    wavs |= {"24bit": write_wav(tmp_path / "24.wav", sound, subtype="PCM_24"),
             "44k": write_wav(tmp_path / "44.wav", np.stack([sound, sound], 1), 44100)}
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        wavs[name] = write_wav(tmp_path / f"{name}.wav", np.where(np.arange(8000) == 77, value, sound), subtype="FLOAT")
    good = write_wav(tmp_path / "good.wav", sound).read_bytes()
    for name, content in {"nodata": good[:40] + b"\0\0\0\0", "long": good[:40] + struct.pack("<I", 10 ** 9) + good[44:],
                          "unknown": good[:40] + b"\xff\xff\xff\xff" + good[44:]}.items():
        wavs[name] = tmp_path / f"{name}.wav"
        wavs[name].write_bytes(content)
    entries = {f"u-{name}": str(path) for name, path in wavs.items()}
    entries |= {"u-pipe": "echo the disk is gone >&2; exit 4 |", "u-endless": "sleep 611 |", "u-gone": "/nowhere.wav"}
    entries |= {f"u-good{n:03d}": f"{tmp_path}/good.wav" for n in range(150)}
    folder = directory(wav_scp="".join(f"{u} {entries[u]}\n" for u in sorted(entries)), utt2spk="x x\n")
    run_all(folder, load_config(conf()).features, tmp_path / "work", pipe_timeout=1.0)
    bad = read_table(folder / "bad_utts")
    for name, reason in {"nan": "not finite", "inf": "not finite", "nodata": "no samples", "long": "truncated",
                         "16bit": "16bit.wav: .*16-bit values stored as floats; divide them by 32768",
                         "pipe": "status 4: .*the disk is gone", "endless": "did not end within 1 s",
                         "gone": "No such file"}.items():
        assert re.search(reason, bad[f"u-{name}"]), bad[f"u-{name}"]
    assert len(bad) == 8
    feats = read_table(folder / "feats.scp")
    assert feats.keys() == entries.keys() - bad.keys()
    for key, specifier in feats.items():
        values = open_matrix(specifier, key).rows()
        assert np.isfinite(values).all() and values.shape == (48 if key != "u-44k" else 16, 64), key


def test_no_pipes(tmp_path, directory, conf, call):
    wav = write_wav(tmp_path / "a.wav", noise(0.1, 1))
    folder = directory(wav_scp=f"a {wav}\nb touch {tmp_path}/ran; cat {wav} |\n", utt2spk="a a\nb b\n")
    done = call(ROOT / "steps/make_fbank.sh", "--nj", 2, "--conf", conf(), "--no-pipes", "true", folder)
    assert done.returncode == 1 and not (tmp_path / "ran").exists() and not (folder / "feats.scp").exists()
    for kinds in ("sounds", "feats vad sound x", ""):
        wrong = call(ROOT / "steps/make_fbank.sh", "--conf", conf(), "--make", kinds, folder)
        assert wrong.returncode == 1 and wrong.stderr == (
            f"make_fbank.sh: --make: expected some of 'feats vad sound', found '{kinds}'\n")
    log = (folder / "log/make_fbank_set.1.log").read_text()
    assert "1 entries are commands, such as that of b: 'touch" in log and "--no-pipes runs none" in log
    assert call(ROOT / "steps/make_fbank.sh", "--nj", 2, "--conf", conf(), folder).returncode == 0
    assert (tmp_path / "ran").exists()


@pytest.mark.long
@pytest.mark.parametrize("hours, rate, channels, most", [(0.5, 44100, 2, 1.0), (3.0, 16000, 1, 2.5)])
def test_memory_of_long_recordings(tmp_path, directory, conf, hours, rate, channels, most):
    """30 minutes of 44.1 kHz stereo within 1 GB, three hours within 2.5; a segment of either within half a one."""
    path = tmp_path / "long.wav"
    second = np.stack([noise(1.0, n, rate) for n in range(channels)], 1)


    with soundfile.SoundFile(path, "w", rate, channels, "PCM_16") as file:
        for _ in range(round(3600 * hours)):
            file.write(second)
    folder = directory(wav_scp=f"rec {path}\n", utt2spk="rec rec\n")
    words = [sys.executable, str(ROOT / "steps/make_fbank.py"), "--conf", str(conf()), "--job", "1", str(folder),
             str(tmp_path), str(tmp_path)]
    peaks = []
    for segments in (None, f"u rec {3600 * hours - 10} {3600 * hours - 5}\n"):
        if segments:
            (folder / "segments").write_text(segments)
        script = f"import resource,subprocess,sys; subprocess.run({words!r}, check=True); " \
                 "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        done = subprocess.run([sys.executable, "-c", script], env=environment(OMP_NUM_THREADS="1"), text=True,
                              capture_output=True)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]) / 2 ** 20)
    assert peaks[0] < most and peaks[1] < 0.5, peaks
    frames = json.loads((tmp_path / "piece_set.1.json").read_text())["utterances"]["u"]["frames"]
    assert frames == 498


def test_tables_and_archives(tmp_path, directory, conf, monkeypatch):
    """What a directory holds after stage 2, in pieces of two, against the functions of the front-end."""
    monkeypatch.setattr("deepspeaker.extraction.make_features.PIECE", 2)
    sounds = {f"u{n}": noise(0.3 + 0.0123 * n, n) for n in range(5)}
    wavs = {key: write_wav(tmp_path / f"{key}.wav", x, subtype="FLOAT") for key, x in sounds.items()}
    folder = directory(wav_scp="".join(f"{key} {wav}\n" for key, wav in wavs.items()), utt2spk="u u\n")
    config = load_config(conf({"features.low_freq": 100.0, "features.high_freq": 7000.0, "features.snip_edges": False,
                               "features.compress": False})).features
    work = tmp_path / "work"
    run_all(folder, config, work, jobs=3)
    (work / "raw_fbank_setting.ark").touch()
    lines, _ = run_all(folder, config, work)
    assert lines[0].startswith("5 utterances") and "0 converted, 0 bad" in lines[0]
    assert sorted(path.name for path in work.glob("*.ark")) == sorted(
        [f"{kind}_set.1.{n}.ark" for kind in ("raw_fbank", "vad") for n in (1, 2, 3)] + ["raw_fbank_setting.ark"])
    assert not list(work.glob("piece*")) and (folder / "frame_shift").read_text() == "0.01\n"
    assert list(read_table(folder / "utt2dur").values()) == ["0.300", "0.312", "0.325", "0.337", "0.349"]
    feats, vad = read_table(folder / "feats.scp"), read_table(folder / "vad.scp")
    for key, samples in sounds.items():
        fbank, energy = compute_fbank(torch.from_numpy(samples), 16000, 64, 100.0, 7000.0, False)
        np.testing.assert_array_equal(open_matrix(feats[key], key).rows(), fbank)
        np.testing.assert_array_equal(open_vector(vad[key], key), voiced_frames(energy).float())
        assert read_table(folder / "utt2num_frames")[key] == str(len(fbank))
        quality = sound_quality(fbank, energy, voiced_frames(energy), 16000, 100.0, 7000.0)
        assert read_table(folder / "utt2quality")[key] == quality.as_text()


def test_more_than_a_twentieth_of_bad_audio_stops_it(tmp_path, directory, conf):
    good, short = write_wav(tmp_path / "g.wav", noise(0.1, 1)), write_wav(tmp_path / "s.wav", noise(0.024, 1))
    folder = directory(wav_scp="".join(f"u{n:02d} {good}\n" for n in range(19)) + f"u19 {short}\n", utt2spk="u u\n")
    config = load_config(conf()).features
    run_all(folder, config, tmp_path / "a")
    before = (folder / "feats.scp").read_text()
    assert read_table(folder / "bad_utts") == {"u19": "shorter than one frame: 384 samples at 16000 Hz"}
    (folder / "wav.scp").write_text((folder / "wav.scp").read_text().replace(f"u18 {good}", f"u18 {short}"))
    with pytest.raises(UserError, match="2 of 20 utterances of .* cannot be used, more than 5 %"):
        run_all(folder, config, tmp_path / "b")
    assert (folder / "feats.scp").read_text() == before


def test_a_segment_of_an_unknown_recording(directory):
    folder = directory(wav_scp="r x.wav\ns cat x.wav |\n", segments="u q 0 1\n", utt2spk="u u\n")
    with pytest.raises(UserError, match="u is of recording q, which is not in wav.scp"):
        sources(folder)
    with pytest.raises(UserError, match="1 entries are commands, such as that of s"):
        sources(folder, pipes=False)
