"""The grammar of the world's explanations: which clause states which relation of whom.

A clause is looked up whole, with one value of the world taken out of it: "holds a _" is a wording of `holds`, whatever
stands in the gap. So the relation never comes from the value, and words that no wording has make a clause that says
nothing. Wordings are those of `english`, seen and held out; each has its negations; articles, case and contractions do
not matter. A clause of its own subject ("it is dawn", "the other is a cousin") stands alone; the others are said of a
subject, the one before them in their clause or else the one of their sentence.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from typing import NamedTuple

from legible.languages.base import Claim, Parsed, Polarity
from legible.languages.world import english, lexicon
from legible.languages.world.english import FAMILIES

Words = tuple[str, ...]
_PIECE = re.compile(r"[\w'’-]+|[^\w\s]")
_SENTENCE = re.compile(r"([^.!?]+)([.!?]*)")
_CLAUSE = re.compile(r"[^,;]+")
_ARTICLES = frozenset(("a", "an", "the"))
_CONTRACTED = {"isn't": ("is", "not"), "doesn't": ("does", "not"), "didn't": ("did", "not"), "can't": ("can", "not"),
               "cannot": ("can", "not"), "it's": ("it", "is"), "there's": ("there", "is")}  # fmt: skip
_GAP = "_"
_BASE = {
    "lives": "live", "belongs": "belong", "stays": "stay", "says": "say", "brings": "bring", "feels": "feel",
    "seems": "seem", "holds": "hold", "carries": "carry", "owns": "own", "wants": "want", "wishes": "wish",
    "desires": "desire", "plans": "plan", "intends": "intend", "wears": "wear", "has": "have", "lies": "lie",
    "put": "put", "ends": "end", "closes": "close",
}  # fmt: skip
_PREPOSITIONS = frozenset(("at", "near", "around", "as", "to", "in", "for"))
_THINGS: tuple[Words, ...] = (("it",), ("a", "thing"))
_PRONOUNS: tuple[Words, ...] = (("he",), ("she",))
_FRIENDS: tuple[Words, ...] = (("a", "other", "one"), ("a", "other"), ("a", "friend"))
_HERO, _FRIEND = "hero", "friend"
_OF_HERO = ("species", "place", "mood", "holds", "want", "plan", "gear")
_POLARITY: tuple[Polarity, Polarity] = ("positive", "negative")
_NEXT = {"friend": _FRIEND, "relation": _FRIEND, "spot": "thing"}
"""Of whom a sentence goes on to speak after a clause with a subject of its own."""


class _Meaning(NamedTuple):
    """What a wording states; `value` where it is not what stands in a gap (None without a gap: that it is unknown)."""

    relation: str
    polarity: Polarity = "positive"
    value: str | None = None


class Subject(NamedTuple):
    """Of whom a clause speaks: hero or friend, in how many pieces, and the hero's name where it says one."""

    who: str
    length: int
    name: str | None = None


def parse(explanation: str) -> Parsed:
    """Every claim of an explanation in its order, no repeats, and the clauses that state nothing the grammar knows.

    A question states nothing.
    """
    parsed = Parsed()
    for sentence in _SENTENCE.finditer(explanation):
        who: str | None = _HERO
        clauses = [text for clause in _CLAUSE.findall(sentence[1]) if (text := clause.strip())]
        for place, text in enumerate(clauses):
            said, who = _read(pieces(text), who, place == 0)
            claims = [replace(claim, text=text) for claim in said] if "?" not in sentence[2] else []
            parsed.claims += [claim for claim in claims if claim not in parsed.claims]
            _, _, rest = text.partition(":")
            named_only = len(claims) == 1 and claims[0].relation == "name" and rest.strip() != ""
            parsed.unparsed += [rest.strip()] if named_only else [] if claims else [text]
    return parsed


def pieces(text: str) -> list[str]:
    """The words and marks of a clause in lower case, contractions written out and every article as "a"."""
    words: list[str] = []
    for piece in _PIECE.findall(text.lower()):
        word = piece.replace("’", "'")
        words += _CONTRACTED.get(word, ("a",) if word in _ARTICLES else (word,))
    return words


def leading_subject(words: list[str]) -> Subject | None:
    """The hero or friend that a clause begins with; None where it begins otherwise."""
    table = _subjects()
    for length in range(min(len(words), max(map(len, table))), 0, -1):
        key = tuple(words[:length])
        if key in table:
            return Subject(table[key], length)
        named = _values().get(key[-1])
        if named is not None and (*key[:-1], _GAP) in table and (length > 1 or named in lexicon.VALUES["name"]):
            return Subject(_HERO, length, named)
    return None


@cache
def _subjects() -> dict[Words, str]:
    """Words for hero and friend. Any value may fill the gap of "hero _"; a gap alone takes a hero's name only."""
    heroes = [*map(_form, (*english.NAMED, *english.SUBJECTS)), *_PRONOUNS]
    friends = [*_FRIENDS, *map(_form, lexicon.VALUES["friend"])]
    return {**dict.fromkeys(heroes, _HERO), **dict.fromkeys(friends, _FRIEND)}


def _read(words: list[str], who: str | None, first: bool) -> tuple[list[Claim], str | None]:
    """What a clause states, and of whom its sentence speaks from then on (None: of someone unknown)."""
    if whole := _look_up(words, _standing(), None):
        return [whole], who if whole.value is None or words[0] == "with" else _NEXT.get(str(whole.relation), who)
    denied = first and words[0] == "not"
    subject = leading_subject(words[1:] if denied else words)
    if subject is None:
        bare = _look_up(words, _predicates(who), who) if who is not None else None
        return ([bare], who) if bare else ([], who if words[0] in _verbs() else None)
    rest = words[subject.length + denied :]
    name = [_claim(_Meaning("name", _POLARITY[denied]), subject.name, None)] if subject.name is not None else []
    if not rest:
        return (name if first else []), subject.who
    if denied:
        return [], subject.who
    colon = rest[0] == ":"
    meaning = _look_up(rest[colon:], _predicates(subject.who), subject.who)
    if meaning is None and colon:
        meaning = _look_up(rest[1:], _around(), None)
    if meaning is None:
        return (name if colon and first else []), subject.who
    return [*name, meaning], subject.who


def _look_up(words: list[str], table: dict[Words, _Meaning], subject: str | None) -> Claim | None:
    """The meaning of a clause; `subject`: of whom it is said, None where the wording itself says of whom."""
    key = tuple(words)
    if (whole := table.get(key)) is not None:
        return _claim(whole, whole.value, subject)
    for place, word in enumerate(words):
        value = _values().get(word)
        if value is not None and (meaning := table.get((*key[:place], _GAP, *key[place + 1 :]))) is not None:
            return _claim(meaning, value, subject)
    return None


def _claim(meaning: _Meaning, value: str | None, subject: str | None) -> Claim:
    """A claim without its words; that a fact is unknown is said of whom the fact is."""
    who = lexicon.ABOUT[meaning.relation] if subject is None or value is None else subject
    return Claim("", meaning.relation, value, who, meaning.polarity, FAMILIES.get(meaning.relation, "context"))


@cache
def _values() -> dict[str, str]:
    """Every value of the world by its lower-case word."""
    return {value.lower(): value for values in lexicon.VALUES.values() for value in values}


@cache
def _predicates(who: str) -> dict[Words, _Meaning]:
    """What can be said of hero or friend, who stand before it or for whom the sentence goes on; nothing of others."""
    table: dict[Words, _Meaning] = {}
    if who not in (_HERO, _FRIEND):
        return table
    for relation in _OF_HERO:
        for form in map(_form, english.FRAGMENTS[relation]):
            _add(table, form, relation, _elliptic(form))
    if who == _FRIEND:
        for form in map(_form, english.FRAGMENTS["relation"][1:]):
            _add(table, form, "relation")
            _add(table, ("is", *form), "relation")
    return table | _unknowns()


@cache
def _verbs() -> frozenset[str]:
    """What predicates begin with: an unknown clause that begins so brings no other subject."""
    return _PREPOSITIONS | {form[0] for form in _predicates(_HERO) if form not in _unknowns()}


@cache
def _standing() -> dict[Words, _Meaning]:
    """Wordings that need no subject before them."""
    table = dict(_around())
    for relation in ("friend", "relation", "spot", "belief"):
        for wording in map(_form, english.FRAGMENTS[relation]):
            for form in _of_the_thing(wording, relation):
                _add(table, form, relation)
    for value, wordings in english.EDGES.items():
        for form in map(_form, wordings):
            _add(table, form, "edge", value=value)
    return table | {(word,): _Meaning("edge", value=value) for word, value in english.EDGE_WORDS.items()}


@cache
def _around() -> dict[Words, _Meaning]:
    """Wordings of what is around, time and weather, and that something is unknown."""
    table = dict(_unknowns())
    for relation in ("time", "weather"):
        for form in map(_form, english.FRAGMENTS[relation]):
            _add(table, form, relation)
    return table


@cache
def _unknowns() -> dict[Words, _Meaning]:
    return {_form(english.UNKNOWN.replace("{kind}", relation)): _Meaning(relation) for relation in lexicon.KINDS}


def _add(
    table: dict[Words, _Meaning], form: Words, relation: str, denials: Iterable[Words] = (), value: str | None = None
) -> None:
    """Take a wording in, with its negations and what else denies it.

    Raises:
        ValueError: one of them states two things: the grammar would decide by order.
    """
    for polarity, forms in zip(_POLARITY, ([form], [*_negations(form), *denials]), strict=True):
        meaning = _Meaning(relation, polarity, value)
        for each in forms:
            if table.setdefault(each, meaning) != meaning:
                raise ValueError(f"the wording {' '.join(each)!r} states both {table[each]} and {meaning}.")


def _form(wording: str) -> Words:
    return tuple(pieces(wording.replace("{v}", _GAP)))


def _of_the_thing(form: Words, relation: str) -> Iterator[Words]:
    """A wording of where the wanted thing is, with "the thing" for "it", and for a belief with either before it."""
    if relation == "spot":
        yield from ((*form[: (at := form.index("it"))], *thing, *form[at + 1 :]) for thing in _THINGS)
        return
    yield form
    if relation == "belief":
        yield from ((*thing, *verb, *form) for thing in _THINGS for verb in ((), ("is",)))


def _negations(form: Words) -> list[Words]:
    """A wording denied: of its verb where it has one, else of all of it."""
    at = next((place for place, word in enumerate(form) if word in ("is", "can", *_BASE)), None)
    if at is None:
        denied = [(*no, *form) for no in (("not",), ("never",), ("no", "longer"), ("no",))]
        return [*denied, ("without", *form[1:])] if form[0] == "with" else denied
    head, verb, rest = form[:at], form[at], form[at + 1 :]
    forms: list[Words] = [(*head, verb, "not", *rest)]
    if verb in _BASE:
        forms += [(*head, *do, _BASE[verb], *rest) for do in (("does", "not"), ("did", "not"))]
        forms += [(*head, *no, verb, *rest) for no in (("never",), ("no", "longer"))]
    else:
        forms += [(*head, verb, *no, *rest) for no in (("never",), ("no", "longer"))]
    if rest[:1] in (("a",), ("one",), ("that",)):
        forms.append((*head, verb, "no", *rest[1:]))
    elif rest[:1] == (_GAP,):
        forms.append((*head, verb, "no", *rest))
    if head == ("somebody",):
        forms.append(("nobody", verb, *rest))
    return forms


def _elliptic(form: Words) -> list[Words]:
    """A denied predicate whose verb is left out, where what is left still tells it from all others."""
    if form[0] in ("holds", "carries"):
        return [("without", *form[1:])]
    return [(*no, *form[1:]) for no in (("not",), ("never",), ("no", "longer"))] if form[1] in _PREPOSITIONS else []
