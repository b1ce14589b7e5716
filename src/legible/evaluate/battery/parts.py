"""One row of the battery: what is scored, on which rows, and the figures of it.

Every figure is paired with the readings': the same rows, documents resampled together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from legible.data.store import Store
from legible.evaluate import claims
from legible.evaluate.bench import Bench
from legible.evaluate.claims import Judged
from legible.evaluate.controls import lookup_misses, mean_direction
from legible.evaluate.reconstruction import Explained, Misses, context_fve_of, fve_gain, fve_of, misses
from legible.models.reconstructor import Reconstructor
from legible.stats import ratio_interval
from legible.train.text_writer import TextWriter, WriterRecord


@dataclass(frozen=True)
class Taught:
    """The rows that the checkpoint's pair was warm-started on, and the teacher's text for them."""

    store: Store
    teach_file: Path
    origin: str  # where they come from, for the notes
    steps: int  # of the warm start


@dataclass(frozen=True)
class Trained:
    """What was made for the battery; a part that is not there has its reason in `why_not`."""

    taught: Taught | None = None
    writer: TextWriter | None = None
    writer_record: WriterRecord | None = None
    second: Reconstructor | None = None
    why_not: str = ""


@dataclass(frozen=True)
class Case:
    """What every control of one evaluation is measured on and compared with."""

    bench: Bench
    explained: Explained
    miss: Misses
    layer: int
    max_tokens: int
    seed: int

    @property
    def doc_ids(self) -> list[str]:
        """The document of every row."""
        return self.bench.sample.doc_ids

    @cached_property
    def guess(self) -> Float[Tensor, " d_model"]:
        """The constant guess, which scores a failed parse."""
        return mean_direction(self.bench.lookup)

    @cached_property
    def lookup_miss(self) -> Misses:
        """Error of the token lookup on every row."""
        return lookup_misses(self.bench.lookup, self.bench.sample)

    @cached_property
    def judged(self) -> list[Judged] | None:
        """The claims of the readings; None where no language decides them."""
        return self.judge(self.explained.texts)

    def judge(self, texts: Sequence[str | None]) -> list[Judged] | None:
        """The claims of other texts about the same rows."""
        language = self.bench.language
        return claims.judge_texts(texts, self.bench.sample, language) if language is not None else None

    def read(self, texts: Sequence[str | None], reconstructor: Reconstructor | None = None) -> Misses:
        """Error of each text's reconstruction, by the checkpoint's reconstructor or another."""
        return misses(reconstructor or self.bench.reconstructor, texts, self.bench.sample.vectors, self.guess)


@dataclass(frozen=True)
class Over:
    """Other rows than the sample's: which of its rows they stand for, and the token lookup's error on them."""

    rows: NDArray[np.int64]
    lookup_miss: Misses


@dataclass(frozen=True)
class Control:
    """One row of the table before it is scored.

    miss: error of every row; None where the control could not be measured, then `note` says why.
    judged: the claims that go with it; None where it makes none.
    over: the rows that `miss` and `judged` are about, where they are not the sample's.
    retains: whether it keeps the reading's claims, so that the share of the context FVE that stays is a figure.
    """

    name: str
    rules_out: str
    note: str = ""
    miss: Misses | None = None
    judged: Sequence[Judged] | None = None
    over: Over | None = None
    retains: bool = False


def texts_control(case: Case, name: str, rules_out: str, texts: Sequence[str | None], note: str = "") -> Control:
    """A control that is other texts about the same rows: read by the reconstructor, judged for claims."""
    return Control(name, rules_out, note, case.read(texts), case.judge(texts))


def scored(case: Case, control: Control) -> dict[str, Any]:
    """The figures of a control.

    Returns:
        `name`, `rules_out`, `fve`, `context_fve`, `difference` (the reading's FVE minus this one, paired),
        `context_precision`, `precision_difference` (the reading's minus this one), `claims_per_reading`,
        `context_claims_per_reading`, `retention` (share of the reading's context FVE that stays) and `note`. Figures
        are intervals over documents; null where there is none.
    """
    row: dict[str, Any] = {"name": control.name, "rules_out": control.rules_out, **dict.fromkeys(FIGURES)}
    row["note"] = control.note
    rows = np.arange(len(case.bench.sample)) if control.over is None else control.over.rows
    if control.miss is None or not len(rows):
        return row
    docs = [case.doc_ids[index] for index in rows]
    lookup = case.lookup_miss if control.over is None else control.over.lookup_miss
    misses = case.miss[rows]
    row["fve"] = fve_of(control.miss, case.bench.variance, docs).as_dict()
    row["context_fve"] = context_fve_of(control.miss, lookup, docs).as_dict()
    row["difference"] = fve_gain(misses, control.miss, case.bench.variance, docs).as_dict()
    if control.retains and float((lookup - misses).sum()) > 0:
        row["retention"] = ratio_interval(lookup - control.miss, lookup - misses, docs).as_dict()
    elif control.retains:
        row["note"] = f"{control.note}; nothing to retain: the reading's context FVE is not above 0"
    if control.judged is not None and case.judged is not None:
        place = {int(index): number for number, index in enumerate(rows)}
        ours = [replace(item, row=place[item.row]) for item in case.judged if item.row in place]
        row["context_precision"] = claims.precision(control.judged, docs, context=True).as_dict()
        row["precision_difference"] = claims.context_lift(ours, control.judged, docs).as_dict()
        row["claims_per_reading"] = claims.claims_per_reading(control.judged, docs, context=False).as_dict()
        row["context_claims_per_reading"] = claims.claims_per_reading(control.judged, docs, context=True).as_dict()
    return row


FIGURES = (
    "fve",
    "context_fve",
    "difference",
    "context_precision",
    "precision_difference",
    "claims_per_reading",
    "context_claims_per_reading",
    "retention",
)
