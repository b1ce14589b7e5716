"""Choosing tokens from logits, reproducibly.

A sampled token is the inverse of the cumulative distribution at one uniform number. That number depends on
(the row's key, sample, step) alone, so a row's text does not depend on what else is in the batch.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from legible.engines.base import Key
from legible.languages.base import Row


def place_key(seed: int, prefix: str, pos: int) -> Key:
    """Key of the activation at token `pos` of a text that reads `prefix` up to and including that token.

    What comes after it does not count: in a causal target it does not move the activation either.
    """
    digest = hashlib.blake2b(prefix.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return seed, int.from_bytes(digest), pos


def row_key(seed: int, row: Row, index: int) -> Key:
    """Key of a captured row: by its text, without one by its document and position, without either by its index."""
    where = row.prefix or row.document.doc_id
    return place_key(seed, where, row.pos) if where else (seed, index)


def numbered(seed: int, n: int) -> list[Key]:
    """Keys of vectors of which nothing is known but their order."""
    return [(seed, index) for index in range(n)]


def uniforms(keys: Sequence[Key], steps: int) -> Float[Tensor, "n steps"]:
    """One number in [0, 1) for each key and step; more steps extend the same sequence."""
    draws = [np.random.default_rng(key).random(steps, dtype=np.float32) for key in keys]
    return torch.from_numpy(np.stack(draws)) if draws else torch.zeros(0, steps)


def choose(
    logits: Float[Tensor, "n vocab"], temperature: float, u: Float[Tensor, " n"] | None
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """One token a row and its ln p.

    Args:
        logits: float32; minus infinity bans a token.
        temperature: 0 takes the argmax and reports ln p at temperature 1.
        u: uniform numbers in [0, 1); needed above temperature 0.

    Returns:
        Token ids, and their log-probabilities at the sampling temperature.
    """
    logp = torch.log_softmax(logits / (temperature or 1.0), -1)
    if temperature == 0 or u is None:
        tokens = _argmax(logits)
        return tokens, logp.gather(-1, tokens[:, None])[:, 0]
    cumulative = logp.exp().cumsum(-1)
    # The factor keeps the point strictly below the last sum, so that no token of probability 0 is ever reached.
    point = u * (1 - 1e-6) * cumulative[:, -1]
    tokens = torch.searchsorted(cumulative, point[:, None], right=True)[:, 0]
    return tokens, logp.gather(-1, tokens[:, None])[:, 0]


def _argmax(logits: Tensor) -> Tensor:
    # numpy's is vectorised, torch's on CPU is not: six times the time at a vocabulary of a thousand
    return torch.from_numpy(logits.numpy().argmax(-1)) if logits.device.type == "cpu" else logits.argmax(-1)
