"""Intervals over documents: the bootstrap behind every number we show.

Rows of one document are not independent, so documents, not rows, are resampled.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from legible.errors import UsageError


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
    lookup's direction_mse below; precision puts 0/1 hits over ones. A paired difference of two FVEs puts the
    difference of their errors above V.

    Args:
        numerator: one value a row.
        denominator: one value a row, same length; its sum must not be 0.
        documents: the document of each row.

    Returns:
        The percentile interval (2.5 %, 97.5 %); n counts rows. NaN throughout when there are no rows.
    """
    num = np.asarray(numerator, dtype=np.float64)
    den = np.asarray(denominator, dtype=np.float64)
    _, group = np.unique(np.asarray(documents, dtype=object).astype(str), return_inverse=True)
    if len(num) == 0 or den.sum() == 0:
        return Interval(float("nan"), float("nan"), float("nan"), len(num), 0)
    n_docs = int(group.max()) + 1
    num_sum = np.bincount(group, num, minlength=n_docs)
    den_sum = np.bincount(group, den, minlength=n_docs)
    draws = np.random.default_rng(seed).integers(0, n_docs, (resamples, n_docs))
    bottom = den_sum[draws].sum(1)
    top = num_sum[draws].sum(1)
    kept = bottom != 0
    low, high = np.percentile(offset + scale * top[kept] / bottom[kept], [2.5, 97.5])
    return Interval(float(offset + scale * num.sum() / den.sum()), float(low), float(high), len(num), n_docs)


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
