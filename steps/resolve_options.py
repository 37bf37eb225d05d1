#!/usr/bin/env python3
"""Resolve run.sh's options: print shell assignments for it, or one sentence that says what cannot work (status 1).

Reads the configuration, the checkpoint of --init and, of other files that options name, whether they are there. With
--set or --init, writes the changed configuration to a temporary file.

    steps/resolve_options.py --caller "$PWD" --root=/db --stop-stage=7 --nj=4 --nnodes=1 --node-rank=0 --seed=0
"""

import argparse
import os
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import run
from deepspeaker.recipe.options import OPTIONS, resolve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--caller", type=Path, required=True, help="folder that relative paths of options start from")
    for name in OPTIONS:
        parser.add_argument(f"--{name.replace('_', '-')}", default="",
                            help=f"value of run.sh --{name.replace('_', '-')}, empty where not given")
    args = vars(parser.parse_args())
    sys.argv[0] = "run.sh"  # whose options a message is about
    for name, value in resolve(args, args.pop("caller"), Path(os.getcwd())).items():
        words = f"({shlex.join(value)})" if isinstance(value, list) else shlex.quote(value)
        print(f"{name}={words}")


if __name__ == "__main__":
    run(main)
