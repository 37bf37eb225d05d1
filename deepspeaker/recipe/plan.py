"""Which parts of the recipe's stages are due, and the lines that say why."""

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from deepspeaker.errors import UserError
from deepspeaker.recipe import records
from deepspeaker.recipe.phases import skipped
from deepspeaker.recipe.records import FORCED, NOT_RUN, Kind, Part, Reason
from deepspeaker.recipe.stages import STAGES, Recipe, parts

UP_TO_DATE, AGAIN = "up to date", "again"  # groups of parts
Reasons = Sequence[tuple[Part, Reason | None]]  # why each part of a stage is due; None: it is up to date


class Due(NamedTuple):
    """What run.sh needs to know about a stage."""

    lines: list[str]  # for the user
    parts: list[Part] | None  # due, already begun; None: the stage has no parts yet, since its inputs do not exist
    replace: str  # train.py --replace, which earlier training to set aside: "" for none, "changed" or "always"


def plan(recipe: Recipe, first: int, last: int, force: bool, strict: bool) -> Iterator[str]:
    """One or more lines for each of the stages first..last: what would be made and why. Nothing is made."""
    made: set[Path] = set()  # files that these stages would make
    ahead = 0  # the latest stage that would make something
    for stage in range(first, last + 1):
        if phase := skipped(recipe.phases).get(stage):
            yield f"stage {stage}: {phase} is not in --phases"
            continue
        follows = Reason(Kind.FOLLOWS, f"follows stage {ahead}")
        reasons = [(part, reason or (follows if made & set(part.inputs) else None))
                   for part, reason in _reasons(recipe, stage, force, strict)]
        if not reasons:  # its data directories do not exist yet
            yield f"stage {stage}: {follows.text if ahead else 'nothing to do'}"
        yield from _described(stage, reasons)
        if any(reason for _, reason in reasons):
            ahead = stage
        made.update(path for part, reason in reasons if reason for path in part.outputs)


def begin(recipe: Recipe, stage: int, force: bool, strict: bool, check: Callable[[], object]) -> Due:
    """Begin the parts of a stage that are due.

    check: called first, if any part is due; it may raise UserError, and then no record is removed.
    """
    reasons = _reasons(recipe, stage, force, strict)
    lines: list[str] = []
    due = [(part, reason) for part, reason in reasons if reason]
    why = [reason for _, reason in due]
    if force:
        for earlier in range(1, stage):
            lines += _stale(recipe, stage, earlier)
    else:
        _refuse_another_corpus(recipe, stage, why)
        if any(reason != NOT_RUN for _, reason in reasons):
            lines += _described(stage, reasons)
    if due:
        check()
    for part, _ in due:
        records.begin(part)
    return Due(lines, [part for part, _ in due] if reasons else None, _replace(force, why))


def as_shell(due: Due) -> Iterator[str]:
    """Lines for bash's eval: what is said, then `parts` (a part's name and paths, separated by tabs), `lacks_inputs`
    and `replace`."""
    for line in due.lines:
        yield f"echo {shlex.quote(f'== {line}')}"
    parts = ["\t".join([part.name, *map(str, part.paths)]) for part in due.parts or []]
    yield f"parts=({shlex.join(parts)})"
    yield f"lacks_inputs={'true' if due.parts is None else 'false'}"
    yield f"replace={due.replace}"


def end(recipe: Recipe, name: str, seconds: float, command: str) -> None:
    """Write the record of a part; UserError if its inputs changed or vanished while it was made."""
    stage = name.partition("/")[0]
    if stage not in map(str, STAGES):
        raise UserError(f"part {name}: expected its stage, {min(STAGES)} to {max(STAGES)}, first")
    for part in parts(recipe, int(stage)):
        if part.name == name:
            return records.end(part, seconds, command)
    raise UserError(f"stage {name}: its data directory was removed while it ran; run the stage again")


def _reasons(recipe: Recipe, stage: int, force: bool, strict: bool) -> Reasons:
    return [(part, FORCED if force else records.why(part, strict)) for part in parts(recipe, stage)]


def _replace(force: bool, reasons: Iterable[Reason]) -> str:
    """An earlier training with other settings is set aside, except with --stage, where train.py refuses to replace it.

    If the programs changed (--strict), a finished training is set aside in any case.
    """
    if any(reason.kind == Kind.PROGRAM for reason in reasons):
        return "always"
    return "" if force else "changed"


def _described(stage: int, reasons: Reasons) -> Iterator[str]:
    """A line each for the parts that are up to date, those made for the first time, and those made again."""
    groups: dict[str, list[tuple[Part, Reason | None]]] = {}
    for part, reason in reasons:
        group = UP_TO_DATE if reason is None else reason.text if reason.is_first_time else AGAIN
        groups.setdefault(group, []).append((part, reason))
    for group, same in groups.items():
        names = [part.name.partition("/")[2] for part, _ in same]
        where = "" if len(same) == len(reasons) else f" ({' '.join(names)})"
        if group == AGAIN:
            texts = [reason.text for _, reason in same if reason]
            others = len(set(texts)) - 1
            more = f"; {others} other reason{'s' if others > 1 else ''}" if others else ""
            yield f"stage {stage} again: {texts[0]}{more}{where}"
        else:
            yield f"stage {stage}: {group}{_since(same) if group == UP_TO_DATE else ''}{where}"


def _since(reasons: Reasons) -> str:
    """Names the earlier versions of the programs that made parts, which are up to date all the same; else ""."""
    programs = sorted({by for part, _ in reasons if (by := records.made_by_another_program(part))})
    return f", by programs that have changed since ({' '.join(programs)})" if programs else ""


def _stale(recipe: Recipe, stage: int, earlier: int) -> Iterator[str]:
    """A stage forced by --stage runs no earlier one: name those inputs that an earlier stage would make again."""
    reasons = [(part, reason) for part, reason in _reasons(recipe, earlier, False, False)
               if reason and reason != NOT_RUN]
    for line in _described(earlier, reasons):
        yield f"stage {stage} builds on what is stale: {line}"


def _refuse_another_corpus(recipe: Recipe, stage: int, reasons: Iterable[Reason]) -> None:
    """Refuse to overwrite another corpus's data when --root or --corpus was forgotten."""
    for reason in reasons:
        if stage == 1 and "corpus" in reason.settings:
            raise UserError(f"{recipe.data} was made from another corpus ({reason.text}): repeat its options, choose "
                            "another --dir, or replace the data with --stage 1")
