"""local/{folder,librispeech,cnceleb}.py on small trees of real files: what they write, and what they refuse."""

import os
import re
import shutil
import subprocess

import pytest
from conftest import ROOT, environment, noise, write_wav
from corpora import BOM, FEW, contents, lay_out, names, of_speakers, prepare, speakers

from deepspeaker.datadir import read_lists, read_table
from deepspeaker.datadir.trials import read_trials

# folder

def test_folder_takes_any_name_any_depth_and_any_kind(tmp_path):
    root = lay_out(tmp_path / "my corpus", *of_speakers(FEW), "Jean-Luc O'Neil/a b/c.d.flac", "Jean/x.WAV",
                   "Jean/x.mp3", "Jean/.hidden.wav", "Jean+/y.ogg", "Jean0/y.m4a", "李 明/大/1.wav",
                   "Zoë\u00a0K/1.wav", "docs/a.txt", ".git/a.wav", "readme.txt")
    outside = lay_out(tmp_path / "elsewhere", "1.wav")
    (root / "linked").symlink_to(outside)
    (outside / "up").symlink_to(outside)
    (tmp_path / "held_out").write_text("id0\nid1\n")
    prepare("folder", root, tmp_path / "data", "--test-speakers", tmp_path / "held_out")
    wav = read_table(tmp_path / "data/train/wav.scp")
    others = {utterance: path for utterance, path in wav.items() if not utterance.startswith("id")}
    assert others == {"Jean-x": f"{root}/Jean/x.WAV", "Jean0-y": f"{root}/Jean0/y.m4a",
                      "Jean_-y": f"{root}/Jean+/y.ogg", "Zoë_K-1": f"{root}/Zoë\u00a0K/1.wav",
                      "Jean_Luc_O_Neil-a_b-c.d": f"{root}/Jean-Luc O'Neil/a b/c.d.flac",
                      "linked-1": f"{root}/linked/1.wav", "李_明-大-1": f"{root}/李 明/大/1.wav"}
    assert read_table(tmp_path / "data/train/utt2spk")["Jean_Luc_O_Neil-a_b-c.d"] == "Jean_Luc_O_Neil"


def test_folder_takes_or_counts_every_kind(tmp_path):
    root = lay_out(tmp_path / "db", *of_speakers(FEW), "a/1.webm", "a/2.opus", "a/3.AIFF", "a/4.sph", "a/5.aac",
                   "a/6.txt", "a/7.TXT", "a/8.exe", "a/README", "a/.hidden")
    (root / "a/deep").mkdir()
    (root / "a/deep/round").symlink_to(root / "a")
    said = prepare("folder", root, tmp_path / "data")
    wav = {**read_table(tmp_path / "data/train/wav.scp"), **read_table(tmp_path / "data/test/wav.scp")}
    assert {name for name in wav if name.startswith("a-")} == {f"a-{n}" for n in range(1, 6)}
    assert f"4 files of {root} do not end like sound files and are left out: 2 .txt, 1 .exe, 1 README" in said


def test_folders_without_audio_are_passed_over_and_said(tmp_path):
    root = lay_out(tmp_path / "db", *of_speakers(FEW), "docs/a.txt")
    said = prepare("folder", root, tmp_path / "data")
    assert f"1 of 11 folders of {root} hold no audio and are passed over: docs" in said


@pytest.mark.parametrize(("total", "tested"), [(7, 5), (60, 6), (500, 40)])
def test_a_tenth_of_the_speakers_is_held_out_five_at_least_forty_at_most(tmp_path, total, tested):
    several = [f"id{number}" for number in range(total)]
    data = tmp_path / "data"
    prepare("folder", lay_out(tmp_path / "db", *of_speakers(several)), data)
    train, test = speakers(data / "train"), speakers(data / "test")
    assert len(test) == tested and sorted(train + test) == sorted(several)
    trials = read_trials(data / "test/trials")
    utt2spk = read_table(data / "test/utt2spk")
    assert sum(trial.target for trial in trials) == tested == sum(not trial.target for trial in trials)
    assert {name for trial in trials for name in trial[:2]} <= set(utt2spk)
    assert all((utt2spk[a] == utt2spk[b]) == target for a, b, target in trials)


def test_held_out_speakers_have_two_utterances_and_depend_on_the_seed(tmp_path):
    single = [f"single{number}" for number in range(20)]
    root = lay_out(tmp_path / "db", *of_speakers(FEW), *of_speakers(single, 1))
    sets = []
    for number, options in enumerate([[], [], ["--seed", "1"]]):
        prepare("folder", root, tmp_path / str(number), *options)
        sets.append({path.relative_to(tmp_path / str(number)): text
                     for path, text in contents(tmp_path / str(number)).items()})
        assert not set(single) & set(speakers(tmp_path / str(number) / "test"))
    assert sets[0] == sets[1] != sets[2]


def test_the_corpus_is_only_read_and_a_killed_run_is_cleared_up(tmp_path):
    root = lay_out(tmp_path / "db", *of_speakers(FEW))
    before = contents(root)
    for path in (root, *root.iterdir()):
        path.chmod(0o555)
    (tmp_path / "data/.new/test").mkdir(parents=True)
    prepare("folder", root, tmp_path / "data")
    for path in (root, *root.iterdir()):
        path.chmod(0o755)
    assert contents(root) == before and names(tmp_path / "data") == [".corpus", "test", "train"]


def test_a_failed_run_leaves_the_data_as_it_was(tmp_path):
    root, data = lay_out(tmp_path / "db", *of_speakers(FEW)), tmp_path / "data"
    prepare("folder", root, data)
    (data / "dev").mkdir()
    (data / "dev/utt2spk").write_text("mine\n")
    before = contents(data)
    (tmp_path / "held_out").write_text("id0\nnobody\n")
    prepare("folder", root, data, "--test-speakers", tmp_path / "held_out", fails=True)
    shutil.rmtree(root / "id0")
    for speaker in FEW[5:]:
        shutil.rmtree(root / speaker)
    assert "4 of 4 speakers" in prepare("folder", root, data, fails=True) and contents(data) == before


def test_links_of_the_users_own_stay(tmp_path):
    root, data = lay_out(tmp_path / "db", *of_speakers(FEW)), tmp_path / "data"
    prepare("folder", root, tmp_path / "other")
    data.mkdir()
    for name in ("test_mine", "dev"):
        (data / name).symlink_to(tmp_path / "other/test")
    prepare("folder", root, data)
    assert names(data) == [".corpus", "dev", "test", "test_mine", "train"]
    assert (data / "test_mine").readlink() == (data / "dev").readlink() == tmp_path / "other/test"
    assert (tmp_path / "other/test/trials").is_file()


def test_test_speakers_by_name_or_id_with_crlf_and_a_byte_order_mark(tmp_path):
    root = lay_out(tmp_path / "db", *of_speakers([*FEW, "Ann-Marie K", "李 明"]))
    (tmp_path / "held_out").write_bytes(BOM + "李 明\r\n\r\nAnn_Marie_K\r\nid3 \r\n".encode())
    prepare("folder", root, tmp_path / "data", "--test-speakers", tmp_path / "held_out")
    assert speakers(tmp_path / "data/test") == ["Ann_Marie_K", "id3", "李_明"]


@pytest.mark.parametrize(("text", "message"), [
    ("id0\nnobody\n", "held_out:2: no speaker nobody in the corpus; it has 10, such as id0"),
    ("\n", "held_out: names no speaker"), ("\n".join(FEW[:9]), "takes 9 of the 10 speakers"), (None, "no such file"),
    ("id0\n", "no nontarget trial is possible")])
def test_test_speakers_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "held_out").write_text(text)
    root = lay_out(tmp_path / "db", *of_speakers(FEW))
    assert message in prepare("folder", root, tmp_path / "data", "--test-speakers", tmp_path / "held_out", fails=True)


@pytest.mark.parametrize(("files", "message"), [
    (None, "no such folder"), ([], "holds no audio; expected <speaker>/"), (["a/b.txt"], "holds no audio"),
    ([*of_speakers(FEW), "stray.wav"], "1 audio files lie in no speaker's folder (stray.wav)"),
    (["A B/1.wav", "A-B/1.wav"], "the folders 'A B' and 'A-B' would both be speaker A_B"),
    (["a/b/c.wav", "a/b-c.wav"], "would both be utterance a-b-c; rename one"),
    ([*of_speakers(FEW), "a/b\nc.wav"], "a line break in its name"),
    ([*of_speakers(FEW), os.fsdecode(b"a/b\xff.wav")], "its name is not UTF-8"),
    (of_speakers(FEW[:6]), "6 of 6 speakers have at least 2 utterances; the test set takes 5"),
    (of_speakers(FEW, 1), "0 of 10 speakers have at least 2 utterances")])
def test_folder_refuses_in_one_line(tmp_path, files, message):
    root = tmp_path / "db"
    if files is not None:
        root.mkdir()
        lay_out(root, *files)
    assert message in prepare("folder", root, tmp_path / "data", fails=True)
    assert not (tmp_path / "data/train").exists()


# LibriSpeech

def librispeech(root, **subsets):
    """Subsets of two chapters of one utterance for each speaker, and SPEAKERS.TXT: odd speakers are women."""
    for name, several in subsets.items():
        lay_out(root / name.replace("_", "-"),
                *(f"{speaker}/{chapter}/{speaker}-{chapter}-0000.flac" for speaker in several for chapter in (7, 128)))
    several = sorted({speaker for group in subsets.values() for speaker in group})
    (root / "SPEAKERS.TXT").write_text(";ID  |SEX| SUBSET\n" + "".join(
        f"{speaker:<4} | {'MF'[speaker % 2]} | train-clean-5 | 25.0 | A | B\n" for speaker in several))
    return root


@pytest.mark.parametrize("inner", ["", "LibriSpeech"])
def test_librispeech_trains_and_tests_on_what_is_there(tmp_path, inner):
    data = tmp_path / "data"
    librispeech(tmp_path / "db" / inner, train_clean_100=[103, 1034, 19, 2], train_other_500=[5, 10],
                test_clean=[61, 121, 8, 12], test_other=[367, 533], dev_clean=[84])
    prepare("librispeech", tmp_path / "db", data)
    assert names(data) == [".corpus", "test_clean", "test_other", "train"]
    assert speakers(data / "train") == ["10", "103", "1034", "19", "2", "5"]
    path = f"{tmp_path / 'db' / inner}/train-clean-100/1034/128/1034-128-0000.flac"
    assert read_table(data / "train/wav.scp")["1034-128-0000"] == path
    genders = read_table(data / "test_clean/spk2gender")
    assert genders == {"121": "f", "12": "m", "61": "f", "8": "m"}
    trials = read_trials(data / "test_clean/trials")
    assert all(genders[a.split("-")[0]] == genders[b.split("-")[0]] for a, b, _ in trials)
    assert sum(trial.target for trial in trials) == 4 == sum(not trial.target for trial in trials)


def test_librispeech_subsets_chosen(tmp_path):
    data = tmp_path / "data"
    root = librispeech(tmp_path / "db", train_clean_5=[1, 2, 3], dev_clean_2=[4, 6], test_clean=[5, 7])
    prepare("librispeech", root, data, "--test", "dev-clean-2,test-clean")
    assert names(data) == [".corpus", "test_clean", "test_dev_clean_2", "train"]
    prepare("librispeech", root, data, "--train", "train-clean-5,dev-clean-2")
    assert names(data) == [".corpus", "test_clean", "train"]
    assert speakers(data / "train") == ["1", "2", "3", "4", "6"]
    shutil.rmtree(root / "test-clean")
    prepare("librispeech", root, data)
    assert names(data) == [".corpus", "test_dev_clean_2", "train"]


def test_librispeech_without_a_test_subset_holds_speakers_out(tmp_path):
    root, data = librispeech(tmp_path / "db", train_clean_100=range(1, 31)), tmp_path / "data"
    prepare("librispeech", root, data)
    assert len(speakers(data / "test")) == 5 and len(speakers(data / "train")) == 25
    librispeech(root, train_clean_100=range(1, 31), test_clean=[88, 90])
    (tmp_path / "held_out").write_text("3\n5\n")
    prepare("librispeech", root, data, "--test-speakers", tmp_path / "held_out")
    assert speakers(data / "test") == ["3", "5"] and names(data) == [".corpus", "test", "train"]
    assert "has a test set of its own (test_clean)" in prepare(
        "librispeech", root, data, "--test", "test-clean", "--test-speakers", tmp_path / "held_out", fails=True)


@pytest.mark.parametrize(("options", "spoil", "message"), [
    (["--train", "train-clean-360"], None, "no subset train-clean-360 in .*; there are: test-clean, train-clean-5"),
    (["--train", "test-clean", "--test", "test-clean"], None, "test-clean cannot be trained and tested on"),
    ([], lambda root: (root / "train-clean-5/1/7/x.flac").touch(), "x.flac: not named 1-<chapter>-<number>"),
    ([], lambda root: (root / "train-clean-5/1/7/2-7-0001.flac").touch(), "2-7-0001.flac: not named 1-<chapter>"),
    ([], lambda root: (root / "SPEAKERS.TXT").write_text("; a\n1 | X | a\n"), "SPEAKERS.TXT:2: expected 'speaker"),
    ([], lambda root: shutil.rmtree(root / "test-clean/4/7") or shutil.rmtree(root / "test-clean/4/128"),
     "holds no audio for data/test_clean"),
    ([], lambda root: [shutil.rmtree(root / name) for name in ("test-clean", "train-clean-5")], "holds no LibriSpeech"),
])
def test_librispeech_refuses_in_one_line(tmp_path, options, spoil, message):
    root = librispeech(tmp_path / "db", train_clean_5=[1, 2, 3], test_clean=[4])
    if spoil:
        spoil(root)
    assert re.search(message, prepare("librispeech", root, tmp_path / "data", *options, fails=True))


# CN-Celeb

def cnceleb(root, one="CN-Celeb_flac", two="CN-Celeb2_flac", end="flac"):
    """CN-Celeb1 of two dev and two test speakers, CN-Celeb2 of one; lists say .wav, whatever the files are."""
    lay_out(root / one / "data", *(f"{speaker}/singing-0{take}-001.{end}" for take in (1, 2)
                                   for speaker in ("id00000", "id00799", "id00800", "id00801")))
    lay_out(root / one / "eval", *(f"enroll/{speaker}-enroll.{end}" for speaker in ("id00800", "id00801")),
            *(f"test/{speaker}-singing-01-001.{end}" for speaker in ("id00800", "id00801")))
    lay_out(root / two / "data", f"id11999/vlog-01-001.{end}")
    lists = root / one / "eval/lists"
    lists.mkdir()
    (lists / "enroll.map").write_text("id00800-enroll id00800/singing-01-001.wav id00800/singing-02-001.wav\r\n"
                                      "id00801-enroll id00801/singing-02-001.wav\r\n")
    (lists / "trials.lst").write_text("id00800-enroll test/id00800-singing-01-001.wav 1\n"
                                      "id00801-enroll test/id00800-singing-01-001.wav 0\n")
    return root


@pytest.mark.parametrize("where", [{}, {"one": "CN-Celeb_wav", "two": "cnceleb2", "end": "wav"}])
def test_cnceleb_enrols_several_utterances(tmp_path, where):
    data = tmp_path / "data"
    prepare("cnceleb", cnceleb(tmp_path / "db", **where), data)
    assert speakers(data / "train") == ["id00000", "id00799", "id11999"]
    assert len(read_table(data / "train/wav.scp")) == 5
    test = read_table(data / "test/utt2spk")
    assert test == {"id00800-enroll-singing-01-001": "id00800", "id00800-enroll-singing-02-001": "id00800",
                    "id00801-enroll-singing-02-001": "id00801", "id00800-singing-01-001": "id00800",
                    "id00801-singing-01-001": "id00801"}
    wav = read_table(data / "test/wav.scp")
    assert "/data/id00800/singing-01-001" in wav["id00800-enroll-singing-01-001"]
    assert "/eval/test/id00800-singing-01-001" in wav["id00800-singing-01-001"]
    assert read_lists(data / "test/enroll") == {
        "id00800-enroll": ["id00800-enroll-singing-01-001", "id00800-enroll-singing-02-001"],
        "id00801-enroll": ["id00801-enroll-singing-02-001"]}
    assert read_trials(data / "test/trials") == [("id00800-enroll", "id00800-singing-01-001", True),
                                                 ("id00801-enroll", "id00800-singing-01-001", False)]


@pytest.mark.parametrize("options", [["--concatenated"], []])
def test_cnceleb_enrols_one_file_each_where_asked_for_or_all_there_is(tmp_path, options):
    root, data = cnceleb(tmp_path / "db"), tmp_path / "data"
    if not options:
        (root / "CN-Celeb_flac/eval/lists/enroll.map").unlink()
    prepare("cnceleb", root, data, *options)
    assert read_lists(data / "test/enroll") == {f"id0080{i}-enroll": [f"id0080{i}-enroll"] for i in (0, 1)}
    path = f"{root}/CN-Celeb_flac/eval/enroll/id00800-enroll.flac"
    assert read_table(data / "test/wav.scp")["id00800-enroll"] == path


def test_cnceleb2_alone_holds_speakers_out(tmp_path):
    lay_out(tmp_path / "db/CN-Celeb2_flac/data", *of_speakers([f"id1{number:04d}" for number in range(12)]))
    prepare("cnceleb", tmp_path / "db", tmp_path / "data")
    assert len(speakers(tmp_path / "data/test")) == 5 and len(speakers(tmp_path / "data/train")) == 7
    assert not (tmp_path / "data/test/enroll").exists()


@pytest.mark.parametrize(("spoil", "message"), [
    (("enroll.map", "id00800-enroll\n"), "enroll.map:1: expected '<model> <speaker>/<file>.wav ...', found"),
    (("enroll.map", "id00800-enroll id00800/x.wav\n"), "enroll.map: 1 of the 1 files it names are not under"),
    (("enroll.map", "id00801-enroll id00801/singing-01-001.wav\n"), "trials.lst: 1 of the 2 models it names"),
    (("trials.lst", "id00800-enroll test/x.wav 1\n"), "trials.lst: 1 of the 1 files it names are not under .*: test/x"),
    (("trials.lst", "\nid00800-enroll test/x.wav\n"), "trials.lst:1: expected '<model> test/<file>.wav 1|0', found ''"),
    (("trials.lst", "id00800-enroll test/x.wav yes\n"), "trials.lst:1: expected"),
    (("trials.lst", None), "no such file .*trials.lst"), (None, "holds no CN-Celeb; looked for")])
def test_cnceleb_refuses_in_one_line(tmp_path, spoil, message):
    root = cnceleb(tmp_path / "db")
    if spoil is None:
        shutil.rmtree(root)
        root.mkdir()
    elif spoil[1] is None:
        (root / "CN-Celeb_flac/eval/lists" / spoil[0]).unlink()
    else:
        (root / "CN-Celeb_flac/eval/lists" / spoil[0]).write_text(spoil[1])
    assert re.search(message, prepare("cnceleb", root, tmp_path / "data", fails=True))


# run.sh

def stage_1(tmp_path, corpus, root):
    command = [ROOT / "egs/voxceleb/run.sh", "--corpus", corpus, "--root", root, "--dir", tmp_path / "out", "--nj", "1",
               "--gpus", "0", "--stop-stage", "1"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    sets = [speakers(tmp_path / "out/data" / name) for name in ("train", "dev", "test")]
    assert sorted(sum(sets, [])) == sorted(FEW) and [len(several) for several in sets] == [3, 2, 5]
    assert "== stage 1 done" in done.stdout
    return tmp_path / "out/data"


@pytest.fixture
def heard(tmp_path):
    """A folder of speakers with four different utterances of a second each."""
    for n, name in enumerate(of_speakers(FEW, 4)):
        write_wav(tmp_path / "my db" / name, noise(1.0, n))
    return tmp_path / "my db"


def test_run_sh_with_folder_then_kaldi(tmp_path, heard):
    made = stage_1(tmp_path, "folder", heard)
    source = tmp_path / "kaldi/data/train"
    source.mkdir(parents=True)
    for name in ("wav.scp", "utt2spk"):
        rows = {key: value for each in ("train", "dev", "test")
                for key, value in read_table(made / each / name).items()}
        (source / name).write_text("".join(f"{key} {rows[key]}\n" for key in sorted(rows)))
    shutil.rmtree(made.parent)
    again = stage_1(tmp_path, "kaldi", source.parent)
    assert len(read_table(again / "train/wav.scp")) == 12


def test_run_sh_names_every_corpus(tmp_path):
    done = subprocess.run([str(ROOT / "egs/voxceleb/run.sh"), "--corpus", "nix", "--dir", str(tmp_path)],
                          capture_output=True, text=True, env=environment())
    assert done.returncode == 1
    assert "there are: cnceleb folder kaldi librispeech synthetic voxceleb" in done.stderr
