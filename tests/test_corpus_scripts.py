"""Corpus preparation in Kaldi's style on utils/: scripts for invented corpora, what they write checked to the byte."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, environment, noise, write_wav

SCRIPTS = ROOT / "tests" / "corpus_scripts"


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe's folder: ./utils ./steps ./local ./path.sh ./cmd.sh are links, local/ holds the scripts."""
    folder = tmp_path / "egs" / "mine"
    folder.mkdir(parents=True)
    links = {"utils": ROOT / "utils", "steps": ROOT / "steps", "path.sh": ROOT / "path.sh", "local": SCRIPTS,
             "cmd.sh": ROOT / "egs" / "voxceleb" / "cmd.sh"}
    for name, target in links.items():
        (folder / name).symlink_to(target)
    monkeypatch.chdir(folder)
    return folder


def prepare(script, *args, fails=False):
    """Run local/SCRIPT; (standard output, standard error)."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [f"local/{script}", *map(str, args)]
    done = subprocess.run(command, env=environment(PATH=path), capture_output=True, text=True)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def write(path, text):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(text.encode())


def audio(*names, seconds=1.0, rate=16000):
    for seed, name in enumerate(names):
        write_wav(Path(name), noise(seconds, seed, rate), rate)


def check(directory, expected):
    """The directory holds these files with these contents, besides .backup, log and what else is not named."""
    for name, text in expected.items():
        assert Path(directory, name).read_text() == text, name


def no_file(directory, *names):
    assert not [name for name in names if Path(directory, name).exists()]


def harbour():
    audio("db/audio/k7.wav", "db/audio/k10.WAV", "db/audio/tower.wav", "db/audio/unlisted.wav", seconds=0.5)
    audio("db/audio/tower.wav", seconds=1.25)
    write("db/doc/operators.csv", "file;berth;operator\ntower;3;09\nk7;2;11\nk10;2;09\nlost;1;11\n")


def test_recordings_with_a_table_of_speakers(recipe):
    harbour()
    out, _ = prepare("harbour_prep.sh", "db", "data/harbour")
    assert out.splitlines()[-1] == "local/harbour_prep.sh: 3 recordings in data/harbour"
    check("data/harbour", {
        "wav.scp": f"op09-k10 {recipe}/db/audio/k10.WAV\nop09-tower {recipe}/db/audio/tower.wav\n"
                   f"op11-k7 {recipe}/db/audio/k7.wav\n",
        "utt2spk": "op09-k10 op09\nop09-tower op09\nop11-k7 op11\n",
        "spk2utt": "op09 op09-k10 op09-tower\nop11 op11-k7\n",
        "reco2dur": "op09-k10 0.5\nop09-tower 1.25\nop11-k7 0.5\n"})
    no_file("data/harbour", "text", "utt2dur", ".backup")


def test_recordings_whose_table_is_wrong(recipe):
    harbour()
    write("db/doc/operators.csv", "file;berth;operator\nk7;2;11\nk7;2;12\n")
    out, _ = prepare("harbour_prep.sh", "db", "data", fails=True)
    assert out == "local/harbour_prep.sh: expected 1 lines in data/utt2spk\n"
    assert "no such folder nix" in prepare("harbour_prep.sh", "nix/db", "data", fails=True)[1]


CALLS = """\
# call\tcaller\tsex\tfile
12\t7\tfemale\tb/second.wav
3\t21\tmale\ta/first.wav

4\t7\tfemale\tb/third.wav
"""


def test_commands_that_convert(recipe):
    audio("db/a/first.wav", "db/b/second.wav", seconds=0.75, rate=8000)
    audio("db/b/third.wav", seconds=2, rate=8000)
    write("db/calls.tab", CALLS)
    out, err = prepare("ward_calls_prep.pl", "db", "data/ward")
    assert out == ("fix_data_dir.sh: file data/ward/utt2spk is not in sorted order or not unique, sorting it\n"
                   "fix_data_dir.sh: file data/ward/wav.scp is not in sorted order or not unique, sorting it\n"
                   "fix_data_dir.sh: kept all 3 utterances.\n"
                   "fix_data_dir.sh: old files are kept in data/ward/.backup\n"
                   "utils/validate_data_dir.sh: Successfully validated data-directory data/ward\n"
                   "get_utt2dur.sh: computed data/ward/utt2dur: 3 lines, 0.00 hours\n") and err == ""
    check("data/ward", {
        "wav.scp": "w21-call003 cat db/a/first.wav |\nw7-call004 cat db/b/third.wav |\n"
                   "w7-call012 cat db/b/second.wav |\n",
        "utt2spk": "w21-call003 w21\nw7-call004 w7\nw7-call012 w7\n",
        "spk2utt": "w21 w21-call003\nw7 w7-call004 w7-call012\n", "spk2gender": "w21 m\nw7 f\n",
        "utt2dur": "w21-call003 0.75\nw7-call004 2\nw7-call012 0.75\n",
        ".backup/utt2spk": "w7-call012 w7\nw21-call003 w21\nw7-call004 w7\n"})


def test_a_command_that_fails(recipe):
    write("db/calls.tab", CALLS)
    _, err = prepare("ward_calls_prep.pl", "db", "data", "no_such_converter", fails=True)
    assert "data/wav.scp: 3 of 3 failed" in err and "w7-call004: command failed with status 127" in err
    assert "Error finding durations in data" in err
    no_file("data", "utt2dur")


def debates():
    audio("db/audio/d1.wav", "db/audio/d2.wav", seconds=6)
    write("db/speakers.txt", "d1 ann bob\nd2 cem ann\n")
    write("db/marks/d1.txt", "0.00 1.50 for\n1.60 1.90 against\n2.00 4.00 against\n4.10 5.98 for\n")
    write("db/marks/d2.txt", "0.50 2.00 for\n2.25 5.00 against\n")


def test_segments_of_two_speakers(recipe):
    debates()
    out, err = prepare("debate_prep.sh", "--min-duration", "0.4", "db", "data")
    assert "/fix_data_dir.sh" not in err and "fix_data_dir.sh: kept all 5 utterances." in out
    assert "extended 5 segments, cut 1 overlaps, left out 0 segments without length" in err
    check("data", {
        "segments": "ann-d1-000000-000150 d1 0 1.6\nann-d1-000410-000598 d1 4.05 5.98\nann-d2-000225-000500 d2 2.15 5\n"
                    "bob-d1-000200-000400 d1 1.9 4.05\ncem-d2-000050-000200 d2 0.4 2.1\n",
        "wav.scp": "d1 db/audio/d1.wav\nd2 db/audio/d2.wav\n", "reco2file_and_channel": "d1 d1 A\nd2 d2 A\n",
        "utt2spk": "ann-d1-000000-000150 ann\nann-d1-000410-000598 ann\nann-d2-000225-000500 ann\n"
                   "bob-d1-000200-000400 bob\ncem-d2-000050-000200 cem\n",
        "spk2utt": "ann ann-d1-000000-000150 ann-d1-000410-000598 ann-d2-000225-000500\n"
                   "bob bob-d1-000200-000400\ncem cem-d2-000050-000200\n",
        "utt2dur": "ann-d1-000000-000150 1.6\nann-d1-000410-000598 1.93\nann-d2-000225-000500 2.85\n"
                   "bob-d1-000200-000400 2.15\ncem-d2-000050-000200 1.7\n",
        "reco2dur": "d1 6\nd2 6\n", "spk2num": "ann 3\nbob 1\ncem 1\n",
        "utt2spk.1": "ann-d1-000000-000150 ann\nann-d1-000410-000598 ann\nann-d2-000225-000500 ann\n",
        "utt2spk.2": "bob-d1-000200-000400 bob\ncem-d2-000050-000200 cem\n"})


@pytest.mark.parametrize("args, message", [
    (["--min-duration=1", "db", "data"],
     "local/debate_prep.sh: options to scripts must be of the form --name value, got '--min-duration=1'"),
    (["--max-duration", "1", "db", "data"], "local/debate_prep.sh: invalid option --max-duration")])
def test_options_under_strict_bash(recipe, args, message):
    debates()
    assert prepare("debate_prep.sh", *args, fails=True)[1].strip() == message
    no_file(".", "data")


def readings():
    write("db/readers.txt", "reader|age|sex\nmoss|31|F\nkent|54|M\n")
    texts = {"moss_001": "the colour of Straße\r\n", "moss_002": "grey\nmornings\n", "kent_001": "the colour red\n"}
    for name, text in texts.items():
        folder = f"db/{name.split('_')[0]}"
        audio(f"{folder}/{name}.wav", seconds=0.3)
        write(f"{folder}/{name}.txt", text)


def test_text_and_gender(recipe):
    readings()
    write("spellings", "colour color\ngrey gray gray\n")
    write("skip", "nobody-1\n")
    out, _ = prepare("readings_prep.sh", "--spellings", "spellings", "--skip", "skip", "db", "data/all")
    assert out.startswith("local/readings_prep.sh --spellings spellings --skip skip db data/all\n")
    check("data/all", {
        "text": "kent-001 the color red\nmoss-001 the color of Straße\nmoss-002 gray gray mornings\n",
        "wav.scp": "kent-001 db/kent/kent_001.wav\nmoss-001 db/moss/moss_001.wav\nmoss-002 db/moss/moss_002.wav\n",
        "utt2spk": "kent-001 kent\nmoss-001 moss\nmoss-002 moss\n",
        "spk2utt": "kent kent-001\nmoss moss-001 moss-002\n",
        "spk2gender": "kent m\nmoss f\n",
        "words": "color 2\ngray 2\nthe 2\nStraße 1\nmornings 1\nof 1\nred 1\n"})


def test_sentences_left_out_and_later_stages(recipe):
    readings()
    write("skip", "kent-001\n")
    prepare("readings_prep.sh", "--upper", "true", "--skip", "skip", "db", "data")
    expected = {"text": "moss-001 THE COLOUR OF STRAßE\nmoss-002 GREY MORNINGS\n", "spk2gender": "moss f\n",
                "wav.scp": "moss-001 db/moss/moss_001.wav\nmoss-002 db/moss/moss_002.wav\n",
                "utt2spk": "moss-001 moss\nmoss-002 moss\n", "spk2utt": "moss moss-001 moss-002\n"}
    check("data", expected)
    out, _ = prepare("readings_prep.sh", "--stage", 2, "db", "data")
    assert "fix_data_dir.sh: kept all 2 utterances." in out
    check("data", expected)
    err = prepare("readings_prep.sh", "--upper", "yes", "db", "data", fails=True)[1]
    assert err == 'local/readings_prep.sh: expected "true" or "false": --upper yes\n'


def test_conditions_put_together(recipe):
    audio("db/hall/eva_2.flac", "db/hall/eva_1.flac", "db/hall/tim_1.flac", "db/car/tim_1.flac", seconds=0.3)
    prepare("rooms_prep.sh", "db", "data", "hall", "car")
    check("data/all", {
        "wav.scp": "eva-1-hall cat db/hall/eva_1.flac |\neva-2-hall cat db/hall/eva_2.flac |\n"
                   "tim-1-car cat db/car/tim_1.flac |\ntim-1-hall cat db/hall/tim_1.flac |\n",
        "utt2spk": "eva-1-hall eva\neva-2-hall eva\ntim-1-car tim\ntim-1-hall tim\n",
        "spk2utt": "eva eva-1-hall eva-2-hall\ntim tim-1-car tim-1-hall\n",
        "utt2uniq": "eva-1-hall eva-1\neva-2-hall eva-2\ntim-1-car tim-1\ntim-1-hall tim-1\n",
        "utt2room": "eva-1-hall hall\neva-2-hall hall\ntim-1-car car\ntim-1-hall hall\n"})
    check("data/apart", {
        "wav.scp": "car-tim-1 cat db/car/tim_1.flac |\nhall-eva-1 cat db/hall/eva_1.flac |\n"
                   "hall-eva-2 cat db/hall/eva_2.flac |\nhall-tim-1 cat db/hall/tim_1.flac |\n",
        "utt2spk": "car-tim-1 car-tim\nhall-eva-1 hall-eva\nhall-eva-2 hall-eva\nhall-tim-1 hall-tim\n",
        "spk2utt": "car-tim car-tim-1\nhall-eva hall-eva-1 hall-eva-2\nhall-tim hall-tim-1\n"})
    no_file("data/apart", "utt2room", "segments")


def test_conditions_of_which_one_is_missing(recipe):
    audio("db/hall/eva_1.flac", seconds=0.3)
    prepare("rooms_prep.sh", "db", "data", "hall")
    before = Path("data/all/wav.scp").read_text()
    prepare("rooms_prep.sh", "db", "data", "hall", "car", fails=True)
    assert Path("data/all/wav.scp").read_text() == before


def part(utterances, corpus="db"):
    """wav.scp, utt2spk and spk2utt of `speaker/number` utterances."""
    ids = [(f"{s}-{int(n):04d}", s, f"{corpus}/{s}/{n}.wav") for s, n in (u.split("/") for u in utterances.split())]
    speakers = {}
    for utterance, speaker, _ in ids:
        speakers.setdefault(speaker, []).append(utterance)
    return {"wav.scp": "".join(f"{u} {path}\n" for u, _, path in ids),
            "utt2spk": "".join(f"{u} {s}\n" for u, s, _ in ids),
            "spk2utt": "".join(f"{speaker} {' '.join(own)}\n" for speaker, own in speakers.items())}


def test_parts_of_a_corpus(recipe):
    sizes = {"ada": 3, "bo": 4, "cy": 2, "di": 3}
    audio(*(f"db/{speaker}/{n}.wav" for speaker, size in sizes.items() for n in range(1, size + 1)), seconds=0.1)
    write("db/test_speakers.txt", "cy\n")
    out, _ = prepare("partition_prep.sh", "--nj", 2, "--num-dev", 1, "db", "data")
    assert "utils/subset_data_dir.sh: reducing #utt from 12 to 2\n" in out
    check("data/all", part("ada/1 ada/2 ada/3 bo/1 bo/2 bo/3 bo/4 cy/1 cy/2 di/1 di/2 di/3"))
    check("data/test", part("cy/1 cy/2"))
    check("data/dev", part("ada/1 bo/1 di/1"))
    train = "ada/2 ada/3 bo/2 bo/3 bo/4 di/2 di/3"
    check("data/train", part(train))
    check("data/train/split2/1", part("ada/2 ada/3 bo/2 bo/3 bo/4"))
    check("data/train/split2/2", part("di/2 di/3"))
    check("data/train/split3utt/1", part("ada/2 ada/3 bo/2"))
    check("data/train/split3utt/2", part("bo/3 bo/4"))
    check("data/train/split3utt/3", part("di/2 di/3"))
    check("data", {
        "job.1": part("ada/2 ada/3 bo/2 bo/3 bo/4")["wav.scp"], "job.2": part("di/2 di/3")["wav.scp"],
        "job_utt2spk.2": part("di/2 di/3")["utt2spk"], "count.1": "5\n", "count.2": "2\n",
        "shuffled": "".join(line.split()[0] + "\n" for line in part(train)["utt2spk"].splitlines())})
    check("data/train_3", part("bo/2 bo/4 di/3"))
    check("data/train_first2", part("ada/2 ada/3"))
    check("data/train_last2", part("di/2 di/3"))
    check("data/train_1each", part("ada/2 bo/2 di/2"))
    no_file("data", "rest")


def test_parts_of_too_small_a_corpus(recipe):
    audio("db/ada/1.wav", "db/ada/2.wav", "db/ada/3.wav", "db/bo/1.wav", seconds=0.1)
    write("db/test_speakers.txt", "bo\n")
    err = prepare("partition_prep.sh", "db", "data", fails=True)[1]
    assert "refusing to split: number of speakers 1 is less than the number of parts 2" in err


def wild():
    audio("db/wav/id2/x_-Q/00002.wav", "db/wav/id2/x_-Q/00001.wav", "db/wav/id1/-aZ/00001.wav", "db/wav/id3/k/1.wav",
          "db/wav/id3/k/2.wav", "db/wav/id4/k/1.wav", seconds=0.1)
    write("db/train.lst", "id2/x_-Q/00002.wav\r\nid2/x_-Q/00001.wav\r\nid1/-aZ/00001.wav\r\nid2/x_-Q/00002.wav\r\n"
                          "id1/-aZ/gone.wav\r\n")
    write("db/test.lst", "id4/k/1.wav\nid3/k/2.wav\nid3/k/1.wav\n")
    write("db/pairs.txt", "1 id3/k/1.wav id3/k/2.wav\r\n0 id3/k/1.wav id4/k/1.wav\r\n1 id3/k/1.wav id3/k/2.wav\r\n")


def test_clips_in_any_order(recipe):
    wild()
    prepare("wild_prep.pl", f"{recipe}/db", "data")
    db = f"{recipe}/db/wav"
    check("data/train", {
        "wav.scp": f"id1--aZ-00001 {db}/id1/-aZ/00001.wav\nid2-x_-Q-00001 {db}/id2/x_-Q/00001.wav\n"
                   f"id2-x_-Q-00002 {db}/id2/x_-Q/00002.wav\n",
        "utt2spk": "id1--aZ-00001 id1\nid2-x_-Q-00001 id2\nid2-x_-Q-00002 id2\n",
        "spk2utt": "id1 id1--aZ-00001\nid2 id2-x_-Q-00001 id2-x_-Q-00002\n"})
    check("data/test", {
        "wav.scp": f"id3-k-1 {db}/id3/k/1.wav\nid3-k-2 {db}/id3/k/2.wav\nid4-k-1 {db}/id4/k/1.wav\n",
        "utt2spk": "id3-k-1 id3\nid3-k-2 id3\nid4-k-1 id4\n", "spk2utt": "id3 id3-k-1 id3-k-2\nid4 id4-k-1\n",
        "trials": "id3-k-1 id3-k-2 target\nid3-k-1 id4-k-1 nontarget\n"})


def test_clips_without_any_audio(recipe):
    wild()
    write("db/train.lst", "id9/k/1.wav\n")
    err = prepare("wild_prep.pl", "db", "data", fails=True)[1]
    assert "empty file spk2utt in data/train" in err and "Error validating directory data/train" in err
