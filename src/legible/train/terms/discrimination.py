"""The reward for telling texts apart: nearer to its activation than to those of other texts with the same last words.

The others are read anew: other beginnings of the store, each followed by the row's own last tokens. What echoes these
tokens is as near to every one of them and earns nothing; only what the words say of the text before them pays.

Its weight stands in `rl.terms` under the name of this file: `--set rl.terms.discrimination=1`.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from legible.data.forward import RECENT_TOKENS
from legible.data.store import Store
from legible.engines.endings import ids_until, streams_behind
from legible.errors import UsageError
from legible.models.target import Target
from legible.train.loop import generator
from legible.train.terms.base import Context
from legible.train.terms.contrast import Nearer
from legible.vectors import unit

OTHERS = 4  # other beginnings that the rows of one step are compared with


class Discrimination(Nearer):
    """Compared with the last tokens of each row behind beginnings of other documents.

    Args:
        store, layer, target: where texts and activations come from.
        weight: reward per direction_mse of the gain.
        seed: with a step's rows it decides the other beginnings.
    """

    def __init__(self, store: Store, layer: int, target: Target, weight: float, seed: int = 0) -> None:
        super().__init__(weight, "told_apart")
        self._store, self._layer, self._target, self._seed = store, layer, target, seed

    def beginnings(self, rows: Sequence[int]) -> list[tuple[str, list[int]]]:
        """Document and token ids of the beginnings that these rows are compared with, cut before their last tokens."""
        draws = generator(self._seed, "beginnings " + " ".join(map(str, rows)))
        beginnings: list[tuple[str, list[int]]] = []
        for other in torch.randperm(len(self._store), generator=draws)[: 16 * OTHERS].tolist():
            ids, doc_id = self._ids(other), self._store.doc_ids[other]
            if len(ids) > 2 * RECENT_TOKENS and doc_id not in {known for known, _ in beginnings}:
                beginnings.append((doc_id, ids[:-RECENT_TOKENS]))
            if len(beginnings) == OTHERS:
                break
        return beginnings

    def means(self, rows: Sequence[int]) -> list[Float[Tensor, " d"] | None]:
        """The mean direction of each row's last tokens behind other beginnings; none for a row of fewer tokens."""
        others = self.beginnings(rows)
        ids = [self._ids(row) for row in rows]
        places = [place for place, tokens in enumerate(ids) if len(tokens) > RECENT_TOKENS]
        pairs = [
            (first, last)
            for last, place in enumerate(places)
            for first, (doc_id, _) in enumerate(others)
            if doc_id != self._store.doc_ids[rows[place]]
        ]
        endings = [ids[place][-RECENT_TOKENS:] for place in places]
        streams = unit(streams_behind(self._target, self._layer, [each for _, each in others], endings, pairs))
        means: list[Float[Tensor, " d"] | None] = [None] * len(rows)
        for last, place in enumerate(places):
            sharing = [n for n, (_, ending) in enumerate(pairs) if ending == last]
            means[place] = streams[sharing].mean(0) if sharing else None
        return means

    def _ids(self, row: int) -> list[int]:
        return ids_until(self._target, self._store.row(row))


def term(context: Context) -> Discrimination | None:
    """The term of a training with a weight for it in `rl.terms`.

    Raises:
        UsageError: the training has no target at hand.
    """
    weight = context.config.terms.get("discrimination", 0.0)
    if not weight:
        return None
    if context.target is None:
        raise UsageError(
            "rl.terms.discrimination reads texts anew and needs the target, which this training does not have."
        )
    return Discrimination(context.store, context.layer, context.target, weight, context.config.seed)
