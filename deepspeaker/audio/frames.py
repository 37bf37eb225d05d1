"""How long a frame is, for the front-end and for what only needs to know (without importing torch)."""

FRAME_LENGTH = 0.025  # seconds
FRAME_SHIFT = 0.010  # seconds
