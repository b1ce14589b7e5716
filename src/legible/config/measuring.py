"""Sections of what is measured on held-out documents: the report, the truth of readings, and the calibrator."""

from typing import ClassVar, Literal

from pydantic import Field, PositiveInt

from legible.config.base import Section

SENTENCES = 1000  # read where their number is not given
RETRIEVAL_ROWS = 200  # where their number is not given
TWINS = 50  # of a kind, likewise
Texts = Literal["stories", "sentences"]
_DOCUMENTS = "held-out documents: a number, or a language's own: 'stories' or 'sentences', single ones as people type"

_ABSENT = "absent: for claims about any text (language text)"


class HeldOutConfig(Section):
    """Fresh held-out documents that a checkpoint is measured on."""

    documents: PositiveInt | Texts = Field(150, description=_DOCUMENTS)
    count: PositiveInt | None = Field(
        None, description=f"how many of them; absent: {SENTENCES} sentences, stories as by default"
    )
    positions_per_doc: int = Field(4, description="tokens read per document")
    foresight_rows: int = Field(24, description="tokens with open facts whose continuations are sampled (world)")
    continuations: int = Field(16, description="sampled continuations per such token")
    probe_rows: int = Field(20000, description="rows that fit the probes behind `decodable`; 0: the checkpoint's own")
    max_tokens: int = Field(96, description="longest explanation")
    seed: int = Field(1, description="seed of documents and positions")

    @property
    def texts(self) -> int:
        """How many documents are read."""
        if self.count is not None:
            return self.count
        usual = {"sentences": SENTENCES, "stories": type(self).model_fields["documents"].default}
        return usual[self.documents] if isinstance(self.documents, str) else self.documents

    @property
    def sentences(self) -> int | None:
        """How many sentences each of a language's own documents has; None: they are whole stories."""
        return 1 if self.documents == "sentences" else None

    @property
    def documents_of(self) -> Texts:
        """What a language's own documents are."""
        return "stories" if self.sentences is None else "sentences"


class EvalConfig(HeldOutConfig):
    """Fresh held-out documents for the final report."""

    later: ClassVar[tuple[str, ...]] = ("families", "retrieval_rows", "twins")

    families: bool | None = Field(
        None, description=f"truth and p_true of every family of claims by itself; {_ABSENT} true"
    )
    retrieval_rows: int | None = Field(
        None,
        description=f"most tokens whose reconstruction is looked for among others; 0: none; {_ABSENT} {RETRIEVAL_ROWS}",
        ge=0,
    )
    twins: int | None = Field(
        None, description=f"pairs of texts that differ in one label, for each kind; 0: none; {_ABSENT} {TWINS}", ge=0
    )


class TruthConfig(HeldOutConfig):
    """Fresh held-out documents for the truth of readings and of their probabilities (`legible truth`)."""

    documents: PositiveInt | Texts = Field(160, description=_DOCUMENTS)
    positions_per_doc: int = Field(4, description="tokens read per document", ge=1)
    samples: int = Field(5, description="explanations per reading; 1 is the single-pass mode", ge=1)
    temperature: float | None = Field(
        None, description="sampling temperature; absent: 0 for one sample, 1 for more", ge=0
    )


class CalibrateConfig(Section):
    """Fit the calibrator behind p_true on held-out documents whose truth is known."""

    documents: int = Field(120, description="documents read; no training or evaluation uses them", ge=1)
    short_documents: int = Field(
        600, description="texts of one to three sentences read as well, if the language writes texts", ge=0
    )
    windows: int = Field(3, description="runs of neighbouring tokens read per document", ge=1)
    window: int = Field(3, description="tokens in a run: neighbouring tokens show which claims recur", ge=1)
    samples: int = Field(5, description="explanations per token of the sampled calibrator; 1 leaves it out", ge=1)
    temperature: float = Field(1.0, description="sampling temperature of these", gt=0)
    max_tokens: int = Field(96, description="longest explanation")
    folds: int = Field(5, description="folds over documents for the calibrator's figures", ge=2)
    seed: int = Field(0, description="seed of documents, tokens and sampling")
