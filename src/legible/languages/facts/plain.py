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
_CLOSED: dict[tuple[str | None, str | None], str] = {
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


def spelled_out(claim: Claim) -> str | None:
    """A claim as a sentence about the passage; None for kinds that the passage alone does not decide."""
    said = _CLOSED.get((claim.relation, claim.value))
    if claim.relation in _OPEN and claim.value is not None:
        said = _OPEN[claim.relation].format(claim.value)
    return f"This is wrong: {said}" if said is not None and claim.polarity == "negative" else said
