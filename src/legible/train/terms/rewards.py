"""Rewards, advantages and losses of the joint training: pure functions on tensors.

Nothing here generates, reads a file or steps an optimizer. Rewards are shaped [p, g]: p activations (prompts), g
sampled explanations of each. Losses are sums over tokens times weights that add up to 1 over a whole minibatch, so
that micro-batches add their gradients.

Sources, by the name of the option: GRPO (arXiv 2402.03300), Dr. GRPO (2503.20783), DAPO (2503.14476); the k3
estimator of the KL (Schulman 2020, joschu.net/blog/kl-approx.html).
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SMALLEST_MSE = 1e-6
SAME_REWARD = 1e-7


def reconstruction_reward(
    mse: Float[Tensor, "p g"],
    parsed: Bool[Tensor, "p g"],
    kind: Literal["neg_mse", "log_mse"],
    parse_penalty: float,
    weight: float = 1.0,
) -> Float[Tensor, "p g"]:
    """-mse or its negative log, times `weight`; a failed parse gets -parse_penalty whatever its mse.

    `mse` is direction_mse, or the error of another space (`legible.train.terms.spaces`).
    """
    reward = -weight * (mse if kind == "neg_mse" else mse.clamp_min(SMALLEST_MSE).log())
    return torch.where(parsed, reward, torch.full_like(reward, -parse_penalty))


def length_cost(lengths: Int[Tensor, "p g"], parsed: Bool[Tensor, "p g"], cost: float) -> Float[Tensor, "p g"]:
    """What the written tokens take from the reward; a failed parse has its own penalty and pays nothing here."""
    return torch.where(parsed, cost * lengths.float(), 0.0)


def has_signal(reconstruction: Float[Tensor, "p g"]) -> Bool[Tensor, " p"]:
    """Groups whose reconstruction rewards differ; elsewhere only length and KL would move the policy."""
    return reconstruction.amax(1) - reconstruction.amin(1) > SAME_REWARD


def advantages(rewards: Float[Tensor, "p g"], *, std: bool) -> Float[Tensor, "p g"]:
    """Reward above the group's mean (Dr. GRPO), divided by the group's standard deviation where asked (GRPO)."""
    centered = rewards - rewards.mean(1, keepdim=True)
    if not std:
        return centered
    return centered / (rewards.std(1, keepdim=True) + 1e-6)


def token_weights(mask: Bool[Tensor, "n l"], norm: Literal["token", "sequence"], total: int) -> Float[Tensor, "n l"]:
    """Weight of each token in the loss.

    Args:
        mask: real tokens.
        norm: `token` weighs every token of the minibatch alike (DAPO), `sequence` every rollout alike (GRPO).
        total: tokens (`token`) or rollouts (`sequence`) of the whole minibatch.
    """
    if norm == "token":
        return mask.float() / total
    return mask.float() / (mask.sum(1, keepdim=True).clamp_min(1) * total)


def clipped_objective(
    logprobs: Float[Tensor, "n l"],
    old: Float[Tensor, "n l"],
    advantage: Float[Tensor, "n *l"],
    clip_low: float,
    clip_high: float,
) -> tuple[Float[Tensor, "n l"], Bool[Tensor, "n l"]]:
    """PPO's clipped surrogate of each token, to be maximised, and where the clip is active (its gradient is 0).

    `advantage` is one number per rollout [n], or one per token [n, l].
    """
    ratio = (logprobs - old).exp()
    a = advantage if advantage.ndim == 2 else advantage.unsqueeze(1)
    free = ratio * a
    clipped = ratio.clamp(1.0 - clip_low, 1.0 + clip_high) * a
    return torch.minimum(free, clipped), clipped < free


def kl_k3(logprobs: Float[Tensor, "n l"], reference: Float[Tensor, "n l"]) -> Float[Tensor, "n l"]:
    """k3 estimate of KL(policy || reference) at tokens drawn from the policy: r - ln r - 1, r = ref / policy; >= 0."""
    log_ratio = reference - logprobs
    return log_ratio.exp() - log_ratio - 1.0
