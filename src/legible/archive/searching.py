"""Questions to an archive: full-text search over explanations or single claims, and counts.

Words are in SQLite's full-text language: several words must all occur, "a phrase", OR, NOT, prefix*. They are always a
parameter, never part of a statement.
"""

import json
import secrets
import shlex
import sqlite3
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from legible.archive.found import ArchivedRun, Count, Hit, hit_of
from legible.archive.keeping import CLAIM
from legible.archive.schema import failures, open_archive
from legible.display import visible
from legible.documents import Document
from legible.errors import ArchiveError, UsageError
from legible.reading.html import Span
from legible.reading.reading import ReadClaim, Reading, check_trust

_ABSTENTION = "claims.relation IS NOT NULL AND claims.value IS NULL"
_SIDES = """FROM readings JOIN documents ON documents.id = readings.document
 JOIN runs ON runs.id = readings.run JOIN checkpoints ON checkpoints.id = runs.checkpoint"""


class Archive:
    """An archive opened for queries; also a context manager.

    Raises:
        UsageError: no archive there, or one of another format.

    Example:
        >>> with Archive("out.db") as archive:  # doctest: +SKIP
        ...     for hit in archive.claims("hammer OR axe", min_trust=0.8):
        ...         print(hit.doc_id, hit.token, hit.text, hit.p_true)
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.connection = open_archive(self.path)

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def runs(self) -> list[ArchivedRun]:
        """Who read what is in the archive, oldest first."""
        rows = self._rows(
            "SELECT runs.id, name, fingerprint, target, target_sha256, layer, variance, language, samples, temperature,"
            " seed, calibrator, (SELECT count(*) FROM readings WHERE run=runs.id) AS readings"
            " FROM runs JOIN checkpoints ON checkpoints.id = runs.checkpoint ORDER BY runs.id"
        )
        return [ArchivedRun(**dict(row)) for row in rows]

    def run(self, name: str | None = None) -> ArchivedRun:
        """The run of this number, checkpoint name or beginning of a fingerprint; the only one where none is named.

        Raises:
            UsageError: there is none, or several.
        """
        found = [run for run in self.runs if name is None or name in (str(run.id), run.name)]
        found = found or [run for run in self.runs if name and run.fingerprint.startswith(name)]
        if len(found) == 1:
            return found[0]
        what = f"{len(found)} runs" + (f" of the name {name!r}" if name else "")
        there = "".join(f"\n  {run}" for run in self.runs)
        raise UsageError(f"{self.path} holds {what}, expected one. Name it by its number:{there}")

    def search(
        self,
        words: str | None = None,
        *,
        min_trust: float | None = None,
        relation: str | None = None,
        run: int | None = None,
        limit: int | None = 20,
    ) -> list[Hit]:
        """Explanations in which the words occur, the best matches first.

        Args:
            words: full-text query; None: every explanation, in the archive's order.
            min_trust: only explanations that claim something and all of whose claims reach this p_true; a claim that
                something is unknown does not count.
            relation: only explanations with a claim of this relation.
            run: only this run's.
            limit: at most so many; None: all.

        Raises:
            UsageError: words that are no full-text query, a trust that is no probability, or an unknown relation.
        """
        where, values = self._filters(words, relation, run, "found_explanations")
        of_this = "SELECT 1 FROM claims WHERE claims.reading = readings.id"
        if check_trust(min_trust) is not None:
            where += [
                f"EXISTS ({of_this} AND claims.p_true >= ?)",
                f"NOT EXISTS ({of_this} AND NOT ({_ABSTENTION}) AND ifnull(claims.p_true, -1) < ?)",
            ]
            values += [min_trust, min_trust]
        if relation is not None:
            where.append(f"EXISTS ({of_this} AND claims.relation = ?)")
            values.append(relation)
        source = "JOIN found_explanations ON found_explanations.rowid = readings.id" if words is not None else ""
        return self._hits(
            "readings.explanation AS text, (SELECT min(p_true) FROM claims WHERE reading = readings.id) AS p_true,"
            f" {_DECIDED} AS decided,"
            " NULL AS subject, NULL AS relation, NULL AS value, NULL AS polarity, NULL AS verdict, NULL AS agreement",
            source,
            "found_explanations" if words is not None else None,
            ["readings.explanation IS NOT NULL", *where],
            values,
            limit,
        )

    def claims(
        self,
        words: str | None = None,
        *,
        min_trust: float | None = None,
        relation: str | None = None,
        run: int | None = None,
        limit: int | None = 20,
    ) -> list[Hit]:
        """Single claims in whose words the words occur; see `search`. `min_trust` is the least p_true of the claim."""
        where, values = self._claim_filters(words, min_trust, relation, run)
        return self._hits(
            "claims.text, claims.p_true, claims.subject, claims.relation, claims.value, claims.polarity,"
            " claims.verdict, claims.agreement, NULL AS decided",
            _claim_source(words),
            "found_claims" if words is not None else None,
            where,
            values,
            limit,
        )

    def count(
        self,
        words: str | None = None,
        *,
        by: str = "claim",
        min_trust: float | None = None,
        relation: str | None = None,
        run: int | None = None,
        limit: int | None = 20,
    ) -> list[Count]:
        """How often each claim (`by="claim"`) or relation (`by="relation"`) was made, the most frequent first.

        Arguments and errors are those of `claims`.
        """
        where, values = self._claim_filters(words, min_trust, relation, run)
        value = "ifnull(claims.value, CASE WHEN claims.relation IS NULL THEN lower(claims.text) END)"
        subject, value, polarity = ("claims.subject", value, "claims.polarity") if by == "claim" else ("NULL",) * 3
        rows = self._rows(
            f"SELECT claims.relation AS relation, {value} AS value, {subject} AS subject, {polarity} AS polarity,"
            " count(*) AS claims,"
            " count(DISTINCT readings.id) AS readings, count(DISTINCT readings.document) AS documents,"
            f" avg(claims.p_true) AS p_true {_SIDES} {_claim_source(words)} {_where(where)}"
            " GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC, 1, 2, 3, 4 LIMIT ?",
            [*values, -1 if limit is None else limit],
        )
        return [Count(**dict(row)) for row in rows]

    def documents(self, run: ArchivedRun) -> Iterator[tuple[Document, list[Reading], list[Span]]]:
        """Every document that a run has readings of, as they were read: its readings, and where each stands."""
        rows = self._rows(
            "SELECT id, doc_id, text FROM documents WHERE id IN (SELECT document FROM readings WHERE run=?)"
            " ORDER BY id",
            [run.id],
        )
        for row in rows:
            found = self._rows("SELECT * FROM readings WHERE run=? AND document=? ORDER BY pos", [run.id, row["id"]])
            spans = [(one["char_start"], one["char_end"]) for one in found]
            yield Document(row["doc_id"], row["text"]), [self._reading(one, run) for one in found], spans

    def _reading(self, row: sqlite3.Row, run: ArchivedRun) -> Reading:
        claims = self._rows("SELECT * FROM claims WHERE reading=? ORDER BY place", [row["id"]])
        return Reading(
            **{name: row[name] for name in ("pos", "token", "token_id", "norm", "explanation", "direction_mse",
                                            "fve_token", "floor_fve", "p_true_reason")},
            layer=run.layer,
            flags=tuple(json.loads(row["flags"])),
            claims=tuple(ReadClaim(**{name: claim[name] for name in CLAIM}) for claim in claims),
            samples=tuple((text, mse) for text, mse in json.loads(row["samples"])),
            unparsed=tuple(json.loads(row["unparsed"])),
        )  # fmt: skip

    def _claim_filters(
        self, words: str | None, min_trust: float | None, relation: str | None, run: int | None
    ) -> tuple[list[str], list[Any]]:
        where, values = self._filters(words, relation, run, "found_claims")
        if check_trust(min_trust) is not None:
            where.append("claims.p_true >= ?")
            values.append(min_trust)
        if relation is not None:
            where.append("claims.relation = ?")
            values.append(relation)
        return where, values

    def _filters(
        self, words: str | None, relation: str | None, run: int | None, index: str
    ) -> tuple[list[str], list[Any]]:
        where: list[str] = []
        values: list[Any] = []
        if words is not None:
            self._check_words(words, index)
            where.append(f"{index} MATCH ?")
            values.append(words)
        if run is not None:
            where.append("readings.run = ?")
            values.append(run)
        if relation is not None and not self._rows("SELECT 1 FROM claims WHERE relation=? LIMIT 1", [relation]):
            known = self._rows("SELECT DISTINCT relation FROM claims WHERE relation NOT NULL ORDER BY 1")
            there = visible(", ".join(row["relation"] for row in known)) or "claims without relations"
            raise UsageError(f"no claim of the relation {relation!r}: the archive has {there}.")
        return where, values

    def _check_words(self, words: str, index: str) -> None:
        """Refuse words that are no full-text query, with a query that is one."""
        try:
            with failures(self.path):
                self.connection.execute(f"SELECT 1 FROM {index} WHERE {index} MATCH ? LIMIT 1", [words]).fetchone()
        except (ArchiveError, UnicodeEncodeError) as failed:
            error = failed.__context__ if isinstance(failed, ArchiveError) else failed
            if isinstance(error, sqlite3.Error) and error.sqlite_errorname != "SQLITE_ERROR":
                raise  # locked or damaged: not the words
            phrase = '"' + words.encode(errors="replace").decode().replace('"', '""') + '"'
            raise UsageError(
                f"{words!r} is not understood as a search ({error}).\n"
                '  Expected words (all must occur), "a phrase", OR, NOT or prefix*.\n'
                f"  Punctuation needs double quotes inside the argument: {shlex.quote(phrase)}"
            ) from None

    def _hits(
        self,
        columns: str,
        source: str,
        index: str | None,
        where: Sequence[str],
        values: Sequence[Any],
        limit: int | None,
    ) -> list[Hit]:
        mark = secrets.token_hex(8)  # cannot occur in what a model wrote
        marked = f"highlight({index}, 0, '{mark}', '{mark}') AS marked" if index else "NULL AS marked"
        order = f"{index}.rank, readings.id" if index else "readings.id"
        rows = self._rows(
            f"SELECT doc_id, pos, documents.text AS document_text, char_start, char_end, token, fve_token, flags,"
            f" runs.id AS run, checkpoints.name AS checkpoint, {columns}, {marked} {_SIDES} {source} {_where(where)}"
            f" ORDER BY {order}{', claims.place' if 'JOIN claims' in source else ''} LIMIT ?",
            [*values, -1 if limit is None else limit],
        )
        return [hit_of(row, mark) for row in rows]

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with failures(self.path):
            return self.connection.execute(statement, values).fetchall()


_DECIDED = (
    "(SELECT json_group_array(json_array(text, value, verdict, p_true)) FROM"
    " (SELECT * FROM claims WHERE reading = readings.id ORDER BY place))"
)


def _claim_source(words: str | None) -> str:
    source = "JOIN claims ON claims.reading = readings.id"
    return source if words is None else f"{source} JOIN found_claims ON found_claims.rowid = claims.id"


def _where(conditions: Sequence[str]) -> str:
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""
