"""An explanation cut into pieces, so that table and page can colour each claim by its verdict."""

import re
from collections.abc import Sequence

from legible.analysis.read import ReadClaim


def marked(explanation: str, claims: Sequence[ReadClaim]) -> list[tuple[str, str]]:
    """The explanation as (piece, verdict) pairs; the verdict is empty between claimed values.

    Joined, the pieces are the explanation. A claim whose value cannot be found in it marks nothing.
    """
    spans: list[tuple[int, int, str]] = []
    for claim in claims:
        if claim.value is None or claim.verdict == "unknown":
            continue
        inside = max(0, explanation.find(claim.text))
        for match in re.finditer(rf"(?<!\w){re.escape(claim.value)}(?!\w)", explanation[inside:]):
            start, end = inside + match.start(), inside + match.end()
            if all(end <= taken or start >= other for taken, other, _ in spans):
                spans.append((start, end, claim.verdict))
                break
    pieces: list[tuple[str, str]] = []
    at = 0
    for start, end, verdict in sorted(spans):
        if start > at:
            pieces.append((explanation[at:start], ""))
        pieces.append((explanation[start:end], verdict))
        at = end
    if at < len(explanation):
        pieces.append((explanation[at:], ""))
    return pieces
