"""What an engine promises: vectors in, written explanations out.

Engines differ in where and how fast they run, never in what a row draws: that is decided by its key alone, whatever
else is in the call (`legible.engines.sampling`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from jaxtyping import Float
from torch import Tensor

StopReason = Literal["stop", "length"]
"""`stop`: a stop token was written; `length`: `max_tokens` ran out first."""

Origin = Literal["written", "searched"]
"""`written`: as the verbalizer put it, greedily or sampled; `searched`: chosen among several by the reconstructor."""

Key = tuple[int, ...]
"""Decides every draw of a row: a seed, then where its activation was read."""


@dataclass(frozen=True)
class Completion:
    """One continuation of the verbalizer's prompt."""

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
    origin: Origin = "written"


class Engine(Protocol):
    """Batched generation from a verbalizer."""

    def generate(
        self,
        vectors: Float[Tensor, "n d_model"],
        keys: Sequence[Key] | None = None,
        *,
        samples: int = 1,
        temperature: float = 0.0,
        max_tokens: int,
    ) -> list[list[Completion]]:
        """Write `samples` completions for each vector.

        Args:
            vectors: raw activations, float32.
            keys: one a vector; with the sample's number it decides every draw. Absent: (0, index of the vector).
            samples: completions per vector.
            temperature: 0 takes the likeliest token and draws nothing; above 0 samples.
            max_tokens: most tokens written, the stop token counted.

        Returns:
            One list of `samples` completions for each row of `vectors`.

        Raises:
            UsageError: an argument out of range, vectors of another width, or a prompt that does not fit the context.
        """
        ...
