"""results.tsv: which rows it has, in which order, and how figures are written."""

import json

import pytest

from deepspeaker.errors import UserError
from deepspeaker.recipe.phases import PHASES
from deepspeaker.recipe.results import as_text, collect, read_results, write_results


def test_rows_are_ordered_by_set_list_phase_and_backend(tmp_path):
    files = ["triplet/scores/test/trials.plda", "triplet/scores/test/trials.cosine",
             "softmax/scores/test/trials.hard.plda", "softmax/scores/test/trials.cosine",
             "untrained/scores/test/trials.cosine",
             "untrained/scores/test_2/trials.cosine", "init/scores/test/trials.cosine"]
    for n, name in enumerate(files):
        path = tmp_path / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"eer": n}))
        (tmp_path / name).touch()
    assert [tuple(row.values()) for row in collect(tmp_path, PHASES)] == [
        ("test", "trials", "init", "cosine", 6), ("test", "trials", "untrained", "cosine", 4),
        ("test", "trials", "softmax", "cosine", 3),
        ("test", "trials", "triplet", "cosine", 1), ("test", "trials", "triplet", "plda", 0),
        ("test", "trials.hard", "softmax", "plda", 2), ("test_2", "trials", "untrained", "cosine", 5)]
    assert [row["phase"] for row in collect(tmp_path, ["init", "triplet"])] == ["init", "triplet", "triplet"]


@pytest.mark.parametrize("content, message", [
    ("", "results.tsv:1: expected the names of columns, found none set, trials, phase, backend, eer, "),
    ("garbage\n", "results.tsv:1: expected the names of columns, found none set"),
    ("{header}", r"results.tsv: expected a row for each trial list, found none: make it again \(run.sh --stage 6\)"),
    ("{header}test\ttrials\n", "results.tsv:2: expected 25 columns, found 2: make it again"),
    ("{header}{row}{bad}", "results.tsv:3: eer: expected a number, found 'x': make it again")])
def test_damaged_results(tmp_path, content, message):
    path = tmp_path / "results.tsv"
    write_results(path, [{"set": "test", "trials": "trials", "phase": "softmax", "backend": "cosine", "eer": 1,
                          "min_dcf_0.01": 1}])
    header, row = path.read_text().splitlines(keepends=True)
    assert as_text(read_results(path)).splitlines()[1].split() == ["test", "softmax", "cosine", "1.00", "-", "1.000"]
    path.write_text(content.format(header=header, row=row, bad=row.replace("1.000", "x", 1)))
    with pytest.raises(UserError, match=message):
        read_results(path)


@pytest.mark.parametrize("content", ["", "{", "[]", "1"])
def test_damaged_metrics_are_an_error_and_folders_of_others_are_left_alone(tmp_path, content):
    for place in ("softmax", "triplet_backup"):
        (tmp_path / place / "scores/test").mkdir(parents=True)
    (tmp_path / "triplet_backup/scores/test/trials.cosine.json").write_text(content)
    (tmp_path / "softmax/scores/test/notes.json").write_text(content)
    good = tmp_path / "softmax/scores/test/trials.cosine.json"
    good.write_text('{"eer": 1}')
    assert [row["phase"] for row in collect(tmp_path, PHASES)] == ["softmax"]
    good.write_text(content)
    with pytest.raises(UserError, match=r"softmax/scores/test/trials.cosine.json: expected metrics in JSON.*stage 6"):
        collect(tmp_path, PHASES)


def test_no_metrics_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no metrics under .*stage 6"):
        collect(tmp_path, PHASES)


def test_rates_have_three_decimals_costs_four_and_what_is_missing_a_dash(tmp_path):
    row = {"set": "test", "trials": "trials", "phase": "softmax", "backend": "cosine", "eer": 1.23456, "n_target": 10,
           "n_nontarget": 90, "n_lost": 0, "min_dcf_0.01": 0.123456, "min_dcf_0.001": 1, "eer_low": None,
           "miss_at_fa_0.01": 7.77777, "act_dcf_0.01": 12, "cllr": 0.5, "min_cllr": 0.25, "top_1": 99, "other": 3}
    write_results(tmp_path / "results.tsv", [row])
    assert [line.split("\t") for line in (tmp_path / "results.tsv").read_text().split("\n")] == [
        ["set", "trials", "phase", "backend", "eer", "min_dcf_0.01", "min_dcf_0.001", "n_target", "n_nontarget",
         "n_lost", "eer_low", "eer_high", "min_dcf_0.01_low", "min_dcf_0.01_high", "min_dcf_0.05", "miss_at_fa_0.01",
         "act_dcf_0.01", "cllr", "min_cllr", "top_1", "top_5", "min_dcf_0.5", "act_dcf_0.5", "act_dcf_0.01_low",
         "act_dcf_0.01_high"],
        ["test", "trials", "softmax", "cosine", "1.235", "0.1235", "1.0000", "10", "90", "0", "-", "-", "-", "-", "-",
         "7.778", "12.0000", "0.5000", "0.2500", "99.000", *"-----"], [""]]
