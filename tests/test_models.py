"""The networks: the paper's sizes, and fixed numbers of one forward pass each."""

import pytest
import torch

from deepspeaker.command import UserError
from deepspeaker.models import build_model
from deepspeaker.models.pooling import mean, statistics
from deepspeaker.models.rescnn import ChannelFrequencyNorm

PAPER = {"channels": [64, 128, 256, 512], "blocks": 3, "pooling": "mean", "embedding_dim": 512}
NARROW = {"channels": [4, 8], "blocks": 1, "pooling": "mean", "embedding_dim": 6, "batch_norm": "channel"}


@pytest.mark.parametrize("norm, parameters", [("channel", 24_165_568), ("channel_frequency", 24_266_816)])
def test_the_papers_sizes(norm, parameters):
    model = build_model(64, "rescnn", {**PAPER, "batch_norm": norm})
    assert sum(p.numel() for p in model.parameters()) == parameters


def constant(model):
    """Give every weight a value that follows from its place alone."""
    with torch.no_grad():
        for n, parameter in enumerate(model.parameters()):
            values = torch.arange(parameter.numel(), dtype=torch.float32)
            parameter.copy_((torch.sin(values * (n + 1)) * 0.3).view(parameter.shape))
    return model.eval()


@pytest.mark.parametrize("changes, expected", [
    ({}, [0.1784, 0.2569, -0.1581, 0.4157, -0.7434, 0.3894]),
    ({"batch_norm": "channel_frequency"}, [0.4584, -0.0543, 0.1221, 0.2312, -0.696, 0.4839]),
    ({"pooling": "statistics"}, [0.2484, -0.1636, -0.5378, -0.5507, -0.0814, 0.5589])])
def test_fixed_numbers(changes, expected):
    features = torch.sin(torch.arange(21 * 10, dtype=torch.float32) * 0.7).view(1, 21, 10)
    embedding = constant(build_model(10, "rescnn", {**NARROW, **changes}))(features)
    torch.testing.assert_close(embedding, torch.tensor([expected]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("frames", [1, 2, 31, 32, 33, 500])
@pytest.mark.parametrize("pooling", ["mean", "statistics"])
def test_any_length_gives_an_embedding_of_length_one(frames, pooling):
    model = build_model(40, "rescnn", {**NARROW, "pooling": pooling}).eval()
    embedding = model(torch.randn(3, frames, 40))
    assert embedding.shape == (3, 6)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(3))


def test_channel_frequency_norm_has_statistics_of_its_own_for_each_pair():
    x = torch.randn(5, 3, 7, 4)
    norm = ChannelFrequencyNorm(3, 4)
    y = norm(x)
    expected = (x - x.mean((0, 2), keepdim=True)) / (x.var((0, 2), keepdim=True, correction=0) + norm.eps).sqrt()
    torch.testing.assert_close(y, expected)
    assert norm.weight.numel() == 12
    with torch.no_grad():
        norm.weight.zero_()
        norm.weight[2 * 3 + 1] = 1.0  # frequency 2, channel 1
    assert norm(x).abs().sum((0, 2)).nonzero().tolist() == [[1, 2]]


def test_pooling():
    x = torch.randn(2, 9, 3)
    torch.testing.assert_close(mean(x), x.mean(1))
    torch.testing.assert_close(statistics(x), torch.cat([x.mean(1), x.std(1, correction=0)], 1), atol=1e-4, rtol=1e-4)
    assert torch.isfinite(statistics(torch.ones(2, 1, 3))).all()


def test_unknown_names_list_the_valid_ones():
    with pytest.raises(UserError, match="there are: channel, channel_frequency"):
        build_model(40, "rescnn", {**NARROW, "batch_norm": "layer"})
    with pytest.raises(UserError, match="there are: mean, statistics"):
        build_model(40, "rescnn", {**NARROW, "pooling": "max"})
