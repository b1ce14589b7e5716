"""Credit for claims that the reconstructor needs (`rl.claim_credit`): an advantage on the tokens that write each.

A claim's leverage is the rise of direction_mse when its words are deleted from the explanation and the reconstructor of
now reads the rest: a process reward that needs no second model and no language.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from legible.reading.spans import without
from legible.train.terms.base import Context, Earned, Rewarded, Term
from legible.train.terms.said import ReadTexts, Said, Values, mean_worth, on_tokens


@dataclass(frozen=True)
class Leverage(Term):
    """`weight`: advantage per direction_mse that deleting the claim costs."""

    weight: float

    def earn(self, step: Rewarded) -> Earned:
        """Advantages of the tokens of claims."""
        worth = leverages(step.said, step.read, step.direction)
        of_tokens = on_tokens(step.said, worth, self.weight, step.lengths)
        return Earned(of_tokens=of_tokens, metrics={**step.counted, "leverage": mean_worth(worth)})


def term(context: Context) -> Leverage | None:
    """The term of a training that gives credit to claims."""
    return Leverage(context.config.claim_credit) if context.config.claim_credit > 0 else None


def leverages(
    said: Sequence[Said],
    read: ReadTexts,
    errors: Callable[[Float[Tensor, "n d"], Sequence[int]], Float[Tensor, " n"]],
) -> list[Values]:
    """For every claim the rise of the error when its words are deleted.

    Args:
        said: the step's rollouts.
        read: the reconstructor, on any number of texts; each different text is asked for once.
        errors: of reconstructions, given the group whose activation each is meant to be.

    Returns:
        One list a rollout; None for a claim whose words are not found in its explanation.
    """
    jobs = [
        (one.place[0], one.explanation, [without(one.explanation, one.claims, i) for i in range(len(one.claims))])
        for one in said
    ]
    asked = list(dict.fromkeys((group, text) for group, whole, parts in jobs for text in [whole, *parts]))
    if not asked:
        return []
    where = {text: i for i, text in enumerate(dict.fromkeys(text for _, text in asked))}
    pred = read(list(where))[[where[text] for _, text in asked]]
    error = dict(zip(asked, errors(pred, [group for group, _ in asked]).tolist(), strict=True))
    return [
        [None if part == whole else error[group, part] - error[group, whole] for part in parts]
        for group, whole, parts in jobs
    ]
