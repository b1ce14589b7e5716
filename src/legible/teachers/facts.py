"""The facts teacher: true statements about any English text."""

from legible.teachers.world import LanguageTeacher
from legible.truth.claims import Claim, Row
from legible.truth.facts import FactsLanguage

STATED_VALUES = {"cast": 2, "topic": 2, "next": 3}


class FactsTeacher(LanguageTeacher):
    """States every known fact of a row: one value a kind, two more names, two topic words, three predictions."""

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(FactsLanguage(), seed=seed, values=STATED_VALUES)

    def claims(self, row: Row, keep: set[str] | None = None) -> list[Claim]:
        """What the teacher would state of a row; a name stated as first or last is not repeated in the cast."""
        claims = super().claims(row, keep)
        named = {claim.value for claim in claims if claim.kind in ("about", "named")}
        return [claim for claim in claims if claim.kind != "cast" or claim.value not in named]
