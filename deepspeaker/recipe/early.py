"""What stages to come would refuse, from what stage 1 and the configuration know: told before hours are spent.

The rules are those of training and scoring, which apply them again to the features and embeddings that there are then.
Does not import torch.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deepspeaker.batches.needs import check_share, check_speakers, counts_at_speeds
from deepspeaker.conf_files import Tables, read_tables
from deepspeaker.corpus.augmented_copies import counts_with_copies
from deepspeaker.corpus.check import check_trial_lists
from deepspeaker.datadir import read_table
from deepspeaker.errors import UserError, examples
from deepspeaker.recipe.phases import TRAINED
from deepspeaker.recipe.records import why
from deepspeaker.recipe.stages import Recipe, parts
from deepspeaker.scoring.asnorm import check_cohort
from deepspeaker.scoring.backends import AUTO, BACKENDS, needed
from deepspeaker.scoring.plda import check_counts

SCORED = 6  # stage


def sizes(recipe: Recipe, first: int, last: int, force: bool = False) -> Iterator[str]:
    """Sentences about what in the configuration, which is good, the training set is too small for. force: a phase that
    is up to date will be trained again, too."""
    phases = [phase for phase in recipe.phases.split() if first <= TRAINED[phase] <= last
              and (force or any(why(part, strict=False) for part in parts(recipe, TRAINED[phase])))]
    learnt = recipe.learnt_from and first <= SCORED <= last
    if not (phases or learnt) or not (recipe.data / "train/utt2spk").exists():
        return
    tables, scoring, counts = recipe.tables, recipe.tables["scoring"], utterances_of_speakers(recipe, first)
    speeds = tables["augment"]["speeds"]
    batched = counts_with_copies(counts, recipe.augment.split(), speeds)
    if recipe.online:
        batched = counts_at_speeds(batched, len(speeds), tables["augment"].get("speed", 0.0))
    for phase in phases:
        table = tables[phase]
        yield from _refused(check_speakers, phase, table["speakers"], batched)
        yield from _refused(check_share, phase, table["speakers"], table["utterances"], recipe.processes)
    backends = [name for name in recipe.backends.split() if name != AUTO]
    yield from _too_small(tables, needed(backends, scoring["qualities"]) if learnt else set(), counts)


def possible_backends(conf: Path, train_dir: Path) -> dict[str, str]:
    """Back-end -> why this training set is too small for it, "" where it is not."""
    tables, counts = read_tables(conf), [*Counter(read_table(train_dir / "utt2spk").values()).values()]
    return {name: "; ".join(_too_small(tables, needed([name], []), counts)) for name in BACKENDS}


def _too_small(tables: Tables, needs: set[str], counts: Sequence[int]) -> Iterator[str]:
    """Sentences about what back-ends and qualities with these needs would refuse. counts: utterances of each speaker.
    """
    scoring = tables["scoring"]
    if "cohort" in needs:
        yield from _refused(check_cohort, len(counts), scoring["cohort_top"])
    if "plda" in needs:
        yield from _refused(check_counts, scoring["plda_transform"], scoring["plda_dim"],
                            tables["model"]["embedding_dim"], sum(counts), len(counts))


def utterances_of_speakers(recipe: Recipe, first: int) -> list[int]:
    """The number of utterances of each speaker of data/train; once stage 2 is done, of those that it could read."""
    utt2spk = read_table(recipe.data / "train/utt2spk")
    features = recipe.data / "train" / ("sound.scp" if recipe.online else "feats.scp")
    if first > 2 and features.exists():
        made = read_table(features)
        utt2spk = {utterance: speaker for utterance, speaker in utt2spk.items() if utterance in made}
    return [*Counter(utt2spk.values()).values()]


def trials(recipe: Recipe, first: int, last: int) -> Iterator[str]:
    """Sentences about trial lists that are missing or wrong: dev's, and those of the test sets that will be scored."""
    stages = [*(TRAINED[phase] for phase in recipe.phases.split()), SCORED]  # that need trials
    if first > SCORED or last < min(stages):
        return
    for name in recipe.sets("dev"):
        directory = recipe.data / name
        if name != "dev" and last < SCORED or not (directory / "utt2spk").exists():
            continue
        lists = [directory / "trials"] if name == "dev" else [*directory.glob("trials*")]
        if not any(path.is_file() for path in lists):
            yield f"{directory}: no trials: make them, for instance with utils/make_trials.py {directory}"
        yield from _refused(_check_trials, directory)


def _check_trials(directory: Path) -> None:
    errors = [row for row in check_trial_lists([directory]).rows() if row["level"] == "error"]
    if errors:
        found = (f"{row['count']} {row['what']} ({examples(row['examples'])}): {row['advice']}" for row in errors)
        raise UserError(f"{directory}: {'; '.join(found)}")


def _refused(check: Callable[..., None], *arguments: object) -> Iterator[str]:
    """The message of a check that raises UserError."""
    try:
        check(*arguments)
    except UserError as error:
        yield str(error)
