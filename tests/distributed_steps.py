"""What test_distributed.py starts through torchrun, or alone: some steps of training in float64, batch normalisation on
its running statistics. Writes the parameters of each process, and what it has of the others, to OUT/RANK.pt.

    tests/distributed_steps.py CONF PHASE TRAIN DEV OUT [SOUNDS]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from deepspeaker.batches.training_set import TrainingSet
from deepspeaker.config import load_config
from deepspeaker.training import dev_set, distributed, loop


def main(conf, phase, train, dev, out, sounds=None):
    device = distributed.start("cpu")
    config = load_config(conf)
    data = TrainingSet(train, config.features, 2, config.augment, sounds and Path(sounds))
    out = Path(out)
    out.mkdir(exist_ok=True)
    torch.set_default_dtype(torch.float64)
    run = loop._start(config, phase, data, out, {}, None, 0, device)
    run.learner.eval()
    gauges = []
    for _ in range(4):
        batch = loop._draw(run, data, run.step)
        gauges.append(loop._step(run, batch._replace(features=batch.features.double())))
        run.step += 1
    facts = {"parameters": {name: value.clone() for name, value in run.learner.state_dict().items()}, "gauges": gauges}
    run.learner.network.float()
    dev_set.eer = lambda scores, labels: float(scores @ np.arange(len(scores)))  # tells any order from any other
    facts["dev"] = dev_set.DevelopmentSet(Path(dev), config).eers(run.learner.network, device)
    torch.save(facts | among_others(distributed.rank()), out / f"{distributed.rank()}.pt")


def agreed(*numbers):
    agreement = distributed.Agreement()
    return [*map(agreement.maximum, numbers), agreement.finish(), agreement.finish()]


def among_others(rank):
    own = torch.nn.BatchNorm1d(2)
    own.running_mean.fill_(rank + 1)
    distributed.align_buffers(own)
    numbers = (rank + 3, 3 - rank)
    return {"rank": rank, "size": distributed.size(), "share": list(range(6))[distributed.share(6)],
            "maximum": [distributed.maximum(number) for number in numbers], "agreed": agreed(*numbers),
            "objects": distributed.gather_objects(numbers), "buffer": own.running_mean.tolist(),
            "gathered": distributed.gather(torch.tensor([[rank + 0.5]])).tolist()}


main(*sys.argv[1:])
distributed.leave()
