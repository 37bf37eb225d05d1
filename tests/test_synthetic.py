"""local/synthetic.py: the same bytes for the same options, a real task, and nobody's files overwritten."""

import hashlib
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import hear_interrupts

from deepspeaker.corpus.synthesis import (
    FREQUENCIES,
    HOP,
    SAMPLE_RATE,
    SECONDS,
    draw_recording,
    draw_speaker,
    draw_utterance,
    overlap_add,
    pulse_train,
    spectra,
    tract_response,
)
from deepspeaker.datadir import read_lists, read_table
from deepspeaker.datadir.trials import read_trials
from deepspeaker.errors import UserError
from local.synthetic import Corpus, ensure_corpus

PROGRAM = Path(__file__).resolve().parents[1] / "local" / "synthetic.py"
TINY = ["--speakers=3", "--test-speakers=3", "--recordings=2", "--utterances=2"]
TINY_CORPUS = Corpus(seed=0, speakers=3, test_speakers=3, recordings=2, utterances=2)


def make(folder, *options, cores=None):
    """Run the program in `folder`, on the first `cores` cores; its standard output."""
    allowed = set(sorted(os.sched_getaffinity(0))[:cores])
    done = subprocess.run(
        [sys.executable, PROGRAM, *TINY, *options, folder / "corpus", folder / "data"],
        preexec_fn=lambda: os.sched_setaffinity(0, allowed), capture_output=True, text=True)
    if done.returncode:
        raise UserError(done.stderr)
    return done.stdout


def contents(root):
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    make(folder)
    return folder


def test_the_same_bytes_on_one_core_and_others_with_another_seed(tiny, tmp_path):
    make(tmp_path, cores=1)
    assert contents(tmp_path / "corpus") == contents(tiny / "corpus")
    make(tmp_path / "other", "--seed=1")
    assert not set(contents(tmp_path / "other/corpus").values()) & set(contents(tiny / "corpus").values())


def test_audio_is_16_khz_mono_16_bit_of_three_to_six_seconds(tiny):
    paths = [Path(path) for name in ("train", "test") for path in read_table(tiny / f"data/{name}/wav.scp").values()]
    assert len(paths) == (3 + 3) * 2 * 2
    for path in paths:
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (SAMPLE_RATE, 1, "PCM_16")
        assert SECONDS[0] - 0.1 <= info.duration <= SECONDS[1]


def test_data_directories_trials_and_genders(tiny):
    train, test = (read_lists(tiny / f"data/{name}/spk2utt") for name in ("train", "test"))
    assert len(train) == len(test) == 3 and not set(train) & set(test)
    assert set(read_table(tiny / "data/test/spk2gender")) == set(test)
    trials = read_trials(tiny / "data/test/trials")
    targets = {trial[:2] for trial in trials if trial.target}
    recording = {utt: utt.rpartition("-")[0] for utts in test.values() for utt in utts}
    pairs = {frozenset(pair) for utts in test.values() for pair in itertools.combinations(utts, 2)
             if recording[pair[0]] != recording[pair[1]]}
    assert {frozenset(pair) for pair in targets} == pairs
    assert sum(not trial.target for trial in trials) == min(4 * len(pairs), 3 * 4 * 4)
    assert all((a[:7] == b[:7]) == target for a, b, target in trials)


def test_a_corpus_that_is_there_is_used_as_it_is(tiny):
    before = {path: path.stat().st_mtime_ns for path in (tiny / "corpus").rglob("*")}
    make(tiny)
    assert {path: path.stat().st_mtime_ns for path in (tiny / "corpus").rglob("*")} == before


def test_counts_to_expect_are_said_first_and_hold(tiny):
    said = make(tiny).splitlines()
    assert said[0] == "   Expect of synthetic speech: 3 speakers with 12 utterances to train on; 60 trials."
    assert said[1:] == [f"{tiny}/data/test: 3 speakers, 12 utterances, 60 trials",
                        f"{tiny}/data/train: 3 speakers, 12 utterances"]
    assert Corpus(0, 120, 30, 3, 4).trials() == 5 * 30 * 3 * 4 * 4  # four nontarget trials for each target trial


def test_other_options_are_refused(tiny):
    with pytest.raises(UserError, match="was made with seed 0.*remove it"):
        make(tiny, "--seed=1")


@pytest.mark.parametrize("name", ["voxceleb1/dev", "musan"])
def test_somebody_elses_folder_is_refused_and_left_alone(tmp_path, name):
    (tmp_path / name).mkdir(parents=True)
    with pytest.raises(UserError, match="give another root"):
        ensure_corpus(TINY_CORPUS, tmp_path)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == sorted(
        Path(*name.split("/")[:depth]) for depth in range(1, name.count("/") + 2))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_is_noticed_and_made_anew(tiny, tmp_path, number):
    command = [sys.executable, PROGRAM, *TINY, "--speakers=500", tmp_path / "corpus", tmp_path / "data"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True,
                               preexec_fn=hear_interrupts)
    while not list(tmp_path.glob("corpus/.voxceleb1.partial/dev/wav/*/*/*.wav")):
        time.sleep(0.05)
        assert running.poll() is None
    if number == signal.SIGINT:  # as a terminal does
        os.killpg(running.pid, number)
    else:
        running.kill()
    error = running.communicate(timeout=30)[1]  # ends when no worker has standard error open any more
    assert running.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in error
    assert not (tmp_path / "corpus/voxceleb1").exists() and not (tmp_path / "data").exists()
    make(tmp_path)
    assert contents(tmp_path / "corpus") == contents(tiny / "corpus")


@pytest.mark.parametrize("option", ["--recordings=1", "--test-speakers=1", "--speakers=0", "--seed=-1", "--seed=x"])
def test_sizes_without_trials_are_refused(tmp_path, option):
    with pytest.raises(UserError, match=option.split("=")[0]):
        make(tmp_path, option)
    assert list(tmp_path.iterdir()) == []


def test_frames_put_together_again_are_the_samples():
    samples = np.random.default_rng(0).standard_normal(21 * HOP).astype(np.float32)
    again = overlap_add(spectra(samples))
    np.testing.assert_allclose(again[HOP:20 * HOP], samples[HOP:20 * HOP], atol=1e-5)


def test_pulses_come_at_the_pitch_with_unit_power():
    pulses = pulse_train(np.random.default_rng(0), np.full(500, 125.0))
    places = np.flatnonzero(pulses > 0.5 * pulses.max())
    assert np.median(np.diff(places)) == pytest.approx(SAMPLE_RATE / 125.0, abs=1)
    assert np.mean(pulses ** 2) == pytest.approx(1.0, rel=0.4)


def test_the_tract_resonates_at_its_formants_and_passes_0_hz_unchanged():
    formants = np.array([[500.0, 1500, 2500, 3500, 4500, 5500]])
    gain = np.abs(tract_response(formants, np.full(6, 80.0))[0])
    assert gain[0] == pytest.approx(1.0, rel=1e-4)
    peaks = FREQUENCIES[1:-1][(gain[1:-1] > gain[:-2]) & (gain[1:-1] > gain[2:])]
    np.testing.assert_allclose(peaks, formants[0], atol=FREQUENCIES[1])


def long_term_spectrum(speaker, recording, seed):
    """Mean log power in 24 bands of an utterance, its mean over bands taken away."""
    samples = draw_utterance(np.random.default_rng(seed), speaker, recording).astype(np.float32)
    power = np.abs(spectra(samples[:len(samples) // HOP * HOP])) ** 2
    bands = np.array([np.log(band.mean() + 1) for band in np.array_split(power.mean(axis=0), 24)])
    return bands - bands.mean()


def test_two_utterances_of_a_recording_are_closer_than_two_speakers():
    speakers = [draw_speaker(np.random.default_rng([1, number])) for number in range(1, 6)]
    recordings = [draw_recording(np.random.default_rng([2, number])) for number in range(1, 6)]
    first, second = ([long_term_spectrum(speaker, recording, [3, take, number])
                      for number, (speaker, recording) in enumerate(zip(speakers, recordings, strict=True), 1)]
                     for take in (1, 2))
    distances = np.linalg.norm(np.array(first)[:, None] - np.array(second), axis=-1)
    assert np.diag(distances).mean() < 0.5 * distances[~np.eye(5, dtype=bool)].mean()


def test_fixed_numbers_of_a_speaker_a_recording_and_an_utterance():
    """Results on the synthetic corpus compare only as long as it stays what it is."""
    person, heard = draw_speaker(np.random.default_rng((1,))), draw_recording(np.random.default_rng((2,)))
    assert person.gender == "m"
    np.testing.assert_allclose(
        [person.pitch, person.pitch_range, person.tilt, person.breath, person.pace, person.hiss, *person.vowels[0, :4],
         person.sonorants[-1, 0], person.bandwidths.sum()],
        [135.5765, 0.137654, 5.506527, 0.126842, 0.144404, 1.074101, 295.8945, 2233.719, 3399.679, 3824.862, 277.6281,
         880.2596], rtol=1e-4)
    np.testing.assert_allclose(
        [heard.pitch, heard.tilt, heard.snr, heard.level, np.abs(heard.gain).sum(), np.abs(heard.noise).sum(),
         np.abs(heard.echo).mean()], [1.039605, 0.897495, 29.75091, 0.0963114, 203.2242, 38.16998, 1.001184], rtol=1e-4)
    samples = draw_utterance(np.random.default_rng((3,)), person, heard)
    assert samples.dtype == np.int16 and len(samples) == 52096
    power = np.abs(np.fft.rfft(samples)) ** 2
    for values, decibels in ((power, [8.77, -3.94, -22.23, -15.84, -15.87, -22.79, -30.16, -40.74]),
                             (samples.astype(float) ** 2, [-9.72, 3.61, -10.76, -8.28, 3.14, 0.84, 3.0, -10.35])):
        parts = [part.mean() / values.mean() for part in np.array_split(values, 8)]
        np.testing.assert_allclose(10 * np.log10(parts), decibels, atol=0.05)
