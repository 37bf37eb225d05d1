"""What is known of a trial's sides: speakers, identification, and groups of trials by any table."""

import json

import numpy as np
import pytest

from deepspeaker.datadir.trials import read_trial_list
from deepspeaker.errors import UserError
from deepspeaker.metrics.breakdown import breakdown, by_category, by_number
from deepspeaker.metrics.identification import identification, ranks
from deepspeaker.metrics.sides import grouping, identification_ranks, trial_sides

SPEAKERS = "abcdefg"


@pytest.fixture
def folder(tmp_path):
    """Seven speakers with two utterances, every pair a trial, and tables of all kinds."""
    ids = [f"{s}-{n}" for s in SPEAKERS for n in (1, 2)]
    (tmp_path / "utt2spk").write_text("".join(f"{i} {i[0]}\n" for i in ids))
    (tmp_path / "spk2gender").write_text("".join(f"{s} {'f' if s < 'c' else 'm'}\n" for s in SPEAKERS[:-1]))
    (tmp_path / "utt2dur").write_text("".join(f"{i} {n + 1}.5\n" for n, i in enumerate(ids)))
    (tmp_path / "utt2room").write_text("".join(f"{i} studio {int(i[-1])}\n" for i in ids))
    (tmp_path / "trials").write_text("".join(
        f"{a} {b} {'target' if a[0] == b[0] else 'nontarget'}\n" for n, a in enumerate(ids) for b in ids[n + 1:]))
    (tmp_path / "scores").write_text("".join(
        f"{a} {b} {1.0 if a[0] == b[0] else (n * 7 + m * 13) % 17 / 20}\n"
        for n, a in enumerate(ids) for m, b in enumerate(ids) if m > n))
    return tmp_path


def read(folder, enroll=None):
    trials = read_trial_list(folder / "trials")
    return trials, trial_sides(trials, folder / "utt2spk", enroll)


def names(trials):
    return [(trials.first_ids[i], trials.second_ids[j]) for i, j in zip(trials.first, trials.second, strict=True)]


def test_the_speakers_of_both_sides(folder):
    trials, sides = read(folder)
    assert sides.names == list(SPEAKERS)
    for (a, b), (i, j) in zip(names(trials), sides.speakers.tolist(), strict=True):
        assert (SPEAKERS[i], SPEAKERS[j]) == (a[0], b[0])


def test_models_have_the_speaker_of_their_utterances(folder):
    (folder / "enroll").write_text("M a-1 a-2\na-1 b-1\n")
    (folder / "trials").write_text("M b-2 nontarget\na-1 b-2 target\n")
    trials, sides = read(folder, folder / "enroll")
    assert sides.speakers.tolist() == [[0, 1], [1, 1]]
    durations = grouping(f"{folder}/utt2dur", trials, sides).groups  # 4 s of M, 3.5 s of b-1; b-2 has 4.5 s
    assert {name: mask.tolist() for name, mask in durations.items()} == {
        "up to 3.625": [False, True], "over 3.875": [True, False]}


def test_a_side_of_which_too_little_is_known(folder):
    """A duration that is missing, of an utterance or of one of a model's; a model of both rooms."""
    kept = [line for line in (folder / "utt2dur").open() if not line.startswith("a-1")]
    (folder / "utt2dur").write_text("".join(kept))
    trials, sides = read(folder)
    unknown = grouping(f"{folder}/utt2dur", trials, sides).groups["unknown"]
    assert unknown.tolist() == ["a-1" in pair for pair in names(trials)]
    (folder / "enroll").write_text("A a-1 a-2\nB b-1 b-2\nC c-1\n")
    (folder / "trials").write_text("A d-1 nontarget\nB d-1 nontarget\nC d-1 nontarget\n")
    trials, sides = read(folder, folder / "enroll")
    for table, expected in (("utt2dur", [True, False, False]), ("utt2room:2", [True, True, False])):
        assert grouping(f"{folder}/{table}", trials, sides).groups["unknown"].tolist() == expected


@pytest.mark.parametrize("file, text, message", [
    ("trials", "a-1 b-1 target\na-1 a-2 nontarget\na-1 c-1 nontarget\n",
     "2 trials contradict .*utt2spk .*: a-1 b-1, a-1 a-2"),
    ("trials", "a-1 x-1 nontarget\n", "trials name x-1, which has no speaker in .*utt2spk"),
    ("enroll", "m a-1 b-1\n", "the model of a-1 has utterances of 2 speakers: a, b"),
    ("enroll", "n a-1\n", "trials name 1 models missing from .*enroll: m"),
    ("utt2spk", "a-1 a\na-1 b\n", "utt2spk:2: a-1 stands here for the second time")])
def test_speakers_that_contradict(folder, file, text, message):
    if file == "enroll":
        (folder / "trials").write_text("m a-2 target\n")
    (folder / file).write_text(text)
    with pytest.raises(UserError, match=message):
        read(folder, folder / "enroll" if file == "enroll" else None)


def test_groups_of_numbers_are_quartiles_of_the_smaller():
    first, second = np.array([1, 2, 3, 4, 5, 6, 7, np.nan]), np.array([9.0] * 8)
    found = by_number("utt2dur", first, second)
    assert found.name == "utt2dur, smaller side"
    assert {name: mask.nonzero()[0].tolist() for name, mask in found.groups.items()} == {
        "up to 2.5": [0, 1], "2.5 to 4": [2, 3], "4 to 5.5": [4], "over 5.5": [5, 6], "unknown": [7]}
    assert by_number("x", np.array([2.0, 2, 2]), first[:3]).groups.keys() == {"up to 1.5", "1.5 to 2"}


def test_groups_of_categories():
    first, second = (np.array(list(text.replace("?", " ")), object) for text in ("ffmm?f", "fmmf?m"))
    first[4] = None
    found = by_category("spk2gender", first, second).groups
    assert {name: mask.nonzero()[0].tolist() for name, mask in found.items()} == {
        "both f": [0], "both m": [2], "same": [0, 2], "different": [1, 3, 5], "unknown": [4]}
    many = np.array([str(n) for n in range(20)], object)
    assert by_category("x", many, many).groups.keys() == {"same"}


def test_tables_of_speakers_of_utterances_and_their_columns(folder):
    trials, sides = read(folder)
    gender = grouping(f"{folder}/spk2gender", trials, sides)
    assert gender.name == "spk2gender" and list(gender.groups) == ["both f", "both m", "same", "different", "unknown"]
    for (a, b), f, m, unknown in zip(names(trials), gender.groups["both f"], gender.groups["both m"],
                                     gender.groups["unknown"], strict=True):
        assert (f, m, unknown) == (max(a, b) < "c", min(a, b) >= "c" and max(a, b) < "g", max(a, b) > "g")
    assert list(grouping(f"{folder}/utt2room", trials, sides).groups) == ["both studio", "same"]
    room = grouping(f"{folder}/utt2room:2", trials, sides)
    assert room.name == "utt2room, column 2" and list(room.groups) == ["both 1", "both 2", "same", "different"]
    durations = grouping(f"{folder}/utt2dur", trials, sides).groups  # of id n, from 0: n + 1.5 s; its 13 - n pairs
    assert {name: int(mask.sum()) for name, mask in durations.items()} == {
        "up to 2.5": 25, "2.5 to 4.5": 21, "4.5 to 7.5": 24, "over 7.5": 21}
    with pytest.raises(UserError, match="utt2room: no line has 3 fields after the key"):
        grouping(f"{folder}/utt2room:3", trials, sides)


def test_rates_of_groups_at_the_threshold_of_all():
    scores = np.array([5, 4, 1, 3, 2, 0, 0, -1.0])
    labels = np.array([True, True, True, False, False, False, False, False])
    pairs = np.column_stack([np.arange(8), np.where(labels, np.arange(8), np.arange(8) + 1)])
    found = by_category("x", *[np.array(list("aaabbbbb"), object)] * 2)
    mixed = by_category("y", *[np.array(list("aabaabbb"), object)] * 2)
    only_a, only_b, _ = breakdown(found, scores, labels, pairs)
    assert only_a == {"group": "both a", "n_target": 3, "n_nontarget": 0, "miss": pytest.approx(100 / 3),
                      "false_accept": None, "eer": None, "eer_low": None, "eer_high": None}
    assert only_b["false_accept"] == 20 and only_b["miss"] is None  # accepted above 2: the 3
    a, b, both = breakdown(mixed, scores, labels, pairs)
    assert (a["miss"], a["false_accept"], a["eer"]) == (0, 50, 0) and (b["miss"], b["false_accept"]) == (100, 0)
    assert (both["n_target"], both["n_nontarget"], both["eer_low"]) == (3, 5, None)
    assert both["eer"] == pytest.approx(100 / 3)  # the target of 1 is missed by then


def test_ranks_by_comparing_with_everyone():
    rng = np.random.default_rng(0)
    probes = np.repeat(np.arange(30), 40)
    own, candidates = (probes // 3) % 8, rng.integers(0, 8, len(probes))
    scores = rng.normal(np.where(own == candidates, 1, 0)).round(1)
    found, speakers = ranks(scores, probes, own, candidates)
    expected = []
    for probe in range(30):
        mine = probes == probe
        best = {c: scores[mine & (candidates == c)].max() for c in set(candidates[mine])}
        right = int(own[mine][0])
        if right in best and len(best) > 5:
            expected.append((1 + sum(value >= best[right] for c, value in best.items() if c != right), right))
    assert list(zip(found.tolist(), speakers.tolist(), strict=True)) == expected and len(expected) > 20
    result = identification(found, speakers, True)
    assert result["top_1"] == pytest.approx(100 * np.mean(found == 1)) and result["n_probes"] == len(expected)
    assert result["top_1_low"] < result["top_1"] < result["top_1_high"] <= result["top_5_high"]


def test_ties_and_missing_candidates_do_not_help():
    probes, own = np.zeros(6, int), np.zeros(6, int)
    found, _ = ranks(np.ones(6), probes, own, np.arange(6))
    assert found.tolist() == [6]
    for few in (np.array([0, 1, 2, 3, 4, 4]), np.arange(1, 7)):  # five speakers only; without the own one
        found, speakers = ranks(np.ones(6), probes, own, few)
        assert not found.size and identification(found, speakers, True) == {"n_probes": 0}


def test_either_utterance_of_a_trial_is_a_probe(folder):
    trials, sides = read(folder)
    scores = np.where(trials.targets, 1.0, 0.0)
    found, speakers = identification_ranks(scores, trials, sides)
    assert found.tolist() == [1] * 14 and sorted(speakers.tolist()) == sorted([*range(7)] * 2)


def test_the_probe_of_a_model_is_the_utterance(folder):
    """Each utterance is compared with six models or all seven, and two of them are more like g-2 than its own."""
    (folder / "enroll").write_text("".join(f"{s} {s}-1\n" for s in SPEAKERS))
    pairs = [(model, f"{s}-2") for model in SPEAKERS for s in SPEAKERS if (model, s) != ("a", "b")]
    (folder / "trials").write_text("".join(f"{m} {u} {'target' if m == u[0] else 'nontarget'}\n" for m, u in pairs))
    trials, sides = read(folder, folder / "enroll")
    scores = np.array([0.5 if model == utterance[0] else 0.9 if (model, utterance) in (("a", "g-2"), ("c", "g-2"))
                       else 0.1 for model, utterance in pairs])
    found, speakers = identification_ranks(scores, trials, sides)
    assert sorted(zip(speakers.tolist(), found.tolist(), strict=True)) == [*((n, 1) for n in range(6)), (6, 3)]


def test_compute_metrics_prints_everything(folder, call):
    (folder / "llr").write_text("".join(f"{a} {b} {4 * float(s) - 2}\n"
                                        for a, b, s in map(str.split, (folder / "scores").open())))
    options = [word for table in ("spk2gender", "utt2dur", "utt2room:2") for word in ("--breakdown", folder / table)]
    done = call("steps/compute_metrics.py", "--json", "--llr", folder / "llr", "--utt2spk", folder / "utt2spk",
                *options, folder / "scores", folder / "trials")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["n_speakers"] == 7 and found["n_lost"] == 0 and found["top_1"] == 100 and found["n_probes"] == 14
    assert found["eer"] == 0 and found["eer_high"] == 0 and 0 < found["cllr_low"] < found["cllr"] < found["cllr_high"]
    assert list(found["breakdowns"]) == ["spk2gender", "utt2dur, smaller side", "utt2room, column 2"]
    assert [row["group"] for row in found["breakdowns"]["utt2room, column 2"]] == [
        "both 1", "both 2", "same", "different"]
    done = call("steps/compute_metrics.py", "--utt2spk", folder / "utt2spk", folder / "scores", folder / "trials")
    assert done.stdout.startswith("EER 0.00 % (0.00 to 0.00)  minDCF 0.0000")


def test_compute_metrics_of_bad_scores(folder, call):
    lines = (folder / "scores").read_text().splitlines()
    for text, message in [
            ("\n".join([*lines[:-1], lines[-1].rsplit(" ", 1)[0] + " nan"]), "scores:91: expected 'id1 id2 score'"),
            ("\n".join([*lines[:-1], lines[-1].rsplit(" ", 1)[0] + " inf"]), "1 scores are not finite"),
            ("\n".join([*lines, "a-1 x-1 0.5"]), "1 scored pairs are not trials of"),
            ("\n".join(line for line in lines if line[0] != line.split()[1][0]), "found 0 target and 84 nontarget")]:
        (folder / "bad").mkdir(exist_ok=True)
        (folder / "bad/scores").write_text(text + "\n")
        done = call("steps/compute_metrics.py", folder / "bad/scores", folder / "trials")
        assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr
    done = call("steps/compute_metrics.py", "--breakdown", folder / "utt2dur", folder / "scores", folder / "trials")
    assert done.returncode == 2 and "--breakdown needs --utt2spk" in done.stderr
