"""The text language: what is true of any text, said in plain English, decided by data stored with the text.

| family | kinds | decided by |
|---|---|---|
| next | next_token, certainty | the target's own distribution at the token |
| ahead | say, will_list, will_ask, and others | what at least 3 of 4 of the target's continuations do |
| now | last_word, in_quote, speaker, and others | the text up to the token |
| context | topic, kind, language, about, person, place, sentiment, tense | the document's `legible.labels` |

What is undecided for a row, because its document lacks the label or nothing was captured, is no fact there: claims
about it are "unknown" and are not counted. That a label names no one yet is decided: any name claimed is then false.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from legible.labels import Label
from legible.languages.base import Claim, Fact, Language, Parsed, Row
from legible.languages.surface import GAP, piece_value, plain
from legible.languages.text import english
from legible.languages.text.ahead import agreed
from legible.languages.text.clues import given_away
from legible.languages.text.english import AHEAD, CONTEXT, FAMILIES, KINDS, LAST, LISTS, NEXT, NOW, SUBJECTS, WORDINGS
from legible.languages.text.nouns import ACCEPTED
from legible.languages.text.state import shown, state
from legible.languages.text.values import CLOSED, UNSAID, YES

SURE, TORN = 0.7, 0.25
"""The likeliest next token's probability from which the model is sure, and below which it is torn."""
CLOZES = {
    "kind": "The text above is of this kind:", "language": "The text above is in", "topic": "The topic of the text is",
    "about": "In one word, the text above is about a", "sentiment": "The tone of the text is",
    "tense": "The tense of the text is", "speaker": "Here speaks the", "certainty": "About the next word I am",
}  # fmt: skip
"""How a model is asked about its text."""
_GROUPS = (CONTEXT, NOW, (*AHEAD, *NEXT))


class TextLanguage(Language):
    """Facts of any text, by labels, by the text itself, and by its target."""

    name = "text"
    kinds = KINDS
    probe_kinds = (*(kind for kind in CLOSED if kind != "about"), "about", *YES)
    most_values = 96
    subjects = SUBJECTS
    families = FAMILIES
    list_kinds = LISTS
    text_kinds = (*CONTEXT, *NOW, LAST[0])
    target_kinds = (*AHEAD, *NEXT)
    values: ClassVar[Mapping[str, tuple[str, ...]]] = {**CLOSED, **YES}
    stated: ClassVar[Mapping[str, int]] = {"person": 2, "place": 2, "say": 2, "next_token": 3}
    unsaid = UNSAID
    paraphrases = True
    captured: ClassVar[Mapping[str, int | bool]] = {"predictions": 5, "certainty": True, "continuations": 1}
    apart = True
    twin_kinds = ("topic", "language", "kind", "sentiment", "tense", "speaker")
    copied = "quoted spans left out, and the statements that hold them"

    def facts(self, row: Row) -> Mapping[str, Fact]:
        """The fact of every kind that the row's labels, its text or its target decide; no others."""
        decided = {
            **_labelled(row),
            **{kind: _decided(kind, [value]) for kind, value in state(row.prefix).items()},
            **_ahead(row),
            **_next(row),
        }
        return {kind: decided[kind] for kind in KINDS if kind in decided}

    def write(self, claims: Sequence[Claim], row: Row, seed: int, *, held_out: bool = False) -> str:
        """Plain English that states exactly these claims; the wording depends on the document, the token and the seed.

        Raises:
            ValueError: a denial, a claim of another language, a value that a kind does not have, or two of a kind that
                has one.
        """
        rng = random.Random(f"text{' held out' if held_out else ''} {seed} {row.document.doc_id} {row.pos}")
        said = _by_kind(claims)
        sentences = []
        for group in rng.sample(_GROUPS, len(_GROUPS)):
            for kind in group:
                if kind in said:
                    wordings = WORDINGS[kind].held_out if held_out else WORDINGS[kind].seen
                    sentences.append(_sentence(kind, said[kind], rng.choice(wordings)))
        wordings = WORDINGS[LAST[0]].held_out if held_out else WORDINGS[LAST[0]].seen
        return " ".join([*sentences, *_last_words(said, rng.choice(wordings))])

    def parse(self, explanation: str) -> Parsed:
        """The claims of an explanation, in its order; inverse of `write`, and it reads the denials of its sentences."""
        return english.scan(explanation)

    def in_context(self, claim: Claim, row: Row) -> bool:
        """Whether neither the last 8 tokens nor the position give this claim away."""
        return claim.relation in KINDS and claim.value is not None and not given_away(claim.relation, claim.value, row)

    def in_plain_words(self, claim: Claim) -> str:
        """The claim as the one statement of its kind; a "no", like a denial, as the statement called wrong."""
        if claim.relation not in KINDS or claim.value is None:
            return claim.text
        if claim.relation in LAST:
            said = f'The last word but {LAST.index(claim.relation)} is "{claim.value}".'.replace(" but 0", "")
        else:
            said = _sentence(claim.relation, [claim.value], WORDINGS[claim.relation].seen[0])
        denied = (claim.polarity == "negative") != (claim.relation in YES and claim.value == "no")
        return f"This is wrong: {said}" if denied else said

    def of_next(self, shares: Sequence[tuple[str, float]]) -> list[tuple[Claim, float]]:
        """Which token comes next, with its probability; how certain that is, with that of the likeliest."""
        found: dict[str, float] = {}
        for piece, share in shares:
            value = shown(plain(piece_value(piece)))
            if value:
                found[value] = max(share, found.get(value, 0.0))
        claims = [(_of_model("next_token", value), share) for value, share in found.items()]
        if not shares:
            return claims
        best = shares[0][1]
        return [*claims, (_of_model("certainty", _certainty(best)), best)]

    def cloze(self, kind: str, prefix: str) -> str:
        """The beginning of a sentence about the text above; of kinds that hold or do not, a question."""
        return CLOZES.get(kind) or super().cloze(kind, prefix)

    def without_copied(self, text: str, row: Row, seed: int) -> str | None:
        """The statements that quote nothing."""
        claims = [claim for claim in self.parse(text).claims if claim.relation in CLOSED or claim.relation in YES]
        return " ".join(dict.fromkeys(claim.text for claim in claims)) or None


def _labelled(row: Row) -> dict[str, Fact]:
    labels, facts = row.document.labels, {}
    for kind in CONTEXT:
        if kind in labels:
            fact = _named(kind, labels[kind], row) if kind in LISTS else _single(kind, labels[kind], row)
            if fact is not None:
                facts[kind] = fact
    return facts


def _single(kind: str, label: Label, row: Row) -> Fact | None:
    """None where no value holds yet, or the label's is none of the language's: then nothing is decided."""
    value = label.at(row.char_end)
    if value not in CLOSED[kind]:
        return None
    return _decided(kind, [value], ACCEPTED[value] if kind == "about" else ())


def _named(kind: str, label: Label, row: Row) -> Fact:
    """The names so far, the last first; the words of a longer name are accepted alone."""
    names = [shown(name) for name in label.until(row.char_end)][::-1]
    parts = {word for name in names if " " in name for word in name.split() if word[0].isupper()}
    return _decided(kind, names, sorted(parts - set(names)))


def _ahead(row: Row) -> dict[str, Fact]:
    if not row.continuations:
        return {}
    facts = {}
    for kind, value in agreed(row.prefix, row.continuations).items():
        if isinstance(value, tuple):
            facts[kind] = _decided(kind, *value)
        else:
            facts[kind] = Fact(kind, "open", (), SUBJECTS[kind]) if value is None else _decided(kind, [value])
    return facts


def _next(row: Row) -> dict[str, Fact]:
    facts = {}
    if row.predictions:
        pieces = (shown(plain(piece_value(piece))) for piece in row.predictions)
        facts["next_token"] = _decided("next_token", list(dict.fromkeys(filter(None, pieces))))
    if row.top_probability is not None:
        facts["certainty"] = _decided("certainty", [_certainty(row.top_probability)])
    return facts


def _certainty(share: float) -> str:
    return "sure" if share >= SURE else "torn" if share < TORN else "undecided"


def _of_model(kind: str, value: str) -> Claim:
    return Claim("", kind, value, SUBJECTS[kind], family=FAMILIES[kind])


def _decided(kind: str, values: Iterable[str], accepted: Iterable[str] = ()) -> Fact:
    return Fact(kind, "stated", tuple(values), SUBJECTS[kind], tuple(accepted))


def _by_kind(claims: Sequence[Claim]) -> dict[str, list[str | None]]:
    values: dict[str, list[str | None]] = {}
    for claim in claims:
        affirmed = claim.polarity == "positive" and claim.relation in KINDS
        known = claim.value == "yes" if claim.relation in YES else claim.value is not None
        if claim.relation is None or not affirmed or not (known or claim.relation in english.UNKNOWN_OF):
            raise ValueError(f"the text language cannot state {claim.relation!r} with {claim.stated!r}.")
        if claim.value not in values.setdefault(claim.relation, []):
            values[claim.relation].append(claim.value)
    for kind, several in values.items():
        if len(several) > 1 and kind not in LISTS:
            raise ValueError(f"the text language states one value of {kind!r} at a time, got {several}.")
    return values


def _sentence(kind: str, values: Sequence[str | None], wording: str) -> str:
    known = [value for value in values if value is not None]
    return english.statement(kind, known, wording) if known else english.unknown(kind)


def _last_words(said: Mapping[str, Sequence[str | None]], wording: str) -> list[str]:
    """The final statement: the last words in reading order, a gap where a nearer one is left unsaid."""
    depth = max((place for place, kind in enumerate(LAST) if kind in said), default=-1)
    words = [str(said[kind][0]) if kind in said else GAP for kind in LAST[depth::-1]] if depth >= 0 else []
    return [english.statement(LAST[0], [" ".join(words)], wording)] if words else []
