"""Batches drawn from mapped archives, features made by stage 2's own functions."""

import json
import math
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from conftest import ROOT, make_features

from deepspeaker.batches.needs import check_speakers
from deepspeaker.batches.training_set import Batches, TrainingSet, _choose
from deepspeaker.config import BatchConfig, load_config
from deepspeaker.datadir.archive import append, map_file
from deepspeaker.errors import UserError
from deepspeaker.extraction import gpu_archive
from deepspeaker.extraction.feature_set import FeatureSet
from deepspeaker.extraction.gpu_archive import resident_bytes

CPU = torch.device("cpu")


def of_size(speakers, utterances, min_frames=30, max_frames=50, speaker_weight="even"):
    return BatchConfig(speakers=speakers, utterances=utterances, min_frames=min_frames, max_frames=max_frames,
                       speaker_weight=speaker_weight)


@pytest.fixture
def features(data_dir, conf, tmp_path):
    """A data directory with features, and its configuration."""

    def make(changes=None, **sizes):
        directory, config = data_dir(**sizes), load_config(conf(changes))
        make_features(directory, config, tmp_path)
        map_file.cache_clear()
        return directory, config.features

    return make


def test_shapes_and_labels(features):
    directory, config = features(speakers=5, utterances=3)
    data = TrainingSet(directory, config)
    assert data.speakers == [f"s{n:02d}" for n in range(5)]
    batch = data.draw(np.random.default_rng(0), of_size(4, 2))
    assert batch.features.shape[0] == 8 and 30 <= batch.features.shape[1] <= 50 and batch.features.shape[2] == 64
    assert len(batch.labels.speakers.unique()) == 4 and len(batch.labels.utterances.unique()) == 8
    for speaker, utterance in zip(batch.labels.speakers.tolist(), batch.labels.utterances.tolist(), strict=True):
        assert data.features.utterances[utterance].startswith(data.speakers[speaker])


def test_windows_are_runs_of_voiced_frames(features):
    directory, config = features(seconds=2.0)
    data = TrainingSet(directory, config)
    batch = data.draw(np.random.default_rng(1), of_size(4, 2))
    for window, utterance in zip(batch.features, batch.labels.utterances.tolist(), strict=True):
        voiced = data.features.frames(utterance)
        rows = data.features.rows(utterance, voiced)
        assert any(np.array_equal(rows[s:s + len(window)], window) for s in range(len(rows) - len(window) + 1))


def test_every_utterance_and_every_window_comes_up(features):
    directory, config = features({"features.vad": False}, speakers=2, utterances=4, seconds=0.5)
    data = TrainingSet(directory, config)
    first = {i: {data.features.rows(i, np.array([t])).tobytes(): t for t in range(48)} for i in range(8)}
    seen, lengths = {i: set() for i in range(8)}, set()
    rng = np.random.default_rng(0)
    for _ in range(800):
        batch = data.draw(rng, of_size(2, 2, 44, 46))
        lengths.add(batch.features.shape[1])
        for window, i in zip(batch.features, batch.labels.utterances.tolist(), strict=True):
            seen[i].add(first[i][window[0].numpy().tobytes()])
    assert lengths == {44, 45, 46}
    assert all(starts == set(range(5)) for starts in seen.values())  # 48 frames: starts 0..4 of 44-frame windows


def test_choice_of_utterances():
    """No utterance comes twice before all have come, and all subsets are as frequent."""
    rng, counts, k = np.random.default_rng(0), np.array([1, 2, 3, 5, 7, 4]), 4
    seen = [Counter() for _ in counts]
    for _ in range(6000):
        for row, count, subsets in zip(_choose(rng, counts, k), counts, seen, strict=True):
            times = np.bincount(row, minlength=count)
            assert len(times) == count and times.max() - times.min() <= 1
            subsets[tuple(times)] += 1
    assert [len(subsets) for subsets in seen] == [math.comb(count, k % count) for count in counts]
    for subsets in seen:
        expected = 6000 / len(subsets)
        assert all(abs(number - expected) < 5 * expected ** 0.5 for number in subsets.values())


def test_few_utterances_come_twice_and_short_ones_are_repeated(features):
    directory, config = features(speakers=3, utterances=1, seconds=0.25)
    data = TrainingSet(directory, config)
    batch = data.draw(np.random.default_rng(0), of_size(3, 4, 90, 90))
    assert batch.features.shape == (12, 90, 64)
    speakers, utterances = (each.view(3, 4) for each in batch.labels[:2])
    assert [u.tolist() for u in utterances] == [[s] * 4 for s in speakers[:, 0]]
    length = len(data.features.frames(0))
    torch.testing.assert_close(batch.features[:, length:2 * length], batch.features[:, :length])


def test_one_utterance_speakers_serve_the_softmax_only(features, tmp_path):
    directory, config = features(speakers=3, utterances=2)
    lines = (directory / "feats.scp").read_text().splitlines(keepends=True)
    (directory / "feats.scp").write_text("".join(lines[:-1]))  # speaker s02 keeps one utterance
    rng = np.random.default_rng(0)
    assert TrainingSet(directory, config).draw(rng, of_size(3, 1))
    data = TrainingSet(directory, config, min_utterances=2)
    for _ in range(20):
        assert set(data.draw(rng, of_size(2, 2)).labels.speakers.tolist()) == {0, 1}
    with pytest.raises(UserError, match=r"\[triplet\] speakers = 3, but 2 of the 3 training speakers have 2 or more"):
        check_speakers("triplet", 3, data.counts.tolist())
    check_speakers("softmax", 3, data.counts.tolist())


def test_speakers_in_proportion_to_their_utterances(features):
    directory, config = features(speakers=3, utterances=6)
    lines = (directory / "feats.scp").read_text().splitlines(keepends=True)
    (directory / "feats.scp").write_text("".join(lines[:13]))  # 6, 6 and 1 utterances
    data, rng = TrainingSet(directory, config), np.random.default_rng(0)
    for weight, share in (("even", 1 / 3), ("utterances", 1 / 13)):
        windows = of_size(1, 1, 30, 30, weight)
        drawn = [data.draw(rng, windows).labels.speakers.item() for _ in range(1500)]
        assert np.mean(np.array(drawn) == 2) == pytest.approx(share, abs=0.04)


def test_all_unvoiced_means_all_frames(features, tmp_path):
    directory, config = features(speakers=1, utterances=1)
    data = FeatureSet(directory, config)
    before = data.frames(0)
    path = tmp_path / "silent.ark"
    with path.open("wb") as file:
        offset = append(file, "s00-u00", np.zeros(98, np.float32))
    (directory / "vad.scp").write_text(f"s00-u00 {path}:{offset}\n")
    assert len(before) < 98 and FeatureSet(directory, config).frames(0).tolist() == list(range(98))


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("vad", [True, False])
def test_archives_on_a_device_give_the_same_batches(features, vad, compress, monkeypatch):
    directory, config = features({"features.vad": vad, "features.compress": compress}, seconds=0.7)
    mapped, moved = TrainingSet(directory, config), TrainingSet(directory, config)
    monkeypatch.setattr(gpu_archive, "BYTES_AT_ONCE", 10_000)
    moved.upload(torch.device("cpu"))
    assert resident_bytes(mapped.features.table) == 16 * 68 * 64 * (2 if compress else 4)
    for step in range(30):  # some windows longer than the utterance
        a, b = (data.draw(np.random.default_rng(step), of_size(4, 3, 40, 90)) for data in (mapped, moved))
        assert torch.equal(a.features, b.features) and a.features.dtype == b.features.dtype
        assert torch.equal(a.labels.utterances, b.labels.utterances)


def test_archives_that_have_left_a_device_do_not_come_back(features, monkeypatch):
    directory, config = features()
    mapped, moved = TrainingSet(directory, config), TrainingSet(directory, config)
    moved.upload(CPU)
    assert moved.leave_gpu() and not moved.leave_gpu()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 << 40, 1 << 40))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    assert moved.place(torch.device("cuda")) == "mapped archives"
    a, b = (data.draw(np.random.default_rng(0), of_size(4, 3)) for data in (mapped, moved))
    assert torch.equal(a.features, b.features)


def test_shares_of_a_batch_make_up_the_whole(features):
    directory, config = features()
    data = TrainingSet(directory, config)
    whole = data.draw(np.random.default_rng(0), of_size(4, 2))
    parts = [data.draw(np.random.default_rng(0), of_size(4, 2), slice(start, start + 4)) for start in (0, 4)]
    assert torch.equal(torch.cat([part.features for part in parts]), whole.features)
    assert all(torch.equal(part.labels.utterances, whole.labels.utterances) for part in parts)


def test_batches_are_drawn_one_ahead(features):
    directory, config = features()
    data, drawn = TrainingSet(directory, config), []

    def draw(step):
        drawn.append(step)
        return data.draw(np.random.default_rng(step), of_size(4, 1))

    batches = Batches(draw, range(3, 6), None)
    for n, batch in enumerate(batches):
        assert torch.equal(batch.features, data.draw(np.random.default_rng(3 + n), of_size(4, 1)).features)
        assert 3 + n in drawn and len(drawn) <= n + 2
    assert drawn == [3, 4, 5] and batches.waited > 0
    with pytest.raises(ValueError, match="larger sample"):
        list(Batches(lambda step: data.draw(np.random.default_rng(step), of_size(9, 1)), range(2), None))


@pytest.mark.parametrize("ahead, threads", [(True, "[1, 1]"), (False, "[2, 2]")])
def test_a_thread_that_draws_ahead_computes_on_one_core_and_training_on_all(ahead, threads):
    script = ("import torch; from deepspeaker.batches.training_set import Batches\n"
              f"drawn = Batches(lambda step: torch.tensor(torch.get_num_threads()), range(2), None, {ahead})\n"
              "print([int(at) for at in drawn], torch.get_num_threads())")
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "2"},
                           capture_output=True, text=True, check=True)
    assert found.stdout.strip() == f"{threads} 2"


def test_features_of_another_configuration_are_refused(features, conf):
    directory, config = features()
    for other in ({"features.num_mel_bins": 40}, {"features.snip_edges": False}):
        with pytest.raises(UserError, match=f"{directory}/feats.scp was made with another configuration .* -> .*again"):
            FeatureSet(directory, load_config(conf(other)).features)
    FeatureSet(directory, load_config(conf({"features.vad": False, "features.normalize": "none"})).features)
    assert json.loads((directory / "feats_conf.json").read_text())["num_mel_bins"] == 64
    (directory / "feats_conf.json").unlink()  # as features of other tools
    with pytest.raises(UserError, match="s00-u00: features of 64 bins in .*, the configuration has num_mel_bins = 40"):
        FeatureSet(directory, load_config(conf({"features.num_mel_bins": 40})).features).frames(0)
    (directory / "feats.scp").unlink()
    with pytest.raises(UserError, match="make the features first"):
        FeatureSet(directory, config)

