"""What a plain text shows without any model: words, names, sentences and quotations.

Offsets are characters of the document. Definitions, not guesses: a *name* is a capitalised word that somewhere in
the document stands inside a sentence (or at least twice at the head of one) and nowhere in lower case; a *quotation*
runs from a quotation mark to the next one or to the end of the paragraph.
"""

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from legible.languages.facts.lexicon import NOT_NAMES

_WORD = re.compile(r"[^\W\d_]+(?:['’][a-z]+)?")
_SENTENCE_END = re.compile(r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)[.!?]+[\"”'’)]*|\n\s*\n")


@dataclass(frozen=True)
class Word:
    """One word of a document: its span, its lower-case form without a possessive, its name when it is one."""

    start: int
    end: int
    lower: str
    name: str | None


@dataclass(frozen=True)
class Text:
    """A document's words, sentence ends and quotation marks, in order."""

    words: tuple[Word, ...]
    word_ends: tuple[int, ...]
    sentence_ends: tuple[tuple[int, int], ...]  # span of the closing marks
    quote_changes: tuple[tuple[int, bool], ...]  # (offset after the mark, inside from there on)

    def words_before(self, char_end: int) -> int:
        """How many words are whole in the first `char_end` characters."""
        return bisect_right(self.word_ends, char_end)

    def in_quote(self, char_end: int) -> bool:
        """Whether the first `char_end` characters end inside a quotation."""
        at = bisect_right(self.quote_changes, (char_end, True)) - 1
        return at >= 0 and self.quote_changes[at][1]

    def sentence_start(self, char_end: int) -> int | None:
        """Number of whole words before the running sentence; None where the text ends with a sentence end."""
        at = bisect_left(self.sentence_ends, (char_end, 0)) - 1
        if at < 0:
            return 0
        _, end = self.sentence_ends[at]
        return (
            None
            if self.words_before(char_end) == self.words_before(end) and end >= char_end - 1
            else self.words_before(end)
        )


@lru_cache(maxsize=64)
def analyse(text: str) -> Text:
    """Read a document once; the last few documents are remembered."""
    ends = tuple((match.start(), match.end()) for match in _SENTENCE_END.finditer(text))
    matches = list(_WORD.finditer(text))
    names = _names(text, matches, ends)
    words = tuple(
        Word(
            match.start(),
            match.end(),
            _bare(match.group()).lower(),
            _bare(match.group()) if _bare(match.group()) in names else None,
        )
        for match in matches
    )
    return Text(words, tuple(word.end for word in words), ends, tuple(_quote_changes(text)))


@lru_cache(maxsize=256)
def words_between(text: str, start: int, end: int) -> frozenset[str]:
    """Lower-case words of `text` that overlap the span, whole, even where the span cuts them."""
    read = analyse(text)
    first = bisect_right(read.word_ends, start)
    return frozenset(
        word.lower for word in read.words[first : bisect_left(read.word_ends, end) + 1] if word.start < end
    )


def _bare(word: str) -> str:
    return re.sub(r"['’]s$", "", word)


def _names(text: str, words: list[re.Match[str]], ends: tuple[tuple[int, int], ...]) -> frozenset[str]:
    lower = {match.group() for match in words if match.group()[0].islower()}
    inside: set[str] = set()
    heads: Counter[str] = Counter()
    for match in words:
        word = _bare(match.group())
        if len(word) < 2 or not word[0].isupper() or not word[1:].islower() or not word.isalpha():
            continue
        if re.search(r"[a-z,;] $", text[max(0, match.start() - 2) : match.start()]):
            inside.add(word)
        heads[word] += 1
    likely = inside | {word for word, count in heads.items() if count > 1}
    return frozenset(word for word in likely if word.lower() not in lower and word.lower() not in NOT_NAMES)


def _quote_changes(text: str) -> list[tuple[int, bool]]:
    paragraph = r"\n\s*\n" if "\n\n" in text else r"\n"
    changes: list[tuple[int, bool]] = []
    inside = False
    for match in re.finditer(rf"[\"“”]|{paragraph}", text):
        mark = match.group()
        inside = mark == "“" or (mark == '"' and not inside)
        changes.append((match.end(), inside))
    return changes
