"""A tiny target and a capture of it, for the capture tests; run as a script, it is the process that gets killed."""

import sys
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from legible.config import CaptureConfig
from legible.data.capture import capture
from legible.data.store import Store
from legible.documents import Document
from legible.languages.world import build_tokenizer
from legible.models.target import Target

CONFIG = CaptureConfig(
    layers=(0, 2),
    positions_per_doc=4,
    min_pos=6,
    sentence_end_share=0.5,
    max_tokens=48,
    batch_tokens=256,
    shard_rows=20,
)
TEXT = "Anna has a red ball . Ben went to the lake ! It was cold and dark . She said no ?"


def tiny_target() -> Target:
    """Three random Llama blocks of width 16 over the world's vocabulary."""
    tokenizer = build_tokenizer(64)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
    )
    return Target(LlamaForCausalLM(config), tokenizer, "tiny")


def documents(n: int = 40) -> list[Document]:
    """Texts of 2 to 70 words, a few of them too short or too long to be read whole."""
    words = TEXT.split()
    texts = [" ".join(words[(i + k) % len(words)] for k in range(2 + (i * 17) % 69)) for i in range(n)]
    return [Document(f"doc-{i}", text) for i, text in enumerate(texts)]


def run(out: Path) -> Store:
    """The capture that every test compares with."""
    return capture(tiny_target(), documents(), CONFIG, out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(Path(sys.argv[1]))
