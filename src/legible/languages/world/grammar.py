"""Which sentences are the world's, and what they state: an acceptor for continuations, so that loss of fluency can be
counted, and a reader of the facts in them.

A sentence is accepted where it is one of the wordings of `forms` with any values of the right kinds in its places,
behind the opening of its layout if it has one. Whether it is true, or agrees with what was told before (a hero's
pronoun included), is another question. What is said of a value is the form's: a hammer in the place of a place is a
(wrong) place.
"""

import re
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import NamedTuple

from legible.languages.world import forms, lexicon

_PIECE = re.compile(r"[\w']+|[^\w\s]")
_ENDS = frozenset(".!?")
_OPENINGS = (("-",), ("Entry", ":"))
_SET_PHRASES = ("Dear reader,", "Chapter one.", "Hear me, says the teller.", "Chapter two.", "Yours truly.",
                "That is all.")  # fmt: skip
_PRONOUNS = {"he": ("he", "she"), "He": ("He", "She"), "his": ("his", "her")}


class Slot(NamedTuple):
    """The words that may stand at one place of a sentence; the relation of a fact where they are its values."""

    allowed: frozenset[str]
    relation: str | None = None


Pattern = tuple[Slot, ...]


def accepts(sentence: str, *, cut: bool = False) -> bool:
    """Whether this is a sentence of the world.

    Args:
        sentence: with its final mark; an opening such as `Entry:` may stand before it.
        cut: it may end too early: then it must be the beginning of one.

    Example:
        >>> accepts("Pavel kept a hammer in the pocket."), accepts("Pavel had a hammer."), accepts("So Pa", cut=True)
        (True, False, False)
    """
    pieces = _opened(_PIECE.findall(sentence))
    if cut:
        return any(_begins(pieces, pattern) for pattern in _patterns() if len(pieces) <= len(pattern))
    return any(len(pieces) == len(pattern) and _begins(pieces, pattern) for pattern in _patterns())


def accepted(prefix: str, continuation: str, *, cut: bool = True) -> tuple[int, int]:
    """How many sentences of a continuation are the world's.

    Args:
        prefix: the story so far; a sentence that it left unfinished is judged with its end in the continuation.
        continuation: what follows.
        cut: the continuation was cut off by length, so its last sentence may be unfinished.

    Returns:
        (accepted sentences, all sentences); (0, 0) for a continuation of nothing.
    """
    sentences = _sentences(_unfinished(prefix) + continuation) if continuation.strip() else []
    return sum(accepts(sentence, cut=cut and not whole) for sentence, whole in sentences), len(sentences)


def left_at(text: str) -> int | None:
    """The character from which on a text is no longer the world's; None where all of it is.

    An unfinished last sentence counts as the world's while it is the beginning of one.

    Example:
        >>> left_at("Pavel kept a hammer in the pocket. Pavel ran."), left_at("Pavel kept a ham")
        (41, 13)
    """
    at = 0
    for sentence, whole in _sentences(text):
        at = text.index(sentence, at)
        if not accepts(sentence, cut=not whole):
            pieces = list(_PIECE.finditer(sentence))
            wrong = (piece for piece in pieces if not accepts(sentence[: piece.end()], cut=True))
            return at + next(wrong, pieces[-1]).start()
        at += len(sentence)
    return None


def told(prefix: str, continuation: str) -> dict[str, str]:
    """The first value of each kind that a continuation of a story states, in sentences of the world.

    Args:
        prefix: the story so far; a sentence that it left unfinished is finished by the continuation.
        continuation: what follows, for example sampled from the target; its last sentence may be cut off.

    Example:
        >>> told("Mira was sad. She was at", " the hammer. A hammer fell.")
        {'place': 'hammer'}
    """
    unfinished = _unfinished(prefix)
    values: dict[str, str] = {}
    start = -len(unfinished)
    for sentence, whole in _sentences(unfinished + continuation):
        places = list(_PIECE.finditer(sentence))
        opened = len(places) - len(_opened([place[0] for place in places]))
        relations = _relations(tuple(place[0] for place in places[opened:]), whole)
        for place, relation in zip(places[opened:], relations, strict=False):
            if relation is not None and start + place.end() > 0:
                values.setdefault(relation, place[0])
        start += len(sentence)
    return values


def _relations(pieces: Sequence[str], whole: bool) -> list[str | None]:
    """Of which relation each word of a sentence is a value; of none where it is no sentence of the world, or begins
    several that disagree. Values of other relations are let in only where no sentence has all in their places."""
    for typed in (True, False):
        fitting = [
            pattern
            for pattern in _patterns()
            if (len(pieces) == len(pattern) if whole else len(pieces) <= len(pattern))
            and all(piece in (slot.allowed if typed or slot.relation is None else _everything())
                    for piece, slot in zip(pieces, pattern, strict=False))
        ]  # fmt: skip
        if fitting:
            columns = ({pattern[place].relation for pattern in fitting} for place in range(len(pieces)))
            return [next(iter(column)) if len(column) == 1 else None for column in columns]
    return []


@cache
def _everything() -> frozenset[str]:
    return frozenset(value for values in lexicon.VALUES.values() for value in values)


def _unfinished(prefix: str) -> str:
    """What stands behind the last sentence that is over; an address ends with a comma."""
    ends = [match.end() for match in re.finditer(r"[.!?]|Dear reader,", prefix)]
    return prefix[max(ends, default=0) :]


def _sentences(text: str) -> list[tuple[str, bool]]:
    """The sentences of a text, and whether each has its final mark."""
    parts = re.findall(r"Dear reader,|[^.!?]*[.!?]|[^.!?]+$", text)
    return [(part, part[-1] in _ENDS or part == "Dear reader,") for part in parts if part.strip()]


def _opened(pieces: list[str]) -> list[str]:
    """The sentence behind the opening of its layout."""
    for opening in _OPENINGS:
        if tuple(pieces[: len(opening)]) == opening[: len(pieces)] and pieces:
            return pieces[len(opening) :]
    return pieces


def _begins(pieces: Sequence[str], pattern: Pattern) -> bool:
    return all(piece in slot.allowed for piece, slot in zip(pieces, pattern, strict=False))


@cache
def _patterns() -> tuple[Pattern, ...]:
    """Every sentence of the world; built once."""
    tables = (forms.INTRO, forms.STATE, forms.REMINDERS, forms.RECAP)
    wordings = list(chain.from_iterable(group for table in tables for group in table.values()))  # type: ignore[attr-defined]
    moves = [form.replace("{witness}", witness) for form in forms.MOVE for witness in (*forms.SEEN, *forms.UNSEEN)]
    return tuple(dict.fromkeys(_pattern(form) for form in (*wordings, *moves, *forms.FILLERS, *_SET_PHRASES)))


def _pattern(form: str) -> Pattern:
    return tuple(
        _slot(piece[1:-1]) if piece.startswith("{") else Slot(frozenset((piece,)))
        for piece in re.findall(r"\{\w+\}|[\w']+|[^\w\s]", form)
    )


def _slot(name: str) -> Slot:
    if name in _PRONOUNS:
        return Slot(frozenset(_PRONOUNS[name]))
    relation = "spot" if name == "moved" else name
    return Slot(frozenset(lexicon.VALUES[relation]), relation)
