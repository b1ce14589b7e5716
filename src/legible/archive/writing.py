"""Read a whole corpus into an archive: resumable, and no activation is explained twice.

Words are committed as soon as they are written, readings some documents at a time. A killed process repeats at most
the call of the verbalizer that it died in (64 activations), and the resumed archive equals an unbroken one row for row:
what an activation draws depends on the seed and the activation alone.
"""

import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from legible.archive import keeping
from legible.archive.choosing import Positions
from legible.archive.keeping import Placed, Sampling, Series
from legible.archive.schema import failures, open_for_writing, transaction
from legible.config import CaptureConfig
from legible.documents import Document, read_corpus
from legible.engines import Completion, Key
from legible.errors import UsageError
from legible.fileio import fault_point
from legible.models.target import Encoded
from legible.reading.reader import Prepared, Reader
from legible.reading.trusted import sampling_temperature

ROWS = 64  # activations in one call of the verbalizer, and about as many readings between two commits
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass
class Filled:
    """What a corpus run did. `written` counts activations that the verbalizer was asked about."""

    documents: int = 0
    finished_before: int = 0
    readings: int = 0
    written: int = 0
    from_cache: int = 0
    truncated: int = 0  # documents cut to the target's context
    without_positions: int = 0  # documents too short for the positions asked for
    repaired: int = 0  # documents with lone surrogates, which are no text: replaced

    def as_dict(self) -> dict[str, int]:
        """Plain JSON numbers."""
        return dict(vars(self))

    def lines(self) -> list[str]:
        """A summary to print."""
        found = [
            f"{self.documents} documents, {self.finished_before} of them finished before; {self.readings} readings; "
            f"{self.written} activations explained now, {self.from_cache} taken from the archive"
        ]
        for count, what in (
            (self.truncated, "cut to the target's context"),
            (self.without_positions, "too short for the positions asked for: not read"),
            (self.repaired, "held lone surrogates, replaced by U+FFFD"),
        ):
            found += [f"{count} documents {what}"] if count else []
        return found


def fill(
    reader: Reader,
    corpus: Path,
    path: Path,
    positions: Positions,
    *,
    samples: int = 1,
    temperature: float | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Filled:
    """Read every document of a corpus that the archive does not have yet.

    Args:
        reader: a checkpoint; the archive may already hold others.
        corpus: `.jsonl`, `.jsonl.gz` or `.txt`, see `legible.documents.read_corpus`.
        path: the archive, made where there is none.
        positions: which tokens; with others than before, a document gets readings at both.
        samples, temperature, seed: as for `Reader.read`.
        progress: called with (documents done, documents) now and then.

    Raises:
        UsageError: a corpus that cannot be read, a file that is no archive, or samples below 1.
        ArchiveError: the archive cannot be written.
    """
    if samples < 1:
        raise UsageError(f"samples is {samples}, expected at least 1.")
    total = sum(1 for _ in read_corpus(corpus))
    sampling = Sampling(samples, sampling_temperature(samples, temperature), seed, reader.longest)
    connection = open_for_writing(path)
    with closing(connection), failures(path):
        with transaction(connection):
            series = keeping.series_of(connection, reader, sampling)
        filler = _Filler(reader, connection, series, positions)
        for document in read_corpus(corpus):
            if filler.add(document):
                progress(filler.found.documents, total)
        filler.flush()
        progress(total, total)
    return filler.found


@dataclass(frozen=True)
class _Waiting:
    """A document whose tokens are to be read."""

    document: Document
    encoded: Encoded
    chosen: list[int]  # all tokens that are to have readings afterwards, those with older ones included
    asked: int
    truncated: bool


class _Filler:
    def __init__(self, reader: Reader, connection: sqlite3.Connection, series: Series, positions: Positions) -> None:
        self.reader, self.connection, self.series, self.positions = reader, connection, series, positions
        if reader.engine is not reader.checkpoint.engine:
            raise UsageError("a search and an archive do not go together.\n  Leave --search out.")
        extra = reader.checkpoint.contract.legible
        self.sampled = CaptureConfig.from_positions(extra.variance.positions if extra and extra.variance else "")
        self.waiting: dict[Document, _Waiting] = {}
        self.found = Filled()

    def add(self, document: Document) -> bool:
        """Take up a document; whether this led to work that was committed."""
        document = self._repaired(document)
        self.found.documents += 1
        row = keeping.document_id(self.connection, document)
        visit = None if row is None else keeping.visited(self.connection, self.series, row, self.positions.key)
        if visit is not None or document in self.waiting:
            self.found.finished_before += 1
            self.found.truncated += visit["truncated"] if visit else 0
            self.found.without_positions += visit is not None and not visit["readings"]
            return False
        whole = self.reader.checkpoint.target.encode(document.text)
        context = self.reader.checkpoint.target.context
        encoded = Encoded(whole.ids[:context], whole.offsets[:context])
        asked = self.positions.choose(document, encoded, self.sampled)
        older = keeping.positions_read(self.connection, self.series, row) if row is not None and asked else set()
        chosen = sorted({*asked, *older})
        truncated = len(whole.ids) > context
        self.waiting[document] = _Waiting(document, encoded, chosen, len(asked), truncated)
        self.found.truncated += truncated
        self.found.without_positions += not asked
        self.found.readings += len(asked)
        if sum(len(waiting.chosen) for waiting in self.waiting.values()) < ROWS:
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Read every waiting document and commit it."""
        prepared = {
            one.document: self.reader.prepare(one.document, one.encoded) for one in self.waiting.values() if one.chosen
        }
        self._write_missing(prepared)
        placed = {document: self._placed(self.waiting[document], text) for document, text in prepared.items()}
        with transaction(self.connection):
            for one in self.waiting.values():
                keeping.keep_visit(
                    self.connection,
                    self.series,
                    one.document,
                    self.positions.key,
                    placed.get(one.document, []),
                    one.truncated,
                    one.asked,
                )
        fault_point("readings")
        self.waiting = {}

    def _write_missing(self, prepared: dict[Document, Prepared]) -> None:
        """Let the verbalizer write for every activation that the cache does not hold."""
        missing: dict[str, tuple[str, torch.Tensor, Key]] = {}
        prefixes: set[str] = set()
        for document, text in prepared.items():
            for pos in self.waiting[document].chosen:
                activation, prefix = self._keys(text, pos)
                known = activation in missing or prefix in prefixes
                if known or keeping.cached(self.connection, self.series, activation, prefix) is not None:
                    self.found.from_cache += 1
                    continue
                [key] = text.keys([pos], self.series.sampling.seed)
                missing[activation] = prefix, text.stream[pos], key
                prefixes.add(prefix)
        order = list(missing)
        for start in range(0, len(order), ROWS):
            part = order[start : start + ROWS]
            written = self._generate([missing[activation] for activation in part])
            with transaction(self.connection):
                for activation, completions in zip(part, written, strict=True):
                    keeping.keep_answer(self.connection, self.series, activation, missing[activation][0], completions)
            self.found.written += len(part)
            fault_point("answers")

    def _generate(self, missing: Sequence[tuple[str, torch.Tensor, Key]]) -> list[list[Completion]]:
        how = self.series.sampling
        return self.reader.engine.generate(
            torch.stack([vector for _, vector, _ in missing]),
            [key for _, _, key in missing],
            samples=how.samples,
            temperature=how.temperature,
            max_tokens=how.max_tokens,
        )

    def _placed(self, one: _Waiting, text: Prepared) -> list[Placed]:
        """A document's readings, made of cached words."""
        answers = [keeping.cached(self.connection, self.series, *self._keys(text, pos)) for pos in one.chosen]
        known = [answer for answer in answers if answer is not None]
        heat = self.series.sampling.temperature
        readings = self.reader.readings(text, one.chosen, [written for _, written in known], temperature=heat)
        return [
            Placed(reading, one.encoded.offsets[reading.pos], answer)
            for reading, (answer, _) in zip(readings, known, strict=True)
        ]

    def _keys(self, text: Prepared, pos: int) -> tuple[str, str]:
        return keeping.activation_key(text.stream[pos]), keeping.prefix_key(text.encoded.ids[: pos + 1])

    def _repaired(self, document: Document) -> Document:
        clean = Document(*(_LONE_SURROGATE.sub("\ufffd", part) for part in (document.doc_id, document.text)))
        self.found.repaired += clean != document
        return clean
