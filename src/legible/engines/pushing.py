"""What a small change of a stream does to the last stream: products with the Jacobian of the blocks between, forward.

The change is made at every token of a prompt alike, and what comes of it is averaged over the tokens. As the product is
linear and later tokens alone see a change, that is the mean over tokens t of the sum over t' >= t of

    d last_stream[t'] / d stream[t]  times the change

No d x d matrix is made: one pass of forward-mode differentiation for each change and prompt.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from legible.errors import UnsupportedModelError
from legible.models.arch import Arch, check_layer
from legible.models.place import one_line
from legible.models.target import Target

AT_ONCE = 64  # changes in one pass


@torch.no_grad()
def pushed(
    target: Target, layer: int, prompts: Sequence[Sequence[int]], changes: Float[Tensor, "n d_model"]
) -> Float[Tensor, "n d_model"]:
    """Each change of the stream of `layer`, carried to the stream before the final norm; the mean over the prompts.

    Args:
        target: the model; at the last layer nothing is between, and a change stays what it is.
        layer: K.
        prompts: token ids, special tokens as a text begins with them; one prompt at least.
        changes: one a row, any scale; the product is linear in them.

    Returns:
        float32, on the CPU.

    Raises:
        UsageError: a layer that the target does not have.
        UnsupportedModelError: a model with a part that cannot be differentiated forward.
    """
    check_layer(layer, target.n_layers)
    if not prompts:
        raise ValueError("pushed needs at least one prompt, got none.")
    changes = changes.float()
    if layer == target.n_layers - 1:
        return changes.cpu()
    whole = Arch.find(target.arch.truncated(target.n_layers))
    found = torch.zeros(changes.shape)
    for ids in prompts:
        given = torch.tensor([list(ids)], device=target.device)
        stream = target.streams(given, torch.ones_like(given), (layer,))[layer]
        for start in range(0, len(changes), AT_ONCE):
            part = changes[start : start + AT_ONCE].to(target.device)
            found[start : start + AT_ONCE] += _products(whole, layer, given, stream, part).cpu()
    return found / len(prompts)


def _products(
    whole: Arch, layer: int, ids: Tensor, stream: Float[Tensor, "1 t d"], changes: Float[Tensor, "n d"]
) -> Float[Tensor, "n d"]:
    mask, weight = torch.ones_like(ids), whole.embedding.weight

    def last_mean(given: Float[Tensor, "1 t d"]) -> Float[Tensor, " d"]:
        def put(_module: nn.Module, _args: object, _output: Tensor) -> Tensor:
            return given.to(weight.dtype)

        handle = whole.blocks[layer].register_forward_hook(put)
        try:
            return whole.stream(whole.embed(ids), mask)[0].float().mean(0)
        finally:
            handle.remove()

    def product(change: Float[Tensor, " d"]) -> Any:
        return jvp(last_mean, (stream,), (change.expand_as(stream),))[1]

    try:
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no forward-mode derivative
            products: Tensor = vmap(product)(changes)
    except NotImplementedError as error:
        raise UnsupportedModelError(
            f"models of the kind {whole.base.config.model_type} cannot be differentiated forward: {one_line(error)}\n"
            "  The usual cause is a mixture of experts. Use the tuned lens or the logit lens for it."
        ) from error
    return products
