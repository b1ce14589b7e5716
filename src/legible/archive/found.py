"""What an archive answers with: runs, hits and counts."""

import json
import sqlite3
from dataclasses import asdict, dataclass
from typing import Any

from legible.display import visible
from legible.reading.marks import Decided

AROUND = 60  # characters of the text given on either side of the token


@dataclass(frozen=True)
class ArchivedRun:
    """A checkpoint under one sampling, as the archive knows it."""

    id: int
    name: str
    fingerprint: str
    target: str
    target_sha256: str
    layer: int
    variance: float | None
    language: str | None
    samples: int
    temperature: float
    seed: int
    calibrator: str
    readings: int

    def __str__(self) -> str:
        return (
            f"{self.id}: {visible(self.name)} (weights {self.fingerprint[:8]}, target {self.target_sha256[:8]}, layer "
            f"{self.layer}), {self.samples} sample(s) at temperature {self.temperature:g}, {self.readings} readings"
        )

    def about(self) -> dict[str, Any]:
        """What a report says of it."""
        names = ("target", "layer", "variance", "language", "samples", "temperature")
        return {"checkpoint": self.name, **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True)
class Hit:
    """An explanation or a claim that was found, with the token it was read at.

    `spans` are the character ranges of `text` that the words matched; `p_true` is the claim's, or the lowest of the
    explanation's claims that have one.
    """

    doc_id: str
    pos: int
    before: str
    token: str
    after: str
    text: str
    spans: tuple[tuple[int, int], ...]
    p_true: float | None
    fve_token: float | None
    flags: tuple[str, ...]
    run: int
    checkpoint: str
    subject: str | None = None
    relation: str | None = None
    value: str | None = None
    polarity: str | None = None
    verdict: str | None = None
    agreement: float | None = None
    claims: tuple[Decided, ...] = ()  # an explanation's, as it is cut at them; none of a single claim

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, the keys of `legible search --json`: those of all fields but `claims`."""
        return {name: value for name, value in asdict(self).items() if name != "claims"}


@dataclass(frozen=True)
class Count:
    """How often a claim, or claims of a relation, were found; of a relation, subject, value and polarity are None."""

    subject: str | None
    relation: str | None
    value: str | None  # where no language parsed the claim: its words
    polarity: str | None
    claims: int
    readings: int
    documents: int
    p_true: float | None  # the mean of those that have one

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, the keys of `legible search --count --json`."""
        return asdict(self)


def hit_of(row: sqlite3.Row, mark: str) -> Hit:
    """A hit of its row; `mark` stands around the matches in its column `marked`."""
    names = ("doc_id", "pos", "token", "text", "p_true", "fve_token", "run", "checkpoint", "subject", "relation",
             "value", "polarity", "verdict", "agreement")  # fmt: skip
    found = {name: row[name] for name in names}
    start, end, text = row["char_start"], row["char_end"], row["document_text"]
    special = start == end  # a special token stands nowhere in the text
    return Hit(
        **found,
        before="" if special else text[max(0, start - AROUND) : start],
        after="" if special else text[end : end + AROUND],
        spans=_spans(row["marked"], mark) if row["marked"] else (),
        flags=tuple(json.loads(row["flags"])),
        claims=tuple(tuple(claim) for claim in json.loads(row["decided"] or "[]")),
    )


def _spans(marked: str, mark: str) -> tuple[tuple[int, int], ...]:
    """Where the highlighted parts stand in the text without its marks."""
    spans: list[tuple[int, int]] = []
    at = 0
    for number, part in enumerate(marked.split(mark)):
        if number % 2:
            spans.append((at, at + len(part)))
        at += len(part)
    return tuple(spans)
