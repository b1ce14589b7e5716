"""The English of the facts language: every wording once, and the scanner that reads it back.

A statement is a sentence built from one wording; a wording belongs to one kind (and, for kinds with few values, to one
value), so `scan` is the exact inverse of `statement`. It also reads a wording denied ("Not about Tom.", "The mood is
not sad."), and nothing else. Statements are short and plain because models of a few hundred thousand parameters must
learn to write and to read them.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from legible.languages.base import Claim, Family, Parsed, Polarity
from legible.languages.surface import GAP

TAIL_KINDS = ("last", "last2", "last3")
"""The words just before, and with, the read token: always the final statement, newest word last."""
SUBJECT = "text"
FAMILIES: dict[str, Family] = {
    "next": "next",
    **dict.fromkeys((*TAIL_KINDS, "quote", "sentence", "story", "surprise"), "now"),
}

OPEN_WORDINGS: dict[str, tuple[str, ...]] = {
    "about": ("About {}.", "The story of {}."),
    "named": ("Last named {}.", "The last was {}.", "{} was last."),
    "cast": ("With {}.", "Also {}.", "There with {}."),
    "being": ("Saw the {}.", "There was the {}."),
    "pronoun": ("Now {}.", "Now said {}."),
    "mood": ("Mood {}.", "The mood is {}."),
    "place": ("At the {}.", "In the {}.", "By the {}."),
    "hero": ("First a {}.", "It began with a {}."),
    "topic": ("It had {}.", "There was {}.", "Words {}."),
    "next": ("Then {}.", "Next {}.", "To come {}."),
}
CLOSED_WORDINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "quote": {"inside": ("They talk.", "This is said.", "In a quote."), "outside": ("No talk.", "This is told.")},
    "sentence": {
        "start": ("New sentence.", "A new sentence."),
        "middle": ("Mid sentence.", "In a sentence."),
        "late": ("Long sentence.", "A long sentence."),
        "end": ("Sentence end.", "The sentence ends."),
    },
    "story": {
        "opening": ("The start.", "A start."),
        "early": ("Early on.", "Early now."),
        "middle": ("Mid story.", "Mid way."),
        "late": ("Late on.", "Late now."),
    },
    "surprise": {
        "low": ("Sure.", "No surprise."),
        "medium": ("Not so sure.", "Half sure."),
        "high": ("Odd.", "A surprise."),
    },
}
TAIL_WORDINGS = ("Ends: {}", "So it ends: {}", "The end is: {}")
TAIL_STATEMENT = re.compile(
    rf"(?:^|(?<=\s))(?:{'|'.join(re.escape(w.removesuffix(' {}')) for w in TAIL_WORDINGS)}) (.*)$", re.DOTALL
)
GROUPS = (
    ("about", "named", "cast", "pronoun"),
    ("hero", "being", "place", "mood", "topic"),
    ("quote", "sentence", "story", "surprise", "next"),
)
"""Statements about whom, about what, and about the text itself; writing varies the order of the groups."""
LIST_KINDS = ("cast", "topic", "next")
"""Kinds of which one sentence states several values, joined by commas."""


class Wordings(NamedTuple):
    """Sentences with a place for the value: by kind, by kind and value for kinds with few values, and of the end."""

    open: dict[str, tuple[str, ...]]
    closed: dict[str, dict[str, tuple[str, ...]]]
    tail: tuple[str, ...]


SEEN = Wordings(OPEN_WORDINGS, CLOSED_WORDINGS, TAIL_WORDINGS)


def statement(kind: str, values: Sequence[str], wordings: Wordings, pick: Callable[[Sequence[str]], str]) -> str:
    """One sentence that states these values of a kind; `pick` chooses the wording.

    Raises:
        KeyError: a value of a closed kind that the language does not have.
    """
    of_kind = wordings.closed[kind][values[0]] if kind in wordings.closed else wordings.open[kind]
    return pick(of_kind).format(", ".join(values))


def tail_statement(values: dict[str, str], wording: str) -> str:
    """The final statement: the last words in reading order, `_` where a nearer word is left unsaid."""
    deepest = max(TAIL_KINDS.index(kind) for kind in values)
    words = [values.get(kind, GAP) for kind in reversed(TAIL_KINDS[: deepest + 1])]
    return wording.format(" ".join(words))


def scan(explanation: str) -> Parsed:
    """Every statement of an explanation as claims; words outside any statement are counted, sentence by sentence."""
    parsed = Parsed()
    text = " ".join(explanation.split())
    at = 0
    while at < len(text):
        tail = TAIL_STATEMENT.match(text, at)
        if tail:
            _read_tail(tail, parsed)
            break
        at = _read_sentence(text, at, parsed)
    return parsed


def _read_sentence(text: str, at: int, parsed: Parsed) -> int:
    for one in _patterns():
        match = one.pattern.match(text, at)
        if match:
            said = match.group(1).split(", ") if one.kind in LIST_KINDS else match.groups() or (one.value,)
            parsed.claims.extend(
                _claim(one.wording.format(each), one.kind, each, one.polarity) for each in dict.fromkeys(said)
            )
            return match.end()
    stop = re.compile(r"[^ ]*[.!?](?: |$)").search(text, at)
    end = stop.end() if stop else len(text)
    parsed.unparsed.append(text[at:end].strip())
    return end


def _read_tail(tail: re.Match[str], parsed: Parsed) -> None:
    words = tail.group(1).split(" ")
    if len(words) > len(TAIL_KINDS):
        parsed.unparsed.append(" ".join(words[: -len(TAIL_KINDS)]))
    for kind, word in zip(TAIL_KINDS, reversed(words), strict=False):
        if word != GAP:
            parsed.claims.append(_claim(tail_statement({kind: word}, TAIL_WORDINGS[0]), kind, word))


def _claim(text: str, kind: str, value: str, polarity: Polarity = "positive") -> Claim:
    return Claim(text, kind, value, SUBJECT, polarity, FAMILIES.get(kind, "context"))


class _Pattern(NamedTuple):
    pattern: re.Pattern[str]
    kind: str
    value: str  # of a kind with few values, else empty
    wording: str
    polarity: Polarity


@cache
def _patterns() -> list[_Pattern]:
    """Every wording and then every denial, so that "Not so sure." is the wording that it is."""
    wordings = [
        (kind, value, wording)
        for kind, by_value in CLOSED_WORDINGS.items()
        for value, several in by_value.items()
        for wording in several
    ]
    wordings += [(kind, "", wording) for kind, several in OPEN_WORDINGS.items() for wording in several]
    denied = [(kind, value, form) for kind, value, wording in wordings for form in denials(wording)]
    return [
        _Pattern(_compiled(wording, kind), kind, value, wording, polarity)  # type: ignore[arg-type]
        for polarity, rows in (("positive", wordings), ("negative", denied))
        for kind, value, wording in rows
    ]


def denials(wording: str) -> list[str]:
    """A wording denied: of its verb where it has one, and as a whole."""
    wordings = [f"{no} {wording[0].lower()}{wording[1:]}" for no in ("Not", "Never", "No longer")]
    verb = re.search(r" (is|was|had) ", wording)
    return wordings + ([f"{wording[: verb.end()]}{no} {wording[verb.end() :]}" for no in ("not", "no")] if verb else [])


def _compiled(wording: str, kind: str) -> re.Pattern[str]:
    slot = r"(\S+(?:, \S+)*)" if kind in LIST_KINDS else r"(\S+)"
    return re.compile(re.escape(wording).replace(r"\{\}", slot) + r"(?: |$)")
