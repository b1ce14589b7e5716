"""Probes as an instrument: of every kind of fact the value that a probe reads, with its calibrated probability.

Probes know the labels of their training rows: the strongest rival where there are labels, and none where there are
none. What comes back of the activation is a ridge from the values that they read, fitted on the true values of other
documents.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from legible.instruments.base import (
    Instrument,
    Needs,
    Offer,
    Rows,
    Said,
    Scored,
    Setting,
    check_width,
    lacking,
    listed,
    value_claim,
)  # fmt: skip
from legible.languages.base import Language, Row
from legible.models.target import Target
from legible.probes.lookup import FactRidge, fact_names
from legible.probes.probes import OPEN, ProbeSet


class Probes(Instrument):
    """The likeliest value of every kind, with its probability, however likely it is that the text leaves it open.

    Args:
        target, layer: whose activations.
        probes: fitted on other documents.
        language: whose kinds they are.
        ridge: gives the activation back from what they read; None: nothing comes back.
        needs: what it took to make them.
    """

    name = "probes"
    calibrated = True

    def __init__(
        self,
        target: Target,
        layer: int,
        probes: ProbeSet,
        language: Language,
        *,
        ridge: FactRidge | None = None,
        needs: Needs = Needs(),
    ) -> None:
        self.target, self.layer, self.probes, self.language = target, layer, probes, language
        self.ridge, self._needs = ridge, needs

    def read(self, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row] = ()) -> list[Said]:
        """A claim of every kind, and as one line those of kinds that are likelier known than open.

        Values that the language's teacher leaves unsaid are no claims.
        """
        check_width(self.target, vectors)
        documents = _documents(vectors, rows)
        said = []
        for likeliest, known in zip(
            values_read(self.probes, vectors, documents),
            values_read(self.probes, vectors, documents, known=True),
            strict=True,
        ):
            claims = tuple(
                Scored(value_claim(self.language, kind, value), share)
                for kind, (value, share) in known.items()
                if value != self.language.unsaid.get(kind)
            )
            said.append(Said(listed([one for one in claims if one.claim.relation in likeliest]), claims))
        return said

    def reconstruct(
        self, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row] = ()
    ) -> Float[Tensor, "n d_model"] | None:
        """The ridge's prediction from the values read."""
        if self.ridge is None:
            return None
        return self.ridge.predict(names_read(self.probes, vectors, _documents(vectors, rows)))


def values_read(
    probes: ProbeSet, vectors: Float[Tensor, "n d_model"], doc_ids: Sequence[str], *, known: bool = False
) -> list[dict[str, tuple[str, float]]]:
    """For every row, by kind, the most probable value with its probability; kinds that are likeliest open left out.

    Args:
        probes, vectors, doc_ids: as for `ProbeSet.probability`.
        known: none is left out.
    """
    found: list[dict[str, tuple[str, float]]] = [{} for _ in doc_ids]
    for kind, shares in probes.probability(vectors, doc_ids).items():
        if known:
            shares[:, probes.classes[kind].index(OPEN)] = -1.0
        best, places = shares.max(-1)
        for row, (share, place) in enumerate(zip(best.tolist(), places.tolist(), strict=True)):
            if (value := probes.classes[kind][place]) != OPEN:
                found[row][kind] = (value, share)
    return found


def names_read(probes: ProbeSet, vectors: Float[Tensor, "n d_model"], doc_ids: Sequence[str]) -> list[list[str]]:
    """The same as names such as "mood=sad"."""
    return [[f"{kind}={value}" for kind, (value, _) in row.items()] for row in values_read(probes, vectors, doc_ids)]


def ridge_of_probed(probes: ProbeSet, others: Rows, *, seed: int = 0) -> FactRidge:
    """The ridge from the true values of the probed kinds to the activation, fitted on rows of other documents."""
    names = fact_names(others.facts, kinds=tuple(probes.classes))
    return FactRidge.fit(others.vectors, names, others.doc_ids, seed=seed)


def _documents(vectors: Tensor, rows: Sequence[Row]) -> list[str]:
    return [row.document.doc_id for row in rows] if rows else [""] * len(vectors)


def _made(setting: Setting) -> Probes:
    if setting.probes is None or setting.language is None:
        raise lacking(Probes.name, "probes fitted on labelled rows", "Use a checkpoint that holds them.")
    others, ridge, documents = setting.others, None, 0
    if others is not None and len(others.facts):
        ridge, documents = ridge_of_probed(setting.probes, others, seed=setting.seed), len(set(others.doc_ids))
    needs = Needs(setting.probes.rows, documents, setting.probes.cpu_s)
    return Probes(setting.target, setting.layer, setting.probes, setting.language, ridge=ridge, needs=needs)


OFFER = Offer(
    Probes.name,
    "one probe per kind of fact, fitted on labels; the activation from what they read, by a ridge",
    "rival",
    "that linear probes, one per kind of fact, say as much",
    _made,
    alone=False,
)
