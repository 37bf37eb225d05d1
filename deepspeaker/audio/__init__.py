"""Sound: files and commands -> samples, and what is done to samples. Knows no data directory and no corpus."""

SAMPLE_RATE = 16000  # Hz, of the corpora this is made for; another rate is converted to what the features ask for
