"""Where the claims of an explanation stand: their characters, their tokens, and the explanation without one of them.

The rules follow the claim, not its language: a clause of the world ("The hero is a fox, is at the desert.") goes with
its comma and leaves its sentence the subject; of a list of quoted values one goes, and the list is mended (`quoted`);
free text loses the sentence. Every rule is a function of the text and its claims: nothing here loads a model or knows
what is true.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby

from transformers import PreTrainedTokenizerBase

from legible.languages.base import Claim
from legible.languages.world import english
from legible.languages.world.clauses import leading_subject, pieces
from legible.reading.quoted import quoted_places, without_quoted

Span = tuple[int, int]
Places = tuple[str, list[Span]]
"""A completion's decoded text, and the characters of every token."""

_MARKS = ".!?"
_BEFORE = " ,;.!?\n"  # what may stand before a clause
_AFTER = ",;.!?\n"
_SENTENCE = re.compile(r"[^.!?\n]*[.!?\n]*")
_SUBJECTLESS = frozenset(english.GROUPS[2])  # sentences of these kinds have no subject that all clauses share
_AFTER_COLON = frozenset(("time", "weather"))  # what is around, not what the subject does
_NAME = "name"


def claim_spans(explanation: str, claims: Sequence[Claim]) -> list[Span | None]:
    """Characters of each claim: `explanation[start:end]`, without the punctuation between clauses.

    Claims that share a clause divide it, each up to the end of its value.

    Args:
        explanation: the text.
        claims: what `Language.parse` or `parsed_by` found in it, in their order.

    Returns:
        One (start, end) a claim; None where the claim's words are not in the text.
    """
    return list(_spans(explanation, tuple(claims)))


@lru_cache(maxsize=512)
def _spans(explanation: str, claims: tuple[Claim, ...]) -> tuple[Span | None, ...]:
    found: list[Span | None] = []
    at = 0
    for text, same in groupby(claims, key=lambda claim: claim.text):
        group = list(same)
        whole = _occurrence(explanation, text, at)
        if whole is None:
            found += [None] * len(group)
            continue
        at = whole[1]
        found += _divided(explanation, whole, group)
    return tuple(found)


def without(explanation: str, claims: Sequence[Claim], index: int) -> str:
    """The explanation without its claim `index`, as plain text of the same language.

    Args:
        explanation, claims: as for `claim_spans`.
        index: of the claim that goes.

    Returns:
        The shorter text, "" where nothing else was said; the explanation itself where the claim is not in it.
    """
    spans = claim_spans(explanation, claims)
    span, claim = spans[index], claims[index]
    if span is None:
        return explanation
    start = explanation.rfind(claim.text, 0, span[0] + len(claim.text))
    if 0 <= start < span[0] and '"' in claim.text and claim.text[-1] in _MARKS:
        changed = without_quoted(claim.text, (span[0] - start, span[1] - start))
        return _joined(_joined(explanation[:start], changed), explanation[start + len(claim.text) :])
    if not claim.parsed or claim.text[-1:] in (*_MARKS, ";"):
        return _joined(explanation[: span[0]], explanation[span[1] :])
    return _without_clause(explanation, claims, spans, index)


def token_spans(
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    spans: Sequence[Span | None],
    explanation: str | None = None,
) -> list[list[int]]:
    """Which tokens of a completion write each span.

    Args:
        tokenizer: that wrote `ids`.
        ids: the completion's tokens, with or without its stop token.
        spans: characters of `explanation`; None gives no tokens.
        explanation: the payload inside the completion's text (its tags and outer spaces left out); absent: the
            whole decoded text.

    Returns:
        Indices into `ids`, one list a span; tokens that only separate words belong to the word after them.
    """
    return tokens_at(token_places(tokenizer, [ids])[0], spans, explanation)


def tokens_at(places: Places, spans: Sequence[Span | None], explanation: str | None = None) -> list[list[int]]:
    """As `token_spans`, from the places of a completion's tokens (`token_places`)."""
    text, offsets = places
    shift = text.find(explanation) if explanation is not None else 0
    if shift < 0:
        return [[] for _ in spans]
    starts, ends = [start for start, _ in offsets], [end for _, end in offsets]  # both ascend
    return [
        [] if span is None else list(range(bisect_right(ends, span[0] + shift), bisect_left(starts, span[1] + shift)))
        for span in spans
    ]


def _occurrence(text: str, said: str, at: int) -> Span | None:
    """The first place from `at` on where these words stand as a whole clause or sentence."""
    whole = said[-1:] in (*_MARKS, ";")
    start = text.find(said, at) if said else -1
    while start >= 0:
        end = start + len(said)
        after = text[end : end + 1] if whole else text[end:].lstrip(" ")[:1]
        if (start == 0 or text[start - 1] in _BEFORE) and (after == "" or after in (" \n" if whole else _AFTER)):
            return start, end
        start = text.find(said, start + 1)
    return None


def _word(text: str, word: str, at: int, end: int) -> int | None:
    """Where the first whole `word` of text[at:end] ends."""
    start = text.find(word, at, end)
    while start >= 0:
        after = start + len(word)
        if not (text[start - 1 : start].isalnum() and start > at) and not text[after : after + 1].isalnum():
            return after
        start = text.find(word, start + 1, end)
    return None


def _divided(text: str, whole: Span, claims: Sequence[Claim]) -> list[Span | None]:
    """A clause shared out among its claims; all of it to each where the words of one are not in it."""
    if len(claims) == 1:
        return [whole]
    if (shared := quoted_places(text, whole, claims)) is not None:
        return list(shared)
    ends = [_word(text, _anchor(claim), *whole) for claim in claims]
    placed = [end for end in ends if end is not None]
    if len(set(placed)) < len(claims):
        return [whole] * len(claims)
    found: dict[int, Span] = {}
    start = whole[0]
    for end in sorted(placed):
        found[end] = start, whole[1] if end == max(placed) else end
        start = end + len(text[end:]) - len(text[end:].lstrip())
    return [found[end] for end in placed]


def _anchor(claim: Claim) -> str:
    """The words of a clause that state one claim: its value, or that it is unknown."""
    return english.UNKNOWN.replace("{kind}", str(claim.relation)) if claim.value is None else claim.value


def _joined(before: str, after: str) -> str:
    return " ".join(part for part in (before.strip(), after.strip()) if part)


def _without_clause(text: str, claims: Sequence[Claim], spans: Sequence[Span | None], index: int) -> str:
    """Drop a clause of the world's English, or a claim's share of it."""
    claim, span = claims[index], spans[index]
    assert span is not None
    start, end = _sentence_around(text, span)
    body = text[start:end].rstrip(_MARKS + " \n")
    closing = text[start + len(body) : end].strip()
    first = text[start : span[0]].strip() == ""
    before, after = text[start : span[0]], text[span[1] : start + len(body)]
    if claim.relation == _NAME and first:
        rest = after.strip(" ,;")
        changed = f"{english.SUBJECTS[0]}{after}" if rest else ""
    elif first:
        changed = _with_subject(text[span[0] : span[1]], after, claim, _kind_after(claims, spans, span))
    elif after.strip() == "" or after.lstrip()[:1] in ",;":  # the clause ends here
        kept = before.rstrip().rstrip(",;:").rstrip()
        if before.rstrip()[-1:] in ",;:" or not after.strip():
            changed = kept + after
        else:
            changed = _named_subject(kept, after, _kind_after(claims, spans, span))
    else:
        changed = before + after.lstrip()
    changed = changed.strip(" ,;")
    changed = changed[:1].upper() + changed[1:] + closing if changed else ""
    return _joined(_joined(text[:start], changed), text[end:])


def _with_subject(clause: str, after: str, claim: Claim, next_kind: str | None) -> str:
    """What is left of a sentence that loses its first clause: its subject and the other clauses."""
    rest = after.strip(" ,;")
    if not rest or claim.relation in _SUBJECTLESS or claim.relation == "edge":
        return rest
    head, colon, _ = clause.partition(":")
    found = leading_subject(pieces(clause))
    subject = head if colon else " ".join(clause.split()[: found.length]) if found is not None else ""
    if not subject:
        return rest
    return f"{subject}{_opening(next_kind)}{rest}"


def _named_subject(subject: str, after: str, next_kind: str | None) -> str:
    """The same where the subject is a claim of its own (a name) and stays."""
    rest = after.strip(" ,;")
    return f"{subject}{_opening(next_kind)}{rest}" if rest else subject


def _opening(kind: str | None) -> str:
    return ": " if kind in _AFTER_COLON else " "


def _kind_after(claims: Sequence[Claim], spans: Sequence[Span | None], span: Span) -> str | None:
    later = [
        (other[0], claim.relation) for claim, other in zip(claims, spans, strict=True) if other and other[0] >= span[1]
    ]
    return min(later, key=lambda pair: pair[0])[1] if later else None


def _sentence_around(text: str, span: Span) -> Span:
    for match in _SENTENCE.finditer(text):
        if match.start() <= span[0] < match.end():
            start = match.start() + len(match[0]) - len(match[0].lstrip())
            return start, match.end()
    return span


def token_places(tokenizer: PreTrainedTokenizerBase, completions: Sequence[Sequence[int]]) -> list[Places]:
    """The decoded text of every completion and the characters that each token adds to it, leading spaces left out."""
    if not completions:
        return []
    texts = [str(tokenizer.decode(list(ids), skip_special_tokens=True)) for ids in completions]
    if not tokenizer.is_fast:
        return [_slow_places(tokenizer, ids, text) for ids, text in zip(completions, texts, strict=True)]
    again = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    found: list[Places] = []
    for ids, text, back, mapping in zip(completions, texts, again["input_ids"], again["offset_mapping"], strict=True):
        if back in (list(ids), list(ids[:-1])):  # mostly; some 10 times faster than decoding every prefix
            offsets = [(end - len(text[start:end].lstrip()), end) for start, end in mapping]
            found.append((text, [*offsets, (len(text), len(text))][: len(ids)]))
        else:
            found.append(_slow_places(tokenizer, ids, text))
    return found


def _slow_places(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], text: str) -> Places:
    prefixes = [list(ids[:n]) for n in range(1, len(ids))]
    lengths = [len(part) for part in tokenizer.batch_decode(prefixes, skip_special_tokens=True)]
    places, at = [], 0
    for length in [*lengths, len(text)]:
        end = min(max(at, length), len(text))
        start = end - len(text[at:end].lstrip())
        places.append((start, end))
        at = end
    return text, places
