"""How readings are written: a deterministic lint of what needs no judge.

    repeats           share of readings that make one claim twice, have one sentence twice, or quote one thing twice
                      in a sentence
    unfinished        share of readings whose last sentence does not end; a failed parse is not counted here
    words_per_claim   words divided by claims, over all readings

They say nothing about truth: joint training that pays for reconstruction alone tends to wear the writing down, and
this is where it shows.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from legible.languages.base import Language
from legible.stats import ratio_interval, share_interval

_SENTENCES = re.compile(r"(?<=[.!?…])[\"”’)]*\s+")
_QUOTED = re.compile(r'"([^"]*)"')
_ENDED = re.compile(r"[.!?…][\"”’)]*\s*$")


def repeats(text: str, language: Language | None) -> bool:
    """Whether a text makes one claim twice, has one sentence twice, or quotes one thing twice in a sentence.

    Example:
        >>> repeats("It rains. It rains.", None)
        True
    """
    keys = [claim.key for claim in language.parse(text).claims if claim.parsed] if language is not None else []
    sentences = [sentence.strip().lower() for sentence in _SENTENCES.split(text) if sentence.strip()]
    said: list[list[Any]] = [keys, sentences, *(_QUOTED.findall(sentence) for sentence in sentences)]
    return any(len(set(several)) < len(several) for several in said)


def unfinished(text: str) -> bool:
    """Whether a text stops in the middle of a sentence.

    Example:
        >>> unfinished("The next word is"), unfinished('It says "no."')
        (True, False)
    """
    return _ENDED.search(text) is None


def writing(texts: Sequence[str | None], doc_ids: Sequence[str], language: Language | None) -> dict[str, Any]:
    """The lint of some readings.

    Args:
        texts: one per row; None is a failed parse.
        doc_ids: the document of each row.
        language: reads the claims; None leaves words per claim out.

    Returns:
        `repeats`, `unfinished` and `words_per_claim` as intervals over documents.
    """
    said = [text or "" for text in texts]
    written = np.array([text is not None for text in texts], dtype=np.float64)
    twice = [bool(text) and repeats(text, language) for text in said]
    cut = [bool(text) and unfinished(text) for text in said]
    found: dict[str, Any] = {
        "repeats": share_interval(np.array(twice, dtype=np.float64), written, doc_ids).as_dict(),
        "unfinished": share_interval(np.array(cut, dtype=np.float64), written, doc_ids).as_dict(),
        "words_per_claim": None,
    }
    if language is not None:
        words = [float(len(text.split())) for text in said]
        claims = [float(len(language.parse(text).claims)) for text in said]
        found["words_per_claim"] = ratio_interval(words, claims, doc_ids).as_dict()
    return found
