"""Gauges of training."""

import numpy as np
import torch
import torch.nn.functional as F

from deepspeaker.gauges import ALARM_STEPS, CollapseAlarm, spread


def test_spread_is_that_of_all_pairs():
    torch.manual_seed(0)
    embeddings = F.normalize(torch.randn(9, 4))
    speakers, utterances = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2]), torch.tensor([0, 0, 1, 2, 3, 4, 5, 6, 7])
    cosines = {"same": [], "different": [], "cosine": []}
    for i in range(9):
        for j in range(9):
            cosine = float(embeddings[i] @ embeddings[j])
            if i != j:
                cosines["cosine"].append(cosine)
            if speakers[i] != speakers[j]:
                cosines["different"].append(cosine)
            elif utterances[i] != utterances[j]:
                cosines["same"].append(cosine)
    energies = np.linalg.svd(embeddings.numpy(), compute_uv=False) ** 2
    share = energies / energies.sum()
    expected = {name: np.mean(values) for name, values in cosines.items()}
    expected["effective_rank"] = np.exp(-np.log((share ** 2).sum()))
    found = spread(embeddings, speakers, utterances)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4)


def test_spread_of_what_has_no_pairs_is_no_number():
    alike = torch.ones(3, 1)
    found = spread(alike, torch.arange(3), torch.arange(3))
    assert found["same"].isnan() and found["different"] == found["cosine"] == 1 and found["effective_rank"] == 1


def test_the_alarm_rings_after_so_many_steps_in_a_row():
    alarm = CollapseAlarm(0.1)
    for _ in range(ALARM_STEPS - 1):
        assert not alarm.rings(0.1015, 0.95)
    assert alarm.rings(0.0985, 0.95)
    for loss, cosine in ((0.103, 0.99), (0.097, 0.99), (0.1, 0.89)):
        assert not alarm.rings(loss, cosine)
        for _ in range(ALARM_STEPS - 1):
            assert not alarm.rings(0.1, 1.0)
