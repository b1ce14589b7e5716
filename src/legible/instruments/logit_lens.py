"""The logit lens: the words that the target would say next if its stream ended at this layer.

The vector goes through the target's own final norm and output head. It shows what a stream already says about the
next token and is silent about everything else; in early layers it is mostly noise.

Source: nostalgebraist, "interpreting GPT: the logit lens" (2020).
"""

from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from legible.data.predictions import token_texts
from legible.errors import UsageError
from legible.instruments.base import BATCH, check_width
from legible.models.arch import check_layer
from legible.models.target import Target

TOP = 5


class LogitLens:
    """The likeliest next words, with their probabilities.

    Args:
        target: the model.
        layer: the layer K of the vectors.
        top: how many words.

    Raises:
        UsageError: a layer out of range, or `top` below 1.
    """

    name = "logit-lens"

    def __init__(self, target: Target, layer: int, *, top: int = TOP) -> None:
        check_layer(layer, target.n_layers)
        if top < 1:
            raise UsageError(f"top is {top}, expected at least 1.")
        self.target = target
        self.layer = layer
        self.count = min(top, target.arch.embedding.num_embeddings)

    @torch.no_grad()
    def logits(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, "n vocab"]:
        """Next-token logits of streams that end here, float32; at the last layer the target's own.

        Raises:
            UsageError: vectors of another width.
        """
        check_width(self.target, vectors)
        model: Any = self.target.model
        weight = self.target.arch.embedding.weight
        normed = self.target.arch.final_norm(vectors.to(weight.device, weight.dtype))
        logits: Tensor = model.get_output_embeddings()(normed).float()
        cap = model.config.to_dict().get("final_logit_softcapping")  # Gemma squashes its logits where this is set
        return (logits if cap is None else cap * (logits / cap).tanh()).cpu()

    def top(self, vectors: Float[Tensor, "n d_model"]) -> list[list[tuple[str, float]]]:
        """For every vector its likeliest next tokens as they stand in running text, with probabilities, best first."""
        found: list[list[tuple[str, float]]] = []
        for chunk in vectors.split(BATCH):
            shares, ids = self.logits(chunk).softmax(-1).topk(self.count, dim=-1)
            for row, values in zip(ids.tolist(), shares.tolist(), strict=True):
                found.append([(self._texts[token], share) for token, share in zip(row, values, strict=True)])
        return found

    def read(self, vectors: Float[Tensor, "n d_model"]) -> list[str | None]:
        """The same as one line: `" barn" 0.41, "s" 0.12`."""
        return [", ".join(f'"{text}" {share:.2f}' for text, share in words) for words in self.top(vectors)]

    @cached_property
    def _texts(self) -> list[str]:
        """Text of every output row; models pad their vocabulary, and the extra rows have none."""
        texts = token_texts(self.target)
        rows = self.target.model.get_output_embeddings().weight.shape[0]
        return texts + [f"<{i}>" for i in range(len(texts), rows)]
