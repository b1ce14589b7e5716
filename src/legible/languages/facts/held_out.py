"""Wordings of the facts language that no teacher writes and no scanner knows: for paraphrases alone.

Every kind of `legible.languages.facts.english` has its own; they state the same claims in other plain words.
"""

import random
from collections.abc import Sequence

from legible.languages.base import Claim, Row
from legible.languages.facts.english import GAP, LIST_KINDS, TAIL_KINDS
from legible.languages.facts.language import GROUPS

OPEN: dict[str, tuple[str, ...]] = {
    "about": ("This tale is of {}.", "It is all of {} here."),
    "named": ("We just heard of {}.", "The newest name is {}."),
    "cast": ("We know {} too.", "Others are {}."),
    "being": ("We met the {}.", "A {} came by."),
    "pronoun": ("It goes by {}.", "We call them {}."),
    "mood": ("All felt {}.", "They were {}."),
    "place": ("We are near the {}.", "It goes on at the {}."),
    "hero": ("It all starts with a {}.", "A {} came before all."),
    "topic": ("Here was talk of {}.", "They had to do with {}."),
    "next": ("It will go on with {}.", "Soon comes {}."),
}
CLOSED: dict[str, dict[str, tuple[str, ...]]] = {
    "quote": {"inside": ("Someone speaks.", "We hear a voice."), "outside": ("Nobody speaks.", "We hear no voice.")},
    "sentence": {
        "start": ("It just began to say this.", "These are the first words of it."),
        "middle": ("Half of it is said.", "It is not all said."),
        "late": ("It has gone on for long.", "So many words and no stop."),
        "end": ("That was all of it.", "It came to a stop."),
    },
    "story": {
        "opening": ("The tale just began.", "We know little so far."),
        "early": ("The tale is young.", "We know some of it."),
        "middle": ("Half of the tale is told.", "We know much of it."),
        "late": ("The tale is almost over.", "We know most of it."),
    },
    "surprise": {
        "low": ("That was clear.", "We knew that."),
        "medium": ("That was less clear.", "We half knew that."),
        "high": ("Nobody saw that coming.", "We did not know that."),
    },
}
TAIL = ("It stops with: {}", "The newest words: {}")


def write_held_out(claims: Sequence[Claim], row: Row, seed: int) -> str:
    """Plain English for these claims in held-out wordings; it depends on the document, the token and the seed.

    Args:
        claims: of the facts language, with values; of a kind that has one value at a time the first one is stated.
        row: the token they are about.
        seed: varies the wording.

    Raises:
        KeyError: a kind, or a value of a closed kind, that the language does not have.
    """
    rng = random.Random(f"facts held out {seed} {row.document.doc_id} {row.pos}")
    values: dict[str, list[str]] = {}
    for claim in claims:
        if claim.kind is None or claim.value is None:
            raise KeyError(f"the facts language cannot state kind {claim.kind!r} with value {claim.value!r}")
        said = values.setdefault(claim.kind, [])
        if claim.value not in said and (not said or claim.kind in LIST_KINDS):
            said.append(claim.value)
    sentences = []
    for group in rng.sample(GROUPS, len(GROUPS)):
        for kind in group:
            if kind in values:
                wordings = CLOSED[kind][values[kind][0]] if kind in CLOSED else OPEN[kind]
                sentences.append(rng.choice(wordings).format(", ".join(values[kind])))
    tail = [kind for kind in TAIL_KINDS if kind in values]
    if tail:
        deepest = max(TAIL_KINDS.index(kind) for kind in tail)
        words = [values[kind][0] if kind in values else GAP for kind in reversed(TAIL_KINDS[: deepest + 1])]
        sentences.append(rng.choice(TAIL).format(" ".join(words)))
    return " ".join(sentences)
