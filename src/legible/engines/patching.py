"""One token's stream at a layer replaced, and what the target then says next."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import DynamicCache

from legible.engines.cached import extend, shared_prefix, spread
from legible.engines.endings import ids_until
from legible.languages.base import Row
from legible.models.target import Target
from legible.vectors import unit


@dataclass(frozen=True)
class Patch:
    """One token of one text whose stream at a layer is replaced: its prefix's cache and the right log-probabilities."""

    target: Target
    layer: int
    prefix: DynamicCache
    token_id: int
    norm: float
    expected: Float[Tensor, " vocab"]

    @classmethod
    @torch.no_grad()
    def at(cls, target: Target, layer: int, row: Row, vector: Float[Tensor, " d"]) -> "Patch":
        """The patch of a row whose expected distribution is that of `vector` itself, as it was captured.

        The target runs over the text before the row once, here.

        Raises:
            UsageError: the target's tokenizer does not give the row's token.
        """
        ids = ids_until(target, row)
        prefix = shared_prefix(target.model, torch.tensor(ids[:-1], dtype=torch.long, device=target.device))
        bare = cls(target, layer, prefix, ids[-1], float(vector.norm()), torch.empty(0))
        return replace(bare, expected=bare.logprobs(vector.unsqueeze(0))[0])

    def logprobs(self, vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n vocab"]:
        """The target's next-token log-probabilities with each vector, scaled to the activation's norm, in place."""
        model = self.target.model
        ids = torch.full((len(vectors), 1), self.token_id, device=self.target.device)
        with _replaced(self.target.arch.blocks[self.layer], self.norm * unit(vectors.to(self.target.device))):
            return extend(model, spread(self.prefix, len(vectors)), ids=ids).log_softmax(-1)

    def kl(self, vectors: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """KL(expected || with the vector) of each vector, in nats; gradients flow to them."""
        divergence = (self.expected.exp() * (self.expected - self.logprobs(vectors))).sum(-1).clamp_min(0.0)
        return divergence.to(vectors.device)


@contextmanager
def _replaced(block: nn.Module, vectors: Float[Tensor, "n d"]) -> Iterator[None]:
    """Put these vectors in place of what a block writes at the one token that is run."""

    def replace_output(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        return vectors.unsqueeze(1).to(output.dtype)

    handle = block.register_forward_hook(replace_output)
    try:
        yield
    finally:
        handle.remove()
