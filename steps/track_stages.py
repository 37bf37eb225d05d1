#!/usr/bin/env python3
"""Find which parts of run.sh's stages are missing or stale, and keep a record of each part that was made.

`plan` prints what would be made and why, a line or more for each stage up to --last. `begin` removes the records of the
parts of --stage that are missing or stale (with --force, of all) and prints shell commands: echo lines that say why;
`parts`, an array with a string for each part, its name and its paths separated by tabs; `lacks_inputs`; and `replace`,
the value of train.py --replace. If a part is due, it fails where --conf is wrong, and where a stage up to --last would
refuse the training set's size or a trial list. `sizes` fails where one would refuse the training set's size. `end`
writes the record of --part. Records lie in DIR/data/.stages (stages 1 and 2) and EXP/.stages.

    steps/track_stages.py plan --dir . --exp exp/small --conf conf/small.toml --corpus voxceleb --root /db \\
        --start exp/small/softmax/final.pt
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.errors import UserError, run
from deepspeaker.recipe import plan
from deepspeaker.recipe.phases import ALL
from deepspeaker.recipe.stages import STAGES, Recipe, read_recipe

PATHS = {
    "dir": "folder of data/, fbank/ and exp/",
    "exp": "folder of the experiment",
    "conf": "configuration",
    "root": "folder of the corpus",
    "start": "checkpoint that stage 4 starts from",
}
TEXTS = {
    "corpus": "name of the program in local/",
    "corpus-opts": "options of that program",
    "augment": "kinds of copies of the training set",
    "musan": "folder of MUSAN",
    "rirs": "folder of RIRS_NOISES",
    "init": "checkpoint that the first of the phases starts from",
    "backends": "scoring back-ends",
    "conditions": "conditions that the test sets are scored in, too",
    "learnt-from": "data set whose embeddings back-ends learn from",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["plan", "begin", "sizes", "end"])
    for name, what in PATHS.items():
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="PATH", help=what)
    for name, what in TEXTS.items():
        parser.add_argument(f"--{name}", default="", metavar="TEXT", help=what)
    parser.add_argument("--phases", default=ALL, metavar="NAMES",
                        help="phases that are trained (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all that is random (default %(default)s)")
    parser.add_argument("--processes", type=int, default=1,
                        help="number of processes that share each batch of training (default %(default)s)")
    parser.add_argument("--stage", type=int, default=1, choices=STAGES,
                        help="stage to begin, or first stage that will run (default %(default)s)")
    parser.add_argument("--last", type=int, default=7, choices=STAGES,
                        help="last stage that will run (default %(default)s)")
    parser.add_argument("--force", action="store_true", help="take all parts for stale")
    parser.add_argument("--strict", action="store_true",
                        help="take for stale what other versions of the programs made")
    parser.add_argument("--checked", action="store_true", help="skip the check of --conf, with begin")
    parser.add_argument("--part", help="name of the part that was made, or its string in `parts`, with end")
    parser.add_argument("--seconds", type=float, default=0.0, help="time that the part took, with end")
    parser.add_argument("--command", default="", help="command line of run.sh, with end")
    args = parser.parse_args()
    if args.action == "end" and not args.part:
        parser.error("end needs --part")
    recipe = read_recipe(args.conf, vars(args))
    if args.action == "plan":
        print(*plan.plan(recipe, args.stage, args.last, args.force, args.strict), sep="\n")
    elif args.action == "begin":
        due = plan.begin(recipe, args.stage, args.force, args.strict, lambda: check(recipe, args))
        print(*plan.as_shell(due), sep="\n")
    elif args.action == "sizes":
        check(recipe, args)
    else:
        plan.end(recipe, args.part.partition("\t")[0], args.seconds, args.command)


def check(recipe: Recipe, args: argparse.Namespace) -> None:
    """UserError unless the configuration is good and, after stage 1, fits the data; `sizes` looks at no trials."""
    from deepspeaker.recipe import early

    if not args.checked:
        from deepspeaker.config import load_config

        load_config(args.conf)
    if args.stage == 1:  # it makes the data
        return
    sizes = [*early.sizes(recipe, args.stage, args.last, args.force)]
    faults = [f"{args.conf}: {'; '.join(sizes)}"] if sizes else []
    if args.action == "begin":
        faults += early.trials(recipe, args.stage, args.last)
    if faults:
        raise UserError("; ".join(faults))


if __name__ == "__main__":
    run(main)
