"""What a claim checker pays: true context claims earn, wrong ones cost, saying "unknown" costs little.

The verdict is `legible.languages.base.judge` on the row's facts: nothing is decided here. Unlike reconstruction, this
reward cannot be earned by words that only the reconstructor understands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from legible.config import RLConfig
from legible.errors import ConfigError
from legible.languages.base import Claim, Fact, Language, Row, Verdict, judge


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
        """What a claim is worth; None where nobody decides it. A true claim that the last tokens give away earns 0."""
        if verdict == "true":
            return 1.0 if context else 0.0
        return {"false": -self.false, "open": -self.open, "abstain": -self.unknown}.get(verdict)


def claim_values(
    claims: Sequence[Claim], facts: Mapping[str, Fact], row: Row, language: Language, prices: Prices
) -> list[float | None]:
    """What each claim of one explanation is worth; the same statement is paid once and charged every time."""
    found: list[float | None] = []
    paid: set[tuple[str | None, str | None]] = set()
    for claim in claims:
        value = prices.value(judge(claim, facts), language.in_context(claim, row))
        if value is not None and value > 0:
            value = 0.0 if (claim.kind, claim.value) in paid else value
            paid.add((claim.kind, claim.value))
        found.append(value)
    return found
