"""Nearest neighbours: the facts of the most similar activations of other documents, scored by how many share them."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from legible.instruments.base import (
    Instrument,
    Needs,
    Offer,
    Rows,
    Said,
    Setting,
    check_width,
    lacking,
    listed,
    shares_of,
)
from legible.languages.base import Language, Row
from legible.models.target import Target
from legible.vectors import unit

K = 16


class NearestNeighbours(Instrument):
    """What the k rows of largest cosine have in common, and the mean of their directions.

    Args:
        target, layer: whose activations.
        others: rows of other documents, with their facts where claims are wanted.
        language: claims are in; None: there are none.
        k: how many neighbours.
    """

    name = "nearest-neighbours"
    calibrated = True

    def __init__(
        self, target: Target, layer: int, others: Rows, language: Language | None = None, *, k: int = K
    ) -> None:
        self.target, self.layer, self.others, self.language = target, layer, others, language
        self.k = min(k, len(others))
        self._directions = unit(others.vectors)
        self._documents = others.doc_ids

    @property
    def needs(self) -> Needs:
        """The labelled rows; nothing is trained."""
        return Needs(len(self.others.facts), len(set(self._documents)))

    def read(self, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row] = ()) -> list[Said]:
        """The neighbours' facts, each with the share of the neighbours that hold it."""
        check_width(self.target, vectors)
        if self.language is None or not len(self.others.facts):
            return [Said(None) for _ in vectors]
        said = []
        for places in self._nearest(vectors, rows).tolist():
            claims = shares_of(self.language, [self.others.facts[place] for place in places])
            said.append(Said(listed(claims), claims))
        return said

    def reconstruct(
        self, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row] = ()
    ) -> Float[Tensor, "n d_model"] | None:
        """The mean direction of the neighbours."""
        return self._directions[self._nearest(vectors, rows)].mean(1)

    def _nearest(self, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row]) -> Int[Tensor, "n k"]:
        """The k rows of largest cosine; none of the row's own document, where the row is given."""
        near = unit(vectors) @ self._directions.T
        own = {row.document.doc_id for row in rows} & set(self._documents)
        if own:
            for place, row in enumerate(rows):
                near[place, torch.tensor([name == row.document.doc_id for name in self._documents])] = -2.0
        return near.topk(self.k, dim=-1).indices


def _made(setting: Setting) -> NearestNeighbours:
    if setting.others is None or not len(setting.others):
        raise lacking(NearestNeighbours.name, "rows of other documents", "Give a store of such: --weights STORE")
    return NearestNeighbours(setting.target, setting.layer, setting.others, setting.language)


OFFER = Offer(
    NearestNeighbours.name,
    f"the facts of the {K} most similar activations of other documents, and their mean",
    "rival",
    "that repeating what holds of the most similar activations is enough",
    _made,
    alone=False,
)
