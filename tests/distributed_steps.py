"""What test_distributed.py starts through torchrun, or alone: some steps of training in float64, batch normalisation on
its running statistics. Writes the parameters of each process to OUT.RANK.

    tests/distributed_steps.py CONF PHASE TRAIN DEV OUT
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from deepspeaker import distributed, training
from deepspeaker.batches import TrainingSet
from deepspeaker.config import load_config


def main(conf, phase, train, dev, out):
    device = distributed.start("cpu")
    config = load_config(conf)
    data = TrainingSet(train, config.features, min_utterances=2)
    out = Path(out)
    out.mkdir(exist_ok=True)
    torch.set_default_dtype(torch.float64)
    run = training._start(config, phase, data, out, {}, None, 0, device)
    run.learner.eval()
    gauges = []
    for _ in range(4):
        batch = training._draw(run, data, run.step)
        gauges.append(training._step(run, batch._replace(features=batch.features.double())))
        run.step += 1
    torch.save({"parameters": run.learner.state_dict(), "gauges": gauges}, out / f"{distributed.rank()}.pt")


main(*sys.argv[1:])
distributed.leave()
