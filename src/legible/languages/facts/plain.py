"""What a claim of the facts language says, spelled out for a reader who does not know its short English."""

from legible.languages.base import Claim

_OPEN = {
    "about": "The first name in the passage is {}.",
    "named": "The last name in the passage is {}.",
    "cast": "The passage names {}.",
    "hero": 'The first word for a person or an animal in the passage is "{}".',
    "being": 'The last word for a person or an animal in the passage is "{}".',
    "place": 'The last word for a place in the passage is "{}".',
    "mood": 'The last word for a feeling in the passage is "{}".',
    "pronoun": 'Of "he", "she" and "they", in any of their forms, the passage used "{}" last.',
    "topic": 'The passage uses the word "{}".',
    "last": 'The passage ends with "{}" (a word, or the letters of one so far).',
    "last2": 'The last word but one of the passage is "{}".',
    "last3": 'The last word but two of the passage is "{}".',
}
_CLOSED = {
    ("quote", "inside"): "The passage ends inside a quotation.",
    ("quote", "outside"): "The passage ends outside of any quotation.",
    ("sentence", "start"): "The passage ends fewer than 4 words into a sentence.",
    ("sentence", "middle"): "The passage ends 4 to 9 words into a sentence.",
    ("sentence", "late"): "The passage ends 10 or more words into a sentence.",
    ("sentence", "end"): "The passage ends with the end of a sentence.",
    ("story", "opening"): "The passage has fewer than 30 words.",
    ("story", "early"): "The passage has 30 to 79 words.",
    ("story", "middle"): "The passage has 80 to 149 words.",
    ("story", "late"): "The passage has 150 words or more.",
}
TEXT_KINDS = ("about", "named", "hero", "being", "place", "mood", "pronoun", "topic")
"""Kinds that a reader of the text alone can decide without counting words."""
TARGET_KINDS = ("next", "surprise")
"""Kinds of the facts language that only the target decides, whatever the text says."""


def in_plain_words(claim: Claim, language: str | None) -> str:
    """A claim as a sentence that can be judged by the text alone.

    Args:
        claim: what an explanation says.
        language: the name of its language. Claims of the facts language are spelled out, those of another are followed
            by their kind and value, free text (None) stands as it is.
    """
    if claim.kind is None or claim.value is None or language is None:
        return claim.text
    if language == "facts" and claim.kind in _OPEN:
        return _OPEN[claim.kind].format(claim.value)
    known = _CLOSED.get((claim.kind, claim.value)) if language == "facts" else None
    return known or f"{claim.text} ({claim.kind}: {claim.value})"
