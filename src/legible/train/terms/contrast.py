"""The contrastive reward: the reconstruction should be nearer to its own activation than to others of its document.

What all tokens of a document share (its topic, its names) brings every one of them back a little; here it earns
nothing.
"""

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


class Contrast(Term):
    """The other rows of each row's document in a store.

    Args:
        store, layer: where activations come from.
        weight: reward per direction_mse of the gain.
    """

    def __init__(self, store: Store, layer: int, weight: float = 1.0) -> None:
        self._store, self._layer, self._weight = store, layer, weight
        self._alone = 0
        self._rows_of: dict[str, list[int]] = {}
        for row, doc_id in enumerate(store.doc_ids):
            self._rows_of.setdefault(doc_id, []).append(row)

    def others(self, row: int) -> list[int]:
        """Other rows of the same document, those nearest in the store first, at most `MOST_OTHERS`."""
        same = [other for other in self._rows_of[self._store.doc_ids[row]] if other != row]
        return sorted(same, key=lambda other: (abs(other - row), other))[:MOST_OTHERS]

    def measures(self, rows: Sequence[int], vectors: Float[Tensor, "p d"]) -> Mapping[str, Errors]:
        """The gain of every reconstruction."""
        gains, self._alone = self.of(rows, vectors)
        return {"gain": gains}

    def earn(self, step: Rewarded) -> Earned:
        """The gain, where there is an explanation."""
        gain, parsed = step.back.extra["gain"], step.back.parsed
        metrics: Metrics = {"gain": step.back.mean(gain), "rows_without_others": self._alone}
        return Earned(torch.where(parsed, self._weight * gain, 0.0), metrics=metrics)

    def of(
        self, rows: Sequence[int], vectors: Float[Tensor, "p d"]
    ) -> tuple[Callable[[Float[Tensor, "n d"], Sequence[int]], Float[Tensor, " n"]], int]:
        """The gains of a step's reconstructions.

        Args:
            rows, vectors: the step's activations.

        Returns:
            A function of reconstructions and, for each, the index of its activation: the mean direction_mse to the
            others minus that to the right one; 0 for a row whose document has no other. And how many rows have none.
        """
        found = [self.others(row) for row in rows]
        away = torch.zeros_like(unit(vectors))
        for place, others in enumerate(found):
            if others:
                mean = unit(self._store.vectors(others, self._layer)).mean(0)
                away[place] = unit(vectors[place]) - mean

        def gains(pred: Float[Tensor, "n d"], index: Sequence[int]) -> Float[Tensor, " n"]:
            # direction_mse is 2 - 2 cos, so its difference, averaged over the others, is linear in the reconstruction
            return 2.0 * (unit(pred.cpu()) * away[list(index)]).sum(-1)

        return gains, sum(not others for others in found)


def term(context: Context) -> Contrast | None:
    """The term of a training with `rl.contrast`."""
    weight = context.config.contrast
    return Contrast(context.store, context.layer, weight) if weight > 0 else None
