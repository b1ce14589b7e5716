"""Any local transformers causal LM as teacher, asked through its chat template where it has one."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from legible.config import TeachConfig
from legible.errors import UsageError
from legible.languages.base import Row
from legible.models.loading import end_ids, load_pretrained, load_tokenizer
from legible.teachers.base import Explanation, Offer, Refusal, refuse_limit
from legible.teachers.cache import AnswerCache, answer_key
from legible.teachers.prompt import LONGEST_PASSAGE, Request, ask, read_answer

BATCH = 8


class LocalTeacher:
    """A model on this machine as teacher. Sampling depends on the seed and the row's place in its chunk alone.

    Args:
        path: a model's name; see `legible.models.local`.
        config: length, temperature and seed.
        cache: file of the answers to `complete`; None keeps them in memory.
        role: what its errors call it.
    """

    def __init__(self, path: str, config: TeachConfig, cache: Path | None = None, *, role: str = "teacher") -> None:
        self.name = f"local:{path}"
        self._file = cache
        self._called = f"{role} {self.name}"
        self._config = config
        self._model = load_pretrained(AutoModelForCausalLM, path).eval()
        self._tokenizer: Any = load_tokenizer(path, self._model)
        self._ends = end_ids(self._model, self._tokenizer)
        self._tokenizer.padding_side = "left"
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token

    def write(self, rows: Sequence[Row], keep: Sequence[set[str]] | None = None) -> list[Explanation | Refusal]:
        """One answer a row.

        Raises:
            UsageError: a limit was given, which free text cannot keep to.
        """
        refuse_limit(self.name, keep)
        return self._batches([ask(row.prefix) for row in rows], [f"{row.document.doc_id} {row.pos}" for row in rows])

    def complete(self, requests: Sequence[Request]) -> list[Explanation | Refusal]:
        """One answer a request; what was answered before is not asked again."""
        keys = {request: answer_key(self.name, request.form, request.passage) for request in requests}
        new = [request for request, key in keys.items() if self._cache.get(key) is None]
        for request, said in zip(new, self._batches(new, [request.shown() for request in new]), strict=True):
            self._cache.put(keys[request], said)
        return [answer for request in requests if (answer := self._cache.get(keys[request]))]

    def close(self) -> None:
        """Close the cache."""
        self._cache.close()

    @cached_property
    def _cache(self) -> AnswerCache:
        """Opened by the first request: the texts of a store have a file of their own."""
        return AnswerCache(self._file)

    def _batches(self, requests: Sequence[Request], keys: Sequence[str]) -> list[Explanation | Refusal]:
        answers: list[Explanation | Refusal] = []
        for start in range(0, len(requests), BATCH):
            answers += self._answer(requests[start : start + BATCH], keys[start])
        return answers

    def _prompt(self, request: Request) -> list[int]:
        room = int(self._model.config.max_position_embeddings) - self._config.max_tokens
        tokenizer = self._tokenizer
        for longest in (LONGEST_PASSAGE, 2000, 1000, 500, 250, 100):
            prompt = request.shown(longest)
            if tokenizer.chat_template:
                chat = [{"role": "user", "content": prompt}]
                ids = tokenizer.apply_chat_template(chat, tokenize=True, add_generation_prompt=True, return_dict=True)[
                    "input_ids"
                ]
            else:
                ids = tokenizer(f"{prompt}\n\n{request.cue}").input_ids
            if len(ids) <= room:
                return list(ids)
        raise UsageError(
            f"{self._called} has room for {room} prompt tokens, its instruction alone needs more.\n"
            "  Lower --max-tokens or take a larger model."
        )

    @torch.no_grad()
    def _answer(self, requests: Sequence[Request], key: str) -> list[Explanation | Refusal]:
        config, tokenizer = self._config, self._tokenizer
        batch = tokenizer.pad({"input_ids": [self._prompt(request) for request in requests]}, return_tensors="pt")
        batch = batch.to(self._model.device)
        sampling = (
            {"do_sample": True, "temperature": config.temperature, "top_k": 0}
            if config.temperature
            else {"do_sample": False}
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed(config.seed, key))
            out = self._model.generate(
                **batch,
                max_new_tokens=config.max_tokens,
                eos_token_id=list(self._ends) or None,
                pad_token_id=tokenizer.pad_token_id,
                **sampling,
            )
        new = out[:, batch["input_ids"].shape[1] :]
        ends = {*self._ends, tokenizer.pad_token_id}
        texts = tokenizer.batch_decode(new, skip_special_tokens=True)
        return [read_answer(text, cut=not ends & set(ids)) for text, ids in zip(texts, new.tolist(), strict=True)]


def _seed(seed: int, key: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {key}".encode()).digest()[:4])


def _make(config: TeachConfig, cache: Path | None, role: str) -> LocalTeacher | None:
    path = config.teacher.partition(":")[2]
    return LocalTeacher(path, config, cache, role=role) if path else None


TEACHER = Offer(
    "local:PATH", _make, verdict_tokens=200
)  # a small model may ramble: room for a few words before verdicts
