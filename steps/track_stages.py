#!/usr/bin/env python3
"""Tell run.sh which parts of its stages are to be made, and why; keep a record of each that ended.

`plan` prints a line for each stage up to --last. `begin` prints the parts of --stage that are missing or stale, with
--force all, a line each ("2/train"), after a line that says why; their records are taken away. `end` writes the
record of --part. Records lie in DIR/data/.stages (stages 1 and 2) and EXP/.stages.

    steps/track_stages.py begin --stage 2 --dir . --exp exp/small --conf conf/small.toml --corpus voxceleb --root /db
"""

import argparse
import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import UserError, run
from deepspeaker.recipe import plan
from deepspeaker.recipe.stages import SECTIONS, Recipe


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["plan", "begin", "end"])
    for name in ("dir", "exp", "conf", "root", "start"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("corpus", "corpus-opts", "augment", "musan", "rirs", "init", "backends", "learnt-from"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stage", type=int, default=1)
    parser.add_argument("--last", type=int, default=7, help="of plan: the last stage")
    parser.add_argument("--force", action="store_true", help="all parts, whether they are up to date or not")
    parser.add_argument("--strict", action="store_true", help="what other programs made is stale")
    parser.add_argument("--checked", action="store_true", help="of begin: --conf is known to be good")
    parser.add_argument("--part", help="of end: its name")
    parser.add_argument("--seconds", type=float, default=0.0, help="of end: how long the part took")
    parser.add_argument("--command", default="", help="of end: run.sh's command line")
    args = parser.parse_args()
    options = vars(args)
    tables = tomllib.loads(args.conf.read_text(encoding="utf-8"))
    if missing := [name for name in SECTIONS if name not in tables]:
        raise UserError(f"{args.conf}: section {', '.join(missing)} is missing")
    recipe = Recipe(tables=tables, **{name: options[name] for name in Recipe._fields if name != "tables"})
    if args.action == "plan":
        print(*plan.plan(recipe, args.stage, args.last, args.force, args.strict), sep="\n")
    elif args.action == "begin":
        def check():
            if not args.checked:
                from deepspeaker.config import load_config

                load_config(args.conf)

        for line in plan.begin(recipe, args.stage, args.force, args.strict, check):
            print(line)
    else:
        plan.end(recipe, args.part, args.seconds, args.command)


if __name__ == "__main__":
    run(main)
