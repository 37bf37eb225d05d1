"""Losses by the phase that they train, and what each promises. A loss is a module, and

- it is built from num_speakers (training speakers) and embedding_dim (E), whether it needs them or not;
- forward(embeddings (B, E) of unit length, labels, arguments) -> the loss, a scalar with a gradient, and a dictionary
  of gauges, scalars to log. `labels` are the batch's Labels (labels.py), their speakers 0 .. num_speakers - 1, their
  tensors where the embeddings are;
- on a GPU it does nothing that the CPU must wait for: no numbers are read from tensors, no sizes depend on values;
- `arguments` is the NamedTuple of its phase: what the configuration gives for the step (`loss_arguments` in config.py).

tests/test_losses.py checks this for every loss here.

labels.py   who speaks in a batch, and which of its windows form pairs
softmax.py  stage 3: classification of the training speakers, plain or with an additive angular margin; its warm-up
triplet.py  stage 4: triplet loss on cosines, the mining of triplets in a batch; the schedule of the mining
"""

from collections.abc import Callable

from torch import nn

from deepspeaker.losses.softmax import Softmax, SoftmaxArguments
from deepspeaker.losses.triplet import Triplet, TripletArguments

LossArguments = SoftmaxArguments | TripletArguments
LOSSES: dict[str, Callable[[int, int], nn.Module]] = {"softmax": Softmax, "triplet": Triplet}
