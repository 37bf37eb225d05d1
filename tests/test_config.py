"""The configuration loader refuses what it does not know, by name."""

import re

import pytest
from conftest import ROOT

from deepspeaker.config import EmbeddingConfig, load_config, set_values, write_config
from deepspeaker.errors import UserError
from deepspeaker.losses import TripletArguments
from deepspeaker.provenance import differences

CONFS = sorted((ROOT / "egs/voxceleb/conf").glob("*.toml"))
TEXT = (ROOT / "egs/voxceleb/conf/demo.toml").read_text()


@pytest.mark.parametrize("path", CONFS, ids=lambda path: path.name)
def test_every_configuration_loads_and_is_written_back(path, tmp_path):
    config = load_config(path)
    write_config(tmp_path / "again.toml", config)
    assert load_config(tmp_path / "again.toml") == config


def changed(tmp_path, pattern, replacement):
    text, count = re.subn(pattern, replacement, TEXT, count=1, flags=re.MULTILINE)
    assert count == 1
    path = tmp_path / "changed.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("pattern, replacement, message", [
    (r"^num_mel_bins = .*$", "", r"\[features\] key num_mel_bins is missing"),
    (r"^num_mel_bins", "num_mel_bin = 1\nnum_mel_bins", r"\[features\] key num_mel_bin is unknown; there are: sam"),
    (r"^num_mel_bins = .*$", 'num_mel_bins = "64"', r"\[features\] num_mel_bins: expected int, found '64'"),
    (r"^num_mel_bins = .*$", "num_mel_bins = 64.0", "num_mel_bins: expected int, found 64.0"),
    (r"^num_mel_bins = .*$", "num_mel_bins = 0", "num_mel_bins: expected at least 1, found 0"),
    (r"^vad = .*$", "vad = 1", r"\[features\] vad: expected bool, found 1"),
    (r"^normalize = .*$", 'normalize = "median"', "found 'median', expected one of: mean, mean_variance, none"),
    (r"^channels = .*$", "channels = [16, 'x']", r"\[model\] channels: expected int, found 'x'"),
    (r"^channels = .*$", "channels = 16", r"\[model\] channels: expected a list, found 16"),
    (r"^channels = .*$", "channels = [16, -1]", r"\[model\]: no network can be built of it: "),
    (r"^channels = .*$", "channels = [16, 4000000000000000]", r"\[model\]: no network can be built of it: "),
    (r"^embedding_dim = .*$", f"embedding_dim = {10**30}", r"\[model\]: no network can be built of it: "),
    (r"^blocks = .*$", "", r"\[model\] key blocks is missing"),
    (r"^pooling = .*$", 'pooling = "max"', "pooling: no pooling 'max'; there are: mean, statistics"),
    (r'^name = "rescnn"', 'name = "nix"', "no model 'nix'; there are: rescnn, gru"),
    (r'^mining = .*$', 'mining = "easy"', "mining: no mining 'easy'; there are: all, semihard, hard"),
    (r"^schedule = .*$", 'schedule = ["hard"]', "schedule: expected 'EPOCH MINING', found 'hard'"),
    (r"^schedule = .*$", 'schedule = ["3 hard", "2 all"]', r"schedule: epochs must rise, found \[3, 2\]"),
    (r"^max_frames = .*$", "max_frames = 1", r"\[softmax\] max_frames 1 < min_frames"),
    (r"^final_learning_rate = .*\ndecay = .*$", 'final_learning_rate = 0.0\ndecay = "exponential"',
     r"\[softmax\] decay: what falls exponentially is above 0, found learning_rate .*, final_learning_rate 0.0"),
    (r"^high_freq = .*$", "high_freq = 9000.0", "high_freq 9000.0 must rise within"),
    (r"^backends = .*$", 'backends = ["cosine", "nix"]', r"\[scoring\] backends: no nix; there are: cosine, asn"),
    (r"^qualities = .*$", 'qualities = ["loud"]', "qualities: no loud; there are: log_duration, cohort_mean"),
    (r"^cohort_top = .*$", "cohort_top = 1", "cohort_top: a deviation needs at least 2, found 1"),
    (r"^calibration_prior = .*$", "calibration_prior = 1.0", "calibration_prior: expected more than 0 and less"),
    (r"^plda_dim = .*$", "plda_dim = 0", "plda_dim: expected at least 1, found 0"),
    (r"^\[embedding\]$", "[embedding]\ncrops = -1", r"\[embedding\] crops: expected 0 .* or more, found -1"),
    (r"^\[embedding\]$", "[embedding]\ncrops = 1.5", r"\[embedding\] crops: expected int, found 1.5"),
    (r"^\[embedding\]$", "[embedding]\ncrop_frames = 0", r"\[embedding\] crop_frames: expected at least 1, found 0"),
    (r"^\[triplet\]$", "[tripled]", "section tripled is unknown"),
    (r"^\[features\]$", "[features", "not TOML")])
def test_refused_by_name(tmp_path, pattern, replacement, message):
    with pytest.raises(UserError, match=f"changed.toml: .*{message}"):
        load_config(changed(tmp_path, pattern, replacement))


@pytest.mark.parametrize("good, bad", [
    (["features.low_freq=0", "features.low_freq=7600"], ["features.low_freq=-1", "features.low_freq=8000"]),
    (["features.high_freq=8000", "features.high_freq=0", "features.high_freq=21"],
     ["features.high_freq=8001", "features.high_freq=20", "features.high_freq=-1"]),
    (["features.num_mel_bins=1"], ["features.sample_rate=0"]), (["embedding.min_frames=1"], ["embedding.min_frames=0"]),
    (["scoring.cohort_top=2", "scoring.plda_dim=1"], ["scoring.cohort_top=1"]),
    (["scoring.calibration_prior=0.001"], ["scoring.calibration_prior=0", "scoring.calibration_prior=1"]),
    (["triplet.utterances=2", "softmax.utterances=1"], ["triplet.utterances=1", "softmax.utterances=0"]),
    (["softmax.epochs=1", "triplet.speakers=1"], ["softmax.epochs=0", "triplet.steps_per_epoch=0"]),
    (['triplet.schedule=["1 all","2 hard"]', "triplet.schedule=[]"], ['triplet.schedule=["2 all","2 hard"]'])])
def test_the_bounds_of_values(good, bad):
    config = set_values(load_config(ROOT / "egs/voxceleb/conf/demo.toml"), [
        "features.low_freq=20", "features.high_freq=7601", "features.num_mel_bins=4"])
    for change in good:
        set_values(config, [change])
    for change in bad:
        with pytest.raises(UserError):
            set_values(config, [change])
    frames = config.triplet.min_frames
    set_values(config, [f"triplet.max_frames={frames}"])
    with pytest.raises(UserError):
        set_values(config, [f"triplet.max_frames={frames - 1}"])


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such configuration file: .*none.toml"):
        load_config(tmp_path / "none.toml")


def test_whole_numbers_are_floats_where_floats_are_expected(tmp_path):
    config = load_config(changed(tmp_path, r"^low_freq = .*$", "low_freq = 20"))
    assert config.features.low_freq == 20.0 and isinstance(config.features.low_freq, float)


def test_differences_name_section_key_and_both_values():
    old, new = {"a": {"x": 1, "y": 2}, "s": 3}, {"a": {"x": 1, "y": 5}, "t": 4}
    assert differences(old, new) == ["a.y: 2 -> 5", "s: 3 -> None", "t: None -> 4"]
    assert differences({"a": 1}, {"a": {"x": 1}}) == ["a: 1 -> {'x': 1}"]


def test_margin_and_mining_change_with_the_step(tmp_path):
    for start, warmup, expected in ((0, 4, [0, 0.05, 0.1, 0.15, 0.2, 0.2]), (2, 2, [0, 0, 0, 0.1, 0.2, 0.2]),
                                    (3, 0, [0, 0, 0, 0.2, 0.2, 0.2]), (0, 0, [0.2] * 6)):
        config = load_config(changed(tmp_path, r"^margin_start_step = .*\nmargin_warmup_steps = .*$",
                                     f"margin_start_step = {start}\nmargin_warmup_steps = {warmup}"))
        margins = [config.softmax.loss_arguments(step).margin for step in range(6)]
        assert margins == pytest.approx(expected)
    config = load_config(changed(tmp_path, r"^schedule = .*$", 'schedule = ["2 all", "4 hard"]'))
    steps = config.triplet.steps_per_epoch
    found = [config.triplet.loss_arguments(epoch * steps).mining for epoch in range(5)]
    assert found == ["semihard", "all", "all", "hard", "hard"]
    assert config.triplet.loss_arguments(steps - 1) == TripletArguments(margin=0.1, mining="semihard")


def test_crops_are_off_unless_set(tmp_path):
    config = load_config(ROOT / "egs/voxceleb/conf/demo.toml")
    assert "crop" not in TEXT and (config.embedding.crops, config.embedding.crop_frames) == (0, 300)
    config = load_config(changed(tmp_path, r"^\[embedding\]$", "[embedding]\ncrops = 5\ncrop_frames = 200"))
    assert (config.embedding.crops, config.embedding.crop_frames) == (5, 200)
    explained = load_config(ROOT / "egs/voxceleb/conf/deep_speaker.toml").embedding
    assert explained == EmbeddingConfig(min_frames=160)  # what it says of the defaults holds


def test_values_and_whole_sections_are_set():
    config = load_config(ROOT / "egs/voxceleb/conf/demo.toml")
    found = set_values(config, ["softmax.margin=0.3", "model.blocks=2"])
    assert found.softmax.margin == 0.3 and found.model.options == {**config.model.options, "blocks": 2}
    gru = 'model={name="gru",channels=4,hidden=8,layers=1,batch_norm="channel",pooling="mean",embedding_dim=6}'
    found = set_values(config, [gru, "model.layers=2"])
    assert found.model.name == "gru" and found.model.options["layers"] == 2
    with pytest.raises(UserError, match=r"\[model\] key channels, .* is missing"):
        set_values(config, ['model={name="gru"}'])
    with pytest.raises(UserError, match="expected SECTION.KEY=VALUE .*, found model=3"):
        set_values(config, ["model=3"])
