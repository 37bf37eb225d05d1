"""Gauges of training."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from deepspeaker.batches.training_set import Batch
from deepspeaker.errors import UserError
from deepspeaker.losses.labels import Labels
from deepspeaker.training.gauges import ALARM_STEPS, CollapseAlarm, spread
from deepspeaker.training.meter import Meter, epoch_line


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
    found = spread(embeddings, Labels.of(speakers, utterances))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4)


def test_spread_of_what_has_no_pairs_is_no_number():
    alike = torch.ones(3, 1)
    found = spread(alike, Labels.of(torch.arange(3), torch.arange(3)))
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


BATCH = Batch(torch.tensor([1.0, 2.0, np.nan, 4.0, 5.0, 6.0]).view(3, 2, 1),
              Labels.of(torch.arange(3), torch.tensor([2, 0, 1])))


def meter(phase="softmax"):
    """Of a run at step 7 with data of three utterances."""
    settings = SimpleNamespace(learning_rate_at=lambda step: 0.25 + step)
    run = SimpleNamespace(step=7, phase=phase, settings=settings, alarm=CollapseAlarm(0.1), out_dir=Path("exp/x"))
    features = SimpleNamespace(utterances=["u0", "u1", "u2"], path="feats.scp")
    return Meter(run, SimpleNamespace(features=features), check=lambda step: None)


def gauges(**values):
    return {name: torch.tensor(value) for name, value in {"loss": 1.0, "gradient_norm": 2.0, **values}.items()}


def test_means_of_an_epoch_and_what_the_progress_bar_shows():
    found = meter()
    assert found.shown() == {}
    for loss, same in ((1.0, 0.5), (2.0, np.nan), (6.0, 0.25)):
        found.add(BATCH, gauges(loss=loss, same=same, different=np.nan))
    assert found.shown() == {"loss": "2.000"}  # the last step is read when the next has been started
    found.read()
    found.read()
    assert found.shown() == {"loss": "6.000", "same": "0.250"}
    assert found.means() == {"loss": 3.0, "gradient_norm": 2.0, "same": 0.375}


@pytest.mark.parametrize("bad", [{"loss": np.nan}, {"gradient_norm": np.inf}])
def test_training_that_fails_ends_at_the_step_after(bad):
    found = meter()
    found.add(BATCH, gauges(**bad))
    found._run.step = 8
    with pytest.raises(UserError, match="at step 7: the features of u0 hold values that are not finite"):
        found.add(BATCH, gauges())
    found.add(BATCH._replace(features=torch.ones(3, 1, 1)), gauges(**bad))
    with pytest.raises(UserError, match="at step 8, learning rate 8.25: lower"):
        found.read()


def test_only_triplets_collapse():
    for phase in ("softmax", "triplet"):
        found = meter(phase)
        for _ in range(ALARM_STEPS):
            found.add(BATCH, gauges(loss=0.1, cosine=0.95))
        if phase == "triplet":
            with pytest.raises(UserError, match=r"collapsed at step 7: .* \(0.1000\) .* cosine 0.950"):
                found.read()
        else:
            found.read()


def test_an_epoch_is_one_short_line():
    run = SimpleNamespace(phase="triplet", settings=SimpleNamespace(epochs=150))
    entry = {"epoch": 149, "step": 9, "loss": 0.04515, "active": 0.01579, "same": 0.7213, "different": -0.0004912,
             "cosine": 0.02, "effective_rank": 10.3, "gradient_norm": 1.2, "learning_rate": 3e-4, "dev_eer": 12.345,
             "utterances_per_second": 12419.9, "waiting": 1e-4, "seconds": 12345.6}
    assert epoch_line(run, entry, False) == (
        "triplet epoch 149/150  loss 0.045  active 1.6%  same 0.72  different -0.00  dev EER 12.35%  12420 utt/s  "
        "12346 s")
    assert epoch_line(run, entry, True).endswith("12346 s  best") and len(epoch_line(run, entry, True)) <= 120


@pytest.mark.parametrize("phase, gauges, shown", [
    ("triplet", {"loss": 0.04515, "active": 0.01579}, "loss 0.045  active 1.6%"),
    ("softmax", {"loss": 14.04515, "accuracy": 1.0}, "loss 14.045  accuracy 100.0%")])
def test_an_epoch_is_one_short_line_with_several_conditions_too(phase, gauges, shown):
    run = SimpleNamespace(phase=phase, settings=SimpleNamespace(epochs=150))
    entry = {"epoch": 149, "step": 9, **gauges, "same": 0.7213, "different": -0.0004912, "dev_eer": 42.345,
             "dev_eer_clean": 40.06, "dev_eer_noise": 44.0, "dev_eer_reverb": 42.975, "utterances_per_second": 12419.9,
             "waiting": 1e-4, "seconds": 12345.6}
    assert epoch_line(run, entry, True) == (
        f"{phase} epoch 149/150  {shown}  dev EER 42.34% (clean 40.1, noise 44.0, reverb 43.0)  12346 s  best")
    assert len(epoch_line(run, entry, True)) <= 120
