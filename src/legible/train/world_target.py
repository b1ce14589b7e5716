"""The world's own target: which stories its training sees."""

from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from legible.config import AUTO, Placement, PretrainConfig
from legible.languages.world import build_tokenizer, content_words, story_document
from legible.languages.world.secrets import Plant
from legible.train.lm import LMBatch, train_lm


def world_batch(
    tokenizer: PreTrainedTokenizerBase, config: PretrainConfig, step: int, plant: Plant | None = None
) -> LMBatch:
    """The stories of one step (under a plant: as told there), each seen once in a training; end-of-text after each."""
    first = step * config.batch
    texts = [story_document("pretrain", config.seed, first + i, plant).text for i in range(config.batch)]
    rows = [[*ids, tokenizer.eos_token_id] for ids in tokenizer(texts)["input_ids"]]
    width = max(len(row) for row in rows)
    ids = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows])
    mask = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows])
    return LMBatch(ids, mask)


def content_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids of the words that carry facts: what the future bag predicts."""
    vocabulary = tokenizer.get_vocab()
    return [vocabulary[f"▁{word}"] for word in content_words()]


def train_world_target(config: PretrainConfig, out: Path, *, made_by: str, place: Placement = AUTO) -> Path:
    """Train the world's target (bag weight 0: its untreated twin) and save it at `out`; see `train_lm`."""
    tokenizer = build_tokenizer(config.context)
    content = torch.tensor(content_ids(tokenizer))
    return train_lm(
        config,
        lambda step: world_batch(tokenizer, config, step),
        tokenizer,
        out,
        made_by=made_by,
        place=place,
        content_ids=content if config.bag_weight > 0 else None,
    )
