"""What a continuation does, by rules on its words, and what several continuations of one text agree on.

A continuation is the target's own text behind the read token, `ENDED` at its end where the target ended there. What it
does is decided on its words in their place behind the text: a word that the text began and the continuation ends is the
continuation's, a list that the text began is not about to begin.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from legible.languages.base import ENDED
from legible.languages.surface import COMMON
from legible.languages.text.gazetteer import FIRST_NAMES, PLACES, TITLES
from legible.languages.text.state import ITEM, in_code, shown

AGREEMENT = 0.75
"""Share of the continuations that must do a thing, or leave it, for it to be decided: 6 of 8."""
_TAIL = 60  # characters of the text before, in which words and phrases may begin
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+(?:[.,]\d+)*")
_NOT = r"(?:can(?:'t|’t|not| not)|won(?:'t|’t)|will not|must decline)"
_REFUSAL = re.compile(
    rf"\bI(?:'m| am|’m) (?:sorry|afraid|unable|not able)|\bI {_NOT}\b|\b[Aa]s an AI\b|\bcan(?:'t|not) (?:help|assist)"
    r"|\bI (?:don't|don’t|do not) (?:have (?:the ability|access)|feel comfortable)"
)
_CODE = re.compile(
    r"```|\bdef \w+\(|\bimport \w+\n|\bprint\(|\breturn \w+;|</?[a-z]+\d?>|[;{]\n|\bfunction \w*\(|=>|=="
)
_NAME = re.compile(r"\b[A-Z][^\W\d_]+(?:[ -][A-Z][^\W\d_]+)*")
_YES_OR_NO = re.compile(r"\W*(yes|yeah|yep|no|nope)\b", re.IGNORECASE)


def agreed(prefix: str, continuations: Sequence[str]) -> dict[str, str | tuple[list[str], list[str]] | None]:
    """What most continuations do.

    Args:
        prefix: the text up to and including the token.
        continuations: at least one.

    Returns:
        By kind `yes` or `no`, None where too few agree; of `say` the content words that most have, and the others.
    """
    least = AGREEMENT * len(continuations)
    facts: dict[str, str | tuple[list[str], list[str]] | None] = {}
    for kind, does in RULES.items():
        count = sum(does(prefix, continuation) for continuation in continuations)
        facts[kind] = "yes" if count >= least else "no" if len(continuations) - count >= least else None
    return facts | {"say": _words_agreed(prefix, continuations, least)}


def words(prefix: str, continuation: str) -> list[str]:
    """The words of a continuation, no repeats, in order; the last one only where it is whole."""
    tail, text = _joined(prefix, continuation)
    inside = [match[0] for match in _WORD.finditer(text) if match.end() > tail and match.end() < len(text)]
    return list(dict.fromkeys(shown(word) for word in inside))


def _words_agreed(prefix: str, continuations: Sequence[str], least: float) -> tuple[list[str], list[str]]:
    said = [words(prefix, continuation) for continuation in continuations]
    counts = Counter(word for each in said for word in each)
    most = [word for word in counts if counts[word] >= least]
    content = [word for word in most if word.lower() not in COMMON and len(word) > 2]
    return content, [word for word in most if word not in content]


def _joined(prefix: str, continuation: str) -> tuple[int, str]:
    """How much of the text before is looked at, and it with the continuation; a space stands for the end."""
    before = prefix[-_TAIL:]
    ended = " " if continuation.endswith(ENDED) else ""
    return len(before), before + continuation.removesuffix(ENDED) + ended


def _behind(pattern: re.Pattern[str]) -> Callable[[str, str], bool]:
    """Whether a phrase ends in the continuation."""

    def does(prefix: str, continuation: str) -> bool:
        tail, text = _joined(prefix, continuation)
        return any(match.end() > tail for match in pattern.finditer(text))

    return does


def _lists(prefix: str, continuation: str) -> bool:
    line = prefix[prefix.rfind("\n") + 1 :]
    text = line + continuation.removesuffix(ENDED)
    starts = [0, *(match.end() for match in re.finditer(r"\n", text))]
    return any((item := ITEM.match(text, start)) is not None and item.end() > len(line) for start in starts)


def _codes(prefix: str, continuation: str) -> bool:
    return not in_code(prefix) and _behind(_CODE)(prefix, continuation)


def _quotes(prefix: str, continuation: str) -> bool:
    paragraph = prefix[prefix.rfind("\n") + 1 :]
    inside = paragraph.count('"') % 2 == 1 or paragraph.rfind("“") > paragraph.rfind("”")
    return not inside and re.search(r'["“]', continuation) is not None


def _answers(*said: str) -> Callable[[str, str], bool]:
    def does(prefix: str, continuation: str) -> bool:
        fresh = not prefix[-1:].isalnum() or continuation[:1].isspace()
        match = _YES_OR_NO.match(continuation)
        return fresh and match is not None and match[1].lower() in said

    return does


def _names(is_one: Callable[[Sequence[str], str], bool]) -> Callable[[str, str], bool]:
    def does(prefix: str, continuation: str) -> bool:
        tail, text = _joined(prefix, continuation)
        names = (match for match in _NAME.finditer(text) if match.end() > tail)
        return any(is_one(re.split(r"[ -]", match[0]), text[: match.start()]) for match in names)

    return does


def _is_place(name: Sequence[str], before: str) -> bool:
    """One of the listed places, alone or in a longer name ("New York City")."""
    return any(" ".join(name[a:b]) in PLACES for a in range(len(name)) for b in range(a + 1, len(name) + 1))


def _is_person(name: Sequence[str], before: str) -> bool:
    """A common first name, or any name behind a title."""
    titled = any(word in TITLES for word in name[:-1]) or re.search(r"\b(?:Mr|Mrs|Ms|Dr|St)\. $", before) is not None
    return titled or not FIRST_NAMES.isdisjoint(name)


RULES: Mapping[str, Callable[[str, str], bool]] = {
    "will_list": _lists,
    "will_ask": lambda prefix, continuation: "?" in continuation,
    "will_refuse": _behind(_REFUSAL),
    "will_end": lambda prefix, continuation: continuation.endswith(ENDED),
    "will_code": _codes,
    "will_quote": _quotes,
    "will_number": lambda prefix, continuation: re.search(r"\d", continuation) is not None,
    "will_place": _names(_is_place),
    "will_person": _names(_is_person),
    "will_yes": _answers("yes", "yeah", "yep"),
    "will_no": _answers("no", "nope"),
    "will_line": lambda prefix, continuation: "\n" in continuation,
}
