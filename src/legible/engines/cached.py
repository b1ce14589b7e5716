"""Cached decoding through any transformers causal LM's own forward.

Works for every family, with adapters and with hooks. The prompt's shared beginning is computed once, for one row,
and spread over the batch.
"""

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer


class RowLayer(DynamicLayer):
    """Keys and values of one block, from which rows can be dropped.

    Each step appends by a copy. Room kept free in a larger buffer would save the copy, but reading around it costs
    more on CPU: attention over rows that lie end to end is two to four times faster.
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values

    def drop(self, holes: Tensor, movers: Tensor, n: int) -> None:
        """Move rows `movers` into the places `holes` and keep the first `n`."""
        assert self.keys is not None
        assert self.values is not None
        self.keys[holes], self.values[holes] = self.keys[movers], self.values[movers]
        self.keys, self.values = self.keys[:n], self.values[:n]


class CachedStepper:
    """Decodes with `model.forward`.

    Args:
        model: a transformers causal LM, adapters and hooks included.
        cache: the prompts' keys and values, filled by `extend`.
        index: which of the cache's rows each new row continues; rows may repeat (several samples of one prompt).
        room: tokens that will be written at most.
    """

    def __init__(self, model: nn.Module, cache: DynamicCache, index: Int[Tensor, " n"], room: int) -> None:
        self.model = model
        self.position = cache.get_seq_length()
        self._layers = [RowLayer(keys[index], values[index]) for keys, values in states(cache)]
        self.cache = Cache(layers=list(self._layers))

    def step(self, tokens: Int[Tensor, " n"]) -> Float[Tensor, "n vocab"]:
        """Append one token to every row and return the logits of the next, float32."""
        where = torch.full((1, 1), self.position, device=tokens.device)
        output = self.model(
            input_ids=tokens[:, None], past_key_values=self.cache, position_ids=where, use_cache=True, logits_to_keep=1
        )
        self.position += 1
        return output.logits[:, -1].float()

    def drop(self, holes: Int[Tensor, " k"], movers: Int[Tensor, " k"], n: int) -> None:
        """Move rows `movers` into the places `holes`, then keep the first `n` rows."""
        for layer in self._layers:
            layer.drop(holes, movers, n)


def extend(
    model: nn.Module, cache: DynamicCache, *, ids: Tensor | None = None, embeds: Tensor | None = None
) -> Float[Tensor, "n vocab"]:
    """Append a piece of prompt (ids[n,T] or embeds[n,T,d]) to the cache; returns the next token's logits, float32."""
    piece = ids if embeds is None else embeds
    assert piece is not None
    start = cache.get_seq_length()
    where = torch.arange(start, start + piece.shape[1], device=piece.device)[None]
    output = model(
        input_ids=ids,
        inputs_embeds=embeds,
        past_key_values=cache,
        position_ids=where,
        use_cache=True,
        logits_to_keep=1,
    )
    return output.logits[:, -1].float()


def shared_prefix(model: nn.Module, ids: Int[Tensor, " p"]) -> DynamicCache:
    """The keys and values of a prompt's beginning, for one row."""
    cache = DynamicCache()
    if len(ids):
        extend(model, cache, ids=ids[None])
    return cache


def spread(cache: DynamicCache, n: int) -> DynamicCache:
    """A copy of a one-row cache with `n` rows; the original stays as it is."""
    copy = DynamicCache()
    for block, (keys, values) in enumerate(states(cache)):
        copy.update(keys.expand(n, -1, -1, -1), values.expand(n, -1, -1, -1), block)
    return copy


def states(cache: DynamicCache) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of every block, each [rows, heads, length, width]."""
    return [(cast(DynamicLayer, layer).keys, cast(DynamicLayer, layer).values) for layer in cache.layers]  # type: ignore[misc]
