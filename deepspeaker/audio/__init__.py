"""Sound: files and commands -> samples, and what is done to samples. Knows no data directory."""
