"""The world's explanations: wordings of every claim. Every third wording is held out from teacher and training.

A fragment states one claim; fragments of a group share a sentence and its subject.
"""

from legible.languages.base import Family

FRAGMENTS: dict[str, tuple[str, ...]] = {
    "species": ("is a {v}", "lives as a {v}", "belongs to the {v} kind"),
    "place": ("is at the {v}", "stays near the {v}", "can be found around the {v}"),
    "time": ("it is {v}", "the time is {v}", "the hour says {v}"),
    "weather": ("there is {v}", "the weather is {v}", "the sky brings {v}"),
    "mood": ("feels {v}", "is in a {v} mood", "seems {v} inside"),
    "holds": ("holds a {v}", "carries a {v}", "owns one {v}"),
    "want": ("wants the {v}", "wishes for the {v}", "desires that {v}"),
    "plan": ("plans to {v}", "is going to {v}", "intends to {v}"),
    "gear": ("wears a {v}", "has the {v} on", "dressed with a {v}"),
    "friend": ("{v} is near", "with {v} around", "the other one is {v}"),
    "relation": ("the other is a {v}", "known as a {v}", "called the {v} here"),
    "spot": ("it lies in the {v}", "it is inside the {v}", "somebody put it in the {v}"),
    "belief": ("believed in the {v}", "expected in the {v}", "supposed to rest in the {v}"),
}
GROUPS = (
    ("species", "place", "time", "weather"),
    ("mood", "holds", "want", "plan", "gear"),
    ("friend", "relation", "spot", "belief"),
)
SUBJECTS = ("The hero", "This one", "Our somebody")
NAMED = ("{v}", "Hero {v}", "The one named {v}")
EDGES = {
    "end": ("a sentence ends", "the sentence closes", "full stop here"),
    "mid": ("inside a sentence", "midway in the sentence", "halfway through the words"),
}
EDGE_WORDS = {"midway": "mid", "halfway": "mid"}
"""Words that say as much alone; nobody writes them so on purpose."""
UNKNOWN = "the {kind} is unknown"
FAMILIES: dict[str, Family] = {"edge": "now"}
"""What claims are about; all others are about the context."""
