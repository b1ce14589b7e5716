"""The facts language: statements about any English text that are true by construction, and English for them.

Every fact is computed from the text up to the read token (`row.prefix`), from the target's own predictions and from
its surprise, where captured. Only which capitalised words count as names is decided on the whole document.

| kind | holds |
|---|---|
| about, named, cast | the first name of the text so far, the last one, every one |
| hero | the first person or animal word of the text so far |
| being, place, mood | the last person or animal, place and feeling word so far |
| pronoun | the last of he, she and they, any case of it |
| quote, sentence, story | inside or outside a quotation; how far the sentence is; how far the text is |
| topic | content words so far, those that came often and lately first |
| next, surprise | the target's own top next tokens; how little it expected the read token |
| last, last2, last3 | the word at the read token (its last letters may still be to come) and the two before it |

Context claims: what the last 8 tokens or the position give away (`last…`, `story`, a word among those tokens, a
quotation mark or sentence end among them) never counts as one.
"""

import math
import random
from collections.abc import Mapping, Sequence
from typing import ClassVar

from legible.languages.base import Claim, Fact, Language, Parsed, Row, unquoted
from legible.languages.facts import english
from legible.languages.facts.english import GROUPS, LIST_KINDS, SEEN, TAIL_KINDS, statement, tail_statement
from legible.languages.facts.held_out import HELD_OUT
from legible.languages.facts.lexicon import BEINGS, FEELINGS, PLACES, PRONOUNS, THINGS
from legible.languages.facts.plain import spelled_out
from legible.languages.facts.text import Word, analyse, words_between
from legible.languages.surface import COMMON, last_chunks, piece_value, plain

COMPANIONS = {"cast": {"about", "named"}, "topic": {"being", "place", "mood"}}
"""Set-valued kinds have no probe: under a limit they are stated where a probe finds one of these."""
_LISTED = BEINGS | PLACES | FEELINGS | THINGS


class FactsLanguage(Language):
    """Facts of any English text."""

    name = "facts"
    kinds = (*SEEN.open, *SEEN.closed, *TAIL_KINDS)
    probe_kinds = ("about", "named", "hero", "being", "pronoun", "mood", "place", *SEEN.closed)
    subjects: ClassVar[Mapping[str, str]] = dict.fromkeys((*SEEN.open, *SEEN.closed, *TAIL_KINDS), english.SUBJECT)
    families = english.FAMILIES
    list_kinds = LIST_KINDS
    text_kinds = ("about", "named", "hero", "being", "place", "mood", "pronoun", "topic")
    target_kinds = ("next", "surprise")
    stated: ClassVar[Mapping[str, int]] = {"cast": 2, "topic": 2, "next": 3}
    paraphrases = True
    copied = "quoted spans and the statement of the last words left out"

    def facts(self, row: Row) -> Mapping[str, Fact]:
        """The fact of every kind at this token; set-valued kinds list their values, the most telling first."""
        text = analyse(row.document.text)
        words = text.words[: text.words_before(row.char_end)]
        tail = [plain(chunk) for chunk in last_chunks(row.prefix, len(TAIL_KINDS))]
        facts = {
            **_name_facts(words),
            **_last_facts(words),
            "hero": [word.lower for word in words if word.lower in BEINGS][:1],
            "topic": _topics(words, row),
            "quote": ["inside" if text.in_quote(row.char_end) else "outside"],
            "sentence": [_sentence_state(len(words), text.sentence_start(row.char_end))],
            "story": [_bucket(len(words), {"opening": 30, "early": 80, "middle": 150}, "late")],
            "next": list(dict.fromkeys(filter(None, map(piece_value, row.predictions)))),
            "surprise": [] if row.surprise is None else [_bucket(row.surprise, {"low": 0.7, "medium": 3.0}, "high")],
            **{kind: tail[-1 - depth : len(tail) - depth] for depth, kind in enumerate(TAIL_KINDS)},
        }
        return {
            kind: Fact(kind, "stated" if facts[kind] else "open", tuple(facts[kind]), english.SUBJECT)
            for kind in self.kinds
        }

    def write(self, claims: Sequence[Claim], row: Row, seed: int, *, held_out: bool = False) -> str:
        """Varied English that states exactly these claims; the wording depends on the document, the token and the seed.

        Raises:
            ValueError: a claim of another language, without a value, or two values for a kind that has one.
        """
        rng = random.Random(f"facts{' held out' if held_out else ''} {seed} {row.document.doc_id} {row.pos}")
        wordings = HELD_OUT if held_out else SEEN
        pick = rng.choice if held_out else lambda several: several[rng.randrange(6) % len(several)]
        values = _by_kind(claims, self.kinds)
        sentences = []
        for group in rng.sample(GROUPS, len(GROUPS)):
            sentences += [statement(kind, values[kind], wordings, pick) for kind in group if kind in values]
        tail = {kind: values[kind][0] for kind in TAIL_KINDS if kind in values}
        return " ".join([*sentences, tail_statement(tail, pick(wordings.tail))] if tail else sentences)

    def parse(self, explanation: str) -> Parsed:
        """The claims of an explanation, in its order; inverse of `write`."""
        return english.scan(explanation)

    def taught(self, row: Row, keep: set[str] | None = None) -> list[Claim]:
        """Every known fact: one value per kind, two more names, two topic words, three predictions.

        A name stated as first or last is not repeated in the cast.
        """
        claims = super().taught(row, keep)
        named = {claim.value for claim in claims if claim.relation in ("about", "named")}
        dropped = set() if keep is None else {kind for kind, near in COMPANIONS.items() if not near & keep}
        return [
            claim
            for claim in claims
            if claim.relation not in dropped and not (claim.relation == "cast" and claim.value in named)
        ]

    def in_plain_words(self, claim: Claim) -> str:
        """The claim spelled out for a reader who does not know this short English."""
        return spelled_out(claim) or super().in_plain_words(claim)

    def without_copied(self, text: str, row: Row, seed: int) -> str | None:
        """The explanation without quoted spans and without its final statement."""
        return " ".join(english.TAIL_STATEMENT.sub("", unquoted(text)).split()) or None

    def in_context(self, claim: Claim, row: Row) -> bool:
        """Whether neither the last 8 tokens nor the position give this claim away."""
        if claim.relation is None or claim.value is None or claim.relation == "story" or claim.relation in TAIL_KINDS:
            return False
        if claim.relation == "quote":
            return not any(mark in row.recent for mark in '"“”\n')
        if claim.relation == "sentence":
            return not any(mark in row.recent for mark in ".!?\n")
        recent = words_between(row.document.text, row.recent_start, row.char_end)
        if claim.relation == "pronoun":
            return claim.value not in {PRONOUNS.get(word) for word in recent}
        value = claim.value.removeprefix("-").lower()
        return value not in recent and (
            (value == claim.value.lower() and value.isalnum()) or value not in row.recent.lower()
        )


def _by_kind(claims: Sequence[Claim], kinds: tuple[str, ...]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for claim in claims:
        if claim.relation not in kinds or claim.value is None or claim.polarity == "negative":
            raise ValueError(
                f"the facts language cannot state {claim.relation!r} with {claim.stated!r}; "
                f"it affirms values of {', '.join(kinds)}"
            )
        if claim.value not in values.setdefault(claim.relation, []):
            values[claim.relation].append(claim.value)
    for kind, several in values.items():
        if len(several) > 1 and kind not in LIST_KINDS:
            raise ValueError(f"the facts language states one value of {kind!r} at a time, got {', '.join(several)}")
    return values


def _name_facts(words: Sequence[Word]) -> dict[str, list[str]]:
    names = [word.name for word in words if word.name]
    seen = list(dict.fromkeys(reversed(names)))
    ends = {names[0], names[-1]} if names else set()
    return {
        "about": names[:1],
        "named": names[-1:],
        "cast": [*(n for n in seen if n not in ends), *(n for n in seen if n in ends)],
    }


def _last_facts(words: Sequence[Word]) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {"being": [], "place": [], "mood": [], "pronoun": []}
    for word in reversed(words):
        for kind, listed in (("being", BEINGS), ("place", PLACES), ("mood", FEELINGS)):
            if not named[kind] and word.lower in listed:
                named[kind] = [word.lower]
        if not named["pronoun"] and word.lower in PRONOUNS:
            named["pronoun"] = [PRONOUNS[word.lower]]
        if all(named.values()):
            break
    return named


def _topics(words: Sequence[Word], row: Row) -> list[str]:
    """Content words so far, those first that came often and lately; words just read or listed elsewhere come last."""
    weight: dict[str, float] = {}
    later: set[str] = set()
    for age, word in enumerate(reversed(words)):
        if word.name or word.lower in COMMON or len(word.lower) < 3 or word.lower in PRONOUNS:
            continue
        if word.end > row.recent_start or word.lower in _LISTED:
            later.add(word.lower)
        weight[word.lower] = weight.get(word.lower, 0.0) + math.exp(-age / 60)
    return sorted(weight, key=lambda word: (word in later, -weight[word], word))


def _sentence_state(words: int, started: int | None) -> str:
    return "end" if started is None else _bucket(words - started, {"start": 4, "middle": 10}, "late")


def _bucket(value: float, below: dict[str, float], otherwise: str) -> str:
    return next((name for name, bound in below.items() if value < bound), otherwise)
