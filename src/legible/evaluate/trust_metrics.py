"""How far the probabilities of claims can be trusted: calibration, discrimination, and precision against coverage.

Pure functions on columns of numbers. Every score is a function of the claims summed by their probability (`Tally`), so
that documents can be resampled by weighting and equal probabilities are never told apart by their order.

- calibration error (ECE): the claims sorted by p_true and cut into 15 bins of equal mass, a claim (or tie) at an edge
  shared between two; the mean over the bins of |mean p_true - precision| (Nguyen & O'Connor, arXiv 1508.05154);
- Brier score: mean (p_true - truth)^2; skill: 1 - Brier / Brier of the base rate, at most 1, 0 knows nothing more;
- AUROC: the chance that a true claim has a higher p_true than another that is not, ties counting half;
- coverage at a threshold: recall of the decodable, counted over the claims shown at that threshold;
- precision at half coverage: context precision at the highest threshold where coverage is at least 0.5;
- precision at 0.8: of the claims that `--trust 0.8` shows;
- base rate: what always saying the same probability, the share of true claims elsewhere, would score.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from legible.stats import Interval, exact, statistic_intervals

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BINS = 15
HALF = 0.5
TRUST = 0.8  # the threshold that the README's commands show claims at
NEVER = -np.inf
"""The threshold at which a decodable instance that no claim names rightly would be covered."""
AT_TRUST = f"precision_at_{TRUST}"
HEADLINES = (
    "precision_at_half_coverage", "ece", "brier_skill", "auroc", "brier", "threshold_at_half_coverage", AT_TRUST,
)  # fmt: skip


@dataclass(frozen=True)
class Tally:
    """Claims summed by their probability."""

    p: Floats  # ascending, distinct, in [0, 1]
    mass: Floats  # claims (or their weights) at each
    true: Floats  # the true ones of these

    @property
    def total(self) -> float:
        """All claims."""
        return float(self.mass.sum())


def tally(p: ArrayLike, true: ArrayLike, weights: ArrayLike | None = None) -> Tally:
    """Sum claims by their probability.

    Args:
        p: one probability a claim, in [0, 1].
        true: 1 where it is true, else 0.
        weights: how often each claim counts; once where absent.
    """
    values, place = np.unique(np.asarray(p, dtype=np.float64), return_inverse=True)
    hits = np.asarray(true, dtype=np.float64)
    w = np.ones(len(hits)) if weights is None else np.asarray(weights, dtype=np.float64)
    sums = [np.bincount(place, column, len(values)).astype(np.float64) for column in (w, w * hits)]
    return Tally(values, *sums)


@dataclass(frozen=True)
class Bins:
    """Bins of equal mass: mean probability and precision of each, and the probabilities that it spans."""

    p: Floats
    precision: Floats
    low: Floats
    high: Floats
    claims: float  # in each


def equal_mass_bins(tallied: Tally, bins: int = BINS) -> Bins:
    """Cut the claims, sorted by probability, into bins of equal mass. NaN throughout where there are no claims."""
    kept = tallied.mass > 0
    if not kept.any():
        nothing = np.full(bins, np.nan)
        return Bins(nothing, nothing, nothing, nothing, 0.0)
    values, mass, true = tallied.p[kept], tallied.mass[kept], tallied.true[kept]
    reached = np.concatenate([[0.0], np.cumsum(mass)])
    edges = np.linspace(0.0, reached[-1], bins + 1)
    size = reached[-1] / bins

    def share(column: Floats) -> Floats:
        sums: Floats = np.diff(np.interp(edges, reached, np.concatenate([[0.0], np.cumsum(column)])))
        return sums / size

    first = np.minimum(np.searchsorted(reached, edges[:-1], side="right") - 1, len(values) - 1)
    last = np.maximum(np.searchsorted(reached, edges[1:], side="left") - 1, 0)
    return Bins(share(mass * values), share(true), values[first], values[last], float(size))


def calibration_error(tallied: Tally, bins: int = BINS) -> float:
    """Expected calibration error over bins of equal mass, in [0, 1]; NaN without claims."""
    cut = equal_mass_bins(tallied, bins)
    return float(np.abs(cut.p - cut.precision).mean())


def calibration_error_if_calibrated(tallied: Tally, bins: int = BINS, draws: int = 200, seed: int = 0) -> float:
    """The mean calibration error of as many claims whose truth is drawn by these very probabilities: the floor.

    A finite sample never scores 0. Claims are drawn independently of each other.
    """
    rng = np.random.default_rng(seed)
    mass = np.rint(tallied.mass).astype(np.int64)
    if not mass.sum():
        return float("nan")
    scores = [
        calibration_error(
            Tally(tallied.p, mass.astype(np.float64), rng.binomial(mass, tallied.p).astype(np.float64)), bins
        )
        for _ in range(draws)
    ]
    return float(np.mean(scores))


def brier(tallied: Tally) -> float:
    """Mean squared distance of probability and truth, in [0, 1]; NaN without claims."""
    if not tallied.total:
        return float("nan")
    squares = tallied.mass * tallied.p**2 - 2.0 * tallied.p * tallied.true + tallied.true
    return float(squares.sum() / tallied.total)


def brier_skill(tallied: Tally) -> float:
    """1 - Brier / Brier of the base rate; NaN where all claims are true or none is."""
    rate = precision(tallied)
    base = rate * (1.0 - rate)
    return 1.0 - brier(tallied) / base if base > 0 else float("nan")


def auroc(tallied: Tally) -> float:
    """Area under the receiver operating characteristic; NaN where all claims are true or none is."""
    wrong = tallied.mass - tallied.true
    pairs = tallied.true.sum() * wrong.sum()
    if not pairs:
        return float("nan")
    below = np.cumsum(wrong) - wrong
    return float((tallied.true * (below + wrong / 2.0)).sum() / pairs)


def precision(tallied: Tally, threshold: float = NEVER) -> float:
    """Share of the claims at or above the threshold that are true; NaN where there are none."""
    shown = tallied.p >= threshold
    claims = tallied.mass[shown].sum()
    return float(tallied.true[shown].sum() / claims) if claims else float("nan")


def precision_reaching(found: Tally, wanted: float) -> float:
    """Precision of the surest claims, as many of them as it takes to have `wanted` true ones; NaN where too few are.

    Equal scores are taken together, so that their order decides nothing.
    """
    true, mass = np.cumsum(found.true[::-1]), np.cumsum(found.mass[::-1])
    if wanted <= 0 or not len(true) or true[-1] < wanted - 1e-9:
        return float("nan")
    place = int(np.searchsorted(true, wanted - 1e-9))
    return float(true[place] / mass[place])


def coverage(covered: ArrayLike, threshold: float, weights: ArrayLike | None = None) -> float:
    """Recall of the decodable, counted over the claims at or above the threshold.

    Args:
        covered: for every decodable instance the highest probability of a claim that names it rightly, `NEVER` where
            none does.
        threshold: claims below it are not shown.
        weights: how often each instance counts; once where absent.

    Returns:
        A share; NaN without instances.
    """
    best = np.asarray(covered, dtype=np.float64)
    w = np.ones(len(best)) if weights is None else np.asarray(weights, dtype=np.float64)
    return float(w[best >= threshold].sum() / w.sum()) if w.sum() else float("nan")


def threshold_at_coverage(covered: ArrayLike, least: float = HALF, weights: ArrayLike | None = None) -> float:
    """The highest threshold where coverage is at least `least`; NaN where all claims together do not reach it.

    Args:
        covered, weights: as for `coverage`.
        least: in (0, 1].
    """
    best = np.asarray(covered, dtype=np.float64)
    w = np.ones(len(best)) if weights is None else np.asarray(weights, dtype=np.float64)
    order = np.argsort(-best, kind="stable")
    reached = np.cumsum(w[order])
    if not len(best) or not reached[-1]:
        return float("nan")
    at = float(best[order[np.searchsorted(reached, least * reached[-1])]])
    return at if at != NEVER else float("nan")


@dataclass(frozen=True)
class Judgements:
    """Decided claims that have a probability, and decodable instances, as columns; documents are numbered."""

    p: Floats
    true: Floats
    document: Ints  # of each claim
    covered: Floats  # of each decodable instance; see `coverage`
    covered_document: Ints
    documents: int

    def tally(self, weights: Floats | None = None) -> Tally:
        """The claims by probability; `weights` counts the documents."""
        return tally(self.p, self.true, None if weights is None else weights[self.document])

    def said(self, p: ArrayLike) -> "Judgements":
        """The same claims with other probabilities, one each or the same for all; nothing is known to be covered."""
        nothing = np.zeros(0)
        probabilities = np.broadcast_to(np.asarray(p, dtype=np.float64), self.p.shape)
        return replace(self, p=probabilities, covered=nothing, covered_document=nothing.astype(np.int64))

    @property
    def of_claims(self) -> "Judgements":
        """The same with every claim as an instance: half coverage is then half of the claims, the surest ones."""
        return replace(self, covered=self.p, covered_document=self.document)

    def half_coverage(self, weights: Floats | None = None) -> float:
        """The highest threshold where coverage is at least 0.5."""
        w = None if weights is None else weights[self.covered_document]
        return threshold_at_coverage(self.covered, HALF, w)

    def scores(self, weights: Floats | None = None) -> Floats:
        """The scores of `HEADLINES`, then the precision of each of the bins."""
        tallied = self.tally(weights)
        at = self.half_coverage(weights)
        half = precision(tallied, at) if at == at else float("nan")
        values = (half, calibration_error(tallied), brier_skill(tallied), auroc(tallied), brier(tallied), at,
                  precision(tallied, TRUST))  # fmt: skip
        return np.concatenate([values, equal_mass_bins(tallied).precision])

    def intervals(self, *, resamples: int = 1000, seed: int = 0) -> tuple[dict[str, Interval], list[Interval]]:
        """Every headline, and the precision of every bin, with their intervals over documents.

        The threshold of half coverage, the base rate and the bins are found anew on every resample; precision that is 0
        or 1 has its exact interval.
        """
        at = self.half_coverage()
        claims = len(self.p)
        shown, trusted = (int((self.p >= least).sum()) if least == least else 0 for least in (at, TRUST))
        n = [shown, claims, claims, claims, claims, len(self.covered), trusted, *[round(claims / BINS)] * BINS]
        figures = statistic_intervals(self.scores, self.documents, n, resamples=resamples, seed=seed)
        headlines = dict(zip(HEADLINES, figures, strict=False))
        headlines |= {key: exact(headlines[key]) for key in (HEADLINES[0], AT_TRUST)}
        return headlines, [exact(one) for one in figures[len(HEADLINES) :]]


def trade_off(claims: Tally, covered: ArrayLike, *, points: int = 100, marks: ArrayLike = ()) -> list[dict[str, float]]:
    """Precision against coverage: one point a threshold, from all claims to the surest.

    Args:
        claims: the context claims by probability.
        covered: as for `coverage`, over all claims.
        points: at most this many thresholds, spread evenly over the claims.
        marks: thresholds that are among the points in any case.

    Returns:
        For each `threshold`, `precision`, `coverage` (NaN without decodable instances) and `claims` (shown).
    """
    if not claims.total:
        return []
    reached = np.cumsum(claims.mass)
    places = np.unique(np.searchsorted(reached, np.linspace(0.0, reached[-1], points), side="left"))
    thresholds = np.unique(
        [0.0, *claims.p[np.minimum(places, len(claims.p) - 1)], *np.asarray(marks, dtype=np.float64)]
    )
    best = np.asarray(covered, dtype=np.float64)
    return [
        {
            "threshold": float(t),
            "precision": precision(claims, t),
            "coverage": coverage(best, t),
            "claims": float(claims.mass[claims.p >= t].sum()),
        }
        for t in thresholds
    ]
