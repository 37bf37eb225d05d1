"""Rates, the length of a frame, the step between frames, its window and the size of the FFT, in a file that needs no
torch."""

LENGTH_MS, SHIFT_MS = 25, 10
FRAME_LENGTH = LENGTH_MS / 1000  # seconds
FRAME_SHIFT = SHIFT_MS / 1000  # seconds
POVEY = "povey"  # Kaldi's default window; the other is "hamming"
FLOOR = 2.0 ** -23  # float32's epsilon: energies of 16-bit samples are at least this before the logarithm, as in Kaldi
RATES = 4_000, 192_000  # the lowest and the highest rate of features and of sounds, in Hz


def frame_sizes(sample_rate: int) -> tuple[int, int]:
    """(samples a frame, samples from one frame to the next), truncated to whole samples as Kaldi does."""
    return sample_rate * LENGTH_MS // 1000, sample_rate * SHIFT_MS // 1000


def fft_size(length: int) -> int:
    """The power of two to which a frame of `length` samples is padded."""
    return 1 << (length - 1).bit_length()
