"""One step of the joint training: sample, read back, reward, update both roles."""

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from legible.config import RLConfig
from legible.data.store import Store
from legible.engines.base import Engine
from legible.errors import TrainingError
from legible.models.reconstructor import Reconstructor
from legible.models.verbalizer import Verbalizer
from legible.train.loop import Metrics, generator
from legible.train.optim import RoleOptimizer
from legible.train.rollouts import (
    RolloutGroup,
    Scored,
    as_batch,
    micro_batches,
    minibatches,
    padded,
    prompt_rows,
    roll_out,
    scored_rollouts,
)
from legible.train.terms.claim_rewards import ClaimRewards
from legible.train.terms.extras import Extras
from legible.train.terms.read_back import ReadBack, read_back, read_texts
from legible.train.terms.rewards import (
    advantages,
    clipped_objective,
    has_signal,
    kl_k3,
    length_cost,
    reconstruction_reward,
    token_weights,
)
from legible.train.terms.spaces import Direction

MICRO_TOKENS = 4096  # padded tokens in one forward and backward pass


@dataclass
class JointTrainer:
    """Verbalizer and reconstructor, their optimizers and the frozen warm start."""

    config: RLConfig
    verbalizer: Verbalizer
    reconstructor: Reconstructor
    engine: Engine
    store: Store
    layer: int
    reference: Verbalizer | None
    extras: Extras
    optimizers: dict[str, RoleOptimizer] = field(init=False)

    def __post_init__(self) -> None:
        passes = self.config.epochs * self.config.minibatches
        self.optimizers = {"av": RoleOptimizer(self.verbalizer, self.config.verbalizer, self.config.steps * passes)}
        if self.config.reconstructor_weight > 0:
            self.optimizers["ar"] = RoleOptimizer(self.reconstructor, self.config.reconstructor, self.config.steps)

    @property
    def skipped(self) -> int:
        """Optimizer steps with non-finite gradients so far, both roles."""
        return sum(optimizer.skipped for optimizer in self.optimizers.values())

    def step(self, index: int) -> Metrics:
        """One step of joint training.

        Raises:
            TrainingError: no group of rollouts tells better from worse.
        """
        config = self.config
        rows = prompt_rows(len(self.store), config.prompts, config.seed, index)
        vectors = self.store.vectors(rows, self.layer)
        groups = roll_out(
            self.engine,
            vectors,
            rows,
            group=config.group,
            temperature=config.temperature,
            max_tokens=config.max_tokens,
            seed=int(torch.randint(2**62, (), generator=generator(config.seed, "rollouts", index))),
        )
        lengths = torch.tensor([[len(rollout.ids) for rollout in group.rollouts] for group in groups])
        back, claims, counts = self._score(groups, rows, vectors, index)
        found = reconstruction_reward(back.error, back.parsed, config.reward, config.parse_penalty)
        found = found + torch.where(back.parsed, config.contrast * back.gain, 0.0) + claims.reward
        reward = found - length_cost(lengths, back.parsed, config.length_cost)
        signal = has_signal(found)
        if not signal.any():
            raise TrainingError(_no_signal(index, back.parsed))
        advantage = advantages(reward, std=config.advantage_std)
        scored = scored_rollouts(groups, vectors, advantage, signal, claims.of_tokens)
        updated = self._update_verbalizer(scored, index)
        if "ar" in self.optimizers:
            updated["ar_grad_norm"] = self.optimizers["ar"].step(index)
        return {
            "reward": float(reward.mean()),
            "direction_mse": _mean(back.mse, back.parsed),
            "tokens": float(lengths.float().mean()),
            "parse_failures": int((~back.parsed).sum()),
            "skipped_groups": int((~signal).sum()),
            **counts,
            **claims.metrics,
            **updated,
        }

    def _score(
        self, groups: list[RolloutGroup], rows: list[int], vectors: Tensor, index: int
    ) -> tuple[ReadBack, ClaimRewards, Metrics]:
        """What the rollouts are worth under the reconstructor as it is now; its own gradient comes with it."""
        config, extras = self.config, self.extras
        direction = Direction().of(rows, vectors)
        gains, alone = extras.contrast.of(rows, vectors) if extras.contrast is not None else (None, 0)
        reads, counts = extras.reads(groups, index)
        back = read_back(
            self.reconstructor,
            reads,
            (len(groups), config.group),
            direction=direction,
            space=extras.space.of(rows, vectors) if extras.space is not None else None,
            gains=gains,
            weight=config.reconstructor_weight if "ar" in self.optimizers else 0.0,
            tokens=MICRO_TOKENS,
        )
        read = partial(read_texts, self.reconstructor, tokens=MICRO_TOKENS)
        metrics: Metrics = {"ar_rows": len(reads), **counts}
        if extras.contrast is not None:
            metrics |= {"gain": _mean(back.gain, back.parsed), "rows_without_others": alone}
        if extras.space is not None:
            metrics["error"] = _mean(back.error, back.parsed)
        return back, extras.claims(groups, read, direction), metrics

    def _update_verbalizer(self, scored: Scored, index: int) -> Metrics:
        config = self.config
        reference = self._reference_logprobs(scored)
        totals = {"loss": 0.0, "kl": 0.0, "clipped": 0.0, "nats": 0.0}
        norms: list[float] = []
        for epoch in range(config.epochs):
            for part in minibatches(scored.groups, config.minibatches, config.seed, index * config.epochs + epoch):
                self._backward(scored, part, reference, totals)
                norms.append(self.optimizers["av"].step(index * config.epochs * config.minibatches + len(norms)))
        return {
            **{name: value / len(norms) for name, value in totals.items()},
            "grad_norm": max(norms),
            "skipped": self.skipped,
        }

    def _backward(
        self, scored: Scored, part: list[int], reference: list[Tensor] | None, totals: dict[str, float]
    ) -> None:
        """Gradients of one minibatch, micro-batch by micro-batch."""
        config = self.config
        by_token = config.loss_norm == "token"
        total = sum(len(scored.rollouts[i].ids) for i in part) if by_token else len(part)
        for batch in micro_batches(scored, part, MICRO_TOKENS):
            rollouts = as_batch([scored.rollouts[i] for i in batch])
            logprobs = self.verbalizer.logprobs(
                scored.vectors[batch], rollouts.ids, rollouts.mask.long(), temperature=config.temperature
            ).cpu()
            objective, clipped = clipped_objective(
                logprobs, rollouts.logprobs, scored.token_advantage(batch), config.clip_low, config.clip_high
            )
            weights = token_weights(rollouts.mask, config.loss_norm, total)
            loss = -(objective * weights).sum()
            if reference is not None:
                kl = kl_k3(logprobs, padded([reference[i] for i in batch])) * weights
                loss = loss + config.kl * kl.sum()
                totals["kl"] += float(kl.detach().sum())
            loss.backward()
            totals["loss"] += float(loss.detach())
            totals["clipped"] += float((clipped * weights).sum())
            totals["nats"] -= float((rollouts.logprobs * weights).sum())

    @torch.no_grad()
    def _reference_logprobs(self, scored: Scored) -> list[Tensor] | None:
        if self.reference is None:
            return None
        found: dict[int, Tensor] = {}
        for batch in micro_batches(scored, range(len(scored.rollouts)), MICRO_TOKENS):
            rollouts = as_batch([scored.rollouts[i] for i in batch])
            logprobs = self.reference.logprobs(
                scored.vectors[batch], rollouts.ids, rollouts.mask.long(), temperature=self.config.temperature
            ).cpu()
            found |= {i: logprobs[row, : len(scored.rollouts[i].ids)] for row, i in enumerate(batch)}
        return [found[i] for i in range(len(scored.rollouts))]


def _mean(values: Tensor, parsed: Tensor) -> float | None:
    return float(values[parsed].mean()) if parsed.any() else None


def _no_signal(index: int, parsed: Tensor) -> str:
    failed = int((~parsed).sum())
    return (
        f"RL step {index + 1}: no group of rollouts differs in reward ({failed} of {parsed.numel()} failed to parse), "
        "so there is no signal to learn from.\n"
        "  The usual cause is a warm start that writes one text for every vector, or never stops.\n"
        "  Train the warm start longer (sft.steps), or raise rl.temperature or rl.max_tokens."
    )
