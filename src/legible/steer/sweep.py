"""One text steered at one token: continuations under many vectors at once, and what each changed activation reads as.

Used by `legible.steer.steering` for any text and by `legible.steer.evaluation` on the world.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from legible.config.choices import STEER_MODES, SteerMode
from legible.engines.base import Engine
from legible.engines.steered import Writing, continue_patched, continue_steered, nats_per_token
from legible.languages.base import Language
from legible.models.target import Target
from legible.steer.edits import reads_back
from legible.steer.strength import Trial
from legible.vectors import unit

Mode = SteerMode
MODES = STEER_MODES


@dataclass(frozen=True)
class Continuation:
    """What the target wrote: text to put right behind the prefix, its tokens, and their nats untouched.

    cut: it ended at the length asked for, not at a stop token.
    """

    text: str
    tokens: tuple[int, ...]
    nats: float | None
    cut: bool


@dataclass(frozen=True)
class Steering:
    """A text, the token at which it is steered, and how it is continued."""

    target: Target
    ids: Sequence[int]
    pos: int
    layer: int
    activation: Float[Tensor, " d_model"]
    writing: Writing
    samples: int = 1
    mode: Mode = "later"

    def vectors(
        self, direction: Float[Tensor, " d_model"], strengths: Sequence[float]
    ) -> Float[Tensor, "strengths d_model"]:
        """What is added at each strength.

        Args:
            direction: of an edit's difference, any length; in mode `patch` of the edited reconstruction.
            strengths: lengths in units of the activation's norm; in mode `patch` the share of the way to the
                reconstruction at the activation's norm, 1 the whole of it.
        """
        whole = unit(direction) * self.activation.norm()
        if self.mode == "patch":
            whole = whole - self.activation
        return torch.tensor(strengths)[:, None] * whole

    def continuations(self, vectors: Float[Tensor, "n d_model"]) -> list[list[Continuation]]:
        """`samples` continuations under each vector."""
        found = continue_steered(
            self.target, self.ids, self.layer, self.pos, vectors,
            later=self.mode == "later", samples=self.samples, writing=self.writing,
        )  # fmt: skip
        return self._shown(found)

    def patched(self, others: Sequence[Sequence[int]]) -> list[list[Continuation]]:
        """`samples` continuations with the stream of each other text from the token on."""
        return self._shown(
            continue_patched(
                self.target, self.ids, others, self.layer, self.pos, samples=self.samples, writing=self.writing
            )
        )

    def _shown(self, written: Sequence[Sequence[Sequence[int]]]) -> list[list[Continuation]]:
        flat = [tokens for group in written for tokens in group]
        nats = nats_per_token(self.target, self.ids, flat)
        decode = self.target.tokenizer.decode
        head = len(str(decode(list(self.ids), skip_special_tokens=True)))
        every = [
            Continuation(
                text=str(decode([*self.ids, *tokens], skip_special_tokens=True))[head:],
                tokens=tuple(tokens),
                nats=cost,
                cut=len(tokens) == self.writing.max_tokens,
            )
            for tokens, cost in zip(flat, nats, strict=True)
        ]
        return [every[first : first + self.samples] for first in range(0, len(every), self.samples)]


def mean_nats(group: Sequence[Continuation]) -> float | None:
    """Nats per token over the samples that wrote anything, each counted alike; None where none did."""
    known = [one.nats for one in group if one.nats is not None]
    return sum(known) / len(known) if known else None


def trials(
    engine: Engine,
    activation: Float[Tensor, " d_model"],
    vectors: Float[Tensor, "n d_model"],
    strengths: Sequence[float],
    written: Sequence[Sequence[Continuation]],
    edit: tuple[str, str] | None,
    language: Language | None,
    max_tokens: int,
) -> list[Trial]:
    """What each strength does: the changed activation read again, and the cost of its continuations.

    Args:
        engine: of the verbalizer; reads greedily.
        activation: of the token, raw.
        vectors, strengths, written: what is added, how much it is, and what the target wrote under it.
        edit: the explanation before and after; None: nothing was edited, so nothing can be read back.
        language: decides whether a reading says the edited claim; None: words do.
        max_tokens: of a reading.
    """
    if not len(vectors):
        return []
    done = engine.generate(activation + vectors, max_tokens=max_tokens)
    return [
        Trial(
            strength,
            group[0].explanation,
            None if edit is None else reads_back(group[0].explanation, *edit, language),
            mean_nats(said),
        )
        for strength, group, said in zip(strengths, done, written, strict=True)
    ]
