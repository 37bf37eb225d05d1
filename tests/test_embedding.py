"""Embeddings of whole utterances, of crops, and of utterances too short."""

import pytest
import torch
import torch.nn.functional as F

from deepspeaker.config import EmbeddingConfig
from deepspeaker.embedding import embed, embed_together
from deepspeaker.models import build_model

torch.manual_seed(0)
MODEL = build_model(20, "rescnn", {"channels": [4, 8], "blocks": 1, "batch_norm": "channel", "pooling": "statistics",
                                   "embedding_dim": 6}).eval()
FEATURES = torch.randn(130, 20) + 3


def network(features):
    with torch.inference_mode():
        return MODEL(features.unsqueeze(0))[0]


def test_whole_utterance():
    found = embed(MODEL, FEATURES, "mean", EmbeddingConfig(crops=0, crop_frames=50, min_frames=10))
    torch.testing.assert_close(found, network(FEATURES - FEATURES.mean(0)))


def test_average_of_evenly_spaced_crops():
    found = embed(MODEL, FEATURES, "mean", EmbeddingConfig(crops=3, crop_frames=50, min_frames=10))
    centred = FEATURES - FEATURES.mean(0)  # over the utterance, not over the crop
    crops = [network(centred[start:start + 50]) for start in (0, 40, 80)]
    torch.testing.assert_close(found, F.normalize(sum(crops), dim=0), atol=1e-5, rtol=1e-5)
    assert found.norm() == pytest.approx(1, abs=1e-6)


def test_one_crop_of_the_whole_is_the_whole():
    whole, crop = (embed(MODEL, FEATURES, "none", EmbeddingConfig(n, crop_frames=130, min_frames=1)) for n in (0, 1))
    torch.testing.assert_close(whole, crop)


@pytest.mark.parametrize("crops", [0, 2])
def test_short_utterances_are_repeated(crops):
    short = FEATURES[:30]
    found = embed(MODEL, short, "none", EmbeddingConfig(crops, crop_frames=70, min_frames=70))
    torch.testing.assert_close(found, network(torch.cat([short, short, short[:10]])), atol=1e-5, rtol=1e-5)
    one = embed(MODEL, short[:1], "mean", EmbeddingConfig(crops, crop_frames=70, min_frames=70))
    assert torch.isfinite(one).all()


@pytest.mark.parametrize("crops", [0, 2])
def test_together_as_alone(crops, monkeypatch):
    monkeypatch.setattr("deepspeaker.embedding.BATCH", 300)
    config = EmbeddingConfig(crops, crop_frames=70, min_frames=40)
    utterances = [FEATURES[:frames] for frames in (20, 130, 41, 100, 129, 1, 64)]
    found = embed_together(MODEL, utterances, "mean", config)
    for features, embedding in zip(utterances, found, strict=True):
        torch.testing.assert_close(embedding, embed(MODEL, features, "mean", config), atol=1e-6, rtol=0)
    assert embed_together(MODEL, [], "mean", config) == []
