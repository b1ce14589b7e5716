"""Which tokens of a corpus's documents are read."""

from dataclasses import dataclass

from legible.config import CaptureConfig
from legible.data.positions import sample_positions, sentence_end_tokens
from legible.documents import Document
from legible.errors import UsageError
from legible.models.target import Encoded
from legible.reading.positions import parse_positions

_MANY = 1_000_000  # tokens of a text long enough that every position of a spec exists


@dataclass(frozen=True)
class Positions:
    """Which tokens of every document are read: a spec as `--positions`, or so many a document by (seed, doc_id).

    A spec's tokens that a document does not have are left out.
    """

    spec: str = "all"
    per_document: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.per_document is None:
            if self.spec.strip() != "all":
                parse_positions(self.spec, _MANY)
            return
        if self.spec != "all":
            raise UsageError("--positions and --positions-per-doc do not go together.\n  Give one of them.")
        if self.per_document < 1:
            raise UsageError(f"--positions-per-doc is {self.per_document}, expected at least 1.")

    @property
    def key(self) -> str:
        """As the archive writes it."""
        return self.spec if self.per_document is None else f"per_document={self.per_document} seed={self.seed}"

    def choose(self, document: Document, encoded: Encoded, config: CaptureConfig) -> list[int]:
        """Ascending token positions; `config` says from where and how often at sentence ends tokens are sampled."""
        if self.per_document is None:
            return parse_positions(self.spec, len(encoded.ids), partial=True)
        textual = [pos for pos, (start, end) in enumerate(encoded.offsets) if end > start]
        sampled = config.model_copy(update={"positions_per_doc": self.per_document, "seed": self.seed})
        ends = sentence_end_tokens(document.text, encoded.offsets)
        return sample_positions(document.doc_id, textual[-1] + 1, sampled, ends) if textual else []
