"""Neither training nor embedding makes the host wait for a GPU: shown on a pretended one."""

from collections import Counter

import numpy as np
import pytest
import torch
from pretend_gpu import pretend_gpu
from torch.optim.optimizer import register_optimizer_step_post_hook

from deepspeaker.config import load_config
from deepspeaker.corpus.sounds import make_sounds
from deepspeaker.extraction.embed import embed_set
from deepspeaker.extraction.feature_set import FeatureSet
from deepspeaker.extraction.make_features import Places, join_features, make_share
from deepspeaker.models.networks import build_network
from deepspeaker.training import loop

STEPS = 6  # per epoch
AT_THE_END = 4  # waits at the end of an epoch, without those for writing its checkpoints
MOST_KERNELS = 180  # in a step
CONSTANTS = 5  # waits until the tables that fbank and changes use are on the GPU
MOST_WAITS_BESIDE = {False: 1, True: 0}  # for a batch, in the thread that draws: for a stream of its own
PER_BLOCK = 1  # waits for the embeddings of a block of utterances
FREE = {"resident": 1 << 40, "mapped": 0}  # memory that decides where archives are


def total(waits):
    return sum(waits, Counter())


ONLINE = {"augment.online": True, "augment.copies": [], "augment.speed": 0.5, "augment.reverb": 0.5,
          "augment.noise": 0.4, "augment.babble": 0.4, "augment.telephone": 0.5,
          "features.vad": True}


@pytest.mark.parametrize("place", FREE)
@pytest.mark.parametrize(("phase", "online"), [("softmax", {}), ("triplet", {}), ("softmax", ONLINE)])
def test_no_step_waits(ready, tmp_path, phase, online, place):
    conf, train, dev = ready({f"{phase}.steps_per_epoch": STEPS, "augment.time_mask": 10, **online})
    config, sounds = load_config(conf), None
    if online:
        sounds, places = tmp_path / "sounds", Places("train", tmp_path, tmp_path, ("sound", "vad"))
        make_share(train, config.features, places, 1, 1)
        join_features(train, config.features, places, 1)
        make_sounds(sounds, ["noise", "babble", "reverb"], config.features.sample_rate, 0, speech=train, number=5)
    with pretend_gpu(FREE[place]) as gpu:
        hook = register_optimizer_step_post_hook(lambda *_: gpu.step())
        (tmp_path / "out").mkdir()
        loop.fit(config, phase, train, dev, tmp_path / "out", None, 0, torch.device("cuda"), sounds=sounds)
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
    assert thread.waits.total() <= MOST_WAITS_BESIDE[bool(online)] * 2 * STEPS + CONSTANTS, told


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
