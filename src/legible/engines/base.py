"""What an engine promises: vectors in, sampled explanations out.

Engines differ in where and how fast they run, never in what they return.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from jaxtyping import Float
from torch import Tensor

StopReason = Literal["stop", "length"]
"""`stop`: a stop token was written; `length`: `max_tokens` ran out first."""


@dataclass(frozen=True)
class Completion:
    """One sampled continuation of the verbalizer's prompt."""

    ids: list[int]
    """Token ids, without the stop token."""
    logprobs: list[float]
    """ln p of each id at the sampling temperature (1 for greedy), then the stop token's if `stop == "stop"`."""
    stop: StopReason
    stop_id: int | None
    """The stop token that was written; None for `length`."""
    text: str
    """The decoded ids, special tokens left out."""
    explanation: str | None
    """The parsed payload; None is a failed parse."""


class Engine(Protocol):
    """Batched generation from a verbalizer."""

    def generate(
        self,
        vectors: Float[Tensor, "n d_model"],
        *,
        samples: int = 1,
        temperature: float = 0.0,
        max_tokens: int,
        seed: int = 0,
    ) -> list[list[Completion]]:
        """Write `samples` completions for each vector.

        Args:
            vectors: raw activations, float32.
            samples: completions per vector.
            temperature: 0 takes the likeliest token; above 0 samples.
            max_tokens: most tokens written, the stop token counted.
            seed: with (row, sample) it decides every draw, whatever else is in the batch.

        Returns:
            One list of `samples` completions for each row of `vectors`.

        Raises:
            UsageError: an argument out of range, vectors of another width, or a prompt that does not fit the context.
        """
        ...
