"""The floor of a token's score: what words that say nothing of its activation score there.

Two explanations say nothing of it, the same two for every token, so that each is written and read back once for a
checkpoint: what the verbalizer writes of a text's beginning, before any word of the text (the pair's constant
explanation), and what it writes of no activation (the mean training direction, which is in range where a zero vector
is not). The floor is the better of them at that token. Outside the texts it knows, a pair often says just such a
constant: it scores well there, and its floor equally so.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from legible.engines import Engine
from legible.models.reconstructor import Reconstructor
from legible.models.target import Target
from legible.probes.lookup import TokenLookup
from legible.vectors import direction_mse, fve_token, unit

_USUAL = "A few words, like those of any other text."  # where the usual length of an activation is measured


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
        At most two rows; fewer where a parse failed, or the target's tokenizer knows no beginning of a text.
    """
    usual = target.encode(_USUAL).ids
    vectors = []
    if (first := _beginning(target)) is not None:
        vectors.append(_stream(target, layer, [first])[0])
    if lookup is not None:
        norm = _stream(target, layer, usual).norm(dim=-1).median()  # for verbalizers that inject raw vectors
        vectors.append(norm * unit(torch.from_numpy(lookup.mean)))
    if not vectors:
        return torch.empty(0, target.d_model)
    keys = [(0, row) for row in range(len(vectors))]
    written = engine.generate(torch.stack(vectors), keys, max_tokens=max_tokens, temperature=0.0)
    texts = [text for (done,) in written if (text := done.explanation) is not None]
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
