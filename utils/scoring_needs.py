#!/usr/bin/env python3
"""Print what scoring back-ends and qualities need beyond embeddings and trials: `cohort`, `plda` and the like.

    utils/scoring_needs.py "cosine plda" "log_duration"
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import run
from deepspeaker.scoring import BACKENDS
from deepspeaker.scoring.needs import look_up, needs
from deepspeaker.scoring.quality import QUALITIES


def main():
    backends, qualities = (names.split() for names in sys.argv[1:])
    functions = [look_up("back-end", name, BACKENDS) for name in backends]
    functions += [look_up("quality", name, QUALITIES) for name in qualities]
    print(*sorted({need for function in functions for need in needs(function)}))


if __name__ == "__main__":
    run(main)
