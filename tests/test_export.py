"""ONNX graphs, run by onnxruntime and by sherpa-onnx."""

import numpy as np
import onnx
import onnxruntime
import pytest
import sherpa_onnx
from conftest import RATE, ROOT
from test_models import BODIES
from tools import model_file, voice

import deepspeaker
from deepspeaker import errors
from deepspeaker.config import load_config
from deepspeaker.errors import UserError
from deepspeaker.inference import export_onnx
from deepspeaker.inference.cli import main

DEPLOY = {f"features.{key}": value
          for key, value in load_config(ROOT / "egs/voxceleb/conf/deploy.toml").as_tables()["features"].items()}


def run(path, **inputs):
    return onnxruntime.InferenceSession(path).run(None, inputs)[0]


def test_sherpa_onnx_runs_it(tmp_path, capsys):
    path, out = model_file(tmp_path / "model.pt", DEPLOY), tmp_path / "model.onnx"
    assert main(["export", str(path), str(out)]) == 0
    assert "largest difference" in capsys.readouterr().out
    properties = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert properties == {"framework": "wespeaker", "sample_rate": "16000", "output_dim": "8", "normalize_samples": "0",
                          "feature_normalize_type": "global-mean", "language": "English"}
    extractor = sherpa_onnx.SpeakerEmbeddingExtractor(sherpa_onnx.SpeakerEmbeddingExtractorConfig(model=str(out)))
    model, others = deepspeaker.load(path), []
    for speaker, seconds in ((1, 0.8), (2, 3.0), (3, 8.0)):
        stream = extractor.create_stream()
        stream.accept_waveform(RATE, voice(speaker, seconds=seconds))
        stream.input_finished()
        theirs, ours = np.array(extractor.compute(stream)), model.embed(voice(speaker, seconds=seconds), RATE)
        assert theirs @ ours / np.linalg.norm(theirs) > 0.999
        others.append(np.abs(theirs - ours).max())
    assert max(others) < 1e-2, others


@pytest.mark.parametrize("changes", [
    pytest.param({"features.normalize": "mean_variance", "features.vad": True, "model.batch_norm": "channel_frequency",
                  "model.pooling": "statistics"}, id="vad"),
    pytest.param({"features.vad": False}, id="all frames", marks=pytest.mark.long)])
def test_from_samples(tmp_path, changes):
    path, out = model_file(tmp_path / "model.pt", changes), tmp_path / "model.onnx"
    done = export_onnx.export_onnx(deepspeaker.load(path), out, front_end=True)
    assert done.difference < 1e-4 and "starts from samples" in done.deployment and not onnx.load(out).metadata_props
    samples = voice(1, seconds=2.3)
    np.testing.assert_allclose(run(out, samples=samples), deepspeaker.load(path).embed(samples, RATE), atol=1e-3)
    silence = np.zeros(RATE, np.float32)
    np.testing.assert_allclose(run(out, samples=silence), deepspeaker.load(path).embed(silence, RATE), atol=1e-3)


@pytest.mark.parametrize("name", ["resnet", "ecapa"])
def test_modern_bodies(tmp_path, name):
    path, out = model_file(tmp_path / "model.pt", {"model": {"name": name, **BODIES[name]}}), tmp_path / "model.onnx"
    assert export_onnx.export_onnx(deepspeaker.load(path), out, front_end=False).difference < 1e-4


@pytest.mark.long
def test_batches_of_features_and_why_sherpa_cannot(tmp_path):
    path, out = model_file(tmp_path / "model.pt"), tmp_path / "model.onnx"
    done = export_onnx.export_onnx(deepspeaker.load(path), out, front_end=False)
    assert "num_mel_bins is 64, sherpa-onnx has 80" in done.deployment and "snip_edges is True" in done.deployment
    features = np.random.default_rng(0).standard_normal((3, 77, 64)).astype(np.float32)
    one_by_one = np.concatenate([run(out, features=features[n:n + 1]) for n in range(3)])
    np.testing.assert_allclose(run(out, features=features), one_by_one, atol=1e-5)


def test_a_model_that_averages_crops_is_refused(tmp_path):
    model = deepspeaker.load(model_file(tmp_path / "model.pt", {"embedding.crops": 5}))
    with pytest.raises(UserError, match=r"averages 5 crops of each: set \[embedding\] crops = 0, run stages"):
        export_onnx.export_onnx(model, tmp_path / "model.onnx", front_end=False)
    assert not list(tmp_path.glob("*.onnx"))


@pytest.mark.long
def test_a_wrong_export_is_deleted(tmp_path, monkeypatch):
    path, out = model_file(tmp_path / "model.pt"), tmp_path / "model.onnx"
    model = deepspeaker.load(path)
    write = export_onnx.torch.onnx.export

    def spoil(*args, **options):
        write(*args, **options)
        for parameter in model.network.parameters():
            parameter.data += 0.1

    monkeypatch.setattr(export_onnx.torch.onnx, "export", spoil)
    with pytest.raises(UserError, match="differs from the model by .* it is deleted"):
        export_onnx.export_onnx(model, out, front_end=False)
    assert not list(tmp_path.glob("*.onnx")) and not list(tmp_path.glob(".*"))


def test_missing_packages_are_named(tmp_path, monkeypatch):
    def refuse(name, package=None):
        raise ImportError(name)

    model = deepspeaker.load(model_file(tmp_path / "model.pt"))
    monkeypatch.setattr(errors.importlib, "import_module", refuse)
    with pytest.raises(UserError, match="pip install onnx onnxscript onnxruntime"):
        export_onnx.export_onnx(model, tmp_path / "x.onnx", front_end=False)
    monkeypatch.undo()
    (tmp_path / "folder.onnx").mkdir()
    for name, message in (("x.txt", "expected a name that ends in .onnx"),
                          ("nowhere/x.onnx", "there is no folder .*/nowhere"), ("folder.onnx", "found a folder")):
        with pytest.raises(UserError, match=message):
            export_onnx.export_onnx(model, tmp_path / name, front_end=False)
