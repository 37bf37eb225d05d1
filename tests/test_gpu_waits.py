"""Neither training nor embedding makes the host wait for a GPU: shown on a pretended one."""

from collections import Counter

import numpy as np
import pytest
import torch
from pretend_gpu import pretend_gpu
from torch.optim.optimizer import register_optimizer_step_post_hook

from deepspeaker.config import load_config
from deepspeaker.extraction.embed import embed_set
from deepspeaker.extraction.feature_set import FeatureSet
from deepspeaker.models.networks import build_network
from deepspeaker.training import loop

STEPS = 6  # per epoch
AT_THE_END = 4  # waits at the end of an epoch, without those for writing its checkpoints
MOST_KERNELS = 180  # in a step
PER_BLOCK = 1  # waits for the embeddings of a block of utterances
FREE = {"resident": 1 << 40, "mapped": 0}  # memory that decides where archives are


def total(waits):
    return sum(waits, Counter())


@pytest.mark.parametrize("place", FREE)
@pytest.mark.parametrize("phase", ["softmax", "triplet"])
def test_no_step_waits(ready, tmp_path, phase, place):
    conf, train, dev = ready({f"{phase}.steps_per_epoch": STEPS, "augment.time_mask": 10})
    with pretend_gpu(FREE[place]) as gpu:
        hook = register_optimizer_step_post_hook(lambda *_: gpu.step())
        loop.fit(load_config(conf), phase, train, dev, tmp_path, None, 0, torch.device("cuda"))
        hook.remove()
    _, *steps, last = gpu.steps  # the first begins with making the network
    between = steps.pop(STEPS - 1)  # ends an epoch and begins the next
    assert len(steps) == 2 * (STEPS - 1)
    kernels, thread = max(step.kernels.total() for step in steps), gpu.drawing
    told = (f"{phase}, {place}: {kernels} kernels in a step, in the thread that draws "
            f"{thread.kernels.total() / 2 / STEPS:g}; it waits for {dict(thread.waits)}")
    print(told)
    assert total(step.waits for step in steps) == {}, told
    for step in (between, last):
        waits = Counter({wait: count for wait, count in step.waits.items() if not wait.startswith("checkpoint.py")})
        assert waits.total() <= AT_THE_END, waits
    assert kernels <= MOST_KERNELS, f"{told}; {steps[-1].kernels}"
    assert gpu.mixtures == {}


def test_a_block_of_embeddings_waits_once(ready):
    conf, train_dir, _ = ready()
    config = load_config(conf)
    features = FeatureSet(train_dir, config.features)
    network = build_network(config.features.num_mel_bins, config.model.name, config.model.options).eval()
    expected = dict(embed_set(network, features, range(len(features)), config, torch.device("cpu")))
    with pretend_gpu(0) as gpu:
        network.to("cuda")
        gpu.step()
        found = dict(embed_set(network, features, range(len(features)), config, torch.device("cuda")))
    assert len(found) == len(features) == 16
    for name, embedding in expected.items():
        np.testing.assert_allclose(found[name], embedding, atol=1e-5)
    assert gpu.steps[1].waits.total() <= PER_BLOCK, gpu.steps[1].waits
    assert gpu.mixtures == {}
