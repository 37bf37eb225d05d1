"""Stages 3 and 4: training, phase by phase. In the order of use:

loop.py            fit(): the only training loop; its epochs and steps, and final.pt
learner.py         network and loss as one module; the optimizer and --init
rehearsal.py       before the first step: torch.compile, and the GPU memory that a step takes
gauges.py          numbers logged beside the loss; the alarm for triplet training that has collapsed
meter.py           the gauges of an epoch: progress bar, means, end of a run whose loss is not finite
dev_set.py         the EER of the development set, in one or several conditions, which chooses the best epoch
state.py           a run: checkpoints, resuming, the mean of the last epochs, moving an earlier training aside
distributed.py     several processes that train one network (torchrun)
stop.py            SIGTERM and SIGINT: finish the step, write a checkpoint, exit

What changes during training: the learning rate (learning_rate_at in deepspeaker/config.py), the margin (margin_at in
losses/softmax.py), the mining (mining_at in losses/triplet.py).
The batches are those of deepspeaker/batches/.
"""
