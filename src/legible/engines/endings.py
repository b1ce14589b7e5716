"""Endings behind other beginnings: the stream at a text's last token, had other words stood before its last tokens.

The keys and values of every beginning are computed once, and all its endings are read behind it together. Blocks after
the layer that is asked for do not run.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from legible.engines.cached import spread
from legible.errors import UsageError
from legible.languages.base import Row
from legible.models.arch import check_layer
from legible.models.target import Target

AT_ONCE = 64  # endings in one forward pass


def ids_until(target: Target, row: Row) -> list[int]:
    """The tokens of a row's text up to and including the read one, special tokens counted.

    Raises:
        UsageError: the target's tokenizer does not give the row's token.
    """
    ids = target.encode(row.document.text).ids[: row.pos + 1]
    if not ids or ids[-1] != row.token_id:
        raise UsageError(
            f"token {row.pos} of document {row.document.doc_id!r} was read at token id {row.token_id}, "
            f"but the target's tokenizer gives {ids[-1] if ids else 'none'} there.\n"
            "  The usual cause is a store captured from another target."
        )
    return ids


@torch.no_grad()
def streams_behind(
    target: Target,
    layer: int,
    beginnings: Sequence[Sequence[int]],
    endings: Sequence[Sequence[int]],
    pairs: Sequence[tuple[int, int]],
) -> Float[Tensor, "n d_model"]:
    """The stream of `layer` at the last token of beginning + ending, for every pair of them.

    Args:
        target, layer: whose stream, and K.
        beginnings: token ids, special tokens as the text begins with them; may be empty.
        endings: token ids, all equally many, one at least.
        pairs: (index of the beginning, index of the ending), any number, in any order.

    Returns:
        One raw activation a pair, in their order, float32, on the CPU.

    Raises:
        UsageError: a layer that the target does not have, or more tokens than its context.
    """
    check_layer(layer, target.n_layers)
    length = len(endings[0]) if endings else 0
    if any(len(ending) != length for ending in endings) or (endings and not length):
        raise ValueError("endings of several lengths, or empty ones")
    longest = max((len(beginnings[first]) for first, _ in pairs), default=0) + length
    if longest > target.context:
        raise UsageError(
            f"{longest} tokens are more than the context of {target.name}, {target.context}.\n  Shorten the text."
        )
    base = target.arch.truncated(layer + 1)
    streams = torch.empty(len(pairs), target.d_model)
    of_beginning: dict[int, list[int]] = {}
    for place, (first, _) in enumerate(pairs):
        of_beginning.setdefault(first, []).append(place)
    for first, places in of_beginning.items():
        cache = DynamicCache()
        if len(beginnings[first]):
            _extended(base, cache, torch.tensor([list(beginnings[first])], device=target.device))
        for start in range(0, len(places), AT_ONCE):
            part = places[start : start + AT_ONCE]
            ids = torch.tensor([list(endings[pairs[place][1]]) for place in part], device=target.device)
            streams[part] = _extended(base, spread(cache, len(part)), ids)[:, -1].float().cpu()
    return streams


def _extended(base: torch.nn.Module, cache: DynamicCache, ids: Tensor) -> Float[Tensor, "n t d_model"]:
    """Append tokens to the cache; returns the last stream of the blocks at each."""
    start = cache.get_seq_length()
    where = torch.arange(start, start + ids.shape[1], device=ids.device)[None]
    output = base(input_ids=ids, past_key_values=cache, position_ids=where, use_cache=True)
    stream: Tensor = output.last_hidden_state
    return stream
