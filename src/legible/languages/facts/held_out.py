"""Wordings of the facts language that no teacher writes and no scanner knows: for paraphrases alone.

Every kind of `legible.languages.facts.english` has its own; they state the same claims in other plain words.
"""

from legible.languages.facts.english import Wordings

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
HELD_OUT = Wordings(OPEN, CLOSED, TAIL)
