"""The logit lens: the words that the target would say next if its stream ended at this layer.

The vector goes through the target's own final norm and output head. It shows what a stream already says about the
next token; in early layers it is mostly noise.

Source: nostalgebraist, "interpreting GPT: the logit lens" (2020).
"""

from jaxtyping import Float
from torch import Tensor

from legible.instruments.base import Offer
from legible.instruments.lens import Lens


class LogitLens(Lens):
    """The likeliest next words, with their probabilities; at the last layer the target's own."""

    name = "logit-lens"

    def carried(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_model"]:
        """The vectors as they are."""
        return vectors


OFFER = Offer(
    LogitLens.name,
    "the target's own final norm and head on the activation",
    "rival",
    "that the next words that the activation already points at say it (logit lens)",
    lambda setting: LogitLens(setting.target, setting.layer, language=setting.language),
)
