"""The local engine: batched explanations on this machine, from a verbalizer in memory.

The prompt before the vector is computed once a call and shared by all rows, never kept across calls, so that a
weight update cannot meet a stale prefix. Samples of one vector share their whole prompt.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from legible.engines.base import Completion, Key
from legible.engines.cached import extend, shared_prefix, spread
from legible.engines.decode import Policy, Stepper, Written, decode
from legible.engines.direct import fastest_stepper
from legible.engines.sampling import numbered, uniforms
from legible.errors import UsageError
from legible.models.memory import Size, check_memory
from legible.models.verbalizer import Verbalizer
from legible.prompts import parse_explanation

WRITTEN_TOGETHER = 256  # rows


class LocalEngine:
    """Implements `Engine` over a verbalizer in memory.

    Args:
        verbalizer: any family, with or without adapters; read anew at every call, so it may be trained in between.
        batch: rows decoded together.
        stepper: how a step is computed; the default takes the lean step where the family allows it.
    """

    def __init__(
        self,
        verbalizer: Verbalizer,
        *,
        batch: int = WRITTEN_TOGETHER,
        stepper: Callable[..., Stepper] = fastest_stepper,
    ) -> None:
        if batch < 1:
            raise UsageError(f"engine batch is {batch}, expected at least 1")
        self.verbalizer = verbalizer
        self.batch = batch
        self.stepper = stepper

    @torch.no_grad()
    def generate(
        self,
        vectors: Float[Tensor, "n d_model"],
        keys: Sequence[Key] | None = None,
        *,
        samples: int = 1,
        temperature: float = 0.0,
        max_tokens: int,
    ) -> list[list[Completion]]:
        """Write `samples` completions for each vector; see `Engine.generate`."""
        self._check(vectors, samples, temperature, max_tokens)
        keys = numbered(0, len(vectors)) if keys is None else keys
        prompt = self.verbalizer.prompt
        policy = Policy(temperature, max_tokens, prompt.stop_ids, prompt.banned_ids, self.verbalizer.outputs)
        jobs = [(row, sample) for row in range(len(vectors)) for sample in range(samples)]
        written: list[Written] = []
        self._check_memory(min(self.batch, len(jobs)), len(prompt.ids) + max_tokens)
        vectors = vectors.to(self.verbalizer.device)
        prefix_ids = torch.tensor(prompt.prefix_ids, dtype=torch.long, device=vectors.device)
        prefix = shared_prefix(self.verbalizer.model, prefix_ids)
        for start in range(0, len(jobs), self.batch):
            written += self._decode(vectors, jobs[start : start + self.batch], prefix, policy, keys)
        completions = self._completions(written)
        return [completions[row * samples : (row + 1) * samples] for row in range(len(vectors))]

    def _decode(
        self,
        vectors: Tensor,
        jobs: Sequence[tuple[int, int]],
        prefix: DynamicCache,
        policy: Policy,
        keys: Sequence[Key],
    ) -> list[Written]:
        rows = torch.tensor([row for row, _ in jobs], device=vectors.device)
        unique, index = rows.unique(return_inverse=True)
        cache = spread(prefix, len(unique))
        position = self.verbalizer.prompt.position
        embeds = self.verbalizer.prompt_embeds(vectors[unique])[:, position:]
        with self.verbalizer.adding(vectors[unique], 0):
            logits = extend(self.verbalizer.model, cache, embeds=embeds)
        stepper = self.stepper(self.verbalizer.model, cache, index, policy.max_tokens)
        draws = [(*keys[row], sample) for row, sample in jobs] if policy.temperature else []
        noise = uniforms(draws, policy.max_tokens).to(vectors.device) if draws else None
        return decode(stepper, logits[index], policy, noise)

    def _completions(self, written: Sequence[Written]) -> list[Completion]:
        tokenizer, tags = self.verbalizer.tokenizer, self.verbalizer.prompt.tags
        completions = []
        for row in written:
            text = cast(str, tokenizer.decode(row.ids, skip_special_tokens=True))
            explanation = parse_explanation(text, tags, stopped=row.stop == "stop")
            completions.append(Completion(row.ids, row.logprobs, row.stop, row.stop_id, text, explanation))
        return completions

    def _check_memory(self, rows: int, length: int) -> None:
        model = self.verbalizer.model
        size, each = Size.of(model), self.verbalizer.arch.embedding.weight.dtype.itemsize
        fewer = [(f"{n} of them", size.cache(n, length, each)) for n in (rows // 2, rows // 4, rows // 8) if n]
        what = f"writing {rows} explanations of up to {length} tokens together"
        check_memory(what, size.cache(rows, length, each), self.verbalizer.device, fewer)

    def _check(self, vectors: Tensor, samples: int, temperature: float, max_tokens: int) -> None:
        if samples < 1 or max_tokens < 1 or temperature < 0:
            raise UsageError(
                f"samples {samples}, max_tokens {max_tokens}, temperature {temperature}: "
                "expected at least 1, at least 1 and at least 0."
            )
        config = self.verbalizer.model.config.get_text_config()
        if vectors.ndim != 2 or vectors.shape[1] != config.hidden_size:
            raise UsageError(
                f"vectors have shape {tuple(vectors.shape)}, expected [n, {config.hidden_size}].\n"
                "  The usual cause is a store captured from another target than the verbalizer's."
            )
        prompt = self.verbalizer.prompt
        used = len(prompt.ids)
        context = config.max_position_embeddings
        if used + max_tokens > context:
            raise UsageError(
                f"a prompt of {used} tokens and {max_tokens} new ones do not fit the context of {context} tokens.\n"
                f"  Lower max_tokens to {context - used} or less."
            )
