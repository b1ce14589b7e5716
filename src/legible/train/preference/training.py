"""Offline preference training: the verbalizer learns from ranked pairs of its explanations; nothing is sampled.

One step: the log-probabilities of a batch's chosen and rejected explanations under the verbalizer and, where the loss
asks, under the frozen warm start; the loss of `preference_losses`; one update. The reconstructor only ranked the
pairs and does not change. The best weights by a held-out measure are kept, the warm start included.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from legible.config import PreferConfig
from legible.data.batches import pad
from legible.data.store import Store
from legible.errors import UsageError
from legible.models.memory import check_memory
from legible.models.reconstructor import Reconstructor
from legible.models.roles import reference_copy
from legible.models.verbalizer import Verbalizer
from legible.train.joint import MICRO_TOKENS
from legible.train.loop import Metrics, generator
from legible.train.needs import update_bytes
from legible.train.optim import RoleOptimizer
from legible.train.preference.losses import WITH_REFERENCE, PairLogprobs, kto_reference_point, preference_loss
from legible.train.preference.pairs import RankedPair
from legible.train.rl import Kept, Measure, RLResult


@dataclass
class PreferenceTrainer:
    """The verbalizer, its optimizer, the pairs and the frozen warm start (None where the loss has no reference)."""

    config: PreferConfig
    verbalizer: Verbalizer
    pairs: Sequence[RankedPair]
    store: Store
    layer: int
    reference: Verbalizer | None
    optimizer: RoleOptimizer = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = RoleOptimizer(self.verbalizer, self.config.verbalizer, self.config.steps)
        self._loss = preference_loss(self.config)

    @property
    def skipped(self) -> int:
        """Optimizer steps with non-finite gradients so far."""
        return self.optimizer.skipped

    def batch(self, index: int) -> list[RankedPair]:
        """The pairs of a step: every pair once before any pair twice."""
        size = min(self.config.batch, len(self.pairs))
        steps = len(self.pairs) // size
        order = torch.randperm(len(self.pairs), generator=generator(self.config.seed, "prefer", index // steps))
        start = (index % steps) * size
        return [self.pairs[int(place)] for place in order[start : start + size]]

    def step(self, index: int) -> Metrics:
        """One optimizer step.

        Raises:
            TrainingError: twenty steps in a row had non-finite gradients.
        """
        batch = self.batch(index)
        vectors = self.store.vectors([pair.row for pair in batch], self.layer)
        vectors = torch.cat([vectors, vectors])
        ids = [pair.chosen.ids for pair in batch] + [pair.rejected.ids for pair in batch]
        fixed = self._reference(vectors, ids)
        z0 = self._reference_point(vectors, ids)
        parts = micro_batches([len(one) for one in ids], len(self.verbalizer.prompt.ids), MICRO_TOKENS)
        if len(parts) == 1:
            logp = completion_logprobs(self.verbalizer, vectors, ids)
            losses = self._loss(_as_pairs(logp, fixed, ids), z0)
            losses.mean().backward()
            pairs = _as_pairs(logp.detach(), fixed, ids)
        else:
            losses, pairs = self._in_parts(vectors, ids, fixed, z0, parts)
        norm = self.optimizer.step(index)
        return {
            "loss": float(losses.detach().mean()),
            "margin": float(pairs.margin.mean()) if self.reference is not None else None,
            "accuracy": float((pairs.chosen_mean > pairs.rejected_mean).float().mean()),
            "chosen_nats": float(-pairs.chosen_mean.mean()),
            "rejected_nats": float(-pairs.rejected_mean.mean()),
            "z0": float(z0),
            "grad_norm": norm,
            "skipped": self.optimizer.skipped,
        }

    def _in_parts(
        self, vectors: Tensor, ids: list[list[int]], fixed: Tensor, z0: Tensor, parts: list[list[int]]
    ) -> tuple[Tensor, PairLogprobs]:
        """The same gradients for a batch that does not fit one pass.

        A loss may depend on the whole batch (AlphaDPO), so it is taken from log-probabilities without graph, and each
        part then passes its own share of their gradient on.
        """
        with torch.no_grad():
            logp = torch.zeros(len(ids))
            for part in parts:
                logp[part] = completion_logprobs(self.verbalizer, vectors[part], [ids[i] for i in part])
        logp.requires_grad_(True)
        losses = self._loss(_as_pairs(logp, fixed, ids), z0)
        losses.mean().backward()
        assert logp.grad is not None
        for part in parts:
            share = completion_logprobs(self.verbalizer, vectors[part], [ids[i] for i in part])
            (share * logp.grad[part]).sum().backward()
        return losses, _as_pairs(logp.detach(), fixed, ids)

    @torch.no_grad()
    def _reference(self, vectors: Tensor, ids: list[list[int]]) -> Tensor:
        """ln p of every completion under the warm start; 0 where the loss does not ask."""
        if self.reference is None:
            return torch.zeros(len(ids))
        return self._evaluated(self.reference, vectors, ids)

    @torch.no_grad()
    def _reference_point(self, vectors: Tensor, ids: list[list[int]]) -> Float[Tensor, ""]:
        """KTO's z0, from each activation with the explanation of the batch's next one; 0 for other losses."""
        if self.config.loss != "kto" or self.reference is None:
            return torch.zeros(())
        half = len(ids) // 2
        others = [ids[(i + 1) % half] for i in range(half)] + [ids[half + (i + 1) % half] for i in range(half)]
        ratio = self._evaluated(self.verbalizer, vectors, others) - self._evaluated(self.reference, vectors, others)
        return kto_reference_point(ratio)

    def _evaluated(self, verbalizer: Verbalizer, vectors: Tensor, ids: list[list[int]]) -> Tensor:
        logprobs = torch.zeros(len(ids))
        for part in micro_batches([len(one) for one in ids], len(verbalizer.prompt.ids), MICRO_TOKENS):
            logprobs[part] = completion_logprobs(verbalizer, vectors[part], [ids[i] for i in part])
        return logprobs


def train_preference(
    config: PreferConfig,
    verbalizer: Verbalizer,
    reconstructor: Reconstructor,
    layer: int,
    store: Store,
    pairs: Sequence[RankedPair],
    measure: Measure,
    out: Path,
    *,
    made_by: str,
) -> RLResult:
    """Train the verbalizer on the pairs; afterwards both roles hold the best weights, which also stand in `out`.

    Args:
        config: everything about the training.
        verbalizer: the warm start, changed in place.
        reconstructor: unchanged; saved beside.
        layer: layer K of the store that the pairs' rows belong to.
        store: captured activations of the training split.
        pairs: better and worse explanations (`legible.train.preference.pairs`).
        measure: held-out scores; `config.select_by` names the one that chooses (larger is better).
        out: gets `av/`, `ar/` and `metrics.jsonl`; its caller has claimed it, and unfinished work resumes from its
            last state.
        made_by: digest of all that the training depends on; a state is resumed only under the same one.

    Raises:
        NotEnoughMemoryError: it does not fit beside the warm start.
        TrainingError: only non-finite gradients, or a full disk.
        UsageError: no pairs, or `select_by` is no measure.
    """
    if not pairs:
        raise UsageError("found no pairs, expected at least one.\n  Make them with legible prefer --steps 0.")
    referred = config.loss in WITH_REFERENCE
    needed = update_bytes(verbalizer, [verbalizer], referred, 2 * config.batch, config.max_tokens, MICRO_TOKENS)
    check_memory("preference training", needed, verbalizer.device)
    reference = reference_copy(verbalizer) if referred else None
    trainer = PreferenceTrainer(config, verbalizer, pairs, store, layer, reference)
    kept = Kept(config, verbalizer, reconstructor, measure, out)
    return kept.train(trainer, {"av": trainer.optimizer}, made_by)


def completion_logprobs(
    verbalizer: Verbalizer, vectors: Float[Tensor, "n d"], ids: Sequence[Sequence[int]]
) -> Float[Tensor, " n"]:
    """ln p of whole completions, in nats, on the CPU: sums over their tokens. Gradients flow."""
    tokens, mask = pad(ids)
    return verbalizer.logprobs(vectors, tokens, mask).sum(1).cpu()


def micro_batches(lengths: Sequence[int], prompt: int, tokens: int) -> list[list[int]]:
    """Completions in consecutive parts of at most `tokens` padded tokens, the prompt's counted."""
    parts: list[list[int]] = []
    longest = 0
    for i, length in enumerate(lengths):
        longest = max(longest, length + prompt)
        if not parts or longest * (len(parts[-1]) + 1) > tokens:
            parts.append([])
            longest = length + prompt
        parts[-1].append(i)
    return parts


def _as_pairs(logp: Tensor, fixed: Tensor, ids: Sequence[Sequence[int]]) -> PairLogprobs:
    """Chosen completions stand in the first half, rejected ones in the second."""
    half = len(ids) // 2
    lengths = torch.tensor([len(one) for one in ids], dtype=torch.float32)
    return PairLogprobs(logp[:half], logp[half:], fixed[:half], fixed[half:], lengths[:half], lengths[half:])
