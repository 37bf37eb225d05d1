"""The length of a frame and the step between frames, apart from the front-end: who needs only these needs no torch."""

FRAME_LENGTH = 0.025  # seconds
FRAME_SHIFT = 0.010  # seconds
