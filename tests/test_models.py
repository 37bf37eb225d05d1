"""The networks: the paper's sizes, and fixed numbers of one forward pass each."""

import pytest
import torch

from deepspeaker.command import UserError
from deepspeaker.models import build_model
from deepspeaker.models.pooling import mean, statistics
from deepspeaker.models.rescnn import ChannelFrequencyNorm

PAPER = {"channels": [64, 128, 256, 512], "blocks": 3, "pooling": "mean", "embedding_dim": 512}
NARROW = {"channels": [4, 8], "blocks": 1, "pooling": "mean", "embedding_dim": 6, "batch_norm": "channel"}
NARROW_GRU = {"channels": 3, "hidden": 5, "layers": 2, "batch_norm": "channel_frequency", "pooling": "mean",
              "embedding_dim": 6}


@pytest.mark.parametrize("norm, parameters", [("channel", 24_165_568), ("channel_frequency", 24_266_816)])
def test_the_papers_sizes(norm, parameters):
    model = build_model(64, "rescnn", {**PAPER, "batch_norm": norm})
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("norm, parameters", [("channel", 22_565_056), ("channel_frequency", 22_569_024)])
def test_the_size_of_the_papers_gru(norm, parameters):
    model = build_model(64, "gru", {"channels": 64, "hidden": 1024, "layers": 3, "batch_norm": norm, "pooling": "mean",
                                    "embedding_dim": 512})
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


def test_fixed_numbers_of_the_gru():
    features = torch.sin(torch.arange(21 * 10, dtype=torch.float32) * 0.7).view(1, 21, 10)
    embedding = constant(build_model(10, "gru", NARROW_GRU))(features)
    expected = torch.tensor([[0.0773, 0.17, 0.4399, 0.5186, 0.5017, 0.5009]])
    torch.testing.assert_close(embedding, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("frames", [1, 2, 31, 32, 33, 500])
@pytest.mark.parametrize("pooling", ["mean", "statistics"])
@pytest.mark.parametrize("name, options", [("rescnn", NARROW), ("gru", NARROW_GRU)])
def test_any_length_gives_an_embedding_of_length_one(frames, pooling, name, options):
    model = build_model(40, name, {**options, "pooling": pooling}).eval()
    embedding = model(torch.randn(3, frames, 40))
    assert embedding.shape == (3, 6)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(3))


def test_channel_frequency_norm_has_statistics_of_its_own_for_each_pair():
    x = torch.randn(5, 3, 7, 4)
    norm = ChannelFrequencyNorm(3, 4)
    y = norm(x)
    expected = (x - x.mean((0, 2), keepdim=True)) / (x.var((0, 2), keepdim=True, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(y, expected)
    assert norm.norm.weight.numel() == 12
    with torch.no_grad():
        norm.norm.weight.zero_()
        norm.norm.weight[2 * 3 + 1] = 1.0  # frequency 2, channel 1
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


def test_synchronised_batch_normalisation_keeps_each_pair_of_channel_and_frequency_apart():
    model = build_model(10, "rescnn", {**NARROW, "batch_norm": "channel_frequency"})
    names = list(model.state_dict())
    converted = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model).eval()
    assert list(converted.state_dict()) == names
    assert converted(torch.randn(2, 33, 10)).shape == (2, 6)


def test_double_precision_stays_double():
    for name, options in (("rescnn", NARROW), ("gru", NARROW_GRU)):
        model = build_model(10, name, options).double()
        assert model(torch.randn(2, 33, 10, dtype=torch.float64)).dtype == torch.float64
