#!/usr/bin/env python3
"""Collect all results of an experiment in one table, and its model in one file.

Reads EXP_DIR/PHASE/scores/SET/TRIALS.BACKEND.json (from compute_metrics.py --json), and of the last phase its network
and what the back-ends learnt: calibrations, PLDA, cohort. Writes EXP_DIR/results.tsv and EXP_DIR/model.pt, which takes
[embedding] and [scoring] from --conf.

    steps/collect_results.py --conf conf/small.toml --train data/train exp/small
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.checkpoint import write_model
from deepspeaker.config import load_config
from deepspeaker.errors import run
from deepspeaker.inference.model_file import best_first, gather
from deepspeaker.recipe.phases import ALL, networks
from deepspeaker.recipe.results import collect, write_results
from deepspeaker.scoring.backends import BACKENDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exp_dir", type=Path, metavar="EXP_DIR")
    parser.add_argument("--conf", type=Path, required=True, metavar="FILE",
                        help="configuration whose [embedding] and [scoring] the model takes")
    parser.add_argument("--phases", default=ALL, metavar="NAMES",
                        help="phases that were trained (default: %(default)s)")
    parser.add_argument("--init", default="", metavar="CHECKPOINT",
                        help="network that the first of them started from (default: random weights)")
    parser.add_argument("--train", type=Path, metavar="DIR", help="training set, whose counts the model keeps")
    parser.add_argument("--backends", nargs="+", choices=BACKENDS,
                        help="back-ends, of which the model decides by the first (default: the conf's)")
    parser.add_argument("--choose", action="store_true",
                        help="let the model decide by the back-end with the lowest Cllr on the development set")
    args = parser.parse_args()

    phases = networks(args.exp_dir, args.phases, args.init)
    rows = collect(args.exp_dir, phases)
    write_results(args.exp_dir / "results.tsv", rows)
    print(f"{args.exp_dir}/results.tsv: {len(rows)} rows")
    last, network = [*phases.items()][-1]
    if network.exists():
        config = load_config(args.conf)
        backends = args.backends or config.scoring.backends
        if args.choose:
            backends, why = best_first(args.exp_dir / last, backends)
            print(f"{args.exp_dir}/model.pt decides by {backends[0]}: {why}")
        scoring = config.scoring.model_copy(update={"backends": backends})
        config = config.model_copy(update={"scoring": scoring})
        write_model(args.exp_dir / "model.pt", network, config,
                    gather(args.exp_dir / last, scoring, args.train, rows))


if __name__ == "__main__":
    run(main)
