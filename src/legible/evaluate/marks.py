"""An explanation cut into pieces, so that a table or a page can colour each claimed value by its verdict."""

import re
from collections.abc import Iterable

Decided = tuple[str, str | None, str]
"""A claim as (its clause, its value, its verdict)."""


def marked(explanation: str, claims: Iterable[Decided]) -> list[tuple[str, str]]:
    """The explanation as (piece, verdict) pairs; the verdict is empty between claimed values.

    Joined, the pieces are the explanation. A claim that nobody decides, or whose value cannot be found, marks nothing.
    """
    spans: list[tuple[int, int, str]] = []
    for clause, value, verdict in claims:
        if value is None or verdict == "unknown":
            continue
        inside = max(0, explanation.find(clause))
        for match in re.finditer(rf"(?<!\w){re.escape(value)}(?!\w)", explanation[inside:]):
            start, end = inside + match.start(), inside + match.end()
            if all(end <= taken or start >= other for taken, other, _ in spans):
                spans.append((start, end, verdict))
                break
    pieces: list[tuple[str, str]] = []
    at = 0
    for start, end, verdict in sorted(spans):
        pieces += [(explanation[at:start], "")] if start > at else []
        pieces.append((explanation[start:end], verdict))
        at = end
    return pieces + ([(explanation[at:], "")] if at < len(explanation) else [])
