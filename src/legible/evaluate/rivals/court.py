"""The court before which every instrument comes: the same rows, the same judge, each formula once.

What an instrument gives back is its own reconstruction; where it has none and its words can be read, that of the
pair's reconstructor (`reconstructed_by` says which). What only runs of the target can tell, the lineups of context
retrieval and the twins, is computed when it is first needed and then shared.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from legible.config import EvalConfig
from legible.config.measuring import RETRIEVAL_ROWS, TWINS
from legible.errors import UnsupportedModelError, UsageError
from legible.evaluate.bench import Bench
from legible.evaluate.carried import kl_recovered, matched_minus_mismatched
from legible.evaluate.claims import judge_claims
from legible.evaluate.controls import lookup_misses, mean_direction
from legible.evaluate.reconstruction import as_misses, context_fve_of, fve_of, reconstructions
from legible.evaluate.retrieval import CANDIDATES, Lineup, context_lineup, drawn_rows, found_share
from legible.evaluate.rivals.figures import Named, claim_figures, named_rightly
from legible.evaluate.twins import Tried, told_apart, tried_twins
from legible.instruments import Instrument, Offer, Said, Setting
from legible.languages.base import Claim, Language, Row
from legible.models.target import Target
from legible.stats import ratio_interval
from legible.vectors import centered_cosine, direction_mse

CARRIED = ("fve", "context_fve", "centered_cosine", "kl_recovered", "matched_minus_mismatched", "retrieval")
FIGURES = (
    "families", "context_claims", *CARRIED, "twins", "cpu_s_per_token", "train_cpu_s", "labels", "texts",
)  # fmt: skip


@dataclass(frozen=True)
class Court:
    """What every instrument of one report is measured on."""

    target: Target
    layer: int
    bench: Bench
    config: EvalConfig

    def measured(self, offer: Offer, setting: Setting, pair: Named | None) -> tuple[dict[str, Any], Named]:
        """One row of the report, and how many true claims it has.

        Args:
            offer: the instrument.
            setting: it is made from.
            pair: the true claims of the pair; None: this is the pair.

        Returns:
            `name`, `what`, `role`, `rules_out`, `note` ("n/a: …" where it could not be measured), `reconstructed_by`,
            and `FIGURES`; null where there is none. Intervals are over documents.
        """
        row: dict[str, Any] = {"name": offer.name, "what": offer.what, "role": offer.role}
        row |= {"rules_out": offer.rules_out, "note": "", "reconstructed_by": None, **dict.fromkeys(FIGURES)}
        try:
            return self._measured(offer.make(setting), row, pair)
        except (UsageError, UnsupportedModelError) as error:
            return row | {"note": f"n/a: {str(error).splitlines()[0]}"}, {}

    def _measured(
        self, instrument: Instrument, row: dict[str, Any], pair: Named | None
    ) -> tuple[dict[str, Any], Named]:
        sample, language = self.bench.sample, self.bench.language
        started = time.process_time()
        said = instrument.read(sample.vectors, sample.rows)
        pred, by = self._given_back(instrument, said)
        row["cpu_s_per_token"] = (time.process_time() - started) / len(sample)
        needs = instrument.needs
        row |= {"train_cpu_s": needs.train_cpu_s, "labels": needs.labels, "texts": needs.texts, "reconstructed_by": by}
        if pred is not None:
            row |= self._carried(pred)
        if language is None or not sample.facts:
            return row, {}
        judged = judge_claims([[one.claim for one in each.claims] for each in said], sample, language)
        scores = [one.score for each in said for one in each.claims]
        named = named_rightly(judged, sample, language)
        figures = claim_figures(
            judged, scores, sample, language, named if pair is None else pair,
            calibrated=instrument.calibrated, seed=self.config.seed,
        )  # fmt: skip
        context = figures.pop("context_claims")
        row |= {"families": figures, "context_claims": context}
        if self._tried is not None:
            row["twins"] = self._twins(instrument, language, self._tried)
        return row, named

    def _given_back(
        self, instrument: Instrument, said: Sequence[Said]
    ) -> tuple[Float[Tensor, "n d_model"] | None, str | None]:
        sample = self.bench.sample
        if (own := instrument.reconstruct(sample.vectors, sample.rows)) is not None:
            return own, "itself"
        words = [one.words for one in said]
        if all(one is None for one in words):
            return None, None
        return reconstructions(self.bench.reconstructor, words, self._guess), "the pair's reconstructor"

    def _carried(self, pred: Float[Tensor, "n d_model"]) -> dict[str, Any]:
        sample, docs, seed = self.bench.sample, self.bench.sample.doc_ids, self.config.seed
        miss = as_misses(direction_mse(pred, sample.vectors))
        cosine = centered_cosine(pred, sample.vectors, self._guess).double().numpy()
        found = {
            "fve": fve_of(miss, self.bench.variance, docs),
            "context_fve": context_fve_of(miss, lookup_misses(self.bench.lookup, sample), docs),
            "centered_cosine": ratio_interval(cosine, np.ones_like(cosine), docs),
            "kl_recovered": kl_recovered(self.target, self.layer, sample, pred, self._guess, seed=seed),
            "matched_minus_mismatched": matched_minus_mismatched(pred, sample.vectors, docs),
        }
        row: dict[str, Any] = {key: value.as_dict() for key, value in found.items()}
        if self._lineup is not None:
            row["retrieval"] = found_share(pred[self._lineup.rows], self._lineup, sample).as_dict()
        return row

    def _twins(
        self, instrument: Instrument, language: Language, tried: Mapping[str, Tried | str]
    ) -> dict[str, dict[str, Any]]:
        def reads(vectors: Float[Tensor, "n d_model"], rows: Sequence[Row]) -> list[list[Claim]]:
            return [[one.claim for one in each.claims] for each in instrument.read(vectors, rows)]

        return told_apart(tried, self.bench.sample, language, reads, pairs=self._pairs)

    @cached_property
    def _guess(self) -> Float[Tensor, " d_model"]:
        return mean_direction(self.bench.lookup)

    @property
    def _pairs(self) -> int:
        return TWINS if self.config.twins is None else self.config.twins

    @cached_property
    def _lineup(self) -> Lineup | None:
        """The candidates of context retrieval; None where there are too few documents, or none are asked for."""
        most = RETRIEVAL_ROWS if self.config.retrieval_rows is None else self.config.retrieval_rows
        rows = drawn_rows(self.bench.sample, most, self.config.seed)
        if len({self.bench.sample.doc_ids[row] for row in rows}) < CANDIDATES:
            return None
        return context_lineup(self.target, self.layer, self.bench.sample, rows, self.config.seed)

    @cached_property
    def _tried(self) -> Mapping[str, Tried | str] | None:
        """The twins; None where the language has none, or none are asked for."""
        language = self.bench.language
        if language is None or not language.twin_kinds or not self._pairs:
            return None
        return tried_twins(
            self.target, self.layer, self.bench.sample, self.bench.probes, language,
            pairs=self._pairs, seed=self.config.seed,
        )  # fmt: skip
