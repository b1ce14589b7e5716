"""An explanation cut into pieces, so that a table or a page can style each claim by verdict and trust.

A claim is marked at its value, or at all its words where they do not name it; a doubtful one at all its words, which
claims that share a clause divide among themselves: each has those up to the end of its value, the last one the rest. Of
a clause that quotes its values a doubtful one has its quoted value alone, where another one stands.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from legible.reading.doubt import doubtful

GAP = "…"
_QUOTED = re.compile(r'"[^"]*"')
_BETWEEN = " ,;:"  # what stands between claims
Decided = tuple[str, str | None, str, float | None]
"""A claim as (its clause, its value, its verdict, its p_true)."""


class Piece(NamedTuple):
    """A stretch of an explanation: a claim's with its verdict and p_true, or what stands between."""

    text: str
    verdict: str = ""
    p_true: float | None = None

    @property
    def doubtful(self) -> bool:
        """Whether it is a doubtful claim's."""
        return doubtful(self.p_true)


_GAP = Piece(GAP)


@dataclass(frozen=True)
class _Mark:
    start: int
    end: int
    clause: tuple[int, int]
    verdict: str
    p_true: float | None
    quoted: bool  # its value stands in quotation marks, and another claim of its clause stands


def pieces(explanation: str, claims: Iterable[Decided]) -> list[Piece]:
    """The explanation as pieces; joined, their texts are the explanation.

    A claim with neither verdict nor p_true, or whose words cannot be found, marks nothing.
    """
    marks: list[_Mark] = []
    claims = list(claims)
    standing = {clause for clause, _, _, p_true in claims if not doubtful(p_true)}
    for clause, value, verdict, p_true in claims:
        if verdict == "unknown" and p_true is None:
            continue
        at = explanation.find(clause) if clause else -1
        words = (at, at + len(clause)) if at >= 0 else (0, 0)
        places = [] if value is None else _places(explanation, value, words)
        place = next((place for place in places if _free(place, marks)), words)
        if doubtful(p_true):  # its words are another's as well: they are doubtful
            marks = [mark for mark in marks if _free(place, [mark])]
        if place[0] < place[1] and _free(place, marks):
            quoted = clause in standing and _in_quotes(explanation, words, place)
            marks.append(_Mark(*place, words, "" if verdict == "unknown" else verdict, p_true, quoted))
    marks.sort(key=lambda mark: mark.start)
    found: list[Piece] = []
    at = 0
    for index, mark in enumerate(marks):
        start, end = mark.start, mark.end
        if doubtful(mark.p_true):
            start, end = _share(explanation, marks, index, at)
        found += [Piece(explanation[at:start])] if start > at else []
        found.append(Piece(explanation[start:end], mark.verdict, mark.p_true))
        at = end
    return found + ([Piece(explanation[at:])] if at < len(explanation) else [])


def withheld(found: Iterable[Piece]) -> list[Piece]:
    """The pieces with one gap in place of doubtful claims that follow each other; none where nothing else was said.

    Example:
        >>> "".join(p.text for p in withheld([Piece("Pavel is a fox, "), Piece("is a hammer", "", 0.03), Piece(".")]))
        'Pavel is a fox, ….'
    """
    kept: list[Piece] = []
    for piece in found:
        if piece.doubtful and kept[-2:-1] == [_GAP] and not kept[-1].text.strip(_BETWEEN):
            kept.pop()
        elif not (piece.doubtful and kept[-1:] == [_GAP]):
            kept.append(_GAP if piece.doubtful else piece)
    return kept if any(char.isalnum() for piece in kept for char in piece.text) else []


def _free(place: tuple[int, int], marks: Iterable[_Mark]) -> bool:
    return all(place[1] <= mark.start or place[0] >= mark.end for mark in marks)


def _places(explanation: str, value: str, clause: tuple[int, int]) -> list[tuple[int, int]]:
    """Where the value stands as a whole word from the clause on, first inside the clause's quotation marks."""
    word = re.compile(rf"(?<!\w){re.escape(value)}(?!\w)")
    found = [match.span() for match in word.finditer(explanation, clause[0])]
    return sorted(found, key=lambda place: not _in_quotes(explanation, clause, place))


def _in_quotes(explanation: str, clause: tuple[int, int], place: tuple[int, int]) -> bool:
    spans = (match.span() for match in _QUOTED.finditer(explanation, *clause))
    return any(start < place[0] and place[1] < end for start, end in spans)


def _share(explanation: str, marks: Sequence[_Mark], index: int, at: int) -> tuple[int, int]:
    """A claim's share of its clause from `at` on; its value alone where that stands elsewhere."""
    mark = marks[index]
    if mark.quoted:
        alone = explanation[mark.start - 1 : mark.start] == explanation[mark.end : mark.end + 1] == '"'
        return (mark.start - 1, mark.end + 1) if alone else (mark.start, mark.end)
    first, last = mark.clause
    if not first <= mark.start < mark.end <= last:
        return mark.start, mark.end
    start = max(first, at)
    start += len(explanation[start : mark.start]) - len(explanation[start : mark.start].lstrip(_BETWEEN))
    later = index + 1 < len(marks) and marks[index + 1].start < last
    return start, mark.end if later else last
