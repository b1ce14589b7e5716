"""Claims that share a sentence by what it quotes: the items of a list ('"A", "B" and "C"'), or the words of one phrase.

Each has a place of its own, and the sentence without one of them is a sentence again.
"""

import re
from collections.abc import Sequence

from legible.languages.base import Claim
from legible.languages.surface import GAP

Span = tuple[int, int]


def quoted_places(text: str, whole: Span, claims: Sequence[Claim]) -> list[Span] | None:
    """The characters of each of several claims of the sentence at `whole`; None where it quotes something else.

    An item of a list stands with its quotation marks; of one quoted phrase each claim has a word.
    """
    values = [claim.value for claim in claims]
    items = _items(text, *whole)
    if [text[start + 1 : end - 1] for start, end in items] == values:
        return items
    if len(items) == 1:
        words = [
            match.span() for match in re.finditer(r"\S+", text[: items[0][1] - 1]) if match.end() > items[0][0] + 1
        ]
        words = [(max(start, items[0][0] + 1), end) for start, end in words]
        said = [span for span in words if text[slice(*span)] != GAP]
        if [text[slice(*span)] for span in said] == values:
            return said
    return None


def without_quoted(sentence: str, span: Span) -> str:
    """The sentence without one item of its list, or with a gap for one word of its phrase; "" where nothing is left."""
    items = _items(sentence, 0, len(sentence))
    if span not in items:
        (start, end) = items[0]
        words = f"{sentence[start + 1 : span[0]]}{GAP}{sentence[span[1] : end - 1]}".split()
        while words and words[0] == GAP:
            del words[0]
        return f"{sentence[: start + 1]}{' '.join(words)}{sentence[end - 1 :]}" if words else ""
    kept = [sentence[slice(*item)] for item in items if item != span]
    if not kept:
        return ""
    conjunction = sentence[items[-2][1] : items[-1][0]]
    listed = ", ".join(kept[:-1]) + conjunction + kept[-1] if len(kept) > 1 else kept[0]
    return sentence[: items[0][0]] + listed + sentence[items[-1][1] :]


def _items(text: str, start: int, end: int) -> list[Span]:
    return [match.span() for match in re.compile(r'"[^"]*"').finditer(text, start, end)]
