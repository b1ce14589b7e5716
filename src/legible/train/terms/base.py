"""What a term of the reward is given, and what it gives back."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from legible.config import RLConfig
from legible.data.store import Store
from legible.languages.base import Claim, Language, parsed_by
from legible.models.target import Target
from legible.train.loop import Metrics
from legible.train.rollouts import Place, RolloutGroup
from legible.train.terms.read_back import ReadBack
from legible.train.terms.said import ReadTexts, Said, said_in
from legible.train.terms.spaces import Errors


@dataclass(frozen=True)
class Context:
    """A training, as its terms see it.

    `language` finds and judges claims; None: sentences without a verdict. `target` reads texts anew, where it is at
    hand.
    """

    config: RLConfig
    store: Store
    layer: int
    tokenizer: PreTrainedTokenizerBase  # the verbalizer's
    language: Language | None
    target: Target | None = None


@dataclass(frozen=True)
class Rewarded:
    """One step's rollouts as they came back."""

    context: Context
    groups: Sequence[RolloutGroup]
    back: ReadBack
    read: ReadTexts  # the reconstructor of now, without gradients
    direction: Errors  # direction_mse of reconstructions of the step's activations

    @property
    def shape(self) -> tuple[int, int]:
        """Groups, and rollouts in each."""
        return len(self.groups), max(len(group.rollouts) for group in self.groups)

    @cached_property
    def said(self) -> list[Said]:
        """The claims of every rollout that parsed, with the tokens that write them."""
        return said_in(self.groups, self._claims, self.context.tokenizer)

    @property
    def counted(self) -> Metrics:
        """How many claims there are, and how many of them no token was found for."""
        return {
            "claims": sum(len(one.claims) for one in self.said),
            "unplaced_claims": sum(not tokens for one in self.said for tokens in one.tokens),
        }

    @property
    def lengths(self) -> dict[Place, int]:
        """Tokens of each rollout, the stop token counted."""
        return {(g, r): len(one.ids) for g, group in enumerate(self.groups) for r, one in enumerate(group.rollouts)}

    def _claims(self, explanation: str) -> list[Claim]:
        return parsed_by(self.context.language, explanation).claims


@dataclass(frozen=True)
class Earned:
    """What to add to rewards and to the advantages of single tokens (None: nothing), and what was measured."""

    reward: Float[Tensor, "p g"] | None = None
    of_tokens: Mapping[Place, Float[Tensor, " l"]] | None = None
    metrics: Metrics = field(default_factory=dict)


class Term(ABC):
    """One term of the reward."""

    def measures(self, rows: Sequence[int], vectors: Float[Tensor, "p d"]) -> Mapping[str, Errors]:
        """What to measure of every reconstruction of a step's activations, by name; found in `Rewarded.back.extra`."""
        return {}

    @abstractmethod
    def earn(self, step: Rewarded) -> Earned:
        """What the step's rollouts earn."""
