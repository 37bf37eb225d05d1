"""Losses: what each promises, and value and gradient against slow second opinions in float64."""

import math

import pytest
import torch
import torch.nn.functional as F

from deepspeaker.losses import LOSSES, SoftmaxArguments, TripletArguments, triplet
from deepspeaker.losses.labels import Labels
from deepspeaker.losses.softmax import Softmax, with_margin
from deepspeaker.losses.triplet import MINING, triplet_loss

ARGUMENTS = {"softmax": SoftmaxArguments(margin=0.2, scale=30.0), "triplet": TripletArguments(margin=0.1, mining="all")}
GAUGES = {"softmax": {"accuracy"}, "triplet": {"active"}}


def slow_triplet_loss(embeddings, speakers, utterances, margin, mining):
    """Triplets one by one: the loss, how many are active, and how many there are."""
    cosine, terms, met = embeddings @ embeddings.T, [], 0
    for a in range(len(speakers)):
        for p in range(len(speakers)):
            if speakers[a] != speakers[p] or utterances[a] == utterances[p]:
                continue
            negatives = [n for n in range(len(speakers)) if speakers[n] != speakers[a]]
            if mining == "hard":
                negatives = [max(negatives, key=lambda n: cosine[a, n])]
            met += len(negatives)
            for n in negatives:
                term = cosine[a, n] - cosine[a, p] + margin
                if term > 0 and (mining != "semihard" or cosine[a, n] < cosine[a, p]):
                    terms.append(term)
    return torch.stack(terms).mean() if terms else embeddings.sum() * 0, len(terms), met


def batch(seed, size=24, speakers=5):
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(size, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    who = torch.randint(speakers, (size,), generator=generator)
    utterance = who * 3 + torch.randint(3, (size,), generator=generator)  # some utterances come twice
    return raw, who, utterance


@pytest.mark.parametrize("phase", LOSSES)
def test_what_a_loss_promises(phase):
    """As written in deepspeaker/losses/__init__.py."""
    raw, speakers, utterances = batch(0)
    loss = LOSSES[phase](5, 6).double()
    found, gauges = loss(F.normalize(raw), Labels.of(speakers, utterances), ARGUMENTS[phase])
    found.backward()
    assert found.shape == () and found > 0 and raw.grad.isfinite().all() and raw.grad.any()
    assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in loss.parameters())
    assert set(gauges) == GAUGES[phase]
    assert all(value.shape == () and 0 <= value <= 1 and not value.requires_grad for value in gauges.values())


def test_the_triplet_module_is_triplet_loss():
    raw, *labels = batch(1)
    for mining in MINING:
        found = LOSSES["triplet"](5, 6)(raw, Labels.of(*labels), TripletArguments(margin=0.3, mining=mining))
        assert found == triplet_loss(raw, Labels.of(*labels), 0.3, mining)


@pytest.mark.parametrize("seed", range(20))
def test_pairs_are_those_of_the_double_loop(seed):
    _, speakers, utterances = batch(seed, size=seed, speakers=1 + seed % 6)
    labels = Labels.of(speakers, utterances)
    expected = [[j for j in range(seed) if speakers[i] == speakers[j] and utterances[i] != utterances[j]]
                for i in range(seed)]
    others = [sum(int(other != speaker) for other in speakers) for speaker in speakers]
    assert [row[mask].tolist() for row, mask in zip(labels.positives, labels.paired, strict=True)] == expected
    own = torch.arange(seed)[:, None].expand_as(labels.positives)
    assert torch.equal(labels.positives[~labels.paired], own[~labels.paired])
    assert labels.positives.shape == (seed, max(map(len, expected), default=0))
    assert (labels.pairs, labels.others) == (sum(map(len, expected)), sum(others))
    assert labels.triplets == sum(len(row) * count for row, count in zip(expected, others, strict=True))


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("margin", [0.05, 0.1, 0.5])
@pytest.mark.parametrize("block", [1, 100, 1 << 20])
def test_triplet_loss_is_that_of_the_triple_loop(mining, seed, margin, block, monkeypatch):
    monkeypatch.setattr(triplet, "COSINES_AT_ONCE", block)
    raw, speakers, utterances = batch(seed)
    expected, count, met = slow_triplet_loss(F.normalize(raw), speakers, utterances, margin, mining)
    expected.backward()
    gradient, raw.grad = raw.grad, None
    loss, gauges = triplet_loss(F.normalize(raw), Labels.of(speakers, utterances), margin, mining)
    loss.backward()
    assert count > 0 and loss > 0
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(raw.grad, gradient)
    assert gauges["active"] == pytest.approx(count / met)


@pytest.mark.parametrize("mining", MINING)
def test_triplet_loss_without_active_triplets_is_zero(mining):
    embeddings = torch.eye(4, requires_grad=True)
    pairs, together = torch.tensor([0, 0, 1, 1]), torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    for speakers, utterances in ((torch.arange(4), torch.arange(4)), (torch.zeros(4).long(), torch.arange(4)),
                                 (pairs, pairs)):
        loss, gauges = triplet_loss(embeddings, Labels.of(speakers, utterances), 0.1, mining)
        loss.backward()
        assert loss == 0 and gauges["active"] == 0 and not embeddings.grad.any()
    loss, gauges = triplet_loss(together, Labels.of(pairs, torch.arange(4)), 0.1, mining)  # solved
    assert loss == 0 and gauges["active"] == 0


def test_two_windows_of_one_utterance_are_no_positive_pair():
    embeddings = F.normalize(torch.tensor([[1.0, 0.1], [1.0, 0.0], [1.0, 0.11]]))
    loss, _ = triplet_loss(embeddings, Labels.of(torch.tensor([0, 0, 1]), torch.tensor([7, 7, 8])), 0.1, "all")
    assert loss == 0


def test_margin_is_added_to_the_angle():
    angle = torch.linspace(0.01, math.pi - 0.21, 50, dtype=torch.float64)
    torch.testing.assert_close(with_margin(angle.cos(), 0.2), (angle + 0.2).cos())
    everywhere = with_margin(torch.linspace(0, math.pi, 200, dtype=torch.float64).cos(), 0.2)
    assert (everywhere.diff() < 0).all()


@pytest.mark.parametrize("margin", [0.2, 0.5])
def test_beyond_pi_the_margin_goes_on_linearly_in_the_cosine(margin):
    beyond = torch.tensor([math.pi - margin / 2, math.pi], dtype=torch.float64).cos()
    torch.testing.assert_close(with_margin(beyond, margin), beyond - margin * math.sin(margin))
    just = with_margin(torch.tensor([-math.cos(margin) + 1e-9], dtype=torch.float64), margin)
    assert just.item() == pytest.approx(-1, abs=1e-6)  # cos(pi)


def test_accuracy_is_without_margin():
    loss = Softmax(3, 3)
    with torch.no_grad():
        loss.weight.copy_(torch.diag(torch.tensor([1.0, 5.0, 0.1])))  # their lengths do not matter
    embeddings = F.normalize(torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.9]]))
    labels = Labels.of(torch.tensor([0, 0, 0, 0]), torch.arange(4))
    gauges = loss(embeddings, labels, SoftmaxArguments(margin=0.5, scale=30.0))[1]
    assert gauges["accuracy"] == 0.5


@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_softmax(margin):
    torch.manual_seed(0)
    loss = Softmax(7, 5).double()
    embeddings = F.normalize(torch.randn(4, 5, dtype=torch.float64)).requires_grad_()
    speakers = torch.tensor([3, 0, 6, 3])
    found, gauges = loss(embeddings, Labels.of(speakers, speakers), SoftmaxArguments(margin, scale=30.0))
    expected, right = [], 0
    for embedding, speaker in zip(embeddings, speakers, strict=True):
        cosines = [embedding @ w / w.norm() for w in loss.weight]
        right += max(range(7), key=lambda i: cosines[i]) == speaker
        logits = [30 * (torch.cos(torch.acos(c) + margin) if i == speaker else c) for i, c in enumerate(cosines)]
        expected.append(-logits[speaker] + torch.logsumexp(torch.stack(logits), 0))
    torch.testing.assert_close(found, torch.stack(expected).mean())
    assert gauges["accuracy"] == right / 4
    found.backward()
    assert torch.isfinite(embeddings.grad).all() and torch.isfinite(loss.weight.grad).all()


def test_gradient_is_finite_where_the_cosine_is_one():
    loss = Softmax(3, 4)
    embeddings = F.normalize(loss.weight.detach()[:2]).requires_grad_()
    labels = Labels.of(torch.tensor([0, 1]), torch.tensor([0, 1]))
    loss(embeddings, labels, SoftmaxArguments(margin=0.2, scale=30.0))[0].backward()
    assert torch.isfinite(embeddings.grad).all()
