"""The data directory whose trials calibration learns from: a development set in all its conditions, joined."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepspeaker.atomic import replacing
from deepspeaker.datadir import read_table, write_table
from deepspeaker.datadir.archive import read_vectors
from deepspeaker.datadir.trials import TrialList, read_trial_list, write_trials
from deepspeaker.errors import UserError
from deepspeaker.scoring.calibration_trials import alike, draw, speaker_means
from deepspeaker.scoring.quality import TABLE

CONDITION = "utt2condition"  # table: utterance -> its condition
EMBEDDINGS = "embedding.scp"
JOINED = ("utt2spk", "utt2dur", TABLE)  # tables of the conditions that become one


class Condition(NamedTuple):
    """A development set or its copy in a condition, and its embeddings."""

    data: Path
    embedding_scp: Path


def make_set(conditions: Mapping[str, Condition], out: Path, seed: int) -> str:
    """Write a data directory with trials, embedding.scp, utt2spk, utt2condition and, where the conditions have them,
    utt2dur, utt2quality, enroll. Returns a line of counts.

    conditions: name -> Condition, the first unchanged speech. UserError for trials of another that are not those of the
    first line by line.
    """
    lists = _lists(conditions)
    tables = _joined(conditions)
    speaker_of = tables["utt2spk"] | {model: tables["utt2spk"][utterances.split()[0]]
                                      for model, utterances in tables["enroll"].items()}
    ids = [([_model(name, i) for i in each.first_ids] if tables["enroll"] else each.first_ids, each.second_ids)
           for name, each in lists.items()]
    source = next(iter(conditions.values())).data
    genders = read_table(source / "spk2gender") if (source / "spk2gender").exists() else {}
    vectors = {u: vector for _, scp in conditions.values() for u, vector in read_vectors(scp).items()}
    means = speaker_means(vectors, tables["utt2spk"])
    found = draw(next(iter(lists.values())), ([speaker_of[i] for i in ids[0][0]], [speaker_of[i] for i in ids[0][1]]),
                 alike(means, genders), ids, seed)
    with replacing(out) as new:
        write_trials(new / "trials", found)
        for name, table in tables.items():
            if table:
                write_table(new / name, table)
    targets = sum(trial.target for trial in found)
    return (f"{out}: {targets} target and {len(found) - targets} nontarget trials of {len(means)} speakers in "
            f"{', '.join(conditions)}")


def _lists(conditions: Mapping[str, Condition]) -> dict[str, TrialList]:
    """The trial list of each condition. UserError where they are not the same, line by line."""
    lists = {name: read_trial_list(condition.data / "trials") for name, condition in conditions.items()}
    first, *others = lists
    for name in others:
        if not (np.array_equal(lists[name].pairs(), lists[first].pairs())
                and np.array_equal(lists[name].targets, lists[first].targets)):
            raise UserError(f"{conditions[name].data}/trials: expected the trials of {conditions[first].data}/trials "
                            "line by line, found others: make the copy again (stage 2)")
    return lists


def _joined(conditions: Mapping[str, Condition]) -> dict[str, dict[str, str]]:
    """The tables of the set: those of the conditions together, their embeddings, and who is in which condition."""
    tables: dict[str, dict[str, str]] = {name: {} for name in (*JOINED, EMBEDDINGS, CONDITION, "enroll")}
    for name, (data, embedding_scp) in conditions.items():
        for table in JOINED:
            if (data / table).exists():
                tables[table] |= read_table(data / table)
        tables[EMBEDDINGS] |= read_table(embedding_scp)
        tables[CONDITION] |= dict.fromkeys(read_table(data / "utt2spk"), name)
        if (data / "enroll").exists():
            tables["enroll"] |= {_model(name, model): several for model, several in read_table(data / "enroll").items()}
    return tables


def _model(condition: str, model: str) -> str:
    """What a speaker model is called that is enrolled in a condition."""
    return f"{condition}-{model}"
