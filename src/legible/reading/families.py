"""Claims by what they are about, for what is shown of a model that is asked what it will do next.

Readings are shown so where any of them says what the model is about to do; elsewhere an explanation stays one text.
`serve/web/families.js` says the same for the page, and a test compares the two.
"""

from collections.abc import Iterable
from typing import NamedTuple

from legible.languages.base import Family
from legible.reading.marks import Piece, pieces
from legible.reading.reading import ReadClaim, Reading

LABELS: dict[Family, str] = {"context": "holds", "now": "now", "next": "next", "ahead": "about to say"}
"""In the order in which they are shown: what came before, the words just read, the next ones, later ones."""
SILENT = "says nothing of it"


class Group(NamedTuple):
    """The claims of one family, and the sentences that make them cut at the claims; both empty where there are none."""

    label: str
    claims: list[ReadClaim]
    pieces: list[Piece]


def are_grouped(readings: Iterable[Reading]) -> bool:
    """Whether readings are shown by family."""
    return any(claim.family == "ahead" for reading in readings for claim in reading.claims)


def by_family(reading: Reading) -> list[Group]:
    """Every family of a reading's claims in order, those of which nothing is said included."""
    found = []
    for family, label in LABELS.items():
        mine = [claim for claim in reading.claims if claim.family == family]
        said = [_said(claim, reading) for claim in mine]
        marked = [(text, claim.value, claim.verdict, claim.p_true) for text, claim in zip(said, mine, strict=True)]
        found.append(Group(label, mine, pieces(" ".join(dict.fromkeys(said)), marked)))
    return found


def _said(claim: ReadClaim, reading: Reading) -> str:
    """The claim's sentence; what it states alone where a trust filter withheld something else of the sentence."""
    whole = reading.shown is not None and claim.text in reading.shown
    return claim.text if whole or not claim.parsed else f"{claim.relation}: {claim.stated}."
