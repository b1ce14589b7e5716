"""What the claims of a step's rollouts earn: the truth reward, and advantages on their own tokens.

Put together from `claim_credit` (leverage) and `truth_reward` (a claim checker); see `RLConfig` for the options.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from legible.config import RLConfig
from legible.data.store import Store
from legible.errors import UsageError
from legible.languages.base import Claim, Fact, Language, Row, split_sentences
from legible.train.loop import Metrics
from legible.train.rollouts import Place, RolloutGroup
from legible.train.terms.claim_credit import Read, Said, Values, added, leverages, on_tokens, said_in
from legible.train.terms.spaces import Errors
from legible.train.terms.truth_reward import Prices, claim_values


@dataclass(frozen=True)
class ClaimRewards:
    """What to add: to rewards [p, g], and to the advantages of tokens (None: nothing); with what was counted."""

    reward: Float[Tensor, "p g"]
    of_tokens: dict[Place, Float[Tensor, " l"]] | None = None
    metrics: Metrics = field(default_factory=dict)


class ClaimRewarder:
    """Scores the claims of rollouts as the configuration says.

    Args:
        config: `claim_credit`, `truth_reward`, `truth_credit` and the prices.
        store: knows the rows' documents.
        language: finds and judges claims; None: sentences, whose truth nobody decides.
        tokenizer: the verbalizer's.

    Raises:
        UsageError: a truth reward or credit without a language.
        ConfigError: prices that make guessing pay.
    """

    def __init__(
        self, config: RLConfig, store: Store, language: Language | None, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        self.config, self.store, self.language, self.tokenizer = config, store, language, tokenizer
        self.paid = config.truth_reward > 0 or config.truth_credit > 0
        self.active = self.paid or config.claim_credit > 0
        self.prices = Prices.of(config) if self.paid else None
        if self.paid and language is None:
            raise UsageError(
                "rl.truth_reward and rl.truth_credit need a language that decides what is true; this text has none.\n"
                "  Teach with world or facts, or use rl.claim_credit, which needs none."
            )

    def __call__(self, groups: Sequence[RolloutGroup], read: Read, errors: Errors) -> ClaimRewards:
        """Score a step's rollouts.

        Args:
            groups: the rollouts.
            read: the reconstructor of now, without gradients.
            errors: direction_mse of reconstructions of the step's activations.
        """
        shape = len(groups), max(len(group.rollouts) for group in groups)
        nothing = ClaimRewards(torch.zeros(shape))
        if not self.active:
            return nothing
        said = said_in(groups, self._claims, self.tokenizer)
        lengths = {(g, r): len(one.ids) for g, group in enumerate(groups) for r, one in enumerate(group.rollouts)}
        parts: list[dict[Place, Float[Tensor, " l"]]] = []
        metrics: Metrics = {
            "claims": sum(len(one.claims) for one in said),
            "unplaced_claims": sum(not tokens for one in said for tokens in one.tokens),
        }
        if self.config.claim_credit > 0:
            worth = leverages(said, read, errors)
            parts.append(on_tokens(said, worth, self.config.claim_credit, lengths))
            metrics["leverage"] = _mean(worth)
        reward = nothing.reward
        if self.paid:
            rows = [self.store.row(group.row) for group in groups]
            facts = [self.language.facts(row) if self.language is not None else {} for row in rows]
            worth = [self._worth(one, rows[one.place[0]], facts[one.place[0]]) for one in said]
            metrics["claim_worth"] = _mean(worth)
            for one, values in zip(said, worth, strict=True):
                reward[one.place] = self.config.truth_reward * sum(value for value in values if value is not None)
            if self.config.truth_credit > 0:
                parts.append(on_tokens(said, worth, self.config.truth_credit, lengths))
        return ClaimRewards(reward, added(*parts) if parts else None, metrics)

    def _claims(self, explanation: str) -> list[Claim]:
        if self.language is None:
            return split_sentences(explanation)
        return self.language.parse(explanation).claims

    def _worth(self, said: Said, row: Row, facts: Mapping[str, Fact]) -> Values:
        assert self.language is not None
        assert self.prices is not None
        return claim_values(said.claims, facts, row, self.language, self.prices)


def _mean(worth: Sequence[Values]) -> float | None:
    values = [value for row in worth for value in row if value is not None]
    return sum(values) / len(values) if values else None
