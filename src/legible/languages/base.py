"""Claims, facts and the languages that connect them.

A `Language` knows, for every token of a document, which facts hold (`facts`), writes explanations from
claims (`write`) and parses explanations back into claims (`parse`); `judge` compares a claim with the facts. What not
every language can do, it declares: the defaults say that it cannot. Text without a language splits into sentences whose
truth is not decided.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from legible.documents import Document, Split

Status = Literal["stated", "implied", "open"]
Verdict = Literal["true", "false", "open", "abstain", "unknown"]
"""`open`: the text leaves it open (counts as wrong in precision); `unknown`: it is undecided (not counted)."""
Polarity = Literal["positive", "negative"]
Family = Literal["next", "ahead", "now", "context"]
"""What a claim is about: the next words, later ones, the running sentence and its last words, or what came before."""
ClaimKey = tuple[str | None, str | None, str | None, Polarity]
ENDED = "\x04"
"""Closes a continuation that the target ended by itself."""
OwnSplit = Split | Literal["pretrain"]
"""Of a language's own documents; `pretrain`: those that a target of its own is trained on."""
MOST_VALUES = 32
"""Of one kind that a probe tells apart, unless its language says otherwise."""
_QUOTED = re.compile(r'"[^"]*"|“[^”]*”')


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
    top_probability: float | None = None  # of the likeliest next token, in [0, 1], where captured
    continuations: tuple[str, ...] = ()  # what the target itself would say next, `ENDED` where it ended, where captured

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
    """What holds of one relation at one token, and of whom.

    `values` is empty when the fact is open, and where it is decided that there is none. `accepted` are values that are
    true too but no answer to what it is: what more general words say, parts of a name.
    """

    relation: str
    status: Status
    values: tuple[str, ...]
    subject: str | None = None
    accepted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """One atomic statement of an explanation.

    relation: what is said of the subject; None where no language parsed it (a sentence of free text).
    value: None where the claim says that it is unknown.
    subject: of whom; None: of whom the language's facts of this relation are.
    polarity: "negative" denies the value.
    """

    text: str
    relation: str | None = None
    value: str | None = None
    subject: str | None = None
    polarity: Polarity = "positive"
    family: Family = "context"

    @property
    def parsed(self) -> bool:
        """Whether a language read a relation from its words."""
        return self.relation is not None

    @property
    def abstains(self) -> bool:
        """Whether it says that something is unknown: that claims nothing."""
        return self.parsed and self.value is None

    @property
    def key(self) -> ClaimKey:
        """What makes two claims the same claim: all but the wording, or the words where no language parsed them."""
        if not self.parsed:
            return None, None, self.text.lower(), self.polarity
        return self.subject, self.relation, self.value, self.polarity

    @property
    def stated(self) -> str:
        """What it says of its relation: "fox", "not fox" or "unknown"."""
        return ("not " if self.polarity == "negative" else "") + (self.value if self.value is not None else "unknown")


@dataclass
class Parsed:
    """An explanation's claims, and the words that state nothing the parser knows, clause by clause."""

    claims: list[Claim] = field(default_factory=list)
    unparsed: list[str] = field(default_factory=list)

    @property
    def unparsed_words(self) -> int:
        """How many words they are."""
        return sum(len(clause.split()) for clause in self.unparsed)


class Language(ABC):
    """Facts of a text, and English for them.

    name: as configurations and contracts write it; the name of the language's folder.
    kinds: every kind of fact.
    subjects: of whom the facts of each kind are, where it says so.
    families: of the kinds whose claims are not about the context.
    probe_kinds: those with one value at a time: a probe can be fitted.
    most_values: of one kind that its probes tell apart.
    list_kinds: those of which one text states several values.
    text_kinds: those that a reader of the text alone can decide without counting words.
    target_kinds: those that only the target decides, whatever the text says.
    values: every value of the kinds whose values are listed.
    stated: how many values of a set-valued kind its teacher states; 1 of kinds not named.
    unsaid: values that its teacher leaves unsaid, by kind: a reading that does not name them misses nothing.
    bounded: its facts hold in documents of its own alone; text that has left them (the flag ood) gets no p_true.
    paraphrases: `write` has held-out wordings.
    tells: it knows what a continuation states (`told`).
    captured: capture settings without which some of its kinds are never decided; `small` makes them its own.
    changeable: kinds that it can change in a document of its own, all else being as it is (`retold`).
    copied: what `without_copied` leaves out.
    apart: an evaluation measures its families each by itself, with retrieval and twins, unless told otherwise.
    twin_kinds: kinds with one value of a text as a whole, in which two texts with the same last tokens can differ.
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]
    probe_kinds: ClassVar[tuple[str, ...]]
    most_values: ClassVar[int] = MOST_VALUES
    subjects: ClassVar[Mapping[str, str]] = {}
    families: ClassVar[Mapping[str, Family]] = {}
    list_kinds: ClassVar[tuple[str, ...]] = ()
    text_kinds: ClassVar[tuple[str, ...]] = ()
    target_kinds: ClassVar[tuple[str, ...]] = ()
    values: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    stated: ClassVar[Mapping[str, int]] = {}
    unsaid: ClassVar[Mapping[str, str]] = {}
    bounded: ClassVar[bool] = False
    paraphrases: ClassVar[bool] = False
    tells: ClassVar[bool] = False
    captured: ClassVar[Mapping[str, int | bool]] = {}
    changeable: ClassVar[tuple[str, ...]] = ()
    copied: ClassVar[str] = "quoted spans left out"
    apart: ClassVar[bool] = False
    twin_kinds: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def facts(self, row: Row) -> Mapping[str, Fact]:
        """The fact of every kind at this token; empty where the language does not know the document."""

    @abstractmethod
    def write(self, claims: Sequence[Claim], row: Row, seed: int, *, held_out: bool = False) -> str:
        """Varied English that states exactly these claims; the wording depends on the document, the token and the seed.

        Args:
            held_out: in wordings that no teacher, role or parser has seen; only where it `paraphrases`.
        """

    @abstractmethod
    def parse(self, explanation: str) -> Parsed:
        """The claims of an explanation; inverse of `write` on its own English."""

    @abstractmethod
    def in_context(self, claim: Claim, row: Row) -> bool:
        """Whether this is a context claim: its value is not among the last 8 tokens."""

    def left_at(self, text: str) -> int | None:
        """The character from which on the text is none of those whose facts the language knows; None: it knows all."""
        return None

    def knows(self, document: Document) -> bool:
        """Whether it knows the facts of this document."""
        return True

    def documents(
        self, split: OwnSplit, seed: int, count: int, *, skip: int = 0, sentences: int | None = None
    ) -> list[Document] | None:
        """Fresh documents of its own; None: it writes none, and a corpus is needed.

        Args:
            split: no document stands in two.
            seed: other documents with another one.
            count, skip: how many, after leaving out the first `skip`.
            sentences: texts of so many sentences, as people type them, in place of whole documents.
        """
        return None

    def entropy(self, document: Document) -> float | None:
        """The generator's own code length of a document in nats; None where it is unknown."""
        return None

    def told(self, prefix: str, continuation: str) -> Mapping[str, str]:
        """The first value of each kind that a continuation, given as data, states."""
        return {}

    def accepted(self, prefix: str, continuation: str, *, cut: bool = True) -> tuple[int, int]:
        """How many sentences of a continuation are the language's, and how many there are; (0, 0): not counted.

        Args:
            cut: it was cut off by length, so its last sentence may be unfinished.
        """
        return 0, 0

    def of_next(self, shares: Sequence[tuple[str, float]]) -> list[tuple[Claim, float]]:
        """What a distribution over the next token says, each claim with a share in [0, 1]; nothing in most languages.

        Args:
            shares: the likeliest tokens as they stand in running text, best first, with their probabilities.
        """
        return []

    def cloze(self, kind: str, prefix: str) -> str:
        """The beginning of a sentence about a text, in words its target knows, that a value of this kind goes on with.

        Args:
            kind: one with listed values.
            prefix: the text so far.
        """
        if set(self.values[kind]) <= {"yes", "no"}:
            claim = Claim("", kind, "yes", self.subjects.get(kind), family=self.families.get(kind, "context"))
            return f"{self.in_plain_words(claim)} Is this right, yes or no? The answer is"
        return f"The {kind} is"

    def alternatives(self, known: Mapping[str, str], kind: str) -> tuple[str, ...]:
        """Other values that a fact could have had, everything that does not depend on it being as it is.

        Args:
            known: the values so far, by kind; where too few are known there are no others.
            kind: one of `changeable`, and known.
        """
        return ()

    def retold(self, doc_id: str, char_end: int, known: Mapping[str, str], kind: str, value: str) -> str:
        """The first `char_end` characters of a document, told with one of the `alternatives`; as many words."""
        raise NotImplementedError

    def taught(self, row: Row, keep: set[str] | None = None) -> list[Claim]:
        """What its teacher states of a row: the stated and implied facts.

        Args:
            keep: limits the kinds that a probe can decide; set-valued kinds have no probe and always stay.
        """
        return [
            Claim("", kind, value, self.subjects.get(kind), family=self.families.get(kind, "context"))
            for kind, fact in self.facts(row).items()
            if fact.status != "open" and (keep is None or kind in keep or kind not in self.probe_kinds)
            for value in fact.values[: self.stated.get(kind, 1)]
            if value != self.unsaid.get(kind)
        ]

    def unusual(self, claim: Claim) -> str | None:
        """What sets a claim apart from those that give a usual subject one of the relation's values; None: nothing."""
        if claim.polarity == "negative":
            return "denies something"
        if claim.relation is not None and claim.subject not in (None, self.subjects.get(claim.relation, claim.subject)):
            return f"is about the {claim.subject}"
        values = self.values.get(claim.relation or "")
        if values is not None and claim.value is not None and claim.value not in values:
            return f"gives {claim.relation} a value that it never has"
        return None

    def affirmed(self, claims: Iterable[Claim], relation: str) -> list[str]:
        """The values that claims give a relation of its usual subject; what is denied, or said of others, is none."""
        return [
            claim.value
            for claim in claims
            if claim.relation == relation and claim.value is not None and self.unusual(claim) is None
        ]

    def in_plain_words(self, claim: Claim) -> str:
        """A claim as a sentence that can be judged by the text alone: with what it states, or spelled out."""
        if claim.value is None or claim.relation is None:
            return claim.text
        usual = claim.subject in (None, self.subjects.get(claim.relation))
        return f"{claim.text} ({claim.relation if usual else f'{claim.subject}: {claim.relation}'}: {claim.stated})"

    def rewritten(self, claims: Sequence[Claim], row: Row, seed: int, *, held_out: bool = False) -> str | None:
        """The claims in other words, the first of a kind that has one value at a time; None where nothing is said.

        What `write` has no words for, a denial or a claim about others, is left out.
        """
        kept: list[Claim] = []
        for claim in claims:
            same = [other for other in kept if other.relation == claim.relation]
            if claim.parsed and self.unusual(claim) is None and (not same or claim.relation in self.list_kinds):
                kept.append(claim)
        return (self.write(kept, row, seed, held_out=held_out) or None) if kept else None

    def without_copied(self, text: str, row: Row, seed: int) -> str | None:
        """An explanation of `row` without what it copies from the last words of the text; None where nothing stays."""
        return unquoted(text) or None


def unquoted(text: str) -> str:
    """A text without its quoted spans, its words one space apart."""
    return " ".join(_QUOTED.sub("", text).split())


def judge(claim: Claim, facts: Mapping[str, Fact]) -> Verdict:
    """Whether a claim holds at a token.

    A denial is true where the fact has another value or none. Of others than a fact's subject nothing is known: "open".
    "unknown" where its relation is none of the facts'.
    """
    if claim.relation is None or claim.relation not in facts:
        return "unknown"
    if claim.value is None:
        return "abstain"
    fact = facts[claim.relation]
    if fact.status == "open" or (None not in (claim.subject, fact.subject) and claim.subject != fact.subject):
        return "open"
    holds = claim.value in fact.values or claim.value in fact.accepted
    return "true" if holds == (claim.polarity == "positive") else "false"


def parsed_by(language: Language | None, explanation: str) -> Parsed:
    """What a language reads from an explanation; without one, its sentences or clauses, whose truth stays undecided."""
    if language is not None:
        return language.parse(explanation)
    parts = re.split(r"(?<=[.;!?])\s+|\n+", explanation.strip())
    return Parsed([Claim(part.strip()) for part in parts if part.strip()])
