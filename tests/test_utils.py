"""utils/: what Kaldi-style corpus scripts call, each tool's documented behaviour and its errors."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deepspeaker.datadir import read_lists, read_table, write_speakers
from deepspeaker.datadir.check import OPTIONS, check
from deepspeaker.datadir.durations import utterance_durations, written
from deepspeaker.datadir.options import parse
from deepspeaker.datadir.split import boundaries, split_evenly, subset
from deepspeaker.datadir.subset import every_nth, shortest
from deepspeaker.datadir.tables import fields, refuse_repeated, split_lines
from deepspeaker.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
UTILS = ROOT / "utils"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Tests run where a corpus script runs: a folder with a blank in its name and a link to utils."""
    recipe = tmp_path / "my recipe"
    recipe.mkdir()
    (recipe / "utils").symlink_to(UTILS)
    monkeypatch.chdir(recipe)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return recipe


def tool(name, *args, stdin=b"", fails=False):
    """Run utils/NAME; (standard output, standard error). Its status must be 0, or not 0 if it `fails`."""
    stdin = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run([f"utils/{name}", *map(str, args)], input=stdin, capture_output=True)
    out, err = done.stdout.decode(), done.stderr.decode()
    assert (done.returncode != 0) == fails, (done.returncode, out, err)
    assert "Traceback" not in err
    return out, err


def write(path, text):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def read(path):
    return Path(path).read_text()


def make_dir(name="d", speakers=("a", "b", "c"), utterances=3, **files):
    """A valid data directory: utterances a-1, a-2, ...; more files as name=content of each line."""
    pairs = [(f"{s}-{i}", s) for s in speakers for i in range(1, utterances + 1)]
    write(f"{name}/utt2spk", "".join(f"{u} {s}\n" for u, s in pairs))
    write(f"{name}/spk2utt", tool("utt2spk_to_spk2utt.pl", f"{name}/utt2spk")[0])
    write(f"{name}/wav.scp", "".join(f"{u} /x y/{u}.wav\n" for u, _ in pairs))
    for file, value in files.items():
        ids = speakers if file.startswith("spk") or file == "cmvn" else [u for u, _ in pairs]
        file = {"feats": "feats.scp", "vad": "vad.scp", "cmvn": "cmvn.scp"}.get(file, file)
        write(f"{name}/{file}", "".join(f"{i} {value.replace('ID', i)}\n" for i in ids))
    return Path(name)


def snapshot(directory):
    return {path: path.read_bytes() for path in Path(directory).rglob("*") if path.is_file()}


def ids(path):
    return [line.split()[0] for line in read(path).splitlines()]


# ---- lists ----


def test_utt2spk_to_spk2utt():
    expected = "b b-2 b-1\na a-1\n"
    write("u", "b-2 b\na-1 a\nb-1 b\n")
    assert tool("utt2spk_to_spk2utt.pl", "u")[0] == expected
    assert tool("utt2spk_to_spk2utt.pl", stdin=Path("u").read_bytes())[0] == expected
    assert tool("utt2spk_to_spk2utt.pl", stdin="\ufeffö-1 ö\u00a0ö\r\n")[0] == "ö\u00a0ö ö-1\n"


def test_lines_and_their_ids():
    assert split_lines(b"\xef\xbb\xbfa \r\n\nb\r\n") == [b"a ", b"", b"b"] and split_lines(b"a\nb") == [b"a", b"b"]
    assert fields([b"a  b", b"c\td "], 2, "t") == [[b"a", b"b"], [b"c", b"d"]]
    refuse_repeated([b"b", b"a"], "t")
    with pytest.raises(UserError, match="t:3: a stands here for the second time"):
        refuse_repeated([b"a", b"b", b"a", b"b"], "t")


def test_options():
    defaults = {"--flag": False, "--name": "x"}
    assert parse(["--name", "-y", "--flag", "a", "--flag"], defaults, "") == (
        {"--flag": True, "--name": "-y"}, ["a", "--flag"])
    assert parse(["--name=", "-"], defaults, "") == ({"--flag": False, "--name": ""}, ["-"])
    for wrong, message in (["--name"], "needs a value"), (["--flag=1"], "takes no value"), (["-x"], "invalid option"):
        with pytest.raises(UserError, match=message):
            parse(wrong, defaults, "")
    assert defaults == {"--flag": False, "--name": "x"}


@pytest.mark.parametrize("weights, parts, cuts", [
    ([1, 1, 1, 1], 2, [0, 2, 4]), ([1, 1, 1], 2, [0, 2, 3]), ([30, 1, 1, 1], 2, [0, 1, 4]), ([1, 1, 5], 2, [0, 2, 3]),
    ([1, 1, 30], 3, [0, 1, 2, 3]), ([5, 1, 1], 3, [0, 1, 2, 3]), ([1, 5, 1, 5], 2, [0, 2, 4]), ([2, 3, 3], 1, [0, 3]),
    ([4, 3, 3], 2, [0, 1, 3]), ([3, 3, 4], 2, [0, 2, 3])])
def test_boundaries(weights, parts, cuts):
    assert boundaries(weights, parts) == cuts


def test_parts_and_subsets_of_lines():
    lines = [b"%d" % n for n in range(8)]
    assert [len(part) for part in split_evenly(lines, 3)] == [3, 3, 2] and split_evenly(lines, 8)[7] == [b"7"]
    assert subset(lines, 3) == [b"3", b"5", b"7"] and subset(lines, 8, "last") == lines
    assert subset(lines, 0, "last") == [] and subset(lines, 8) == lines


@pytest.mark.parametrize("count, numbers", [
    (1, "10"), (2, "5 10"), (3, "5 7 10"), (4, "2 5 7 10"), (5, "2 5 7 8 10"), (7, "2 3 5 6 7 8 10"),
    (9, "1 2 3 5 6 7 8 9 10"), (10, "1 2 3 4 5 6 7 8 9 10")])
def test_a_subset_is_kaldis(count, numbers):
    assert subset([b"%d" % n for n in range(1, 11)], count) == numbers.encode().split()


def test_a_subset_of_many_lines_is_spread_over_them():
    lines = [b"%d" % n for n in range(1000)]
    for count in (1, 7, 100, 999):
        chosen = subset(lines, count)
        assert len(chosen) == count and chosen == sorted(set(chosen), key=int)
        halves = len([line for line in chosen if int(line) < 500]), count // 2
        assert halves[0] == halves[1]


@pytest.mark.parametrize("line", ["a-1", "a-1 a x", ""])
def test_utt2spk_to_spk2utt_needs_two_fields(line):
    write("u", f"a-0 a\n{line}\n")
    assert "u:2: expected 2 fields" in tool("utt2spk_to_spk2utt.pl", "u", fails=True)[1]


def test_spk2utt_to_utt2spk():
    assert tool("spk2utt_to_utt2spk.pl", stdin="b b-2 b-1\na a-1\n")[0] == "b-2 b\nb-1 b\na-1 a\n"
    err = tool("spk2utt_to_utt2spk.pl", stdin="b b-2\na\n", fails=True)[1]
    assert "standard input:2" in err and "'a'" in err


def test_filter_scp():
    write("ids", "\ufeffb\r\nd x\n")
    write("in 1", "a 1\nb  2\t\r\n")
    write("in2", "d b\nc d")
    assert tool("filter_scp.pl", "ids", "in 1")[0] == "b  2\t\r\n"
    assert tool("filter_scp.pl", "--exclude", "ids", "in2")[0] == "c d"
    assert tool("filter_scp.pl", "-f", 2, "ids", stdin="x d\ny e\n")[0] == "x d\n"
    assert tool("filter_scp.pl", "--exclude", "-f", 2, "-", "in2", stdin="b\n")[0] == "c d"
    assert tool("filter_scp.pl", "ids", "-", stdin="d\ne\n")[0] == "d\n"


def test_filter_scp_reads_process_substitution():
    done = subprocess.run(
        ["bash", "-c", "utils/filter_scp.pl <(echo a) <(echo a 1; echo b 2)"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "a 1\n"), done.stderr


def test_filter_scp_errors():
    write("ids", "a\n")
    assert "no such file none" in tool("filter_scp.pl", "none", "ids", fails=True)[1]
    assert "none" in tool("filter_scp.pl", "ids", "none", fails=True)[1]
    assert "in:2" in (write("in", "a b\nc\n"), tool("filter_scp.pl", "-f", 2, "ids", "in", fails=True))[1][1]
    assert "invalid option --foo" in tool("filter_scp.pl", "--foo", "ids", fails=True)[1]
    out, err = tool("filter_scp.pl", "ids", "ids", "ids", fails=True)
    assert out == "" and "3 arguments; usage: filter_scp.pl" in err


def test_a_reader_that_stops_is_no_error_of_ours():
    write("ids", "".join(f"{i}\n" for i in range(100000)))
    done = subprocess.run(
        ["bash", "-c", "utils/filter_scp.pl ids ids | head -n 1"], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_filter_scps():
    write("ids.1", "a\n")
    write("ids.2", "c\na\n")
    write("in", "a 1\nb 2\nc 3\n")
    err = tool("filter_scps.pl", "JOB=1:2", "ids.JOB", "in", "out.JOB")[1]
    assert (read("out.1"), read("out.2")) == ("a 1\n", "a 1\nc 3\n")
    assert "1 input lines are in no output" in err
    assert tool("filter_scps.pl", "--no-warn", "-f", 2, "JOB=1:2", "ids.JOB", "in", "out.JOB")[1] == ""
    assert read("out.1") == ""
    assert "no JOB in ids" in tool("filter_scps.pl", "JOB=1:2", "ids", "in", "out.JOB", fails=True)[1]
    assert "JOB=2:1" in tool("filter_scps.pl", "JOB=2:1", "ids.JOB", "in", "out.JOB", fails=True)[1]


def test_apply_map():
    write("map", "x P\ny Q R\nz\n")
    assert tool("apply_map.pl", "map", stdin="x y\ny z x\n")[0] == "P Q R\nQ R  P\n"
    assert tool("apply_map.pl", "-f", 2, "map", stdin="A x B\n")[0] == "A P B\n"
    assert tool("apply_map.pl", "-f", "2-", "map", stdin="x x x\n")[0] == "x P P\n"
    assert tool("apply_map.pl", "-f", "1-2", "map", stdin="x x x\n")[0] == "P P x\n"
    assert tool("apply_map.pl", "-f", "-2", "map", stdin="x x x\n")[0] == "P P x\n"
    out, err = tool("apply_map.pl", "-f", 1, "--permissive", "map", stdin="x A\nA A\n")
    assert out == "P A\nA A\n" and "1 fields are not in map" in err


def test_apply_map_errors():
    write("map", "x P\n")
    assert "standard input:2: w is not in map" in tool("apply_map.pl", "map", stdin="x\nw\n", fails=True)[1]
    assert "no such file none" in tool("apply_map.pl", "none", fails=True)[1]
    assert "-f 0" in tool("apply_map.pl", "-f", 0, "map", fails=True)[1]
    assert "-f 3-2" in tool("apply_map.pl", "-f", "3-2", "map", fails=True)[1]


def test_shuffle_list():
    lines = "".join(f"{i}\n" for i in range(100))
    shuffled = tool("shuffle_list.pl", stdin=lines)[0]
    assert shuffled != lines and sorted(shuffled) == sorted(lines)
    write("list", lines)
    assert tool("shuffle_list.pl", "list")[0] == shuffled
    other = tool("shuffle_list.pl", "--srand", 5, "list")[0]
    assert other != shuffled and sorted(other) == sorted(lines)
    assert tool("shuffle_list.pl", "--srand", 5, stdin=lines)[0] == other
    assert "--srand" in tool("shuffle_list.pl", "--srand", "x", "list", fails=True)[1]


def test_split_scp():
    write("in", "".join(f"{i}\n" for i in range(10)))
    tool("split_scp.pl", "in", "out 1", "out2", "out3")
    assert [len(ids(out)) for out in ("out 1", "out2", "out3")] == [4, 3, 3]
    assert read("out 1") + read("out2") + read("out3") == read("in")
    assert tool("split_scp.pl", "-j", 3, 0, "in")[0] == read("out 1")
    assert tool("split_scp.pl", "-j", 3, 3, "--one-based", "in")[0] == read("out3")


def test_split_scp_by_speaker():
    utt2spk = "".join(f"{s}-{i} {s}\n" for s, n in (("a", 1), ("b", 6), ("c", 2), ("d", 3)) for i in range(n))
    write("utt2spk", utt2spk)
    tool("split_scp.pl", "--utt2spk=utt2spk", "utt2spk", "o1", "o2")
    assert [len(ids("o1")), len(ids("o2"))] == [7, 5]
    write(
        "utt2dur",
        "".join(f"{line.split()[0]} {30 if line[0] == 'a' else 1}\n" for line in utt2spk.splitlines()),
    )
    tool("split_scp.pl", "--utt2spk=utt2spk", "--utt2dur=utt2dur", "utt2spk", "o1", "o2")
    assert [len(ids("o1")), len(ids("o2"))] == [1, 11]
    tool("split_scp.pl", "--utt2spk=utt2spk", "utt2spk", "p1", "p2", "p3", "p4")
    assert [len(ids(f"p{n}")) for n in range(1, 5)] == [1, 6, 2, 3]


def test_split_scp_errors_leave_nothing():
    write("in", "a-1 a\na-2 a\n")
    assert "2 lines cannot be split into 3" in tool("split_scp.pl", "in", "o1", "o2", "o3", fails=True)[1]
    err = tool("split_scp.pl", "--utt2spk=in", "in", "o1", "o2", fails=True)[1]
    assert "speakers 1 is less than the number of parts 2" in err
    assert "expected a job from 0 to 2" in tool("split_scp.pl", "-j", 3, 3, "in", fails=True)[1]
    assert not list(Path().glob("o*"))


def test_subset_scp():
    write("in", "".join(f"{i}\n" for i in range(10)))
    assert tool("subset_scp.pl", 2, "in")[0] == "4\n9\n"
    assert tool("subset_scp.pl", "--first", 2, "in")[0] == "0\n1\n"
    assert tool("subset_scp.pl", "--last", 2, "in")[0] == "8\n9\n"
    assert tool("subset_scp.pl", "--quiet", 11, "in")[0] == read("in")
    assert "11 > 10" in tool("subset_scp.pl", 11, "in", fails=True)[1]
    assert tool("subset_scp.pl", "--quiet", "--last", 11, "in")[0] == read("in")
    for count in ("x", "0", "1.5"):
        assert f"found '{count}'" in tool("subset_scp.pl", "--quiet", count, "in", fails=True)[1]
    for option in ("--first", "--last"):
        assert "11 > 10" in tool("subset_scp.pl", option, 11, "in", fails=True)[1]


def test_make_absolute(folder):
    write("real/file", "")
    Path("link").symlink_to("real")
    assert tool("make_absolute.sh", "link/file")[0] == f"{folder.resolve()}/real/file\n"
    assert "no such folder none" in tool("make_absolute.sh", "none/file", fails=True)[1]
    tool("make_absolute.sh", fails=True)


def test_create_data_link():
    write("egs/a.1.ark", "old")
    tool("create_data_link.pl", "egs/a.1.ark")
    assert read("egs/a.1.ark") == "old"
    for n in (1, 2, 3):
        Path(f"egs/storage/{n}").mkdir(parents=True)
    names = [f"egs/a.{n}.ark" for n in range(1, 31)]
    tool("create_data_link.pl", *names)
    write(names[4], "new")
    disks = {os.readlink(name).split("/")[1] for name in names}
    assert os.readlink("egs/a.5.ark").startswith("storage/") and disks == {"1", "2", "3"}
    shutil.rmtree("egs/storage/2")
    write("egs/storage/7", "")
    assert "is not a folder" in tool("create_data_link.pl", "egs/b.ark", fails=True)[1]


def test_extend_segment_times():
    segments = "u1 r 0.05 6.2\nu2 r 6.3 9.8\nu0 q 1 2\n"
    out, err = tool("data/extend_segment_times.py", stdin=segments)
    assert out == "u1 r 0 6.25\nu2 r 6.25 9.9\nu0 q 0.9 2.1\n"
    assert "extended 3 segments, cut 1 overlaps" in err
    options = (
        "--last-segment-end-padding=0.0",
        "--fix-overlapping-segments",
        "false",
        "--end-padding",
        "0.5",
    )
    out, _ = tool("extend_segment_times.py", *options, stdin=segments)
    assert out == "u1 r 0 6.7\nu2 r 6.2 9.8\nu0 q 0.9 2\n"
    assert "standard input:1" in tool("extend_segment_times.py", stdin="u r 2 1\n", fails=True)[1]
    out, err = tool("extend_segment_times.py", stdin="u1 r 1 2 A\nu2 r 1.5 2.5 B\nu3 r 2.1 3 A\nu4 s 1 2 1\n")
    assert out == "u1 r 0.9 2.05 A\nu2 r 1.4 2.6 B\nu3 r 2.05 3.1 A\nu4 s 0.9 2.1 1\n" and "cut 1 overlaps" in err
    assert "found 'C'" in tool("extend_segment_times.py", stdin="u r 1 2 C\n", fails=True)[1]


def test_tables_as_text():
    write("t", "\ufeffb\u00a0ö  x\ty z \r\na\t1\r\n")
    assert read_table("t") == {"b\u00a0ö": "x\ty z", "a": "1"}
    assert read_lists("t") == {"b\u00a0ö": ["x", "y", "z"], "a": ["1"]}
    write_speakers(".", {"b-1": "b", "a-2": "a", "a-1": "a"})
    assert (read("utt2spk"), read("spk2utt")) == ("a-1 a\na-2 a\nb-1 b\n", "a a-1 a-2\nb b-1\n")


@pytest.mark.parametrize("text, message", [("a 1\nb\n", "t:2: expected 'key value'"), ("a 1\na 2\n", "t:2: a stands")])
def test_tables_as_text_errors(text, message):
    write("t", text)
    with pytest.raises(UserError, match=message):
        read_table("t")


# ---- validate_data_dir.sh ----


def test_validate():
    make_dir(text="hällo wörld", feats="/a.ark:5", utt2dur="1.5", utt2num_frames="148", spk2gender="f")
    assert tool("validate_data_dir.sh", "d") == (
        "utils/validate_data_dir.sh: Successfully validated data-directory d\n",
        "",
    )
    assert tool("data/validate_data_dir.sh", "d")[0].endswith("Successfully validated data-directory d\n")


def test_validate_says_what_may_be_missing():
    make_dir()
    for name, option in (("text", "--no-text"), ("feats.scp", "--no-feats"), ("wav.scp", "--no-wav")):
        others = {"--no-text", "--no-feats"} - {option}
        if name == "wav.scp":
            Path("d/wav.scp").unlink()
        err = tool("validate_data_dir.sh", *others, "d", fails=True)[1]
        assert f"no such file d/{name} (if this is by design, specify {option})" in err
    tool("validate_data_dir.sh", "--no-wav", "--no-feats", "--no-text", "d")


def test_validate_warns_of_one_speaker():
    make_dir(speakers="a")
    assert "only one speaker" in tool("validate_data_dir.sh", "--no-text", "--no-feats", "d")[1]


def drop_line(text):
    return text.split("\n", 1)[1]


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("utt2spk", None, "no such file utt2spk"),
        ("spk2utt", None, "no such file spk2utt"),
        ("utt2spk", lambda _: "", "empty file utt2spk"),
        ("utt2spk", lambda t: t.replace("a-2 a", "a-2 a x"), "d/utt2spk:2: expected 2 fields, found 3"),
        ("utt2spk", lambda t: t[:-1], "d/utt2spk:9: file has invalid newline"),
        ("utt2spk", lambda t: t.replace("\n", "\r\n"), "d/utt2spk:1: line ends in CR LF"),
        ("utt2spk", lambda t: "\ufeff" + t, "d/utt2spk:1: starts with a byte-order mark"),
        ("utt2spk", lambda t: "a-1 a\n" + t, "file d/utt2spk is not sorted or has duplicates"),
        ("wav.scp", lambda t: "z x\n" + t, "file d/wav.scp is not sorted or has duplicates"),
        (
            "utt2spk",
            lambda t: t.replace("a-1 a", "a-1 x"),
            "utt2spk is not in sorted order when sorted first on speaker-id",
        ),
        ("spk2utt", lambda t: t.replace("b-1", "b-0"), "spk2utt and utt2spk do not seem to match"),
        ("spk2utt", drop_line, "spk2utt and utt2spk do not seem to match"),
        ("wav.scp", drop_line, "Error: in d, utterance lists extracted from utt2spk and wav.scp differ"),
        (
            "wav.scp",
            lambda t: t.replace(" /x y/a-2.wav", ""),
            "d/wav.scp:2: expected 'key value', found 'a-2'",
        ),
        ("wav.scp", lambda t: t.replace(" /x y/a-2", " ~/a-2"), "d/wav.scp:2"),
        ("text", drop_line, "Error: in d, utterance lists extracted from utt2spk and text differ"),
        ("text", lambda t: t.replace("b-1 hi", "b-1 <s> hi"), "illegal symbol <s>: d/text:4"),
        ("text", lambda t: t.replace("b-1 hi", "b-1 hi </s>"), "illegal symbol </s>"),
        ("text", lambda t: t.replace("b-1 hi", "b-1 #0"), "illegal symbol #0"),
        ("text", lambda t: t.replace("b-1 hi", "b-1 h\x07i"), "specify --non-print"),
        ("feats.scp", drop_line, "Error: in d, utterance lists extracted from utt2spk and feats.scp differ"),
        ("feats.scp", None, "no such file d/feats.scp (if this is by design, specify --no-feats)"),
        ("vad.scp", drop_line, "utt2spk and vad.scp differ"),
        ("utt2lang", lambda t: t + "z z\n", "utt2spk and utt2lang differ: 9 and 10 ids, first extra: z"),
        ("utt2dur", lambda t: t.replace("a-1 1.5", "a-1 0"), "utt2dur"),
        ("utt2dur", lambda t: t.replace("a-1 1.5", "a-1 x"), "d/utt2dur:1"),
        ("reco2dur", lambda t: t.replace("a-2 1.5", "a-2 -1.5"), "d/reco2dur:2"),
        ("utt2num_frames", lambda t: t.replace("a-1 148", "a-1 14.8"), "d/utt2num_frames:1"),
        ("utt2num_frames", lambda t: t.replace("a-1 148", "a-1 0"), "d/utt2num_frames:1"),
        ("spk2gender", lambda t: t.replace("a f", "a female"), "Mal-formed spk2gender file"),
        ("spk2gender", drop_line, "Error: in d, speaker lists extracted from spk2utt and spk2gender differ"),
        ("cmvn.scp", drop_line, "speaker lists extracted from spk2utt and cmvn.scp differ"),
        ("reco2file_and_channel", lambda t: t.replace("A", "C", 1), "badly formatted reco2file_and_channel"),
    ],
)
def test_validate_errors(name, change, message):
    make_dir(
        text="hi", feats="/a:5", vad="/v:5", utt2dur="1.5", utt2num_frames="148", spk2gender="f", cmvn="/c:1",
        utt2lang="en", reco2file_and_channel="ID A", reco2dur="1.5",
    )  # fmt: skip
    tool("validate_data_dir.sh", "d")
    path = Path("d", name)
    if change is None:
        path.unlink()
    else:
        write(path, change(read(path)))
    assert message in tool("validate_data_dir.sh", "d", fails=True)[1]


def test_validate_options():
    make_dir(text="h\x07i")
    tool("validate_data_dir.sh", "--no-feats", "--non-print", "d")
    write("d/utt2spk", "1 b\n2 a\n3 b\n")
    write("d/spk2utt", "a 2\nb 1 3\n")
    write("d/text", "1 hi\n2 hi\n3\n")
    write("d/wav.scp", "1 x\n2 y\n3 z\n")
    assert "sorted first on speaker-id" in tool("validate_data_dir.sh", "--no-feats", "d", fails=True)[1]
    tool("validate_data_dir.sh", "--no-spk-sort", "--no-feats", "d")
    assert "invalid option --no-x" in tool("validate_data_dir.sh", "--no-x", "d", fails=True)[1]
    assert "no such directory none" in tool("validate_data_dir.sh", "none", fails=True)[1]


def make_segments():
    make_dir()
    write("d/wav.scp", "r1 /x\nr2 /y\n")
    write(
        "d/segments", "".join(f"{u} r{1 + (u > 'b')} {i} {i + 0.5}\n" for i, u in enumerate(ids("d/utt2spk")))
    )


def test_validate_segments():
    make_segments()
    check = ("validate_data_dir.sh", "--no-text", "--no-feats", "d")
    tool(*check)
    write("d/reco2dur", "r1 100\n")
    assert "recording lists extracted from segments and reco2dur differ" in tool(*check, fails=True)[1]
    write("d/reco2dur", "r1 100\nr2 100\n")
    tool(*check)
    good = read("d/segments")
    for bad in (good.replace("0.5", "0", 1), good.replace("r1", "r1 x", 1), good.replace("0.5", "half", 1)):
        write("d/segments", bad)
        err = tool(*check, fails=True)[1]
        assert "badly formatted segments file" in err and "d/segments:1" in err
    write("d/segments", good)
    write("d/wav.scp", "r1 /x\n")
    assert "segments and wav.scp differ" in tool(*check, fails=True)[1]
    Path("d/wav.scp").unlink()
    err = tool("validate_data_dir.sh", "--no-wav", *check[1:], fails=True)[1]
    assert "segments file exists but no wav.scp" in err


@pytest.mark.parametrize("name, good, bad", [
    ("utt2dur", ["0.01", "1e3"], ["0", "-1", "inf", "nan", "1 2", "x"]),
    ("utt2num_frames", ["1", "20"], ["0", "-1", "1.5", "1 2"]),
    ("segments", ["r1 0 0.1", "r1 2 3", "r1 0 -1", "r1 2.5 -1", "r1 0 1 0", "r1 0 1 1", "r1 0 -1 A", "r1 0 1 B"],
     ["r1 1 1", "r1 2 1", "r1 -1 1", "r1 -2 -1", "r1 0 -2", "r1 0", "r1 0 1 C", "r1 0 1 -1", "r1 0 1 0.5",
      "r1 0 1 A B"]),
    ("reco2file_and_channel", ["f A", "f B", "f 1"], ["f C", "f 2", "f", "f A A"]),
    ("text", ["", "<s", "h\ti", "~"], ["\x00", "h\x7fi", "h\u009fi", "a </s> b"]),
    ("wav.scp", ["/x~", "cat ~/x |"], ["~/x"]),
])  # fmt: skip
def test_rows_that_are_well_formed(name, good, bad):
    make_segments()
    if name == "reco2file_and_channel":
        write("d/reco2file_and_channel", "r1 f A\nr2 f A\n")
    elif name != "segments" and name != "wav.scp":
        write(f"d/{name}", "".join(f"{u} 7\n" for u in ids("d/utt2spk")))
    allowed = OPTIONS | {"--no-text": True, "--no-feats": True}
    first, rest = read(f"d/{name}").split("\n", 1)
    for row in good:
        write(f"d/{name}", f"{first.split()[0]} {row}\n{rest}")
        check(Path("d"), allowed)
    for row in bad:
        write(f"d/{name}", f"{first.split()[0]} {row}\n{rest}")
        with pytest.raises(UserError, match=rf"d/{name}:1"):
            check(Path("d"), allowed)


# ---- fix_data_dir.sh ----


def test_fix_keeps_all():
    make_dir()
    Path("d/spk2utt").unlink()
    before = read("d/utt2spk")
    out, _ = tool("fix_data_dir.sh", "d")
    assert (
        out == "fix_data_dir.sh: kept all 9 utterances.\nfix_data_dir.sh: old files are kept in d/.backup\n"
    )
    assert read("d/.backup/utt2spk") == read("d/utt2spk") == before
    tool("validate_data_dir.sh", "--no-text", "--no-feats", "d")


def test_fix_repairs_order_duplicates_line_ends_and_bom():
    make_dir(text="hi")
    good = snapshot("d")
    for name in ("utt2spk", "wav.scp", "text"):
        lines = read(f"d/{name}").splitlines()
        write(f"d/{name}", "\ufeff" + "\r\n".join([*reversed(lines), lines[0], ""]))
    broken = Path("d/utt2spk").read_bytes()
    out, _ = tool("data/fix_data_dir.sh", "d")
    assert "kept all 9 utterances." in out and "file d/utt2spk is not in sorted order or not unique" in out
    assert {path: data for path, data in snapshot("d").items() if ".backup" not in path.parts} == good
    assert Path("d/.backup/utt2spk").read_bytes() == broken


@pytest.mark.parametrize("name", ["feats.scp", "text", "utt2lang", "wav.scp", "utt2dur", "utt2num_frames"])
def test_fix_keeps_what_every_file_has(name):
    make_dir(
        text="hi", feats="/a:5", vad="/v:5", utt2uniq="ID", utt2dur="1.5", utt2num_frames="148", utt2lang="en"
    )
    path = Path("d", name)
    text = read(path)
    text = text.replace("b-2 1.5", "b-2 0").replace("b-2 148", "b-2 0")
    lines = [line for line in text.splitlines(True) if name.startswith("utt2d") or not line.startswith("b-2")]
    write(path, "".join(lines) if name not in ("utt2num_frames",) else text)
    out, _ = tool("fix_data_dir.sh", "d")
    assert "fix_data_dir.sh: kept 8 utterances out of 9\n" in out
    kept = [u for u in ids("d/.backup/utt2spk") if u != "b-2"]
    for other in (
        "utt2spk",
        "wav.scp",
        "feats.scp",
        "text",
        "vad.scp",
        "utt2uniq",
        "utt2dur",
        "utt2num_frames",
    ):
        assert ids(f"d/{other}") == kept
    assert read("d/spk2utt").splitlines()[1] == "b b-1 b-3"
    tool("validate_data_dir.sh", "d")


@pytest.mark.parametrize("name", ["vad.scp", "utt2uniq"])
def test_fix_never_drops_for(name):
    make_dir(**{name.removesuffix(".scp"): "ID"})
    write(f"d/{name}", drop_line(read(f"d/{name}")) + "z z\n")
    assert "kept all 9 utterances." in tool("fix_data_dir.sh", "d")[0]
    assert ids(f"d/{name}") == ids("d/utt2spk")[1:]


def test_fix_drops_speakers():
    make_dir(spk2gender="m", cmvn="/c:1")
    write("d/spk2gender", drop_line(read("d/spk2gender")) + "z m\n")
    assert "kept 6 utterances out of 9" in tool("fix_data_dir.sh", "d")[0]
    assert ids("d/utt2spk") == ["b-1", "b-2", "b-3", "c-1", "c-2", "c-3"]
    assert read("d/spk2gender") == "b m\nc m\n" and ids("d/cmvn.scp") == ["b", "c"]
    write("d/cmvn.scp", "b /c:1\n")
    assert "kept 3 utterances out of 6" in tool("fix_data_dir.sh", "d")[0]
    assert ids("d/utt2spk") == ["b-1", "b-2", "b-3"] and read("d/spk2gender") == "b m\n"


def test_fix_segments():
    make_segments()
    write("d/wav.scp", "r1 /x\nr3 /unused\n")
    write("d/reco2dur", "r1 9\nr2 9\nr3 9\n")
    assert "kept 3 utterances out of 9" in tool("fix_data_dir.sh", "d")[0]
    assert ids("d/segments") == ids("d/utt2spk") == ["a-1", "a-2", "a-3"]
    assert ids("d/wav.scp") == ids("d/reco2dur") == ["r1"]


def test_fix_errors_change_nothing():
    make_dir(text="hi")
    cases = {
        "text": ("z hi\n", "no utterances remained"),
        "wav.scp": ("a-1 /x\na-2\n", "d/wav.scp:2: expected 'key value', found 'a-2'"),
        "utt2spk": ("a-1 b\na-2 a\n", "sorted first on speaker-id"),
    }
    for name, (text, message) in cases.items():
        good = read(f"d/{name}")
        write(f"d/{name}", text)
        before = snapshot("d")
        assert message in tool("fix_data_dir.sh", "d", fails=True)[1]
        assert snapshot("d") == before
        write(f"d/{name}", good)
    Path("d/utt2spk").unlink()
    assert "no such file d/utt2spk" in tool("fix_data_dir.sh", "d", fails=True)[1]
    tool("fix_data_dir.sh", fails=True)


def test_fix_extra_files():
    make_dir(mine="x")
    write("d/utt2spk", drop_line(read("d/utt2spk")))
    write("d/spk_mine", "a 1\nz 1\n")
    tool("fix_data_dir.sh", "--utt-extra-files", "mine", "--spk-extra-files", "spk_mine", "d")
    assert ids("d/mine") == ids("d/utt2spk") and read("d/spk_mine") == "a 1\n"


# ---- copy, combine, subset, split ----


def test_copy():
    make_dir(text="hi", feats="/a:5", spk2gender="m", vad="/v:2", frame_shift="0.01")
    write("d/frame_shift", "0.01\n")
    out, _ = tool("copy_data_dir.sh", "d", "new/e")
    assert "copied data from d to new/e" in out and "Successfully validated data-directory new/e" in out
    for name in (
        "utt2spk",
        "spk2utt",
        "wav.scp",
        "text",
        "feats.scp",
        "vad.scp",
        "spk2gender",
        "frame_shift",
    ):
        assert read(f"new/e/{name}") == read(f"d/{name}")


def test_copy_with_other_ids():
    make_dir(spk2gender="m")
    options = ("--utt-prefix", "p-", "--utt-suffix", "-noise", "--spk-prefix=p-")
    tool("data/copy_data_dir.sh", *options, "d", "e")
    assert read("e/utt2spk").startswith("p-a-1-noise p-a\n")
    assert read("e/wav.scp").startswith("p-a-1-noise /x y/a-1.wav\n")
    assert read("e/spk2gender").startswith("p-a m\n")
    assert read("e/utt2uniq").startswith("p-a-1-noise a-1\n")
    write("d/cmvn.scp", "a /c:1\nb /c:2\nc /c:3\n")
    write("d/utt2uniq", "".join(f"{u} same\n" for u in ids("d/utt2spk")))
    tool("copy_data_dir.sh", "--spk-prefix=p-", "--utt-prefix=p-", "d", "g")
    assert read("g/cmvn.scp").startswith("p-a /c:1\n") and read("g/utt2uniq").startswith("p-a-1 same\n")
    tool("copy_data_dir.sh", "--spk-suffix=x", "d", "h")
    assert read("h/utt2spk").startswith("a-1 ax\n") and read("h/wav.scp") == read("d/wav.scp")
    make_segments()
    tool("copy_data_dir.sh", "--utt-suffix", "-noise", "d", "f")
    assert read("f/segments").startswith("a-1-noise r1 0 0.5\n") and read("f/wav.scp") == read("d/wav.scp")


def test_copy_replaces_all_files_of_an_older_copy():
    make_dir("e", text="old")
    write("e/log/x", "kept")
    make_dir("d", speakers="ab")
    tool("copy_data_dir.sh", "d", "e")
    assert ids("e/wav.scp") == ids("d/wav.scp") and not Path("e/text").exists()
    assert len(ids("e/.backup/text")) == 9 and read("e/log/x") == "kept"


def test_copy_errors():
    make_dir()
    before = snapshot("d")
    assert "the new directory are both d" in tool("copy_data_dir.sh", "d", "./d/", fails=True)[1]
    assert "no such file none/utt2spk" in tool("copy_data_dir.sh", "none", "e", fails=True)[1]
    make_dir("bad")
    write("bad/wav.scp", drop_line(read("bad/wav.scp")))
    assert "utt2spk and wav.scp differ" in tool("copy_data_dir.sh", "bad", "e", fails=True)[1]
    assert len(ids("e/wav.scp")) == 8  # there to be fixed
    tool("copy_data_dir.sh", "--spk-suffix", "-x", "--validate-opts", "--no-spk-sort", "d", "f")
    assert snapshot("d") == before


def test_combine():
    make_dir("d1", "ab", text="hi", spk2gender="m")
    make_dir("d2", "bc", spk2gender="m", mine="1")
    write("d1/mine", "a-1 2\n")
    write("all/old", "gone")
    tool("data/combine_data.sh", "--extra-files", "mine", "all", "d1", "d2")
    assert read("all/utt2spk") == read(make_dir("expected") / "utt2spk")
    assert read("all/spk2gender") == "a m\nb m\nc m\n" and not Path("all/text").exists()
    assert not Path("all/old").exists() and read("all/mine").startswith("a-1 2\nb-1 1\n")
    assert not list(Path().glob(".all*"))
    tool("validate_data_dir.sh", "--no-text", "--no-feats", "all")


def test_combine_fixes_unless_told_not_to():
    make_dir("d1", "a")
    make_dir("d2", "b")
    write("d1/wav.scp", drop_line(read("d1/wav.scp")))
    assert "kept 5 utterances out of 6" in tool("combine_data.sh", "all", "d1", "d2")[0]
    tool("combine_data.sh", "--skip-fix", "true", "all", "d1", "d2")
    assert len(ids("all/utt2spk")) == 6
    for name, statistics in (("d1", "1"), ("d2", "2")):
        write(f"{name}/frame_shift", "0.02\n")
        write(f"{name}/cmvn.scp", f"s /c:{statistics}\n")
    tool("combine_data.sh", "--skip-fix", "true", "all", "d1", "d2")
    assert read("all/cmvn.scp") == "s /c:1\n" and read("all/frame_shift") == "0.02\n"
    assert "--skip-fix maybe" in tool("combine_data.sh", "--skip-fix", "maybe", "all", "d1", "d2", fails=True)[1]


def test_combine_errors_keep_the_old_directory():
    make_dir("d1", "a")
    make_dir("d2", "a")
    write("d2/wav.scp", read("d2/wav.scp").replace("/x y/a-2", "/other"))
    make_dir("all")
    before = snapshot("all")
    err = tool("combine_data.sh", "all", "d1", "d2", fails=True)[1]
    assert "'a-2 /other.wav' in d2/wav.scp, but 'a-2 /x y/a-2.wav' in d1/wav.scp" in err
    assert "no such file d3/utt2spk" in tool("combine_data.sh", "all", "d1", "d3", fails=True)[1]
    write("d2/wav.scp", read("d1/wav.scp"))
    write("d1/frame_shift", "0.01\n")
    write("d2/frame_shift", "0.02\n")
    assert (
        "d2/frame_shift and d1/frame_shift differ"
        in tool("combine_data.sh", "all", "d1", "d2", fails=True)[1]
    )
    assert snapshot("all") == before and not list(Path().glob(".all*"))
    tool("combine_data.sh", "all", fails=True)


def test_combine_makes_up_segments_and_utt2uniq():
    make_segments()
    make_dir("d2", "ef", utt2dur="2.5", utt2uniq="same", augment="noise")
    make_audio("x.wav", 2.5)
    write("d2/wav.scp", "".join(f"{u} x.wav\n" for u in ids("d2/utt2spk")))
    tool("combine_data.sh", "all", "d", "d2")
    assert "e-1 e-1 0 2.5\n" in read("all/segments") and "a-1 r1 0 0.5\n" in read("all/segments")
    assert "a-1 a-1\n" in read("all/utt2uniq") and "e-1 same\n" in read("all/utt2uniq")
    assert ids("all/augment") == ids("d2/utt2spk")
    tool("validate_data_dir.sh", "--no-text", "--no-feats", "all")


def chosen(*args):
    out = tool("subset_data_dir.sh", *args)[0]
    assert f"reducing #utt from 9 to {len(ids('e/utt2spk'))}" in out
    tool("validate_data_dir.sh", "--no-text", "--no-feats", "e")
    return ids("e/utt2spk")


def test_subset():
    make_dir(spk2gender="m", utt2num_frames="100", vad="/v:1")
    everything = ids("d/utt2spk")
    assert chosen("d", 3, "e") == ["b-1", "b-3", "c-3"]
    assert chosen("--first", "d", 4, "e") == everything[:4]
    assert read("e/spk2gender") == "a m\nb m\n" and ids("e/vad.scp") == everything[:4]
    assert chosen("--last", "d", 4, "e") == everything[-4:]
    assert chosen("--per-spk", "d", 2, "e") == ["a-1", "a-2", "b-1", "b-2", "c-1", "c-2"]
    assert chosen("--per-spk", "d", 1, "e") == ["a-1", "b-1", "c-1"]
    assert chosen("--per-spk", "d", 20, "e") == everything
    assert len(chosen("--speakers", "d", 4, "e")) == 6 and len(ids("e/spk2utt")) == 2
    write(
        "d/utt2num_frames", read("d/utt2num_frames").replace("b-3 100", "b-3 7").replace("c-1 100", "c-1 8")
    )
    assert chosen("--shortest", "d", 3, "e") == ["a-1", "b-3", "c-1"]
    write("list", "b-2\nb-1 x\nnone\n")
    assert chosen("--utt-list", "list", "d", "e") == ["b-1", "b-2"]
    write("list", "c\na\n")
    assert chosen("--spk-list", "list", "d", "e") == everything[:3] + everything[6:]


@pytest.mark.parametrize("size, count, numbers", [
    (3, 2, "1 2"), (4, 2, "1 3"), (5, 2, "1 3"), (5, 3, "1 2 3"), (6, 2, "1 4"), (7, 3, "1 3 5"), (9, 3, "1 4 7"),
    (5, 1, "1"), (2, 3, "1 2")])
def test_utterances_of_a_speaker_are_kaldis(size, count, numbers):
    assert every_nth([b"%d" % n for n in range(1, size + 1)], count) == numbers.encode().split()


def test_speakers_out_of_order_are_kept_where_they_are_allowed():
    write("d/utt2spk", "1 b\n2 a\n3 b\n")
    write("d/spk2utt", "a 2\nb 1 3\n")
    write("d/wav.scp", "1 x\n2 y\n3 z\n")
    tool("copy_data_dir.sh", "--validate-opts", "--no-spk-sort", "d", "copy")
    tool("subset_data_dir.sh", "d", 3, "subset")
    tool("combine_data.sh", "--skip-fix", "true", "all", "d", "copy")
    tool("split_data.sh", "d", 1)
    for name in ("copy", "subset", "all", "d/split1/1"):
        assert read(f"{name}/spk2utt") == read("d/spk2utt") and ids(f"{name}/utt2spk") == ["1", "2", "3"]


def test_subset_of_segments():
    make_segments()
    tool("data/subset_data_dir.sh", "--last", "d", 6, "e")
    assert len(ids("e/segments")) == 6 and read("e/wav.scp") == "r2 /y\n"


def test_subset_errors():
    make_dir()
    assert "more utterances than d has: 10 > 9" in tool("subset_data_dir.sh", "d", 10, "e", fails=True)[1]
    for option in ("--first", "--last", "--speakers"):
        assert "10 > 9" in tool("subset_data_dir.sh", option, "d", 10, "e", fails=True)[1]
    assert "number above 0" in tool("subset_data_dir.sh", "d", "x", "e", fails=True)[1]
    assert "exclude each other" in tool("subset_data_dir.sh", "--first", "--last", "d", 1, "e", fails=True)[1]
    assert "both d" in tool("subset_data_dir.sh", "d", 1, "d", fails=True)[1]
    write("list", "none\n")
    assert "none of its ids" in tool("subset_data_dir.sh", "--utt-list", "list", "d", "e", fails=True)[1]
    assert not Path("e").exists()


def test_split_data():
    make_dir(spk2gender="m", text="hi")
    tool("split_data.sh", "d", 2)
    parts = [ids(f"d/split2/{n}/utt2spk") for n in (1, 2)]
    assert sum(parts, []) == ids("d/utt2spk") and {len(part) for part in parts} == {3, 6}
    for n, part in enumerate(parts, 1):
        tool("validate_data_dir.sh", "--no-feats", f"d/split2/{n}")
        assert ids(f"d/split2/{n}/text") == part
    tool("data/split_data.sh", "--per-utt", "d", 4)
    assert [len(ids(f"d/split4utt/{n}/wav.scp")) for n in range(1, 5)] == [3, 2, 2, 2]


def test_split_data_only_when_needed():
    make_dir()
    tool("split_data.sh", "d", 2)
    mark = Path("d/split2/1/utt2spk").stat()
    tool("split_data.sh", "d", 2)
    assert Path("d/split2/1/utt2spk").stat().st_mtime_ns == mark.st_mtime_ns
    write("d/text", "".join(f"{u} new\n" for u in ids("d/utt2spk")))
    tool("split_data.sh", "d", 2)
    assert Path("d/split2/1/text").exists()
    made = Path("d/split2/2/text").stat().st_mtime_ns
    for later, kept in ((0, True), (1, False)):
        write("d/split2/1/wav.scp", "")  # a mark
        os.utime("d/split2/1/wav.scp", ns=(made, made))
        for copy in Path("d/split2").glob("?/text"):
            os.utime(copy, ns=(made, made))
        os.utime("d/text", ns=(made + later, made + later))
        tool("split_data.sh", "d", 2)
        assert (read("d/split2/1/wav.scp") == "") == kept
    Path("d/split2/2/text").unlink()
    tool("split_data.sh", "d", 2)
    assert Path("d/split2/2/text").exists()


def test_split_data_errors():
    make_dir()
    err = tool("split_data.sh", "d", 4, fails=True)[1]
    assert "speakers 3 is less than the number of parts 4" in err
    assert "9 lines cannot be split into 10" in tool("split_data.sh", "--per-utt", "d", 10, fails=True)[1]
    assert "number above 0" in tool("split_data.sh", "d", 0, fails=True)[1]
    assert not list(Path("d").glob("split*"))


# ---- durations ----


def make_audio(path, seconds, rate=16000):
    soundfile = pytest.importorskip("soundfile")
    import numpy as np

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(seconds * rate), np.int16), rate)


def make_stream(path, seconds):
    """A WAV as ffmpeg writes it into a pipe: both lengths 0xFFFFFFFF."""
    make_audio(path, seconds)
    data = bytearray(Path(path).read_bytes())
    data[4:8] = data[40:44] = b"\xff" * 4
    Path(path).write_bytes(data)


def test_utt2dur_and_reco2dur():
    make_dir(speakers="a")
    make_audio("my wavs/1.wav", 1.25)
    make_audio("2.flac", 2, 8000)
    make_stream("3.wav", 3.5)
    write("d/wav.scp", "a-1 my wavs/1.wav\na-2 2.flac\na-3 cat 3.wav |\n")
    expected = "a-1 1.25\na-2 2\na-3 3.5\n"
    tool("data/get_utt2dur.sh", "--nj", 2, "d")
    assert read("d/utt2dur") == expected
    tool("data/get_reco2dur.sh", "d")
    assert read("d/reco2dur") == expected


def test_durations_skip_when_complete():
    make_dir()
    for script, name in (("get_utt2dur.sh", "utt2dur"), ("get_reco2dur.sh", "reco2dur")):
        write(f"d/{name}", "".join(f"{u} 7\n" for u in ids("d/utt2spk")))
        assert "complete" in tool(f"data/{script}", "d")[0]
        write(f"d/{name}", drop_line(read(f"d/{name}")))
        assert "9 of 9 failed" in tool(f"data/{script}", "d", fails=True)[1]


def test_durations_of_frames():
    make_dir(speakers="a", utt2num_frames="150")
    Path("d/wav.scp").unlink()
    assert set(utterance_durations(Path("d"), 1).values()) == {151.5 * 0.01}
    assert set(utterance_durations(Path("d"), 1, 0.03).values()) == {151.5 * 0.03}
    write("d/frame_shift", "0.02\n")
    assert set(utterance_durations(Path("d"), 1, 0.03).values()) == {151.5 * 0.02}
    for text in ("0", "x", "inf"):
        write("d/frame_shift", text)
        with pytest.raises(UserError, match="expected seconds above 0"):
            utterance_durations(Path("d"), 1)
    assert [written(seconds) for seconds in (100.0, 0.5, 1 / 3, 2.0000001)] == [b"100", b"0.5", b"0.333333", b"2"]


def test_frames_and_their_shift_spare_the_audio():
    make_dir(speakers="a", utt2num_frames="150")
    write("d/frame_shift", "0.01\n")
    tool("get_utt2dur.sh", "d")  # there is none of the audio
    assert read("d/utt2dur") == "a-1 1.515\na-2 1.515\na-3 1.515\n"
    tool("get_reco2dur.sh", "d")
    assert read("d/reco2dur") == read("d/utt2dur")
    for name in ("utt2dur", "reco2dur"):
        Path("d", name).unlink()
    write("d/utt2num_frames", drop_line(read("d/utt2num_frames")))
    assert "3 of 3 failed" in tool("get_utt2dur.sh", "d", fails=True)[1]
    write("d/utt2dur", "a-1 1\na-2 1\n")
    assert "3 of 3 failed" in tool("get_reco2dur.sh", "d", fails=True)[1]


def test_recordings_are_not_utterances_where_there_are_segments():
    make_segments()
    make_audio("x.wav", 20)
    write("d/wav.scp", "r1 x.wav\nr2 x.wav\n")
    write("d/frame_shift", "0.01\n")
    write("d/utt2num_frames", "".join(f"{u} 100\n" for u in ids("d/utt2spk")))
    tool("get_utt2dur.sh", "d")
    assert read("d/utt2dur").startswith("a-1 0.5\na-2 0.5\n")
    tool("get_reco2dur.sh", "d")
    assert read("d/reco2dur") == "r1 20\nr2 20\n"


def test_frames_are_counted_in_feats_scp(folder):
    kaldiio, numpy = pytest.importorskip("kaldiio"), pytest.importorskip("numpy")
    make_dir(speakers="a", utt2dur="1")
    frames = {"a-1": 150, "a-2": 20, "a-3": 90}
    matrices = {utterance: numpy.zeros((count, 2), numpy.float32) for utterance, count in frames.items()}
    kaldiio.save_ark("f.ark", matrices, scp="d/feats.scp")
    assert shortest(Path("d"), [b"a-1", b"a-2", b"a-3"], 2) == [b"a-2", b"a-3"]
    Path("d/wav.scp").unlink()
    Path("d/utt2dur").unlink()
    tool("get_utt2dur.sh", "d")
    assert read("d/utt2dur") == "a-1 1.515\na-2 0.215\na-3 0.915\n"


def test_segments_of_combined_recordings_reach_to_their_ends():
    make_segments()
    make_dir("d2", "ef", utt2num_frames="248")
    write("d2/frame_shift", "0.01\n")
    make_audio("x.wav", 2.5)
    write("d2/wav.scp", "".join(f"{u} x.wav\n" for u in ids("d2/utt2spk")))
    tool("combine_data.sh", "all", "d", "d2")
    assert "e-1 e-1 0 2.5\n" in read("all/segments")


def test_the_shortest_utterances():
    make_dir(speakers="a", utt2dur="2")
    utterances = [b"a-3", b"a-2", b"a-1"]
    assert shortest(Path("d"), utterances, 2) == [b"a-1", b"a-2"]
    write("d/utt2dur", "a-1 10\na-2 9\na-3 10\n")
    assert shortest(Path("d"), utterances, 2) == [b"a-2", b"a-1"]
    write("d/utt2num_frames", "a-1 3\na-2 4\n")
    with pytest.raises(UserError, match="no length of a-3"):
        shortest(Path("d"), utterances, 2)
    assert shortest(Path("d"), utterances[1:], 1) == [b"a-1"]


def test_utt2dur_of_segments_needs_no_audio():
    make_segments()
    tool("get_utt2dur.sh", "d")
    assert read("d/utt2dur").startswith("a-1 0.5\na-2 0.5\n") and len(ids("d/utt2dur")) == 9


def test_utt2dur_of_segments_up_to_the_end():
    make_segments()
    make_audio("x.wav", 20)
    write("d/wav.scp", "r1 x.wav\nr2 x.wav\n")
    write("d/segments", read("d/segments").replace(" 0.5\n", " -1\n"))
    tool("get_utt2dur.sh", "d")
    assert read("d/utt2dur").startswith("a-1 20\na-2 0.5\n")


def test_every_tool_passes_on_the_channel_of_a_segment():
    make_segments()
    write("d/segments", "".join(f"{line} {'01AB'[n % 4]}\n" for n, line in enumerate(read("d/segments").splitlines())))
    lines = read("d/segments").splitlines(True)
    tool("validate_data_dir.sh", "--no-text", "--no-feats", "d")
    write("d/segments", "".join(reversed(lines)))
    tool("fix_data_dir.sh", "d")
    assert read("d/segments") == "".join(lines)
    tool("copy_data_dir.sh", "--utt-suffix", "-x", "d", "copy")
    assert read("copy/segments").startswith("a-1-x r1 0 0.5 0\na-2-x r1 1 1.5 1\na-3-x r1 2 2.5 A\n")
    tool("combine_data.sh", "all", "d", "copy")
    assert sorted(read("all/segments").split("\n")[:-1]) == sorted([*read("d/segments").split("\n")[:-1],
                                                                   *read("copy/segments").split("\n")[:-1]])
    tool("subset_data_dir.sh", "--last", "d", 3, "e")
    assert read("e/segments") == "".join(lines[6:]) and read("e/wav.scp") == "r2 /y\n"
    tool("split_data.sh", "d", 3)
    assert read("d/split3/1/segments") == "".join(lines[:3]) and read("d/split3/1/wav.scp") == "r1 /x\n"
    tool("get_utt2dur.sh", "d")
    assert read("d/utt2dur") == "".join(f"{u} 0.5\n" for u in ids("d/utt2spk"))


def test_a_channel_that_is_none():
    make_segments()
    write("d/segments", read("d/segments").replace("0.5\n", "0.5 left\n", 1))
    for command in ("fix_data_dir.sh d", "get_utt2dur.sh d", "subset_data_dir.sh d 9 e", "split_data.sh d 2"):
        err = tool(*command.split(), fails=True)[1]
        assert "d/segments:1: expected a channel (0, 1, ... or A, B) as field 5, found 'left'" in err


def test_durations_name_what_fails():
    make_dir(speakers="a")
    make_audio("1.wav", 1)
    write("2.wav", "no audio")
    write("d/wav.scp", "a-1 1.wav\na-2 2.wav\na-3 false |\n")
    err = tool("get_utt2dur.sh", "d", fails=True)[1]
    assert "d/wav.scp: 2 of 3 failed" in err and "a-2:" in err and "2.wav" in err
    assert "a-3: command failed with status 1: false |" in err
    assert not Path("d/utt2dur").exists()
    assert "no such file none/utt2spk" in tool("get_utt2dur.sh", "none", fails=True)[1]


# ---- all of them ----

NAMES = sorted(
    path.name for path in UTILS.iterdir()
    if path.suffix in (".sh", ".pl") and "deepspeaker.datadir" in path.read_text() and path.name != "run.pl"
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_door_opens_from_anywhere(name, tmp_path):
    """By path, through links, by bash or perl, and as a bare name on PATH; --help tells the usage."""
    shell = "bash" if name.endswith(".sh") else "perl"
    link = ROOT / "egs" / "voxceleb" / "utils"
    env = {"PATH": f"{link}:{Path(sys.executable).parent}:/usr/bin:/bin"}
    for command in ([link / name], [shell, link / name], [name]):
        done = subprocess.run([*command, "--help"], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert done.stderr.startswith(f"usage: {name}")


def test_names_under_data():
    names = "validate_data_dir fix_data_dir copy_data_dir combine_data subset_data_dir split_data get_utt2dur"
    for name in (*names.split(), "get_reco2dur"):
        assert os.access(UTILS / "data" / f"{name}.sh", os.X_OK)
    assert os.access(UTILS / "data" / "extend_segment_times.py", os.X_OK)


def test_doors_start_quickly():
    """No door imports numpy, soundfile or the like before it needs them."""
    code = (
        "import sys; from deepspeaker.datadir import {}; "
        "print(sorted({{'numpy', 'torch', 'soundfile'}} & {{*sys.modules}}))"
    )
    for name in ("check", "fix", "split", "subset", "copy", "combine", "durations"):
        done = subprocess.run(
            [sys.executable, "-c", code.format(name)], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert done.stdout == "[]\n"


def test_full_disk_is_an_error():
    write("ids", "a\n")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(["utils/filter_scp.pl", "ids", "ids"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1 and b"No space left" in done.stderr


@pytest.mark.parametrize(
    "command",
    ["combine_data.sh old d", "copy_data_dir.sh d old", "subset_data_dir.sh d 1 old", "fix_data_dir.sh d"],
)
def test_a_write_that_fails_changes_no_directory(command):
    """A limit on file sizes stands for a full disk: the second file to be written is too large."""
    make_dir("d")
    make_dir("old")
    write("d/wav.scp", "".join(f"{u} {'x' * 5000}\n" for u in reversed(ids("d/utt2spk"))))
    before = snapshot("old") | snapshot("d")
    done = subprocess.run(["bash", "-c", f"ulimit -f 4; utils/{command}"], capture_output=True, text=True)
    assert done.returncode == 1 and "File too large" in done.stderr, done.stderr
    after = snapshot(".")
    assert {path: after[path] for path in before} == before
    assert all(".backup" in path.parts for path in after.keys() - before.keys())


def test_a_corpus_script_of_the_usual_kind():
    """Perl that makes the files, then the tools in the order such scripts call them."""
    make_audio("db/s1/1.wav", 1)
    make_audio("db/s1/2.wav", 2)
    make_audio("db/s2/1.wav", 3)
    write(
        "prepare.sh",
        r"""set -e -o pipefail
export LC_ALL=C
. utils/parse_options.sh
mkdir -p data/all
find db -name '*.wav' | perl -ne 'm:/(\S+)/(\d+).wav: || die; chomp; print "$1-$2 $_\n";' > data/all/wav.scp
awk '{print $1}' data/all/wav.scp | perl -ne 'chomp; $u = $_; s/-.*//; print "$u $_\n"' > data/all/utt2spk
utils/fix_data_dir.sh data/all
utils/utt2spk_to_spk2utt.pl data/all/utt2spk > data/all/spk2utt || exit 1
utils/validate_data_dir.sh --no-text --no-feats data/all || exit 1
utils/data/get_utt2dur.sh data/all
utils/subset_data_dir.sh --first data/all 2 data/first
utils/copy_data_dir.sh --utt-suffix "-x" data/first data/copy
utils/combine_data.sh data/both data/first data/copy
cat data/both/utt2spk | utils/filter_scp.pl -f 2 <(echo s1) | cut -d' ' -f1 | sort > s1.list
""",
    )
    done = subprocess.run(["bash", "prepare.sh"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert read("s1.list") == "s1-1\ns1-1-x\ns1-2\ns1-2-x\n"
    assert read("data/both/utt2dur") == "s1-1 1\ns1-1-x 1\ns1-2 2\ns1-2-x 2\n"
