"""What each kind of evidence is worth on its own: p_true of one kind alone, of all, and of none.

A sceptic sees a circle: probes limit the teacher, decide what is decodable and are evidence for p_true. Here every
kind of evidence is used alone. The calibrators are fitted on the read claims themselves, each without the documents
that it is applied to.
"""

from collections.abc import Sequence
from typing import Any

from legible.evaluate import trust_metrics as metrics
from legible.evaluate.truth_claims import ReadClaims
from legible.reading.calibration import FEATURES, ClaimEvidence
from legible.reading.calibration_fit import Labelled, cross_fitted

ALONE = {
    "agreement": ("agreement",),
    "logprob": ("logprob", "logprob_odds", "logprob_min"),
    "probe": ("probe_odds",),
    "leverage": ("leverage", "leverage_root"),
}
"""The features of each kind of evidence; alone it does not know of what kind a claim is."""
ALL = "all"
NONE = "base rate"
SHOWN = ("ece", "brier_skill", "auroc", metrics.AT_TRUST)


def evidence_rows(
    read: ReadClaims, evidence: Sequence[ClaimEvidence], *, seed: int
) -> dict[str, dict[str, Any] | None]:
    """The scores of p_true from each kind of evidence alone, from all, and of always saying these claims' base rate.

    Args:
        read: the claims; all that are decided and have a probability count, context claims or not.
        evidence: the evidence for each claim, in the same order.
        seed: of folds and resamples.

    Returns:
        A row a kind (see `scores_of`); None where its evidence was not measured, such as agreement of one sample.

    Raises:
        UsageError: too few claims to fit on.
    """
    counted = read.scored(context=False)
    columns = read.columns(context=False)
    rate = metrics.precision(columns.tally())
    names = [read.sample.doc_ids[read.judged[n].row] for n in counted]
    data = Labelled([evidence[n] for n in counted], columns.true.astype(bool).tolist(), names)
    rows: dict[str, dict[str, Any] | None] = {}
    for name, features in {**ALONE, ALL: tuple(FEATURES)}.items():
        p = cross_fitted(data, features, kinds=name == ALL, seed=seed)
        rows[name] = None if p is None else scores_of(columns.said(p), rate, seed=seed)
    return {**rows, NONE: scores_of(columns.said(rate), rate, seed=seed)}


def scores_of(columns: metrics.Judgements, rate: float, *, seed: int) -> dict[str, Any]:
    """What p_true scores on some claims.

    Returns:
        Plain numbers `ece`, `brier_skill`, `auroc` and `precision_at_0.8`, null where undefined, `n` claims; what
        always saying the base rate scores (`ece_base_rate`, `brier_base_rate`); `intervals` of the first four.
    """
    scores, _ = columns.intervals(seed=seed)
    return {
        **{key: defined(scores[key].value) for key in SHOWN},
        "n": len(columns.p),
        **base_rates(columns, rate),
        "intervals": {key: scores[key].as_dict() for key in SHOWN},
    }


def base_rates(columns: metrics.Judgements, rate: float) -> dict[str, float | None]:
    """Calibration error and Brier score of always saying the base rate."""
    base = columns.said(rate).tally()
    return {"ece_base_rate": defined(metrics.calibration_error(base)), "brier_base_rate": defined(metrics.brier(base))}


def defined(value: float) -> float | None:
    """A number as JSON has it: null where it is undefined."""
    return value if value == value else None
