"""One-hot features of a row's tokens, position and facts, and the ridge regression on them.

Sparse columns, dense normal equations in float64: exact, and seconds for thousands of columns.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

RIDGES = (1.0, 4.0, 16.0, 64.0)
MAX_TOKENS = 2000  # more frequent ids get a column of their own, the rest share one
_PAIR_BASE = 1 << 32

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TokenColumns:
    """The read token, the one before it (-1 at the start) and the position of every row."""

    token_ids: Ints
    prev_token_ids: Ints
    pos: Ints

    @classmethod
    def of(cls, token_ids: Iterable[int], prev_token_ids: Iterable[int], pos: Iterable[int]) -> "TokenColumns":
        """Columns from anything that lists integers."""
        return cls(*(np.fromiter(column, dtype=np.int64) for column in (token_ids, prev_token_ids, pos)))

    def __len__(self) -> int:
        return len(self.token_ids)

    def take(self, rows: NDArray) -> "TokenColumns":
        """The chosen rows (indices or a mask)."""
        return TokenColumns(self.token_ids[rows], self.prev_token_ids[rows], self.pos[rows])

    def pairs(self) -> Ints:
        """One integer for each (previous token, token)."""
        return (self.prev_token_ids + 1) * _PAIR_BASE + self.token_ids


@dataclass(frozen=True)
class TokenFeatures:
    """How tokens and positions become columns: fixed at fitting, saved with the weights."""

    tokens: Ints  # sorted ids with a column of their own
    prev_tokens: Ints
    knots: Floats  # centres of the position hats, in log(1 + pos)

    @classmethod
    def of(cls, columns: TokenColumns) -> "TokenFeatures":
        """The most frequent ids of both columns, and 12 position knots."""
        top = np.log1p(max(1, int(columns.pos.max())))
        return cls(_frequent(columns.token_ids), _frequent(columns.prev_token_ids), np.linspace(0.0, top, 12))

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.tokens) + len(self.prev_tokens) + 2 + len(self.knots)

    def matrix(self, columns: TokenColumns) -> sparse.csr_matrix:
        """One-hot tokens (the last column of each is 'other') and position hats, [n, width]."""
        parts = [
            _one_hot(columns.token_ids, self.tokens),
            _one_hot(columns.prev_token_ids, self.prev_tokens),
            sparse.csr_matrix(self._hats(columns.pos)),
        ]
        return sparse.hstack(parts, format="csr")

    def _hats(self, pos: Ints) -> Floats:
        step = self.knots[1] - self.knots[0]
        place = np.minimum(np.log1p(pos), self.knots[-1])
        hats: Floats = np.maximum(0.0, 1.0 - np.abs(place[:, None] - self.knots[None]) / step)
        return hats


def _frequent(ids: Ints) -> Ints:
    tokens, counts = np.unique(ids, return_counts=True)
    kept: Ints = np.sort(tokens[np.argsort(-counts, kind="stable")[:MAX_TOKENS]])
    return kept


def _one_hot(ids: Ints, vocabulary: Ints) -> sparse.csr_matrix:
    slot = np.minimum(np.searchsorted(vocabulary, ids), len(vocabulary) - 1)
    column = np.where(vocabulary[slot] == ids, slot, len(vocabulary))
    shape = (len(ids), len(vocabulary) + 1)
    return sparse.csr_matrix((np.ones(len(ids)), (np.arange(len(ids)), column)), shape=shape)


def multi_hot(facts: Sequence[Iterable[str]], names: dict[str, int]) -> sparse.csr_matrix:
    """One column a name, 1 where the row has it; names never seen have no column."""
    columns = [sorted(names[name] for name in set(row) if name in names) for row in facts]
    lengths = [len(row) for row in columns]
    flat = np.array([column for row in columns for column in row], dtype=np.int64)
    start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return sparse.csr_matrix((np.ones(len(flat)), flat, start), shape=(len(columns), len(names)))


def solve(matrix: sparse.csr_matrix, goal: Floats, ridge: float) -> tuple[Floats, Floats]:
    """The mean of the goal, and the ridge weights that predict its remainder."""
    mean = goal.mean(axis=0)
    wide = matrix.shape[1] > matrix.shape[0]  # then the system of the rows is the smaller one, with the same solution
    gram = (matrix @ matrix.T if wide else matrix.T @ matrix).toarray()
    gram[np.diag_indices_from(gram)] += ridge
    right = goal - mean if wide else matrix.T @ (goal - mean)
    solution: Floats = linalg.solve(gram, right, assume_a="pos", overwrite_a=True, check_finite=False)
    return mean, matrix.T @ solution if wide else solution


def miss(pred: Floats, goal: Floats) -> float:
    """Mean direction_mse in float64."""
    length = np.maximum(np.linalg.norm(pred, axis=1, keepdims=True), 1e-12)
    return float(((pred / length - goal) ** 2).sum(1).mean())


def choose_ridge(matrix: sparse.csr_matrix, goal: Floats, held: NDArray[np.bool_]) -> float:
    """The strength whose fit on the other rows misses the held-out rows least."""
    losses = []
    for ridge in RIDGES:
        mean, weights = solve(matrix[~held], goal[~held], ridge)
        losses.append(miss(mean + matrix[held] @ weights, goal[held]))
    return RIDGES[int(np.argmin(losses))]
