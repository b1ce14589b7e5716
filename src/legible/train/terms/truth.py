"""What a claim checker pays: true context claims earn, wrong ones cost, saying "unknown" costs little.

Options: `rl.truth_reward` pays whole rollouts, `rl.truth_credit` the tokens of each claim. The verdict is
`legible.languages.base.judge` on the row's facts: nothing is decided here. Unlike reconstruction, this reward cannot be
earned by words that only the reconstructor understands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from legible.config import RLConfig
from legible.data.store import Store
from legible.errors import ConfigError, UsageError
from legible.languages.base import Claim, ClaimKey, Fact, Language, Row, Verdict, judge
from legible.train.terms.base import Context, Earned, Rewarded, Term
from legible.train.terms.said import mean_worth, on_tokens


@dataclass(frozen=True)
class Prices:
    """What wrong claims cost, in true context claims."""

    false: float
    open: float
    unknown: float

    @classmethod
    def of(cls, config: RLConfig) -> "Prices":
        """The configured prices.

        Raises:
            ConfigError: admitting ignorance costs no less than a false claim.
        """
        if config.unknown_price >= config.false_price:
            raise ConfigError(
                f"rl.unknown_price is {config.unknown_price:g}, rl.false_price {config.false_price:g}: "
                "a verbalizer that does not know would rather guess.\n  Lower --unknown-price below --false-price."
            )
        return cls(config.false_price, config.open_price, config.unknown_price)

    def value(self, verdict: Verdict, context: bool) -> float | None:
        """What a claim is worth; None where it is undecided. A true claim that the last tokens give away earns 0."""
        if verdict == "true":
            return 1.0 if context else 0.0
        return {"false": -self.false, "open": -self.open, "abstain": -self.unknown}.get(verdict)


@dataclass(frozen=True)
class Truth(Term):
    """Scores the claims of rollouts by their language; `reward` and `credit` per unit of what a claim is worth."""

    store: Store
    language: Language
    prices: Prices
    reward: float
    credit: float

    def earn(self, step: Rewarded) -> Earned:
        """What the claims of each rollout are worth, on the rollout and on their own tokens."""
        rows = [self.store.row(group.row) for group in step.groups]
        facts = [self.language.facts(row) for row in rows]
        places = [one.place[0] for one in step.said]
        worth = [
            claim_values(one.claims, facts[group], rows[group], self.language, self.prices)
            for one, group in zip(step.said, places, strict=True)
        ]
        reward = torch.zeros(step.shape)
        for one, values in zip(step.said, worth, strict=True):
            reward[one.place] = self.reward * sum(value for value in values if value is not None)
        return Earned(
            reward,
            on_tokens(step.said, worth, self.credit, step.lengths) if self.credit > 0 else None,
            {**step.counted, "claim_worth": mean_worth(worth)},
        )


def term(context: Context) -> Truth | None:
    """The term of a training that pays for truth.

    Raises:
        UsageError: no language decides what is true.
        ConfigError: prices that make guessing pay.
    """
    config = context.config
    if config.truth_reward == 0 and config.truth_credit == 0:
        return None
    prices = Prices.of(config)
    if context.language is None:
        raise UsageError(
            "rl.truth_reward and rl.truth_credit need a language that decides what is true; this text has none.\n"
            "  Teach with world or text, or use rl.claim_credit, which needs none."
        )
    return Truth(context.store, context.language, prices, config.truth_reward, config.truth_credit)


def claim_values(
    claims: Sequence[Claim], facts: Mapping[str, Fact], row: Row, language: Language, prices: Prices
) -> list[float | None]:
    """What each claim of one explanation is worth; the same statement is paid once and charged every time.

    A true denial earns nothing: most values are wrong, so that denying them says little and would never end.
    """
    values: list[float | None] = []
    paid: set[ClaimKey] = set()
    for claim in claims:
        value = prices.value(judge(claim, facts), language.in_context(claim, row))
        if value is not None and value > 0:
            value = 0.0 if claim.key in paid or claim.polarity == "negative" else value
            paid.add(claim.key)
        values.append(value)
    return values
