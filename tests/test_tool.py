"""The command: decisions, enrolment, many files, and bad input in a sentence."""

import io
import json
import os
import pickle
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import soxr
import torch
from conftest import RATE, ROOT, environment, noise, write_wav
from sounds import encode
from tools import bad_sounds, model_file, voice

import deepspeaker
from deepspeaker.datadir.archive import read_vectors
from deepspeaker.errors import UserError
from deepspeaker.inference import bulk, commands
from deepspeaker.inference.cli import main

ENVIRONMENT = environment(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with model.pt and sound files; other.pt has other weights."""
    folder = tmp_path_factory.mktemp("tool")
    model_file(folder / "model.pt")
    model_file(folder / "other.pt", seed=1)
    for name, speaker, utterance in (("a", 1, 0), ("b", 2, 0), ("c", 3, 0)):
        write_wav(folder / f"{name}.wav", voice(speaker, utterance))
    soundfile.write(folder / "a.flac", voice(1), RATE)
    return folder


@pytest.fixture
def tool(place, monkeypatch, capsys):
    """Run a subcommand in the folder; returns status, JSON or None, standard error."""
    monkeypatch.chdir(place)

    def run(*words: object) -> tuple[int, dict | None, str]:
        capsys.readouterr()
        status = main([*map(str, words), "--json"])
        printed = capsys.readouterr()
        return status, json.loads(printed.out) if printed.out else None, printed.err

    return run


def test_verify(tool):
    status, found, _ = tool("verify", "model.pt", "a.wav", "a.flac")
    assert status == 0 and found["verdicts"][0]["same"] and found["verdicts"][0]["llr"] > found["threshold"]
    status, found, _ = tool("verify", "model.pt", "a.wav", "a.flac", "b.wav")
    assert status == 1 and [v["same"] for v in found["verdicts"]] == [True, False]
    trust = found["trust"]
    assert trust["seconds"] == 3 and 2 < trust["speech"] <= 3 and trust["clipped"] == 0 and not trust["warnings"]
    samples = voice(1)
    assert trust["level"] == pytest.approx(10 * np.log10((samples ** 2).mean()), abs=2)


def test_prior_and_costs_decide(tool):
    def limit(*options):
        return tool("verify", "model.pt", "a.wav", "b.wav", *options)[1]["threshold"]

    assert limit() == limit("--prior", 0.01) == pytest.approx(np.log(99))
    assert limit("--prior", 0.5) == 0 and limit("--prior", 0.5, "--cost-miss", 10) == pytest.approx(-np.log(10))
    assert limit("--prior", 0.5, "--cost-fa", 10) == pytest.approx(np.log(10))
    assert tool("verify", "model.pt", "a.wav", "a.wav", "--prior", 1e-6)[0] == 1


def test_what_the_development_set_cannot_support(tool, place, capsys):
    """Ratios lie between -2 and 5: at prior 0.001 nothing is accepted, at 0.999 everything, and both are said."""
    model_file(place / "bounded.pt", calibration={"cosine": {
        "prior": 0.01, "offset": -1e6 + 10, "weights": {"score": 1e6}, "ranges": {}, "bounds": [-2.0, 5.0]}})
    for prior, words, status in (("0.001", "nothing is accepted", 1), ("0.999", "everything is accepted", 0),
                                 ("0.01", "", None)):
        for other in ("a.flac", "b.wav"):
            found = tool("verify", "bounded.pt", "a.wav", other, "--prior", prior)
            assert found[1]["supported"] == (not words) and status in (None, found[0])
            assert -2 <= found[1]["verdicts"][0]["llr"] <= 5
        main(["verify", "bounded.pt", "a.wav", "a.flac", "--prior", prior])
        said = f"cannot support a decision at prior {prior}: {words}; log-likelihood ratios lie between -2.00 and +5.00"
        assert (said in capsys.readouterr().out) == bool(words)
    tool("enroll", "bounded.pt", "bounded.db", "Ann", "a.wav")
    status, found, _ = tool("identify", "bounded.pt", "bounded.db", "a.flac", "--prior", "0.001")
    assert (status, found["speaker"], found["supported"]) == (1, None, False)
    model = deepspeaker.load(place / "bounded.pt")
    assert model.bounds == (-2, 5) and not model.verify(place / "a.wav", place / "a.flac", prior=0.001).supported
    assert deepspeaker.load(place / "model.pt").supports(1e9)  # files of earlier versions have no bounds


def test_speakers_enrolled_before_their_sound_was_measured(tool, place):
    """A calibration that needs the signal-to-noise ratio asks for new recordings; one that does not, does not."""
    weights = {"score": 5.0, "snr_smaller": 0.1, "snr_larger": 0.0, "score*snr_smaller": 0.1, "score*snr_larger": 0.0}
    calibration = {"prior": 0.01, "offset": 0.0, "weights": weights,
                   "ranges": {"snr_smaller": (0, 50), "snr_larger": (0, 50)}}
    model_file(place / "snr.pt", calibration={"cosine": calibration})
    tool("enroll", "snr.pt", "snr.db", "Ann", "a.wav")
    status, found, _ = tool("identify", "snr.pt", "snr.db", "a.flac")
    assert status == 0 and found["best"][0]["llr"] > np.log(99)
    with closing(sqlite3.connect(place / "snr.db")) as file, file:
        file.execute("UPDATE recording SET quality = NULL")
    status, found, _ = tool("identify", "snr.pt", "snr.db", "a.flac")
    assert status == 2 and "its calibration needs the snr of each recording" in found["error"]
    assert tool("identify", "model.pt", "snr.db", "a.flac")[0] == 0


def test_warnings_of_what_is_short_clipped_or_quiet(tool, place):
    write_wav(place / "short.wav", voice(1, seconds=1.2))
    write_wav(place / "clipped.wav", (8 * voice(1)).clip(-1, 1))
    write_wav(place / "quiet.wav", 0.005 * voice(1))
    _, found, _ = tool("verify", "model.pt", "a.wav", "short.wav", "clipped.wav", "quiet.wav")
    for verdict, word in zip(found["verdicts"], ("of speech", "clipped", "quiet"), strict=True):
        assert any(word in warning for warning in verdict["trust"]["warnings"])


def test_what_was_done_to_the_sound_is_told(tool, place, capsys):
    """A call with another speaker on each channel, the same on both, and telephone speech on a model of 16 kHz."""
    call = [np.stack(pair, 1) for pair in ((voice(1), voice(2)), (voice(1), voice(1)))]
    for name, samples in zip(("call", "both"), call, strict=True):
        write_wav(place / f"{name}.wav", samples)
    soundfile.write(place / "phone.wav", soxr.resample(voice(1), RATE, 8000), 8000)
    _, found, _ = tool("verify", "model.pt", "a.wav", "call.wav", "both.wav", "phone.wav")
    mixed, alike, phone = (verdict["trust"] for verdict in found["verdicts"])
    assert mixed["mixed"] == 2 and "2 different channels were mixed" in mixed["warnings"][0]
    assert not alike["warnings"] and (alike["mixed"], alike["rate"], alike["upsampled"]) == (0, RATE, False)
    assert (phone["rate"], phone["upsampled"]) == (8000, True) and "8000 Hz" in phone["warnings"][0]
    main(["verify", "model.pt", "a.wav", "phone.wav"])
    assert "    warning: a sampling rate of 8000 Hz, lower than the model's" in capsys.readouterr().out


def test_one_channel_of_several(tool, place):
    write_wav(place / "call.wav", np.stack([voice(1), voice(2)], 1))
    alone = {name: tool("verify", "model.pt", "a.wav", name)[1]["verdicts"][0] for name in ("a.wav", "b.wav")}
    for channel, name in ((0, "a.wav"), (1, "b.wav")):
        _, found, _ = tool("verify", "model.pt", "a.wav", "call.wav", "--channel", channel)
        assert found["verdicts"][0]["score"] == pytest.approx(alone[name]["score"], abs=1e-6)
        assert not found["verdicts"][0]["trust"]["warnings"]
        tool("enroll", "model.pt", "channels.db", f"speaker {channel}", "call.wav", "--channel", channel)
        tool("embed", "model.pt", "call.wav", name, "--channel", channel, "-o", "both.npy")
        np.testing.assert_allclose(*np.load(place / "both.npy"), atol=1e-6)
    assert tool("identify", "model.pt", "channels.db", "b.wav")[1]["best"][0]["name"] == "speaker 1"
    assert tool("identify", "model.pt", "channels.db", "call.wav", "--channel", 0)[1]["best"][0]["name"] == "speaker 0"
    status, found, _ = tool("verify", "model.pt", "a.wav", "call.wav", "--channel", 2)
    assert status == 2 and "channel 2 was asked for of call.wav, which has channels 0 to 1" in found["error"]


def test_a_reader_that_leaves_early_does_not_change_the_status(place):
    command = f"{sys.executable} -u -m deepspeaker verify model.pt a.wav a.flac 2>&1 | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=place, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.stdout.splitlines()[1:] == ["0"]


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.m4a"])
def test_standard_input(tool, place, monkeypatch, name):
    encode(place / "a.m4a", voice(1), "aac")
    expected = tool("verify", "model.pt", "a.wav", name)[1]["verdicts"][0]["score"]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO((place / name).read_bytes())))
    assert tool("verify", "model.pt", "a.wav", "-")[1]["verdicts"][0]["score"] == expected
    assert tool("verify", "model.pt", "-", "-")[0] == 2


def test_enroll_list_identify(tool, place):
    assert tool("enroll", "model.pt", "people.db", "Ann Ö.", "a.wav")[1]["recordings"] == 1
    assert tool("enroll", "model.pt", "people.db", "Bob", "b.wav")[0] == 0
    _, found, _ = tool("list", "model.pt", "people.db")
    assert [s["name"] for s in found["speakers"]] == ["Ann Ö.", "Bob"]
    status, found, _ = tool("identify", "model.pt", "people.db", "a.flac", "--top", 1)
    assert status == 0 and found["speaker"] == "Ann Ö." and len(found["best"]) == 1
    status, found, _ = tool("identify", "model.pt", "people.db", "c.wav")
    assert status == 1 and found["speaker"] is None and len(found["best"]) == 2
    assert tool("enroll", "model.pt", "people.db", "Bob", "c.wav", "b.wav")[1]["recordings"] == 3
    status, _, error = tool("identify", "other.pt", "people.db", "a.wav")
    assert status == 2 and "was enrolled with another model" in error
    assert sorted(p.name for p in place.glob("people.db*")) == ["people.db"]


def test_remove_and_rename(tool, place):
    for name, wav in (("Ann", "a.wav"), ("Bob", "b.wav"), ("Bob", "a.wav")):
        tool("enroll", "model.pt", "gone.db", name, wav)
    before = tool("list", "model.pt", "gone.db")[1]["speakers"]
    status, found, _ = tool("rename", "model.pt", "gone.db", "Bob", "Robert")
    assert status == 0 and found == {**before[1], "name": "Robert", "old": "Bob"}
    status, found, _ = tool("remove", "model.pt", "gone.db", "Ann")
    assert status == 0 and found == before[0]
    assert tool("list", "model.pt", "gone.db")[1]["speakers"] == [{**before[1], "name": "Robert"}]
    for words, reason in ((["remove", "model.pt", "gone.db", "Ann"], "nobody is enrolled as 'Ann'"),
                          (["rename", "model.pt", "gone.db", "Ann", "X"], "nobody is enrolled as 'Ann'"),
                          (["rename", "model.pt", "gone.db", "Robert", "a/b"], "cannot be used"),
                          (["remove", "model.pt", "none.db", "Ann"], "no such file"),
                          (["remove", "other.pt", "gone.db", "Robert"], "was enrolled with another model")):
        status, found, error = tool(*words)
        assert status == 2 and reason in found["error"] and error == f"deepspeaker: {found['error']}\n"
    assert not (place / "none.db").exists() and len(tool("list", "model.pt", "gone.db")[1]["speakers"]) == 1
    assert main(["remove", "model.pt", "gone.db", "Robert"]) == 0
    assert "nobody is enrolled" in tool("identify", "model.pt", "gone.db", "a.wav")[2]


def test_embed(tool, place):
    files = ["a.wav", "b.wav", "a.flac"]
    status, found, _ = tool("embed", "model.pt", *files, "-o", "out.npy")
    assert status == 0 and found["embedded"] == 3
    model = deepspeaker.load(place / "model.pt")
    rows = np.load(place / "out.npy")
    for row, name in zip(rows, files, strict=True):
        np.testing.assert_allclose(row, model.embed(*soundfile.read(place / name, dtype="float32")), atol=1e-5)
    (place / "text.wav").write_text("this is no sound")
    status, found, error = tool("embed", "model.pt", "a.wav", "text.wav", "b.wav", "-o", "out.npy")
    assert status == 2 and list(found["failed"]) == ["text.wav"] and "text.wav is not audio" in error
    assert np.isnan(np.load(place / "out.npy")).all(1).tolist() == [False, True, False]
    assert tool("embed", "model.pt", "a.wav", "b.wav", "-o", "out.scp")[0] == 0
    np.testing.assert_allclose(read_vectors(place / "out.scp")["b"], rows[1], atol=1e-6)


class Hostile:
    def __reduce__(self):
        return os.system, ("touch ran",)


BAD = {"silence.wav": "no speech found in 3.0 s: silence", "short.wav": "0.2 s of speech found",
       "noise.wav": "no speech found", "music.wav": "no speech found", "hours.wav": "longer than 30 minutes",
       "loud.wav": "expected samples within -1..1", "text.wav": "not audio",
       "nowhere.wav": "no such file", "../nowhere.wav": "no such file",
       "it's \"😀\".wav": "no such file", ".": "not a file", "empty.wav": "is empty",
       "touch ran |": "commands are not run"}


@pytest.fixture
def bad(place):
    bad_sounds(place)
    if not (place / "hours.wav").exists():
        with soundfile.SoundFile(place / "hours.wav", "w", 8000, 1, "PCM_U8") as file:
            for _ in range(120):
                file.write(np.zeros(60 * 8000, np.float32))


@pytest.mark.parametrize("name, reason", BAD.items())
def test_bad_sound(tool, bad, place, name, reason):
    tool("enroll", "model.pt", "good.db", "Ann", "a.wav")
    for words in (["verify", "model.pt", "a.wav", name], ["enroll", "model.pt", "bad.db", "Ann", name],
                  ["identify", "model.pt", "good.db", name], ["embed", "model.pt", name, "-o", "bad.npy"]):
        status, found, error = tool(*words)
        assert status == 2 and "Traceback" not in error
        assert name in error and reason in error, error
        told = found["failed"][name] if words[0] == "embed" else found["error"]
        assert name in told and reason in told and found["error"] in error
    assert not any((place / made).exists() for made in ("bad.db", "bad.npy", "ran"))


@pytest.mark.parametrize("name", ['x"; DROP TABLE recording', "😀", "../etc", "", "a\nb", "x" * 101])
def test_bad_name(tool, place, name):
    status, _, error = tool("enroll", "model.pt", "bad.db", name, "a.wav")
    assert status == 2 and "the name" in error and "cannot be used" in error
    assert not (place / "bad.db").exists()


def test_embed_takes_any_sound_but_silence_where_told_to(tool, bad, place):
    sounds = ["noise.wav", "music.wav"]
    status, found, error = tool("embed", "model.pt", *sounds, "silence.wav", "--any-sound", "-o", "any.npy")
    assert status == 2 and list(found["failed"]) == ["silence.wav"] and "silence" in error
    model = deepspeaker.load(place / "model.pt")
    rows = np.load(place / "any.npy")
    assert np.isnan(rows).all(1).tolist() == [False, False, True]
    for row, name in zip(rows[:2], sounds, strict=True):
        np.testing.assert_allclose(row, model.embed(*soundfile.read(place / name, dtype="float32")), atol=1e-5)


def test_a_name_that_is_not_utf8(tool, place):
    name = os.fsdecode(b"\xff.wav")
    os.link(place / "a.wav", place / name)
    for words in (["verify", "model.pt", "a.wav", name], ["embed", "model.pt", name, "-o", "odd.scp"],
                  ["list", "model.pt", name]):
        status, _, error = tool(*words)
        assert status == 2 and "expected a name in UTF-8" in error


def test_closed_and_full_streams(tool, place, call):
    words = f"{sys.executable} -m deepspeaker verify {place}/model.pt {place}/a.wav"
    for end, status, reason in (("- <&-", 2, "standard input is empty"),
                                (f"{place}/b.wav >&-", 1, ""), (f"{place}/b.wav >/dev/full", 2, "No space left"),
                                (f"{place}/b.wav --json >/dev/full", 2, "No space left")):
        done = call("bash", "-c", f"{words} {end}")
        assert done.returncode == status and reason in done.stderr and "defect" not in done.stderr, done.stderr
        assert "Traceback" not in done.stderr


def test_a_full_disk_leaves_nothing_half(tool, place):
    tool("enroll", "model.pt", "full.db", "Ann", "a.wav")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        statuses = [tool(*words)[0] for words in (["embed", "model.pt", *["a.wav"] * 300, "-o", "full.npy"],
                                                  ["enroll", "model.pt", "full.db", "Bob", *["b.wav"] * 20])]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert statuses == [2, 2] and not [*place.glob("*full.npy*")]
    assert [s["name"] for s in tool("list", "model.pt", "full.db")[1]["speakers"]] == ["Ann"]


def test_devices(tool):
    for device in ("nix", "meta", "cuda:99", ""):
        status, _, error = tool("verify", "model.pt", "a.wav", "b.wav", "--device", device)
        assert status == 2 and f"device {device!r} cannot be used" in error


def doctored(place) -> dict[str, tuple[dict, str]]:
    """Name -> what is another in a model file, and what is said of it."""
    content = torch.load(place / "model.pt")
    weights, scoring = content["model"], content["config"]["scoring"]

    def scores_with(**weights):
        return {"calibration": {"cosine": {"prior": 0.01, "offset": 0.0, "weights": weights}}}

    def back_ends(*names):
        return {"config": {**content["config"], "scoring": {**scoring, "backends": list(names)}}}

    return {"nan": ({"model": {name: (value * float("nan")).to(value.dtype) for name, value in weights.items()}},
                    "not finite"),
            "half": ({"model": {name: value.half() for name, value in weights.items()}}, "is torch.float16"),
            "few": ({"model": dict(list(weights.items())[1:])}, "Missing key"),
            "odd1": (scores_with(score=float("nan")), "not finite"),
            "odd2": (scores_with(score="x"), "string to float"),
            "odd3": ({"calibration": []}, "not of the expected kind"),
            "odd4": (back_ends(), "backends: expected a list of at least 1, found []"),
            "odd5": (back_ends("asnorm"), "its back-end asnorm needs cohort"),
            "odd6": (scores_with(score=1.0, nix_smaller=1.0), "no quality 'nix'")}


def test_doctored_models(tool, place):
    for name, (changes, reason) in doctored(place).items():
        torch.save({**torch.load(place / "model.pt"), **changes}, place / f"{name}.pt")
        status, _, error = tool("verify", f"{name}.pt", "a.wav", "b.wav")
        assert status == 2 and reason in error and f"{name}.pt" in error and error.count("\n") == 1, error
        assert "defect" not in error


def test_bad_model_and_database(tool, place):
    whole = (place / "model.pt").read_bytes()
    (place / "cut.pt").write_bytes(whole[:len(whole) // 2])
    with zipfile.ZipFile(place / "model.pt") as archive:  # between its members lies what nothing depends on
        weights = archive.read(max(archive.infolist(), key=lambda member: member.file_size))
    flipped = bytes([weights[0] ^ 1]) + weights[1:]
    (place / "flipped.pt").write_bytes(whole.replace(weights, flipped))
    (place / "hostile.pt").write_bytes(pickle.dumps({"config": Hostile(), "model": 1}))
    torch.save({"config": Hostile(), "model": {}}, place / "hostile2.pt")
    torch.save({"config": {}, "model": {}}, place / "none.pt")
    torch.save({"config": [], "model": {}}, place / "list.pt")
    torch.save({**torch.load(place / "model.pt"), "calibration": {"cosine": {"prior": 1}}}, place / "odd.pt")
    (place / "text.db").write_text("this is no database, it is only named like one")
    with sqlite3.connect(place / "foreign.db") as foreign:
        foreign.execute("CREATE TABLE t (x)")
    for model, reason in (("cut.pt", "damaged"), ("flipped.pt", "checksum"), ("hostile.pt", "damaged"),
                          ("hostile2.pt", "damaged"), ("none.pt", "missing"), ("list.pt", "not a checkpoint"),
                          ("a.wav", "damaged"), ("odd.pt", "not of the expected kind"),
                          ("nix.pt", "no such checkpoint"), ("model.final", "has no calibration of cosine")):
        status, _, error = tool("verify", model, "a.wav", "b.wav")
        assert status == 2 and reason in error and error.count("\n") == 1, error
    assert not (place / "ran").exists()
    for name, reason in (("nix.db", "no such file"), ("text.db", "not a database"), ("foreign.db", "not a database")):
        status, _, error = tool("list", "model.pt", name)
        assert status == 2 and reason in error and error.count("\n") == 1, error
    assert not (place / "nix.db").exists()
    for words in (["--prior", 0], ["--prior", 1], ["--prior", 2], ["--cost-miss", 0], ["--cost-fa", 0],
                  ["--cost-fa", -1], ["--cost-miss", "inf"], ["--cost-fa", "inf"]):
        assert tool("verify", "model.pt", "a.wav", "b.wav", *words)[0] == 2


NAN = "CAST(x'0000C07F' || substr(embedding, 5) AS BLOB)"


@pytest.mark.parametrize("change", ["embedding = x'0102'", "embedding = 'text'", "embedding = 7", f"embedding = {NAN}",
                                    "name = x'FF'"])
def test_damaged_rows_of_a_database(tool, tmp_path, change):
    path = tmp_path / "rows.db"
    tool("enroll", "model.pt", path, "Ann", "a.wav")
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(f"UPDATE recording SET {change}")
    status, found, error = tool("identify", "model.pt", path, "a.wav")
    assert status == 2 and set(found) == {"error"} and error.count("\n") == 1, error
    assert "rows.db: not a usable database of enrolled speakers" in error, error
    if change.startswith("name"):
        assert tool("list", "model.pt", path)[1]["error"].endswith("a recording of b'\\xff' is damaged")


def test_files_are_embedded_a_few_at_once_the_largest_first(tmp_path):
    seen, threads = [], torch.get_num_threads()
    sizes = [10, 3_000_000, 999_990, 20, 5_000_000, *range(100, 130)]
    files = [str(tmp_path / str(n)) for n in range(len(sizes))]
    for file, size in zip(files, sizes, strict=True):
        with open(file, "wb") as made:
            made.truncate(size)

    def embed_files(paths, any_sound, channel):
        seen.append(([sizes[files.index(path)] for path in paths], any_sound))
        return [f"of {path}" for path in paths]

    found = dict(bulk.embed_all(SimpleNamespace(embed_files=embed_files), files, True))
    assert found == {n: f"of {file}" for n, file in enumerate(files)} and torch.get_num_threads() == threads
    assert sorted(seen, reverse=True) == [([5_000_000], True), ([3_000_000, 999_990], True), (
        [*range(129, 113, -1)], True), ([*range(113, 99, -1), 20, 10], True)]


def test_ids_of_files():
    assert bulk.ids(["x/a b.wav", "c.flac"]) == ["a_b", "c"]
    assert bulk.ids(["x/a.wav", "y/a.wav"]) == ["x/a.wav", "y/a.wav"]
    for files in (["a.wav", "a.wav"], ["a b.wav", "a_b.wav", "x/a b.wav", "x/a_b.wav"], [" .wav", " "]):
        with pytest.raises(UserError, match="an id for each file"):
            bulk.ids(files)


def test_embed_checks_what_it_shall_write_before_any_work(tool, place):
    (place / "folder.scp").mkdir(exist_ok=True)
    for words, reason in ((["a.wav", "-o", "folder.scp"], "found a folder"),
                          (["a.wav", "a.wav", "-o", "twice.scp"], "an id for each file"),
                          (["a.wav", "-o", "o\nl.scp"], r"o\nl.scp: the name has characters that an .scp")):
        status, _, error = tool("embed", "no-model-is-read.pt", *words)
        assert status == 2 and reason in error and error.count("\n") == 1, error
    assert not [*place.glob("folder.ark"), *place.glob("twice.*"), *place.glob("o*l.*")]


def listing(place, name: str, text: str | bytes) -> str:
    (place / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def test_embed_takes_a_list(tool, place, monkeypatch):
    tool("embed", "model.pt", "a.wav", "nix.wav", "b.wav", "-o", "words.npy")
    expected = np.load(place / "words.npy")
    write_wav(place / "with blanks/b b.wav", voice(2))
    text = "\ufeffa.wav\r\n\n  nix.wav\nwith blanks/b b.wav \n"
    status, found, error = tool("embed", "model.pt", "--list", listing(place, "some.txt", text), "-o", "list.npy")
    assert status == 2 and found["failed"] == {"nix.wav": "nix.wav: no such file"}
    np.testing.assert_array_equal(np.load(place / "list.npy"), expected)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    assert tool("embed", "-o", "list.scp", "--list=-", "model.pt")[1]["embedded"] == 2
    found = read_vectors(place / "list.scp")
    np.testing.assert_array_equal([found["a"], found["b_b"]], expected[[0, 2]])


def test_embed_takes_a_wav_scp(tool, place):
    text = "utt-é\tb.wav\nutt-1  a.wav\ncommand touch ran |\nmissing nix.wav\nlike-the-first a.wav\n"
    status, found, error = tool("embed", "model.pt", "-o", "ids.scp", "--scp", listing(place, "wav.scp", text))
    assert status == 2 and found["embedded"] == 3 and list(found["failed"]) == ["command", "missing"]
    assert "commands are not run" in found["failed"]["command"] and not (place / "ran").exists()
    assert "missing: nix.wav: no such file\n" in error
    found = read_vectors(place / "ids.scp")
    tool("embed", "model.pt", "a.wav", "b.wav", "-o", "words.npy")
    expected = np.load(place / "words.npy")
    assert list(found) == ["like-the-first", "utt-1", "utt-é"]
    np.testing.assert_allclose(list(found.values()), expected[[0, 0, 1]], atol=1e-6)


@pytest.mark.parametrize("option, text, reason", [
    ("--list", "", "l.txt: expected a list of sound files, found nothing"), ("--scp", "\n \n", "found nothing"),
    ("--list", b"a.wav\n\xff.wav\n", "l.txt:2: not UTF-8 text"), ("--list", b"RIFF\0\0", "l.txt:1: not UTF-8 text"),
    ("--scp", b"a a.wav\nb \xff\n", "l.txt:2: not UTF-8 text"),
    ("--scp", "a a.wav\nb\n", "l.txt:2: expected 'ID PATH', found 'b'"),
    ("--scp", "a a.wav\nb b.wav\na c.wav", "l.txt:3: a stands here for the second time"),
    ("--list", "a.wav\na.wav\n", "an id for each file"), ("--list", None, "no such file l.txt"),
    ("--scp", None, "no such file l.txt")])
def test_a_list_that_cannot_be_used(tool, place, option, text, reason):
    if text is None:
        (place / "l.txt").unlink(missing_ok=True)
    else:
        listing(place, "l.txt", text)
    status, found, error = tool("embed", "no-model-is-read.pt", option, "l.txt", "-o", "unmade.scp")
    assert status == 2 and reason in found["error"] and error == f"deepspeaker: {found['error']}\n"


def test_embed_takes_either_files_or_one_list(tool):
    for words in ([], ["a.wav", "--list", "l.txt"], ["--scp", "l.txt", "a.wav"], ["--scp", "l.txt", "--list", "l.txt"]):
        status, found, error = tool("embed", "no-model-is-read.pt", *words, "-o", "unmade.scp")
        assert status == 2 and "expected either sound files, or --list FILE, or --scp FILE" in error, error


def test_a_long_list(place, tmp_path, monkeypatch):
    """100,000 utterances, of which every second fails."""
    def embed_files(paths, any_sound, channel):
        return [UserError(f"{path}: odd") if int(path) % 2 else np.full(2, float(path), np.float32) for path in paths]

    monkeypatch.setattr(commands, "load", lambda *_: SimpleNamespace(embed_files=embed_files))
    count = 100_000
    (tmp_path / "wav.scp").write_text("".join(f"utt{n:06d} {n}\n" for n in range(count)))
    assert main(["embed", "model.pt", "--scp", f"{tmp_path}/wav.scp", "-o", f"{tmp_path}/all.scp"]) == 2
    lines = (tmp_path / "all.scp").read_text().splitlines()
    assert len(lines) == count / 2 and lines[-1].startswith("utt099998 ")


@pytest.mark.parametrize("words, reason", [
    (["verify", "model.pt", "a.wav"], "the following arguments are required: B.wav"),
    (["verify", "model.pt", "a.wav", "b.wav", "--prior", "x"], "argument --prior: invalid float value: 'x'"),
    (["embed", "model.pt", "a.wav"], "required: -o"), (["sing"], "invalid choice: 'sing'"), ([], "COMMAND"),
    (["verify", "model.pt", "a.wav", "b.wav", "--prior", "2"], "expected a prior between 0 and 1"),
    (["verify", "model.pt", "a.wav", os.fsdecode(b"\xff.wav")], "expected a name in UTF-8")])
def test_errors_are_json_too(tool, capsys, words, reason):
    status, found, error = tool(*words)
    assert status == 2 and list(found) == ["error"] and reason in found["error"]
    assert error.endswith(f"deepspeaker: {found['error']}\n")
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err == error


def test_json_may_be_abbreviated(tool, capsys):
    assert main(["list", "model.pt", "none.db", "--js"]) == 2
    assert "no such file" in json.loads(capsys.readouterr().out)["error"]


def test_embed_loses_no_file_to_another(tool, place, monkeypatch):
    read = deepspeaker.inference.model.read_file

    def fail(path, rate, channel):
        if path == "b.wav":
            raise TypeError("something that nobody thought of")
        return read(path, rate, channel)

    monkeypatch.setattr(deepspeaker.inference.model, "read_file", fail)
    status, found, error = tool("embed", "model.pt", "a.wav", "b.wav", "-o", "most.npy")
    assert status == 2 and found["embedded"] == 1 and "b.wav: something that nobody thought of" in error
    (place / "x.raw").write_bytes(bytes(32000))
    status, _, error = tool("verify", "model.pt", "a.wav", "x.raw")
    assert status == 2 and "x.raw" in error and "defect" not in error, error


def test_names_are_letters_of_any_script(tool, place):
    for name in ("Jos\u00e9", "नमस्ते", "ไทยสี่", "_x.1", "Conan O’Brien, Jr."):
        assert tool("enroll", "model.pt", "scripts.db", name, "a.wav")[1]["name"] == name


def test_debug_shows_where(place, call):
    words = [sys.executable, "-m", "deepspeaker", "verify", place / "model.pt", place / "a.wav", "/nowhere.wav"]
    plain, debug = call(*words), call(*words, "--debug")
    assert plain.returncode == debug.returncode == 2
    assert plain.stderr == "deepspeaker: /nowhere.wav: no such file\n" and "Traceback" in debug.stderr


CALLS = """
import sys
from deepspeaker import load
from deepspeaker.inference import speaker_database as database
model = load("model.pt")
heard = model.listen("a.wav")
for n in range(int(sys.argv[2])):
    database.enroll("many.db", model, f"new{sys.argv[1]}", [heard, heard])
    if n % 2:
        database.remove("many.db", model, f"new{sys.argv[1]}")
        database.enroll("many.db", model, f"new{sys.argv[1]}", [heard, heard])
    database.rename("many.db", model, f"new{sys.argv[1]}", f"p{sys.argv[1]}-{n}")
    assert f"p{sys.argv[1]}-{n}" in database.recordings("many.db", model)
    print(n, flush=True)
"""


def callers(place, count: int, calls: int) -> list[subprocess.Popen]:
    return [subprocess.Popen([sys.executable, "-c", CALLS, str(n), str(calls)], cwd=place, env=ENVIRONMENT,
                             stdout=subprocess.PIPE, text=True) for n in range(count)]


@pytest.mark.long
def test_four_processes_lose_nothing(place, tool):
    """100 enrolments, removals, new names and look-ups at once; then changes killed at any moment leave two recordings
    or none."""
    processes = callers(place, 4, 25)
    assert [process.wait() for process in processes] == [0] * 4
    found = tool("list", "model.pt", "many.db")[1]["speakers"]
    assert len(found) == 100 and {s["recordings"] for s in found} == {2}
    for n in range(5):
        process = callers(place, 1, 100000)[0]
        process.stdout.readline()
        time.sleep(0.05 * n)
        process.send_signal(signal.SIGKILL)
        process.wait()
        done = len(re.findall(r"\d+", process.stdout.read())) + 1
        counts = [s["recordings"] for s in tool("list", "model.pt", "many.db")[1]["speakers"]]
        assert all(count % 2 == 0 for count in counts) and sum(counts) >= 2 * done


def test_noise_that_comes_and_goes_is_no_speech(tool, place):
    write_wav(place / "bursts.wav", noise(3.0, 0))
    assert "no speech found" in tool("verify", "model.pt", "a.wav", "bursts.wav")[2]
