"""The claims of a step's rollouts: where they stand in the tokens, and what they are worth as advantages there.

Values are centred over all claims of a group (all rollouts of one activation), so a claim is praised for being worth
more than the group's other claims. Nothing here loads or trains a model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from legible.languages.base import Claim
from legible.reading.spans import claim_spans, token_spans
from legible.train.rollouts import Place, RolloutGroup

Values = list[float | None]
"""One value per claim; None: the claim has none."""
ReadTexts = Callable[[Sequence[str]], Float[Tensor, "n d"]]


@dataclass(frozen=True)
class Said:
    """The claims of one rollout, and for each the indices of the tokens that write it (none: not found)."""

    place: Place
    explanation: str
    claims: list[Claim]
    tokens: list[list[int]]


def said_in(
    groups: Sequence[RolloutGroup], claims_of: Callable[[str], list[Claim]], tokenizer: PreTrainedTokenizerBase
) -> list[Said]:
    """The claims of every rollout that parsed."""
    stated = []
    for g, group in enumerate(groups):
        for r, rollout in enumerate(group.rollouts):
            if rollout.explanation is not None:
                claims = claims_of(rollout.explanation)
                spans = claim_spans(rollout.explanation, claims)
                tokens = token_spans(tokenizer, rollout.ids, spans, rollout.explanation)
                stated.append(Said((g, r), rollout.explanation, claims, tokens))
    return stated


def on_tokens(
    said: Sequence[Said], values: Sequence[Values], weight: float, lengths: Mapping[Place, int]
) -> dict[Place, Float[Tensor, " l"]]:
    """Advantages of tokens: each claim's value above the mean of its group's claims, times `weight`.

    Args:
        said, values: the claims and what each is worth; a claim without value or tokens is left out of the mean too.
        weight: scales every value.
        lengths: tokens of each rollout, the stop token counted.

    Returns:
        One row a rollout; 0 at tokens of no claim, the mean of the claims where several share a token.
    """
    of_group: dict[int, list[float]] = {}
    for one, worth in zip(said, values, strict=True):
        kept = [value for value, tokens in zip(worth, one.tokens, strict=True) if value is not None and tokens]
        of_group.setdefault(one.place[0], []).extend(kept)
    by_place = {}
    for one, worth in zip(said, values, strict=True):
        sums, counts = torch.zeros(lengths[one.place]), torch.zeros(lengths[one.place])
        group = of_group[one.place[0]]
        for value, tokens in zip(worth, one.tokens, strict=True):
            if value is not None and tokens:
                sums[tokens] += weight * (value - sum(group) / len(group))
                counts[tokens] += 1
        by_place[one.place] = sums / counts.clamp_min(1)
    return by_place


def added(*parts: Mapping[Place, Float[Tensor, " l"]]) -> dict[Place, Float[Tensor, " l"]]:
    """The sum of sets of token advantages."""
    summed: dict[Place, Float[Tensor, " l"]] = {}
    for part in parts:
        summed |= {place: summed[place] + row if place in summed else row for place, row in part.items()}
    return summed


def mean_worth(worth: Sequence[Values]) -> float | None:
    """The mean of all values; None where no claim has one."""
    values = [value for row in worth for value in row if value is not None]
    return sum(values) / len(values) if values else None
