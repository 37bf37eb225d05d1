"""The networks: published sizes, and fixed numbers of one forward pass each."""

import inspect

import pytest
import torch
from conftest import ROOT
from torch._dynamo.testing import CompileCounterWithBackend

from deepspeaker.config import load_config
from deepspeaker.errors import UserError
from deepspeaker.models.base import Network
from deepspeaker.models.ecapa import Res2
from deepspeaker.models.networks import NETWORKS, build_network
from deepspeaker.models.padding import Ends, padded_length
from deepspeaker.models.pooling import (
    POOLING,
    Attentive,
    mean,
    speaker3d_statistics,
    statistics,
    wespeaker_statistics,
)
from deepspeaker.models.rescnn import ChannelFrequencyNorm

PAPER = {"channels": [64, 128, 256, 512], "blocks": 3, "pooling": "mean", "embedding_dim": 512}
NARROW = {"channels": [4, 8], "blocks": 1, "pooling": "mean", "embedding_dim": 6, "batch_norm": "channel"}
NARROW_GRU = {"channels": 3, "hidden": 5, "layers": 2, "batch_norm": "channel_frequency", "pooling": "mean",
              "embedding_dim": 6}
NARROW_RESNET = {"channels": [4, 8], "blocks": [1, 2], "pooling": "statistics", "embedding_dim": 6}
NARROW_ECAPA = {"channels": 8, "scale": 4, "dilations": [2, 3], "bottleneck": 4, "aggregation": 6,
                "pooling": "attentive", "embedding_dim": 6}
NARROW_CAMPPLUS = {"head_channels": 4, "channels": 8, "growth": 4, "bottleneck": 6, "layers": [2, 3],
                   "dilations": [1, 2], "pooling": "statistics", "embedding_dim": 6}
BODIES = {"rescnn": NARROW, "gru": NARROW_GRU, "resnet": NARROW_RESNET, "ecapa": NARROW_ECAPA,
          "campplus": NARROW_CAMPPLUS}
VARIANTS = [("resnet", {"block": "bottleneck"}), ("ecapa", {"block_input": "previous", "last_norm": False})]


@pytest.mark.parametrize("norm, parameters", [("channel", 24_165_568), ("channel_frequency", 24_266_816)])
def test_the_papers_sizes(norm, parameters):
    network = build_network(64, "rescnn", {**PAPER, "batch_norm": norm})
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("norm, parameters", [("channel", 22_565_056), ("channel_frequency", 22_569_024)])
def test_the_size_of_the_papers_gru(norm, parameters):
    network = build_network(64, "gru", {"channels": 64, "hidden": 1024, "layers": 3, "batch_norm": norm,
                                        "pooling": "mean", "embedding_dim": 512})
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("conf, changes, parameters, wespeaker, paper", [
    ("resnet34", {}, 6_634_336, 6.63, 6.6), ("ecapa", {}, 6_191_104, 6.19, 6.2),
    ("ecapa", {"channels": 1024}, 14_657_472, 14.65, 14.7)])
def test_published_sizes(conf, changes, parameters, wespeaker, paper):
    """Of the embedding network, without the classifier. WeSpeaker publishes millions cut after two digits, of an
    ECAPA-TDNN without its last batch normalisation (2 x 192). The paper of ECAPA-TDNN, which has it, rounds to 6.2
    and 14.7; 6.6 is what the ResNet34 is known by."""
    config = load_config(ROOT / f"egs/voxceleb/conf/{conf}.toml")
    network = build_network(config.features.num_mel_bins, config.model.name, {**config.model.options, **changes})
    assert sum(p.numel() for p in network.parameters()) == parameters
    last = sum(p.numel() for p in network.norm.parameters()) if conf == "ecapa" else 0
    assert (parameters - last) // 10_000 == round(100 * wespeaker) and round(parameters / 1e6, 1) == paper


@pytest.mark.parametrize("embedding_dim, pooling, parameters", [
    (192, "statistics_3dspeaker", 6_848_544), (512, "statistics_wespeaker", 7_176_224)])
def test_the_sizes_of_public_campplus_networks(embedding_dim, pooling, parameters):
    network = build_network(80, "campplus", {
        "head_channels": 32, "channels": 128, "growth": 32, "bottleneck": 128, "layers": [12, 24, 16],
        "dilations": [1, 2, 2], "pooling": pooling, "embedding_dim": embedding_dim})
    assert sum(p.numel() for p in network.parameters()) == parameters


def constant(network):
    """Give every weight a value that follows from its place alone."""
    with torch.no_grad():
        for n, parameter in enumerate(network.parameters()):
            values = torch.arange(parameter.numel(), dtype=torch.float32)
            parameter.copy_((torch.sin(values * (n + 1)) * 0.3).view(parameter.shape))
    return network.eval()


@pytest.mark.parametrize("changes, expected", [
    ({}, [0.1784, 0.2569, -0.1581, 0.4157, -0.7434, 0.3894]),
    ({"batch_norm": "channel_frequency"}, [0.4584, -0.0543, 0.1221, 0.2312, -0.696, 0.4839]),
    ({"pooling": "statistics"}, [0.2484, -0.1636, -0.5378, -0.5507, -0.0814, 0.5589])])
def test_fixed_numbers(changes, expected):
    features = torch.sin(torch.arange(21 * 10, dtype=torch.float32) * 0.7).view(1, 21, 10)
    embedding = constant(build_network(10, "rescnn", {**NARROW, **changes}))(features)
    torch.testing.assert_close(embedding, torch.tensor([expected]), atol=1e-3, rtol=0)


def test_fixed_numbers_of_the_gru():
    features = torch.sin(torch.arange(21 * 10, dtype=torch.float32) * 0.7).view(1, 21, 10)
    embedding = constant(build_network(10, "gru", NARROW_GRU))(features)
    expected = torch.tensor([[0.0773, 0.17, 0.4399, 0.5186, 0.5017, 0.5009]])
    torch.testing.assert_close(embedding, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name, pooling, expected", [
    ("resnet", "statistics", [0.1247, -0.4856, 0.4333, 0.4273, -0.6118, -0.0625]),
    ("resnet", "attentive", [0.1535, -0.1556, -0.4078, -0.5518, -0.5562, -0.4148]),
    ("ecapa", "attentive", [0.0, 0.5345, -0.5043, 0.1087, 0.251, -0.6206])])
def test_fixed_numbers_of_modern_bodies(name, pooling, expected):
    features = torch.sin(torch.arange(21 * 10, dtype=torch.float32) * 0.7).view(1, 21, 10)
    embedding = constant(build_network(10, name, {**BODIES[name], "pooling": pooling}))(features)
    torch.testing.assert_close(embedding, torch.tensor([expected]), atol=1e-3, rtol=0)


def test_every_network_is_checked():
    assert list(BODIES) == list(NETWORKS)


@pytest.mark.parametrize("name, options", [*((name, {"pooling": p}) for name in NETWORKS for p in POOLING), *VARIANTS])
def test_what_a_network_promises(name, options):
    """As written in deepspeaker/models/__init__.py."""
    torch.manual_seed(0)  # of few weights, some hardly notice padding
    first, *others = inspect.signature(NETWORKS[name]).parameters.values()
    assert first.name == "num_mel_bins" and all(a.kind is a.KEYWORD_ONLY for a in others)
    assert {a.name for a in others if a.default is a.empty} == set(BODIES[name])
    network = build_network(16, name, {**BODIES[name], **options})
    assert isinstance(network, Network) and network.embedding_dim == BODIES[name]["embedding_dim"] == 6
    for _ in range(3):  # so that normalisation moves zeros away from zero
        batch, drawn = torch.randn(6, 50, 16) + 1, torch.get_rng_state()
        network(batch)
        assert torch.equal(torch.get_rng_state(), drawn) != network.random_in_training
    network.eval()
    utterances = [torch.randn(frames, 16) for frames in (1, 2, 3, 31, 32, 33, 63, 64, 65, 130, 500)]
    with torch.inference_mode():
        alone = torch.cat([network(features.unsqueeze(0)) for features in utterances])
        assert alone.shape == (11, 6) and alone.dtype == torch.float32
        torch.testing.assert_close(alone.norm(dim=1), torch.ones(11))
        frames = [len(features) for features in utterances]
        batch = torch.zeros(len(frames), padded_length(max(frames)), 16)
        for row, features in zip(batch, utterances, strict=True):
            row[:len(features)] = features
        ends = Ends(frames, batch.shape[1], torch.tensor(frames))
        torch.testing.assert_close(network(batch, ends), alone, atol=2e-6, rtol=0)
        assert (network(batch) - alone).abs().max() > 1e-3
        pooled = []
        network.affine.register_forward_hook(lambda _, inputs, output: pooled.extend((inputs[0].dtype, output.dtype)))
        with torch.autocast("cpu", torch.bfloat16):  # as on a GPU
            mixed = network(batch[-2:])
        assert pooled == 2 * [torch.float32]
        assert mixed.dtype == torch.float32
        torch.testing.assert_close(mixed.norm(dim=1), torch.ones(2))
        double = network.double()(batch[-2:].double())
        assert double.dtype == torch.float64
        torch.testing.assert_close(double.norm(dim=1), torch.ones(2).double())


@pytest.mark.parametrize("name", BODIES)
def test_every_parameter_takes_part(name):
    network = build_network(40, name, {**BODIES[name], "pooling": "attentive"})
    network(torch.randn(4, 33, 40)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_recurrent_layers_run_in_float32_under_autocast():
    network, seen = build_network(16, "gru", NARROW_GRU), []
    for layer in (network.front, network.gru):
        layer.register_forward_hook(lambda layer, inputs, output: seen.append(output[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.randn(2, 50, 16)).sum().backward()
    assert seen == [torch.bfloat16, torch.float32] and network.gru.weight_hh_l0.grad.dtype == torch.float32


@pytest.mark.parametrize("name", BODIES)
def test_compiled_for_two_lengths_it_is_compiled_for_all(name):
    stages = {"channels": [4, 4, 4, 4], "blocks": [1, 1, 1, 1]} if name == "resnet" else {}
    network, counter = build_network(16, name, BODIES[name] | stages), CompileCounterWithBackend("eager")
    torch._dynamo.reset()
    compiled, counts = torch.compile(network.forward, backend=counter), []
    for frames in (20, 30, 21, 24, 27, 29):
        compiled(torch.randn(3, frames, 16)).sum().backward()
        counts.append(counter.frame_count)
    assert counts[0] < counts[1] and set(counts[1:]) == {counts[1]}


def test_parts_of_a_res2_layer_reach_ever_further():
    layer, x = Res2(channels=8, scale=4, dilation=3).double().eval(), torch.randn(1, 8, 41, dtype=torch.float64)
    for part in layer.parts:  # nothing that ReLU would hide
        torch.nn.init.constant_(part[0].weight, 0.1)
        torch.nn.init.constant_(part[0].bias, 100.0)
    changed = x.clone()
    changed[:, 2:4, 20] += 1.0
    moved = (layer(changed, None) - layer(x, None)).abs().amax((0,)).view(4, 2, 41).amax(1) > 1e-9
    assert [row.nonzero().flatten().tolist() for row in moved] == [
        [], [17, 20, 23], [14, 17, 20, 23, 26], [11, 14, 17, 20, 23, 26, 29]]


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


@pytest.mark.parametrize("pool, least", [(wespeaker_statistics, 1e-7 ** 0.5), (speaker3d_statistics, 1e-10)])
def test_statistics_of_other_projects(pool, least):
    """Over T - 1; one frame, and values that do not change, have the least deviation, and a gradient."""
    x = torch.randn(2, 9, 3, dtype=torch.float64)
    expected = torch.cat([x.mean(1), (x.var(1) + (1e-7 if pool is wespeaker_statistics else 0)).sqrt()], 1)
    torch.testing.assert_close(pool(x), expected)
    for still in (x[:, :1], torch.ones(2, 9, 3, dtype=torch.float64)):
        still.requires_grad_()
        found = pool(still)
        torch.testing.assert_close(found, torch.cat([still[:, 0], torch.full((2, 3), least).double()], 1))
        found.sum().backward()
        assert still.grad.isfinite().all()
        still.requires_grad_(False)


def test_attentive_pooling_is_that_of_one_layer_over_frame_mean_and_deviation():
    torch.manual_seed(0)
    x, pool = torch.randn(2, 9, 3, dtype=torch.float64), Attentive(3).double()
    weight = torch.cat([pool.frame.weight, pool.context.weight], 1)
    for row, found in zip(x, pool(x), strict=True):
        average, deviation = row.mean(0), (row.var(0, correction=0) + 1e-5).sqrt()
        scores = torch.stack([pool.score(torch.tanh(weight @ torch.cat([frame, average, deviation]) + pool.frame.bias))
                              for frame in row])
        shares = scores.exp() / scores.exp().sum(0)
        average = (shares * row).sum(0)
        deviation = ((shares * row ** 2).sum(0) - average ** 2 + 1e-5).sqrt()
        torch.testing.assert_close(found, torch.cat([average, deviation]))
    with torch.no_grad():
        pool.score.weight.zero_()
    torch.testing.assert_close(pool(x), statistics(x))


def test_unknown_names_list_the_valid_ones():
    with pytest.raises(UserError, match="no normalisation 'layer'; there are: channel, channel_frequency"):
        build_network(40, "rescnn", {**NARROW, "batch_norm": "layer"})
    for name, options in BODIES.items():
        with pytest.raises(UserError, match="there are: mean, statistics, attentive"):
            build_network(40, name, {**options, "pooling": "max"})


@pytest.mark.parametrize("name, changes, message", [
    ("resnet", {"blocks": [1]}, r"expected one number of each for every stage, found \[4, 8\] and \[1\]"),
    ("resnet", {"channels": [], "blocks": []}, r"for every stage, found \[\] and \[\]"),
    ("ecapa", {"scale": 3}, "scale: expected at least 2 and a divisor of channels, found 3 and 8 channels"),
    ("ecapa", {"scale": 1}, "found 1 and 8 channels"),
    ("ecapa", {"dilations": []}, "dilations: expected one number for each block, found none"),
    ("ecapa", {"block_input": "all"}, "block_input: expected one of: sum, previous, found 'all'"),
    ("resnet", {"block": "wide"}, "block: no block 'wide'; there are: basic, bottleneck"),
    ("campplus", {"dilations": [1]}, r"layers, dilations: .* every block, found \[2, 3\] and \[1\]"),
    ("campplus", {"layers": [], "dilations": []}, r"every block, found \[\] and \[\]")])
def test_sizes_that_do_not_fit_are_refused(name, changes, message):
    with pytest.raises(UserError, match=message):
        build_network(40, name, {**BODIES[name], **changes})


def test_synchronised_batch_normalisation_keeps_each_pair_of_channel_and_frequency_apart():
    network = build_network(10, "rescnn", {**NARROW, "batch_norm": "channel_frequency"})
    names = list(network.state_dict())
    converted = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network).eval()
    assert list(converted.state_dict()) == names
    assert converted(torch.randn(2, 33, 10)).shape == (2, 6)
