"""One step of the joint training: sample, read back, reward, update both roles."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from legible.config import RLConfig
from legible.data.batches import length_grouped_batches
from legible.data.store import Store
from legible.engines.base import Engine
from legible.errors import TrainingError
from legible.models.reconstructor import Reconstructor
from legible.models.verbalizer import Verbalizer
from legible.train.loop import Metrics, generator
from legible.train.optim import RoleOptimizer
from legible.train.rewards import (
    advantages,
    clipped_objective,
    has_signal,
    kl_k3,
    length_cost,
    reconstruction_reward,
    token_weights,
)
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
from legible.vectors import direction_mse

MICRO_TOKENS = 4096  # padded tokens in one forward and backward pass
WORST_MSE = 4.0


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
            stop_id=self.verbalizer.prompt.stop_ids[0],
        )
        mse, parsed, read = self._read_back(groups, vectors)
        lengths = torch.tensor([[len(rollout.ids) for rollout in group.rollouts] for group in groups])
        found = reconstruction_reward(mse, parsed, config.reward, config.parse_penalty)
        reward = found - length_cost(lengths, parsed, config.length_cost)
        signal = has_signal(found)
        if not signal.any():
            raise TrainingError(_no_signal(index, parsed))
        scored = scored_rollouts(groups, vectors, advantages(reward, std=config.advantage_std), signal)
        updated = self._update_verbalizer(scored, index)
        if "ar" in self.optimizers:
            updated["ar_grad_norm"] = self.optimizers["ar"].step(index)
        return {
            "reward": float(reward.mean()),
            "direction_mse": float(mse[parsed].mean()) if parsed.any() else None,
            "tokens": float(lengths.float().mean()),
            "parse_failures": int((~parsed).sum()),
            "skipped_groups": int((~signal).sum()),
            "ar_rows": read,
            **updated,
        }

    def _read_back(self, groups: list[RolloutGroup], vectors: Tensor) -> tuple[Tensor, Tensor, int]:
        """direction_mse [p, g] under the reconstructor as it is now, and its gradient on the same pass."""
        flat = [(g, r, rollout) for g, group in enumerate(groups) for r, rollout in enumerate(group.rollouts)]
        texts = {(g, r): rollout.explanation for g, r, rollout in flat if rollout.explanation is not None}
        mse = torch.full((len(groups), self.config.group), 4.0)
        parsed = torch.zeros(mse.shape, dtype=torch.bool)
        places = list(texts)
        if not places:
            return mse, parsed, 0
        ids, mask = self.reconstructor.encode([str(texts[place]) for place in places])
        lengths = mask.sum(1).tolist()
        trained = "ar" in self.optimizers
        for batch in length_grouped_batches(lengths, MICRO_TOKENS, 0, 0):
            width = max(lengths[i] for i in batch)
            target = vectors[[places[i][0] for i in batch]].to(self.reconstructor.device)
            with torch.set_grad_enabled(trained):
                error = direction_mse(self.reconstructor(ids[batch, :width], mask[batch, :width]), target)
                if trained:
                    (self.config.reconstructor_weight * error.sum() / len(places)).backward()
            for i, value in zip(batch, error.detach().cpu(), strict=True):
                mse[places[i]], parsed[places[i]] = value, True
        return mse, parsed, len(places)

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
                logprobs, rollouts.logprobs, scored.advantage[batch], config.clip_low, config.clip_high
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


def _no_signal(index: int, parsed: Tensor) -> str:
    failed = int((~parsed).sum())
    return (
        f"RL step {index + 1}: no group of rollouts differs in reward ({failed} of {parsed.numel()} failed to parse), "
        "so there is no signal to learn from.\n"
        "  The usual cause is a warm start that writes one text for every vector, or never stops.\n"
        "  Train the warm start longer (sft.steps), or raise rl.temperature or rl.max_tokens."
    )
