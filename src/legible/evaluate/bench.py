"""The bench of one evaluation: what every score of it is measured on and with."""

from collections.abc import Sequence
from dataclasses import dataclass

from legible.evaluate import claims
from legible.evaluate.sample import Sample
from legible.languages.base import Language
from legible.models.reconstructor import Reconstructor
from legible.probes.lookup import TokenLookup
from legible.probes.probes import ProbeSet


@dataclass(frozen=True)
class Bench:
    """Rows, what reads them back, and what is known of them.

    pool, probes: rows of other documents, and the probes fitted on them; None where there are none.
    text_only: what a writer that sees the text alone says of the rows; None where none was trained.
    """

    reconstructor: Reconstructor
    sample: Sample
    pool: Sample | None
    probes: ProbeSet | None
    lookup: TokenLookup
    variance: float
    language: Language | None
    text_only: Sequence[str | None] | None = None

    @property
    def decodable(self) -> claims.Decodable | None:
        """Which instances of the sample are decodable; None without probes."""
        if self.probes is None or self.language is None:
            return None
        return self.probes.decodable(
            self.sample.vectors, self.sample.labels(self.language, said=True), self.sample.doc_ids
        )
