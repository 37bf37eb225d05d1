"""Embeddings of utterances, alone and together, and of those too short."""

import torch

from deepspeaker.checkpoint import save
from deepspeaker.config import EmbeddingConfig, load_config
from deepspeaker.datadir.archive import read_vectors
from deepspeaker.extraction import embed as embedding
from deepspeaker.extraction import make_embeddings
from deepspeaker.extraction.embed import embed, embed_together
from deepspeaker.extraction.join_embeddings import join_shares
from deepspeaker.models import build_network

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


def test_together_as_alone(monkeypatch):
    monkeypatch.setattr("deepspeaker.extraction.embed.BATCH", 300)
    config = EmbeddingConfig(min_frames=40)
    utterances = [FEATURES[:frames] for frames in (20, 130, 41, 100, 129, 1, 64)]
    found = embed_together(NETWORK, utterances, "mean", config)
    for features, together in zip(utterances, found, strict=True):
        torch.testing.assert_close(together, embed(NETWORK, features, "mean", config), atol=1e-6, rtol=0)
    assert embed_together(NETWORK, [], "mean", config) == []


def test_the_number_of_jobs_changes_no_bit(ready, tmp_path, monkeypatch):
    """Nor does the order of utterances, though they are embedded in padded batches; a job may have none."""
    conf, train, _ = ready({})
    config = load_config(conf)
    network = build_network(config.features.num_mel_bins, config.model.name, config.model.options)
    save(tmp_path / "final.pt", {"config": config.as_tables(), "model": network.state_dict()})
    for module in (embedding, make_embeddings):
        monkeypatch.setattr(module, "BLOCK", 3)
    found = []
    for jobs in (1, 2, 9):
        out = tmp_path / str(jobs)
        out.mkdir()
        for job in range(1, jobs + 1):
            make_embeddings.embed_share(tmp_path / "final.pt", None, train, out, job, jobs, "cpu")
        join_shares(train, out, jobs)
        found.append((out / "embedding.ark").read_bytes())
    assert found[0] == found[1] == found[2]
    assert list(read_vectors(out / "embedding.scp")) == sorted(read_vectors(out / "embedding.scp"))
