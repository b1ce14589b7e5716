"""The token lookup: what the last two tokens and the position alone say about an activation.

A reading earns nothing for echoing the last words, so its error is compared with that of the best prediction made
from the last two tokens and the position: a ridge from one-hot tokens and position hats to the unit activation,
then for frequent token pairs the shrunken mean of what the ridge left over. Both strengths are chosen on held-out
training documents. `FactRidge` predicts the activation from a row's true facts, alone or beside the tokens: the
difference to the lookup is what the facts add. Nothing here loads a model.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from legible.languages.base import Fact
from legible.probes import files
from legible.probes.ridge import Floats, Ints, TokenColumns, TokenFeatures, choose_ridge, miss, multi_hot, solve
from legible.stats import held_out_documents
from legible.vectors import unit

SHRINKS = (float("inf"), 2.0, 8.0, 32.0)
MAX_PAIRS = 4096
MAX_FACTS = 2000  # the most frequent facts that stand in at least `MIN_ROWS` rows; rarer ones have no column
MIN_ROWS = 3


@dataclass(frozen=True)
class TokenLookup:
    """The fitted lookup. `ridge` and `shrink` are the strengths that held-out training documents chose."""

    features: TokenFeatures
    mean: Floats  # [d]
    weights: Floats  # [width, d]
    pairs: Ints  # sorted
    corrections: Floats  # [pairs, d]
    ridge: float
    shrink: float
    factors: tuple[Floats, Floats] | None = None  # of a table that was cut: [width + pairs, rank] and [rank, d]

    @classmethod
    def fit(
        cls,
        vectors: Float[Tensor, "n d_model"],
        columns: TokenColumns,
        doc_ids: Sequence[str],
        *,
        seed: int = 0,
    ) -> "TokenLookup":
        """Fit on training rows.

        Args:
            vectors: activations, any scale.
            columns: their tokens and positions.
            doc_ids: the document of each row; a fifth of them choose the strengths.
            seed: which documents those are.

        Raises:
            UsageError: fewer than two documents.
        """
        goal = unit(vectors).double().numpy()
        held = held_out_documents(doc_ids, share=0.2, seed=seed)
        features = TokenFeatures.of(columns)
        matrix = features.matrix(columns)
        ridge = choose_ridge(matrix, goal, held)
        shrink = _choose_shrink(matrix, goal, columns, held, ridge)
        mean, weights = solve(matrix, goal, ridge)
        left = goal - mean - matrix @ weights
        pairs, corrections = _pair_means(columns.pairs(), left, shrink)
        return cls(features, mean, weights, pairs, corrections, ridge, shrink)

    def predict(self, columns: TokenColumns) -> Float[Tensor, "n d_model"]:
        """The predicted unit activation (its own length is at most about 1)."""
        additive = self.mean + self.features.matrix(columns) @ self.weights
        return torch.from_numpy(additive + self.correction(columns)).float()

    def correction(self, columns: TokenColumns) -> Floats:
        """What the pair table adds to the ridge, zero for pairs without an entry."""
        out = np.zeros((len(columns), len(self.mean)))
        if len(self.pairs):
            keys = columns.pairs()
            slot = np.minimum(np.searchsorted(self.pairs, keys), len(self.pairs) - 1)
            known = self.pairs[slot] == keys
            out[known] = self.corrections[slot[known]]
        return out

    def cut(self, rank: int) -> tuple["TokenLookup", float]:
        """The lookup with its table cut to a rank, and the share of the table's squared weights that it keeps.

        A row of the table is what a token, a position or a pair adds to the prediction.
        """
        left, values, right = np.linalg.svd(np.concatenate([self.weights, self.corrections]), full_matrices=False)
        factors = (left[:, :rank] * values[:rank], right[:rank])
        weights, corrections = np.split(factors[0] @ factors[1], [len(self.weights)])
        whole = float((values**2).sum())
        share = float((values[:rank] ** 2).sum()) / whole if whole else 1.0
        return replace(self, weights=weights, corrections=corrections, factors=factors), share

    def save(self, path: Path) -> None:
        """Write one safetensors file; weights as float16, those of a cut table as their factors."""
        tensors = {
            "tokens": torch.from_numpy(self.features.tokens),
            "prev_tokens": torch.from_numpy(self.features.prev_tokens),
            "knots": torch.from_numpy(self.features.knots),
            "mean": torch.from_numpy(self.mean).float(),
            "pairs": torch.from_numpy(self.pairs),
        }
        tables = {"weights": self.weights, "corrections": self.corrections}
        if self.factors is not None:
            tables = dict(zip(("rows", "directions"), self.factors, strict=True))
        tensors |= {name: torch.from_numpy(table).half().contiguous() for name, table in tables.items()}
        files.save(path, "token_lookup", {"ridge": self.ridge, "shrink": self.shrink}, tensors)

    @classmethod
    def load(cls, path: Path) -> "TokenLookup":
        """Read what `save` wrote.

        Raises:
            UsageError: no such file, or not a token lookup.
        """
        missing = f"no token lookup at {path}.\n  `legible capture` and a whole `legible train` write one."
        about, read = files.load(path, "token_lookup", missing)
        double = {name: tensor.double().numpy() for name, tensor in read.items() if tensor.is_floating_point()}
        features = TokenFeatures(read["tokens"].numpy(), read["prev_tokens"].numpy(), double["knots"])
        factors = (double["rows"], double["directions"]) if "rows" in read else None
        if factors is not None:
            double["weights"], double["corrections"] = np.split(factors[0] @ factors[1], [features.width])
        return cls(
            features,
            double["mean"],
            double["weights"],
            read["pairs"].numpy(),
            double["corrections"],
            float(about["ridge"]),
            float(about["shrink"]),
            factors,
        )


@dataclass(frozen=True)
class FactRidge:
    """The best linear prediction of the activation from a row's true facts, alone or beside its tokens."""

    names: dict[str, int]
    features: TokenFeatures | None
    lookup: TokenLookup | None
    mean: Floats
    weights: Floats
    ridge: float

    @classmethod
    def fit(
        cls,
        vectors: Float[Tensor, "n d_model"],
        facts: Sequence[Iterable[str]],
        doc_ids: Sequence[str],
        *,
        columns: TokenColumns | None = None,
        lookup: TokenLookup | None = None,
        seed: int = 0,
    ) -> "FactRidge":
        """Fit on training rows.

        Args:
            vectors: activations, any scale.
            facts: one collection of names (such as "mood=sad") a row.
            doc_ids: the document of each row.
            columns, lookup: the rows' tokens and the lookup fitted on them, to predict from both together.
            seed: which documents choose the ridge.
        """
        counts = Counter(name for row in facts for name in row)
        frequent = [name for name, rows in counts.most_common(MAX_FACTS) if rows >= MIN_ROWS]
        names = {name: column for column, name in enumerate(frequent)}
        goal = unit(vectors).double().numpy()
        matrix = multi_hot(facts, names)
        features = None
        if columns is not None and lookup is not None:
            features = lookup.features
            matrix = sparse.hstack([matrix, features.matrix(columns)], format="csr")
            goal = goal - lookup.correction(columns)
        ridge = choose_ridge(matrix, goal, held_out_documents(doc_ids, share=0.2, seed=seed))
        mean, weights = solve(matrix, goal, ridge)
        return cls(names, features, lookup if features else None, mean, weights, ridge)

    def predict(
        self, facts: Sequence[Iterable[str]], columns: TokenColumns | None = None
    ) -> Float[Tensor, "n d_model"]:
        """The predicted unit activation; facts never seen in fitting count as absent.

        Raises:
            ValueError: fitted beside tokens and none given.
        """
        matrix = multi_hot(facts, self.names)
        if self.features is None or self.lookup is None:
            return torch.from_numpy(self.mean + matrix @ self.weights).float()
        if columns is None:
            raise ValueError("this FactRidge was fitted beside tokens: pass columns= to predict.")
        matrix = sparse.hstack([matrix, self.features.matrix(columns)], format="csr")
        return torch.from_numpy(self.mean + matrix @ self.weights + self.lookup.correction(columns)).float()


def fact_names(
    facts: Sequence[Mapping[str, Fact]],
    statuses: Collection[str] = ("stated", "implied"),
    kinds: Collection[str] | None = None,
) -> list[list[str]]:
    """The facts of every row as names such as "mood=sad": those of these statuses, and of these kinds (default all)."""
    return [
        [
            f"{kind}={value}"
            for kind, fact in row.items()
            if fact.status in statuses and (kinds is None or kind in kinds)
            for value in fact.values
        ]
        for row in facts
    ]


def _choose_shrink(
    matrix: sparse.csr_matrix, goal: Floats, columns: TokenColumns, held: NDArray[np.bool_], ridge: float
) -> float:
    mean, weights = solve(matrix[~held], goal[~held], ridge)
    additive = mean + matrix @ weights
    left = (goal - additive)[~held]
    losses = []
    for shrink in SHRINKS:
        pairs, corrections = _pair_means(columns.take(~held).pairs(), left, shrink)
        part = TokenLookup(TokenFeatures.of(columns), mean, weights, pairs, corrections, ridge, shrink)
        losses.append(miss(additive[held] + part.correction(columns.take(held)), goal[held]))
    return SHRINKS[int(np.argmin(losses))]


def _pair_means(keys: Ints, left: Floats, shrink: float) -> tuple[Ints, Floats]:
    """Shrunken mean remainder of the most frequent pairs: sum / (count + shrink)."""
    if np.isinf(shrink):
        return np.zeros(0, dtype=np.int64), np.zeros((0, left.shape[1]))
    pairs, slot, counts = np.unique(keys, return_inverse=True, return_counts=True)
    shape = (len(pairs), len(keys))
    sums = sparse.csr_matrix((np.ones(len(keys)), (slot, np.arange(len(keys)))), shape=shape) @ left
    kept = np.sort(np.argsort(-counts, kind="stable")[:MAX_PAIRS])
    return pairs[kept], sums[kept] / (counts[kept, None] + shrink)
