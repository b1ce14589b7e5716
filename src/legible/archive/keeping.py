"""Rows of an archive: checkpoints and runs, cached answers, documents with their readings.

Every value goes in as a parameter: nothing from a corpus or a model becomes part of a statement.
"""

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from legible.documents import Document
from legible.engines.base import Completion
from legible.reading.calibrated import fingerprint
from legible.reading.reader import Reader
from legible.reading.reading import ReadClaim, Reading

CLAIM = tuple(field.name for field in fields(ReadClaim))
"""The columns of a claim: everything that a reading knows of it."""


@dataclass(frozen=True)
class Sampling:
    """How explanations are written. At temperature 0 the seed decides nothing and counts as 0."""

    samples: int
    temperature: float
    seed: int
    max_tokens: int

    @property
    def key(self) -> str:
        """As the cache writes it."""
        seed = self.seed if self.temperature else 0
        return f"samples={self.samples} temperature={self.temperature!r} seed={seed} max_tokens={self.max_tokens}"


@dataclass(frozen=True)
class Series:
    """A run of the archive: the ids of its rows, and its sampling."""

    run: int
    checkpoint: int
    sampling: Sampling


@dataclass(frozen=True)
class Placed:
    """A reading with the characters of the text that it stands at, and the cached answer it was made of."""

    reading: Reading
    offsets: tuple[int, int]
    answer: int


def series_of(connection: sqlite3.Connection, reader: Reader, sampling: Sampling) -> Series:
    """The run of this reader under this sampling; its rows are made where they are missing."""
    checkpoint = reader.checkpoint
    about = reader.about()
    pair = fingerprint(checkpoint.verbalizer, checkpoint.reconstructor)
    own = (pair, checkpoint.target.sha256(), checkpoint.layer)
    connection.execute(
        "INSERT OR IGNORE INTO checkpoints (name, target, variance, language, fingerprint, target_sha256, layer)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (reader.name, about["target"], checkpoint.variance, about["language"], *own),
    )
    row = connection.execute(
        "SELECT id FROM checkpoints WHERE fingerprint=? AND target_sha256=? AND layer=?", own
    ).fetchone()
    seed = sampling.seed if sampling.temperature else 0
    how = (row["id"], sampling.samples, sampling.temperature, seed, sampling.max_tokens, _calibrator(reader))
    connection.execute(
        "INSERT OR IGNORE INTO runs (checkpoint, samples, temperature, seed, max_tokens, calibrator)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        how,
    )
    run = connection.execute(
        "SELECT id FROM runs WHERE checkpoint=? AND samples=? AND temperature=? AND seed=? AND max_tokens=?"
        " AND calibrator=?",
        how,
    ).fetchone()
    return Series(run["id"], row["id"], sampling)


def activation_key(vector: Float[Tensor, " d_model"]) -> str:
    """A hash of the activation's float32 bits."""
    return _digest(vector.detach().to(torch.float32).cpu().numpy().tobytes())


def prefix_key(ids: Sequence[int]) -> str:
    """A hash of the tokens up to the read one: in a causal target they decide the activation up to rounding."""
    return _digest(torch.tensor(list(ids), dtype=torch.int64).numpy().tobytes())


def text_key(text: str) -> str:
    """A hash of a document's text."""
    return _digest(text.encode())


def cached(
    connection: sqlite3.Connection, series: Series, activation: str, prefix: str
) -> tuple[int, list[Completion]] | None:
    """What this checkpoint wrote for this activation under this sampling, with its row's id; None if nothing yet.

    The bits are looked up first, then the tokens: padding and length move the last bits of one and the same state.
    """
    own = (series.checkpoint, series.sampling.key)
    found = "SELECT id, completions FROM answers WHERE checkpoint=? AND sampling=?"
    row = connection.execute(f"{found} AND activation=?", (*own, activation)).fetchone()
    row = row or connection.execute(f"{found} AND prefix=? ORDER BY id LIMIT 1", (*own, prefix)).fetchone()
    if row is None:
        return None
    return row["id"], [Completion(**completion) for completion in json.loads(row["completions"])]


def keep_answer(
    connection: sqlite3.Connection, series: Series, activation: str, prefix: str, written: Sequence[Completion]
) -> None:
    """Cache what was written for an activation."""
    text = json.dumps([asdict(completion) for completion in written])
    connection.execute(
        "INSERT OR IGNORE INTO answers (checkpoint, sampling, activation, prefix, completions) VALUES (?, ?, ?, ?, ?)",
        (series.checkpoint, series.sampling.key, activation, prefix, text),
    )


def document_id(connection: sqlite3.Connection, document: Document) -> int | None:
    """The row of a document; None where it is new."""
    key = document.doc_id, text_key(document.text)
    row = connection.execute("SELECT id FROM documents WHERE doc_id=? AND sha256=?", key).fetchone()
    return None if row is None else int(row["id"])


def visited(connection: sqlite3.Connection, series: Series, document: int, positions: str) -> sqlite3.Row | None:
    """How many readings a finished visit left and whether it cut the text; None where there was no such visit."""
    own = series.run, document, positions
    row: sqlite3.Row | None = connection.execute(
        "SELECT readings, truncated FROM visits WHERE run=? AND document=? AND positions=?", own
    ).fetchone()
    return row


def positions_read(connection: sqlite3.Connection, series: Series, document: int) -> set[int]:
    """The tokens of a document that this run has readings of."""
    rows = connection.execute("SELECT pos FROM readings WHERE run=? AND document=?", (series.run, document))
    return {row["pos"] for row in rows}


def keep_visit(
    connection: sqlite3.Connection,
    series: Series,
    document: Document,
    positions: str,
    placed: Sequence[Placed],
    truncated: bool,
    chosen: int,
) -> None:
    """Write a document's readings in place of those it had, and that these positions are done."""
    connection.execute(
        "INSERT OR IGNORE INTO documents (doc_id, sha256, text) VALUES (?, ?, ?)",
        (document.doc_id, text_key(document.text), document.text),
    )
    row = document_id(connection, document)
    assert row is not None
    own = series.run, row
    if placed:
        _forget_readings(connection, own)
    for one in placed:
        _keep_reading(connection, own, one)
    connection.execute("INSERT OR REPLACE INTO visits VALUES (?, ?, ?, ?, ?)", (*own, positions, chosen, truncated))


def _keep_reading(connection: sqlite3.Connection, own: tuple[int, int], placed: Placed) -> None:
    reading = placed.reading
    values = (
        *own, placed.answer, reading.pos, *placed.offsets, reading.token, reading.token_id, reading.norm,
        json.dumps(list(reading.flags)), reading.explanation, reading.direction_mse, reading.fve_token,
        reading.floor_fve, reading.p_true_reason, json.dumps([list(sample) for sample in reading.samples]),
        json.dumps(list(reading.unparsed)),
    )  # fmt: skip
    cursor = connection.execute(
        "INSERT INTO readings (run, document, answer, pos, char_start, char_end, token, token_id, norm, flags,"
        " explanation, direction_mse, fve_token, floor_fve, p_true_reason, samples, unparsed)"
        f" VALUES ({', '.join('?' * len(values))})",
        values,
    )
    if reading.explanation is not None:
        words = cursor.lastrowid, reading.explanation
        connection.execute("INSERT INTO found_explanations (rowid, explanation) VALUES (?, ?)", words)
    connection.executemany(
        f"INSERT INTO claims (reading, place, {', '.join(CLAIM)}) VALUES (?, ?, {', '.join('?' * len(CLAIM))})",
        [
            (cursor.lastrowid, place, *(getattr(claim, name) for name in CLAIM))
            for place, claim in enumerate(reading.claims)
        ],
    )
    connection.execute(
        "INSERT INTO found_claims (rowid, text) SELECT id, text FROM claims WHERE reading=?", (cursor.lastrowid,)
    )


def _forget_readings(connection: sqlite3.Connection, own: tuple[int, int]) -> None:
    """Delete a document's readings and claims, from the full-text indices first."""
    older = "readings WHERE run=? AND document=?"
    claims = f"claims WHERE reading IN (SELECT id FROM {older})"
    for statement in (
        f"INSERT INTO found_claims (found_claims, rowid, text) SELECT 'delete', id, text FROM {claims}",
        f"DELETE FROM {claims}",
        "INSERT INTO found_explanations (found_explanations, rowid, explanation)"
        f" SELECT 'delete', id, explanation FROM {older} AND explanation IS NOT NULL",
        f"DELETE FROM {older}",
    ):
        connection.execute(statement, own)


def _calibrator(reader: Reader) -> str:
    """A short name of the calibrator, which decides p_true; empty where there is none."""
    pair = reader.checkpoint.calibrator
    return "" if pair is None else _digest(json.dumps(asdict(pair), sort_keys=True).encode())[:12]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
