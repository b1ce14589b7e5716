"""The facts teacher: true statements about any English text."""

from legible.languages.base import Claim, Row
from legible.languages.facts.language import FactsLanguage
from legible.teachers.world import LanguageTeacher

STATED_VALUES = {"cast": 2, "topic": 2, "next": 3}
COMPANIONS = {"cast": {"about", "named"}, "topic": {"being", "place", "mood"}}
"""Set-valued kinds have no probe: under a limit they are stated where a probe finds one of these."""


class FactsTeacher(LanguageTeacher):
    """States every known fact of a row: one value a kind, two more names, two topic words, three predictions."""

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(FactsLanguage(), seed=seed, values=STATED_VALUES)

    def claims(self, row: Row, keep: set[str] | None = None) -> list[Claim]:
        """What the teacher would state of a row; a name stated as first or last is not repeated in the cast."""
        claims = super().claims(row, keep)
        named = {claim.value for claim in claims if claim.kind in ("about", "named")}
        dropped = set() if keep is None else {kind for kind, near in COMPANIONS.items() if not near & keep}
        return [
            claim
            for claim in claims
            if claim.kind not in dropped and not (claim.kind == "cast" and claim.value in named)
        ]
