"""An engine for random weights, which never write a stop token: what they wrote by then is their explanation."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from legible.engines import Completion, Key, make_engine
from legible.models.verbalizer import Verbalizer


class Unstopped:
    """The local engine; every completion counts as parsed."""

    def __init__(self, verbalizer: Verbalizer) -> None:
        self._engine = make_engine(verbalizer)

    def generate(
        self,
        vectors: Tensor,
        keys: Sequence[Key] | None = None,
        *,
        samples: int = 1,
        temperature: float = 0.0,
        max_tokens: int,
    ) -> list[list[Completion]]:
        found = self._engine.generate(vectors, keys, samples=samples, temperature=temperature, max_tokens=max_tokens)
        return [[replace(one, explanation=one.explanation or one.text or "nothing") for one in row] for row in found]
