"""What the target itself expects at the read tokens: its top next tokens, its surprise at the read one."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from legible.data.writer import NewRow
from legible.errors import StoreError
from legible.models.target import Target

LOGITS_AT_ONCE = 2**26  # floats (256 MiB): large vocabularies get smaller batches


def row_limit(target: Target) -> int:
    """Rows of one forward pass whose logits are kept, those behind a token and those before it."""
    return max(1, LOGITS_AT_ONCE // (2 * len(target.tokenizer)))


def with_predictions(
    rows: Sequence[NewRow], behind: Float[Tensor, "n vocab"], before: Float[Tensor, "n vocab"], top: int
) -> list[NewRow]:
    """The rows with their `predictions` (the `top` likeliest next tokens), `top_probability` (of the first of them) and
    `surprise` (nats; NaN at index 0).

    Args:
        rows: those read in this batch.
        behind: logits of the token after each row's.
        before: logits of each row's own token.
        top: how many next tokens.

    Raises:
        StoreError: log-probabilities that are not finite.
    """
    nexts = behind.topk(top, dim=-1).indices.tolist()
    highest = behind.softmax(-1).amax(-1).tolist()
    token_ids = torch.tensor([row.token_id for row in rows], device=before.device)
    surprise = -before.log_softmax(-1).gather(1, token_ids[:, None])[:, 0]
    if not torch.isfinite(surprise).all():
        raise StoreError(
            "the target gives log-probabilities that are not finite.\n"
            "  Its weights are damaged: load it with transformers and look at its logits."
        )
    surprise[torch.tensor([row.pos == 0 for row in rows])] = float("nan")
    return [
        replace(row, predictions=tuple(top_ids), surprise=nats, top_probability=share)
        for row, top_ids, nats, share in zip(rows, nexts, surprise.tolist(), highest, strict=True)
    ]


def token_texts(target: Target) -> list[str]:
    """The text of every token id as it stands inside running text (leading space kept); empty for ids without a name,
    which models have whose embedding is padded past their vocabulary."""
    tokenizer = target.tokenizer
    anchor = tokenizer.encode("a", add_special_tokens=False)
    lead = len(tokenizer.decode(anchor))
    ids = range(max(len(tokenizer), target.arch.embedding.num_embeddings))
    return [text[lead:] for text in tokenizer.batch_decode([[*anchor, i] for i in ids])]
