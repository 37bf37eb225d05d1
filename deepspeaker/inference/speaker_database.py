"""Enrolled speakers in an SQLite file, which belongs to the model that made the embeddings.

Every change is one transaction: after a kill it is made completely or not at all, and concurrent processes wait for
each other. What is removed or renamed leaves no trace in the file.

A name is one name however it is composed: "\u00e9" is also "e" with an accent after it. Names are stored and returned
in Unicode's form NFC. Earlier versions stored them as they were typed; such rows are read as if they were in NFC.
"""

import os
import re
import sqlite3
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepspeaker.errors import UserError, quoted
from deepspeaker.inference.model import Model
from deepspeaker.inference.recordings import Heard, Recording
from deepspeaker.scoring.quality import SoundQuality

APPLICATION = 0x44505350  # SQLite's application_id of these files
PATIENCE = 60.0  # seconds to wait while another process writes
LONGEST_NAME = 100  # characters
SAME = 1e-5  # largest difference of two embeddings of one recording: their last bits depend on its batch
HYPHENS = "-\u2010\u2011\u058a\u05be\u30a0"  # typewriter, Unicode, Unicode unbreakable, Armenian, Hebrew, Japanese
APOSTROPHES = "'\u2019\u2018\u055a\u05f3\u05f4"  # typewriter, typographic (two), Armenian, Hebrew (two)
DOTS = ".\u00b7\u2027\u30fb\u0f0b\u0970"  # full stop, middle dots (Latin, Unicode, Japanese), Tibetan, Devanagari
JOINERS = "\u200c\u200d"  # of zero width
VIRAMA = 9  # Unicode's combining class of the signs that take a consonant's vowel away
Stored = str | bytes | int | float | None  # a value of SQLite's
MODEL_TABLE = "CREATE TABLE model (fingerprint TEXT NOT NULL)"
RECORDING_TABLE = (
    "CREATE TABLE recording (id INTEGER PRIMARY KEY, name TEXT NOT NULL, seconds REAL NOT NULL, speech REAL NOT NULL, "
    "embedding BLOB NOT NULL, added TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, quality TEXT)",
    "CREATE INDEX by_name ON recording (name)")


class NotEnrolled(UserError):
    """Nobody is enrolled, or nobody under this name."""


class Speaker(NamedTuple):
    name: str
    recordings: int
    speech: float  # seconds, over all recordings
    added: str  # UTC date and time of the first recording


def enroll(path: str | os.PathLike[str], model: Model, name: str, recordings: Sequence[Heard],
           again: bool = True) -> Speaker:
    """Add recordings to a speaker, new or enrolled; a missing file is created. UserError as check_name.

    again: whether to add a recording that the speaker already has.
    """
    name = check_name(name)
    rows = [(name, r.seconds, r.trust.speech, r.embedding.astype("<f4").tobytes(), r.quality and r.quality.as_text())
            for r in recordings]
    with _transaction(path, "rwc", "IMMEDIATE") as database:
        if _is_new(database):
            for statement in (MODEL_TABLE, *RECORDING_TABLE):
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {APPLICATION}")
            database.execute("INSERT INTO model VALUES (?)", (model.fingerprint,))
        _check_owner(path, database, model)
        if not _has_quality(database):
            database.execute("ALTER TABLE recording ADD COLUMN quality TEXT")
        if not again:
            there = [np.frombuffer(stored, "<f4") for stored, in
                     database.execute("SELECT embedding FROM recording WHERE nfc(name) = ?", (name,))]
            given, rows = rows, []
            for row, r in zip(given, recordings, strict=True):
                if not any(np.abs(r.embedding - stored).max() < SAME for stored in there):
                    rows.append(row)
                    there.append(r.embedding)
        database.executemany("INSERT INTO recording (name, seconds, speech, embedding, quality) VALUES (?, ?, ?, ?, ?)",
                             rows)
        return _speakers(database, name)[0]


def remove(path: str | os.PathLike[str], model: Model, name: str) -> Speaker:
    """Forget a speaker and return who that was; neither the name nor an embedding is left in the file.

    NotEnrolled for a name that is not.
    """
    with _opened(path, model, "IMMEDIATE") as database:
        speaker = _enrolled(path, database, name)
        database.execute("DELETE FROM recording WHERE nfc(name) = ?", (speaker.name,))
        _forget_deleted(database)
    return speaker


def rename(path: str | os.PathLike[str], model: Model, old: str, new: str) -> Speaker:
    """Give a speaker another name; the old one is not left in the file.

    UserError as check_name of `new`, if `old` is not enrolled, and if `new` is the name of another speaker.
    """
    new = check_name(new)
    with _opened(path, model, "IMMEDIATE") as database:
        speaker = _enrolled(path, database, old)
        if new != speaker.name and _speakers(database, new):
            raise UserError(f"{os.fspath(path)}: {new!r} is another speaker: choose a name that nobody has")
        database.execute("UPDATE recording SET name = ? WHERE nfc(name) = ?", (new, speaker.name))
        _forget_deleted(database)
    return speaker._replace(name=new)


def speakers(path: str | os.PathLike[str], model: Model) -> list[Speaker]:
    """All enrolled speakers, sorted by name."""
    with _opened(path, model) as database:
        return _speakers(database)


def speaker(path: str | os.PathLike[str], model: Model, name: str) -> Speaker:
    """One enrolled speaker. NotEnrolled for a name that is not."""
    with _opened(path, model) as database:
        return _enrolled(path, database, name)


def recordings(path: str | os.PathLike[str], model: Model) -> dict[str, list[Recording]]:
    """Name of each enrolled speaker -> the recordings, in the order of enrolment. NotEnrolled if there is nobody."""
    found: dict[str, list[Recording]] = {}
    with _opened(path, model) as database:
        quality = "quality" if _has_quality(database) else "NULL"
        rows = database.execute(f"SELECT nfc(name), seconds, embedding, {quality} FROM recording ORDER BY id")
        for name, seconds, stored, measured in rows:
            embedding = np.frombuffer(stored, "<f4")
            if len(embedding) != model.dimensions or not np.isfinite(embedding).all() or not isinstance(name, str):
                raise ValueError(f"a recording of {name!r} is damaged")
            found.setdefault(name, []).append(
                Recording(embedding, seconds, quality=measured and SoundQuality.from_text(measured)))
    if not found:
        raise NotEnrolled(f"{os.fspath(path)}: nobody is enrolled")
    return found


def check_name(name: str) -> str:
    """The name in NFC. UserError unless it is a name as people have them, in any script, on one line.

    Letters, their marks and digits are allowed, and what stands between them: blanks, '_', ',', HYPHENS, APOSTROPHES
    and DOTS. JOINERS are allowed only where they change how letters are written: between Arabic letters and beside a
    virama; elsewhere they would make two names that look the same. Whatever could be taken for a part of a path, an
    option or another line is refused.
    """
    found = unicodedata.normalize("NFC", name)
    kinds = "".join(map(_kind, found))
    joined = re.sub("vj|j(?=v)|(?<=a)j(?=a)", "", kinds.replace("m", ""))  # without the joiners that are in place
    if (not 0 < len(found) <= LONGEST_NAME or not re.fullmatch("[la_'][lamvj_'., -]*", kinds) or kinds[-1] in " -,"
            or "j" in joined):
        raise UserError(f"the name {quoted(name)} cannot be used: expected at most {LONGEST_NAME} letters, digits, "
                        "blanks, hyphens, apostrophes, dots, commas and '_', beginning with a letter, a digit, '_' or "
                        "an apostrophe, not ending in a blank, a hyphen or a comma")
    return found


def _kind(c: str) -> str:
    """One character of a name: l letter or digit, a Arabic letter, m mark, v virama, j joiner, - ' . or itself."""
    for kind, several in (("-", HYPHENS), ("'", APOSTROPHES), (".", DOTS), ("j", JOINERS)):
        if c in several:
            return kind
    category = unicodedata.category(c)[0]
    if category == "M":
        return "v" if unicodedata.combining(c) == VIRAMA else "m"
    if category in "LN":
        return "a" if unicodedata.bidirectional(c) == "AL" else "l"
    return c if c in " ,_" else "x"


def _nfc(stored: Stored) -> Stored:
    """A stored name in NFC; what is no text, in a damaged row, stays as it is."""
    return unicodedata.normalize("NFC", stored) if isinstance(stored, str) else stored


def _speakers(database: sqlite3.Connection, name: str | None = None) -> list[Speaker]:
    found = [Speaker(*row) for row in database.execute(
        "SELECT nfc(name) AS person, count(*), round(sum(speech), 2), min(added) FROM recording "
        "WHERE ?1 IS NULL OR nfc(name) = ?1 GROUP BY person ORDER BY person", (name,))]
    if damaged := [speaker.name for speaker in found if not isinstance(speaker.name, str)]:
        raise ValueError(f"a recording of {damaged[0]!r} is damaged")
    return found


def _enrolled(path: str | os.PathLike[str], database: sqlite3.Connection, name: str) -> Speaker:
    found = _speakers(database, unicodedata.normalize("NFC", name))
    if not found:
        raise NotEnrolled(f"{os.fspath(path)}: nobody is enrolled as {quoted(name)}: `deepspeaker list` shows all "
                          "names")
    return found[0]


def _forget_deleted(database: sqlite3.Connection) -> None:
    """Copy the table and overwrite the old one with zeros, which secure_delete does for whole pages.

    secure_delete alone is not enough: where SQLite moved rows from page to page, it left copies of them.
    """
    columns = "id, name, seconds, speech, embedding, added" + (", quality" if _has_quality(database) else "")
    database.execute("ALTER TABLE recording RENAME TO former")
    database.execute("DROP INDEX by_name")
    for statement in (*RECORDING_TABLE, f"INSERT INTO recording ({columns}) SELECT {columns} FROM former",
                      "DROP TABLE former"):
        database.execute(statement)


def _is_new(database: sqlite3.Connection) -> bool:
    """Whether a file is empty: its first enrolment is not yet made, or was killed before it was."""
    return not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def _has_quality(database: sqlite3.Connection) -> bool:
    """Whether recordings have a column for what was measured; files of earlier versions have none."""
    return any(row[1] == "quality" for row in database.execute("PRAGMA table_info(recording)"))


@contextmanager
def _opened(path: str | os.PathLike[str], model: Model, kind: str = "DEFERRED") -> Iterator[sqlite3.Connection]:
    """A transaction on an existing database of the model."""
    if not os.path.isfile(path):
        raise NotEnrolled(f"{os.fspath(path)}: no such file: enrol a speaker first")
    with _transaction(path, "rw", kind) as database:
        if _is_new(database):
            raise NotEnrolled(f"{os.fspath(path)}: the file is empty: enrol a speaker first")
        _check_owner(path, database, model)
        yield database


@contextmanager
def _transaction(path: str | os.PathLike[str], mode: str, kind: str) -> Iterator[sqlite3.Connection]:
    """The block's changes as a whole, or none if it raises. UserError for a file that cannot be opened or is not such a
    database.

    mode: SQLite's, rw or rwc (create). kind: DEFERRED to read, IMMEDIATE to write.
    """
    name = os.fspath(path)
    try:
        uri = f"{Path(path).absolute().as_uri()}?mode={mode}"
        with closing(sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None)) as database:
            database.create_function("nfc", 1, _nfc, deterministic=True)
            database.execute("PRAGMA secure_delete = ON")
            database.execute(f"BEGIN {kind}")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
    except (sqlite3.Error, TypeError, ValueError) as error:  # the last two come from damaged rows
        raise UserError(f"{name}: not a usable database of enrolled speakers: {error}") from None


def _check_owner(path: str | os.PathLike[str], database: sqlite3.Connection, model: Model) -> None:
    if database.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
        raise UserError(f"{os.fspath(path)}: not a database of enrolled speakers")
    owner = database.execute("SELECT fingerprint FROM model").fetchone()[0]
    if owner != model.fingerprint:
        raise UserError(f"{os.fspath(path)} was enrolled with another model (fingerprint {owner[:12]}..., expected "
                        f"{model.fingerprint[:12]}...): use that model, or enrol into a new file")
