"""Whether the last 8 tokens, or the position, give a claim away: then it says nothing of the context.

The words of 8 tokens show their language and whether a chat's turn just began; a value among them, or a mark that opens
or closes what a claim is about, gives the claim away.
"""

import re
from functools import lru_cache

from legible.languages.base import Row
from legible.languages.text.english import LAST
from legible.languages.text.state import running_sentence

_MARKS = {
    "in_quote": '"“”\n',
    "in_bracket": "()[]{}",
    "in_list": "\n",
    "in_code": "`",
    "will_quote": '"“”',
    "will_code": "`{};=",
}


def given_away(kind: str, value: str, row: Row) -> bool:
    """Whether the tokens just read would let anyone guess this value of this kind."""
    if kind in LAST or kind == "language":
        return True
    if kind in _MARKS:
        return any(mark in row.recent for mark in _MARKS[kind])
    if kind == "in_question":
        return len(running_sentence(row.prefix)) <= len(row.recent)
    if kind in ("sentiment", "tense"):
        label = row.document.labels.get(kind)
        starts = [mark.start for mark in label.marks if mark.start <= row.char_end] if label is not None else []
        return bool(starts) and starts[-1] > row.recent_start
    if kind in ("speaker", "kind"):
        return re.search(r"<[|\w]|\[/?INST|\n\w+: ", row.recent) is not None
    if kind.startswith("will_") or kind == "certainty":
        return False
    return not _words(value).isdisjoint(_words(row.recent)) or (
        not value.isalnum() and value.lower() in row.recent.lower()
    )


@lru_cache(maxsize=512)
def _words(text: str) -> frozenset[str]:
    """Lower-case words of three letters or more, plurals as singulars."""
    words = re.findall(r"[^\W_]+", text.lower())
    return frozenset(word.removesuffix("s") for word in words if len(word) > 2 or len(words) == 1)
