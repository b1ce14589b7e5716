"""The kind of thing that a short description names: "English theologian (1328-1384)" is about a theologian.

By rule: the last word of the description's first noun phrase, which ends at the first preposition, participle,
conjunction or mark; plurals as singulars. Only nouns of the closed list count, so most slips of the rule give nothing.
"""

import re

from legible.languages.text.nouns import ACCEPTED

_STOPS = """
of in by from for with that which who whose where on at to as based used between during under within involving
using and or made found located written created developed about near considered concerned containing
consisting formed designed caused related focused dealing relating known living such against through over into
after before since when produced characterized native held published directed founded born is was are were has
spoken composed performed affecting played worn derived associated established attributed intended
"""
_END = re.compile(rf"\s*(?:[(,;:/–—]| - |\b(?:{'|'.join(_STOPS.split())})\b)", re.IGNORECASE)
_IRREGULAR = {"people": "people", "species": "species", "series": "series", "women": "woman", "phyla": "phylum",
              "children": "child", "genera": "genus", "organisation": "organization", "theater": "theatre",
              "singer-songwriter": "singer", "colour": "color", "mathematics": "mathematics"}  # fmt: skip


def head_noun(description: str) -> str | None:
    """The listed noun that a description names; None where there is none.

    Example:
        >>> head_noun("English theologian (1328-1384)"), head_noun("Art forms involving live performance")
        ('theologian', None)
    """
    phrase = _END.split(description, maxsplit=1)[0]
    words = re.findall(r"[A-Za-z-]+", phrase)
    return next((noun for noun in _singulars(words[-1].lower()) if noun in ACCEPTED), None) if words else None


def _singulars(word: str) -> list[str]:
    """The word and what it may be the plural of."""
    if word in _IRREGULAR:
        return [_IRREGULAR[word]]
    singulars = [word]
    if word.endswith("ies"):
        singulars.append(f"{word[:-3]}y")
    if word.endswith(("ses", "xes", "ches", "shes")):
        singulars.append(word[:-2])
    if word.endswith("s") and not word.endswith("ss"):
        singulars.append(word[:-1])
    return singulars
