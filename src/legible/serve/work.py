"""Requests as the worker runs them: generators of steps, so that many share one thread and one batch.

A step is a frame (a dictionary that goes to the client), rows that wait for explanations, or None: a pause in which
others get their turn. The worker answers rows with completions, for as many of them as it finds fair.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from jaxtyping import Float
from torch import Tensor

from legible.engines.base import Completion
from legible.errors import LegibleError

Frame = dict[str, Any]
"""Plain JSON on its way to one client."""

Key = tuple[int, int]
"""(seed, row): decides a row's draws, whatever shares its batch."""


class RequestError(LegibleError):
    """A request that gets an HTTP error instead of its answer.

    Args:
        message: plain text, shown to the client.
        status: HTTP status.
        retry_after: seconds after which the same request may succeed.
    """

    def __init__(self, message: str, status: int = 400, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class KeyedEngine(Protocol):
    """An engine whose rows bring their own keys, as `legible.engines.local.LocalEngine` does."""

    def generate(
        self,
        vectors: Float[Tensor, "n d_model"],
        *,
        samples: int = 1,
        temperature: float = 0.0,
        max_tokens: int,
        keys: Sequence[Key] | None = None,
    ) -> list[list[Completion]]:
        """Write `samples` completions for each vector."""
        ...


@dataclass(frozen=True)
class Rows:
    """Vectors that wait for explanations, [n, d_model], and how they are to be written."""

    engine: KeyedEngine
    vectors: Float[Tensor, "n d_model"]
    keys: Sequence[Key]
    samples: int
    temperature: float
    max_tokens: int

    @property
    def group(self) -> tuple[int, int, float, int]:
        """Rows of one group can share an engine call."""
        return id(self.engine), self.samples, self.temperature, self.max_tokens


Completions = list[list[Completion]]
Step = Frame | Rows | None
Work = Generator[Step, Completions | None, None]
