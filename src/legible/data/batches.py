"""Batches of similar length, and padding: pure functions of their arguments.

Nothing here reads a file or keeps state, so a resumed training finds the same batches at the same step.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

MAX_PADDING = 0.10


def length_grouped_batches(lengths: Sequence[int], batch_tokens: int, seed: int, epoch: int) -> list[list[int]]:
    """Indices 0..n-1 in batches of similar length, in random order, each index once.

    Rows are shuffled, sorted by length (so ties stay shuffled) and cut; then the batches are shuffled.

    Args:
        lengths: tokens of each row, at least 1.
        batch_tokens: largest padded size (rows times the longest row); a longer single row gets its own batch.
        seed: with `epoch` the only source of order.
        epoch: pass over the data, from 0.

    Returns:
        Batches whose padding is at most a tenth of their padded size.
    """
    rng = np.random.default_rng([seed, epoch])
    sizes = np.asarray(lengths, dtype=np.int64)
    shuffled = rng.permutation(len(sizes))
    ordered = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    batches: list[list[int]] = []
    longest = real = 0
    for i in ordered.tolist():
        size = int(sizes[i])
        padded = longest * (len(batches[-1]) + 1) if batches else 0
        if not batches or padded > batch_tokens or real + size < (1 - MAX_PADDING) * padded:
            batches.append([])
            longest, real = size, 0
        batches[-1].append(i)
        real += size
    return [batches[i] for i in rng.permutation(len(batches)).tolist()]


def pad(ids: Sequence[Sequence[int]], value: int = 0) -> tuple[Int[Tensor, "n length"], Int[Tensor, "n length"]]:
    """Right-padded ids and their mask (1 real, 0 padding), both int64.

    Example:
        >>> pad([[5, 6], [7]])[0].tolist()
        [[5, 6], [7, 0]]
    """
    longest = max((len(row) for row in ids), default=0)
    padded = torch.full((len(ids), longest), value, dtype=torch.long)
    mask = torch.zeros(len(ids), longest, dtype=torch.long)
    for i, row in enumerate(ids):
        padded[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[i, : len(row)] = 1
    return padded, mask


def padding_share(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """Padding tokens as a share of all tokens in the padded batches, in [0, 1)."""
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    return 1.0 - sum(lengths[i] for batch in batches for i in batch) / padded if padded else 0.0
