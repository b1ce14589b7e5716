"""Labels of latents: of each the claim that its activation predicts best, and how often that claim then holds.

The claim has the largest AUROC over the rows where its kind is decided: the chance that the latent is more active where
the claim holds than where it does not, silence in both counting half. How often it holds is counted on documents that
had no part in that choice, for each quarter of the latent's activations, drawn towards the claim's own frequency by
`PRIOR` rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from legible.instruments.autoencoder import ROWS, Autoencoder
from legible.languages.base import Fact, Language
from legible.stats import held_out_documents

FILE = "labels.json"
LEAST = 10  # rows at which a claim has to hold, and not to hold
PRIOR = 8.0
HELD = 1 / 3  # of the documents
QUARTERS = (0.25, 0.5, 0.75)

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Label:
    """A claim that a latent predicts.

    auroc: in [0, 1], on the documents that chose it.
    edges: the quartiles of the latent's activations there.
    shares: of the rows of other documents in each quarter, those where the claim holds.
    """

    kind: str
    value: str
    auroc: float
    edges: tuple[float, ...]
    shares: tuple[float, ...]

    def share_at(self, activation: float) -> float:
        """How often the claim holds where the latent is about so active."""
        return self.shares[sum(activation > edge for edge in self.edges)]


def active(sae: Autoencoder, vectors: Float[Tensor, "n d_model"]) -> sparse.csr_matrix:
    """Activations as [n, n_latents], the inactive left out."""
    return sparse.vstack(list(_encoded(sae, vectors)), format="csr")


@torch.no_grad()
def _encoded(sae: Autoencoder, vectors: Float[Tensor, "n d_model"]) -> Iterator[sparse.csr_matrix]:
    for chunk in vectors.split(ROWS):
        yield sparse.csr_matrix(sae.encode(chunk).numpy())


def labels_of(
    z: sparse.csr_matrix,
    facts: Sequence[Mapping[str, Fact]],
    doc_ids: Sequence[str],
    language: Language,
    *,
    seed: int = 0,
) -> dict[int, Label]:
    """The label of every latent that has one.

    Args:
        z: activations, a row each.
        facts, doc_ids: of the same rows.
        language: its kinds; what its teacher leaves unsaid is no claim.

    Raises:
        UsageError: rows of one document alone.
    """
    held = held_out_documents(doc_ids, share=HELD, seed=seed)
    own = [facts[int(place)] for place in np.flatnonzero(~held)]
    others = [facts[int(place)] for place in np.flatnonzero(held)]
    fitted, counted = z[~held].tocsc(), z[held].tocsc()
    best = np.full(z.shape[1], -1.0)
    chosen: dict[int, tuple[str, str]] = {}
    for kind in language.kinds:
        values = [v for v in _values(own, kind) if v != language.unsaid.get(kind)]
        decided = np.array([kind in row for row in own])
        if values:
            scores = auroc(fitted, _holds(own, kind, values), decided)
            place = scores.argmax(-1)
            top = scores[np.arange(len(place)), place]
            for latent in np.flatnonzero(top > best):
                chosen[int(latent)] = (kind, values[place[latent]])
            best = np.maximum(best, top)
    truths = {
        (kind, value): (np.array([kind in row for row in others]), _holds(others, kind, [value])[:, 0])
        for kind, value in set(chosen.values())
    }
    return {
        latent: _label(latent, claim, float(best[latent]), fitted, counted, truths[claim])
        for latent, claim in sorted(chosen.items())
    }


def auroc(z: sparse.csc_matrix, holds: NDArray[np.bool_], decided: NDArray[np.bool_]) -> Values:
    """AUROC of every latent for every claim over the decided rows; -1 where a claim is too rare, or a latent silent.

    Args:
        z: [n, latents] activations above 0.
        holds: [n, claims].
        decided: [n].
    """
    kept = decided[z.indices]
    latent = np.repeat(np.arange(z.shape[1]), np.diff(z.indptr))[kept]
    row, value = z.indices[kept], z.data[kept]
    order = np.lexsort((value, latent))
    latent, row = latent[order], row[order]
    count = np.bincount(latent, minlength=z.shape[1])
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    rank = np.arange(len(latent)) - first[latent] + 1.0
    n, positive = int(decided.sum()), holds[decided].sum(0).astype(np.float64)
    silent = (n - count)[:, None].astype(np.float64)
    wanted = holds.astype(np.float64) * decided[:, None]
    shape = (z.shape[1], len(decided))
    heard = sparse.csr_matrix((np.ones(len(row)), (latent, row)), shape) @ wanted
    ranks = sparse.csr_matrix((rank, (latent, row)), shape) @ wanted
    total = (positive - heard) * (silent + 1) / 2 + heard * silent + ranks
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (total - positive * (positive + 1) / 2) / (positive * (n - positive))
    usual = (positive >= LEAST) & (n - positive >= LEAST)
    scores: Values = np.where(usual & (count > 0)[:, None], found, -1.0)
    return scores


def as_json(labels: Mapping[int, Label], texts: Mapping[int, Sequence[tuple[float, str]]]) -> dict[str, Any]:
    """What `FILE` holds: the labels, and the texts at whose ends a latent is most active."""
    return {"labels": {n: asdict(one) for n, one in labels.items()}, "texts": dict(texts)}


def from_json(value: Mapping[str, Any]) -> tuple[dict[int, Label], dict[int, list[tuple[float, str]]]]:
    """The inverse of `as_json`, after JSON.

    Raises:
        KeyError, TypeError, ValueError: something else.
    """
    labels = {
        int(n): Label(one["kind"], one["value"], one["auroc"], tuple(one["edges"]), tuple(one["shares"]))
        for n, one in value["labels"].items()
    }
    return labels, {int(n): [(float(z), str(text)) for z, text in each] for n, each in value["texts"].items()}


def _values(facts: Sequence[Mapping[str, Fact]], kind: str) -> list[str]:
    """The values that hold at enough rows."""
    found: dict[str, int] = {}
    for row in facts:
        for value in row[kind].values if kind in row and row[kind].status != "open" else ():
            found[value] = found.get(value, 0) + 1
    return sorted(value for value, count in found.items() if count >= LEAST)


def _holds(facts: Sequence[Mapping[str, Fact]], kind: str, values: Sequence[str]) -> NDArray[np.bool_]:
    place = {value: column for column, value in enumerate(values)}
    holds = np.zeros((len(facts), len(values)), dtype=np.bool_)
    for number, row in enumerate(facts):
        for value in row[kind].values if kind in row and row[kind].status != "open" else ():
            if value in place:
                holds[number, place[value]] = True
    return holds


def _label(
    latent: int,
    claim: tuple[str, str],
    score: float,
    fitted: sparse.csc_matrix,
    counted: sparse.csc_matrix,
    truth: tuple[NDArray[np.bool_], NDArray[np.bool_]],
) -> Label:
    decided, holds = truth
    edges = np.quantile(fitted.data[fitted.indptr[latent] : fitted.indptr[latent + 1]], QUARTERS)
    span = slice(counted.indptr[latent], counted.indptr[latent + 1])
    kept = decided[counted.indices[span]]
    quarter = np.searchsorted(edges, counted.data[span][kept])
    cases = np.bincount(quarter, minlength=len(edges) + 1)
    hits = np.bincount(quarter, weights=holds[counted.indices[span][kept]], minlength=len(edges) + 1)
    usual = float(holds[decided].mean()) if decided.any() else 0.0
    shares = (hits + PRIOR * usual) / (cases + PRIOR)
    return Label(*claim, score, tuple(map(float, edges)), tuple(map(float, shares)))
