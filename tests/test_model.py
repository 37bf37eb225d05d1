"""The Python interface: embeddings of stage 5, scores of every back-end, qualities."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import RATE, ROOT, environment, tiny_conf, write_wav
from tools import model_file, voice

import deepspeaker
from deepspeaker.audio import read_audio
from deepspeaker.checkpoint import load as load_checkpoint
from deepspeaker.checkpoint import save
from deepspeaker.config import EmbeddingConfig, load_config
from deepspeaker.datadir.archive import read_vectors
from deepspeaker.errors import UserError
from deepspeaker.extraction.make_embeddings import embed_share
from deepspeaker.extraction.make_features import Places, join_features, make_share
from deepspeaker.inference.model_file import gather
from deepspeaker.inference.recordings import Heard, Recording
from deepspeaker.inference.speech_check import Trust
from deepspeaker.provenance import LATER
from deepspeaker.scoring.backends import make_scorer
from deepspeaker.scoring.enrolment import Models
from deepspeaker.scoring.plda import train
from deepspeaker.scoring.plda_files import write_plda
from deepspeaker.scoring.scorer import score_pairs

RNG = np.random.default_rng(0)


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def test_importing_the_package_is_cheap():
    program = "import sys, deepspeaker; print(deepspeaker.__version__, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.stdout == f"{deepspeaker.__version__} False\n"
    with pytest.raises(AttributeError, match="no attribute 'nix'"):
        _ = deepspeaker.nix


@pytest.mark.parametrize("changes", [{}, {"features.vad": False, "embedding.min_frames": 300},
                                     {"features.compress": False},
                                     {"features.vad": False, "embedding.crops": 3, "embedding.crop_frames": 100}])
def test_embeddings_are_those_of_stage_5(data_dir, tmp_path, changes):
    folder = data_dir(speakers=2, utterances=2, seconds=1.7)
    write_wav(tmp_path / "wav/train/s00-u00.wav", voice(1, seconds=2.0))
    write_wav(tmp_path / "wav/train/s01-u01.wav", voice(1, seconds=1.0)[::2].copy(), RATE // 2)
    path = model_file(tmp_path / "model.pt", changes)
    features, places = load_config(path.with_suffix(".toml")).features, Places("train", tmp_path, tmp_path)
    make_share(folder, features, places, 1, 1)
    join_features(folder, features, places, 1)
    embed_share(path, None, folder, tmp_path, 1, 1, "cpu")
    model, stored = deepspeaker.load(path), read_vectors(tmp_path / "embedding.1.scp")
    for name, expected in stored.items():
        wav = tmp_path / f"wav/train/{name}.wav"
        rate = RATE // 2 if name == "s01-u01" else RATE
        found = model.embed(read_audio(str(wav), rate).samples, rate)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    spoken = tmp_path / "wav/train/s00-u00.wav"
    np.testing.assert_allclose(model.listen(spoken).embedding, stored["s00-u00"], atol=1e-5)
    names = list(stored)
    together = model.embed_files([tmp_path / f"wav/train/{name}.wav" for name in names], any_sound=True)
    np.testing.assert_allclose(together, [stored[name] for name in names], atol=1e-5)


def test_verify_of_samples_and_files(tmp_path):
    model = deepspeaker.load(model_file(tmp_path / "model.pt"))
    wav = write_wav(tmp_path / "a.wav", voice(1))
    verdict = model.verify(wav, (read_audio(str(wav), RATE).samples, RATE))
    assert verdict.same and verdict.score == pytest.approx(1, abs=1e-5) and verdict.first == verdict.second
    other = model.verify(wav, (voice(2), RATE), prior=0.5)
    assert not other.same and other.threshold == 0
    assert other.score == pytest.approx(model.score(*(model.embed(voice(n), RATE) for n in (1, 2))), abs=1e-3)


def test_a_ratio_that_reaches_the_threshold_is_the_same_speaker(tmp_path):
    model = deepspeaker.load(model_file(tmp_path / "model.pt"))
    trust = Trust(2.0, 2.0, -20.0, 0.0)
    first, second = (Heard(each, 2.0, trust) for each in unit(RNG.standard_normal((2, 8))))
    llr = model.compare(first, second, 0.0).llr
    assert model.compare(first, second, llr).same and not model.compare(first, second, np.nextafter(llr, np.inf)).same


@pytest.mark.parametrize("samples, message", [
    (np.zeros((2, 9)), "found shape"), (np.zeros(9, np.int16), "int16"), (np.full(9, np.nan), "not finite"),
    (np.full(9, 300.0), "found 300"), (np.zeros(9), "shorter than one frame"), (np.zeros(0), "found shape")])
def test_bad_samples(tmp_path, samples, message):
    model = deepspeaker.load(model_file(tmp_path / "model.pt"))
    with pytest.raises(UserError, match=message):
        model.embed(samples, RATE)


def test_asnorm_with_qualities(tmp_path):
    """Worked anew from the formulas."""
    cohort = unit(RNG.standard_normal((10, 8)))
    weights = {"score": 2.0, "log_duration_smaller": 0.5, "log_duration_larger": 0.25, "cohort_mean_smaller": -1.0,
               "cohort_mean_larger": -3.0}
    path = model_file(tmp_path / "m.pt", {"scoring.backends": ["asnorm"], "scoring.qualities": [
        "log_duration", "cohort_mean"]}, cohort=torch.from_numpy(cohort), calibration={
            "asnorm": {"prior": 0.01, "offset": 1.5, "weights": weights}})
    a, b, test = unit(RNG.standard_normal((3, 8)))
    found = deepspeaker.load(path).llr([[Recording(a, 3.0), Recording(b, 4.0)], [Recording(b, 2.0)]],
                                       Recording(test, 5.0))
    for llr, model, seconds in zip(found, (unit(a + b), b), (7.0, 2.0), strict=True):
        best_m, best_t = (np.sort(cohort @ side)[-3:] for side in (model, test))
        score = sum((model @ test - best.mean()) / best.std() for best in (best_m, best_t)) / 2
        values = [score, np.log(min(seconds, 5)), np.log(max(seconds, 5)), min(best_m.mean(), best_t.mean()),
                  max(best_m.mean(), best_t.mean())]
        assert llr == pytest.approx(1.5 + np.dot(list(weights.values()), values), rel=1e-4)


@pytest.mark.parametrize("normalize_length", [True, False, None])
def test_plda(tmp_path, normalize_length):
    """Scores are those of stage 6, whichever way the length is normalised; None: a file from before it said which."""
    speakers = np.repeat(np.arange(20), 10)
    x = unit(RNG.standard_normal((20, 8))[speakers] + 0.5 * RNG.standard_normal((200, 8)))
    phase = tmp_path / "triplet"
    plda = train(x, speakers, "lda", 4)._replace(normalize_length=bool(normalize_length))
    write_plda(phase / "plda", plda)
    config = load_config(tiny_conf(tmp_path / "conf.toml", {"scoring.backends": ["plda"]}))
    learnt = gather(phase, config.scoring, None, [])
    if normalize_length is None:
        del learnt["plda"]["normalize_length"]
    path = model_file(tmp_path / "m.pt", {"scoring.backends": ["plda"]}, **learnt | {"calibration": {
        "plda": {"prior": 0.01, "offset": 1.0, "weights": {"score": 2.0}}}})
    model = deepspeaker.load(path)
    scorer = make_scorer("plda", x, Models(np.arange(3), np.array([1, 2])), plda=plda)
    scores = score_pairs(scorer, np.arange(2), np.array([150, 150]))
    one, two, three, other = (Recording(x[row], 1.0) for row in (0, 1, 2, 150))
    np.testing.assert_allclose(model.llr([[one], [two, three]], other), 1 + 2 * scores, rtol=1e-4)
    assert model.score(x[0], x[1]) > model.score(x[0], x[150])
    assert model.llr([[Recording(x[0], 1.0)]], Recording(x[1], 1.0))[0] == pytest.approx(
        1 + 2 * model.score(x[0], x[1]), rel=1e-5)


def test_fingerprint_is_of_what_embeddings_depend_on(tmp_path):
    def fingerprint(changes=None, seed=0, **learnt):
        return deepspeaker.load(model_file(tmp_path / "m.pt", changes, seed, **learnt)).fingerprint

    same = fingerprint()
    assert same == fingerprint(calibration={}) == fingerprint({"scoring.cohort_top": 5})
    assert same == fingerprint({"embedding.crops": 0}) == fingerprint({"embedding.crop_frames": 7})
    others = (fingerprint(seed=1), fingerprint({"features.vad": False}), fingerprint({"embedding.min_frames": 7}),
              fingerprint({"embedding.crops": 2}), fingerprint({"embedding.crops": 2, "embedding.crop_frames": 7}))
    assert len({same, *others}) == 6


def test_model_files_of_earlier_versions_without_later_keys(tmp_path):
    """They load, and have the fingerprint they had, to which databases of enrolled speakers are bound."""
    content = load_checkpoint(model_file(tmp_path / "new.pt"))
    tables = content["config"]
    del tables["embedding"]["crops"], tables["embedding"]["crop_frames"]
    for key, value in LATER.items():
        assert tables["features"].pop(key) == value
    save(tmp_path / "old.pt", content)
    model = deepspeaker.load(tmp_path / "old.pt")
    expected = hashlib.sha256(repr([tables["features"], tables["model"], {"min_frames": 100}]).encode())
    for key, value in sorted(content["model"].items()):
        expected.update(f"{key} {tuple(value.shape)} {value.dtype}".encode() + value.numpy().tobytes())
    assert model.fingerprint == expected.hexdigest() == deepspeaker.load(tmp_path / "new.pt").fingerprint
    assert model.config.embedding == EmbeddingConfig(min_frames=100, crops=0, crop_frames=300)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_same_on_a_gpu(tmp_path):
    path = model_file(tmp_path / "m.pt")
    here, there = (deepspeaker.load(path, device).embed(voice(1), RATE) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(here, there, atol=1e-3)
