"""Claims, facts and the languages that connect them.

A `Language` knows, for every token of a document, which facts hold (`facts`), writes explanations from
claims (`write`), parses explanations back into claims (`parse`) and judges a claim (`judge`). The world
(`legible.languages.world`) and the facts that are true by construction of any text (`legible.languages.facts`) are the
two languages; text without a language splits into sentences whose truth nobody decides.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from legible.documents import Document

Status = Literal["stated", "implied", "open"]
Verdict = Literal["true", "false", "open", "abstain", "unknown"]
"""`open`: the text leaves it open (counts as wrong in precision); `unknown`: nobody decides it (not counted)."""


@dataclass(frozen=True)
class Row:
    """One captured token: where it stands and what stands around it."""

    document: Document
    pos: int  # index of the read token in the tokenizer's ids, special tokens counted
    char_end: int  # the text up to and including the read token is document.text[:char_end]
    recent_start: int  # document.text[recent_start:char_end] are the last 8 tokens
    token_id: int
    prev_token_id: int
    predictions: tuple[str, ...] = ()  # the target's own top next tokens, where captured
    surprise: float | None = None  # nats of the read token under the target, where captured

    @property
    def prefix(self) -> str:
        """The text up to and including the read token."""
        return self.document.text[: self.char_end]

    @property
    def recent(self) -> str:
        """The text of the last 8 tokens, the read one included."""
        return self.document.text[self.recent_start : self.char_end]


@dataclass(frozen=True)
class Fact:
    """What holds of one kind at one token. `values` is empty when the fact is open."""

    kind: str
    status: Status
    values: tuple[str, ...]


@dataclass(frozen=True)
class Claim:
    """One atomic statement of an explanation; `kind` is None where no language parsed it."""

    text: str
    kind: str | None = None
    value: str | None = None


@dataclass
class Parsed:
    """An explanation's claims and what the parser could not place."""

    claims: list[Claim] = field(default_factory=list)
    unparsed_words: int = 0


class Language(Protocol):
    """Facts of a text, and English for them."""

    @property
    def name(self) -> str:
        """As configurations and contracts write it."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """Every kind of fact."""
        ...

    @property
    def probe_kinds(self) -> tuple[str, ...]:
        """The kinds with one value at a time: a probe can be fitted."""
        ...

    def facts(self, row: Row) -> Mapping[str, Fact]:
        """The fact of every kind at this token."""
        ...

    def write(self, claims: Sequence[Claim], row: Row, seed: int) -> str:
        """Varied English that states exactly these claims."""
        ...

    def parse(self, explanation: str) -> Parsed:
        """The claims of an explanation; inverse of `write` on its own English."""
        ...

    def in_context(self, claim: Claim, row: Row) -> bool:
        """Whether this is a context claim: its value is not among the last 8 tokens."""
        ...

    def left_at(self, text: str) -> int | None:
        """The character from which on the text is none of those whose facts the language knows; None: it knows all."""
        ...


def judge(claim: Claim, facts: Mapping[str, Fact]) -> Verdict:
    """Whether a claim holds at a token; 'unknown' where its kind is not one of the language's."""
    if claim.kind is None or claim.kind not in facts:
        return "unknown"
    if claim.value is None:
        return "abstain"
    fact = facts[claim.kind]
    if fact.status == "open":
        return "open"
    return "true" if claim.value in fact.values else "false"


def split_sentences(explanation: str) -> list[Claim]:
    """Free text as one claim a sentence or clause; truth stays undecided."""
    parts = re.split(r"(?<=[.;!?])\s+|\n+", explanation.strip())
    return [Claim(part.strip()) for part in parts if part.strip()]
