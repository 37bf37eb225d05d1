"""What users' files are like: every tool of utils/ works on it, or stops with the file, the line and the reason."""

import os
import subprocess
from pathlib import Path

import pytest
from test_utils import folder, ids, make_audio, make_dir, make_segments, read, snapshot, tool, write

__all__ = ["folder"]  # the fixture: tests run in a folder with a blank in its name


def chain(directory):
    """What a script does to a data directory; the files that come out of it."""
    tool("fix_data_dir.sh", directory)
    tool("validate_data_dir.sh", "--no-text", "--no-feats", directory)
    tool("get_utt2dur.sh", directory)
    tool("copy_data_dir.sh", "--utt-suffix", "-x", directory, "a copy")
    tool("combine_data.sh", "all of it", directory, "a copy")
    tool("subset_data_dir.sh", "--per-spk", "all of it", 1, "a part")
    tool("split_data.sh", "a part", 2)
    tool("check_data.py", directory)
    parts = [read(f"a part/split2/{n}/utt2spk") for n in (1, 2)]
    return read(f"{directory}/wav.scp"), read("all of it/utt2spk"), read("a part/utt2dur"), *parts


def disguise(how, directory):
    """The files of a data directory as other systems write them."""
    for path in directory.iterdir():
        data = path.read_bytes()
        path.write_bytes(data.replace(b"\n", b"\r\n") if how == "CRLF" else b"\xef\xbb\xbf" + data)


@pytest.mark.parametrize("name, speakers, how", [
    ("my data dir", "ab", None), ("d", "ab", "CRLF"), ("d", "ab", "BOM"), ("d", ("ä\u00a0ö", "李"), None),
    ("d", ("en/ann", "en/bob"), None)])
def test_works(name, speakers, how):
    directory = make_dir(name, speakers, 2)
    utterances = [f"{speaker}-{n}" for speaker in speakers for n in (1, 2)]
    for number in range(4):
        make_audio(f"wav s/{number}.wav", 0.5 + number / 10)
    wav = "".join(f"{u} wav s/{n}.wav\n" for n, u in enumerate(utterances))
    write(directory / "wav.scp", wav)
    if how:
        disguise(how, directory)
    pairs = sorted((u + end, speakers[n // 2]) for n, u in enumerate(utterances) for end in ("", "-x"))
    firsts = [(u, s) for u, s in pairs if u in (utterances[0], utterances[2])]
    lengths = {utterances[0]: "0.5", utterances[2]: "0.7"}
    assert chain(directory) == (
        wav, "".join(f"{u} {s}\n" for u, s in pairs), "".join(f"{u} {lengths[u]}\n" for u, _ in firsts),
        *(f"{u} {s}\n" for u, s in firsts))


def test_names_that_are_not_utf_8():
    """The tools of scripts pass bytes through; what reads text says where it is none."""
    write("d/utt2spk", b"a-1 a\nz\xe4-1 z\xe4\n")
    write("d/wav.scp", b"a-1 x\nz\xe4-1 y\n")
    tool("fix_data_dir.sh", "d")
    tool("validate_data_dir.sh", "--no-text", "--no-feats", "d")
    tool("copy_data_dir.sh", "d", "e")
    assert Path("e/spk2utt").read_bytes() == b"a a-1\nz\xe4 z\xe4-1\n"
    assert "d/utt2spk:2: not UTF-8 text" in tool("check_data.py", "d", fails=True)[1]


REPEATED = "d/utt2spk:4: a-1 stands here for the second time"


@pytest.mark.parametrize("command, message", [
    ("copy_data_dir.sh d e", REPEATED), ("subset_data_dir.sh d 2 e", REPEATED), ("split_data.sh d 2", REPEATED),
    ("check_data.py d", REPEATED), ("make_trials.py d", REPEATED), ("combine_data.sh e d", "'a-1 b' in d/utt2spk"),
    ("validate_data_dir.sh --no-text --no-feats d", "d/utt2spk is not sorted or has duplicates: a-1 in line 4")])
def test_an_utterance_of_two_speakers(command, message):
    make_dir("d", "abc", 1)
    write("d/utt2spk", read("d/utt2spk") + "a-1 b\n")
    before = snapshot("d")
    assert message in tool(*command.split(), fails=True)[1]
    assert snapshot("d") == before and not Path("e").exists()


def test_fix_says_which_of_two_lines_it_keeps():
    make_dir("d", "abc", 1)
    write("d/utt2spk", read("d/utt2spk") + "a-1 b\n")
    assert "d/utt2spk has more than one line for a-1, keeping 'a-1 a'" in tool("fix_data_dir.sh", "d")[0]
    assert ids("d/utt2spk") == ["a-1", "b-1", "c-1"]


@pytest.mark.parametrize("name, text, commands, message", [
    ("wav.scp", "a-1 x\nb-1\nc-1 z\n", ("fix_data_dir.sh d", "validate_data_dir.sh --no-text --no-feats d",
                                       "combine_data.sh e d", "get_utt2dur.sh d", "check_data.py d"),
     "d/wav.scp:2: expected 'key value', found 'b-1'"),
    ("wav.scp", "a-1 x\n\nc-1 z\n", ("copy_data_dir.sh --utt-suffix -x d e", "combine_data.sh e d",
                                     "split_data.sh d 2"),
     "d/wav.scp:2: expected 'key value', found ''"),
    ("wav.scp", "a-1 x\nb-1 y\na-1 z\n", ("get_utt2dur.sh d", "get_reco2dur.sh d", "check_data.py d"),
     "d/wav.scp:3: a-1 stands here for the second time"),
    ("utt2dur", "a-1 1\nb-1 one\nc-1 2\n", ("subset_data_dir.sh --shortest d 1 e", "fix_data_dir.sh d"),
     "d/utt2dur:2: expected 'utterance length', found 'b-1 one'"),
    ("utt2num_frames", "a-1 1\nb-1\nc-1 2\n", ("combine_data.sh e d", "fix_data_dir.sh d"),
     "d/utt2num_frames:2: expected 'key value', found 'b-1'")])
def test_stops_at_the_line(name, text, commands, message):
    make_dir("d", "abc", 1)
    write(f"d/{name}", text)
    before = snapshot("d")
    for command in commands:
        assert message in tool(*command.split(), fails=True)[1]
        assert snapshot("d") == before and not Path("e").exists()


def test_segments_that_are_malformed():
    make_segments()
    write("d/segments", read("d/segments").replace("r1 1 1.5", "r1 1"))
    for command in ("fix_data_dir.sh d", "get_utt2dur.sh d", "subset_data_dir.sh d 9 e"):
        assert "d/segments:2: expected 4 fields, or 5 with a channel, found 3" in tool(*command.split(), fails=True)[1]
    assert "d/segments: a-2: expected 'recording start end'" in tool("check_data.py", "d", fails=True)[1]


def test_lengths_of_features_without_audio():
    make_dir("d", "abc", 1, utt2num_frames="200")
    Path("d/wav.scp").unlink()
    tool("get_utt2dur.sh", "d")
    assert read("d/utt2dur") == "a-1 2.015\nb-1 2.015\nc-1 2.015\n"
    Path("d/utt2dur").unlink()
    tool("get_utt2dur.sh", "--frame-shift", "0.02", "d")
    assert read("d/utt2dur").startswith("a-1 4.03\n")
    Path("d/utt2dur").unlink()
    write("d/frame_shift", "ten\n")
    assert "d/frame_shift: expected seconds above 0, found 'ten'" in tool("get_utt2dur.sh", "d", fails=True)[1]
    assert "--frame-shift: expected" in tool("get_utt2dur.sh", "--frame-shift", "-1", "d", fails=True)[1]


def test_lists_with_a_byte_order_mark():
    write("map", "\ufeffa A\r\n")
    assert tool("apply_map.pl", "map", stdin="\ufeffa a\r\n")[0] == "A A\n"


def test_the_corpus_is_never_written_to():
    make_audio("db/1.wav", 0.5)
    make_audio("db/2.wav", 0.6)
    make_dir("d", "ab", 1)
    write("d/wav.scp", "a-1 db/1.wav\nb-1 cat db/2.wav |\n")
    Path("db").chmod(0o555)  # for root it is writable still: hence the times, too
    paths = "db", "db/1.wav", "db/2.wav"
    before = snapshot("db"), [os.stat(path).st_mtime_ns for path in paths]
    for command in ("fix_data_dir.sh d", "get_utt2dur.sh d", "get_reco2dur.sh d", "check_data.py d"):
        tool(*command.split())
    assert (snapshot("db"), [os.stat(path).st_mtime_ns for path in paths]) == before
    Path("db").chmod(0o755)


def test_a_pipe_that_fails_in_the_middle():
    """Its last command may end well all the same."""
    make_audio("1.wav", 0.5)
    make_dir("d", "ab", 1)
    write("d/wav.scp", "a-1 cat 1.wav |\nb-1 cat none.wav 1.wav | cat |\n")
    err = tool("get_utt2dur.sh", "d", fails=True)[1]
    assert "b-1: command failed with status 1" in err and "a-1" not in err and not Path("d/utt2dur").exists()


def test_an_argument_that_is_not_utf_8():
    done = subprocess.run([b"utils/validate_data_dir.sh", b"z\xe4"], capture_output=True)
    assert done.returncode == 1 and b"no such directory z" in done.stderr and b"Traceback" not in done.stderr
