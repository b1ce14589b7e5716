"""Reading vectors: for every value of every kind of fact one direction, on which the activation is projected.

Representation engineering finds a direction by contrast: rows that hold a value against rows of the same kind that hold
another one. Two ways, both here (`difference_of_means`, `principal_difference`); the training keeps of each value the
one that tells more about documents it was not found on, with a logistic regression in one dimension, fitted there, that
turns the projection into a probability. Nothing comes back of the activation.

Trained by `legible.train.instruments.reading_vectors`. The file holds each direction as a tensor of its own, named
KIND=VALUE, so that it can be added to a stream as well (`legible.steer.contrasts`).

Source: Zou et al., "Representation engineering" (arXiv 2310.01405).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from legible.errors import UsageError
from legible.instruments.base import (
    Instrument,
    Needs,
    Offer,
    Said,
    Scored,
    Setting,
    check_trained_on,
    check_width,
    listed,
    trained_file,
    value_claim,
)
from legible.languages import get
from legible.languages.base import Language, Row
from legible.models.target import Target
from legible.probes import files
from legible.vectors import unit

KIND = "reading_vectors"
SHOWN = 0.5  # claims below this probability are scored but not shown
Form = Literal["means", "differences"]
"""How a direction was found: the difference of means, or the principal component of paired differences."""


def difference_of_means(
    holds: Float[Tensor, "n d_model"], others: Float[Tensor, "m d_model"]
) -> Float[Tensor, " d_model"]:
    """The unit direction from the mean of the others to the mean of those that hold a value; zero where they agree."""
    return unit(holds.float().mean(0) - others.float().mean(0))


def principal_difference(
    holds: Float[Tensor, "n d_model"], others: Float[Tensor, "n d_model"]
) -> Float[Tensor, " d_model"]:
    """The unit direction of largest mean square among paired differences, signed so that they point along it.

    Args:
        holds, others: row for row the two sides of a pair.
    """
    apart = holds.float() - others.float()
    first = torch.linalg.svd(apart, full_matrices=False)[2][0]
    return first if float((apart @ first).sum()) >= 0 else -first


@dataclass(frozen=True)
class ReadingVector:
    """The direction of one value: p = 1 / (1 + exp(-(slope · projection + bias))), of the activation's unit vector."""

    kind: str
    value: str
    form: Form
    slope: float
    bias: float

    @property
    def name(self) -> str:
        """The tensor's name in the file, such as "mood=sad"."""
        return f"{self.kind}={self.value}"


class ReadingVectors(Instrument):
    """Of every kind the likeliest value, with its probability.

    Args:
        target, layer: whose activations.
        vectors: one a value.
        directions: unit vectors, row for row.
        language: whose kinds they are.
        needs: what it took to make them.
    """

    name = "reading-vectors"
    calibrated = True

    def __init__(
        self,
        target: Target,
        layer: int,
        vectors: Sequence[ReadingVector],
        directions: Float[Tensor, "values d_model"],
        language: Language,
        *,
        needs: Needs = Needs(),
    ) -> None:
        self.target, self.layer, self.language, self._needs = target, layer, language, needs
        self.vectors, self.directions = tuple(vectors), directions
        self._slope = torch.tensor([one.slope for one in vectors])
        self._bias = torch.tensor([one.bias for one in vectors])

    def probability(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, "n values"]:
        """That each value holds, in [0, 1], each by itself.

        Raises:
            UsageError: vectors of another width.
        """
        check_width(self.target, vectors)
        return (unit(vectors) @ self.directions.T * self._slope + self._bias).sigmoid()

    def read(self, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row] = ()) -> list[Said]:
        """A claim of every kind, and as one line those that are likelier true than not.

        Values that the language's teacher leaves unsaid are no claims.
        """
        said = []
        for shares in self.probability(vectors).tolist():
            best: dict[str, tuple[float, str]] = {}
            for one, share in zip(self.vectors, shares, strict=True):
                best[one.kind] = max(best.get(one.kind, (-1.0, "")), (share, one.value))
            claims = tuple(
                Scored(value_claim(self.language, kind, value), share)
                for kind, (share, value) in best.items()
                if value != self.language.unsaid.get(kind)
            )
            said.append(Said(listed([one for one in claims if (one.score or 0.0) >= SHOWN]), claims))
        return said

    @classmethod
    def load(cls, path: Path, target: Target, layer: int, language: Language | None = None) -> "ReadingVectors":
        """Read what the training saved.

        Raises:
            UsageError: no such file, one of another model's width, another layer or another language.
        """
        missing = (
            f"no reading vectors at {path}.\n  Train some: legible instrument {cls.name} CHECKPOINT STORE --out FILE"
        )
        about, tensors = files.load(path, KIND, missing)
        vectors = [ReadingVector(**one) for one in about["vectors"]]
        directions = torch.stack([tensors[one.name].float() for one in vectors])
        check_trained_on(path, about["layer"], directions.shape[1], target, layer)
        if language is not None and language.name != about["language"]:
            raise UsageError(
                f"{path} is of the language {about['language']!r}, expected {language.name!r}.\n"
                "  Train them with this checkpoint: its language says what holds."
            )
        needs = Needs(int(about["labels"]), int(about["texts"]), about.get("train_cpu_s"))
        return cls(target, layer, vectors, directions, language or get(about["language"]), needs=needs)


def _made(setting: Setting) -> ReadingVectors:
    command = f"legible instrument {ReadingVectors.name} CHECKPOINT STORE --out FILE"
    path = trained_file(setting, ReadingVectors.name, "a trained file", command)
    return ReadingVectors.load(path, setting.target, setting.layer, setting.language)


OFFER = Offer(
    ReadingVectors.name,
    "projection on one direction per value, found by contrasting labelled rows",
    "rival",
    "that one direction per value, found by contrast, says as much (representation engineering)",
    _made,
    trained=True,
    labelled=True,
)
