"""Rows of a text that is read now: the same bookkeeping as in a store, without one."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import DynamicCache

from legible.config import CaptureConfig
from legible.data.forward import RECENT_TOKENS, Beginning
from legible.data.predictions import token_texts
from legible.documents import Document
from legible.engines.continuations import speaker
from legible.languages.base import Row
from legible.models.target import Target


def rows_of(document: Document, ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> list[Row]:
    """One row for every token of the document's text; special tokens, whose offsets are empty, have none.

    Args:
        document: the text and its id.
        ids: its tokens, specials included.
        offsets: where each token stands in the text; (0, 0) for specials.
    """
    rows = []
    for pos, (token, (start, end)) in enumerate(zip(ids, offsets, strict=True)):
        if start == end == 0:
            continue
        recent = min(first for first, last in offsets[max(0, pos - RECENT_TOKENS + 1) : pos + 1] if last > first)
        rows.append(Row(document, pos, end, recent, token, ids[pos - 1] if pos else -1))
    return rows


def with_expectations(target: Target, ids: Sequence[int], rows: Sequence[Row], top: int) -> list[Row]:
    """The rows with the target's `top` likeliest next tokens, the probability of the first and its surprise in nats.

    Args:
        target: whose expectations.
        ids: the whole text's tokens.
        rows: some of its tokens.
        top: how many next tokens.
    """
    batch = torch.tensor([list(ids)])
    logp = target.logits(batch, torch.ones_like(batch))[0].log_softmax(-1).cpu()
    texts = token_texts(target)
    likely = logp.topk(top, dim=-1).indices.tolist()
    return [
        replace(
            row,
            predictions=tuple(texts[token] for token in likely[row.pos]),
            top_probability=float(logp[row.pos].max().exp()),
            surprise=-float(logp[row.pos - 1, row.token_id]) if row.pos else None,
        )
        for row in rows
    ]


def with_continuations(target: Target, ids: Sequence[int], rows: Sequence[Row], config: CaptureConfig) -> list[Row]:
    """The rows with what the target would say behind each, where the configuration asks for it."""
    speak = speaker(target, config)
    if speak is None or not rows:
        return list(rows)
    ends = torch.tensor([row.pos for row in rows])
    batch, cache = torch.tensor([list(ids[: int(ends.max()) + 1])]), DynamicCache()
    logits = target.logits_at(batch, torch.ones_like(batch), torch.zeros_like(ends), ends, cache=cache)
    said = speak(cache, logits, [Beginning(0, ids, row.pos, row.prefix) for row in rows])
    return [replace(row, continuations=texts) for row, texts in zip(rows, said, strict=True)]
