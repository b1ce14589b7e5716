"""The teacher of a language: it writes from what is known to be true of a token, without an API or another model."""

from collections.abc import Sequence

from legible.languages.base import Language, Row
from legible.teachers.base import Explanation, Refusal


class LanguageTeacher:
    """Writes what a language knows of a row (`Language.taught`) in that language's English.

    Args:
        language: whose facts and English.
        seed: varies the wording; the same seed gives the same text.
    """

    def __init__(self, language: Language, *, seed: int = 0) -> None:
        self.language = language
        self.seed = seed
        self.name = language.name

    def write(self, rows: Sequence[Row], keep: Sequence[set[str]] | None = None) -> list[Explanation | Refusal]:
        """One text per row; `keep` is per row what `Language.taught` may state."""
        return [self._explain(row, None if keep is None else keep[i]) for i, row in enumerate(rows)]

    def _explain(self, row: Row, keep: set[str] | None) -> Explanation | Refusal:
        claims = self.language.taught(row, keep)
        text = self.language.write(claims, row, self.seed) if claims else ""
        return Explanation(text, tuple(claims)) if text else Refusal("nothing known")
