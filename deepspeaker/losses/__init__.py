"""Losses by the phase they train. Each is called with embeddings (B, E) of length one, their speakers (B,) and
utterances (B,), and by name with what its phase's settings give for the step (`loss_arguments` in config.py); it
returns the loss and a dictionary of gauges (scalars to log)."""

from deepspeaker.losses.softmax import Softmax
from deepspeaker.losses.triplet import Triplet

LOSSES = {"softmax": Softmax, "triplet": Triplet}
