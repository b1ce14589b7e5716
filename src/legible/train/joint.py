"""One step of the joint training: sample, read back, reward, update both roles."""

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from legible.config import RLConfig
from legible.data.store import Store
from legible.engines.base import Engine
from legible.engines.sampling import row_key
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
from legible.train.terms.base import Earned, Rewarded
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
from legible.train.terms.said import added
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
        seed = int(torch.randint(2**62, (), generator=generator(config.seed, "rollouts", index)))
        groups = roll_out(
            self.engine,
            vectors,
            rows,
            [row_key(seed, self.store.row(row), row) for row in rows],
            group=config.group,
            temperature=config.temperature,
            max_tokens=config.max_tokens,
        )
        lengths = torch.tensor([[len(rollout.ids) for rollout in group.rollouts] for group in groups])
        back, earned, counts = self._score(groups, rows, vectors, index)
        prices = config.parse_penalty, config.error_weight
        paid = reconstruction_reward(back.error, back.parsed, config.reward, *prices)
        for one in earned:
            paid = paid + one.reward if one.reward is not None else paid
            counts |= one.metrics
        of_tokens = [one.of_tokens for one in earned if one.of_tokens is not None]
        reward = paid - length_cost(lengths, back.parsed, config.length_cost)
        signal = has_signal(paid)
        if not signal.any():
            raise TrainingError(_no_signal(index, back.parsed))
        advantage = advantages(reward, std=config.advantage_std)
        scored = scored_rollouts(groups, vectors, advantage, signal, added(*of_tokens) if of_tokens else None)
        updated = self._update_verbalizer(scored, index)
        if "ar" in self.optimizers:
            updated["ar_grad_norm"] = self.optimizers["ar"].step(index)
        return {
            "reward": float(reward.mean()),
            "direction_mse": back.mean(back.mse),
            "tokens": float(lengths.float().mean()),
            "parse_failures": int((~back.parsed).sum()),
            "skipped_groups": int((~signal).sum()),
            **counts,
            **updated,
        }

    def _score(
        self, groups: list[RolloutGroup], rows: list[int], vectors: Tensor, index: int
    ) -> tuple[ReadBack, list[Earned], Metrics]:
        """What the rollouts are worth under the reconstructor as it is now; its own gradient comes with it."""
        config, extras = self.config, self.extras
        direction = Direction().of(rows, vectors)
        reads, counts = extras.reads(groups, index)
        back = read_back(
            self.reconstructor,
            reads,
            (len(groups), config.group),
            direction=direction,
            space=extras.space.of(rows, vectors) if extras.space is not None else None,
            measures={name: one for term in extras.terms for name, one in term.measures(rows, vectors).items()},
            weight=config.reconstructor_weight if "ar" in self.optimizers else 0.0,
            tokens=MICRO_TOKENS,
        )
        read = partial(read_texts, self.reconstructor, tokens=MICRO_TOKENS)
        metrics: Metrics = {"ar_rows": len(reads), **counts}
        if extras.space is not None:
            metrics["error"] = back.mean(back.error)
        step = Rewarded(extras.context, groups, back, read, direction)
        return back, [term.earn(step) for term in extras.terms], metrics

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
        by_rollout: dict[int, Tensor] = {}
        for batch in micro_batches(scored, range(len(scored.rollouts)), MICRO_TOKENS):
            rollouts = as_batch([scored.rollouts[i] for i in batch])
            logprobs = self.reference.logprobs(
                scored.vectors[batch], rollouts.ids, rollouts.mask.long(), temperature=self.config.temperature
            ).cpu()
            by_rollout |= {i: logprobs[row, : len(scored.rollouts[i].ids)] for row, i in enumerate(batch)}
        return [by_rollout[i] for i in range(len(scored.rollouts))]


def _no_signal(index: int, parsed: Tensor) -> str:
    failed = int((~parsed).sum())
    return (
        f"RL step {index + 1}: no group of rollouts differs in reward ({failed} of {parsed.numel()} failed to parse), "
        "so there is no signal to learn from.\n"
        "  The usual cause is a warm start that writes one text for every vector, or never stops.\n"
        "  Train the warm start longer (sft.steps), or raise rl.temperature or rl.max_tokens."
    )
