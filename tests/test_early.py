"""What is told before hours are spent: sizes that the training set does not have, trial lists of other ids; and where
the reason of a failure stands."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, environment, tiny_conf
from tools import model_file

from deepspeaker.conf_files import read_tables
from deepspeaker.recipe import early
from deepspeaker.recipe.stages import Recipe

RUN = ROOT / "egs/voxceleb/run.sh"
PLDA_OF_7 = ("PLDA after lda, of 8 dimensions, {} utterances and 7 speakers: [scoring] plda_dim must lie in 1..6, "
             "found 7")


def run(folder: Path, *options: object) -> subprocess.CompletedProcess:
    words = [RUN, "--dir", folder / "out", "--conf", folder / "tiny.toml", "--gpus", 0, "--nj", 2, *options]
    return subprocess.run([*map(str, words)], env=environment(), capture_output=True, text=True, timeout=100)


@pytest.fixture
def corpus(data_dir, tmp_path):
    """Kaldi directories of 9 speakers, of whom 2 go to dev, and of another 3 for the test."""
    data_dir("train", speakers=9, utterances=4, seconds=0.3)
    test = data_dir("test", speakers=3, utterances=2, seconds=0.4)
    for name in ("wav.scp", "utt2spk", "spk2utt", "trials"):
        (test / name).write_text((test / name).read_text().replace("s0", "t0").replace("/t0", "/s0"))
    return ["--corpus", "kaldi", "--root", tmp_path / "data"]


SIZES = {"augment.copies": [], "triplet.speakers": 24, "scoring.backends": ["asnorm", "plda"],
         "scoring.cohort_top": 100, "scoring.plda_dim": 7}
TOO_LARGE = ("[triplet] speakers = 24, but 7 of the 7 training speakers have 2 or more utterances: lower it, or train "
             "on more speakers; the cohort has 7 embeddings; the 100 most similar are asked for: set [scoring] "
             f"cohort_top between 2 and 7, or take a larger cohort; {PLDA_OF_7.format(28)}\n")


def test_sizes_are_told_after_stage_1(corpus, tmp_path):
    """In one sentence, before features and training; stage 1 need not be run again."""
    tiny_conf(tmp_path / "tiny.toml", SIZES)
    done = run(tmp_path, *corpus)
    assert (done.returncode, done.stderr) == (1, f"track_stages.py: {tmp_path}/tiny.toml: {TOO_LARGE}")
    assert "== stage 1 done" in done.stdout and "== stage 2" not in done.stdout
    assert run(tmp_path, *corpus, "--dry-run", "true").stdout.startswith("stage 1: up to date\nstage 2: not run yet\n")


def test_faults_of_data_and_sizes_are_told_at_once(corpus, tmp_path):
    tiny_conf(tmp_path / "tiny.toml", SIZES)
    trials = tmp_path / "data/test/trials"
    trials.write_text(trials.read_text().replace("t00-u00 t01-u00", "nobody t01-u00"))
    done = run(tmp_path, *corpus)
    assert done.returncode == 1
    assert done.stderr == f"track_stages.py: {tmp_path}/tiny.toml: {TOO_LARGE}run.sh: stage 1 failed\n"
    assert "trials:2: nobody t01-u00: no nobody" in done.stdout


@pytest.mark.long
def test_copies_in_a_condition_do_not_hinder_other_data(corpus, tmp_path):
    """Stage 1 leaves them to stage 2, which makes them again; their speakers may now be those of train."""
    tiny_conf(tmp_path / "tiny.toml", {"augment.copies": []})
    data = tmp_path / "out/data"
    assert run(tmp_path, *corpus, "--stop-stage", 1).returncode == 0
    shutil.copytree(data / "train", data / "test_noise")
    sound = f"{tmp_path}/sounds/test_noise/noise.ark:9"
    (data / "test_noise/augment").write_text("".join(f"{line.split()[0]} add 5 1 {sound}\n"
                                                     for line in (data / "train/utt2spk").read_text().splitlines()))
    done = run(tmp_path, *corpus, "--seed", 1, "--stop-stage", 1)
    assert done.returncode == 0 and "test_noise" not in done.stdout, done.stdout + done.stderr
    assert "data/test_noise/wav.scp" not in (data / ".stages/1.json").read_text()
    shutil.rmtree(data / "test_noise")
    done = run(tmp_path, *corpus, "--seed", 1, "--dry-run", "true")
    assert done.stdout.startswith("stage 1: up to date\n"), done.stdout


def recipe(folder: Path, counts: list[int], changes: dict | None = None, **options: object) -> Recipe:
    """A recipe whose training set has speakers of so many utterances."""
    conf = tiny_conf(folder / "tiny.toml", {"augment.copies": [], **(changes or {})})
    (folder / "data/train").mkdir(parents=True, exist_ok=True)
    (folder / "data/train/utt2spk").write_text("".join(
        f"s{s}-{u} s{s}\n" for s, count in enumerate(counts) for u in range(count)))
    return Recipe(folder, folder / "exp", read_tables(conf), "folder", "", folder, "", "", "", 0, "", folder / "x.pt",
                  "cosine", "")._replace(**options)


def test_only_stages_that_run_matter(tmp_path, monkeypatch):
    made = recipe(tmp_path, [4] * 3, {"triplet.speakers": 5}, backends="asnorm", learnt_from="train")
    softmax, triplet = (f"[{phase}] speakers = {count}, but 3 of the 3 training speakers have {fewest} or more "
                        "utterances: lower it, or train on more speakers" for phase, count, fewest in (
                            ("softmax", 4, 1), ("triplet", 5, 2)))
    assert [[*early.sizes(made, *stages)] for stages in ((2, 7), (3, 3), (4, 7), (2, 2), (5, 7), (7, 7))] == [
        [softmax, triplet], [softmax], [triplet], [], [], []]
    made = recipe(tmp_path, [4] * 2, backends="asnorm", learnt_from="train")
    assert [len([*early.sizes(made, *stages)]) for stages in ((2, 7), (5, 7), (6, 6), (2, 5), (7, 7))] == [
        3, 1, 1, 2, 0]
    monkeypatch.setattr(early, "why", lambda part, strict: None if part.name == "4" else "due")
    assert [len([*early.sizes(made, 2, 5, force)]) for force in (False, True)] == [1, 2]
    for phases, expected in (("triplet", 1), ("", 0)):  # of phases that are not chosen nothing is said
        assert [len([*early.sizes(made._replace(phases=phases), 2, 5, force)]) for force in (False, True)] == [
            0, expected]
    (tmp_path / "data/train/utt2spk").unlink()
    assert [*early.sizes(made, 2, 7)] == []


def test_what_the_training_set_must_have(tmp_path):
    def found(counts, changes=None, stage=2, **options):
        return [*early.sizes(recipe(tmp_path, counts, changes, **options), stage, 7)]

    assert found([2] * 4) == [] and found([1] + [2] * 3) == [
        "[triplet] speakers = 4, but 3 of the 4 training speakers have 2 or more utterances: lower it, or train on "
        "more speakers"]
    assert found([2, 1], {"augment.speeds": [0.9, 1.1]}, augment="speed noise") == []  # 6 speakers of 4 2 2 1 2 1
    assert "but 4 of the 6 training speakers" in found(
        [2, 1], {"augment.speeds": [0.9, 1.1], "triplet.speakers": 5}, augment="speed noise")[0]
    assert found([2] * 4, processes=3) == [
        f"[{phase}]: 3 processes cannot evenly share a batch of 4 x {count} windows: change speakers or --gpus"
        for phase, count in (("softmax", 1), ("triplet", 2))]
    quality = {"scoring.qualities": ["cohort_mean"], "scoring.cohort_top": 5}
    assert "the cohort has 4 embeddings; the 5 most" in found([2] * 4, quality, learnt_from="train")[0]
    learnt = {"backends": "plda", "learnt_from": "train"}
    assert found([9] * 7, {"scoring.plda_dim": 7}, **learnt) == [PLDA_OF_7.format(63)]
    assert "a rank of 7 at most, expected 8" in found([2] * 7, **learnt)[0] and found([2] * 8, **learnt) == []
    whiten = {"scoring.plda_transform": "whiten", "scoring.plda_dim": 8}
    assert found([3] * 4, whiten, **learnt) == [] and "expected 8" in found([2] * 5, whiten, **learnt)[0]
    (tmp_path / "data/train/feats.scp").write_text("".join(f"s{n}-0 x\n" for n in range(4)))
    assert found([2] * 4) == [] and len(found([2] * 4, stage=3)) == 1  # stage 2 could not read the others


def test_speakers_at_other_speeds_count_where_windows_are_cut_out_of_sound(tmp_path):
    def found(changes, stage=2, **options):
        made = recipe(tmp_path, [2, 2, 1], {"augment.speeds": [0.9, 1.1], **changes}, **options)
        return [*early.sizes(made, stage, 3)]

    ten = "[softmax] speakers = 10, but {} training speakers have 1 or more utterances: lower it, or train on more "
    online = {"augment.online": True, "softmax.speakers": 9}
    assert found(online | {"augment.speed": 0.5}) == []
    for changes, count in (({"augment.speed": 0.5}, "9 of the 9"), ({"augment.speed": 1.0}, "6 of the 9"),
                           ({}, "3 of the 3"), ({"augment.speed": 0.5, "augment.online": False}, "3 of the 3")):
        assert found(online | changes | {"softmax.speakers": 10}) == [ten.format(count) + "speakers"]
    assert len(found(online | {"augment.speed": 0.5, "softmax.speakers": 28}, augment="speed")) == 1
    (tmp_path / "data/train/feats.scp").write_text("s0-0 x\ns1-0 x\n")  # of an earlier experiment
    (tmp_path / "data/train/sound.scp").write_text("s0-0 x\ns1-0 x\ns2-0 x\n")
    assert found(online | {"augment.speed": 0.5}, stage=3) == []
    (tmp_path / "data/train/sound.scp").write_text("s0-0 x\ns1-0 x\n")
    assert "but 6 of the 6 training" in found(online | {"augment.speed": 0.5}, stage=3)[0]


def test_lists_of_dev_and_of_the_sets_that_are_scored(tmp_path):
    made = recipe(tmp_path, [4] * 4)
    for name in ("dev", "test_a", "test_b", "test_empty"):
        (tmp_path / "data" / name).mkdir()
        (tmp_path / "data" / name / "utt2spk").write_text("a-1-1 a\na-1-2 a\nb-1-1 b\n")
        (tmp_path / "data" / name / "trials").write_text("a-1-1 a-1-2 target\na-1-1 b-1-1 nontarget\n")
    assert [*early.trials(made, 2, 7)] == []
    (tmp_path / "data/dev/trials").rename(tmp_path / "data/dev/trials_other")
    (tmp_path / "data/test_a/trials").write_text("a-1-1 c2 target\na-1-1 c3 nontarget\na-1-1 a-1-2 nontarget\n")
    (tmp_path / "data/test_b/trials_E").write_text("a-1-1 a-1-2 target\n")
    (tmp_path / "data/test_empty/trials").unlink()
    dev, unknown, label, empty = early.trials(made, 2, 7)
    assert dev.startswith(f"{tmp_path}/data/dev: no trials: make them, ")
    assert unknown.startswith(
        f"{tmp_path}/data/test_a: 2 trials that name an id the data directory does not have (trials:1: a-1-1 c2: no "
        "c2, trials:2: a-1-1 c3: no c3): remove them")
    assert "1 trials whose label contradicts utt2spk (trials:3: a-1-1 a-1-2 nontarget: of a and a)" in unknown
    assert "test_b: 1 lists whose trials are all target, or all nontarget (trials_E: 1, all target): " in label
    assert empty.startswith(f"{tmp_path}/data/test_empty: no trials")
    assert [len([*early.trials(made, *stages)]) for stages in ((2, 3), (4, 5), (6, 6), (2, 2), (7, 7))] == [
        1, 1, 4, 0, 0]


@pytest.mark.long
def test_evaluate_looks_at_the_trials_first(call, data_dir, tmp_path):
    """A list in VoxCeleb's form and one of unknown ids are told before features are made."""
    model, test = model_file(tmp_path / "model.pt"), data_dir("test", speakers=3, utterances=2)
    good = (test / "trials").read_text()
    first, second, _ = good.split()[:3]
    words = [ROOT / "steps/evaluate.sh", "--nj", 1, model, test, tmp_path / "results"]
    for text, message in ((f"1 {first} {second}\n", "VoxCeleb's form: give ids of utt2spk instead of paths, .*awk '"),
                          (good.replace("u01", "u09"), "trials:1: s00-u00 s00-u09: no s00-u09")):
        (test / "trials").write_text(text)
        done = call(*words)
        assert done.returncode == 1 and re.search(message, done.stdout), done.stdout
        assert not (tmp_path / "results/fbank").exists() and not (tmp_path / "results/embeddings").exists()
    (test / "trials").write_text(good)
    assert call(*words).returncode == 0
    metrics = json.loads((tmp_path / "results/metrics.json").read_text())
    assert (metrics["n_target"], metrics["n_nontarget"]) == (3, 12)


def assert_named(done: subprocess.CompletedProcess, stage: int, program: str, message: str, in_log: bool) -> None:
    """A stage failed, and said why: on standard error or, where it names logs, in these."""
    assert done.returncode == 1 and done.stderr.endswith(f"\nrun.sh: stage {stage} failed\n")
    logs = [path for named in re.findall(r"log is in (\S+)", done.stderr) for path in Path("/").glob(named[1:])]
    said = "".join(path.read_text() for path in logs) if in_log else done.stderr
    assert re.search(rf"(?m)^{program}: .*{message}", said), done.stderr
    assert bool(logs) == in_log == ("log" in done.stderr), done.stderr


@pytest.fixture
def prepared(corpus, tmp_path):
    """The corpus as stage 1 leaves it."""
    (tmp_path / "out").mkdir()
    shutil.move(tmp_path / "data", tmp_path / "out/data")
    tiny_conf(tmp_path / "tiny.toml", {"augment.copies": []})
    return tmp_path


@pytest.mark.parametrize("entry, options, program, message, in_log", [
    (r" cat \1 |", ["--no-pipes", "true"], "make_fbank.py", "--no-pipes runs none", True),
    pytest.param(" exit 3 |", [], "make_fbank.py", "36 of 36 utterances of .* cannot be used", False,
                 marks=pytest.mark.long),
    pytest.param(r" \1", ["--augment", "noise", "--musan", "."], "augment_data_dir.py", "no sound files in .*/noise",
                 False, marks=pytest.mark.long)])
def test_a_stage_2_that_fails_says_where_the_reason_stands(prepared, entry, options, program, message, in_log):
    """In the job's log, or on the line above; a log of what went well is not named."""
    shutil.rmtree(prepared / "out/data/test")
    wav = prepared / "out/data/train/wav.scp"
    wav.write_text(re.sub(r"(?m) (.*)$", entry, wav.read_text()))
    assert_named(run(prepared, "--stage", 2, "--stop-stage", 2, *options), 2, program, message, in_log)


def test_windows_out_of_sound_without_sound(prepared):
    """As with features of another tool: the file that is missing is named, and what it is made from."""
    data = prepared / "out/data"
    tiny_conf(prepared / "tiny.toml", {"augment.copies": [], "augment.online": True})
    shutil.copytree(data / "test", data / "dev")
    for name in ("train", "dev", "test"):
        (data / name / "wav.scp").rename(data / name / "feats.scp")
    done = run(prepared, "--stage", 3, "--stop-stage", 3)
    assert (done.returncode, done.stderr) == (
        1, f"run.sh: no {data}/train/sound.scp: run stage 2 first (--stage 2)\n")
    done = run(prepared, "--stage", 2, "--stop-stage", 2)
    assert (done.returncode, done.stderr) == (
        1, f"run.sh: no {data}/train/wav.scp: run stage 1 first (--stage 1)\n")


@pytest.mark.long
def test_sound_and_features_of_train_are_made_in_one_pass(prepared):
    data = prepared / "out/data"
    shutil.copytree(data / "test", data / "dev")
    tiny_conf(prepared / "tiny.toml", {"augment.copies": [], "augment.online": True})
    line = f"{data}/train: 36 utterances, "
    done = run(prepared, "--stage", 2, "--stop-stage", 2, "--backend", "asnorm")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(line) == 1 and (data / "train/sound.scp").exists() and (data / "train/feats.scp").exists()
    made = json.loads((data / ".stages/2.train.json").read_text())
    assert "data/train/feats.scp" in made["outputs"] and "data/train/vad.scp" not in made["outputs"]


def test_a_disk_that_is_too_small(prepared):
    """Told before features are made; sizes of batches do not matter to stage 2 alone."""
    tiny_conf(prepared / "tiny.toml", SIZES)
    (prepared / "out/data/test/segments").write_text("t00-u00 t00-u00 0 1e15\n")
    done = run(prepared, "--stage", 2, "--stop-stage", 2)
    assert_named(done, 2, "check_space.py", "choose another --dir", False)


@pytest.mark.parametrize("stage, program, message, in_log", [
    (3, "train.py", "no .*/vad.scp, which", False), (5, "extract_embeddings.py", "final.pt", True),
    (6, "score_trials.py", "/none.ark", False)])
def test_later_stages_that_fail_say_where_the_reason_stands(prepared, stage, program, message, in_log):
    """Networks, features and embeddings that are not there."""
    exp, data = prepared / "out/exp/tiny", prepared / "out/data"
    if stage == 3:
        shutil.copytree(data / "test", data / "dev")
    for name, file in (("train", "data/train/feats.scp"), ("test", "data/dev/feats.scp"),
                       ("test", "data/test/feats.scp"), ("test", "exp/tiny/triplet/embeddings/test/embedding.scp")):
        if (path := prepared / "out" / file).parent.is_dir() or "exp" in file:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(re.sub("(?m) .*$", " /none.ark:5", (data / name / "utt2spk").read_text()))
    (exp / "triplet/final.pt").write_text("no network")
    assert_named(run(prepared, "--stage", stage, "--stop-stage", stage), stage, program, message, in_log)
