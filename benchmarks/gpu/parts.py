"""The four parts that are timed on a card: each warms up, then yields how many tokens its timed work read or wrote.

They are the calls that the verbs make, on one random target: adapters over the target's own weights, nothing saved.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from memory import explanation
from support.unstopped import Unstopped
from transformers import AutoModelForCausalLM, LlamaConfig

from legible.config import AdapterConfig, CaptureConfig, RLConfig, SFTConfig
from legible.data.capture import capture
from legible.data.store import Store
from legible.documents import Document
from legible.injection import Injection
from legible.languages.world import build_tokenizer, story_document
from legible.models.roles import reference_copy, shared_roles
from legible.models.target import Target
from legible.train.joint import JointTrainer
from legible.train.sft import reconstructor_training, verbalizer_training
from legible.train.terms.extras import Extras

STORIES = 6  # in one document


@dataclass(frozen=True)
class Scale:
    """How large everything is. `layer`: the K that is read; `tokens`: padded ones in a warm start's step."""

    shape: dict[str, Any]
    layer: int
    documents: int
    tokens: int
    steps: int
    prompts: int
    group: int
    longest: int
    readings: int


SCALES = {
    "8b": Scale(
        {
            "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 8, "rope_parameters": {"rope_type": "llama3",
            "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192}, "max_position_embeddings": 131072,
        },
        layer=20, documents=512, tokens=2048, steps=10, prompts=8, group=4, longest=64, readings=256,
    ),
    "tiny": Scale(
        {
            "vocab_size": 1024, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048,
        },
        layer=1, documents=8, tokens=512, steps=2, prompts=2, group=3, longest=12, readings=8,
    ),
}  # fmt: skip
"""`8b` has the shape of Llama-3.1-8B; `tiny` runs the same work anywhere in seconds."""


def random_target(scale: Scale, device: torch.device, dtype: torch.dtype) -> Target:
    """A target with random weights, made where it lies."""
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    with torch.device(device):
        config = LlamaConfig(**scale.shape, tie_word_embeddings=False, bos_token_id=0, eos_token_id=1)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    return Target(model, tokenizer, "random")


class Parts:
    """What is timed; each method prepares its work and returns it as a call that gives the number of tokens."""

    def __init__(self, target: Target, scale: Scale, out: Path) -> None:
        self.target, self.scale, self.out = target, scale, out
        self.sft = SFTConfig(steps=1000, batch_tokens=scale.tokens, adapter=AdapterConfig(rank=16))

    def capture(self) -> Callable[[], int]:
        """Activations of documents of some hundred tokens."""
        config = CaptureConfig(layers=(self.scale.layer,), positions_per_doc=8, min_pos=16, dtype="bfloat16")
        documents = [self._document(index) for index in range(self.scale.documents)]
        capture(self.target, documents[:2], config, self.out / "warm")
        tokens = sum(min(len(self.target.encode(one.text).ids), config.max_tokens) for one in documents)

        def work() -> int:
            store = capture(self.target, documents, config, self.out / "store")
            with self._teach.open("w", encoding="utf-8") as handle:
                for row in range(len(store)):
                    line = {"row": row, "text": explanation(row), "claims": [], "reason": None}
                    handle.write(json.dumps(line) + "\n")
            return tokens

        return work

    def warm_start(self) -> Callable[[], int]:
        """Steps of both roles, as `legible sft --adapter-rank 16` takes them."""
        given = (self.sft, self.target, self.scale.layer, self._store, self._teach)
        trainings = [verbalizer_training(*given), reconstructor_training(*given)]
        for training in trainings:
            training.step(0)

        def work() -> int:
            tokens = 0
            for training in trainings:
                for index in range(1, self.scale.steps + 1):
                    tokens += int(training.lengths[training.order(index)].sum())
                    training.step(index)
            return tokens

        return work

    def joint(self) -> Callable[[], int]:
        """Steps of `legible rl`: rollouts, their reading back, and both updates; the tokens are those written."""
        scale = self.scale
        roles = shared_roles(self.target, scale.layer, Injection(), AdapterConfig(rank=16), seed=0)
        config = RLConfig(steps=100, prompts=scale.prompts, group=scale.group, max_tokens=scale.longest)
        extras = Extras.of(config, self._store, scale.layer, self.target.tokenizer, None, self.out)
        engine = Unstopped(roles[0])
        trainer = JointTrainer(config, *roles, engine, self._store, scale.layer, reference_copy(roles[0]), extras)
        trainer.step(0)

        def work() -> int:
            written = 0.0
            for index in range(1, 4):
                written += float(trainer.step(index)["tokens"] or 0) * scale.prompts * scale.group
            return int(written)

        return work

    def reading(self) -> Callable[[], int]:
        """Explanations and their reading back, as `legible read` makes them; the tokens are those written."""
        scale = self.scale
        verbalizer, reconstructor = shared_roles(self.target, scale.layer, Injection(), AdapterConfig(rank=16), seed=0)
        engine = Unstopped(verbalizer)
        vectors = self._store.vectors([i % len(self._store) for i in range(scale.readings)], scale.layer)
        engine.generate(vectors[:2], max_tokens=2)

        def work() -> int:
            found = engine.generate(vectors, max_tokens=scale.longest)
            reconstructor.reconstruct([str(row[0].explanation) for row in found])
            return sum(len(row[0].ids) for row in found)

        return work

    @property
    def _teach(self) -> Path:
        return self.out / "teach.jsonl"

    @property
    def _store(self) -> Store:
        return Store.open(self.out / "store")

    def _document(self, number: int) -> Document:
        texts = [story_document("train", 0, number * STORIES + i).text for i in range(STORIES)]
        return Document(f"gpu/{number}", " ".join(texts))
