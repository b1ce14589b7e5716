"""An explanation cut into pieces, so that a table or a page can style each claimed value by verdict and trust."""

import re
from collections.abc import Iterable
from typing import NamedTuple

Decided = tuple[str, str | None, str] | tuple[str, str | None, str, float | None]
"""A claim as (its clause, its value, its verdict) and, where trust is shown, its p_true."""


class Piece(NamedTuple):
    """A stretch of an explanation: a claimed value with its verdict and p_true, or what stands between."""

    text: str
    verdict: str = ""
    p_true: float | None = None


def pieces(explanation: str, claims: Iterable[Decided]) -> list[Piece]:
    """The explanation as pieces; joined, their texts are the explanation.

    A claim with neither verdict nor p_true, or whose value cannot be found, marks nothing.
    """
    spans: list[tuple[int, int, str, float | None]] = []
    for clause, value, verdict, *rest in claims:
        p_true = rest[0] if rest else None
        if value is None or (verdict == "unknown" and p_true is None):
            continue
        inside = max(0, explanation.find(clause))
        for match in re.finditer(rf"(?<!\w){re.escape(value)}(?!\w)", explanation[inside:]):
            start, end = inside + match.start(), inside + match.end()
            if all(end <= taken or start >= other for taken, other, _, _ in spans):
                spans.append((start, end, "" if verdict == "unknown" else verdict, p_true))
                break
    found: list[Piece] = []
    at = 0
    for start, end, verdict, p_true in sorted(spans, key=lambda span: span[:2]):
        found += [Piece(explanation[at:start])] if start > at else []
        found.append(Piece(explanation[start:end], verdict, p_true))
        at = end
    return found + ([Piece(explanation[at:])] if at < len(explanation) else [])


def marked(explanation: str, claims: Iterable[Decided]) -> list[tuple[str, str]]:
    """The pieces as (text, verdict); the verdict is empty between claimed values that are decided."""
    return [(piece.text, piece.verdict) for piece in pieces(explanation, claims)]
