"""Enrolled speakers: what is stored, names, changes as a whole, and nothing left of who is removed."""

import sqlite3
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from deepspeaker.errors import UserError
from deepspeaker.inference import speaker_database as database
from deepspeaker.inference.recordings import Heard
from deepspeaker.inference.speaker_database import NotEnrolled
from deepspeaker.inference.speech_check import Trust
from deepspeaker.scoring.quality import SoundQuality

SMALL = SimpleNamespace(fingerprint="f" * 64, dimensions=2)


def heard(seconds: float, speech: float, *embedding: float) -> Heard:
    trust = Trust(seconds, speech, -20.0, 0.0)
    return Heard(np.array(embedding, np.float32), seconds, trust)


def test_a_database_holds_every_recording_as_it_was(tmp_path):
    path, model = tmp_path / "people.db", SMALL
    first, second, third = heard(5.0, 3.0, 0.6, 0.8), heard(4.0, 2.25, 1.0, 0.0), heard(7.0, 6.0, 0.0, 1.0)
    assert database.enroll(path, model, "Bob", [first, second])[:3] == ("Bob", 2, 5.25)
    assert database.enroll(path, model, "Ann", [third])[:3] == ("Ann", 1, 6.0)
    found = database.recordings(path, model)
    assert {name: [r.seconds for r in rows] for name, rows in found.items()} == {"Bob": [5.0, 4.0], "Ann": [7.0]}
    np.testing.assert_array_equal([r.embedding for r in found["Bob"]], [first.embedding, second.embedding])
    assert [s[:3] for s in database.speakers(path, model)] == [("Ann", 1, 6.0), ("Bob", 2, 5.25)]
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE recording SET added = '2001-02-03 04:05:06' WHERE seconds = 4")
    assert database.speakers(path, model)[1].added == "2001-02-03 04:05:06"


def test_what_was_measured_is_kept_and_files_of_earlier_versions_lack_it(tmp_path):
    path, quality = tmp_path / "people.db", SoundQuality(2.5, -21.25, 33.5, 7800.0, 0.21)
    with_quality = replace(heard(5.0, 3.0, 0.6, 0.8), quality=quality)
    database.enroll(path, SMALL, "Ann", [with_quality, heard(4.0, 2.0, 1.0, 0.0)])
    assert [r.quality for r in database.recordings(path, SMALL)["Ann"]] == [quality, None]
    database.rename(path, SMALL, "Ann", "Bob")
    assert [r.quality for r in database.recordings(path, SMALL)["Bob"]] == [quality, None]
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("ALTER TABLE recording DROP COLUMN quality")
    assert [r.quality for r in database.recordings(path, SMALL)["Bob"]] == [None, None]
    database.rename(path, SMALL, "Bob", "Ann")
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("ALTER TABLE recording DROP COLUMN quality")
    database.enroll(path, SMALL, "Eve", [with_quality])
    found = database.recordings(path, SMALL)
    assert [r.quality for r in found["Ann"]] == [None, None] and found["Eve"][0].quality == quality


def test_an_enrolment_that_fails_leaves_nothing(tmp_path):
    path, model = tmp_path / "people.db", SMALL
    database.enroll(path, model, "Ann", [heard(5.0, 3.0, 0.6, 0.8)])
    with pytest.raises(UserError, match="NOT NULL"):
        database.enroll(path, model, "Bob", [heard(5.0, 3.0, 0.6, 0.8), heard(5.0, None, 0.6, 0.8)])
    with pytest.raises(UserError, match="another model"):
        database.enroll(path, SimpleNamespace(fingerprint="0" * 64, dimensions=2), "Bob", [heard(5.0, 3.0, 0.6, 0.8)])
    assert [s.name for s in database.speakers(path, model)] == ["Ann"]


def test_a_recording_is_added_again_only_where_that_is_wanted(tmp_path):
    path, first, second = tmp_path / "people.db", heard(5.0, 3.0, 0.6, 0.8), heard(4.0, 2.25, 1.0, 0.0)
    database.enroll(path, SMALL, "Ann", [first])
    nearly = replace(first, embedding=first.embedding + np.float32(1e-6))
    assert database.enroll(path, SMALL, "Ann", [nearly, second], again=False)[:3] == ("Ann", 2, 5.25)
    assert database.enroll(path, SMALL, "Ann", [first])[:3] == ("Ann", 3, 8.25)
    assert database.enroll(path, SMALL, "Bob", [first], again=False)[:3] == ("Bob", 1, 3.0)


GOOD_NAMES = [
    "x", "x" * 100, "7 of 9", "_a", "a.", "J.-P. b", "Conan O'Brien", "D’Arcy", "'t Hooft", "King, Martin", "Li·l",
    "王·明", "ヘンリー・ジョージ", "Jean\u2011Luc", "ג׳ורג׳", "בן\u05beגוריון", "བསྟན\u0f0bའཛིན", "e\u0301", "x\u0302",
    "علی\u200cرضا", "شاهِ\u200cما", "क\u094d\u200dष", "রাজ\u09cd\u200c", "র\u200d\u09cd\u09afাচেল", "രാജന\u0d4d\u200d",
    "ක\u0dca\u200dරි"]
BAD_NAMES = [
    "-a", " a", ".a", ",a", "\u2010a", "\u0301a", "\u200cعلی", "a-", "a ", "a,", "a/b", "a\\b", "a\u00a0b", "a\tb",
    "a\nb", "a\u2028b", "a\0", "a\x1b[1m", "a\u200bb", "a\u202eb", "a\ufeff", "A\u200dnn", "1\u200c2", "علی\u200c",
    "عل\u200c\u200cی", "a:b", 'a"b', "a=b", "a;b", "", "x" * 101]


@pytest.mark.parametrize("name", GOOD_NAMES, ids=ascii)
def test_names_that_people_have(name):
    assert database.check_name(name) == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_what_is_no_name(name):
    with pytest.raises(UserError, match="cannot be used"):
        database.check_name(name)


COMPOSED, APART = "Jos\u00e9 Nu\u00f1ez", "Jose\u0301 Nu\u00f1ez"  # the second is half composed, half not


def shown(path) -> dict[str, int]:
    return {s.name: s.recordings for s in database.speakers(path, SMALL)}


def as_earlier_versions(path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(statement, values)


def test_a_name_is_one_however_it_is_composed(tmp_path):
    path, sound = tmp_path / "people.db", heard(5.0, 3.0, 0.6, 0.8)
    database.enroll(path, SMALL, "Ann", [sound])
    as_earlier_versions(path, "UPDATE recording SET name = ?", APART)
    assert shown(path) == {COMPOSED: 1} == {n: len(r) for n, r in database.recordings(path, SMALL).items()}
    for n, name in enumerate((COMPOSED, APART), 2):
        assert database.enroll(path, SMALL, name, [sound])[:2] == (COMPOSED, n)
    assert shown(path) == {COMPOSED: 3} == {n: len(r) for n, r in database.recordings(path, SMALL).items()}
    database.enroll(path, SMALL, "Bob", [sound])
    with pytest.raises(UserError, match="is another speaker"):
        database.rename(path, SMALL, "Bob", APART)
    assert database.rename(path, SMALL, COMPOSED, APART)[:2] == (COMPOSED, 3)
    as_earlier_versions(path, "UPDATE recording SET name = ? WHERE id = 1", APART)
    assert database.rename(path, SMALL, COMPOSED, "Ann")[:2] == ("Ann", 3) and shown(path) == {"Ann": 3, "Bob": 1}
    as_earlier_versions(path, "UPDATE recording SET name = ? WHERE id = 1", APART)
    assert database.remove(path, SMALL, COMPOSED)[:2] == (COMPOSED, 1) and shown(path) == {"Ann": 2, "Bob": 1}


@pytest.mark.parametrize("overwritten", ["ON", "OFF"])
def test_nothing_is_left_of_who_is_removed_or_renamed(tmp_path, overwritten):
    """In a file whose pages have been split and emptied, by an SQLite that overwrites what it deletes and one that does
    not."""
    path, rng = tmp_path / "people.db", np.random.default_rng(0)
    people = {f"{name:020d}": rng.bytes(8) for name in rng.integers(10**18, size=600)}
    database.enroll(path, SMALL, "Ann", [heard(5.0, 3.0, 0.6, 0.8)])
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(f"PRAGMA secure_delete = {overwritten}")
        file.executemany("INSERT INTO recording (name, seconds, speech, embedding) VALUES (?, 5, 3, ?)", people.items())
        file.execute("UPDATE recording SET embedding = zeroblob(3000) WHERE name = 'Ann'")
    names = list(people)
    content = path.read_bytes()
    assert all(name.encode() in content and people[name] in content for name in names)
    for name in names[:10]:
        database.rename(path, SMALL, name, f"p{people[name].hex()}")
        assert name.encode() not in path.read_bytes() and people[name] in path.read_bytes()
    size = path.stat().st_size
    for name in names[10:30]:
        database.remove(path, SMALL, name)
        assert name.encode() not in path.read_bytes() and people[name] not in path.read_bytes()
    assert path.stat().st_size <= size and shown(path).keys() >= {*names[30:]} and len(shown(path)) == 581
    assert [*tmp_path.iterdir()] == [path]


def test_a_removal_that_fails_changes_nothing(tmp_path, monkeypatch):
    path = tmp_path / "people.db"
    for name in ("Ann", "Bob"):
        database.enroll(path, SMALL, name, [heard(5.0, 3.0, 0.6, 0.8)])
    content = path.read_bytes()
    monkeypatch.setattr(database, "RECORDING_TABLE", ("CREATE TABLE recording (id INTEGER PRIMARY KEY)",))
    for change in (lambda: database.remove(path, SMALL, "Ann"), lambda: database.rename(path, SMALL, "Ann", "Al")):
        with pytest.raises(UserError, match="not a usable database"):
            change()
    assert path.read_bytes() == content


def test_changes_at_once_wait_for_each_other(tmp_path):
    path, sound = tmp_path / "people.db", heard(5.0, 3.0, 0.6, 0.8)
    database.enroll(path, SMALL, "Ann", [sound])

    def work(n: int) -> None:
        for k in range(10):
            database.enroll(path, SMALL, f"new {n} {k}", [sound, sound])
            database.rename(path, SMALL, f"new {n} {k}", f"old {n} {k}")
            assert f"old {n} {k}" in database.recordings(path, SMALL)
            if k % 2:
                database.remove(path, SMALL, f"old {n} {k}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert shown(path) == {"Ann": 1, **{f"old {n} {k}": 2 for n in range(4) for k in range(0, 10, 2)}}


def test_an_empty_file_is_a_database_of_nobody(tmp_path):
    """As another process sees it during the first enrolment, and as a kill then leaves it."""
    path = tmp_path / "people.db"
    path.write_bytes(b"")
    for use in (database.speakers, database.recordings, lambda *words: database.remove(*words, "Ann")):
        with pytest.raises(NotEnrolled, match="the file is empty: enrol a speaker first"):
            use(path, SMALL)
    assert database.enroll(path, SMALL, "Ann", [heard(5.0, 3.0, 0.6, 0.8)]).recordings == 1
