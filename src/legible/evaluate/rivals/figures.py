"""The claims of an instrument in figures, by family, beside the pair's on the same rows.

*Precision at equal recall*: of the surest claims, as many of them as it takes to have as many true ones as the pair has
in the family; where all claims together have fewer, there is none, and `reached` says how far they get. Recall is the
number of distinct (row, claim) that are true: the rows are the same, so nothing needs to be known of what they hold.
"""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from legible.evaluate import claims
from legible.evaluate import trust_metrics as metrics
from legible.evaluate.claims import Judged
from legible.evaluate.sample import Sample
from legible.evaluate.truth_claims import DECIDED
from legible.languages.base import Family, Language
from legible.stats import Interval, exact, statistic_intervals

CONTEXT = "context_claims"
"""The key of all claims that the last 8 tokens do not give away, whatever their family."""
Named = Mapping[str, Mapping[str, int]]
"""By family (and `CONTEXT`) and document: how many claims are true."""


def groups(language: Language) -> list[str]:
    """The families that a language has, then `CONTEXT`."""
    own = {language.families.get(kind, "context") for kind in language.kinds}
    return [*(family for family in get_args(Family) if family in own), CONTEXT]


def named_rightly(judged: Sequence[Judged], sample: Sample, language: Language) -> dict[str, dict[str, int]]:
    """How many claims are true, by group and document."""
    found: dict[str, dict[str, int]] = {group: {} for group in groups(language)}
    for item in judged:
        if item.verdict == "true":
            for group in (item.claim.family, *([CONTEXT] if item.context else [])):
                document = sample.doc_ids[item.row]
                found[group][document] = found[group].get(document, 0) + 1
    return found


def claim_figures(
    judged: Sequence[Judged],
    scores: Sequence[float | None],
    sample: Sample,
    language: Language,
    pair: Named,
    *,
    calibrated: bool,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """The figures of every family and of all context claims.

    Args:
        judged: the instrument's claims, none twice in a row.
        scores: of each; None where it does not say.
        pair: `named_rightly` of the pair's claims on the same rows.
        calibrated: scores are probabilities, so that their calibration error is a figure.
        seed: of the resampling.

    Returns:
        By group `n` (decided claims), `per_reading`, `precision`, `precision_at_equal_recall`, `reached` (true claims
        over the pair's), `auroc`, `ece`: intervals over documents, plain numbers for `n` and `reached`; null with its
        reason under `reasons`.
    """
    found = {}
    for group in groups(language):
        kept = [
            place
            for place, item in enumerate(judged)
            if item.verdict in DECIDED and (item.context if group == CONTEXT else item.claim.family == group)
        ]
        own, given = [judged[place] for place in kept], [scores[place] for place in kept]
        found[group] = _figures(own, given, sample, pair.get(group, {}), calibrated=calibrated, seed=seed)
    return found


def _figures(
    judged: Sequence[Judged],
    scores: Sequence[float | None],
    sample: Sample,
    pair: Mapping[str, int],
    *,
    calibrated: bool,
    seed: int,
) -> dict[str, Any]:
    docs, wanted = sample.doc_ids, sum(pair.values())
    right = sum(item.verdict == "true" for item in judged)
    silent, unsure = not judged, all(score is None for score in scores)
    auroc, ece, equal = _resampled(judged, scores, docs, pair, seed)
    reasons = {}
    if silent:
        reasons = dict.fromkeys(("auroc", "ece", "precision_at_equal_recall"), "it claims nothing of this family")
    else:
        if unsure:
            reasons |= dict.fromkeys(("auroc", "ece"), "it gives no scores")
        elif not calibrated:
            reasons["ece"] = "its scores are no probabilities of being true"
        if equal.value != equal.value:
            reasons["precision_at_equal_recall"] = (
                f"all its claims have {right} true ones, the pair's {wanted}"
                if wanted
                else "the pair claims nothing true"
            )
    figures: dict[str, Interval] = {"auroc": auroc, "ece": ece, "precision_at_equal_recall": exact(equal)}
    return {
        "n": len(judged),
        "per_reading": claims.claims_per_reading(judged, docs, context=False).as_dict(),
        "precision": None if silent else claims.precision(judged, docs, context=False).as_dict(),
        "reached": right / wanted if wanted else None,
        **{key: None if key in reasons else value.as_dict() for key, value in figures.items()},
        "reasons": reasons,
    }


def _resampled(
    judged: Sequence[Judged], scores: Sequence[float | None], docs: Sequence[str], pair: Mapping[str, int], seed: int
) -> list[Interval]:
    place = {name: number for number, name in enumerate(dict.fromkeys(docs))}
    p = np.array([metrics.NEVER if score is None else score for score in scores], dtype=np.float64)
    true = np.array([item.verdict == "true" for item in judged], dtype=np.float64)
    document = np.array([place[docs[item.row]] for item in judged], dtype=np.int64)
    wanted = np.array([pair.get(name, 0) for name in place], dtype=np.float64)
    known = np.isfinite(p)

    def statistics(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        w = weights[document] if len(document) else np.zeros(0)
        scored, every = metrics.tally(p[known], true[known], w[known]), metrics.tally(p, true, w)
        reached = metrics.precision_reaching(every, float(wanted @ weights))
        return np.array([metrics.auroc(scored), metrics.calibration_error(scored), reached])

    counts = (int(known.sum()), int(known.sum()), len(judged))
    return statistic_intervals(statistics, len(place), counts, seed=seed)
