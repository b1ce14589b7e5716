"""The floor of a token's score: what words that say nothing of its activation score there.

Three explanations say nothing of it, the same for every token, so that each is written and read back once for a
checkpoint: what the verbalizer writes of a text's beginning, before any word of the text; what it writes most often of
a bland text's tokens (the pair's constant explanation); and what it writes of no activation (the mean training
direction, which is in range where a zero vector is not). The floor is the best of them at that token. Outside the texts
it knows, a pair often says just such a constant: it scores well there, and its floor equally so.
"""

from collections import Counter

import torch
from jaxtyping import Float
from torch import Tensor

from legible.engines import Engine
from legible.models.reconstructor import Reconstructor
from legible.models.target import Target
from legible.probes.lookup import TokenLookup
from legible.vectors import direction_mse, fve_token, unit

_BLAND = "A few words, like those of any other text."
_ENOUGH = 16  # tokens of it that are read: a tokenizer that does not know its words cuts them into bytes


def uninformed(
    engine: Engine,
    reconstructor: Reconstructor,
    target: Target,
    layer: int,
    lookup: TokenLookup | None,
    *,
    max_tokens: int,
) -> Float[Tensor, "n d_model"]:
    """What the reconstructor makes of the explanations that say nothing of an activation.

    Args:
        engine: writes the checkpoint's explanations, greedily here.
        reconstructor, target, layer: the checkpoint's.
        lookup: knows the mean training direction; without it there is no explanation of no activation.
        max_tokens: longest explanation.

    Returns:
        At most three rows; fewer where a parse failed, or the target's tokenizer knows no beginning of a text.
    """
    bland = _stream(target, layer, target.encode(_BLAND).ids)
    vectors = list(bland[1 : _ENOUGH + 1])  # the first may be the beginning
    read = len(vectors)
    if (first := _beginning(target)) is not None:
        vectors.append(_stream(target, layer, [first])[0])
    if lookup is not None:
        norm = bland.norm(dim=-1).median()  # for verbalizers that inject raw vectors
        vectors.append(norm * unit(torch.from_numpy(lookup.mean)))
    keys = [(0, row) for row in range(len(vectors))]
    written = engine.generate(torch.stack(vectors), keys, max_tokens=max_tokens, temperature=0.0)
    said = [done.explanation for (done,) in written]
    plain, alone = said[:read], said[read:]
    constant = Counter(text for text in plain if text is not None).most_common(1)
    texts = list(dict.fromkeys([text for text, _ in constant] + [text for text in alone if text is not None]))
    return reconstructor.reconstruct(texts).cpu() if texts else torch.empty(0, target.d_model)


def floor_fve(
    vector: Float[Tensor, " d_model"], nothing: Float[Tensor, "n d_model"], variance: float | None
) -> float | None:
    """The best fve_token that the reconstructions of `uninformed` reach at an activation; None without them or V."""
    if not variance or not len(nothing):
        return None
    return fve_token(float(direction_mse(nothing, vector.cpu().expand_as(nothing)).min()), variance)


def _beginning(target: Target) -> int | None:
    """The token before any word of a text: the tokenizer's own, or the one that ends the text before."""
    tokenizer = target.tokenizer
    marks = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    return next((int(mark) for mark in marks if mark is not None), None)


def _stream(target: Target, layer: int, ids: list[int] | tuple[int, ...]) -> Float[Tensor, "t d_model"]:
    batch = torch.tensor([list(ids)])
    return target.streams(batch, torch.ones_like(batch), (layer,))[layer][0].cpu().float()
