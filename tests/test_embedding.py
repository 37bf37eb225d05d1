"""Embeddings of utterances: alone and together, whole and as averages of crops, and of those too short."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deepspeaker.checkpoint import save
from deepspeaker.config import EmbeddingConfig, load_config
from deepspeaker.datadir.archive import read_vectors
from deepspeaker.extraction import embed as embedding
from deepspeaker.extraction import make_embeddings
from deepspeaker.extraction.embed import embed, embed_together
from deepspeaker.extraction.feature_set import FeatureSet
from deepspeaker.extraction.join_embeddings import join_embeddings
from deepspeaker.metrics.describe import eer
from deepspeaker.models.networks import build_network
from deepspeaker.provenance import embedded_with, trained_with
from deepspeaker.recipe.stages import Recipe, parts
from deepspeaker.training.dev_set import DevelopmentSet

torch.manual_seed(0)
NETWORK = build_network(20, "rescnn", {"channels": [4, 8], "blocks": 1, "batch_norm": "channel",
                                       "pooling": "statistics", "embedding_dim": 6}).eval()
FEATURES = torch.randn(130, 20) + 3


def network(features):
    with torch.inference_mode():
        return NETWORK(features.unsqueeze(0))[0]


def test_whole_utterance():
    found = embed(NETWORK, FEATURES, "mean", EmbeddingConfig(min_frames=10))
    torch.testing.assert_close(found, network(FEATURES - FEATURES.mean(0)))


def test_short_utterances_are_repeated():
    short = FEATURES[:30]
    found = embed(NETWORK, short, "none", EmbeddingConfig(min_frames=70))
    torch.testing.assert_close(found, network(torch.cat([short, short, short[:10]])), atol=1e-5, rtol=1e-5)
    one = embed(NETWORK, short[:1], "mean", EmbeddingConfig(min_frames=70))
    assert torch.isfinite(one).all()


@pytest.mark.parametrize("crops, starts", [(1, [40]), (2, [0, 80]), (3, [0, 40, 80]), (4, [0, 26, 53, 80])])
@pytest.mark.parametrize("mode", ["mean", "mean_variance", "none"])
def test_mean_of_evenly_spaced_crops(crops, starts, mode):
    """Crop by crop: of 130 frames, 50 each."""
    found = embed(NETWORK, FEATURES, mode, EmbeddingConfig(min_frames=10, crops=crops, crop_frames=50))
    total, seen = torch.zeros(6), FEATURES
    if mode != "none":  # over the utterance, not over the crop
        seen = FEATURES - FEATURES.mean(0)
    if mode == "mean_variance":
        seen = seen / FEATURES.std(0, correction=0)
    for start in starts:
        embedding = network(seen[start:start + 50])
        assert embedding.norm() == pytest.approx(1, abs=1e-6)
        total += embedding
    torch.testing.assert_close(found, total / total.norm(), atol=1e-5, rtol=1e-5)
    assert found.norm() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("frames", [1, 30, 49, 50])
@pytest.mark.parametrize("min_frames", [10, 40, 70])
def test_an_utterance_no_longer_than_a_crop_is_embedded_whole(frames, min_frames):
    whole, cropped = (EmbeddingConfig(min_frames=min_frames, crops=crops, crop_frames=50) for crops in (0, 4))
    short = FEATURES[:frames]
    assert torch.equal(embed(NETWORK, short, "mean", cropped), embed(NETWORK, short, "mean", whole))
    longer = FEATURES[:60]
    assert (embed(NETWORK, longer, "mean", cropped) - embed(NETWORK, longer, "mean", whole)).abs().max() > 1e-3


def test_without_crops_nothing_changes():
    """As it was computed before there were crops."""
    config, mode = EmbeddingConfig(min_frames=40), "mean"
    assert config == EmbeddingConfig(min_frames=40, crops=0, crop_frames=300)
    utterances = [FEATURES[:frames] for frames in (130, 100, 41, 20)]  # the longest first, as a batch has them
    seen = [features - features.mean(0) for features in utterances[:3]]
    seen.append((utterances[3] - utterances[3].mean(0)).repeat(2, 1))
    for found, features, alone in zip(embed_together(NETWORK, utterances, mode, config), utterances, seen, strict=True):
        torch.testing.assert_close(found, network(alone), atol=1e-6, rtol=0)
        torch.testing.assert_close(embed(NETWORK, features, mode, config), network(alone), atol=1e-6, rtol=0)


def test_blocks_are_cut_where_they_have_too_many_frames(monkeypatch):
    counts = np.array([5, 20, 30, 10, 100, 1, 2, 3])
    features = SimpleNamespace(counts=lambda which: counts[which])
    monkeypatch.setattr(embedding, "MOST_FRAMES", 50)
    found = [piece.tolist() for piece in embedding._pieces(features, np.arange(8), 6)]
    assert found == [[0, 1], [2, 3], [4], [5], [6, 7]]
    assert [piece.tolist() for piece in embedding._pieces(features, np.array([7, 0]), 6)] == [[7, 0]]
    assert list(embedding._pieces(features, np.arange(0), 6)) == []


@pytest.mark.parametrize("mode", ["mean", "mean_variance", "none"])
@pytest.mark.parametrize("crops", [0, 1, 5])
def test_together_as_alone(crops, mode, monkeypatch):
    monkeypatch.setitem(embedding.SIZES, "cpu", embedding.Sizes(32, 300))
    config = EmbeddingConfig(min_frames=40, crops=crops, crop_frames=60)
    utterances = [FEATURES[:frames] for frames in (20, 130, 41, 100, 129, 1, 64)]
    found = embed_together(NETWORK, utterances, mode, config)
    for features, together in zip(utterances, found, strict=True):
        torch.testing.assert_close(together, embed(NETWORK, features, mode, config), atol=1e-6, rtol=0)
    assert embed_together(NETWORK, [], mode, config) == []


def test_batches_are_halved_where_a_gpu_has_no_memory_for_them(ready, monkeypatch):
    conf, train, _ = ready()
    config = load_config(conf)
    network = build_network(config.features.num_mel_bins, config.model.name, config.model.options).eval()
    features = FeatureSet(train, config.features)
    ask = partial(embedding.embed_set, network, features, range(len(features)), config, torch.device("cpu"))
    expected, real, sizes = dict(ask()), network.forward, []

    def forward(batch, ends):
        sizes.append(batch.shape[0] * batch.shape[1])
        if sizes[-1] > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(batch, ends)

    monkeypatch.setattr(network, "forward", forward)
    monkeypatch.setattr(embedding, "FEWEST_FRAMES", 300)
    monkeypatch.setitem(embedding.SIZES, "cpu", embedding.Sizes(8, 4000))
    room = 600
    for name, found in ask():
        np.testing.assert_allclose(found, expected[name], atol=1e-6)
    failed = [size for size in sizes if size > room]
    assert failed and sizes[:len(failed)] == failed  # not again in the second block
    room = 10
    with pytest.raises(torch.OutOfMemoryError):
        list(ask())


def test_dev_eer_in_training_is_that_of_crops(ready):
    conf, _, dev = ready({"embedding.crops": 3, "embedding.crop_frames": 20, "features.vad": False})
    config = load_config(conf)
    torch.manual_seed(1)
    network = build_network(config.features.num_mel_bins, config.model.name, config.model.options).eval()
    features = FeatureSet(dev, config.features)
    embeddings = {}
    for i, name in enumerate(features.utterances):
        rows = torch.from_numpy(features.rows(i, features.frames(i)))
        assert len(rows) > 20
        embeddings[name] = embed(network, rows, config.features.normalize, config.embedding).numpy()
    trials = [line.split() for line in (dev / "trials").read_text().splitlines()]
    scores = np.array([embeddings[first] @ embeddings[second] for first, second, _ in trials])
    expected = 100 * eer(scores, np.array([label == "target" for *_, label in trials]))
    assert DevelopmentSet(dev, config).eers(network, torch.device("cpu")) == {"clean": pytest.approx(expected)}
    _, found = zip(*embedding.embed_set(network, features, range(len(features)), config, torch.device("cpu")),
                   strict=True)
    np.testing.assert_allclose(found, np.stack([*embeddings.values()]), atol=1e-6)


def test_crop_keys_count_only_with_crops():
    """Experiments made before the keys existed go on."""
    before = {"min_frames": 160}
    for off in ({}, {"crops": 0}, {"crops": 0, "crop_frames": 300}, {"crop_frames": 7}):
        assert embedded_with(before | off) == before
        assert trained_with({"embedding": before | off}, "softmax")["embedding"] == before
    on = before | {"crops": 5, "crop_frames": 300}
    assert embedded_with(on) == trained_with({"embedding": on}, "softmax")["embedding"] == on


def test_stages_are_not_stale_for_crop_keys_without_crops(tmp_path):
    """For none of the stages that depend on [embedding]."""
    (tmp_path / "data/dev").mkdir(parents=True)
    tables = {name: {} for name in ("features", "augment", "scoring", "softmax", "triplet")}

    def settings(**embedding):
        recipe = Recipe(**dict.fromkeys(Recipe._fields, "") | {
            "dir": tmp_path, "exp": tmp_path / "exp", "start": tmp_path / "init.pt", "phases": "softmax triplet",
            "tables": tables | {"embedding": {"min_frames": 160, **embedding}}})
        return [[part.settings for part in parts(recipe, stage)] for stage in (3, 4, 5, 7)]

    before, found = settings(), settings(crops=0, crop_frames=200)
    assert all(before) and found == before
    for old, new in zip(before, settings(crops=5, crop_frames=200), strict=True):
        assert old != new


@pytest.mark.parametrize("changes", [{}, {"embedding.crops": 3, "embedding.crop_frames": 30}])
def test_the_number_of_jobs_changes_no_bit(changes, ready, tmp_path, monkeypatch):
    """Nor does the order of utterances, though they are embedded in padded batches; a job may have none."""
    conf, train, _ = ready(changes)
    config = load_config(conf)
    network = build_network(config.features.num_mel_bins, config.model.name, config.model.options)
    save(tmp_path / "final.pt", {"config": config.as_tables(), "model": network.state_dict()})
    monkeypatch.setitem(embedding.SIZES, "cpu", embedding.Sizes(3, 4000))
    found = []
    for jobs in (1, 2, 9):
        out = tmp_path / str(jobs)
        out.mkdir()
        for job in range(1, jobs + 1):
            make_embeddings.embed_share(tmp_path / "final.pt", None, train, out, job, jobs, "cpu")
        join_embeddings(train, out, jobs)
        found.append((out / "embedding.ark").read_bytes())
    assert found[0] == found[1] == found[2]
    assert list(read_vectors(out / "embedding.scp")) == sorted(read_vectors(out / "embedding.scp"))
