"""The input of scoring: a trial list, enrolment lists and embeddings, read into arrays."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepspeaker.datadir import lines, read_lists, read_table
from deepspeaker.datadir.archive import read_vectors
from deepspeaker.datadir.trials import TrialList, read_trial_list
from deepspeaker.errors import UserError, examples
from deepspeaker.scoring.enrolment import Models, models_of


class Compared(NamedTuple):
    """M speaker models and the test utterances that are compared with them."""

    names: list[str]  # (M,) of the models
    models: Models
    utterances: list[str]  # (U,) the test utterances first, then those that only enrol
    embeddings: np.ndarray  # (U, E) float32
    tests: int  # number of test utterances


class Task(NamedTuple):
    """Trials by position: `trials.first` are numbers of models, `trials.second` rows of the embeddings."""

    trials: TrialList  # those with embeddings on both sides
    lost: int  # number of the others
    compared: Compared


def read_task(trials: Path, embedding_scp: Path, enroll: Path | None) -> Task:
    """The trials of a list with all that scoring them needs.

    enroll: a file of lines `model-id utt1 utt2 ...`; the first ids of the trials are then speaker models, made of those
    of their utterances that have embeddings. Trials of utterances that utt2spk beside the list has, but that have no
    embedding, are left out. UserError for ids that utt2spk lacks, and when no trial is left.
    """
    listed, vectors, known = read_trial_list(trials), read_vectors(embedding_scp), known_ids(trials)
    lists = read_enrolment(enroll, vectors, known) if enroll else {i: [i] for i in listed.first_ids if i in vectors}
    refuse_unknown(f"{trials}: trials name", set(listed.first_ids) - lists.keys() - (set() if enroll else known)
                   | set(listed.second_ids) - vectors.keys() - known)
    first = np.array([bool(lists.get(i)) for i in listed.first_ids])
    second = np.array([i in vectors for i in listed.second_ids])
    kept = first[listed.first] & second[listed.second]
    if not kept.any():
        raise UserError(f"none of the {len(kept)} trials has embeddings of both sides: look at bad_utts (stage 2)")
    models = {i: lists[i] for i in listed.first_ids if lists.get(i)}
    tests = [i for i in listed.second_ids if i in vectors]
    found = TrialList([*models], tests, (first.cumsum() - 1)[listed.first[kept]],
                      (second.cumsum() - 1)[listed.second[kept]], listed.targets[kept])
    return Task(found, int((~kept).sum()), arrange(models, tests, vectors))


def read_identification(enroll: Path, embedding_scp: Path) -> Compared:
    """The models of a file of lines `model-id utt1 utt2 ...`; test utterances are those that enrol no model."""
    vectors = read_vectors(embedding_scp)
    lists = read_enrolment(enroll, vectors, known_ids(enroll))
    models = {model: utterances for model, utterances in lists.items() if utterances}
    enrolled = set().union(*models.values())
    tests = [name for name in vectors if name not in enrolled]
    if not models or not tests:
        raise UserError(f"{len(models)} models of {enroll} and {len(tests)} other utterances of {embedding_scp}: "
                        f"expected at least one of each")
    return arrange(models, tests, vectors)


def arrange(lists: Mapping[str, Sequence[str]], tests: Sequence[str], vectors: Mapping[str, np.ndarray]) -> Compared:
    """Models (model -> its utterances) and test utterances, with their embeddings from vectors (utterance -> (E,))."""
    utterances = list(dict.fromkeys([*tests, *(name for several in lists.values() for name in several)]))
    position = {name: row for row, name in enumerate(utterances)}
    return Compared([*lists], models_of(lists.values(), position), utterances, stacked(vectors, utterances), len(tests))


def read_enrolment(path: Path, vectors: Mapping[str, np.ndarray], known: set[str]) -> dict[str, list[str]]:
    """Model -> its utterances that have vectors, maybe none; UserError for utterances neither in vectors nor known."""
    lists = read_lists(path)
    refuse_unknown(f"{path} names", set().union(*lists.values()) - known - vectors.keys())
    return {model: [name for name in utterances if name in vectors] for model, utterances in lists.items()}


def known_ids(path: Path) -> set[str]:
    """The utterances of utt2spk beside a file; none where there is no utt2spk."""
    utt2spk = path.parent / "utt2spk"
    return set(read_table(utt2spk)) if utt2spk.exists() else set()


def read_embeddings(scp: Path, names: Path | None = None) -> np.ndarray:
    """(n, E): all embeddings of an scp file, or those that the file `names` lists, one id per line.

    UserError when there is none, and for ids that the scp file lacks.
    """
    vectors = read_vectors(scp)
    wanted = [line for _, line in lines(names)] if names else list(vectors)
    if unknown := [name for name in wanted if name not in vectors]:
        raise UserError(f"{names}: {len(unknown)} ids are not in {scp}: {examples(unknown)}")
    if not wanted:
        raise UserError(f"{names or scp} is empty: expected at least one embedding")
    return stacked(vectors, wanted)


def read_labelled(scp: Path, utt2spk: Path) -> tuple[np.ndarray, np.ndarray]:
    """(embeddings (n, E), speakers (n,) numbered from 0) of the utterances that both files have."""
    vectors, speaker_of = read_vectors(scp), read_table(utt2spk)
    if unknown := sorted(vectors.keys() - speaker_of.keys()):
        raise UserError(f"{scp}: {len(unknown)} utterances are not in {utt2spk}: {examples(unknown)}")
    if not vectors:
        raise UserError(f"{scp} is empty: expected at least one embedding")
    _, speakers = np.unique([speaker_of[name] for name in vectors], return_inverse=True)
    return stacked(vectors, vectors), speakers


def stacked(vectors: Mapping[str, np.ndarray], names: Iterable[str]) -> np.ndarray:
    """The vectors of these names, (n, E) float32; UserError for one that is not finite."""
    names = list(names)
    found = np.stack([vectors[name] for name in names]).astype(np.float32, copy=False)
    if not np.isfinite(found).all():
        wrong = [name for name, vector in zip(names, found, strict=True) if not np.isfinite(vector).all()]
        raise UserError(f"{len(wrong)} embeddings hold values that are not finite: {examples(wrong)}")
    return found


def refuse_unknown(who: str, unknown: set[str]) -> None:
    """UserError with the first few of the unknown ids, if there are any; `who` opens the message: "FILE names"."""
    if unknown:
        raise UserError(f"{who} {len(unknown)} ids that the data directory does not have: {examples(sorted(unknown))}")
