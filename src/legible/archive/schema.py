"""The tables of an archive, and how its file is opened.

    checkpoints   who read: weights of both roles, target, layer
    runs          a checkpoint under one sampling and one calibrator
    documents     the texts
    visits        which positions of which document a run has finished: what a resumed run skips
    answers       what the verbalizer wrote for an activation, by (checkpoint, sampling, activation): the cache
    readings      one token as one run read it
    claims        the statements of a reading

Claims are not cached: p_true depends on the text and on the neighbouring readings, so they are measured anew from the
cached words. `found_explanations` and `found_claims` are the full-text indices (FTS5). `keeping` fills them: triggers
may not write to them where the schema is not trusted.

An archive may come from elsewhere: it is opened for queries only, with the schema's own functions untrusted.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from legible.errors import ArchiveError, UsageError

FORMAT = 4
APPLICATION_ID = 0x4C676C65  # "Lgle": says whose file it is
WAIT = 30.0  # seconds that a command waits for another one's commit
_WORDS = 'tokenize="unicode61 remove_diacritics 2"'

TABLES = f"""
CREATE TABLE checkpoints (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, fingerprint TEXT NOT NULL, target TEXT NOT NULL,
  target_sha256 TEXT NOT NULL, layer INTEGER NOT NULL, variance REAL, language TEXT,
  UNIQUE (fingerprint, target_sha256, layer));
CREATE TABLE runs (
  id INTEGER PRIMARY KEY, checkpoint INTEGER NOT NULL REFERENCES checkpoints, samples INTEGER NOT NULL,
  temperature REAL NOT NULL, seed INTEGER NOT NULL, max_tokens INTEGER NOT NULL, calibrator TEXT NOT NULL,
  UNIQUE (checkpoint, samples, temperature, seed, max_tokens, calibrator));
CREATE TABLE documents (
  id INTEGER PRIMARY KEY, doc_id TEXT NOT NULL, sha256 TEXT NOT NULL, text TEXT NOT NULL, UNIQUE (doc_id, sha256));
CREATE TABLE visits (
  run INTEGER NOT NULL REFERENCES runs, document INTEGER NOT NULL REFERENCES documents, positions TEXT NOT NULL,
  readings INTEGER NOT NULL, truncated INTEGER NOT NULL, PRIMARY KEY (run, document, positions)) WITHOUT ROWID;
CREATE TABLE answers (
  id INTEGER PRIMARY KEY, checkpoint INTEGER NOT NULL REFERENCES checkpoints, sampling TEXT NOT NULL,
  activation TEXT NOT NULL, prefix TEXT NOT NULL, completions TEXT NOT NULL,
  UNIQUE (checkpoint, sampling, activation));
CREATE INDEX answers_by_prefix ON answers (checkpoint, sampling, prefix);
CREATE TABLE readings (
  id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs, document INTEGER NOT NULL REFERENCES documents,
  answer INTEGER NOT NULL REFERENCES answers, pos INTEGER NOT NULL, char_start INTEGER NOT NULL,
  char_end INTEGER NOT NULL, token TEXT NOT NULL, token_id INTEGER NOT NULL, norm REAL NOT NULL, flags TEXT NOT NULL,
  explanation TEXT, direction_mse REAL, fve_token REAL, floor_fve REAL, p_true_reason TEXT, samples TEXT NOT NULL,
  unparsed TEXT NOT NULL,
  UNIQUE (run, document, pos));
CREATE TABLE claims (
  id INTEGER PRIMARY KEY, reading INTEGER NOT NULL REFERENCES readings, place INTEGER NOT NULL, text TEXT NOT NULL,
  subject TEXT, relation TEXT, value TEXT, polarity TEXT NOT NULL, family TEXT NOT NULL,
  p_true REAL, agreement REAL, leverage REAL, recurrence REAL, probe REAL,
  verdict TEXT NOT NULL,
  UNIQUE (reading, place));
CREATE VIRTUAL TABLE found_explanations USING fts5 (
  explanation, content='readings', content_rowid='id', {_WORDS});
CREATE VIRTUAL TABLE found_claims USING fts5 (text, content='claims', content_rowid='id', {_WORDS});
"""


def open_archive(path: Path) -> sqlite3.Connection:
    """An archive for queries.

    Raises:
        UsageError: no file there, no archive, or one of another format.
    """
    if not path.is_file():
        raise UsageError(
            f"no archive at {path}.\n  Make one: legible read CHECKPOINT --corpus texts.jsonl --archive out.db"
        )
    connection = _connected(path, "rw")
    connection.execute("PRAGMA query_only=ON")
    return connection


def open_for_writing(path: Path) -> sqlite3.Connection:
    """An archive to be filled; a new one is made where there is none.

    Raises:
        UsageError: the file is something else, or an archive of another format, or its folder is missing.
    """
    if not path.parent.is_dir():
        raise UsageError(
            f"no folder {path.parent} for the archive {path.name}.\n  Make it, or choose another --archive."
        )
    return _connected(path, "rwc")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything inside is written, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def is_archive(path: Path) -> bool:
    """Whether a file is an SQLite database; `open_archive` says whether it is one of ours."""
    with path.open("rb") as handle:
        return handle.read(16) == b"SQLite format 3\0"


@contextmanager
def failures(path: Path) -> Iterator[None]:
    """Damage and full disks as errors that name the archive.

    Raises:
        ArchiveError: in place of every error of SQLite.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise ArchiveError(
            f"the archive {path} cannot be used: {error}.\n"
            "  The usual causes are a full disk, a damaged copy, or another process that writes to it."
        ) from None


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=WAIT, isolation_level=None)
        for pragma in ("trusted_schema=OFF", "foreign_keys=ON", "cell_size_check=ON"):
            connection.execute(f"PRAGMA {pragma}")
        if mode == "rwc":
            with transaction(connection):
                _make(connection)
        found = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        raise UsageError(
            f"{path} is not an archive ({error}).\n"
            "  Expected the file that `legible read --corpus FILE --archive ARCHIVE` wrote."
        ) from None
    if found != APPLICATION_ID:
        connection.close()
        raise UsageError(f"{path} is an SQLite file, but not an archive.\n  Choose another file.")
    if version != FORMAT:
        connection.close()
        raise UsageError(f"{path} has format {version}, expected {FORMAT}.\n  Read the corpus into a new archive.")
    connection.row_factory = sqlite3.Row
    return connection


def _make(connection: sqlite3.Connection) -> None:
    """The tables, in a file that holds none yet."""
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        return
    script = ""
    for line in TABLES.splitlines():
        script += line + "\n"
        if sqlite3.complete_statement(script):
            connection.execute(script)
            script = ""
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={FORMAT}")
