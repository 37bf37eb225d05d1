"""Enrolled speakers in one SQLite file, bound to the model that made their embeddings.

Every change is one transaction: a killed process leaves a speaker enrolled or not, and processes wait for each other.
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
from deepspeaker.inference.model import Model, Recording

APPLICATION = 0x44505350  # SQLite's application_id of these files
PATIENCE = 60.0  # seconds to wait while other processes write
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
    speech: float  # seconds in all of them
    added: str  # date and time of the first, UTC


def enroll(path: str | os.PathLike, model: Model, name: str, recordings: Sequence[Recording]) -> Speaker:
    """Add recordings to a speaker, who is new or has some already; the file is made where there is none."""
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


def speakers(path: str | os.PathLike, model: Model) -> list[Speaker]:
    """All that are enrolled, by name."""
    with _reading(path, model) as database:
        return _speakers(database)


def recordings(path: str | os.PathLike, model: Model) -> dict[str, list[Recording]]:
    """Speaker -> recordings."""
    found: dict[str, list[Recording]] = {}
    with _reading(path, model) as database:
        for name, seconds, stored in database.execute("SELECT name, seconds, embedding FROM recording ORDER BY id"):
            embedding = np.frombuffer(stored, "<f4")
            if len(embedding) != model.dimensions or not np.isfinite(embedding).all() or not isinstance(name, str):
                raise ValueError(f"the recording of {name!r} is damaged")
            found.setdefault(name, []).append(Recording(embedding, seconds))
    return found


def check_name(name: str) -> None:
    """UserError for a name that could not be an id in tables, a file's name or a line of a terminal."""
    kinds = [unicodedata.category(c)[0] for c in name.replace("_", "a")]  # L letters, M marks on them, N numbers
    if (not 0 < len(name) <= LONGEST_NAME or kinds[0] not in "LN" or name[-1] in " -"
            or any(kind not in "LMN" and c not in " .-" for kind, c in zip(kinds, name, strict=True))):
        raise UserError(f"the name {name!r} cannot be used: expected letters, digits, '_', '-', '.' and blanks between "
                        f"them, at most {LONGEST_NAME}, the first a letter or digit")


def _speakers(database: sqlite3.Connection, name: str | None = None) -> list[Speaker]:
    return [Speaker(*row) for row in database.execute(
        "SELECT name, count(*), round(sum(speech), 2), min(added) FROM recording WHERE ?1 IS NULL OR name = ?1 "
        "GROUP BY name ORDER BY name", (name,))]


@contextmanager
def _reading(path: str | os.PathLike, model: Model) -> Iterator[sqlite3.Connection]:
    if not os.path.isfile(path):
        raise UserError(f"{os.fspath(path)}: no such file: enrol somebody first")
    with _transaction(path, "rw") as database:
        _check_owner(path, database, model)
        yield database


@contextmanager
def _transaction(path: str | os.PathLike, mode: str) -> Iterator[sqlite3.Connection]:
    """All of the block, or nothing of it. UserError for what is no database of ours, or cannot be opened."""
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
    except (sqlite3.Error, TypeError, ValueError) as error:  # the last two of rows that are not as they were written
        raise UserError(f"{name}: not a database of enrolled speakers that can be used: {error}") from None


def _check_owner(path: str | os.PathLike, database: sqlite3.Connection, model: Model) -> None:
    if database.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
        raise UserError(f"{os.fspath(path)}: not a database of enrolled speakers")
    owner = database.execute("SELECT fingerprint FROM model").fetchone()[0]
    if owner != model.fingerprint:
        raise UserError(f"{os.fspath(path)} was enrolled with another model (its fingerprint begins with {owner[:12]}, "
                        f"this one's with {model.fingerprint[:12]}): use that model, or enrol into a new file")
