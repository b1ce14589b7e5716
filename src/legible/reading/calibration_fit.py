"""Fitting a calibrator on claims whose truth is known; what it is stands in `calibration`."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from legible.errors import UsageError
from legible.reading.calibration import (
    FEATURES,
    LEAST,
    MOST,
    Calibrator,
    ClaimEvidence,
    FittedOn,
    Floats,
    columns,
    curved,
    design,
)

FEWEST = 50  # claims, and of either outcome a tenth of this outside of each fold
BLOCK = 40  # claims of the rarer outcome from which the curve is isotonic
RIDGE = 3.0


@dataclass(frozen=True)
class Labelled:
    """Claims with what speaks for them, whether each is true, and the document of each."""

    evidence: Sequence[ClaimEvidence]
    true: Sequence[bool]
    doc_ids: Sequence[str]


def fit_calibrator(data: Labelled, fitted: FittedOn, *, folds: int = 5) -> tuple[Calibrator, Floats]:
    """Fit a calibrator, and predict every claim by one that has not seen its document.

    The monotone curve is fitted on the cross-fitted logits, so that it corrects what the regression does on new
    documents.

    Args:
        data: decided claims that have a relation and a value.
        fitted: what the calibrator will say of its origin.
        folds: of the cross-fitting, by document.

    Returns:
        The calibrator, and cross-fitted probabilities: the regression and the points of the curve behind a claim's
        probability come from other documents.

    Raises:
        UsageError: too few claims, all claims alike, or fewer documents than folds.
    """
    truth = np.array(data.true, dtype=np.float64)
    fold = _folds(data, truth, folds, fitted.seed)
    kinds = tuple(sorted({each.relation for each in data.evidence if each.relation is not None}))
    raw = columns(data.evidence, tuple(FEATURES))
    measured = np.array([not column.all() for column in np.isnan(raw).T])
    features = tuple(name for name, known in zip(FEATURES, measured, strict=True) if known)
    center, scale = np.nanmean(raw[:, measured], 0), np.nanstd(raw[:, measured], 0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    lengths = [math.log(each.norm) for each in data.evidence if each.norm]
    usual = float(np.median(lengths)) if lengths else 0.0
    x = design(data.evidence, features, kinds, center, scale, usual)
    logits, crossed = np.zeros(len(truth)), np.zeros(len(truth))
    for held in range(folds):
        mask = fold == held
        logits[mask] = _regression(x[~mask], truth[~mask]).decision_function(x[mask])
    for held in range(folds):
        mask = fold == held
        crossed[mask] = curved(logits[mask], _curve(logits[~mask], truth[~mask]))
    final = _regression(x, truth)
    calibrator = Calibrator(
        kinds=kinds,
        features=features,
        center=tuple(center.tolist()),
        scale=tuple(scale.tolist()),
        weights=tuple(final.coef_[0].tolist()),
        intercept=float(final.intercept_[0]),
        usual_norm=usual,
        curve=_curve(logits, truth),
        fitted=fitted,
    )
    return calibrator, crossed


def _folds(data: Labelled, truth: Floats, folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of every claim: documents in the order of a hash, dealt out evenly."""
    names = sorted(set(data.doc_ids), key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    place = {name: index % folds for index, name in enumerate(names)}
    fold = np.array([place[name] for name in data.doc_ids], dtype=np.int64)
    rare = FEWEST // 10
    mixed = all(rare <= truth[fold != held].sum() <= (fold != held).sum() - rare for held in range(folds))
    if len(truth) < FEWEST or len(names) < folds or not mixed:
        raise UsageError(
            f"a calibrator needs at least {FEWEST} claims of {folds} documents, some true and some wrong in every fold "
            f"but one; found {len(truth)} claims, {int(truth.sum())} true, in {len(names)} documents.\n"
            "  Read more documents: --documents N"
        )
    return fold


def _regression(x: Floats, truth: Floats) -> LogisticRegression:
    return LogisticRegression(C=1.0 / RIDGE, max_iter=3000).fit(x, truth)


def _curve(logits: Floats, truth: Floats) -> tuple[tuple[float, float], ...]:
    """The blocks of an isotonic regression as knots at their mean logit; none where one outcome is too rare."""
    if min(truth.sum(), len(truth) - truth.sum()) < BLOCK:
        return ()
    level = IsotonicRegression(y_min=LEAST, y_max=MOST).fit_transform(logits, truth)
    knots = []
    for value in np.unique(level):
        block = logits[level == value]
        knots.append((float(block.mean()), float(value)))
    return tuple(knots)
