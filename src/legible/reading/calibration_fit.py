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
    """Claims with their evidence, whether each is true, and the document of each."""

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
    inputs = _inputs(data, tuple(FEATURES))
    logits, crossed = _crossed(inputs.x, truth, fold)
    final = _regression(inputs.x, truth)
    calibrator = Calibrator(
        kinds=inputs.kinds,
        features=inputs.features,
        center=tuple(inputs.center.tolist()),
        scale=tuple(inputs.scale.tolist()),
        weights=tuple(final.coef_[0].tolist()),
        intercept=float(final.intercept_[0]),
        usual_norm=inputs.usual_norm,
        curve=_curve(logits, truth),
        fitted=fitted,
    )
    return calibrator, crossed


def cross_fitted(
    data: Labelled, features: Sequence[str], *, kinds: bool, folds: int = 5, seed: int = 0
) -> Floats | None:
    """What calibrators of some features alone say of every claim, each fitted without the claim's document.

    Args:
        data: as for `fit_calibrator`.
        features: the evidence that they know, out of `FEATURES`.
        kinds: whether they know of what kind a claim is.
        folds, seed: of the cross-fitting, by document.

    Returns:
        A probability a claim; None where none of the features was measured.

    Raises:
        UsageError: as for `fit_calibrator`.
    """
    truth = np.array(data.true, dtype=np.float64)
    fold = _folds(data, truth, folds, seed)
    inputs = _inputs(data, features, kinds=kinds)
    return _crossed(inputs.x, truth, fold)[1] if inputs.features else None


@dataclass(frozen=True)
class _Inputs:
    """The columns of the regression, and what they were made with."""

    kinds: tuple[str, ...]
    features: tuple[str, ...]
    center: Floats
    scale: Floats
    usual_norm: float
    x: Floats


def _inputs(data: Labelled, names: Sequence[str], *, kinds: bool = True) -> _Inputs:
    """The features that were measured anywhere, as columns."""
    known = sorted({each.relation for each in data.evidence if each.relation is not None}) if kinds else ()
    raw = columns(data.evidence, names)
    measured = np.array([not column.all() for column in np.isnan(raw).T])
    features = tuple(name for name, found in zip(names, measured, strict=True) if found)
    center, scale = np.nanmean(raw[:, measured], 0), np.nanstd(raw[:, measured], 0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    lengths = [math.log(each.norm) for each in data.evidence if each.norm]
    usual = float(np.median(lengths)) if lengths else 0.0
    x = design(data.evidence, features, tuple(known), center, scale, usual)
    return _Inputs(tuple(known), features, center, scale, usual, x)


def _crossed(x: Floats, truth: Floats, fold: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Logits and probabilities of every claim, the regression and the curve from other folds."""
    logits, crossed = np.zeros(len(truth)), np.zeros(len(truth))
    for held in np.unique(fold):
        mask = fold == held
        logits[mask] = _regression(x[~mask], truth[~mask]).decision_function(x[mask])
    for held in np.unique(fold):
        mask = fold == held
        crossed[mask] = curved(logits[mask], _curve(logits[~mask], truth[~mask]))
    return logits, crossed


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
