"""Requests as the worker runs them: generators of steps, so that many share one thread and one batch.

A step is a frame (a dictionary that goes to the client), rows that wait for explanations, or None: a pause in which
others get their turn. The worker answers rows with completions, for as many of them as it finds fair.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from legible.engines import Completion, Engine, Key
from legible.errors import LegibleError

Frame = dict[str, Any]
"""Plain JSON on its way to one client."""


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


@dataclass(frozen=True)
class Rows:
    """Vectors that wait for explanations, [n, d_model], and how they are to be written."""

    engine: Engine
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
