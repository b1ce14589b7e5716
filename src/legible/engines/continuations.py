"""What a target itself would say next: sampled continuations of a text, for foresight.

One prompt, many samples: the prompt is computed once and its keys and values are spread over the samples.
"""

from collections.abc import Collection, Sequence

import torch
from transformers import DynamicCache

from legible.engines.base import Key
from legible.engines.cached import extend
from legible.engines.decode import Policy, decode
from legible.engines.direct import fastest_stepper
from legible.engines.sampling import uniforms
from legible.errors import UsageError
from legible.models.target import Target


@torch.no_grad()
def continue_text(
    target: Target,
    ids: Sequence[int],
    *,
    samples: int,
    max_tokens: int,
    temperature: float = 1.0,
    key: Key = (0, 0),
    stop_ids: Collection[int] = (),
) -> list[list[int]]:
    """Sample `samples` continuations of `ids` from the target.

    Args:
        target: the model under study.
        ids: the text so far, special tokens included; not empty.
        samples: continuations.
        max_tokens: most tokens of each, its stop token counted.
        temperature: 0 takes the likeliest token.
        key: with the sample's number it decides every draw.
        stop_ids: tokens that end a continuation; left out of the result.

    Returns:
        `samples` lists of token ids.

    Raises:
        UsageError: no ids, or more than the target's context together with `max_tokens`.
    """
    if not ids or len(ids) + max_tokens > target.context:
        raise UsageError(
            f"cannot continue {len(ids)} tokens by {max_tokens}: expected at least 1 token, and at most "
            f"{target.context} together (the target's context).\n  Read an earlier position or ask for fewer tokens."
        )
    cache = DynamicCache()
    logits = extend(target.model, cache, ids=torch.tensor([list(ids)], device=target.device))
    index = torch.zeros(samples, dtype=torch.long, device=target.device)
    stepper = fastest_stepper(target.model, cache, index, max_tokens)
    noise = uniforms([(*key, sample) for sample in range(samples)], max_tokens).to(target.device)
    policy = Policy(temperature, max_tokens, stop_ids)
    return [row.ids for row in decode(stepper, logits[index], policy, noise)]
