"""The plan: what each part of a stage depends on, what is made of it, and how that is said. Nothing is computed."""

import subprocess

import pytest

from deepspeaker.errors import UserError
from deepspeaker.recipe import plan, records
from deepspeaker.recipe.records import Kind, why
from deepspeaker.recipe.stages import FEATURES, Recipe, parts, read_recipe

SETS = ("train", "dev", "test", "test_b")
PHASES = ("untrained", "softmax", "triplet")
TABLES = {"features": {"num_mel_bins": 64, "vad": True}, "model": {"name": "gru"}, "training": {"precision": "full"},
          "augment": {"speeds": [1.1]}, "embedding": {"chunk": 300}, "scoring": {"cohort_top": 3},
          "softmax": {"epochs": 2}, "triplet": {"margin": 0.1}}


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe whose stages 1 to 7 are done, of files that hold their own names."""
    monkeypatch.setattr(records, "program", lambda: "these programs")
    monkeypatch.setattr(records, "_revision", lambda: "v1")
    monkeypatch.setattr(records, "_versions", dict)
    names = ["raw/speakers", "raw/a/1.wav", "exp/tiny/softmax/initial.pt", "exp/tiny/results.tsv",
             "exp/tiny/model.pt", "exp/tiny/report.html"]
    for name in (*SETS, "train_augmented"):
        names += [f"data/{name}/{file}" for file in ("wav.scp", "utt2spk", "spk2utt", "trials", *FEATURES)]
        names += [f"fbank/{name}.ark", f"fbank/vad_{name}.ark"]
    for phase in PHASES[1:]:
        names += [f"exp/tiny/{phase}/final.pt", f"exp/tiny/{phase}/train.jsonl"]
    for phase in PHASES:
        names += [f"exp/tiny/{phase}/embeddings/{name}/{file}" for name in SETS[1:]
                  for file in ("embedding.scp", "embedding.ark", "spk_embedding.scp", "spk_embedding.ark")]
        names += [f"exp/tiny/{phase}/scores/test/trials.cosine", f"exp/tiny/{phase}/scores/test/trials.cosine.json"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{name}\n")
    for name in (*SETS, "train_augmented"):
        (tmp_path / f"data/{name}/feats.scp").write_text(f"u {tmp_path}/fbank/{name}.ark:5\n")
        (tmp_path / f"data/{name}/vad.scp").write_text(f"u {tmp_path}/fbank/vad_{name}.ark:5\n")
    exp = tmp_path / "exp/tiny"
    done = Recipe(tmp_path, exp, TABLES, "folder", "", tmp_path / "raw", "speed", "/musan", "/rirs", 0, "",
                  exp / "softmax/final.pt", "cosine", "")
    for stage in range(1, 8):
        make(done, stage)
    return done


def begun(recipe, stage, force=False, strict=False, check=lambda: None):
    """What is said when a stage begins, then the names of the parts that are to be made."""
    due = plan.begin(recipe, stage, force, strict, check)
    return [*due.lines, *(part.name for part in due.parts)]


def make(recipe, stage):
    """Begin and end the parts of a stage that are to be made; their names."""
    names = [part.name for part in plan.begin(recipe, stage, False, False, lambda: None).parts]
    for name in names:
        plan.end(recipe, name, 1.0, "run.sh")
    return names


def lines(recipe, first=1, last=7, force=False, strict=False):
    return list(plan.plan(recipe, first, last, force, strict))


def stale(recipe):
    return [part.name for stage in range(1, 8) for part in parts(recipe, stage) if why(part, False)]


def fives(phases, names):
    return [f"5/{phase}/{name}" for name in names for phase in phases]


def test_a_recipe_that_is_done(recipe):
    assert lines(recipe) == [f"stage {n}: up to date" for n in range(1, 8)] and stale(recipe) == []
    assert [part.name for stage in range(1, 8) for part in parts(recipe, stage)] == [
        "1", "2/train", "2/dev", "2/test", "2/test_b", "2/copies", "3", "4", *fives(PHASES, SETS[1:]), "6", "7"]
    assert [make(recipe, stage) for stage in range(1, 8)] == [[]] * 7


def test_the_files_that_each_part_is_made_from(recipe):
    cases = {
        "raw/speakers": ["1"], "raw/a/1.wav": [],
        "data/train/wav.scp": ["2/train", "2/copies"], "data/train/utt2spk": ["2/copies", "6"],
        "data/test/wav.scp": ["2/test"], "data/train_augmented/utt2spk": ["3", "4"],
        "data/train_augmented/feats.scp": ["3", "4"], "fbank/vad_train_augmented.ark": ["3", "4"],
        "data/dev/utt2spk": ["3", "4", "6"], "data/dev/trials": ["3", "4", "6"],
        "data/dev/spk2utt": fives(PHASES, ["dev"]), "fbank/dev.ark": ["3", "4", *fives(PHASES, ["dev"])],
        "data/dev/vad.scp": ["3", "4", *fives(PHASES, ["dev"])], "fbank/vad_test.ark": fives(PHASES, ["test"]),
        "data/test/utt2dur": ["6"], "data/test/frame_shift": [],
        "exp/tiny/softmax/initial.pt": [*fives(["untrained"], SETS[1:]), "6"],
        "exp/tiny/softmax/final.pt": ["4", *fives(["softmax"], SETS[1:]), "6"],
        "exp/tiny/triplet/final.pt": [*fives(["triplet"], SETS[1:]), "6"],
        "exp/tiny/triplet/embeddings/dev/spk_embedding.scp": ["6"], "exp/tiny/results.tsv": ["7"],
        "exp/tiny/triplet/train.jsonl": ["7"], "exp/tiny/softmax/scores/test/trials.cosine": ["7"]}
    found = {}
    for name in cases:
        before = (recipe.dir / name).read_text()
        (recipe.dir / name).write_text(before.replace("ark:5", "ark:6") if "ark:5" in before else "u2 x\n")
        found[name] = stale(recipe)
        (recipe.dir / name).write_text(before)
    assert found == cases
    new = {"raw/more": ["1"], "data/dev/segments": ["2/dev"], "data/train/augment": ["2/train", "2/copies"],
           "data/dev/trials_b": ["6"], "data/test/enroll": ["6"], "data/test/spk2gender": ["6"],
           "exp/tiny/triplet/llr/test/trials.cosine": ["7"]}
    found = {}
    for name in new:
        (recipe.dir / name).parent.mkdir(parents=True, exist_ok=True)
        (recipe.dir / name).touch()
        found[name] = stale(recipe)
        (recipe.dir / name).unlink()
    assert found == new


def test_an_output_that_is_missing(recipe):
    cases = {"data/dev/wav.scp": ["1", "2/dev"], "data/dev/trials": ["1", "3", "4", "6"],
             "data/test/frame_shift": ["2/test"], "data/test/feats_conf.json": ["2/test"],
             "fbank/train.ark": ["2/train"], "data/train_augmented/utt2num_frames": ["2/copies"],
             "exp/tiny/triplet/train.jsonl": ["4", "7"], "exp/tiny/model.pt": ["6"],
             "exp/tiny/untrained/embeddings/test/spk_embedding.ark": ["5/untrained/test", "6"],
             "exp/tiny/triplet/scores/test/trials.cosine.json": ["6", "7"], "exp/tiny/report.html": ["7"]}
    found = {}
    for name in cases:
        before = (recipe.dir / name).read_text()
        (recipe.dir / name).unlink()
        found[name] = stale(recipe)
        (recipe.dir / name).write_text(before)
    assert found == cases


@pytest.mark.parametrize("changes, expected", [
    ({"features": {"num_mel_bins": 40, "vad": True}}, ["2/train", "2/dev", "2/test", "2/test_b", "2/copies", "3", "4"]),
    ({"features": {"num_mel_bins": 64, "vad": False}}, ["3", "4"]), ({"model": {"name": "rescnn"}}, ["3", "4"]),
    ({"training": {"precision": "full", "checkpoint_minutes": 9}}, []), ({"training": {"precision": "b"}}, ["3", "4"]),
    ({"augment": {"speeds": [0.9]}}, ["2/copies", "3", "4"]),
    ({"augment": {"speeds": [1.1], "dev_conditions": ["noise"]}}, ["2/copy/dev_noise", "3", "4"]),
    ({"embedding": {"chunk": 9}}, ["3", "4", *fives(PHASES, SETS[1:])]),
    ({"scoring": {"cohort_top": 4}}, ["6"]), ({"scoring": {"cohort_top": 3, "plda_normalize_length": True}}, ["6"]),
    ({"softmax": {"epochs": 3}}, ["3"]), ({"triplet": {"margin": 0.2}}, ["4"]),
])
def test_the_sections_of_the_configuration_that_each_part_depends_on(recipe, changes, expected):
    assert stale(recipe._replace(tables=TABLES | changes)) == [*expected, "7"]


def test_training_from_before_there_was_a_key_is_up_to_date(recipe):
    assert stale(recipe._replace(tables=TABLES | {"augment": {"speeds": [1.1], "dev_conditions": []}}))[:-1] == []


def test_trainings_from_before_there_were_windows_out_of_sound_are_up_to_date(recipe):
    """Parts and inputs stay as they were with the new keys, whatever they say, as long as `online` does not hold."""
    new = {"online": False, "speed": 0.5, "reverb": 0.3, "noise": 0.2, "music": 0.1, "babble": 0.1, "telephone": 0.2,
           "noise_snr": [0.0, 9.0], "dev_conditions": []}
    other = recipe._replace(tables=TABLES | {"augment": {"speeds": [1.1], **new}})
    assert stale(other)[:-1] == [] and other.online_kinds == []
    for stage in (2, 3, 4, 5, 6):
        assert [part._replace(settings={}) for part in parts(other, stage)] == [
            part._replace(settings={}) for part in parts(recipe, stage)]


def test_scores_from_before_there_was_a_key_are_up_to_date(recipe):
    assert stale(recipe._replace(tables=TABLES | {"scoring": {"cohort_top": 3, "plda_normalize_length": False}})) == []


def test_the_options_that_each_part_depends_on(recipe):
    other = recipe.exp / "softmax/initial.pt"
    for options, expected in [
            ({"corpus": "other"}, ["1"]), ({"corpus_opts": "--x"}, ["1"]), ({"musan": "/m"}, ["2/copies"]),
            ({"rirs": "/r"}, ["2/copies"]), ({"augment": "noise"}, ["2/copies"]),
            ({"seed": 1}, ["1", "2/copies", "3", "4"]), ({"start": other}, ["4"]),
            ({"init": str(other)}, ["3", *fives(["init"], SETS[1:]), "6", "7"]),
            ({"augment": ""}, ["3", "4"]), ({"backends": "plda"}, ["6"]),
            ({"learnt_from": "train"}, fives(PHASES, ["train"]))]:
        assert stale(recipe._replace(**options)) == expected, options
    assert stale(recipe._replace(root=recipe.dir / "data")) == ["1"]


def test_a_corpus_with_many_files_is_known_by_their_names_alone(recipe):
    for n in range(99):
        (recipe.root / f"{n}.wav").touch()
    make(recipe, 1)  # 100 files with raw/speakers
    (recipe.root / "5.wav").write_text("changed")
    assert stale(recipe) == ["1"]
    (recipe.root / "99.wav").touch()
    make(recipe, 1)
    (recipe.root / "5.wav").write_text("changed again")
    assert stale(recipe) == []
    (recipe.root / "100.wav").touch()
    assert stale(recipe) == ["1"]


def test_the_synthetic_corpus_depends_on_no_folder(recipe):
    alike = recipe._replace(corpus="synthetic")
    begun(alike, 1, force=True)
    plan.end(alike, "1", 1.0, "run.sh")
    (recipe.root / "new").touch()
    assert stale(alike) == []


def test_the_sets_and_models_there_are(recipe):
    assert recipe.sets("train", "nix") == ["train", "test", "test_b"]
    (recipe.data / "test_file").touch()
    assert recipe.sets() == ["test", "test_b"]
    files = [recipe.exp / f"{name}.pt" for name in ("softmax/initial", "softmax/final", "triplet/final")]
    assert recipe.networks == dict(zip(PHASES, files, strict=True))
    assert [*recipe._replace(phases="softmax").networks] == ["untrained", "softmax"]
    other = recipe.dir / "raw/speakers"
    assert recipe._replace(init=str(other)).networks == {"init": other, "softmax": files[1], "triplet": files[2]}
    assert recipe._replace(init=str(other), phases="").networks == {"init": other}
    files[0].unlink()
    files[1].unlink()
    assert [*recipe.networks] == ["triplet"]  # as --stage 4 --init leaves it
    files[2].unlink()
    assert [*recipe.networks] == [*PHASES] and [*recipe._replace(init=str(other)).networks] == ["init", *PHASES[1:]]
    assert recipe.train.name == "train_augmented" and recipe._replace(augment="").train.name == "train"


def started(recipe, phases, **options):
    """The recipe with these phases alone, which start from a network of its own."""
    start = recipe.dir / "other.pt"
    start.write_text("other.pt\n")
    return recipe._replace(phases=phases, init=str(start), start=start, **options)


def test_a_phase_that_is_not_chosen_has_no_parts(recipe):
    for phases, stage, rows in (("triplet", 4, ["init", "triplet"]), ("softmax", 3, ["init", "softmax"]),
                                ("", None, ["init"])):
        other = started(recipe, phases)
        found = [part for n in range(3, 8) for part in parts(other, n)]
        assert [part.name for part in found] == [*([str(stage)] if stage else []), *fives(rows, SETS[1:]), "6", "7"]
        assert found[-2].paths == tuple(recipe.exp / phase for phase in rows)
        assert [part.paths[0] for part in found if part.name == "5/init/dev"] == [recipe.dir / "other.pt"]
        if stage:
            assert recipe.dir / "other.pt" in found[0].inputs
        for part in found[-2:]:  # what the other phases left is not read
            names = {path.relative_to(recipe.exp).parts[0] for path in part.inputs if path.is_relative_to(recipe.exp)}
            assert names <= {*rows, "results.tsv"}, names
    assert lines(started(recipe, "triplet"), 3, 5) == [
        "stage 3: softmax is not in --phases",
        "stage 4 again: exp/tiny/softmax/final.pt is gone, other.pt is new",
        "stage 5: not run yet (init/dev init/test init/test_b)",
        "stage 5: follows stage 4 (triplet/dev triplet/test triplet/test_b)"]
    assert lines(started(recipe, ""), 3, 4) == [f"stage {stage}: {phase} is not in --phases"
                                                for stage, phase in ((3, "softmax"), (4, "triplet"))]


def test_phases_that_change_in_one_experiment(recipe):
    """What the earlier phases left stays up to date; results are made again."""
    other = started(recipe, "")
    assert [make(other, stage) for stage in (5, 6, 7)] == [fives(["init"], SETS[1:]), ["6"], ["7"]]
    assert stale(other) == [] and stale(recipe) == ["6", "7"]
    first = recipe._replace(phases="softmax")
    assert stale(first) == ["6", "7"] and [make(first, stage) for stage in (6, 7)] == [["6"], ["7"]]


def test_without_training_nothing_is_made_for_it(recipe):
    """No copies, sounds or features of train, unless a back-end learns from it: then plain features."""
    only = out_of_sound(started(recipe, ""))
    assert [part.name for part in parts(only, 2)] == ["2/dev", "2/test", "2/test_b"] and not only.online_kinds
    (part, *_) = parts(only._replace(learnt_from="train"), 2)
    assert (part.name, part.paths) == ("2/train", (recipe.data / "train", "feats vad"))
    judged = only._replace(tables=TABLES | {"augment": {"dev_conditions": ["noise"]}}, conditions="reverb")
    assert [part.name for part in parts(judged, 2)] == [
        "2/dev", "2/test", "2/test_b", "2/copy/dev_noise", "2/copy/test_reverb", "2/copy/test_b_reverb"]


def test_what_follows_in_the_plan(recipe):
    """Of a network that is trained anew, its own embeddings alone, and what is made of these."""
    other = recipe._replace(tables=TABLES | {"triplet": {"margin": 0.2}})
    names = " ".join(f"triplet/{name}" for name in SETS[1:])
    rest = " ".join(name[2:] for name in fives(PHASES[:2], SETS[1:]))
    assert lines(other) == [
        *[f"stage {n}: up to date" for n in (1, 2, 3)], "stage 4 again: margin 0.1 -> 0.2",
        f"stage 5: up to date ({rest})", f"stage 5: follows stage 4 ({names})", "stage 6: follows stage 5",
        "stage 7 again: margin 0.1 -> 0.2"]
    assert lines(other, 5, 6) == ["stage 5: up to date", "stage 6: up to date"]
    assert make(other, 3) == [] and make(other, 4) == ["4"]


def test_what_is_new_is_made_alone(recipe):
    folder = recipe.data / "test_a"
    folder.mkdir()
    for name in ("wav.scp", "utt2spk"):
        (folder / name).write_text("u x\n")
    assert lines(recipe, 2, 5) == [
        "stage 2: up to date (train dev test test_b copies)", "stage 2: not run yet (test_a)",
        "stage 3: up to date", "stage 4: up to date",
        f"stage 5: up to date ({' '.join(name[2:] for name in fives(PHASES, SETS[1:]))})",
        f"stage 5: not run yet ({' '.join(f'{phase}/test_a' for phase in PHASES)})"]
    assert begun(recipe, 2)[-1] == "2/test_a"
    assert [line for line in lines(recipe, 2, 2) if "test_a" in line][0].startswith("stage 2 again: ")


def test_reasons_are_grouped(recipe):
    for name in ("dev", "test"):
        (recipe.data / name / "wav.scp").write_text("other\n")
    assert lines(recipe, 2, 2) == ["stage 2: up to date (train test_b copies)",
                                   "stage 2 again: data/dev/wav.scp changed; 1 other reason (dev test)"]
    assert lines(recipe._replace(tables=TABLES | {"features": {"num_mel_bins": 40}}), 2, 2) == [
        "stage 2 again: num_mel_bins 64 -> 40"]


def test_before_anything_is_there(recipe):
    none = recipe._replace(dir=recipe.dir / "none", exp=recipe.dir / "none/exp")
    assert lines(none) == ["stage 1: not run yet", "stage 2: follows stage 1", "stage 3: not run yet",
                           "stage 4: not run yet", "stage 5: follows stage 4", "stage 6: not run yet",
                           "stage 7: not run yet"]
    assert lines(none, 2, 2) == ["stage 2: nothing to do"]


def test_experiments_share_the_data(recipe):
    other = recipe._replace(exp=recipe.dir / "exp/other")
    assert lines(other, 1, 3) == ["stage 1: up to date", "stage 2: up to date", "stage 3: not run yet"]


def test_a_stage_by_hand_is_made_whole(recipe):
    checks = []
    assert lines(recipe, 2, 3, force=True) == ["stage 2: asked for by --stage", "stage 3: asked for by --stage"]
    names = begun(recipe, 2, force=True, check=lambda: checks.append(len(stale(recipe))))
    assert names == ["2/train", "2/dev", "2/test", "2/test_b", "2/copies"] == stale(recipe) and checks == [0]
    for name in names[:3]:
        plan.end(recipe, name, 1.0, "run.sh")
    assert stale(recipe) == names[3:]
    told = begun(recipe, 4, force=True)
    assert len(told) == 2 and told[0].startswith("stage 4 builds on what is stale: stage 2 again: ")
    assert told[1] == "4"
    assert begun(recipe, 2, force=True)[0] == "2/train"  # what comes later is not told


def test_nothing_is_checked_where_nothing_is_made(recipe):
    def refuse():
        raise UserError("a mistake")

    assert begun(recipe, 3, check=refuse) == ["stage 3: up to date"]
    with pytest.raises(UserError, match="a mistake"):
        begun(recipe, 3, force=True, check=refuse)
    assert stale(recipe) == []


def test_programs_that_changed(recipe, monkeypatch):
    monkeypatch.setattr(records, "program", lambda: "other programs")
    assert [line.startswith(f"stage {n}: up to date, ") and "(v1)" in line for n, line in enumerate(lines(recipe), 1)
            ] == [True] * 7
    assert [line.startswith(f"stage {n} again: ") for n, line in enumerate(lines(recipe, strict=True), 1)] == [True] * 7
    assert begun(recipe, 3, strict=True)[-1] == "3"
    plan.end(recipe, "3", 1.0, "run.sh")
    assert lines(recipe, 3, 3, strict=True) == ["stage 3: up to date"]


def test_what_a_finished_training_makes_room_for(recipe, monkeypatch):
    """What changed is set aside; by hand nothing is; what other programs made is set aside even if nothing changed."""
    def replace(**options):
        return plan.begin(recipe, 3, check=lambda: None, **{"force": False, "strict": False, **options}).replace

    assert [replace(), replace(force=True), replace(strict=True)] == ["changed", "", "changed"]
    plan.end(recipe, "3", 1.0, "run.sh")
    monkeypatch.setattr(records, "program", lambda: "other programs")
    assert why(parts(recipe, 3)[0], True).kind == Kind.PROGRAM
    assert [replace(), replace(strict=True)] == ["changed", "always"]


def test_the_paths_that_the_steps_get(recipe):
    data, exp = recipe.data, recipe.exp
    due = plan.begin(recipe, 2, True, False, lambda: None)
    assert [part.paths for part in due.parts] == [
        *((data / name, "feats vad") for name in SETS), (data / "train",)]
    due = plan.begin(recipe, 5, True, False, lambda: None)
    assert due.parts[0].paths == (exp / "softmax/initial.pt", data / "dev", exp / "untrained/embeddings/dev")
    assert due.parts[-1].paths == (exp / "triplet/final.pt", data / "test_b", exp / "triplet/embeddings/test_b")
    assert plan.begin(recipe, 6, True, False, lambda: None).parts[0].paths == tuple(exp / phase for phase in PHASES)
    nothing = recipe._replace(dir=recipe.dir / "none", exp=recipe.dir / "none/exp")
    assert plan.begin(nothing, 2, False, False, lambda: None).parts is None


def test_what_the_shell_gets(tmp_path):
    """Words with blanks, quotes and dollars arrive as they are."""
    part = records.Part("2/it's", tmp_path, tmp_path, [], {}, [], (tmp_path / "a $b", tmp_path / "c"))
    due = plan.Due(["stage 2 again: x's $y 1 -> 2"], [part], "changed")
    program = "\n".join([*plan.as_shell(due), 'printf "%s|" "${#parts[@]}" "${parts[0]}" $lacks_inputs $replace'])
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True)
    assert done.stdout == (f"== stage 2 again: x's $y 1 -> 2\n1|2/it's\t{tmp_path}/a $b\t{tmp_path}/c|false|changed|")
    assert [*plan.as_shell(plan.Due([], None, ""))] == ["parts=()", "lacks_inputs=true", "replace="]


def test_a_file_named_corpus_is_no_other_corpus(recipe):
    inside = recipe._replace(root=recipe.dir / "corpus")
    inside.root.mkdir()
    assert begun(inside, 1, force=True) == ["1"]
    plan.end(inside, "1", 1.0, "run.sh")
    (inside.root / "new").touch()
    assert begun(inside, 1) == ["stage 1 again: corpus changed, corpus/new is new", "1"]


def test_another_corpus_is_refused_unless_asked_for(recipe):
    other = recipe._replace(corpus="other")
    with pytest.raises(UserError, match="was made from another corpus"):
        begun(other, 1)
    assert stale(recipe) == []
    assert make(recipe._replace(seed=1), 1) == ["1"]
    assert begun(other, 1, force=True) == ["1"]


def test_a_part_whose_directory_is_taken_away(recipe):
    assert "2/test_b" in begun(recipe, 2, force=True)
    for path in (recipe.data / "test_b").iterdir():
        path.unlink()
    (recipe.data / "test_b").rmdir()
    with pytest.raises(UserError, match="stage 2/test_b: .* run the stage again"):
        plan.end(recipe, "2/test_b", 1.0, "run.sh")


def out_of_sound(recipe, **changes):
    """The recipe with windows out of sound and without copies."""
    kinds = {"online": True, "reverb": 0.3, "noise": 0.2, "babble": 0.1, **changes}
    return recipe._replace(tables=TABLES | {"augment": {"speeds": [1.1], **kinds}}, augment="")


def made_of_sound(recipe, name="train"):
    """Write what the parts of stage 2 leave of a training set's sound, and of the sounds."""
    (recipe.dir / "sounds/train").mkdir(parents=True, exist_ok=True)
    sounds = [f"sounds/train/{kind}.{end}" for kind in ("noise", "babble", "rooms") for end in ("scp", "ark")]
    for path in (*sounds, f"fbank/sound_{name}.ark"):
        (recipe.dir / path).write_text(f"{path}\n")
    (recipe.data / f"{name}/sound.scp").write_text(f"u {recipe.dir}/fbank/sound_{name}.ark:5\n")


def test_the_parts_of_windows_out_of_sound(recipe):
    """Sounds, the sound of train and what scoring and dev need; features of train only where a back-end learns."""
    sound = out_of_sound(recipe)
    assert (sound.online, sound.online_kinds) == (True, ["noise", "babble", "reverb"])
    due = plan.begin(sound, 2, False, False, lambda: None)
    assert [(part.name, *map(str, part.paths)) for part in due.parts] == [
        *((f"2/sounds/{kind}", f"{recipe.data}/train", kind) for kind in ("noise", "babble", "reverb")),
        ("2/train/sound", f"{recipe.data}/train", "sound vad")]
    kinds = ["2/sounds/noise", "2/sounds/babble", "2/sounds/reverb"]
    assert [part.name for part in parts(sound, 2)] == [*kinds, "2/train/sound", "2/dev", "2/test", "2/test_b"]
    both = [part for part in parts(sound._replace(learnt_from="train"), 2) if part.name.startswith("2/train")]
    assert [(part.name, part.paths[1]) for part in both] == [("2/train/sound", "sound vad"), ("2/train", "feats")]
    plain = out_of_sound(recipe, reverb=0.0, noise=0.0, babble=0.0)
    assert [part.name for part in parts(plain, 2)] == ["2/train/sound", "2/dev", "2/test", "2/test_b"]
    copied = sound._replace(augment="speed")
    assert [part.name for part in parts(copied, 2)][-1] == "2/copies" and why(parts(copied, 2)[-1], False)


def test_copies_with_sounds_that_the_recipe_makes(recipe):
    """Made before the copies where no folder is given, for these copies alone; training does not read them."""
    copied = recipe._replace(augment="speed noise babble reverb", musan="", rirs="")
    (recipe.dir / "sounds/train").mkdir(parents=True)
    for name in ("noise", "babble", "rooms"):
        for end in ("scp", "ark"):
            (recipe.dir / f"sounds/train/{name}.{end}").write_text(f"{name}\n")

    def sounds(changed):
        return [part.paths[1] for part in parts(changed, 2) if part.name.startswith("2/sounds/")]

    for options, kinds in (({}, ["noise", "babble", "reverb"]), ({"musan": "/m"}, ["reverb"]),
                           ({"rirs": "/r"}, ["noise", "babble"]), ({"augment": "speed"}, []),
                           ({"musan": "/m", "rirs": "/r"}, [])):
        assert sounds(copied._replace(**options)) == kinds
    made = ["2/sounds/noise", "2/sounds/babble", "2/sounds/reverb"]
    assert make(copied, 2) == [*made, "2/copies"]
    assert stale(copied) == []
    assert stale(copied._replace(seed=1))[:4] == ["1", *made]
    assert stale(copied._replace(augment="speed reverb"))[:1] == ["2/copies"]
    (recipe.data / "train/wav.scp").write_text("other\n")
    assert stale(copied)[:3] == ["2/sounds/babble", "2/train", "2/copies"]
    assert sounds(copied._replace(tables=out_of_sound(recipe, noise=0.0).tables, augment="noise")) == [
        "noise", "babble", "reverb"]


def test_what_windows_out_of_sound_depend_on(recipe):
    sound = out_of_sound(recipe)
    made_of_sound(sound)
    assert [make(sound, stage) for stage in range(2, 8)] == [
        ["2/sounds/noise", "2/sounds/babble", "2/sounds/reverb", "2/train/sound"], ["3"], ["4"], [], [], ["7"]]
    assert stale(sound) == []
    found = {}
    for name in ("sounds/train/noise.ark", "sounds/train/noise.scp", "fbank/sound_train.ark", "data/train/sound.scp",
                 "data/train/feats.scp", "fbank/train.ark", "fbank/vad_train.ark", "data/train/wav.scp"):
        before = (recipe.dir / name).read_text()
        (recipe.dir / name).write_text(before.replace(":5", ":6") if ":5" in before else "other\n")
        found[name] = stale(sound)
        (recipe.dir / name).write_text(before)
    trained = ["3", "4"]
    assert found == {
        "sounds/train/noise.ark": trained, "sounds/train/noise.scp": trained, "fbank/sound_train.ark": trained,
        "data/train/sound.scp": trained, "data/train/feats.scp": [], "fbank/train.ark": [],
        "fbank/vad_train.ark": trained, "data/train/wav.scp": ["2/train/sound"]}
    assert stale(sound._replace(musan="/m")) == ["2/sounds/noise", "2/sounds/babble"]
    assert stale(sound._replace(rirs="/r")) == ["2/sounds/reverb"]
    assert stale(out_of_sound(recipe, noise=0.3)) == stale(out_of_sound(recipe, noise=0.0)) == [*trained, "7"]
    (recipe.data / "train/sound.scp").unlink()
    assert stale(sound) == ["2/train/sound", *trained]


def test_a_back_end_that_learns_later_leaves_training_up_to_date(recipe):
    sound = out_of_sound(recipe)
    for path in (recipe.data / ".stages/2.train.json", recipe.data / "train/feats.scp", recipe.dir / "fbank/train.ark"):
        path.unlink()
    made_of_sound(sound)
    for stage in range(2, 8):
        make(sound, stage)
    later = sound._replace(backends="cosine asnorm", learnt_from="train")
    assert lines(later, 2, 4) == ["stage 2: up to date (sounds/noise sounds/babble sounds/reverb train/sound dev "
                                  "test test_b)",
                                  "stage 2: not run yet (train)", "stage 3: up to date", "stage 4: up to date"]
    part = plan.begin(later, 2, False, False, lambda: None).parts
    assert [(part.name, part.paths) for part in part] == [("2/train", (recipe.data / "train", "feats"))]


def condition(recipe, name):
    """Write a copy of a data directory in a condition, as stage 2 does."""
    by_hand(recipe, name)
    (recipe.data / name / "augment").write_text(f"u add 5 0.5 {recipe.dir}/sounds/{name}/noise.ark:9\n")


def by_hand(recipe, name):
    """Write a data directory of such a name."""
    for file in ("wav.scp", "utt2spk", "spk2utt", "trials", *FEATURES):
        (recipe.data / name).mkdir(exist_ok=True)
        (recipe.data / name / file).write_text(f"{name}/{file}\n")
    for kind, ark in (("feats", name), ("vad", f"vad_{name}")):
        (recipe.dir / f"fbank/{ark}.ark").write_text("x")
        (recipe.data / name / f"{kind}.scp").write_text(f"u {recipe.dir}/fbank/{ark}.ark:5\n")


def test_conditions_of_dev_and_of_the_test_sets(recipe):
    judged = recipe._replace(tables=TABLES | {"augment": {"speeds": [1.1], "dev_conditions": ["reverb"]}},
                             conditions="noise")
    due = plan.begin(judged, 2, False, False, lambda: None)
    assert [(part.name, *part.paths) for part in due.parts] == [
        ("2/copy/dev_reverb", recipe.data / "dev", "reverb"), ("2/copy/test_noise", recipe.data / "test", "noise"),
        ("2/copy/test_b_noise", recipe.data / "test_b", "noise")]
    for part in due.parts:
        condition(recipe, part.name.rpartition("/")[2])
        plan.end(judged, part.name, 1.0, "run.sh")
    assert stale(judged) == ["3", "4", *fives(PHASES, ["dev_reverb", "test_b_noise", "test_noise"]), "6", "7"]
    for stage in range(3, 8):
        make(judged, stage)
    assert stale(judged) == [] == stale(judged._replace(conditions=""))
    assert [part.name for part in parts(judged._replace(conditions=""), 2)] == [
        part.name for part in parts(judged, 2)]
    assert stale(recipe) == ["3", "4", "6", "7"]  # without dev's conditions training and calibration are others
    for name, expected in (("data/dev/wav.scp", ["2/dev", "2/copy/dev_reverb"]),
                           ("data/test/utt2spk", ["2/copy/test_noise", "6"]),
                           ("data/test/trials", ["2/copy/test_noise", "6"]), ("fbank/dev_reverb.ark", ["3", "4"]),
                           ("data/dev_reverb/trials", ["3", "4", "6"])):
        before = (recipe.dir / name).read_text()
        (recipe.dir / name).write_text("other\n")
        assert [part for part in stale(judged) if part[0] != "5"] == expected, name
        (recipe.dir / name).write_text(before)


def test_conditions_of_dev_that_are_no_list(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("[features]\n[augment]\ndev_conditions = 5\n[embedding]\n[scoring]\n")
    with pytest.raises(UserError, match=rf"^{path}: \[augment\] dev_conditions: expected a list of names, found 5$"):
        read_recipe(path, {})


def test_a_data_directory_of_a_conditions_name_made_by_hand(recipe):
    by_hand(recipe, "test_noise")
    (recipe.data / "test_noise/augment").write_text("u add 5 0.5 /db/musan/noise/a.wav\n")
    (recipe.data / ".stages").mkdir(exist_ok=True)
    (recipe.data / ".stages/2.copy.test_noise.json").write_text("{}")  # there was a copy before
    assert [part.name for part in parts(recipe, 2)] == [
        "2/train", "2/dev", "2/test", "2/test_b", "2/test_noise", "2/copies"]  # a test set like any other
    with pytest.raises(UserError, match=f"^{recipe.data}/test_noise: expected no such data directory, for this run is "
                                        "to make one, test with noise: rename it$"):
        parts(recipe._replace(conditions="noise"), 2)
    (recipe.data / "test_noise").rename(recipe.dir / "mine")
    (recipe.data / "test_noise").symlink_to(recipe.dir / "mine")
    (recipe.data / ".stages/2.copy.test_noise.begun").write_text("{}")  # stage 2 was stopped before it made the copy
    assert "2/copy/test_noise" not in [part.name for part in parts(recipe, 2)]
    with pytest.raises(UserError, match=f"^{recipe.data}/test_noise: expected no such data directory"):
        parts(recipe._replace(conditions="noise"), 2)
    (recipe.data / "test_noise").unlink()
    (recipe.data / "test_noise").mkdir()  # empty, as a killed run leaves it
    assert "2/copy/test_noise" in [part.name for part in parts(recipe, 2)]
    by_hand(recipe, "dev_reverb")
    with pytest.raises(UserError, match=f"^{recipe.data}/dev_reverb: expected no such data directory"):
        parts(recipe._replace(tables=TABLES | {"augment": {"speeds": [1.1], "dev_conditions": ["reverb"]}}), 2)
