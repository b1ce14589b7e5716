"""Any local transformers causal LM as teacher, asked through its chat template where it has one."""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from legible.config import TeachConfig
from legible.errors import UsageError
from legible.models.target import load_pretrained, load_tokenizer
from legible.teachers.base import Explanation, Refusal
from legible.teachers.prompt import ask, read_answer
from legible.truth.claims import Row

BATCH = 8


class LocalTeacher:
    """A model on this machine as teacher. Sampling depends on the seed and the row's place in its chunk alone.

    Args:
        path: directory or hub name; weights from safetensors.
        config: length, temperature and seed.
    """

    def __init__(self, path: str, config: TeachConfig) -> None:
        self.name = f"local:{path}"
        self._config = config
        self._model = load_pretrained(AutoModelForCausalLM, path).eval()
        self._tokenizer: Any = load_tokenizer(path, revision=None, trust_remote_code=False)
        self._tokenizer.padding_side = "left"
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token

    def write(self, rows: Sequence[Row], keep: Sequence[set[str]] | None = None) -> list[Explanation | Refusal]:
        """One answer a row.

        Raises:
            UsageError: a limit was given, which free text cannot keep to.
        """
        if keep is not None:
            raise UsageError(
                f"teacher {self.name} writes free text and cannot be limited by probes.\n"
                "  Use `--limit none`, or the world or facts teacher."
            )
        answers: list[Explanation | Refusal] = []
        for start in range(0, len(rows), BATCH):
            answers += self._answer(rows[start : start + BATCH])
        return answers

    def _prompt(self, passage: str) -> list[int]:
        room = int(self._model.config.max_position_embeddings) - self._config.max_tokens
        tokenizer = self._tokenizer
        for longest in (len(passage), 2000, 1000, 500, 250, 100):
            request = ask(passage[-longest:])
            if tokenizer.chat_template:
                chat = [{"role": "user", "content": request}]
                ids = tokenizer.apply_chat_template(chat, tokenize=True, add_generation_prompt=True, return_dict=True)[
                    "input_ids"
                ]
            else:
                ids = tokenizer(f"{request}\n\nStatements:").input_ids
            if len(ids) <= room:
                return list(ids)
        raise UsageError(
            f"teacher {self.name} has room for {room} prompt tokens, its instruction alone needs more.\n"
            "  Lower --max-tokens or take a larger model."
        )

    @torch.no_grad()
    def _answer(self, rows: Sequence[Row]) -> list[Explanation | Refusal]:
        config, tokenizer = self._config, self._tokenizer
        batch = tokenizer.pad({"input_ids": [self._prompt(row.prefix) for row in rows]}, return_tensors="pt")
        sampling = (
            {"do_sample": True, "temperature": config.temperature, "top_k": 0}
            if config.temperature
            else {"do_sample": False}
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed(config.seed, rows[0]))
            out = self._model.generate(
                **batch, max_new_tokens=config.max_tokens, pad_token_id=tokenizer.pad_token_id, **sampling
            )
        new = out[:, batch["input_ids"].shape[1] :]
        ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
        texts = tokenizer.batch_decode(new, skip_special_tokens=True)
        return [read_answer(text, cut=not ends & set(ids)) for text, ids in zip(texts, new.tolist(), strict=True)]


def _seed(seed: int, row: Row) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {row.document.doc_id} {row.pos}".encode()).digest()[:4])
