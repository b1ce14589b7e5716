"""What the target itself expects at the read tokens: its top next tokens, its surprise at the read one."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from legible.data.writer import NewRow
from legible.errors import StoreError
from legible.models.target import Target

LOGITS_AT_ONCE = 2**26  # floats (256 MiB): large vocabularies get smaller batches


def batch_limit(target: Target, batch_tokens: int) -> int:
    """Padded tokens of one forward pass whose logits are kept."""
    return max(1, min(batch_tokens, LOGITS_AT_ONCE // len(target.tokenizer)))


def with_predictions(
    rows: list[NewRow], logits: Float[Tensor, "b t vocab"], ids: Int[Tensor, "b t"], where: Tensor, top: int
) -> list[NewRow]:
    """The rows with their `predictions` (the `top` likeliest next tokens), `top_probability` (of the first of them) and
    `surprise` (nats; NaN at index 0).

    Args:
        rows: the rows read in this batch.
        logits, ids: of the batch.
        where: the batch index of each row.
        top: how many next tokens.

    Raises:
        StoreError: log-probabilities that are not finite.
    """
    pos = torch.tensor([row.pos for row in rows])
    behind = logits[where, pos]
    nexts = behind.topk(top, dim=-1).indices.tolist()
    highest = behind.softmax(-1).amax(-1).tolist()
    before = logits[where, (pos - 1).clamp_min(0)].log_softmax(-1)
    surprise = -before.gather(1, ids[where, pos][:, None])[:, 0]
    if not torch.isfinite(surprise).all():
        raise StoreError(
            "the target gives log-probabilities that are not finite.\n"
            "  Its weights are damaged: load it with transformers and look at its logits."
        )
    surprise[pos == 0] = float("nan")
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
