"""local/voxceleb.py on small trees laid out in every way that users have VoxCeleb."""

import subprocess
import sys
from pathlib import Path

import pytest

from deepspeaker.datadir import read_lists, read_table
from deepspeaker.datadir.trials import read_trials
from deepspeaker.errors import UserError
from local.voxceleb import prepare

PROGRAM = Path(__file__).resolve().parents[1] / "local" / "voxceleb.py"
TRIALS = """\
1 id10270/-sz0iWKnHlo/00001.wav id10270/abc/00001.wav
0 id10270/abc/00001.wav id10271/abc/00001.wav
"""
HARD_TRIAL = "0 id10001/abc/00001.wav id10270/abc/00002.wav\n"


def lay_out(folder, speakers, extension="wav"):
    """Two videos of two files for each speaker."""
    for speaker in speakers:
        for video in ("-sz0iWKnHlo", "abc"):
            (folder / speaker / video).mkdir(parents=True)
            for number in (1, 2):
                (folder / speaker / video / f"{number:05d}.{extension}").touch()


def voxceleb1(root, name="voxceleb1", dev="dev/wav", test="test/wav", extension="wav"):
    """A VoxCeleb1 of two dev and two test speakers with the cleaned list and the speaker table."""
    lay_out(root / name / dev, ["id10001", "id10002"], extension)
    lay_out(root / name / test, ["id10270", "id10271"], extension)
    (root / name / "veri_test2.txt").write_text(TRIALS)
    (root / name / "vox1_meta.csv").write_text(
        "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n"
        "id10001\tSome_Name\tm\tUK\tdev\n"
        "id10270\tOther_Name\tf\tUSA\ttest\n")
    return root


def voxceleb2(root, dev="dev/aac", test="test/aac"):
    lay_out(root / "voxceleb2" / dev, ["id00012", "id00015"], "m4a")
    lay_out(root / "voxceleb2" / test, ["id00017"], "m4a")
    meta = "VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \nid00012 ,n000012 ,m ,dev \n"
    (root / "vox2_meta.csv").write_text(meta)
    return root


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def speakers(directory):
    return sorted(read_lists(directory / "spk2utt"))


def test_voxceleb1_as_distributed(tmp_path):
    data = tmp_path / "data"
    root = voxceleb1(tmp_path / "my db")
    (root / "voxceleb1/dev/wav/id10001/abc/._00001.wav").touch()
    (root / "voxceleb1/dev/wav/id10001/abc/notes.txt").touch()
    prepare(root, data)
    assert names(data) == [".corpus", "test", "train"]
    assert speakers(data / "train") == ["id10001", "id10002"]
    assert speakers(data / "test") == ["id10270", "id10271"]
    wavs = read_table(data / "train/wav.scp")
    assert len(wavs) == 8
    assert wavs["id10001--sz0iWKnHlo-00002"] == f"{root}/voxceleb1/dev/wav/id10001/-sz0iWKnHlo/00002.wav"
    assert read_table(data / "train/utt2spk")["id10001--sz0iWKnHlo-00002"] == "id10001"
    assert read_table(data / "test/spk2gender") == {"id10270": "f"}
    assert read_trials(data / "test/trials") == [("id10270--sz0iWKnHlo-00001", "id10270-abc-00001", True),
                                                 ("id10270-abc-00001", "id10271-abc-00001", False)]


@pytest.mark.parametrize("where", [
    {"name": "VoxCeleb1"}, {"dev": "wav", "test": "wav"}, {"dev": "", "test": ""},
    {"dev": "dev", "test": "test"}, {"extension": "flac"}, {"extension": "WAV"},
    {"dev": "dev/aac", "test": "test/aac", "extension": "m4a"},
])
def test_other_layouts_give_the_same_sets(tmp_path, where):
    prepare(voxceleb1(tmp_path / "usual"), tmp_path / "usual_data")
    prepare(voxceleb1(tmp_path / "other", **where), tmp_path / "data")
    for name in ("train/utt2spk", "train/spk2utt", "test/utt2spk", "test/trials", "test/spk2gender"):
        assert (tmp_path / "data" / name).read_bytes() == (tmp_path / "usual_data" / name).read_bytes()
    for name in ("train", "test"):
        assert all(Path(path).is_file() for path in read_table(tmp_path / "data" / name / "wav.scp").values())


def test_trains_on_voxceleb2_where_it_is_there_and_tests_on_all_of_voxceleb1(tmp_path):
    root = voxceleb2(voxceleb1(tmp_path / "db"))
    (root / "list_test_hard2.txt").write_text(HARD_TRIAL.replace("\n", "\r\n"))
    (root / "voxceleb1/list_test_all2.txt").write_text("1 id10001/abc/00001.wav id10001/abc/00002.wav\n")
    prepare(root, tmp_path / "data")
    assert speakers(tmp_path / "data/train") == ["id00012", "id00015"]
    path = read_table(tmp_path / "data/train/wav.scp")["id00012-abc-00001"]
    assert path == f"{root}/voxceleb2/dev/aac/id00012/abc/00001.m4a"
    assert read_table(tmp_path / "data/train/spk2gender") == {"id00012": "m"}
    assert speakers(tmp_path / "data/test_vox1") == ["id10001", "id10002", "id10270", "id10271"]
    hard = [("id10001-abc-00001", "id10270-abc-00002", False)]
    assert read_trials(tmp_path / "data/test_vox1/trials_H") == hard
    assert len(read_trials(tmp_path / "data/test_vox1/trials_E")) == 1


@pytest.mark.parametrize(("train", "expected"), [
    ("voxceleb1", ["id10001", "id10002"]), ("voxceleb2", ["id00012", "id00015"]),
    ("both", ["id00012", "id00015", "id10001", "id10002"]),
])
def test_train_chooses_the_corpora(tmp_path, train, expected):
    root = voxceleb2(voxceleb1(tmp_path / "db"))
    (root / "list_test_hard2.txt").write_text(HARD_TRIAL)
    prepare(root, tmp_path / "data", train)
    assert speakers(tmp_path / "data/train") == expected
    assert (tmp_path / "data/test_vox1").exists() == (train == "voxceleb2")


@pytest.mark.parametrize(("train", "line"), [
    ([], "   Expect of VoxCeleb2: 5,994 speakers with 1,092,009 utterances to train on; 37,611 trials of VoxCeleb1-O"),
    (["--train", "voxceleb1"], "   Expect of VoxCeleb1: 1,211 speakers with 148,642 utterances to train on; 37,611 "),
    (["--train", "both"], "   Expect of VoxCeleb1 and VoxCeleb2: 7,205 speakers with 1,240,651 utterances to train on"),
])
def test_counts_to_expect_are_said_first(tmp_path, train, line):
    root = voxceleb2(voxceleb1(tmp_path / "db"))
    done = subprocess.run([sys.executable, PROGRAM, *train, root, tmp_path / "data"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith(line)
    (root / "voxceleb1").rename(tmp_path / "gone")
    done = subprocess.run([sys.executable, PROGRAM, root, tmp_path / "data"], capture_output=True, text=True)
    assert done.stdout.splitlines()[0] == (
        "   Expect of VoxCeleb2: 5,994 speakers with 1,092,009 utterances to train on.")


def test_sets_of_an_earlier_run_do_not_stay(tmp_path):
    root = voxceleb2(voxceleb1(tmp_path / "db"))
    (root / "list_test_hard2.txt").write_text(HARD_TRIAL)
    prepare(root, tmp_path / "data", "voxceleb2")
    (tmp_path / "data/test/feats.scp").touch()
    (tmp_path / "data/dev").mkdir()
    (tmp_path / "data/test_mine").mkdir()
    prepare(root, tmp_path / "data", "voxceleb1")
    assert names(tmp_path / "data") == [".corpus", "test", "test_mine", "train"]
    assert not (tmp_path / "data/test/feats.scp").exists()


def test_original_list_is_kept_beside_the_cleaned_one(tmp_path):
    root = voxceleb1(tmp_path / "db")
    more = "0 id10271/abc/00001.wav id10270/abc/00002.wav\n"
    (root / "voxceleb1/veri_test.txt").write_text(TRIALS + more)
    prepare(root, tmp_path / "data")
    assert len(read_trials(tmp_path / "data/test/trials")) == 2
    assert len(read_trials(tmp_path / "data/test/trials_original")) == 3
    (root / "voxceleb1/veri_test2.txt").unlink()
    prepare(root, tmp_path / "data")
    assert len(read_trials(tmp_path / "data/test/trials")) == 3


def test_repeated_trials_are_taken_once_and_said(tmp_path, capfd):
    root = voxceleb1(tmp_path / "db")
    (root / "voxceleb1/veri_test2.txt").write_text(TRIALS * 2)
    prepare(root, tmp_path / "data")
    assert "2 trials are repeated, each is taken once" in capfd.readouterr().out
    assert len(read_trials(tmp_path / "data/test/trials")) == 2


def test_listed_speakers_never_train(tmp_path):
    root = voxceleb1(tmp_path / "db")
    lay_out(root / "voxceleb1/dev/wav", ["id10271"])
    prepare(root, tmp_path / "data")
    assert speakers(tmp_path / "data/train") == ["id10001", "id10002"]


def test_test_part_alone_makes_a_test_set_alone(tmp_path):
    lay_out(tmp_path / "db/voxceleb1/test/wav", ["id10270", "id10271"])
    (tmp_path / "db/voxceleb1_test_v2.txt").write_text(TRIALS)
    (tmp_path / "db/list_test_hard2.txt").write_text("0 id10001/abc/00001.wav id10270/abc/00002.wav\n")
    prepare(tmp_path / "db", tmp_path / "data")
    assert names(tmp_path / "data") == [".corpus", "test"]
    with pytest.raises(UserError, match="--train voxceleb1: no dev part of voxceleb1"):
        prepare(tmp_path / "db", tmp_path / "data", "voxceleb1")


def test_wav_is_preferred_to_m4a_of_the_same_utterance(tmp_path):
    root = voxceleb2(tmp_path / "db")
    lay_out(root / "voxceleb2/dev/wav", ["id00012"])
    prepare(root, tmp_path / "data")
    kinds = {path[-3:] for path in read_table(tmp_path / "data/train/wav.scp").values() if "id00012" in path}
    assert kinds == {"wav"}


def test_trials_of_absent_files_are_counted_and_listed(tmp_path):
    root = voxceleb1(tmp_path / "db")
    gone = [f"id10270/gone/{number:05d}.wav" for number in range(7)]
    with (root / "voxceleb1/veri_test2.txt").open("a") as file:
        file.writelines(f"1 {name} id10270/abc/00001.wav\n" for name in gone)
    with pytest.raises(UserError) as error:
        prepare(root, tmp_path / "data")
    assert "veri_test2.txt: 7 of the 10 files" in str(error.value)
    assert gone[4] in str(error.value) and gone[5] not in str(error.value)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("line", ["a/b/c.wav a/b/d.wav", "2 a/b/c.wav a/b/d.wav", "1 a.wav b/c/d.wav"])
def test_malformed_trial_names_file_and_line(tmp_path, line):
    root = voxceleb1(tmp_path / "db")
    (root / "voxceleb1/veri_test2.txt").write_text(TRIALS + line + "\n")
    with pytest.raises(UserError, match=r"veri_test2.txt:3: expected"):
        prepare(root, tmp_path / "data")


@pytest.mark.parametrize(("layout", "message"), [
    (None, "no such folder"), ("", "holds no VoxCeleb"), ("voxceleb1/dev/wav", "holds no audio"),
    ("voxceleb1/test/wav/id10270/abc/00001.wav", "no trial list"),
    ("voxceleb1/wav/id10270/abc/00001.wav", "test speakers must be taken from a trial list"),
])
def test_what_is_missing_is_said_in_one_line(tmp_path, layout, message):
    root = tmp_path / "db"
    if layout is not None:
        (root / layout).mkdir(parents=True)
    done = subprocess.run([sys.executable, PROGRAM, root, tmp_path / "data"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and message in done.stderr and str(root) in done.stderr
