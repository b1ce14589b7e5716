"""Intervals over documents: the bootstrap behind every number we show.

Rows of one document are not independent, so documents, not rows, are resampled. A share of 0 or 1 looks certain to
every resample: there the interval is exact (Clopper-Pearson).
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from legible.errors import UsageError

FEWEST = 30  # cases from which a figure may stand as a headline


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % bootstrap interval over documents."""

    value: float
    low: float
    high: float
    n: int
    documents: int

    def as_dict(self) -> dict[str, float | int]:
        """The five fields as plain JSON numbers."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n, "documents": self.documents}


def is_headline(found: Mapping[str, Any]) -> bool:
    """Whether a saved interval rests on enough cases to be shown as a headline."""
    return int(found["n"]) >= FEWEST


def exact(found: Interval, *, offset: float = 0.0, scale: float = 1.0) -> Interval:
    """The interval of a share of `n` cases, by Clopper and Pearson where the share is 0 or 1; else as it is.

    The cases count as independent there, so the truth may lie a little further off where documents agree in themselves.

    Args:
        found: offset + scale * the share.

    Example:
        >>> round(exact(Interval(1.0, 1.0, 1.0, n=4, documents=2)).low, 3)
        0.398
    """
    doubt = scale * (1.0 - 0.025 ** (1.0 / max(1, found.n)))
    if math.isclose(found.value, offset, abs_tol=1e-9):
        return replace(found, high=found.value + doubt)
    if math.isclose(found.value, offset + scale, abs_tol=1e-9):
        return replace(found, low=found.value - doubt)
    return found


def share_interval(hits: ArrayLike, cases: ArrayLike, documents: Sequence[str]) -> Interval:
    """The share of cases that are hits, with the interval of `ratio_interval`, exact at 0 and 1.

    Args:
        hits, cases: how many a row.
        documents: the document of each row.

    Returns:
        n counts cases; NaN throughout where there are none.
    """
    found = ratio_interval(hits, cases, documents)
    return exact(replace(found, n=round(float(np.asarray(cases, dtype=np.float64).sum()))))


def ratio_interval(
    numerator: ArrayLike,
    denominator: ArrayLike,
    documents: Sequence[str],
    *,
    offset: float = 0.0,
    scale: float = 1.0,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """offset + scale * sum(numerator) / sum(denominator), documents resampled with replacement.

    FVE is `ratio_interval(mse, full_like(mse, V), docs, offset=1, scale=-1)`; context FVE puts the token
    lookup's direction_mse below. A paired difference of two FVEs puts the difference of their errors above V. A
    share of cases is `share_interval`'s.

    Args:
        numerator: one value per row.
        denominator: one value per row, same length; its sum must not be 0.
        documents: the document of each row.

    Returns:
        The percentile interval (2.5 %, 97.5 %); n counts rows. NaN throughout when there are no rows.
    """
    num = np.asarray(numerator, dtype=np.float64)
    den = np.asarray(denominator, dtype=np.float64)
    if len(num) == 0 or den.sum() == 0:
        return Interval(float("nan"), float("nan"), float("nan"), len(num), 0)
    sums, draws = _resampled([num, den], documents, resamples, seed)
    value = float(offset + scale * num.sum() / den.sum())
    low, high = _bounds(offset + scale * _ratio(sums[0], sums[1], draws))
    return Interval(value, low, high, len(num), sums.shape[1])


def ratio_difference_interval(
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    documents: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """The difference of two ratios (numerators, denominators) on the same rows, documents resampled together.

    The lift of one precision over another, whose numbers of claims differ row by row. NaN throughout where either
    denominator sums to 0.
    """
    columns = [np.asarray(column, dtype=np.float64) for pair in (first, second) for column in pair]
    totals = [column.sum() for column in columns]
    if len(columns[0]) == 0 or totals[1] == 0 or totals[3] == 0:
        return Interval(float("nan"), float("nan"), float("nan"), len(columns[0]), 0)
    sums, draws = _resampled(columns, documents, resamples, seed)
    low, high = _bounds(_ratio(sums[0], sums[1], draws) - _ratio(sums[2], sums[3], draws))
    value = float(totals[0] / totals[1] - totals[2] / totals[3])
    return Interval(value, low, high, len(columns[0]), sums.shape[1])


def statistic_intervals(
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    documents: int,
    n: Sequence[int],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[Interval]:
    """Intervals of statistics that are no ratio of sums, computed anew on every resample of the documents.

    Args:
        statistic: maps how often each document was drawn (float64, [documents]) to the statistics, NaN where one is
            undefined; all ones give the values on the sample.
        documents: how many documents there are.
        n: for every statistic what its interval counts.

    Returns:
        One percentile interval (2.5 %, 97.5 %) a statistic; NaN throughout where its value is undefined. Resamples
        on which a statistic is undefined do not count.
    """
    values = statistic(np.ones(documents))
    rng = np.random.default_rng(seed)
    drawn = [
        statistic(np.bincount(rng.integers(0, documents, documents), minlength=documents).astype(np.float64))
        for _ in range(resamples if documents else 0)
    ]
    found = []
    for place, (value, count) in enumerate(zip(values.tolist(), n, strict=True)):
        column = np.array([row[place] for row in drawn])
        known = column[~np.isnan(column)]
        low, high = _bounds(known) if len(known) and value == value else (float("nan"), float("nan"))
        found.append(Interval(value, low, high, count, documents if value == value else 0))
    return found


def _resampled(
    columns: Sequence[NDArray[np.float64]], documents: Sequence[str], resamples: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sums of every column by document, and the documents of every resample."""
    _, group = np.unique(np.asarray(documents, dtype=object).astype(str), return_inverse=True)
    n_docs = int(group.max()) + 1
    sums = np.zeros((len(columns), n_docs))
    for place, column in enumerate(columns):
        np.add.at(sums[place], group, column)
    return sums, np.random.default_rng(seed).integers(0, n_docs, (resamples, n_docs))


def _ratio(top: NDArray[np.float64], bottom: NDArray[np.float64], draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """The ratio of every resample; NaN where its denominator is 0."""
    below = bottom[draws].sum(1)
    ratio: NDArray[np.float64] = top[draws].sum(1) / np.where(below == 0, np.nan, below)
    return ratio


def _bounds(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def fold_of(doc_id: str, folds: int, seed: int) -> int:
    """The cross-fitting fold of a document: a hash of (seed, doc_id), so it never moves."""
    digest = hashlib.sha256(f"{seed}:{doc_id}".encode()).digest()
    return int.from_bytes(digest[:6]) % folds


def held_out_documents(doc_ids: Sequence[str], *, share: float, seed: int) -> NDArray[np.bool_]:
    """A mask of the rows whose document is held out; at least one document stands on either side.

    Raises:
        UsageError: fewer than two documents.
    """
    names = sorted(set(doc_ids), key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    if len(names) < 2:
        raise UsageError(
            f"found {len(names)} document(s), expected at least 2 to hold some out.\n  Capture more documents."
        )
    held = set(names[: min(len(names) - 1, max(1, round(share * len(names))))])
    return np.array([name in held for name in doc_ids])
