"""The forward passes of a capture: rows, their vectors, and what the target expects and would say behind them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from legible.config import CaptureConfig
from legible.data.batches import pad
from legible.data.predictions import row_limit, with_predictions
from legible.data.writer import NewRow
from legible.documents import Document
from legible.models.target import Target

RECENT_TOKENS = 8


@dataclass(frozen=True)
class Passage:
    """An encoded document and the tokens of it that are read."""

    document: Document
    ids: list[int]
    offsets: list[tuple[int, int]]
    positions: list[int]


class Beginning(NamedTuple):
    """A text up to one of its tokens, as a row of a batch holds it."""

    row: int
    ids: Sequence[int]  # of the whole text
    pos: int
    prefix: str


Speaker = Callable[[DynamicCache, Float[Tensor, "n vocab"], Sequence[Beginning]], list[tuple[str, ...]]]
"""What the target would say behind n beginnings, by the keys and values of their batch and the logits behind each."""


def read(
    target: Target,
    passages: Sequence[Passage],
    config: CaptureConfig,
    report: Callable[[int, int], None],
    speaker: Speaker | None,
) -> tuple[list[NewRow], dict[int, Tensor]]:
    """Rows and vectors of one shard, in document order.

    Args:
        report: called with (passages, rows) finished.
        speaker: writes the continuations; None: none are wanted.
    """
    starts = np.cumsum([0, *(len(passage.positions) for passage in passages)]).tolist()
    rows = [row for i, passage in enumerate(passages) for row in _rows(i, passage)]
    vectors = {layer: torch.empty(len(rows), target.d_model) for layer in config.layers}
    most = row_limit(target) if config.predictions else len(rows)
    sizes = [(len(passage.ids), len(passage.positions)) for passage in passages]
    finished = finished_rows = 0
    for batch in _batches(sizes, config.batch_tokens, most):
        index = [starts[i] + k for i in batch for k in range(len(passages[i].positions))]
        chosen = [passages[i] for i in batch]
        predictions, streams = _forward(target, chosen, [rows[i] for i in index], config, speaker)
        for i, row in zip(index, predictions, strict=True):
            rows[i] = row
        for layer, stream in streams.items():
            vectors[layer][torch.tensor(index)] = stream
        finished, finished_rows = finished + len(batch), finished_rows + len(index)
        report(finished, finished_rows)
    return rows, vectors


def _forward(
    target: Target, passages: Sequence[Passage], rows: list[NewRow], config: CaptureConfig, speaker: Speaker | None
) -> tuple[list[NewRow], dict[int, Tensor]]:
    """One batch: its rows and their vectors. It stops after the deepest layer where nothing behind it is wanted."""
    ids, mask = pad([passage.ids for passage in passages])
    where = torch.tensor([b for b, passage in enumerate(passages) for _ in passage.positions])
    pos = torch.tensor([row.pos for row in rows])
    if not config.predictions and speaker is None:
        streams = target.streams(ids, mask, config.layers)
        return rows, _at(streams, where, pos)
    cache = DynamicCache() if speaker is not None else None
    both = torch.cat([where, where]), torch.cat([pos, (pos - 1).clamp_min(0)])
    with target.arch.recording(config.layers) as streams:
        logits = target.logits_at(ids, mask, *both, cache=cache)
    behind, before = logits.chunk(2)
    if config.predictions:
        rows = with_predictions(rows, behind, before, config.predictions)
    if speaker is not None and cache is not None:
        places = [Beginning(b, passages[b].ids, row.pos, passages[b].document.text[: row.char_end])
                  for b, row in zip(where.tolist(), rows, strict=True)]  # fmt: skip
        said = speaker(cache, behind, places)
        rows = [replace(row, continuations=texts) for row, texts in zip(rows, said, strict=True)]
    return rows, _at(streams, where, pos)


def _at(streams: dict[int, Tensor], where: Tensor, pos: Tensor) -> dict[int, Tensor]:
    return {layer: stream[where, pos].float().cpu() for layer, stream in streams.items()}


def _rows(number: int, passage: Passage) -> Iterator[NewRow]:
    for pos in passage.positions:
        recent = [passage.offsets[i] for i in range(max(0, pos - RECENT_TOKENS + 1), pos + 1)]
        yield NewRow(
            document=number,
            pos=pos,
            char_end=passage.offsets[pos][1],
            recent_start=min(start for start, end in recent if end > start),
            token_id=passage.ids[pos],
            prev_token_id=passage.ids[pos - 1] if pos else -1,
        )


def _batches(sizes: Sequence[tuple[int, int]], batch_tokens: int, most_rows: int) -> Iterator[list[int]]:
    """Indices in ascending length, cut where the padded size would pass `batch_tokens`, or the rows `most_rows`."""
    batch: list[int] = []
    rows = 0
    for i in sorted(range(len(sizes)), key=lambda i: (sizes[i][0], i)):
        length, more = sizes[i]
        if batch and ((len(batch) + 1) * length > batch_tokens or rows + more > most_rows):
            yield batch
            batch, rows = [], 0
        batch.append(i)
        rows += more
    if batch:
        yield batch
