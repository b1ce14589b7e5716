"""The English of the text language: every wording once, and the parser that is its inverse and reads nothing else.

A statement is a sentence of one wording, with values in its place. The wording alone says which relation of whom the
sentence states; what stands in the place never does: "The topic is a river." says nothing of what the text is about,
and "The topic is river." is a wrong topic. Names, last words and tokens are quoted, values of closed sets are not.

Wordings are written with marks: `[is]` is the verb, where a denial goes ("is not", "does not describe"); `{v}` takes a
value, `{a}` one with an article, `{q}` quoted words, `{and}` and `{or}` lists of quoted values; `one|many` are the
words for one value and for several.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from legible.languages.base import Claim, Family, Parsed, Polarity
from legible.languages.surface import GAP
from legible.languages.text.values import CLOSED, MASS, YES

CONTEXT = ("kind", "language", "topic", "about", "person", "place", "sentiment", "tense")
NOW = ("speaker", "in_quote", "in_bracket", "in_list", "in_code", "in_question")
AHEAD = (
    "say", "will_list", "will_ask", "will_refuse", "will_end", "will_code", "will_quote", "will_number", "will_place",
    "will_person", "will_yes", "will_no", "will_line",
)  # fmt: skip
NEXT = ("certainty", "next_token")
LAST = ("last_word", "last_word_2", "last_word_3")
"""The words just before, and with, the read token; one statement of all, in reading order, ends an explanation."""
KINDS = (*CONTEXT, *NOW, *AHEAD, *NEXT, *LAST)
FAMILIES: dict[str, Family] = {
    **dict.fromkeys((*NOW, *LAST), "now"), **dict.fromkeys(AHEAD, "ahead"), **dict.fromkeys(NEXT, "next"),
}  # fmt: skip
SUBJECTS = {kind: "model" if kind in (*AHEAD, *NEXT) else "text" for kind in KINDS}
LISTS = ("person", "place", "say", "next_token")
"""Kinds of which one sentence states several values."""


class Wordings(NamedTuple):
    """The sentences of one kind: those that teachers write and the parser reads, and a third that neither knows."""

    seen: tuple[str, ...]
    held_out: tuple[str, ...]


def _inside(noun: str) -> Wordings:
    return Wordings((f"A {noun} [is] open.", f"It [is] inside a {noun}."), (f"It [stands] within a {noun}.",))


def _about_to(what: str, will: str, coming: str) -> Wordings:
    return Wordings((f"It [is] about to {what}.", f"The model [will] {will}."), (f"{coming} [comes] soon.",))


WORDINGS: dict[str, Wordings] = {
    "kind": Wordings(("The text [is] {a}.", "This [is] {a}."), ("It [reads] like {a}.",)),
    "language": Wordings(("The language [is] {v}.", "It [is] written in {v}."), ("The words [are] in {v}.",)),
    "topic": Wordings(("The topic [is] {v}.", "The subject [is] {v}."), ("Its field [is] {v}.",)),
    "about": Wordings(("It [is] about {a}.", "It [describes] {a}."), ("It [tells] of {a}.",)),
    "person": Wordings(
        (
            "It [names] {and} as a person|It [names] {and} as people.",
            "A person named [is] {and}|People named [are] {and}.",
        ),
        ("The text [mentions] the person {and}|The text [mentions] the people {and}.",),
    ),
    "place": Wordings(
        (
            "It [names] {and} as a place|It [names] {and} as places.",
            "A place named [is] {and}|Places named [are] {and}.",
        ),
        ("The text [mentions] the place {and}|The text [mentions] the places {and}.",),
    ),
    "sentiment": Wordings(("The tone [is] {v}.", "The feeling [is] {v}."), ("It [sounds] {v}.",)),
    "tense": Wordings(("The tense [is] {v}.", "The verbs [are] in the {v}."), ("It [is] told in the {v} tense.",)),
    "speaker": Wordings(
        ("The {v} [is] speaking.", "The speaker [is] the {v}."), ("The words [are] those of the {v}.",)
    ),
    "in_quote": _inside("quote"),
    "in_bracket": _inside("bracket"),
    "in_list": _inside("list"),
    "in_code": Wordings(("Code [is] open.", "It [is] inside code."), ("It [stands] within code.",)),
    "in_question": _inside("question"),
    "say": Wordings(("The model [will] say {and}.", "It [is] about to say {and}."), ("Soon it [says] {and}.",)),
    "will_list": _about_to("list things", "make a list", "A list"),
    "will_ask": _about_to("ask", "ask something", "A question"),
    "will_refuse": _about_to("refuse", "decline", "A refusal"),
    "will_end": _about_to("end", "stop", "The end"),
    "will_code": _about_to("write code", "write a program", "Code"),
    "will_quote": _about_to("quote", "open a quote", "A quote"),
    "will_number": _about_to("give a number", "write digits", "A number"),
    "will_place": _about_to("name a place", "name somewhere", "A place"),
    "will_person": _about_to("name a person", "name someone", "A person"),
    "will_yes": _about_to("say yes", "agree", "A yes"),
    "will_no": _about_to("say no", "disagree", "A no"),
    "will_line": _about_to("start a new line", "break the line", "A new line"),
    "certainty": Wordings(("The model [is] {v}.", "It [feels] {v} now."), ("The model [seems] {v}.",)),
    "next_token": Wordings(("The next token [is] {or}.", "Next [comes] {or}."), ("What follows [is] {or}.",)),
    "last_word": Wordings(("It [ends] with {q}.", "The last words [are] {q}."), ("The text [stops] at {q}.",)),
}
UNKNOWN = "The {} is unknown."
UNKNOWN_OF = {"kind": "kind of text", "language": "language", "topic": "topic", "sentiment": "tone", "tense": "tense",
              "speaker": "speaker"}  # fmt: skip
"""What a reading may say that it does not know, and by which word."""

_SLOT = re.compile(r"\{(?:v|a|q|and|or)\}")
_VERB = re.compile(r"\[(\w+)\]")
_AUXILIARIES = {"is": "isn't", "are": "aren't", "will": "won't"}
_QUOTED = r'"[^"]*"'
_LISTED = rf"({_QUOTED}(?:, {_QUOTED})*(?: CONJUNCTION {_QUOTED})?)"
_SENTENCE = re.compile(r'(?:"[^"]*"|[^".!?]|[.!?](?! |$))*(?:[.!?](?: |$)|$)')


def statement(kind: str, values: Sequence[str], wording: str) -> str:
    """A wording with these values in its place.

    Raises:
        ValueError: a value that a quotation or the closed set of the kind cannot hold.
    """
    for value in values:
        if kind in CLOSED and value not in CLOSED[kind]:
            raise ValueError(f"the text language has no {kind} {value!r}.")
        if kind not in CLOSED and kind not in YES and ('"' in value or not value or value != " ".join(value.split())):
            raise ValueError(f"{value!r} cannot stand in quotation marks.")
    return _SLOT.sub(lambda slot: _filled(slot[0], values), _forms(wording)[len(values) > 1])


def unknown(kind: str) -> str:
    """The sentence that says that a kind is unknown."""
    return UNKNOWN.format(UNKNOWN_OF[kind])


def scan(explanation: str) -> Parsed:
    """Every statement and denial of an explanation as claims; sentences that are none are listed."""
    parsed = Parsed()
    text, at = " ".join(explanation.split()), 0
    while at < len(text):
        for pattern in _patterns():
            match = pattern.words.match(text, at)
            claims = _claims(pattern, match) if match is not None else []
            if match is not None and claims:
                parsed.claims += claims
                at = match.end()
                break
        else:
            sentence = _SENTENCE.match(text, at)
            end = sentence.end() if sentence is not None and sentence.end() > at else len(text)
            parsed.unparsed.append(text[at:end].strip())
            at = end
    return parsed


class _Pattern(NamedTuple):
    words: re.Pattern[str]
    kind: str
    slot: str  # of the wording; "" where it has none
    polarity: Polarity
    unknown: bool = False


@cache
def _patterns() -> list[_Pattern]:
    patterns = [
        _Pattern(_compiled(form), kind, (_SLOT.findall(form) or [""])[0], polarity)  # type: ignore[arg-type]
        for kind, wordings in WORDINGS.items()
        for wording in wordings.seen
        for whole in dict.fromkeys(_wholes(wording))
        for polarity, forms in (("positive", [_VERB.sub(r"\1", whole)]), ("negative", list(denials(whole))))
        for form in forms
    ]
    return [*patterns, *(_Pattern(_compiled(unknown(kind)), kind, "", "positive", True) for kind in UNKNOWN_OF)]


def denials(wording: str) -> Iterator[str]:
    """A wording denied in every way that the parser knows; `wording` with its verb marked, for one value or several."""
    verb = _VERB.search(wording)
    assert verb is not None
    said = verb[1]
    if said in _AUXILIARIES:
        for no in (f"{said} not", f"{said} no longer", f"{said} never", _AUXILIARIES[said]):
            yield _VERB.sub(no, wording)
    else:
        base = said.removesuffix("s")
        for no in (f"does not {base}", f"doesn't {base}", f"no longer {said}", f"never {said}"):
            yield _VERB.sub(no, wording)


def _wholes(wording: str) -> list[str]:
    """The sentences of a wording, for one value and for several, verbs marked."""
    return [f"{part.removesuffix('.')}." for part in wording.split("|")]


def _forms(wording: str) -> tuple[str, str]:
    """The sentence for one value and for several."""
    forms = [_VERB.sub(r"\1", whole) for whole in _wholes(wording)]
    return forms[0], forms[-1]


def _filled(slot: str, values: Sequence[str]) -> str:
    if slot == "{a}":
        article = "" if values[0] in MASS else "an " if values[0][0].lower() in "aeiou" else "a "
        return f"{article}{values[0]}"
    if slot == "{v}":
        return values[0]
    quoted = [f'"{value}"' for value in values]
    head = ", ".join(quoted[:-1])
    return f"{head} {slot[1:-1]} {quoted[-1]}" if head else quoted[0]


@cache
def _bare_value() -> str:
    """Any value of any closed set: which one it is never decides what is said."""
    values = sorted({value for several in CLOSED.values() for value in several}, key=lambda value: (-len(value), value))
    return rf"({'|'.join(map(re.escape, values))}|{_QUOTED})"


def _compiled(form: str) -> re.Pattern[str]:
    slots = {
        "{v}": _bare_value(),
        "{a}": rf"(?:an? )?{_bare_value()}",
        "{q}": f"({_QUOTED})",
        "{and}": _LISTED.replace("CONJUNCTION", "and"),
        "{or}": _LISTED.replace("CONJUNCTION", "or"),
    }
    parts = re.split(r"(\{\w+\})", form)
    return re.compile("".join(slots.get(part, re.escape(part)) for part in parts) + r"(?: |$)")


def _claims(pattern: _Pattern, match: re.Match[str]) -> list[Claim]:
    """What a sentence states; nothing where it says something that is no claim, e.g. denies several at once."""
    text, kind = match[0].strip(), pattern.kind
    if pattern.unknown:
        return [_claim(text, kind, None, "positive")]
    if not pattern.slot:
        return [_claim(text, kind, YES[kind][0], pattern.polarity)]
    values = [value.strip('"') for value in re.findall(_QUOTED, match[1])] or [match[1]]
    if any(not value.strip() for value in values):
        return []
    if kind == LAST[0]:
        return _last(text, values[0].split(), pattern.polarity)
    if len(values) > 1 and pattern.slot == "{and}" and pattern.polarity == "negative":
        return []  # "not A and B" leaves open which
    return [_claim(text, kind, value, pattern.polarity) for value in dict.fromkeys(values)]


def _last(text: str, words: Sequence[str], polarity: Polarity) -> list[Claim]:
    """A claim for each of the last words; of several a denial leaves open which is wrong."""
    if len(words) > len(LAST) or (polarity == "negative" and len(words) > 1):
        return []
    kinds = LAST[: len(words)][::-1]
    return [_claim(text, kind, word, polarity) for kind, word in zip(kinds, words, strict=True) if word != GAP]


def _claim(text: str, kind: str, value: str | None, polarity: Polarity) -> Claim:
    return Claim(text, kind, value, SUBJECTS[kind], polarity, FAMILIES.get(kind, "context"))
