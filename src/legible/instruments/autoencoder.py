"""A sparse autoencoder: an activation as a sum of few directions out of many.

    z = gate((x - b_dec) W_enc + b_enc)       x without b_dec where it is not `centred`
    x' = z W_dec + b_dec

The gate keeps the k largest values, if positive (`topk`), those above each latent's threshold (`jumprelu`), or the
positive ones (`standard`). Nothing here trains or reads a file. Names and shapes of the tensors are SAELens'.

Source: Gao et al., "Scaling and evaluating sparse autoencoders" (arXiv 2406.04093); Rajamanoharan et al., "Jumping
ahead: improving reconstruction fidelity with JumpReLU sparse autoencoders" (arXiv 2407.14435).
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Architecture = Literal["topk", "jumprelu", "standard"]
ROWS = 1024  # encoded at a time


class Autoencoder(nn.Module):
    """The weights, and what they make of raw activations.

    Args:
        w_enc, b_enc: of the encoder, [d_model, n_latents] and [n_latents].
        w_dec, b_dec: of the decoder, [n_latents, d_model] and [d_model].
        k: latents that are active at most (TopK).
        threshold: one a latent, not negative (JumpReLU); neither: ReLU.
        centred: b_dec is taken off the input.
    """

    def __init__(
        self,
        w_enc: Float[Tensor, "d_model n_latents"],
        b_enc: Float[Tensor, " n_latents"],
        w_dec: Float[Tensor, "n_latents d_model"],
        b_dec: Float[Tensor, " d_model"],
        *,
        k: int | None = None,
        threshold: Float[Tensor, " n_latents"] | None = None,
        centred: bool = True,
    ) -> None:
        super().__init__()
        self.W_enc, self.b_enc = nn.Parameter(w_enc.float()), nn.Parameter(b_enc.float())
        self.W_dec, self.b_dec = nn.Parameter(w_dec.float()), nn.Parameter(b_dec.float())
        self.threshold = None if threshold is None else nn.Parameter(threshold.float())
        self.k, self.centred = k, centred

    @property
    def architecture(self) -> Architecture:
        """What SAELens calls it."""
        if self.k is not None:
            return "topk"
        return "standard" if self.threshold is None else "jumprelu"

    @property
    def n_latents(self) -> int:
        """How many latents there are."""
        return len(self.b_enc)

    def before(self, x: Float[Tensor, "n d_model"]) -> Float[Tensor, "n n_latents"]:
        """What goes into the gate."""
        return (x - self.b_dec if self.centred else x) @ self.W_enc + self.b_enc

    def gate(self, before: Float[Tensor, "n n_latents"]) -> Float[Tensor, "n n_latents"]:
        """What the gate lets through; zero elsewhere, negative nowhere."""
        if self.k is not None:
            values, places = before.topk(self.k, dim=-1)
            return torch.zeros_like(before).scatter(-1, places, values.relu())
        return before.relu() if self.threshold is None else before.relu() * (before > self.threshold)

    def encode(self, x: Float[Tensor, "n d_model"]) -> Float[Tensor, "n n_latents"]:
        """How active each latent is."""
        return self.gate(self.before(x))

    def decode(self, z: Float[Tensor, "n n_latents"]) -> Float[Tensor, "n d_model"]:
        """The sum of the active directions."""
        return z @ self.W_dec + self.b_dec

    @torch.no_grad()
    def with_unit_rows(self, scale: float = 1.0) -> "Autoencoder":
        """The same function with decoder rows of length 1, for inputs `scale` times as long as its own.

        What a row loses in length its latent gains in activation, so TopK may choose others. Rows of length 0 stay.
        """
        norms = self.W_dec.norm(dim=-1)
        norms = torch.where(norms > 0, norms, 1.0)
        return Autoencoder(
            self.W_enc * norms, self.b_enc * norms * scale, self.W_dec / norms[:, None], self.b_dec * scale,
            k=self.k, threshold=None if self.threshold is None else self.threshold * norms * scale,
            centred=self.centred,
        )  # fmt: skip
