"""local/kaldi.py on data directories as Kaldi recipes leave them: what it copies, and what it refuses."""

import re

import pytest
from conftest import ROOT
from corpora import BOM, FEW, contents, lay_out, names, of_speakers, prepare, speakers

from deepspeaker.datadir import read_table
from deepspeaker.datadir.trials import read_trials


def kaldi(root, name="train", several=FEW, entry="{root}/../wav/{speaker}/{number}.wav"):
    """ROOT/NAME as a Kaldi recipe leaves it, features and all."""
    lay_out(root.parent / "wav", *of_speakers(several))
    folder = root / name
    folder.mkdir(parents=True)
    ids = [(f"{speaker}-{number}", speaker, number) for speaker in several for number in (0, 1)]
    tables = {"wav.scp": [f"{u} {entry.format(root=root, speaker=s, number=n)}" for u, s, n in ids],
              "utt2spk": [f"{u} {s}" for u, s, _ in ids], "text": [f"{u} HELLO" for u, _, _ in ids],
              "spk2gender": [f"{s} {'mf'[int(s[-1]) % 2]}" for s in several],
              "feats.scp": [f"{u} /nowhere/feats.ark:1" for u, _, _ in ids], "frame_shift": ["0.01"],
              "utt2num_frames": [f"{u} 10" for u, _, _ in ids], "cmvn.scp": [f"{s} /nowhere:1" for s in several]}
    for file, rows in tables.items():
        (folder / file).write_text("".join(f"{row}\n" for row in rows))
    return folder


def test_kaldi_directories_are_copied_without_features(tmp_path):
    root, data = tmp_path / "egs/s5/data", tmp_path / "data"
    kaldi(root)
    kaldi(root, "test_a", ["id90", "id91", "id92"])
    kaldi(root, "dev", ["id80", "id82"])
    (root / "test_a/trials").write_text("id90-0 id90-1 target\nid90-0 id91-1 nontarget\n")
    (root / "test_a/trials_easy").write_bytes(BOM + b"id90-0 id90-1 target\r\n")
    before = contents(root)
    prepare("kaldi", root, data)
    assert names(data) == [".corpus", "dev", "test_a", "train"] and contents(root) == before
    assert names(data / "train") == ["spk2gender", "spk2utt", "text", "utt2spk", "wav.scp"]
    assert names(data / "test_a") == sorted([*names(data / "train"), "trials", "trials_easy"])
    for name in ("trials", "utt2spk", "text", "spk2gender", "wav.scp"):
        assert (data / "test_a" / name).read_bytes() == (root / "test_a" / name).read_bytes()
    assert (data / "test_a/trials_easy").read_text() == "id90-0 id90-1 target\n"
    assert len(read_trials(data / "dev/trials")) == 4


@pytest.mark.parametrize("base", ["", "data/", "data/train/"])
def test_kaldi_relative_paths_are_those_of_the_recipe(tmp_path, base):
    recipe = tmp_path / "egs/s 5"
    kaldi(recipe / "data", entry="wav/{speaker}/{number}.wav")
    if base:
        (recipe / "wav").rename(recipe / base / "wav")
    prepare("kaldi", recipe / "data", tmp_path / "data")
    found = {**read_table(tmp_path / "data/train/wav.scp"), **read_table(tmp_path / "data/test/wav.scp")}
    assert found == {f"{speaker}-{n}": f"{recipe}/{base}wav/{speaker}/{n}.wav" for speaker in FEW for n in (0, 1)}


def test_kaldi_commands_find_their_relative_files(tmp_path, call):
    from deepspeaker.audio import read_audio

    recipe = tmp_path / "egs/s 5"
    folder = kaldi(recipe / "data", entry="cat wav/{speaker}/{number}.wav | cat |")
    with (folder / "wav.scp").open("a") as file:
        file.write("x-1 cat /nowhere/x.wav |\n")
    with (folder / "utt2spk").open("a") as file:
        file.write("x-1 x\n")
    with (folder / "text").open("a") as file:
        file.write("x-1 A\n")
    with (folder / "spk2gender").open("a") as file:
        file.write("x m\n")
    done = call(ROOT / "local/kaldi.py", recipe / "data", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    wav = {**read_table(tmp_path / "data/train/wav.scp"), **read_table(tmp_path / "data/test/wav.scp")}
    assert wav["x-1"] == "cat /nowhere/x.wav |"
    assert read_audio(wav["id3-1"], 16000).samples.size == 1600


def test_kaldi_segments_go_with_the_speakers_held_out(tmp_path):
    root, data = tmp_path / "egs/data", tmp_path / "data"
    folder = kaldi(root)
    (folder / "wav.scp").write_text("".join(f"rec-{s} {root.parent}/wav/{s}/0.wav\n" for s in FEW))
    (folder / "segments").write_text("".join(f"{s}-{n} rec-{s} 0.0{n} 0.1\n" for s in FEW for n in (0, 1)))
    (folder / "text").unlink()
    prepare("kaldi", root, data)
    test = speakers(data / "test")
    assert len(test) == 5 and set(read_table(data / "test/wav.scp")) == {f"rec-{speaker}" for speaker in test}
    assert {line.split()[0] for line in read_table(data / "test/segments").values()} == {f"rec-{s}" for s in test}
    genders = read_table(data / "test/spk2gender")
    assert all(genders[a[:3]] == genders[b[:3]] for a, b, _ in read_trials(data / "test/trials"))


def test_kaldi_directories_are_fixed(tmp_path):
    root, data = tmp_path / "egs/data", tmp_path / "data"
    folder = kaldi(root)
    for name in ("utt2spk", "wav.scp", "text"):
        rows = (folder / name).read_text().splitlines()
        (folder / name).write_bytes(BOM + "".join(f"{row}\r\n" for row in [*rows[::-1], rows[0]]).encode())
    with (folder / "utt2spk").open("a") as file:
        file.write("lost-1 lost\n")
    prepare("kaldi", root, data, "--seed", "4")
    found = {**read_table(data / "train/utt2spk"), **read_table(data / "test/utt2spk")}
    assert found == {f"{s}-{n}": s for s in FEW for n in (0, 1)}


def test_kaldi_ids_with_slashes_and_models(tmp_path):
    root, data = tmp_path / "egs/data", tmp_path / "data"
    folder = kaldi(root, "test", ["a/b0", "ç1"])
    (folder / "enroll").write_bytes("m/ç ç1-0 ç1-1\r\nm/a a/b0-0\r\n".encode())
    (folder / "trials").write_text("m/a a/b0-1 target\nm/ç a/b0-1 nontarget\n")
    prepare("kaldi", root, data)
    assert names(data) == [".corpus", "test"]
    assert (data / "test/enroll").read_text() == "m/a a/b0-0\nm/ç ç1-0 ç1-1\n"
    assert read_trials(data / "test/trials")[1] == ("m/ç", "a/b0-1", False)


@pytest.mark.parametrize(("file", "text", "message"), [
    ("wav.scp", "id0-0 a/b.wav\n", r"train/wav.scp:1: no file a/b.wav in .*/egs, .*/egs/data, .*/egs/data/train; make"),
    ("wav.scp", "id0-0\n", "train/wav.scp:1: expected 'key value', found 'id0-0'"),
    ("wav.scp", None, "train/wav.scp is missing or empty"), ("utt2spk", None, "train/utt2spk is missing or empty"),
    ("utt2spk", "id0-0 id0\nid0-1\n", "train/utt2spk:2: expected 2 fields"),
    ("utt2spk", "x0 a\nx1 b\nx2 a\n", "no utterances remained in"),
    ("segments", "id0-0 id0-0 0.5 0.2\n", "badly formatted segments file .*train/segments:1"),
    ("spk2gender", "id0 male\n", "Mal-formed spk2gender file.*train/spk2gender:1"),
    ("enroll", "m id0-0\n", "enroll: models, but no trials of them"),
    ("trials", "id0-0 id0-1\n", "train/trials:1: expected 'id1 id2 target.nontarget'")])
def test_kaldi_refuses_in_one_line(tmp_path, file, text, message):
    path = kaldi(tmp_path / "egs/data") / file
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    assert re.search(message, prepare("kaldi", tmp_path / "egs/data", tmp_path / "data", fails=True))
    assert not (tmp_path / "data/train").exists()


def test_kaldi_refuses_its_own_output_and_an_empty_root(tmp_path):
    root = tmp_path / "egs/data"
    kaldi(root)
    before = contents(root)
    assert "is both ROOT and DATA" in prepare("kaldi", root, root, fails=True) and contents(root) == before
    assert "holds no data directories" in prepare("kaldi", root / "train", tmp_path / "data", fails=True)
