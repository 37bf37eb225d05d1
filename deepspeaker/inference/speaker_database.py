"""Enrolled speakers in an SQLite file, which belongs to the model that made the embeddings.

Every change is one transaction: after a kill a speaker is enrolled completely or not at all, and concurrent processes
wait for each other.
"""

import os
import sqlite3
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepspeaker.errors import UserError
from deepspeaker.inference.model import Heard, Model, Recording

APPLICATION = 0x44505350  # SQLite's application_id of these files
PATIENCE = 60.0  # seconds to wait while another process writes
LONGEST_NAME = 100  # characters
TABLES = """
    CREATE TABLE model (fingerprint TEXT NOT NULL);
    CREATE TABLE recording (id INTEGER PRIMARY KEY, name TEXT NOT NULL, seconds REAL NOT NULL, speech REAL NOT NULL,
                            embedding BLOB NOT NULL, added TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
    CREATE INDEX by_name ON recording (name);
"""


class Speaker(NamedTuple):
    name: str
    recordings: int
    speech: float  # seconds, over all recordings
    added: str  # UTC date and time of the first recording


def enroll(path: str | os.PathLike[str], model: Model, name: str, recordings: Sequence[Heard]) -> Speaker:
    """Add recordings to a speaker, new or enrolled; a missing file is created."""
    check_name(name)
    rows = [(name, r.seconds, r.trust.speech, r.embedding.astype("<f4").tobytes()) for r in recordings]
    with _transaction(path, "rwc") as database:
        if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in filter(str.strip, TABLES.split(";")):
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {APPLICATION}")
            database.execute("INSERT INTO model VALUES (?)", (model.fingerprint,))
        _check_owner(path, database, model)
        database.executemany("INSERT INTO recording (name, seconds, speech, embedding) VALUES (?, ?, ?, ?)", rows)
        return _speakers(database, name)[0]


def speakers(path: str | os.PathLike[str], model: Model) -> list[Speaker]:
    """All enrolled speakers, sorted by name."""
    with _reading(path, model) as database:
        return _speakers(database)


def recordings(path: str | os.PathLike[str], model: Model) -> dict[str, list[Recording]]:
    """Name of each enrolled speaker -> the recordings, in the order of enrolment."""
    found: dict[str, list[Recording]] = {}
    with _reading(path, model) as database:
        for name, seconds, stored in database.execute("SELECT name, seconds, embedding FROM recording ORDER BY id"):
            embedding = np.frombuffer(stored, "<f4")
            if len(embedding) != model.dimensions or not np.isfinite(embedding).all() or not isinstance(name, str):
                raise ValueError(f"a recording of {name!r} is damaged")
            found.setdefault(name, []).append(Recording(embedding, seconds))
    return found


def check_name(name: str) -> None:
    """UserError for a name that could not serve as an id in a table, as a file name or on a line of the terminal."""
    kinds = [unicodedata.category(c)[0] for c in name.replace("_", "a")]  # L letters, M marks on them, N numbers
    if (not 0 < len(name) <= LONGEST_NAME or kinds[0] not in "LN" or name[-1] in " -"
            or any(kind not in "LMN" and c not in " .-" for kind, c in zip(kinds, name, strict=True))):
        raise UserError(f"the name {name!r} cannot be used: expected at most {LONGEST_NAME} letters, digits, '_', '-', "
                        "'.' and blanks, beginning with a letter or digit, not ending in a blank or '-'")


def _speakers(database: sqlite3.Connection, name: str | None = None) -> list[Speaker]:
    return [Speaker(*row) for row in database.execute(
        "SELECT name, count(*), round(sum(speech), 2), min(added) FROM recording WHERE ?1 IS NULL OR name = ?1 "
        "GROUP BY name ORDER BY name", (name,))]


@contextmanager
def _reading(path: str | os.PathLike[str], model: Model) -> Iterator[sqlite3.Connection]:
    if not os.path.isfile(path):
        raise UserError(f"{os.fspath(path)}: no such file: enrol a speaker first")
    with _transaction(path, "rw") as database:
        _check_owner(path, database, model)
        yield database


@contextmanager
def _transaction(path: str | os.PathLike[str], mode: str) -> Iterator[sqlite3.Connection]:
    """The block's changes as a whole, or none if it raises. UserError for a file that cannot be opened or is not such a
    database."""
    name = os.fspath(path)
    try:
        uri = f"{Path(path).absolute().as_uri()}?mode={mode}"
        with closing(sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE" if mode == "rwc" else "BEGIN")
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
