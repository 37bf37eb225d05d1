"""The configuration loader refuses what it does not know, by name."""

import re
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from pydantic import ValidationError

from deepspeaker.conf_files import read_tables
from deepspeaker.config import AugmentConfig, EmbeddingConfig, PhaseConfig, load_config, set_values, write_config
from deepspeaker.config_checks import refuse_empty_filters
from deepspeaker.errors import UserError
from deepspeaker.extraction.fbank import mel_banks
from deepspeaker.losses import TripletArguments
from deepspeaker.provenance import differences
from deepspeaker.scoring.asnorm import COHORT_TOP
from deepspeaker.scoring.calibration import PRIOR
from deepspeaker.scoring.plda import DIMENSIONS

CONFS = sorted((ROOT / "egs/voxceleb/conf").glob("*.toml"))
DEMO = load_config(ROOT / "egs/voxceleb/conf/demo.toml")


@pytest.mark.parametrize("path", CONFS, ids=lambda path: path.name)
def test_every_configuration_loads_and_is_written_back(path, tmp_path):
    config = load_config(path)
    write_config(tmp_path / "again.toml", config)
    assert load_config(tmp_path / "again.toml") == config


def changed(tmp_path, pattern, replacement):
    path = tmp_path / "changed.toml"
    write_config(path, DEMO)
    text, count = re.subn(pattern, replacement, path.read_text(), count=1, flags=re.MULTILINE)
    assert count == 1
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
    (r"^channels = .*$", "channels = []", r"\[model\]: no network can be built from these values: "),
    (r"^channels = .*$", "channels = [16, 4000000000000000]",
     r"\[model\]: no network can be built from these values: "),
    (r"^embedding_dim = .*$", f"embedding_dim = {10**30}", r"\[model\]: no network can be built from these values: "),
    (r"^blocks = .*$", "", r"\[model\] key blocks is missing"),
    (r"^pooling = .*$", 'pooling = "max"', "pooling: no pooling 'max'; there are: mean, statistics"),
    (r'^name = "rescnn"', 'name = "nix"', "no network 'nix'; there are: rescnn, gru"),
    (r'^mining = .*$', 'mining = "easy"', "mining: no mining 'easy'; there are: all, semihard, hard"),
    (r"^schedule = .*$", 'schedule = ["hard"]', "schedule: expected 'EPOCH MINING', found 'hard'"),
    (r"^schedule = .*$", 'schedule = ["3 hard", "2 all"]', r"schedule: epochs must rise, found \[3, 2\]"),
    (r"^max_frames = .*$", "max_frames = 1", r"\[softmax\] max_frames 1 < min_frames"),
    (r"^final_learning_rate = .*\ndecay = .*$", 'final_learning_rate = 0.0\ndecay = "exponential"',
     r"\[softmax\] decay: an exponential decay needs rates above 0, found learning_rate .*, final_learning_rate 0.0"),
    (r"^high_freq = .*$", "high_freq = 9000.0", "high_freq 9000.0 must rise within"),
    (r"^backends = .*$", 'backends = ["cosine", "nix"]', r"\[scoring\] backends: no nix; there are: cosine, asn"),
    (r"^qualities = .*$", 'qualities = ["loud"]', "qualities: no loud; there are: log_duration, cohort_mean"),
    (r"^cohort_top = .*$", "cohort_top = 1", "cohort_top: a deviation needs at least 2, found 1"),
    (r"^calibration_prior = .*$", "calibration_prior = 1.0", "calibration_prior: expected more than 0 and less"),
    (r"^plda_dim = .*$", "plda_dim = 0", "plda_dim: expected at least 1, found 0"),
    (r"^crops = .*$", "crops = -1", r"\[embedding\] crops: expected at least 0, found -1"),
    (r"^crops = .*$", "crops = 1.5", r"\[embedding\] crops: expected int, found 1.5"),
    (r"^crop_frames = .*$", "crop_frames = 0", r"\[embedding\] crop_frames: expected at least 1, found 0"),
    (r"^\[triplet\]$", "[tripled]", "section tripled is unknown"),
    (r"^\[features\]$", "[features", "not TOML"),
    (r"^speakers = .*$", "speakers = true", r"\[softmax\] speakers: expected int, found True"),
    (r"^low_freq = .*$", "low_freq = true", r"\[features\] low_freq: expected float, found True"),
    (r"^low_freq = .*$", "low_freq = nan", r"\[features\] low_freq: expected a finite number, found nan"),
    (r"^high_freq = .*$", "high_freq = inf", r"\[features\] high_freq: expected a finite number, found inf"),
    (r"^speeds = .*$", "speeds = [0.9, 0.0]",
     r"\[augment\] speeds: expected 0.5 to 2 and other than 1, found 0.0"),
    (r"^speeds = .*$", "speeds = [0.9, 1.001]",
     r"\[augment\] speeds: expected 0.5 to 2 and other than 1, found 1.001"),
    (r"^speeds = .*$", 'speeds = ["fast"]', r"\[augment\] speeds: expected float, found 'fast'"),
    (r"^copies = .*$", 'copies = ["loud"]', "copies: found 'loud', expected one of: speed, noise, music, babble, rev"),
    (r"^dev_conditions = .*$", 'dev_conditions = ["music"]',
     r"\[augment\] dev_conditions: no condition 'music'; there are: noise, reverb"),
    (r"^dev_conditions = .*$", 'dev_conditions = ["noise", "noise"]', "dev_conditions: .* once, found 'noise' twice"),
    (r"^dev_conditions = .*$", "dev_conditions = true", r"\[augment\] dev_conditions: expected a list, found True"),
    (r"^online = .*$", "online = 1", r"\[augment\] online: expected bool, found 1"),
    (r"^speed = .*$", "speed = 1.1", r"\[augment\] speed: expected at most 1, found 1.1"),
    (r"^reverb = .*$", "reverb = -0.1", r"\[augment\] reverb: expected at least 0, found -0.1"),
    (r"^telephone = .*$", 'telephone = "no"', r"\[augment\] telephone: expected float, found 'no'"),
    (r"^babble = .*$", "babble = nan", r"\[augment\] babble: expected a finite number, found nan"),
    (r"^noise = .*\nmusic = .*\nbabble = .*$", "noise = 0.5\nmusic = 0.4\nbabble = 0.2",
     r"\[augment\] noise, music and babble: a window gets one of them at most, found .* sum is 1.1, more than 1$"),
    (r"^noise_snr = .*$", "noise_snr = [15.0, 0.0]",
     r"\[augment\] noise_snr: expected the lower and the upper end, found \[15.0, 0.0\]"),
    (r"^babble_snr = .*$", "babble_snr = [1.0, 2.0, 3.0]", r"\[augment\] babble_snr: expected the lower and the upper"),
    (r"^music_snr = .*$", 'music_snr = ["low", 3]', r"\[augment\] music_snr: expected float, found 'low'"),
    (r"^speeds = .*\n((?:.*\n)*?)speed = .*$", r"speeds = []\n\1speed = 0.5",
     r"\[augment\] speed: windows at another speed need speeds"),
    (r"^speeds = .*$", "speeds = [1.1, 1.10001]", r"\[augment\] speeds: .* that differ, found 1.1 and 1.10001"),
    (r"^speed = .*$", "speed = 5e-324", r"\[augment\] speed: expected 0 or at least 1e-06, found .*e-324"),
    (r"^noise_snr = .*$", "noise_snr = [-300.0, 0.0]", r"\[augment\] noise_snr: expected at least -50, found -300.0"),
    (r"^music_snr = .*$", "music_snr = [0.0, 1e308]", r"\[augment\] music_snr: expected at most 100, found 1e.308"),
    (r"^sample_rate = .*$", "sample_rate = 2000", r"\[features\] sample_rate: expected at least 4000, found 2000"),
    (r"^copies = .*\n((?:.*\n)*?)online = .*\n((?:.*\n)*?)speed = .*$",
     r'copies = ["speed"]\n\1online = true\n\2speed = 0.5', r"\[augment\] speed and the copies 'speed' make the same"),
    (r"^time_mask = .*$", "time_mask = -1", r"\[augment\] time_mask: expected at least 0, found -1"),
    (r"^frequency_mask = .*$", "frequency_mask = -1", "frequency_mask: expected at least 0, found -1"),
    (r"^average = .*$", "average = -1", r"\[training\] average: expected at least 0, found -1"),
    (r"^momentum = .*$", "momentum = 1.0", r"\[training\] momentum: expected less than 1, found 1.0"),
    (r"^momentum = .*$", "momentum = -0.1", r"\[training\] momentum: expected at least 0, found -0.1"),
    (r"^weight_decay = .*$", "weight_decay = -1", r"\[training\] weight_decay: expected at least 0, found -1"),
    (r"^max_gradient_norm = .*$", "max_gradient_norm = 0", "max_gradient_norm: expected more than 0, found 0"),
    (r"^checkpoint_minutes = .*$", "checkpoint_minutes = -1.0", "checkpoint_minutes: expected at least 0, found -1"),
    (r"^learning_rate = .*$", "learning_rate = -0.1", r"\[softmax\] learning_rate: expected at least 0, found -0.1"),
    (r"^final_learning_rate = .*$", "final_learning_rate = -0.1", "final_learning_rate: expected at least 0, found"),
    (r"^warmup_steps = .*$", "warmup_steps = -1", r"\[softmax\] warmup_steps: expected at least 0, found -1"),
    (r"^margin = .*$", "margin = -0.1", r"\[softmax\] margin: expected at least 0, found -0.1"),
    (r"^margin_start_step = .*$", "margin_start_step = -1", "margin_start_step: expected at least 0, found -1"),
    (r"^margin_warmup_steps = .*$", "margin_warmup_steps = -1", "margin_warmup_steps: expected at least 0, found -1"),
    (r"^scale = .*$", "scale = 0.0", r"\[softmax\] scale: expected more than 0, found 0.0"),
    (r"^utterances = 3$", "utterances = 1", r"\[triplet\] utterances: a positive pair needs at least 2, found 1"),
    (r'^name = "rescnn"', "name = [1]", r"\[model\] name: no network \[1\]; there are: rescnn, gru"),
    (r"^\[scoring\]$", "[scoring]\nx = 1", r"\[scoring\] key x is unknown; there are: backends, cohort_top, "),
    (r"^backends = .*$", "", r"\[scoring\] key backends is missing; there are: backends, cohort_top, "),
    (r"^\[features\]$", "scoring = 3\n[features]", "not TOML"),
    (r"^\[features\]$", "margin = 3\n[features]", "margin must be a section, found 3; base is the only key out")])
def test_refused_by_name(tmp_path, pattern, replacement, message):
    with pytest.raises(UserError, match=f"changed.toml: .*{message}"):
        load_config(changed(tmp_path, pattern, replacement))


def test_probabilities_that_make_one(tmp_path):
    """Also where the sum of the three as floating-point numbers is 1.0000000000000002."""
    found = set_values(DEMO, ["augment.noise=0.56", "augment.music=0.34", "augment.babble=0.1"]).augment
    assert found.noise + found.music + found.babble > 1


@pytest.mark.parametrize("good, bad", [
    (["features.low_freq=0", "features.low_freq=7400"],
     ["features.low_freq=-1", "features.low_freq=7600", "features.low_freq=8000"]),
    (["features.high_freq=8000", "features.high_freq=0", "features.high_freq=150"],
     ["features.high_freq=8001", "features.high_freq=20", "features.high_freq=21", "features.high_freq=-1"]),
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


def filters_that_work(sample_rate, most, low_freq, high_freq):
    """How many filters, up to `most`, leave none empty: from the filters themselves."""
    return [count for count in range(1, most + 1)
            if (mel_banks(sample_rate, count, low_freq, high_freq, torch.device("cpu")) > 0).any(0).all()]


@pytest.mark.parametrize("sample_rate, low_freq, high_freq", [
    (16000, 40, 7000), (16000, 20, 0), (16000, 0, 7600), (8000, 300, 3400), (11025, 20, 0), (16000, 500, 600),
    (44100, 33, 1000), (16000, 1000, 2000), (1000, 0, 0), (100, 0, 0), (99, 0, 0)])
def test_as_many_filters_as_the_fft_has_bins_for(sample_rate, low_freq, high_freq):
    work = filters_that_work(sample_rate, 140, low_freq, high_freq)
    for count in range(1, 141):
        if count in work:
            refuse_empty_filters(sample_rate, count, low_freq, high_freq)
            continue
        most = max((fewer for fewer in work if fewer < count), default=0)
        with pytest.raises(ValueError, match=f"at most {most} bins$" if most else "widen low_freq..high_freq"):
            refuse_empty_filters(sample_rate, count, low_freq, high_freq)


def test_a_filter_without_an_fft_bin_is_named():
    band = ["features.low_freq=40", "features.high_freq=7000"]
    set_values(DEMO, [*band, "features.num_mel_bins=127"])
    for count in (128, 10**13):
        with pytest.raises(UserError, match=rf"\[features\] num_mel_bins = {count}: no FFT bin .* at most 127 bins$"):
            set_values(DEMO, [*band, f"features.num_mel_bins={count}"])


def test_all_mistakes_stand_in_one_line(tmp_path):
    path = changed(tmp_path, r"^speeds = .*$", '"sp\\\\need" = 1\ntime_mask = "x"')
    path.write_text(path.read_text().replace("time_mask = 0\n", "").replace("epochs = 8\n", "epochs = 0\n"))
    with pytest.raises(UserError) as raised:
        load_config(path)
    keys = ", ".join(AugmentConfig.model_fields)
    assert str(raised.value) == (
        f"{path}: [augment] key sp\\need is unknown; there are: {keys}; "
        f"[augment] key speeds is missing; there are: {keys}; "
        "[softmax] epochs: expected at least 1, found 0; [augment] time_mask: expected int, found 'x'")


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        DEMO.softmax.margin = 0.5
    with pytest.raises(TypeError, match="abstract.* loss_arguments"):
        PhaseConfig(**{key: getattr(DEMO.softmax, key) for key in PhaseConfig.model_fields})


def conf_files(folder, **texts):
    for name, text in texts.items():
        (folder / name.replace("__", "/")).with_suffix(".toml").write_text(text)


def test_values_of_bases_hold_where_a_file_has_none(tmp_path):
    (tmp_path / "own").mkdir()
    conf_files(tmp_path, whole='[a]\nx = 1\ny = 2\n[b]\nz = [1, 2]\n[model]\nname = "n"\nsize = 1\ndepth = 2\n',
               middle='base = "whole.toml"\n[a]\ny = 3\n[c]\nw = true\n[model]\nsize = 5\n',
               own__file='base = "../middle.toml"\n[b]\nz = [4]\n[a]\nv = 6\n',
               same='base = "whole.toml"\n[model]\nname = "n"\nsize = 7\n',
               other='base = "middle.toml"\n[model]\nname = "m"\nwidth = 8\n')
    model = {"name": "n", "size": 5, "depth": 2}
    assert read_tables(tmp_path / "own/file.toml") == {
        "a": {"x": 1, "y": 3, "v": 6}, "b": {"z": [4]}, "model": model, "c": {"w": True}}
    assert read_tables(tmp_path / "middle.toml")["model"] == model
    assert read_tables(tmp_path / "same.toml")["model"] == {"name": "n", "size": 7, "depth": 2}
    assert read_tables(tmp_path / "other.toml")["model"] == {"name": "m", "width": 8}


@pytest.mark.parametrize("text, message", [
    ('base = "first.toml"', "first.toml: base: the files form a circle, first.toml -> first.toml: remove"),
    ('base = "second.toml"', "first.toml: base: the files form a circle, first.toml -> second.toml -> third.toml -> "
                             "sub/../first.toml: remove"),
    ('base = "none.toml"', "first.toml: base: no such file: none.toml; its path is relative to ."),
    ('base = "sub/none.toml"', "first.toml: base: no such file: sub/none.toml; its path is relative to ."),
    ("base = 3", "first.toml: base: found 3, expected the name of a file"),
    ('base = "twice.toml"', "twice.toml: not TOML: Cannot overwrite a value (at line 3, column 6)"),
    ('base = "latin.toml"', "latin.toml: not TOML: "),
    ('base = "loose.toml"', "loose.toml: x must be a section, found 1")])
def test_bases_that_are_refused(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    conf_files(tmp_path, first=text, second='base = "third.toml"', third='base = "sub/../first.toml"',
               twice="[a]\nx = 1\nx = 2\n", loose="x = 1")
    (tmp_path / "latin.toml").write_bytes(b"# \xe4\n")
    with pytest.raises(UserError) as raised:
        read_tables("first.toml")
    assert str(raised.value).startswith(message)


def test_a_network_with_other_keys_than_the_base_has(tmp_path):
    demo = ROOT / "egs/voxceleb/conf/demo.toml"
    gru = '[model]\nname = "gru"\nchannels = 4\nhidden = 8\nlayers = 1\nbatch_norm = "channel"\npooling = "mean"\n'
    conf_files(tmp_path, gru=f'base = "{demo}"\n{gru}embedding_dim = 6\n', short=f'base = "{demo}"\n{gru}')
    found = load_config(tmp_path / "gru.toml")
    assert found.model.name == "gru" and found.model.options == {
        "channels": 4, "hidden": 8, "layers": 1, "batch_norm": "channel", "pooling": "mean", "embedding_dim": 6}
    assert found.softmax == DEMO.softmax
    with pytest.raises(UserError, match=r"short.toml: \[model\] key embedding_dim is missing; there are: name, "):
        load_config(tmp_path / "short.toml")


def test_reading_tables_imports_little():
    program = "import sys, deepspeaker.conf_files; print(*sorted({'torch', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_one_value_for_the_shell(call, tmp_path):
    for section, key, expected in (("scoring", "backends", "cosine asnorm\n"), ("augment", "speeds", "0.9 1.1\n"),
                                   ("scoring", "qualities", "snr\n"), ("softmax", "epochs", "36\n")):
        assert call("conf_value.py", ROOT / "egs/voxceleb/conf/best.toml", section, key).stdout == expected
    done = call("conf_value.py", ROOT / "egs/voxceleb/conf/best.toml", "softmax", "nix")
    assert done.returncode == 1 and done.stderr.endswith("best.toml: [softmax] key nix is missing\n")
    done = call("conf_value.py", tmp_path / "none.toml", "softmax", "epochs")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "no such configuration file" in done.stderr


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
    path = changed(tmp_path, r"^crops = .*\ncrop_frames = .*$", "")  # as files of earlier versions are
    assert (load_config(path).embedding.crops, load_config(path).embedding.crop_frames) == (0, 300)
    config = load_config(changed(tmp_path, r"^crops = .*\ncrop_frames = .*$", "crops = 5\ncrop_frames = 200"))
    assert (config.embedding.crops, config.embedding.crop_frames) == (5, 200)
    explained = load_config(ROOT / "egs/voxceleb/conf/deep_speaker.toml").embedding
    assert explained == EmbeddingConfig(min_frames=160)  # what it says of the defaults holds


def test_lengths_are_not_normalised_in_the_space_of_a_plda_unless_set(tmp_path, call):
    path = changed(tmp_path, "^plda_normalize_length = .*$", "")  # as files of earlier versions are
    explained = ROOT / "egs/voxceleb/conf/deep_speaker.toml"
    for each in (path, explained):
        assert load_config(each).scoring.plda_normalize_length is False
        assert call("conf_value.py", each, "scoring", "plda_normalize_length", "false").stdout == "false\n"
    path = changed(tmp_path, "^plda_normalize_length = .*$", "plda_normalize_length = true")
    assert load_config(path).scoring.plda_normalize_length is True
    assert call("conf_value.py", path, "scoring", "plda_normalize_length", "false").stdout == "true\n"


def test_steps_have_the_defaults_of_the_explained_configuration():
    scoring = load_config(ROOT / "egs/voxceleb/conf/deep_speaker.toml").scoring
    assert (scoring.cohort_top, scoring.plda_dim, scoring.calibration_prior) == (COHORT_TOP, DIMENSIONS, PRIOR)


def test_the_learning_rate_falls_to_its_last_value(tmp_path):
    """Over 4 steps: up in 2, then down to the last, linearly and by equal factors."""
    rates = {"learning_rate": 0.8, "final_learning_rate": 0.2, "epochs": 2, "steps_per_epoch": 3, "warmup_steps": 2}
    for decay, expected in (("linear", [0.4, 0.8, 0.8, 0.6, 0.4, 0.2]),
                            ("exponential", [0.4, 0.8, 0.8, 0.504, 0.3175, 0.2])):
        changes = [f"softmax.{key}={value}" for key, value in rates.items()] + [f'softmax.decay="{decay}"']
        settings = set_values(DEMO, changes).softmax
        assert [settings.learning_rate_at(step) for step in range(6)] == pytest.approx(expected, rel=1e-3)


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


@pytest.mark.parametrize("table", ["a = " + "[" * 5000 + "]" * 5000, f"a = {'9' * 5000}"])
def test_deep_and_long_values_are_refused_in_a_sentence(tmp_path, table):
    (tmp_path / "bad.toml").write_text(f"[features]\n{table}\n")
    with pytest.raises(UserError, match="bad.toml: not TOML: "):
        read_tables(tmp_path / "bad.toml")


def test_windows_editors_and_links(tmp_path):
    path = tmp_path / "conf.toml"
    write_config(path, DEMO)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_config(path) == DEMO
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    with pytest.raises(UserError, match="loop.toml: Too many levels of symbolic links"):
        load_config(tmp_path / "loop.toml")
    (tmp_path / "link.toml").symlink_to("a.toml")
    (tmp_path / "a.toml").write_text('base = "link.toml"\n')
    with pytest.raises(UserError, match="the files form a circle, .*a.toml -> .*link.toml"):
        load_config(tmp_path / "a.toml")


@pytest.mark.parametrize("change, message", [
    ("#softmax.margin=1", "expected SECTION.KEY=VALUE with VALUE in TOML"),
    ("model.blocks=-1", r"\[model\] blocks: expected at least 0, found -1"),
    ("model.channels=[16,-1]", r"\[model\] channels: expected at least 0, found \[16, -1\]"),
    ("model.embedding_dim=0", r"\[model\]: these values leave .*weight.* without weights: expected sizes above 0"),
    ("scoring.backends=[]", r"\[scoring\] backends: expected a list of at least 1, found \[\]"),
    ('augment.copies=["speed","speed"]', r"\[augment\] copies: expected each value once, found 'speed' twice"),
    ("augment.speeds=[0.9,1.1,0.9]", r"\[augment\] speeds: expected speeds that differ, found 0.9 and 0.9")])
def test_changes_that_would_fail_late(change, message):
    with pytest.raises(UserError, match=message):
        set_values(DEMO, [change])
