#!/usr/bin/env python3
"""Tell run.sh which parts of its stages are to be made, and why; keep a record of each that ended.

`plan` prints a line or more for each stage up to --last. `begin` prints shell commands: lines that say why, then
`parts`, an array of the parts of --stage that are missing or stale (with --force all), each its name and its paths
separated by tabs, and `replace`, what train.py is to do with a finished training; the records of these parts are taken
away. `end` writes the record of --part. Records lie in DIR/data/.stages (stages 1 and 2) and EXP/.stages.

    steps/track_stages.py plan --dir . --exp exp/small --conf conf/small.toml --corpus voxceleb --root /db \\
        --start exp/small/softmax/final.pt
"""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.conf_files import read_tables
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
    parser.add_argument("--stage", type=int, default=1, help="plan: the first stage")
    parser.add_argument("--last", type=int, default=7, help="plan: the last stage")
    parser.add_argument("--force", action="store_true", help="all parts, up to date or not")
    parser.add_argument("--strict", action="store_true", help="what other versions of the programs made is stale")
    parser.add_argument("--checked", action="store_true", help="begin: --conf is known to be good")
    parser.add_argument("--part", help="end: name of the part, or its line of `parts`")
    parser.add_argument("--seconds", type=float, default=0.0, help="end: how long the part took")
    parser.add_argument("--command", default="", help="end: run.sh's command line")
    args = parser.parse_args()
    recipe = read_recipe(args)
    if args.action == "plan":
        print(*plan.plan(recipe, args.stage, args.last, args.force, args.strict), sep="\n")
    elif args.action == "begin":
        due = plan.begin(recipe, args.stage, args.force, args.strict, lambda: args.checked or check(args.conf))
        print(*shell_commands(due), sep="\n")
    else:
        plan.end(recipe, args.part.partition("\t")[0], args.seconds, args.command)


def read_recipe(args: argparse.Namespace) -> Recipe:
    tables = read_tables(args.conf)
    if missing := [name for name in SECTIONS if name not in tables]:
        raise UserError(f"{args.conf}: section {', '.join(missing)} is missing")
    return Recipe(tables=tables, **{name: value for name, value in vars(args).items() if name in Recipe._fields})


def check(conf: Path) -> None:
    from deepspeaker.config import load_config

    load_config(conf)


def shell_commands(due: plan.Due):
    for line in due.lines:
        yield f"echo {shlex.quote(f'== {line}')}"
    parts = [] if due.parts is None else ["\t".join([part.name, *map(str, part.paths)]) for part in due.parts]
    yield f"parts=({shlex.join(parts)})"
    yield f"lacks_inputs={'true' if due.parts is None else 'false'}"
    yield f"replace={due.replace}"


if __name__ == "__main__":
    run(main)
