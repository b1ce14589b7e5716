"""The held-out measure that chooses a checkpoint while it is trained: the evaluation's scores, on one sample."""

from collections.abc import Callable

from legible.data.store import Store
from legible.engines import Engine
from legible.evaluate import claims
from legible.evaluate.controls import lookup_misses, mean_direction
from legible.evaluate.reconstruction import context_fve_of, explain, fve_of, misses
from legible.evaluate.sample import Sample
from legible.languages.base import Language
from legible.models.reconstructor import Reconstructor
from legible.probes.lookup import TokenLookup
from legible.probes.probes import ProbeSet

MEASURES = ("fve", "context_fve", "parse_failures", "mean_tokens")
CLAIM_MEASURES = ("precision", "context_precision", "context_claims", "net_context_claims")  # need a language


def measure_names(*, language: bool, probes: bool) -> tuple[str, ...]:
    """What `held_out_measure` measures with or without a language and probes."""
    return (*MEASURES, *(CLAIM_MEASURES if language else ()), *(("recall",) if language and probes else ()))


def held_out_measure(
    store_dev: Store,
    language: Language | None,
    layer: int,
    lookup: TokenLookup,
    rows: int,
    *,
    variance: float,
    probes: ProbeSet | None = None,
    max_tokens: int = 96,
    seed: int = 0,
) -> Callable[[Engine, Reconstructor], dict[str, float]]:
    """A callable that scores both roles on rows of the dev store, always the same ones.

    Args:
        store_dev: activations of documents that no training sees.
        language: judges the claims; None leaves them out.
        lookup: fitted on training documents.
        rows: how many rows are read.
        variance: V of the training split.
        probes: fitted on training documents; None leaves recall out.
        max_tokens: longest explanation.
        seed: which rows.

    Returns:
        A function to the scores that `measure_names` lists: parse failures are a share, context claims those of a
        reading, net ones the true less the wrong ones.
    """
    sample = Sample.of_store(store_dev, layer, language, limit=rows, seed=seed)
    docs = sample.doc_ids
    floor = lookup_misses(lookup, sample)
    guess = mean_direction(lookup)
    decodable = None
    if language is not None and probes is not None:
        decodable = probes.decodable(sample.vectors, sample.labels(language, said=True), docs)

    def measure(engine: Engine, reconstructor: Reconstructor) -> dict[str, float]:
        explained = explain(engine, sample.vectors, max_tokens=max_tokens)
        miss = misses(reconstructor, explained.texts, sample.vectors, guess)
        scores = {
            "fve": fve_of(miss, variance, docs).value,
            "context_fve": context_fve_of(miss, floor, docs).value,
            "parse_failures": explained.parse_failures / len(sample),
            "mean_tokens": explained.mean_tokens,
        }
        if language is None:
            return scores
        judged = claims.judge_texts(explained.texts, sample, language)
        scores["precision"] = claims.precision(judged, docs, context=False).value
        scores["context_precision"] = claims.precision(judged, docs, context=True).value
        scores["context_claims"] = claims.claims_per_reading(judged, docs, context=True).value
        scores["net_context_claims"] = scores["context_claims"] * (2 * scores["context_precision"] - 1)
        if decodable is not None:
            scores["recall"] = claims.recall(judged, sample, decodable).value
        return scores

    return measure
