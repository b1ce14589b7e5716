"""Teachers that write from what is known to be true of a token: no API and no other model."""

from collections.abc import Mapping, Sequence

from legible.languages.base import Claim, Language, Row
from legible.teachers.base import Explanation, Refusal


class LanguageTeacher:
    """Writes every known fact of a row in a language's English; the world's teacher.

    Args:
        language: whose facts and English.
        seed: varies the wording; the same seed gives the same text.
        values: how many values of a set-valued kind are stated; 1 for kinds not named.
    """

    def __init__(self, language: Language, *, seed: int = 0, values: Mapping[str, int] | None = None) -> None:
        self.language = language
        self.seed = seed
        self.values = values or {}
        self.name = language.name

    def write(self, rows: Sequence[Row], keep: Sequence[set[str]] | None = None) -> list[Explanation | Refusal]:
        """One text a row from its stated and implied facts.

        `keep` limits the kinds that a probe can decide; set-valued kinds have no probe and always stay.
        """
        return [self._explain(row, None if keep is None else keep[i]) for i, row in enumerate(rows)]

    def claims(self, row: Row, keep: set[str] | None = None) -> list[Claim]:
        """What the teacher would state of a row."""
        probed = set(self.language.probe_kinds)
        facts = self.language.facts(row)
        return [
            Claim("", kind, value)
            for kind, fact in facts.items()
            if fact.status != "open" and (keep is None or kind in keep or kind not in probed)
            for value in fact.values[: self.values.get(kind, 1)]
        ]

    def _explain(self, row: Row, keep: set[str] | None) -> Explanation | Refusal:
        claims = self.claims(row, keep)
        text = self.language.write(claims, row, self.seed) if claims else ""
        return Explanation(text, tuple(claims)) if text else Refusal("nothing known")
