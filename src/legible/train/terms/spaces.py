"""Where the reconstruction's error is measured: spaces for the reward other than plain direction.

| space | error of a reconstruction p of activation g |
|---|---|
| direction | direction_mse(p, g) |
| whitened | direction_mse(w(p), w(g)), w(x) = C^-1/2 (unit(x) - m): directions of little variance count as much |
| residual | direction_mse(p, g) / direction_mse of the token lookup's guess for that row (at least `SMALLEST_LOOKUP`) |
| downstream | k / (1 + k / `WORST_KL`), k = KL(q(g) || q(p)) in nats, q(x) the next token where layer K writes x |

m and C are mean and covariance of the unit activations of the training store; C is shrunk towards its mean eigenvalue
times the identity. The residual error is 1 - the row's own context FVE, so the reward differs from that only by a
constant. Downstream, reconstructions have the activation's own norm, and the error saturates: a token that the target
was sure of would drown the others. All are differentiable in p.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from legible.config import RLConfig
from legible.data.store import Store
from legible.engines.patching import Patch
from legible.errors import UsageError
from legible.models.target import Target
from legible.probes.lookup import TokenLookup
from legible.probes.ridge import TokenColumns
from legible.train.loop import generator, save_tensors
from legible.vectors import direction_mse, unit

SHRINKAGE = 0.1
WHITENING_ROWS = 20_000
SMALLEST_LOOKUP = 0.05
WORST_KL = 4.0

Errors = Callable[[Float[Tensor, "n d"], Sequence[int]], Float[Tensor, " n"]]
"""Errors of reconstructions, given for each the index of its activation among the step's."""


class Space(Protocol):
    """Measures reconstructions of rows of a store."""

    def of(self, rows: Sequence[int], vectors: Float[Tensor, "p d"]) -> Errors:
        """The errors of a step that reads these rows."""
        ...


class Direction:
    """direction_mse, in [0, 4]."""

    def of(self, rows: Sequence[int], vectors: Float[Tensor, "p d"]) -> Errors:
        """The errors of a step that reads these rows."""
        return lambda pred, index: direction_mse(pred, vectors[list(index)].to(pred.device))


@dataclass(frozen=True)
class Whitened:
    """direction_mse of whitened directions, in [0, 4]. `mean` [d] and `matrix` [d, d] are float32."""

    mean: Float[Tensor, " d"]
    matrix: Float[Tensor, "d d"]

    @classmethod
    def fit(cls, vectors: Float[Tensor, "n d"], shrinkage: float = SHRINKAGE) -> "Whitened":
        """Statistics of training activations.

        Args:
            vectors: any scale.
            shrinkage: share of the mean eigenvalue in every eigenvalue, in (0, 1].
        """
        directions = unit(vectors).double()
        mean = directions.mean(0)
        centered = directions - mean
        values, basis = torch.linalg.eigh(centered.T @ centered / len(vectors))
        values = (1 - shrinkage) * values.clamp_min(0) + shrinkage * values.mean()
        matrix = basis @ torch.diag(values.rsqrt()) @ basis.T
        return cls(mean.float(), matrix.float())

    @classmethod
    def of_store(cls, store: Store, layer: int, seed: int, path: Path | None = None) -> "Whitened":
        """The statistics of at most `WHITENING_ROWS` rows drawn by seed, fitted once where they are kept at `path`."""
        if path is not None and path.exists():
            read = load_file(path)
            return cls(read["mean"], read["matrix"])
        order = torch.randperm(len(store), generator=generator(seed, "whitening"))[:WHITENING_ROWS]
        fitted = cls.fit(store.vectors(order.sort().values, layer))
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_tensors(path, {"mean": fitted.mean, "matrix": fitted.matrix})
        return fitted

    def whiten(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """C^-1/2 (unit(x) - m)."""
        return (unit(x) - self.mean.to(x.device)) @ self.matrix.to(x.device)

    def of(self, rows: Sequence[int], vectors: Float[Tensor, "p d"]) -> Errors:
        """The errors of a step that reads these rows."""
        goal = self.whiten(vectors)
        return lambda pred, index: direction_mse(self.whiten(pred), goal[list(index)].to(pred.device))


@dataclass(frozen=True)
class Residual:
    """direction_mse as a share of the token lookup's: below 1 the words carry more than the last two tokens."""

    lookup: TokenLookup
    store: Store

    def of(self, rows: Sequence[int], vectors: Float[Tensor, "p d"]) -> Errors:
        """The errors of a step that reads these rows."""
        store, places = self.store, list(rows)
        columns = TokenColumns.of(store.token_ids[places], store.prev_token_ids[places], store.pos[places])
        floor = direction_mse(self.lookup.predict(columns), vectors).clamp_min(SMALLEST_LOOKUP)

        def errors(pred: Float[Tensor, "n d"], index: Sequence[int]) -> Float[Tensor, " n"]:
            chosen = list(index)
            return direction_mse(pred, vectors[chosen].to(pred.device)) / floor[chosen].to(pred.device)

        return errors


@dataclass(frozen=True)
class Downstream:
    """Saturated KL of the target's next token, in [0, `WORST_KL`): what the target itself would notice."""

    target: Target
    store: Store
    layer: int

    def of(self, rows: Sequence[int], vectors: Float[Tensor, "p d"]) -> Errors:
        """The errors of a step that reads these rows; the target runs over each row's text once, here.

        Raises:
            UsageError: the target's tokenizer does not give the store's tokens.
        """
        placed = zip(rows, vectors, strict=True)
        patches = [Patch.at(self.target, self.layer, self.store.row(row), vector) for row, vector in placed]

        def errors(pred: Float[Tensor, "n d"], index: Sequence[int]) -> Float[Tensor, " n"]:
            places = torch.tensor(list(index), device=pred.device)
            error = torch.zeros(len(pred), device=pred.device)
            for place in sorted(set(index)):
                at_place = (places == place).nonzero().flatten()
                kl = patches[place].kl(pred[at_place])
                error = error.index_put((at_place,), kl / (1.0 + kl / WORST_KL))
            return error

        return errors


def space_of(
    config: RLConfig,
    store: Store,
    layer: int,
    out: Path | None = None,
    lookup: TokenLookup | None = None,
    target: Target | None = None,
) -> Space:
    """The configured space.

    Args:
        config, store, layer: the training.
        out: the stage's folder; the whitening's statistics are kept there.
        lookup: of the training documents (residual).
        target: the model that is read (downstream).

    Raises:
        UsageError: what the space needs is not given.
    """
    if config.space == "whitened":
        return Whitened.of_store(store, layer, config.seed, out / "whitening.safetensors" if out else None)
    if config.space == "residual" and lookup is not None:
        return Residual(lookup, store)
    if config.space == "downstream" and target is not None:
        return Downstream(target, store, layer)
    if config.space == "direction":
        return Direction()
    needed = "token lookup" if config.space == "residual" else "target"
    raise UsageError(
        f"rl.space is {config.space!r}, which needs the {needed}, and there is none.\n"
        "  `legible rl` and `legible train` provide it; from Python pass it in `Knowledge`."
    )
