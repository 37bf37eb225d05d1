"""The length of a frame and the step between frames, in a file that needs no torch."""

FRAME_LENGTH = 0.025  # seconds
FRAME_SHIFT = 0.010  # seconds
