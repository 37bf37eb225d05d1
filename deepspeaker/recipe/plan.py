"""Which parts of the recipe's stages are to be made, and how that is said."""

from collections.abc import Callable, Iterator
from pathlib import Path

from deepspeaker.errors import UserError
from deepspeaker.recipe import records
from deepspeaker.recipe.records import NOT_RUN, Part
from deepspeaker.recipe.stages import Recipe, parts

Reasons = list[tuple[Part, str | None]]  # why each part of a stage is to be made; None: it is up to date
FORCED = "--stage"


def plan(recipe: Recipe, first: int, last: int, force: bool, strict: bool) -> Iterator[str]:
    """Lines that say of each stage first..last what would be made and why; nothing is made."""
    made: set[Path] = set()  # what would be made anew
    ahead = 0  # the last stage of which something would be
    for stage in range(first, last + 1):
        reasons = [(part, reason or (f"follows stage {ahead}" if made & set(part.inputs) else None))
                   for part, reason in _reasons(recipe, stage, force, strict)]
        if not reasons:  # its data directories are not there yet
            yield f"stage {stage}: follows stage {ahead}" if ahead else f"stage {stage}: nothing to do"
        yield from _said(stage, reasons)
        if any(reason for _, reason in reasons):
            ahead = stage
        made.update(path for part, reason in reasons if reason for path in part.outputs)


def begin(recipe: Recipe, stage: int, force: bool, strict: bool, check: Callable[[], object]) -> Iterator[str]:
    """Begin the parts of a stage that are to be made: lines "stage N ..." that say why, then the parts' names.

    check: called before any record is taken away, if there is such a part.
    """
    reasons = _reasons(recipe, stage, force, strict)
    if force:
        for earlier in range(1, stage):
            yield from _stale(recipe, stage, earlier)
    else:
        _refuse_another_corpus(recipe, stage, reasons)
        if any(reason != NOT_RUN for _, reason in reasons):
            yield from _said(stage, reasons)
    if any(reason for _, reason in reasons):
        check()
    for part, reason in reasons:
        if reason:
            records.begin(part)
            yield part.name


def end(recipe: Recipe, name: str, seconds: float, command: str) -> None:
    """Write the record of a part; UserError where it, or what it was made from, changed meanwhile."""
    for part in parts(recipe, int(name.partition("/")[0])):
        if part.name == name:
            return records.end(part, seconds, command)
    raise UserError(f"stage {name}: its data directory was taken away while it ran; run the stage again")


def _reasons(recipe: Recipe, stage: int, force: bool, strict: bool) -> Reasons:
    return [(part, FORCED if force else records.why(part, strict)) for part in parts(recipe, stage)]


def _said(stage: int, reasons: Reasons) -> Iterator[str]:
    """A line for what is up to date, for what is new, and for what must be made again."""
    kinds: dict[str, Reasons] = {}
    for part, reason in reasons:
        new = reason in (NOT_RUN, FORCED) or (reason or "").startswith("follows")
        kinds.setdefault("" if reason is None else reason if new else "again", []).append((part, reason))
    for kind, same in kinds.items():
        where = "" if len(same) == len(reasons) else f" ({' '.join(part.name.partition('/')[2] for part, _ in same)})"
        if kind == "again":
            others = len({reason for _, reason in same}) - 1
            yield f"stage {stage} again: {same[0][1]}{f'; {others} other reasons' if others else ''}{where}"
        else:
            programs = sorted({records.made_by_another_program(part) for part, _ in same} - {None}) if not kind else []
            since = f", by programs that have changed since ({' '.join(programs)})" if programs else ""
            yield f"stage {stage}: {kind or 'up to date'}{since}{where}"


def _stale(recipe: Recipe, stage: int, earlier: int) -> Iterator[str]:
    """What a stage started by hand builds on that is not as its stage would leave it now."""
    reasons = [(part, reason) for part, reason in _reasons(recipe, earlier, False, False)
               if reason and reason != NOT_RUN]
    for line in _said(earlier, reasons):
        yield f"stage {stage} builds on what is stale: {line}"


def _refuse_another_corpus(recipe: Recipe, stage: int, reasons: Reasons) -> None:
    """Who forgets --root or --corpus shall not lose the data and models of another corpus."""
    for _, reason in reasons if stage == 1 else []:
        if reason and reason.startswith("corpus "):
            raise UserError(f"{recipe.data} was made of another corpus ({reason}): give its options, another --dir, or "
                            "--stage 1 to make it again")
