#!/usr/bin/env python3
"""Embeddings of Resemblyzer, a public network trained on thousands of speakers, for a baseline on the same trials.

It needs an environment of its own:

    python3 -m venv VENV && VENV/bin/pip install --no-deps resemblyzer webrtcvad
    VENV/bin/pip install torch librosa scipy kaldiio 'setuptools<81'
    VENV/bin/python tests/benchmarks/resemblyzer_embeddings.py data/test OUT
    steps/score_trials.py data/test/trials OUT/embedding.scp OUT/scores
    steps/compute_metrics.py OUT/scores data/test/trials

wav.scp must name files: neither segments nor pipes are read.
"""

import sys
from pathlib import Path

from packages import require

require(__file__, "its first lines say how to install them")

from kaldiio import WriteHelper  # noqa: E402
from resemblyzer import VoiceEncoder, preprocess_wav  # noqa: E402


def main():
    data, out = map(Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    encoder = VoiceEncoder("cpu")
    with WriteHelper(f"ark,scp:{out}/embedding.ark,{out}/embedding.scp") as write:
        for line in (data / "wav.scp").read_text().splitlines():
            utterance, path = line.split(maxsplit=1)
            write(utterance, encoder.embed_utterance(preprocess_wav(path)))


if __name__ == "__main__":
    main()
