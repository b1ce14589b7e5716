"""From activations to words and back: explanations of a sample, what the reconstructor makes of them, and the score.

A failed parse is counted and scores as the constant guess (the mean training direction): it says nothing, and its row
stays in every mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from legible.engines import Engine
from legible.engines.base import Completion
from legible.engines.sampling import numbered
from legible.models.reconstructor import Reconstructor
from legible.stats import Interval, ratio_interval
from legible.vectors import direction_mse

Misses = NDArray[np.float64]
"""direction_mse of every row, in [0, 4]."""


@dataclass(frozen=True)
class Explained:
    """One explanation a row (None: a failed parse) and its length in tokens, the stop token left out.

    completions: what the engine wrote, where it was kept.
    """

    texts: list[str | None]
    tokens: list[int]
    completions: Sequence[Completion] = ()

    @property
    def parse_failures(self) -> int:
        """Rows without an explanation."""
        return sum(text is None for text in self.texts)

    @property
    def mean_tokens(self) -> float:
        """Mean length of all completions, failed ones included."""
        return float(np.mean(self.tokens))


def explain(
    engine: Engine,
    vectors: Float[Tensor, "n d_model"],
    *,
    max_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> Explained:
    """One explanation of every activation, greedy unless a temperature is given."""
    keys = numbered(seed, len(vectors))
    written = engine.generate(vectors, keys, max_tokens=max_tokens, temperature=temperature)
    first = [row[0] for row in written]
    return Explained([one.explanation for one in first], [len(one.ids) for one in first], first)


def reconstructions(
    reconstructor: Reconstructor, texts: Sequence[str | None], guess: Float[Tensor, " d_model"]
) -> Float[Tensor, "n d_model"]:
    """What the reconstructor makes of each text; of a failed parse the constant guess."""
    given = [row for row, text in enumerate(texts) if text is not None]
    pred = guess.float().expand(len(texts), -1).clone()
    if given:
        pred[given] = reconstructor.reconstruct([text for text in texts if text is not None])
    return pred


def misses(
    reconstructor: Reconstructor,
    texts: Sequence[str | None],
    vectors: Float[Tensor, "n d_model"],
    guess: Float[Tensor, " d_model"],
) -> Misses:
    """How far the reconstruction of each text is from its activation.

    Args:
        texts: one per row; None scores as `guess`.
        vectors: the activations that the texts explain.
        guess: the constant guess.
    """
    return as_misses(direction_mse(reconstructions(reconstructor, texts, guess), vectors))


def as_misses(values: Float[Tensor, " n"]) -> Misses:
    """A tensor of errors as float64."""
    misses: Misses = torch.as_tensor(values).double().numpy()
    return misses


def fve_of(miss: Misses, variance: float, doc_ids: Sequence[str]) -> Interval:
    """FVE with its interval over documents."""
    return ratio_interval(miss, np.full_like(miss, variance), doc_ids, offset=1.0, scale=-1.0)


def context_fve_of(miss: Misses, lookup_miss: Misses, doc_ids: Sequence[str]) -> Interval:
    """Context FVE with its interval over documents: what the words carry beyond the token lookup."""
    return ratio_interval(miss, lookup_miss, doc_ids, offset=1.0, scale=-1.0)


def fve_gain(miss: Misses, floor: Misses, variance: float, doc_ids: Sequence[str]) -> Interval:
    """FVE minus the FVE of a floor on the same rows, with its interval over documents."""
    return ratio_interval(floor - miss, np.full_like(miss, variance), doc_ids)
