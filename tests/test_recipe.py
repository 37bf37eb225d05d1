"""run.sh itself on a tiny corpus: whole, stage by stage, from any folder, interrupted, and with bad input."""

import csv
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, environment, hear_interrupts, noise, tiny_conf, write_wav

RUN = ROOT / "egs/voxceleb/run.sh"
TINY_CORPUS = "--speakers 10 --test-speakers 4 --recordings 2 --utterances 3"


def recipe(*options: object, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run([str(RUN), *map(str, options)], cwd=cwd, env=environment(), capture_output=True, text=True,
                          timeout=600)


def rows(path: Path) -> list[dict]:
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A recipe run to its end, in a folder whose name has a blank, started from there with relative paths."""
    work = tmp_path_factory.mktemp("a recipe")
    tiny_conf(work / "tiny.toml")
    done = recipe("--corpus-opts", TINY_CORPUS, "--conf", "tiny.toml", "--dir", "out", "--nj", 3, "--gpus", 0, cwd=work)
    assert done.returncode == 0, done.stdout + done.stderr
    return work / "out", done


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished run to spoil; archives stay where the original has them."""
    shutil.copytree(finished[0], tmp_path / "out")
    tiny_conf(tmp_path / "tiny.toml")
    return tmp_path / "out"


def test_leaves_what_the_stages_promise(finished):
    out, done = finished
    for name in ("data/train/wav.scp", "data/dev/trials", "data/test/feats.scp", "data/test/vad.scp",
                 "data/test/utt2num_frames", "data/test/utt2dur", "data/test/frame_shift",
                 "exp/tiny/softmax/final.pt", "exp/tiny/triplet/final.pt", "exp/tiny/model.pt",
                 "exp/tiny/untrained/embeddings/test/embedding.scp",
                 "exp/tiny/triplet/embeddings/test/spk_embedding.ark", "exp/tiny/triplet/scores/test/trials.cosine",
                 "exp/tiny/report.html"):
        assert (out / name).stat().st_size > 0, name
    for stage in range(1, 8):
        assert f"== stage {stage}:" in done.stdout and f"== stage {stage} done in " in done.stdout
    assert not list(out.rglob("*.tmp")) and not list(out.rglob("progress.*"))


def test_results(finished):
    out, done = finished
    found = rows(out / "exp/tiny/results.tsv")
    assert [(r["set"], r["trials"], r["phase"], r["backend"]) for r in found] == [
        ("test", "trials", phase, "cosine") for phase in ("untrained", "softmax", "triplet")]
    assert list(found[0])[:11] == ["set", "trials", "phase", "backend", "eer", "min_dcf_0.01", "min_dcf_0.001",
                                   "n_target", "n_nontarget", "n_lost", "eer_low"]
    trials = [line.split() for line in (out / "data/test/trials").open()]
    for row in found:
        assert int(row["n_target"]) + int(row["n_nontarget"]) == len(trials) and row["n_lost"] == "0"
        assert 0 <= float(row["eer"]) <= 100
    *_, table, places = done.stdout.split("\n\n")
    assert [line.split() for line in table.splitlines()[1:]] == [
        ["test", row["phase"], "cosine", f"{float(row['eer']):.2f}", "-", f"{float(row['min_dcf_0.01']):.3f}"]
        for row in found]
    assert [line.split(maxsplit=1) for line in places.splitlines()[:3]] == [
        ["results", f"{out}/exp/tiny/results.tsv"], ["report", f"{out}/exp/tiny/report.html"],
        ["model", f"{out}/exp/tiny/model.pt"]]
    scores = [line.split() for line in (out / "exp/tiny/triplet/scores/test/trials.cosine").open()]
    assert [pair[:2] for pair in scores] == [trial[:2] for trial in trials]


def test_the_command_to_try_next(finished, tmp_path):
    """From any folder, in a new shell."""
    command = finished[1].stdout.splitlines()[-1].removeprefix("try")
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode in (0, 1) and done.stdout.startswith(("same: ", "different: ")), done.stderr


def test_the_report_knows_the_stages_and_the_command_line(finished):
    out, _ = finished
    made = [json.loads(path.read_text()) for path in sorted(out.glob("*/.stages/*.json")) + sorted(
        out.glob("exp/tiny/.stages/*.json"))]
    assert [record["part"] for record in made] == [
        "1", "2/copies", "2/dev", "2/test", "2/train", "3", "4", *(f"5/{phase}/{name}" for phase in (
            "softmax", "triplet", "untrained") for name in ("dev", "test")), "6", "7"]
    assert all("--dir out" in record["command"] for record in made)
    page = (out / "exp/tiny/report.html").read_text()
    assert "--conf tiny.toml --dir out --nj 3 --gpus 0" in page and (
        "Too few speakers of this list have target trials for intervals" in page)
    assert f"{out}/corpus/" in page


def again(finished, *options):
    """run.sh as the finished recipe was run, with more options, which take precedence."""
    return recipe("--corpus-opts", TINY_CORPUS, "--conf", "tiny.toml", "--dir", "out", "--nj", 3, "--gpus", 0, *options,
                  cwd=finished[0].parent)


def test_a_finished_recipe_has_nothing_to_do(finished):
    out, _ = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != ".lock"}
    done = again(finished)
    assert done.returncode == 0 and done.stdout.splitlines() == [f"== stage {n}: up to date" for n in range(1, 8)]
    before = {path: time for path, time in before.items() if path.is_file()}
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.parametrize("changes,expected", [
    ({"scoring.cohort_top": 4}, {6: "again: cohort_top 3 -> 4", 7: "again: cohort_top 3 -> 4"}),
    ({"triplet.margin": 0.5}, {4: "again: margin 0.1 -> 0.5", 5: "follows stage 4 (triplet/dev triplet/test)",
                               6: "follows stage 5", 7: "again: margin 0.1 -> 0.5"}),
    ({"features.num_mel_bins": 40}, dict.fromkeys((2, 3, 4, 7), "again: num_mel_bins 64 -> 40") | {
        5: "follows stage 4", 6: "follows stage 5"}),
    ({"training.checkpoint_minutes": 9.0}, {7: "again: checkpoint_minutes 5.0 -> 9.0"}),
    ({"features.vad": False}, dict.fromkeys((3, 4, 7), "again: vad True -> False") | {
        5: "follows stage 4", 6: "follows stage 5"})])
def test_the_plan_says_what_is_stale_and_why(finished, changes, expected):
    words = " ".join(f"{key}={json.dumps(value)}" for key, value in changes.items())
    done = again(finished, "--name", "tiny", "--set", words, "--dry-run", "true")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for stage in range(1, 8):
        said = expected.get(stage, "up to date")
        assert f"stage {stage}{' ' if said.startswith('again') else ': '}{said}" in lines, lines


@pytest.mark.long
def test_a_new_set_is_made_alone_and_a_stage_by_hand_tells_what_is_stale(copy):
    """In a copy, whose features lie elsewhere: so all that reads them is stale."""
    options = ["--corpus-opts", TINY_CORPUS, "--dir", copy, "--conf", copy.parent / "tiny.toml", "--gpus", 0]
    shutil.copytree(copy / "data/test", copy / "data/test_more")
    done = recipe(*options, "--dry-run", "true")
    assert "stage 2: not run yet (test_more)" in done.stdout, done.stdout + done.stderr
    assert "stage 2: up to date (train dev test copies)" in done.stdout
    done = recipe("--dir", copy, "--conf", copy.parent / "tiny.toml", "--gpus", 0, "--stage", 7)
    assert done.returncode == 0, done.stderr
    assert "stage 7 builds on what is stale: stage 3 again: " in done.stdout


@pytest.mark.long
def test_what_is_trained_anew_takes_the_place_of_the_old(copy):
    """Also by an engine, whose log lies beside it."""
    options = ["--corpus-opts", TINY_CORPUS, "--dir", copy, "--conf", copy.parent / "tiny.toml", "--gpus", 0]
    old = (copy / "exp/tiny/triplet/final.pt").read_bytes()
    tiny_conf(copy.parent / "tiny.toml", {"triplet.margin": 0.5})
    done = recipe(*options, "--stop-stage", 4, "--cuda-cmd", "run.pl")
    assert done.returncode == 0, done.stderr
    assert (copy / "exp/tiny/old/triplet/final.pt").read_bytes() == old != (
        copy / "exp/tiny/triplet/final.pt").read_bytes()
    assert "# Ended (code 0)" in (copy / "exp/tiny/triplet/log/train.log").read_text()


@pytest.mark.long
def test_phases_change_in_one_experiment(copy):
    """Results, model and report are those of the last run's phases; what another run of them left stays, unread."""
    from deepspeaker import load
    from deepspeaker.checkpoint import load as content

    exp = copy / "exp/tiny"
    shutil.rmtree(exp / "triplet")
    options = ["--corpus-opts", TINY_CORPUS, "--dir", copy, "--conf", copy.parent / "tiny.toml", "--gpus", 0]
    other = exp / "softmax/initial.pt"
    for words, phases, network in (
            (["--stage", 4, "--init", other], ["init", "triplet"], "triplet/final.pt"),  # means --phases triplet
            (["--stage", 5, "--phases", "softmax"], ["untrained", "softmax"], "softmax/final.pt")):
        done = recipe(*options, *words)
        assert done.returncode == 0 and "final.pt is new" not in done.stdout, done.stdout + done.stderr
        assert [row["phase"] for row in rows(exp / "results.tsv")] == phases
        page, trained = (exp / "report.html").read_text(), content(exp / network)["model"]
        others = {"init", "untrained", "softmax", "triplet"} - {*phases}
        assert not [phase for phase in others if f'<td class="text">{phase}</td>' in page]
        assert all(torch.equal(weight, trained[name]) for name, weight in content(exp / "model.pt")["model"].items())
        assert [row["phase"] for row in load(exp / "model.pt").summary["results"]] == phases[1:]
    assert (exp / "triplet/final.pt").exists() and (exp / "init/scores/test/trials.cosine").exists()
    done = recipe(*options, "--dry-run", "true")
    assert "stage 4 again: exp/tiny/softmax/final.pt is new, exp/tiny/softmax/initial.pt is gone" in done.stdout


def test_a_network_is_scored_without_training(finished, tmp_path):
    """From nothing but a network, with a configuration of another one; then the model decides."""
    from deepspeaker import load

    init = finished[0] / "exp/tiny/triplet/final.pt"
    tiny_conf(tmp_path / "tiny.toml", {"model.embedding_dim": 16, "augment.copies": ["noise"]})
    words = ["--corpus-opts", TINY_CORPUS, "--conf", tmp_path / "tiny.toml", "--dir", tmp_path / "out", "--gpus", 0,
             "--phases", "", "--init", init]
    done = recipe(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    exp, data = tmp_path / "out/exp/tiny", tmp_path / "out/data"
    assert done.stdout.startswith(f"== [features] and [model] are those of {init}\n")
    assert [f"== stage {n}: not in --phases" in done.stdout for n in range(1, 8)] == [n in (3, 4) for n in range(1, 8)]
    (row,), expected = rows(exp / "results.tsv"), rows(finished[0] / "exp/tiny/results.tsv")[2]
    assert row["phase"] == "init" and row == expected | {"phase": "init"}
    assert {path.name for path in exp.iterdir() if path.name[0] != "."} == {
        "init", "conf.toml", "results.tsv", "model.pt", "report.html"}
    assert not [*data.glob("train/feats.scp"), *data.glob("train_*")] and not (tmp_path / "out/sounds").exists()
    model = load(exp / "model.pt")
    assert model.summary["training"] is None and [row["phase"] for row in model.summary["results"]] == ["init"]
    command = done.stdout.splitlines()[-1].removeprefix("try")
    tried = subprocess.run(["bash", "-c", command], env=environment(), capture_output=True, text=True)
    assert tried.returncode in (0, 1) and tried.stdout.startswith(("same: ", "different: ")), tried.stderr
    told = recipe(*words).stdout.splitlines()
    assert told == [done.stdout.splitlines()[0], *(
        f"== stage {n}: {'not in --phases' if n in (3, 4) else 'up to date'}" for n in range(1, 8))]


def test_a_mistake_in_the_configuration_costs_no_record(copy):
    conf = copy.parent / "tiny.toml"
    conf.write_text(conf.read_text().replace("speeds = ", "sped = "))
    before = sorted((copy / "data/.stages").iterdir())
    done = recipe("--corpus-opts", TINY_CORPUS, "--dir", copy, "--conf", conf, "--gpus", 0)
    assert done.returncode == 1 and "[augment] key sped is unknown" in done.stderr and done.stderr.count("\n") == 1
    assert sorted((copy / "data/.stages").iterdir()) == before


def test_another_corpus_does_not_take_the_place_of_the_data(finished, tmp_path):
    wav = finished[0] / "data/train/wav.scp"
    before = wav.read_bytes()
    done = again(finished, "--corpus", "folder", "--root", tmp_path)
    assert done.returncode == 1 and "was made from another corpus (corpus 'synthetic' -> 'folder'" in done.stderr
    assert wav.read_bytes() == before


def test_a_second_run_in_the_same_folder_is_refused(finished):
    lock = finished[0] / ".lock"
    with lock.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = again(finished)
        assert done.returncode == 1 and f"is in use by process {lock.read_text().split()[1]} on " in done.stderr
        assert again(finished, "--dry-run", "true").returncode == 0
    assert again(finished).returncode == 0  # the first one has ended


def test_a_folder_that_cannot_be_written(finished):
    done = again(finished, "--dir", "/proc/recipe")
    assert done.returncode == 1 and done.stderr == "run.sh: --dir /proc/recipe: it cannot be written to\n"


def expected_features(line: str) -> tuple[float, float]:
    """(frames, bytes) of check_space.py's line."""
    sentence = r"   Expect about ([\d,.]+)( million)? frames in ([\d.]+) (MB|GB); [\d.]+ [MG]B are free\n"
    frames, million, size, unit = re.fullmatch(sentence, line).groups()
    return float(frames.replace(",", "")) * (1e6 if million else 1), float(size) * {"MB": 1e6, "GB": 1e9}[unit]


def test_a_disk_too_small_for_the_features(finished, tmp_path, call):
    conf = tmp_path / "huge.toml"
    tiny = (finished[0].parent / "tiny.toml").read_text()
    conf.write_text(tiny.replace("num_mel_bins = 64", f"num_mel_bins = {10**13}"))
    words = [ROOT / "steps/check_space.py", "--conf", conf, finished[0] / "fbank/none", finished[0] / "data/test"]
    done = call(*words)
    assert done.returncode == 1 and "need about" in done.stderr and "choose another --dir" in done.stderr
    done = call(*words[:2], finished[0].parent / "tiny.toml", *words[3:])
    made = sum(path.stat().st_size for path in (finished[0] / "fbank").glob("*_test.*.ark"))
    frames = sum(int(line.split()[1]) for line in (finished[0] / "data/test/utt2num_frames").open())
    assert done.returncode == 0
    expected_frames, size = expected_features(done.stdout)
    assert 0.8 * frames < expected_frames < 1.2 * frames and 0.8 * made < size < 1.2 * made
    done = call(*words[:2], finished[0].parent / "tiny.toml", "--copies", finished[0] / "data/test", "noise babble",
                "feats vad", words[3])
    assert done.returncode == 0
    expected_frames, size = expected_features(done.stdout)
    assert 1.6 * frames < expected_frames < 2.4 * frames and 1.6 * made < size < 2.4 * made


def test_scores_are_cosines_of_the_embeddings(finished):
    from deepspeaker.datadir.archive import read_vectors

    exp = finished[0] / "exp/tiny/triplet"
    embeddings = read_vectors(exp / "embeddings/test/embedding.scp")
    assert all(abs(np.linalg.norm(e) - 1) < 1e-5 for e in embeddings.values())
    for line in (exp / "scores/test/trials.cosine").open():
        a, b, score = line.split()
        assert abs(float(embeddings[a] @ embeddings[b]) - float(score)) < 2e-6
    speakers = read_vectors(exp / "embeddings/test/spk_embedding.scp")
    for line in (finished[0] / "data/test/spk2utt").open():
        speaker, *utterances = line.split()
        mean = np.mean([embeddings[u] for u in utterances], axis=0)
        np.testing.assert_allclose(speakers[speaker], mean / np.linalg.norm(mean), atol=1e-5)


def test_speakers_are_apart(finished):
    sets = [{line.split()[1] for line in (finished[0] / "data" / name / "utt2spk").open()}
            for name in ("train", "dev", "test")]
    assert all(sets) and not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])


@pytest.mark.long
def test_the_number_of_jobs_changes_no_byte(finished, call, tmp_path):
    from deepspeaker.datadir import read_table
    from deepspeaker.datadir.archive import open_matrix

    first = finished[0] / "data/test"
    again = tmp_path / "test"
    again.mkdir()
    for name in ("wav.scp", "utt2spk", "spk2utt"):
        shutil.copy(first / name, again)
    for jobs in (4, 1):
        done = call(ROOT / "steps/make_fbank.sh", "--nj", jobs, "--conf", finished[0].parent / "tiny.toml", again)
        assert done.returncode == 0, done.stderr
        assert len(list((again / "data").glob("*.ark"))) == 2 * jobs
    for name in ("utt2num_frames", "utt2dur", "frame_shift"):
        assert (first / name).read_text() == (again / name).read_text()
    a, b = read_table(first / "feats.scp"), read_table(again / "feats.scp")
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(open_matrix(a[key], key).stored, open_matrix(b[key], key).stored)


@pytest.mark.long
def test_stages_alone_give_the_same_again(copy):
    before = (copy / "exp/tiny/results.tsv").read_bytes()
    (copy / "exp/tiny/results.tsv").unlink()
    options = ["--dir", copy, "--conf", copy.parent / "tiny.toml", "--gpus", 0, "--nj", 2]
    done = recipe(*options, "--stage", 3, "--stop-stage", 4, "--cuda-cmd", "run.pl --gpu 0")
    assert done.returncode == 0 and done.stdout.count("nothing to do") == 2, done.stderr
    assert "# Ended (code 0)" in (copy / "exp/tiny/triplet/log/train.log").read_text()
    for stage in (5, 6, 7):
        done = recipe(*options, "--stage", stage, "--stop-stage", stage)
        assert done.returncode == 0, done.stderr
    assert (copy / "exp/tiny/results.tsv").read_bytes() == before


@pytest.mark.long
def test_lost_utterance_loses_its_trials_and_an_unknown_one_is_an_error(copy):
    lost = (copy / "data/test/trials").read_text().split()[0]
    trials = [line for line in (copy / "data/test/trials").open() if lost in line]
    feats = [line for line in (copy / "data/test/feats.scp").open() if not line.startswith(lost)]
    (copy / "data/test/feats.scp").write_text("".join(feats))
    options = ["--dir", copy, "--conf", copy.parent / "tiny.toml", "--gpus", 0, "--stop-stage", 6, "--stage", 5]
    done = recipe(*options)
    assert done.returncode == 0, done.stderr
    assert {row["n_lost"] for row in rows(copy / "exp/tiny/results.tsv")} == {str(len(trials))}
    with (copy / "data/test/trials").open("a") as file:
        file.write(f"{lost} nobody-at-all nontarget\n")
    count = len((copy / "data/test/trials").read_text().splitlines())
    done = recipe(*options[:-1], 6)
    assert done.returncode == 1
    assert f"1 trials that name an id the data directory does not have (trials:{count}: {lost} nobody-" in done.stderr


def test_a_back_end_without_calibration_gets_no_likelihood_ratios_of_another(copy, call):
    phase = copy / "exp/tiny/triplet"
    shutil.copytree(copy / "exp/tiny/triplet/embeddings/dev", phase / "embeddings/train")
    done = call(ROOT / "steps/score_set.sh", "--conf", copy.parent / "tiny.toml", "--backends", "cosine asnorm",
                "--cohort", phase / "embeddings/train/embedding.scp", copy / "data/test", phase)
    assert done.returncode == 0, done.stderr
    cosine, asnorm = (json.loads((phase / f"scores/test/trials.{name}.json").read_text())
                      for name in ("cosine", "asnorm"))
    assert "cllr" in cosine and "cllr" not in asnorm and asnorm["eer"] is not None


@pytest.mark.long
def test_a_test_set_more(copy):
    shutil.copytree(copy / "data/test", copy / "data/test_more")
    done = recipe("--dir", copy, "--conf", copy.parent / "tiny.toml", "--gpus", 0, "--stage", 5, "--stop-stage", 6)
    assert done.returncode == 0, done.stderr
    found = rows(copy / "exp/tiny/results.tsv")
    assert [row["eer"] for row in found if row["set"] == "test"] == [
        row["eer"] for row in found if row["set"] == "test_more"] and len(found) == 6


@pytest.mark.long
def test_enrolment_by_several_utterances(copy):
    from deepspeaker.datadir.archive import read_vectors

    test = copy / "data/test"
    speakers = {line.split()[0]: line.split()[1:] for line in (test / "spk2utt").open()}
    (test / "enroll").write_text("".join(f"m-{s} {u[0]} {u[1]}\n" for s, u in speakers.items()))
    pairs = [(f"m-{s}", other, "target" if s == o else "nontarget")
             for s in speakers for o, utts in speakers.items() for other in utts[2:]]
    (test / "trials").write_text("".join(" ".join(pair) + "\n" for pair in pairs))
    done = recipe("--dir", copy, "--conf", copy.parent / "tiny.toml", "--gpus", 0, "--stage", 6)
    assert done.returncode == 0, done.stderr
    embeddings = read_vectors(copy / "exp/tiny/triplet/embeddings/test/embedding.scp")
    model, utterance, score = (copy / "exp/tiny/triplet/scores/test/trials.cosine").read_text().split()[:3]
    assert '<span class="id">m-' in (copy / "exp/tiny/report.html").read_text()
    mean = sum(embeddings[u] for u in speakers[model[2:]][:2])
    assert abs(mean @ embeddings[utterance] / np.linalg.norm(mean) - float(score)) < 2e-6


@pytest.mark.long
def test_every_backend_is_calibrated_on_dev(copy):
    from deepspeaker.checkpoint import load
    from deepspeaker.scoring.calibration import read_calibration
    from deepspeaker.scoring.plda_files import read_plda

    tiny_conf(copy.parent / "tiny.toml", {"scoring.qualities": ["log_duration", "cohort_mean"]})
    done = recipe("--dir", copy, "--conf", copy.parent / "tiny.toml", "--gpus", 0, "--stage", 5, "--stop-stage", 6,
                  "--backend", "cosine asnorm plda")
    assert done.returncode == 0, done.stderr
    exp = copy / "exp/tiny"
    assert [row["backend"] for row in rows(exp / "results.tsv")] == ["asnorm", "cosine", "plda"] * 3
    assert read_plda(exp / "triplet/plda").psi.shape == (4,)
    assert not list(exp.glob("*/scores/dev/*.json"))
    kept = load(exp / "model.pt")["calibration"]
    trials = [line.split()[:2] for line in (copy / "data/test/trials").open()]
    assert {path.suffix[1:] for path in (exp / "triplet/quality/test").iterdir()} == {
        f"{name}_{side}" for name in ("log_duration", "cohort_mean") for side in ("smaller", "larger")}
    for backend in ("cosine", "asnorm", "plda"):
        calibration = read_calibration(exp / f"triplet/calibration/{backend}.json")
        assert kept[backend] == calibration._asdict() and calibration.qualities == []  # dev has too few speakers
        scores = [float(line.split()[2]) for line in (exp / f"triplet/scores/test/trials.{backend}").open()]
        for n, line in enumerate((exp / f"triplet/llr/test/trials.{backend}").open()):
            expected = np.clip(calibration.offset + calibration.weights["score"] * scores[n], *calibration.bounds)
            assert line.split()[:2] == trials[n]
            assert float(line.split()[2]) == pytest.approx(expected, rel=1e-3, abs=1e-3)


@pytest.mark.long
def test_dev_chooses_the_back_end(copy):
    """PLDA of more dimensions than speakers is left out; without enough speakers to compare, the first decides."""
    from deepspeaker.checkpoint import load

    conf = tiny_conf(copy.parent / "tiny.toml", {"scoring.backends": "auto", "scoring.plda_dim": 30})
    done = recipe("--dir", copy, "--conf", conf, "--gpus", 0, "--stage", 5, "--stop-stage", 6)
    assert done.returncode == 0, done.stderr
    assert "plda is left out: PLDA after lda" in done.stderr
    assert [row["backend"] for row in rows(copy / "exp/tiny/results.tsv")] == ["asnorm", "cosine"] * 3
    for backend, cllr in (("cosine", 0.4), ("asnorm", 0.3)):
        path = copy / f"exp/tiny/triplet/calibration/{backend}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"cllr": cllr}))
    words = "--conf", conf, "--choose", copy / "exp/tiny", "--backends", "cosine", "asnorm"
    done = subprocess.run([sys.executable, ROOT / "steps/collect_results.py", *words], env=environment(),
                          capture_output=True, text=True)
    assert done.returncode == 0 and "model.pt decides by asnorm: Cllr of development speakers held out, in bits: " \
        "asnorm 0.300, cosine 0.400" in done.stdout, done.stderr
    assert load(copy / "exp/tiny/model.pt")["config"]["scoring"]["backends"] == ["asnorm", "cosine"]


def test_the_model_decides_as_stage_6_does(finished, call):
    from deepspeaker import load
    from deepspeaker.datadir import read_table
    from deepspeaker.datadir.archive import read_vectors

    exp, wavs = finished[0] / "exp/tiny", read_table(finished[0] / "data/test/wav.scp")
    model = load(exp / "model.pt")
    results = model.summary.pop("results")
    assert [row["set"] for row in results] == ["test"] and "eer_low" in rows(exp / "results.tsv")[0]
    assert model.summary["training"] == {"speakers": 8, "utterances": 48, "hours": pytest.approx(0.05, abs=0.03)}
    assert model.summary.keys() == {"date", "version", "training"}
    for line in list((exp / "triplet/llr/test/trials.cosine").open())[:3]:
        first, second, llr = line.split()
        found = model.verify(wavs[first], wavs[second])
        assert found.llr == pytest.approx(float(llr), abs=2e-3)
        np.testing.assert_allclose(model.listen(wavs[first]).embedding, read_vectors(
            exp / "triplet/embeddings/test/embedding.scp")[first], atol=1e-5)


@pytest.mark.long
def test_evaluate_judges_a_model_by_its_own_decisions(finished, call, tmp_path):
    """A model whose calibration needs the cohort and the signal-to-noise ratio decides as in Python."""
    from deepspeaker import load
    from deepspeaker.checkpoint import load as load_checkpoint
    from deepspeaker.checkpoint import save
    from deepspeaker.datadir import read_table

    out = finished[0]
    content = load_checkpoint(out / "exp/tiny/model.pt")
    weights = {"score": 0.5, "snr_smaller": 0.02, "snr_larger": -0.01, "score*snr_smaller": 0.05, "score*snr_larger": 0}
    content["config"]["scoring"] |= {"backends": ["asnorm"], "calibration_prior": 0.2, "qualities": ["snr"]}
    content |= {"cohort": torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), "calibration": {"asnorm": {
        "prior": 0.3, "offset": 0.5, "weights": weights, "bounds": (-3.0, 2.5),
        "ranges": {"snr_smaller": (5.0, 30.0), "snr_larger": (5.0, 40.0)}}}}
    save(tmp_path / "model.pt", content)
    done = call(ROOT / "steps/evaluate.sh", "--nj", 2, tmp_path / "model.pt", out / "data/test", tmp_path / "res")
    assert done.returncode == 0, done.stderr
    assert "decides by asnorm, with snr" in done.stdout and "decisions at prior 0.2: " in done.stdout
    metrics = json.loads((tmp_path / "res/metrics.json").read_text())
    assert {"cllr", "act_dcf_0.2", "act_dcf_0.5", "miss_at_prior_0.2", "miss_at_prior_0.2_low",
            "false_accept_at_prior_0.5_high"} <= metrics.keys()
    model, wavs = load(tmp_path / "model.pt"), read_table(out / "data/test/wav.scp")
    lines = [line.split() for line in (tmp_path / "res/llr").open()]
    for first, second, llr in lines[:5]:
        assert model.verify(wavs[first], wavs[second]).llr == pytest.approx(float(llr), abs=2e-3)
    targets = [line.split()[2] == "target" for line in (out / "data/test/trials").open()]
    missed = [float(line[2]) < np.log(4) for line, target in zip(lines, targets, strict=True) if target]
    assert metrics["miss_at_prior_0.2"] == pytest.approx(100 * np.mean(missed))
    done = call(ROOT / "steps/evaluate.sh", "--nj", 2, out / "exp/tiny/triplet/final.pt", out / "data/test",
                tmp_path / "res")
    assert done.returncode == 0 and "no calibration of cosine" in done.stdout, done.stderr
    assert "cllr" not in json.loads((tmp_path / "res/metrics.json").read_text()) and not (tmp_path / "res/llr").exists()


@pytest.mark.long
def test_evaluate_on_another_test_set(finished, call, tmp_path):
    from deepspeaker.datadir import read_table

    out = finished[0]
    data = tmp_path / "mine"
    data.mkdir()
    for name in ("wav.scp", "utt2spk", "spk2utt", "trials"):
        shutil.copy(out / "data/test" / name, data)
    before = {p.name: p.read_bytes() for p in data.iterdir()}
    done = call(ROOT / "steps/evaluate.sh", "--nj", 2, out / "exp/tiny/triplet/final.pt", data, tmp_path / "res")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "res/metrics.json").read_text())
    expected = rows(out / "exp/tiny/results.tsv")[2]
    assert f"{metrics['eer']:.3f}" == expected["eer"] and metrics["n_target"] == int(expected["n_target"])
    assert {p.name: p.read_bytes() for p in data.iterdir()} == before

    (data / "augment").write_text("".join(f"{line.split()[0]} speed 1.3\n" for line in (data / "wav.scp").open()))
    done = call(ROOT / "steps/evaluate.sh", "--nj", 2, out / "exp/tiny/triplet/final.pt", data, tmp_path / "res")
    assert done.returncode == 0, done.stderr
    slow, fast = (read_table(folder / "utt2dur") for folder in (out / "data/test", tmp_path / "res/data/mine"))
    shorter = {utterance: float(seconds) / 1.3 for utterance, seconds in slow.items()}
    assert {utterance: float(seconds) for utterance, seconds in fast.items()} == pytest.approx(shorter, abs=0.002)
    (data / "augment").unlink()
    done = call(ROOT / "steps/evaluate.sh", "--nj", 2, out / "exp/tiny/triplet/final.pt", data, tmp_path / "res")
    assert done.returncode == 0 and json.loads((tmp_path / "res/metrics.json").read_text()) == metrics


BAD = "FOLDER OF TEST"


@pytest.mark.parametrize("options, message", [
    (["--foo", "1"], "invalid option --foo"), (["--stage=2"], "must be of the form --name value, got '--stage=2'"),
    (["--corpus", "nix"], "no corpus 'nix' in .*; there are: .*synthetic.*voxceleb"),
    (["--corpus", "voxceleb"], "--corpus voxceleb needs --root"), (["--root", "/nowhere"], "--root /nowhere: no such"),
    (["--conf", "nix.toml"], "--conf nix.toml: no such file in"), (["--stage", "x"], "--stage: expected a number"),
    (["--stage", "9"], "stage 9: expected 1 to 7"), (["--stage", "3", "--stop-stage", "2"], "is before"),
    (["--backend", "cosine nix"], "no back-end 'nix'; there are: cosine, asnorm, plda"),
    (["--init", "nix.pt"], "--init nix.pt|/nix.pt: no such file"), (["more"], "unexpected argument 'more'"),
    (["--set", "softmax.margin=0"], "it needs --name"),
    (["--set", "softmax.margn=0", "--name", "x"], r"\[softmax\] key margn is unknown"),
    (["--set", "softmax.margin", "--name", "x"], "expected SECTION.KEY=VALUE .* found softmax.margin"),
    (["--conf", f"{BAD}/key.toml"], r"key.toml: \[softmax\] key margn is unknown"),
    (["--conf", f"{BAD}/section.toml"], "section.toml: section features is missing"),
    (["--stage", "2"], "no data directories in .*: run stage 1 first"),
    (["--stage", "3"], "no .*/data/train/feats.scp: run stage 2 first"),
    (["--stage", "4"], "no .*/data/train/feats.scp: run stage 2 first"),
    (["--stage", "5"], "no .*/exp/demo/triplet/final.pt: run stage 4 first"),
    (["--stage", "6"], "no .*/exp/demo/triplet/final.pt: run stage 4 first"),
    (["--stage", "7"], "no .*/exp/demo/results.tsv: run stage 6 first")])
def test_one_line_says_what_to_do(tmp_path, options, message):
    whole = tiny_conf(tmp_path / "whole.toml").read_text()
    (tmp_path / "key.toml").write_text(whole.replace("margin = ", "margn = ", 1))
    (tmp_path / "section.toml").write_text(whole[whole.index("[model]"):])
    options = [option.replace(BAD, str(tmp_path)) for option in options]
    done = recipe("--dir", tmp_path, *options)
    assert done.returncode == 1
    assert re.search(message, done.stderr) and done.stderr.count("\n") == 1, done.stderr


def test_help_lists_every_option_with_its_default():
    done = recipe("--help")
    assert done.returncode == 0
    for option in ("corpus", "corpus-opts", "root", "conf", "set", "stage", "stop-stage", "dir", "name", "nj", "gpus",
                   "nnodes", "node-rank", "rdzv-endpoint", "seed", "init", "backend"):
        assert f"--{option} " in done.stderr


def processes_of(folder: Path) -> list[str]:
    """Command lines that name a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(folder) in words:
                found.append(words)
    return found


@pytest.mark.parametrize("how, whom, stage, status", [
    (signal.SIGINT, "group", 3, 130), (signal.SIGTERM, "run.sh", 3, 143), (signal.SIGINT, "run.sh", 2, 130)])
def test_interrupted(copy, how, whom, stage, status):
    """As Ctrl-C does it (the whole group) and as a script does it (run.sh alone): all ends, and not with success."""
    shutil.rmtree(copy / "exp")
    if stage == 2:  # features of this set never end by themselves
        wav = copy / "data/test/wav.scp"
        wav.write_text("".join(f"{line.split()[0]} sleep 600; cat {copy} |\n" for line in wav.open()))
    conf = tiny_conf(copy.parent / "long.toml", {"softmax.epochs": 10000})
    words = [str(RUN), "--dir", str(copy), "--conf", str(conf), "--gpus", "0", "--stage", str(stage)]
    process = subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               start_new_session=True, preexec_fn=hear_interrupts)
    sign = {3: copy / "exp/long/softmax/train.jsonl", 2: copy / "data/test/log/progress.1"}[stage]
    until = time.monotonic() + 120
    while not sign.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    if whom == "group":
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == status, output
    assert f"stopped by a signal in stage {stage}" in output
    until = time.monotonic() + 10
    while processes_of(copy) and time.monotonic() < until:
        time.sleep(0.05)
    assert not processes_of(copy)
    if stage == 3:
        assert not (copy / "exp/long/softmax/final.pt").exists() and list((copy / "exp/long/softmax").glob("step-*.pt"))


@pytest.fixture
def bad_audio(data_dir, tmp_path):
    """100 good utterances and one of each bad kind; returns the folder and utterance -> reason."""
    folder = data_dir(speakers=10, utterances=10, seconds=0.3)
    good = (tmp_path / "wav/train/s00-u00.wav").read_bytes()
    made = {"empty": b"", "truncated": good[:-2000], "text": b"this is not audio, it is only named like it"}
    for name, content in made.items():
        (tmp_path / f"{name}.wav").write_bytes(content)
    write_wav(tmp_path / "short.wav", noise(0.02, 1))
    write_wav(tmp_path / "stereo.wav", np.stack([noise(0.5, 1, 8000), noise(0.5, 2, 8000)], 1), 8000)
    with (folder / "wav.scp").open("a") as wav, (folder / "utt2spk").open("a") as utt2spk:
        for name in (*made, "short", "stereo", "missing"):
            wav.write(f"t-{name} {tmp_path}/{name}.wav\n")
            utt2spk.write(f"t-{name} t\n")
    for name in ("wav.scp", "utt2spk"):
        (folder / name).write_text("".join(sorted((folder / name).open())))
    return folder, {"empty": "is empty", "truncated": "is truncated", "text": "not audio", "missing": "No such file",
                    "short": "shorter than one frame: 320 samples"}


def test_bad_audio_is_listed_with_its_reason(bad_audio, call, conf):
    folder, reasons = bad_audio
    done = call(ROOT / "steps/make_fbank.sh", "--nj", 3, "--conf", conf(), folder)
    assert done.returncode == 0, done.stderr
    assert "101 utterances" in done.stdout and "5 could not be used, listed in" in done.stdout
    bad = dict(line.rstrip("\n").split(" ", 1) for line in (folder / "bad_utts").open())
    assert bad.keys() == {f"t-{name}" for name in reasons}
    for name, reason in reasons.items():
        assert reason in bad[f"t-{name}"]
    assert len((folder / "feats.scp").read_text().splitlines()) == 101
    logs = "".join(path.read_text() for path in (folder / "log").glob("make_fbank*.log"))
    assert "t-stereo: 2 channels mixed, 8000 Hz to 16000 Hz" in logs and "1 converted, 5 bad" in logs


@pytest.mark.long
def test_too_many_bad_utterances_fail_and_keep_the_old_features(bad_audio, call, conf):
    folder, _ = bad_audio
    assert call(ROOT / "steps/make_fbank.sh", "--conf", conf(), folder).returncode == 0
    before = (folder / "feats.scp").read_bytes()
    with (folder / "wav.scp").open("a") as file:
        file.write("u-1 /nowhere.wav\n")
    done = call(ROOT / "steps/make_fbank.sh", "--conf", conf(), folder)
    assert done.returncode == 1
    assert f"6 of 107 utterances of {folder} cannot be used, more than 5 %" in done.stderr
    assert f"listed in {folder}/bad_utts" in done.stderr and (folder / "feats.scp").read_bytes() == before


def test_full_disk_in_stage_2(data_dir, conf, call):
    folder = data_dir(speakers=3, utterances=6, seconds=2.0)
    script = f"trap '' XFSZ; ulimit -f 64; exec {ROOT}/steps/make_fbank.sh --nj 2 --conf {conf()} {folder}"
    done = call("bash", "-c", script)
    assert done.returncode == 1 and "run.pl: 2 / 2 failed, log is in" in done.stderr
    assert "File too large" in (folder / "log/make_fbank_train.1.log").read_text()
    assert not (folder / "feats.scp").exists()
    assert not list((folder / "data").glob("*.ark")) and not list((folder / "data").glob(".*"))
    assert call(ROOT / "steps/make_fbank.sh", "--nj", 2, "--conf", conf(), folder).returncode == 0


@pytest.mark.long
def test_every_kind_of_copy(copy, tmp_path):
    """Stage 2 with recorded sounds, made rooms and speed, and a training step on all of them; then all made here."""
    for n, folder in enumerate(("noise", "music", "speech")):
        write_wav(tmp_path / "musan" / folder / f"{n}.wav", noise(2.0, n))
    options = ["--dir", copy, "--conf", tmp_path / "tiny.toml", "--gpus", 0, "--name", "copies"]
    kinds = ["--augment", "speed noise music babble reverb", "--musan", tmp_path / "musan"]
    for change in (["--augment", "music"], ["--augment", "hum"], [*kinds, "--rirs", "/nowhere"]):
        done = recipe(*options, "--stage", 2, *change)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    done = recipe(*options, *kinds, "--stage", 2, "--stop-stage", 3)
    assert done.returncode == 0, done.stderr
    original = (copy / "data/train/utt2spk").read_text().count("\n")
    assert (copy / "data/train_augmented/feats.scp").read_text().count("\n") == 6 * original
    speakers = {line.split()[1] for line in (copy / "data/train_augmented/utt2spk").open()}
    assert sum(speaker.startswith("sp1.1-") for speaker in speakers) == len(speakers) / 2
    rooms = (copy / "data/train_reverb/augment").read_text().splitlines()
    assert all(f" reverb {copy}/sounds/train/rooms.ark:" in line for line in rooms)
    done = recipe(*options, "--augment", "noise babble reverb", "--stage", 2, "--stop-stage", 2)
    assert done.returncode == 0, done.stderr
    for kind in ("noise", "babble"):
        assert f"{copy}/sounds/train/{kind}.ark:" in (copy / f"data/train_{kind}/augment").read_text()
    talking = {line.split()[0] for line in (copy / "sounds/train/babble.scp").open()}
    assert talking == {line.split()[0] for line in (copy / "data/train/feats.scp").open()}
    assert (copy / "data/train_augmented/feats.scp").read_text().count("\n") == 4 * original


@pytest.mark.long
def test_windows_out_of_sound_and_conditions(finished, tmp_path):
    """The whole recipe with every change to the sound; what a later back-end needs leaves the training as it is."""
    changes = {"augment.copies": [], "augment.online": True, "augment.speed": 0.5, "augment.reverb": 0.3,
               "augment.noise": 0.3, "augment.music": 0.2, "augment.babble": 0.3, "augment.telephone": 0.3,
               "augment.dev_conditions": ["noise", "reverb"], "features.sample_rate": 8000,
               "features.high_freq": 3800.0}
    tiny_conf(tmp_path / "tiny.toml", changes)
    for n, kind in enumerate(("noise", "music", "speech")):
        write_wav(tmp_path / "musan" / kind / f"{n}.wav", noise(2.0, n))
    write_wav(tmp_path / "rooms/room.wav", noise(0.2, 98) * np.exp(-np.arange(3200) / 800))
    out, kept = tmp_path / "out", [*finished[0].glob("corpus/**/*.wav")]
    words = ["--corpus", "voxceleb", "--root", finished[0] / "corpus", "--conf", "tiny.toml", "--dir", out, "--gpus", 0]
    done = recipe(*words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "run.sh: [augment] music needs --musan, the folder of MUSAN\n")
    assert not out.exists() and kept
    words += ["--musan", "musan", "--rirs", "rooms"]
    done = recipe(*words, "--conditions", "reverb", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {row["set"] for row in rows(out / "exp/tiny/results.tsv")} == {"test", "test_reverb"}
    for phase in ("softmax", "triplet"):
        entries = [json.loads(line) for line in (out / f"exp/tiny/{phase}/train.jsonl").open()]
        for entry in entries:
            found = [entry[f"dev_eer_{name}"] for name in ("clean", "noise", "reverb")]
            assert entry["dev_eer"] == pytest.approx(sum(found) / 3)
        assert len(entries) == 2
    assert not (out / "data/train/feats.scp").exists() and "(mapped sound archives)" in done.stdout
    assert "0 could not be used" in done.stdout and not list(out.rglob("*.tmp"))
    up_to_date = [f"== stage {n}: up to date" for n in range(1, 8)]
    for conditions in ("reverb", ""):
        assert recipe(*words, "--conditions", conditions, cwd=tmp_path).stdout.splitlines() == up_to_date
    before = {path: path.stat().st_mtime_ns for path in (
        *out.glob("data/train/*.scp"), *out.glob("fbank/*_train.*.ark"), *out.glob("exp/tiny/*/final.pt"))}
    done = recipe(*words, "--backend", "cosine asnorm", "--stop-stage", 4, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "== stage 2: not run yet (train)" in done.stdout and {*up_to_date[2:4]} <= {*done.stdout.splitlines()}
    assert before == {path: path.stat().st_mtime_ns for path in before}
