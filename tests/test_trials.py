"""Trial lists and the development set: what is drawn, how evenly, and what is refused."""

import itertools
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepspeaker.atomic import replacing
from deepspeaker.corpus.holdout import choose_dev, choose_test, dev_size, split_dev
from deepspeaker.datadir import read_lists, read_table, write_speakers, write_table
from deepspeaker.datadir.trials import make_trials, read_trials, share_evenly, write_trials
from deepspeaker.errors import UserError

UTILS = Path(__file__).resolve().parents[1] / "utils"


def speech_of(counts):
    """utt2spk of speakers s0, s1, ... with so many utterances each."""
    return {f"s{n:03d}-{k:03d}": f"s{n:03d}" for n, count in enumerate(counts) for k in range(count)}


def train_directory(data, counts):
    """DATA/train with every kind of table that stage 1 may leave."""
    utt2spk = speech_of(counts)
    train = data / "train"
    train.mkdir(parents=True)
    write_speakers(train, utt2spk)
    write_table(train / "wav.scp", {utterance: f"/a b/{utterance}.wav" for utterance in utt2spk})
    write_table(train / "text", dict.fromkeys(utt2spk, "HELLO WORLD"))
    write_table(train / "spk2gender", dict.fromkeys(utt2spk.values(), "f"))
    return utt2spk


def test_trials_come_back_as_written(tmp_path):
    trials = [("b", "a", True), ("a", "ä\u00a0ö", False)]
    write_trials(tmp_path / "trials", trials)
    assert (tmp_path / "trials").read_text("utf-8") == "b a target\na ä\u00a0ö nontarget\n"
    assert read_trials(tmp_path / "trials") == trials
    with (tmp_path / "trials").open("a") as file:
        file.write("\n \t\r\n\n")
    assert read_trials(tmp_path / "trials") == trials


@pytest.mark.parametrize(("text", "message"), [
    ("a b target\na b\n", "trials:2: expected"), ("a b tgt\n", "trials:1: expected"), ("", "holds no trials"),
    ("\n\n", "holds no trials"), ("a b target\n\nc b target\n\n", "trials:2: expected 'id1 id2 .*, found ''"),
    ("a b target\nc b target\nc b target\na b nontarget\n",
     "1 trials are both target and nontarget: a b .lines 1 and 4.; leave"),
])
def test_malformed_trials_name_file_and_line(tmp_path, text, message):
    (tmp_path / "trials").write_text(text)
    with pytest.raises(UserError, match=message):
        read_trials(tmp_path / "trials")


@given(counts=st.lists(st.integers(1, 6), min_size=2, max_size=7), targets=st.integers(1, 120),
       nontargets=st.integers(1, 120), seed=st.integers(0, 9))
def test_as_many_as_there_are_no_pair_twice_and_labels_right(counts, targets, nontargets, seed):
    counts[0] = max(counts[0], 2)
    utt2spk = speech_of(counts)
    pairs = list(itertools.combinations(utt2spk, 2))
    possible = sum(utt2spk[a] == utt2spk[b] for a, b in pairs)
    trials = make_trials(utt2spk, None, targets, nontargets, seed)
    assert trials == sorted(trials) == make_trials(utt2spk, None, targets, nontargets, seed)
    assert sum(trial.target for trial in trials) == min(targets, possible)
    assert sum(not trial.target for trial in trials) == min(nontargets, len(pairs) - possible)
    assert len({frozenset(trial[:2]) for trial in trials}) == len(trials)
    assert all(len({a, b}) == 2 and (utt2spk[a] == utt2spk[b]) == target for a, b, target in trials)


def test_trials_are_shared_evenly_over_unequal_speakers():
    utt2spk = speech_of([60, 10, 10, 10, 10, 10, 10, 10, 10, 10])
    trials = make_trials(utt2spk, None, targets=300, nontargets=1000)
    assert set(Counter(utt2spk[a] for a, _, target in trials if target).values()) == {30}
    heard = Counter(utt2spk[name] for a, b, target in trials if not target for name in (a, b))
    assert min(heard.values()) > 0.8 * max(heard.values())


def test_nontargets_are_of_one_gender_where_genders_are_known():
    utt2spk = speech_of([3] * 10)
    genders = {speaker: "mf"[int(speaker[1:]) % 2] for speaker in utt2spk.values()}
    trials = make_trials(utt2spk, genders)
    assert len(trials) == 60
    assert all(genders[utt2spk[a]] == genders[utt2spk[b]] for a, b, _ in trials)
    assert not all(genders[utt2spk[a]] == genders[utt2spk[b]] for a, b, _ in make_trials(utt2spk))


def test_another_seed_draws_other_trials():
    utt2spk = speech_of([10] * 10)
    assert make_trials(utt2spk, None, 20, 20, seed=1) != make_trials(utt2spk, None, 20, 20, seed=2)


@pytest.mark.parametrize(("counts", "message"), [([1, 1], "none with two utterances"), ([5], "no two")])
def test_impossible_trials_are_refused(counts, message):
    with pytest.raises(UserError, match=message):
        make_trials(speech_of(counts))


@given(st.integers(0, 100), st.lists(st.integers(0, 20), max_size=8))
def test_share_is_as_even_as_rooms_allow(total, rooms):
    room = dict(enumerate(rooms))
    given_out = share_evenly(total, room, random.Random(0))
    assert sum(given_out.values()) == min(total, sum(rooms))
    assert all(given_out[name] <= room[name] for name in room)
    unfilled = [given_out[name] for name in room if given_out[name] < room[name]]
    assert all(max(given_out.values()) - number <= 1 for number in unfilled)


@pytest.mark.parametrize(("speakers", "size"), [(5994, 120), (1211, 40), (351, 35), (120, 12), (12, 2)])
def test_dev_size(speakers, size):
    assert dev_size(speakers) == size


def test_the_fewest_speakers_that_can_be_split_off():
    names = [f"s{n}" for n in range(101)]
    chosen = choose_dev({name: [f"{name}-{n}" for n in range(4)] for name in names[:4]}, 0, "x")
    assert len(chosen) == 2 and all(len(utterances) == 4 for utterances in chosen.values())
    assert [len(choose_test(dict.fromkeys(names[:count], "ab"), 0)) for count in (7, 49, 60, 101)] == [5, 5, 6, 10]
    for speakers in (dict.fromkeys(names[:6], "ab"),
                     dict.fromkeys(names[:20], "a") | dict.fromkeys(names[:4], "ab")):
        with pytest.raises(UserError, match="speakers have at least 2 utterances"):
            choose_test(speakers, 0)


def test_split_dev_is_disjoint_by_speaker_and_loses_no_other(tmp_path):
    utt2spk = train_directory(tmp_path, [3] * 10 + [30] * 20)
    subprocess.run([sys.executable, UTILS / "split_dev.py", "--seed", "1", tmp_path], check=True)
    train, dev = (read_lists(tmp_path / name / "spk2utt") for name in ("train", "dev"))
    assert len(dev) == 3 and not set(train) & set(dev) and set(train) | set(dev) == set(utt2spk.values())
    assert all(len(utts) == 20 for utts in dev.values())
    assert sum(map(len, train.values())) == len(utt2spk) - 3 * 30
    for name, spk2utt in (("train", train), ("dev", dev)):
        utts = {utterance for several in spk2utt.values() for utterance in several}
        for table in ("wav.scp", "text", "utt2spk"):
            assert set(read_table(tmp_path / name / table)) == utts
        assert set(read_table(tmp_path / name / "spk2gender")) == set(spk2utt)
    assert read_table(tmp_path / "dev/wav.scp")[min(utts)] == f"/a b/{min(utts)}.wav"
    trials = read_trials(tmp_path / "dev/trials")
    assert {name for trial in trials for name in trial[:2]} == utts
    assert Counter(trial.target for trial in trials) == {True: 3 * 190, False: 3 * 400}


def test_split_dev_twice_takes_no_more_speakers(tmp_path):
    train_directory(tmp_path, [5] * 30)
    assert split_dev(tmp_path)
    before = (tmp_path / "train/utt2spk").read_bytes()
    assert not split_dev(tmp_path)
    assert (tmp_path / "train/utt2spk").read_bytes() == before


def test_split_dev_filters_recordings_by_segments(tmp_path):
    utt2spk = train_directory(tmp_path, [5] * 30)
    write_table(tmp_path / "train/segments", {utt: f"rec-{name} 0.0 1.0" for utt, name in utt2spk.items()})
    write_table(tmp_path / "train/wav.scp", {f"rec-{speaker}": "/x.wav" for speaker in utt2spk.values()})
    split_dev(tmp_path)
    dev = tmp_path / "dev"
    assert set(read_table(dev / "wav.scp")) == {f"rec-{speaker}" for speaker in read_lists(dev / "spk2utt")}
    assert len(read_table(tmp_path / "train/wav.scp")) == 27


@pytest.mark.parametrize("counts", [[3] * 30 + [4] * 2, [9, 9, 9]])
def test_split_dev_refuses_too_few_speakers_and_changes_nothing(tmp_path, counts):
    utt2spk = train_directory(tmp_path, counts)
    with pytest.raises(UserError, match=rf"of {len(counts)} speakers have at least 4 utterances"):
        split_dev(tmp_path)
    assert read_table(tmp_path / "train/utt2spk") == utt2spk
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_make_trials_program_takes_gender_and_seed(tmp_path):
    utt2spk = train_directory(tmp_path, [4] * 6)
    genders = {speaker: "mf"[int(speaker[1:]) % 2] for speaker in utt2spk.values()}
    write_table(tmp_path / "train/spk2gender", genders)
    args = ["--targets=12", "--nontargets=20", tmp_path / "train"]
    command = [sys.executable, UTILS / "make_trials.py", *args]
    subprocess.run([*command, "--seed", "3"], check=True)
    subprocess.run([*command, tmp_path / "other"], check=True)
    trials = read_trials(tmp_path / "train/trials")
    assert Counter(trial.target for trial in trials) == {True: 12, False: 20}
    assert all(genders[utt2spk[a]] == genders[utt2spk[b]] for a, b, _ in trials)
    assert (tmp_path / "other").read_bytes() != (tmp_path / "train/trials").read_bytes()


def test_a_directory_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    directory = tmp_path / "train"
    with replacing(directory) as new:
        (new / "first").touch()
    with pytest.raises(OSError), replacing(directory) as new:
        (new / "second").touch()
        raise OSError("disk full")
    assert [path.name for path in directory.iterdir()] == ["first"]
    directory.rename(tmp_path / ".train.old")  # killed between the two renamings
    (tmp_path / ".train.new").mkdir()
    with pytest.raises(OSError), replacing(directory):
        raise OSError("disk full")
    assert [path.name for path in tmp_path.iterdir()] == ["train"]
    with replacing(directory) as new:
        (new / "third").touch()
    assert [path.name for path in directory.iterdir()] == ["third"]
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_dev_has_at_most_20000_trials(tmp_path):
    """Of 400 speakers 40 go to dev, with 20 utterances each: 40 * 190 target trials, and 10,000 nontarget ones."""
    train = tmp_path / "train"
    train.mkdir()
    names = [(f"s{speaker:03d}-{n:02d}", f"s{speaker:03d}") for speaker in range(400) for n in range(21)]
    for file in ("utt2spk", "wav.scp"):
        (train / file).write_text("".join(f"{utterance} {speaker}\n" for utterance, speaker in names))
    assert split_dev(tmp_path)
    labels = [line.split()[2] for line in (tmp_path / "dev/trials").open()]
    assert (labels.count("target"), labels.count("nontarget")) == (7600, 10_000)
