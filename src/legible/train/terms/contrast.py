"""The contrastive reward: the reconstruction should be nearer to its own activation than to others of its document.

What all tokens of a document share (its topic, its names) brings every one of them back a little; here it earns
nothing.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from legible.data.store import Store
from legible.train.loop import Metrics
from legible.train.terms.base import Context, Earned, Rewarded, Term
from legible.train.terms.spaces import Errors
from legible.vectors import unit

MOST_OTHERS = 16  # rows of one document compared with


class Nearer(Term):
    """A reward for a reconstruction that is nearer to its own activation than to others.

    Args:
        weight: reward per direction_mse of the gain.
        name: of the gain among the metrics.
    """

    def __init__(self, weight: float, name: str) -> None:
        self._weight, self._name = weight, name
        self._alone = 0

    @abstractmethod
    def means(self, rows: Sequence[int]) -> list[Float[Tensor, " d"] | None]:
        """Of every row the mean direction of the others that it is compared with; None where it has none."""

    def measures(self, rows: Sequence[int], vectors: Float[Tensor, "p d"]) -> Mapping[str, Errors]:
        """The gain of every reconstruction."""
        gains, self._alone = self.of(rows, vectors)
        return {self._name: gains}

    def earn(self, step: Rewarded) -> Earned:
        """The gain, where there is an explanation."""
        gain, parsed = step.back.extra[self._name], step.back.parsed
        metrics: Metrics = {self._name: step.back.mean(gain), "rows_without_others": self._alone}
        return Earned(torch.where(parsed, self._weight * gain, 0.0), metrics=metrics)

    def of(
        self, rows: Sequence[int], vectors: Float[Tensor, "p d"]
    ) -> tuple[Callable[[Float[Tensor, "n d"], Sequence[int]], Float[Tensor, " n"]], int]:
        """The gains of a step's reconstructions.

        Args:
            rows, vectors: the step's activations.

        Returns:
            A function of reconstructions and, for each, the index of its activation: the mean direction_mse to the
            others minus that to the right one; 0 for a row without others. And how many rows have none.
        """
        means = self.means(rows)
        away = torch.zeros_like(unit(vectors))
        for place, mean in enumerate(means):
            if mean is not None:
                away[place] = unit(vectors[place]) - mean

        def gains(pred: Float[Tensor, "n d"], index: Sequence[int]) -> Float[Tensor, " n"]:
            # direction_mse is 2 - 2 cos, so its difference, averaged over the others, is linear in the reconstruction
            return 2.0 * (unit(pred.cpu()) * away[list(index)]).sum(-1)

        return gains, sum(mean is None for mean in means)


class Contrast(Nearer):
    """Compared with the other rows of each row's document in a store.

    Args:
        store, layer: where activations come from.
        weight: reward per direction_mse of the gain.
    """

    def __init__(self, store: Store, layer: int, weight: float = 1.0) -> None:
        super().__init__(weight, "gain")
        self._store, self._layer = store, layer
        self._rows_of: dict[str, list[int]] = {}
        for row, doc_id in enumerate(store.doc_ids):
            self._rows_of.setdefault(doc_id, []).append(row)

    def others(self, row: int) -> list[int]:
        """Other rows of the same document, those nearest in the store first, at most `MOST_OTHERS`."""
        same = [other for other in self._rows_of[self._store.doc_ids[row]] if other != row]
        return sorted(same, key=lambda other: (abs(other - row), other))[:MOST_OTHERS]

    def means(self, rows: Sequence[int]) -> list[Float[Tensor, " d"] | None]:
        """The mean direction of the other rows of each row's document."""
        neighbours = [self.others(row) for row in rows]
        return [unit(self._store.vectors(others, self._layer)).mean(0) if others else None for others in neighbours]


def term(context: Context) -> Contrast | None:
    """The term of a training with `rl.contrast`."""
    weight = context.config.contrast
    return Contrast(context.store, context.layer, weight) if weight > 0 else None
