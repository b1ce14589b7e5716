"""Sections of what is measured on held-out documents: the report, the truth of readings, and the calibrator."""

from pydantic import Field

from legible.config.base import Section


class EvalConfig(Section):
    """Fresh held-out documents for the final report."""

    documents: int = Field(150, description="held-out documents")
    positions_per_doc: int = Field(4, description="tokens read per document")
    foresight_rows: int = Field(24, description="tokens with open facts whose continuations are sampled (world)")
    continuations: int = Field(16, description="sampled continuations per such token")
    probe_rows: int = Field(20000, description="rows that fit the probes behind `decodable`")
    max_tokens: int = Field(96, description="longest explanation")
    seed: int = Field(1, description="seed of documents and positions")


class TruthConfig(EvalConfig):
    """Fresh held-out documents for the truth of readings and of their probabilities (`legible truth`)."""

    documents: int = Field(160, description="held-out documents", ge=1)
    positions_per_doc: int = Field(4, description="tokens read per document", ge=1)
    samples: int = Field(5, description="explanations a reading; 1 is the single-pass mode", ge=1)
    temperature: float | None = Field(
        None, description="sampling temperature; absent: 0 for one sample, 1 for more", ge=0
    )


class CalibrateConfig(Section):
    """Fit the calibrator behind p_true on held-out documents whose truth is known."""

    documents: int = Field(120, description="documents read; no training and no evaluation uses them", ge=1)
    windows: int = Field(3, description="runs of neighbouring tokens read per document", ge=1)
    window: int = Field(3, description="tokens in a run: neighbours show what recurs", ge=1)
    samples: int = Field(5, description="explanations a token of the sampled calibrator; 1 leaves it out", ge=1)
    temperature: float = Field(1.0, description="sampling temperature of these", gt=0)
    max_tokens: int = Field(96, description="longest explanation")
    folds: int = Field(5, description="folds over documents behind the calibrator's own figures", ge=2)
    seed: int = Field(0, description="seed of documents, tokens and sampling")
