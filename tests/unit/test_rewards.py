"""Laws of the joint training's arithmetic: rewards, advantages, weights, the clipped loss, the KL."""

import pytest
import torch

from legible.train.rollouts import Rollout, RolloutGroup, as_batch, minibatches, prompt_rows, scored_rollouts
from legible.train.terms.rewards import (
    advantages,
    clipped_objective,
    has_signal,
    kl_k3,
    length_cost,
    reconstruction_reward,
    token_weights,
)


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


def test_a_closer_vector_is_a_higher_reward_in_both_forms(rng):
    mse = torch.rand(5, 4, generator=rng).sort(1).values * 4
    parsed = torch.ones(5, 4, dtype=torch.bool)
    for kind in ("neg_mse", "log_mse"):
        reward = reconstruction_reward(mse, parsed, kind, 2.0)
        assert (reward.diff(dim=1) <= 0).all()
    assert torch.equal(reconstruction_reward(mse, parsed, "neg_mse", 2.0), -mse)


def test_a_failed_parse_gets_its_penalty_and_pays_no_length():
    mse = torch.tensor([[0.5, 4.0]])
    parsed = torch.tensor([[True, False]])
    reward = reconstruction_reward(mse, parsed, "neg_mse", 3.0)
    cost = length_cost(torch.tensor([[10, 90]]), parsed, 0.01)
    torch.testing.assert_close(reward - cost, torch.tensor([[-0.6, -3.0]]))


def test_without_weight_the_error_earns_nothing_and_a_failed_parse_still_costs():
    mse, parsed = torch.tensor([[0.5, 2.0, 4.0]]), torch.tensor([[True, True, False]])
    for weight in (0.0, 0.5):
        reward = reconstruction_reward(mse, parsed, "neg_mse", 3.0, weight)
        torch.testing.assert_close(reward, torch.tensor([[-0.5 * weight, -2.0 * weight, -3.0]]))


def test_advantages_of_a_group_add_up_to_nothing_and_ignore_a_shift(rng):
    rewards = torch.randn(6, 8, generator=rng)
    shift = torch.randn(6, 1, generator=rng)
    for std in (False, True):
        found = advantages(rewards, std=std)
        torch.testing.assert_close(found.sum(1), torch.zeros(6), atol=1e-5, rtol=0)
        torch.testing.assert_close(advantages(rewards + shift, std=std), found, atol=1e-4, rtol=0)
    torch.testing.assert_close(advantages(rewards, std=True).std(1), torch.ones(6), atol=1e-4, rtol=0)


def test_lengths_alone_are_no_signal():
    same = torch.full((1, 4), -0.3)
    lengths = torch.tensor([[5, 10, 20, 40]])
    paid = same - length_cost(lengths, torch.ones(1, 4, dtype=torch.bool), 0.01)
    assert not has_signal(same).any()
    assert has_signal(paid).all()  # which is why the check is on the reconstruction alone


@pytest.mark.parametrize("norm", ["token", "sequence"])
def test_weights_of_a_minibatch_add_up_to_one_over_its_micro_batches(norm, rng):
    lengths = torch.tensor([3, 7, 1, 5])
    mask = torch.arange(7) < lengths.unsqueeze(1)
    total = int(lengths.sum()) if norm == "token" else len(lengths)
    parts = [token_weights(mask[:2], norm, total), token_weights(mask[2:], norm, total)]
    assert sum(float(part.sum()) for part in parts) == pytest.approx(1.0)
    per_rollout = torch.cat(parts).sum(1)
    expected = lengths / lengths.sum() if norm == "token" else torch.full((4,), 0.25)
    torch.testing.assert_close(per_rollout, expected)


def test_at_the_sampling_policy_the_gradient_is_the_policy_gradient(rng):
    old = -torch.rand(4, 6, generator=rng)
    logprobs = old.clone().requires_grad_(True)
    advantage = torch.randn(4, generator=rng)
    objective, clipped = clipped_objective(logprobs, old, advantage, 0.2, 0.28)
    objective.sum().backward()
    torch.testing.assert_close(logprobs.grad, advantage.unsqueeze(1).expand(4, 6))
    assert not clipped.any()


@pytest.mark.parametrize(
    ("ratio", "advantage", "moves"), [(1.5, 1.0, False), (1.5, -1.0, True), (0.5, -1.0, False), (0.5, 1.0, True)]
)
def test_the_clip_stops_only_steps_further_away(ratio, advantage, moves):
    logprobs = torch.tensor([[ratio]]).log().requires_grad_(True)
    objective, clipped = clipped_objective(logprobs, torch.zeros(1, 1), torch.tensor([advantage]), 0.2, 0.28)
    objective.sum().backward()
    assert bool(logprobs.grad.abs().sum() > 0) is moves
    assert bool(clipped) is not moves


def test_k3_is_never_negative_and_its_mean_is_the_kl(rng):
    p, q = torch.randn(2, 9, generator=rng).log_softmax(-1)
    estimate = kl_k3(p, q)
    assert (estimate >= 0).all()
    assert torch.equal(kl_k3(p, p), torch.zeros(9))
    assert float((p.exp() * estimate).sum()) == pytest.approx(float((p.exp() * (p - q)).sum()), abs=1e-6)


def test_every_row_is_read_once_before_any_is_read_twice():
    for rows, prompts in ((12, 4), (13, 4)):
        epoch = [row for step in range(rows // prompts) for row in prompt_rows(rows, prompts, 0, step)]
        assert len(set(epoch)) == len(epoch) == rows // prompts * prompts
    assert prompt_rows(12, 4, 0, 0) == prompt_rows(12, 4, 0, 0) != prompt_rows(12, 4, 1, 0)


def test_minibatches_never_divide_a_group():
    groups = [0, 0, 0, 2, 2, 2, 3, 3, 3, 7, 7, 7]
    for parts in (1, 2, 3, 9):
        found = minibatches(groups, parts, seed=0, index=5)
        assert sorted(i for part in found for i in part) == list(range(12))
        names = [{groups[i] for i in part} for part in found]
        assert sum(len(name) for name in names) == 4
        assert len(found) == min(parts, 4)


def test_groups_without_signal_are_left_out_and_rows_stay_together(rng):
    groups = [RolloutGroup(g, [Rollout([g, r], [-1.0, -2.0], "x", "stop") for r in range(2)]) for g in range(3)]
    vectors, advantage = torch.randn(3, 4, generator=rng), torch.randn(3, 2, generator=rng)
    scored = scored_rollouts(groups, vectors, advantage, torch.tensor([True, False, True]))
    assert [rollout.ids for rollout in scored.rollouts] == [[0, 0], [0, 1], [2, 0], [2, 1]]
    assert torch.equal(scored.vectors, vectors[[0, 0, 2, 2]])
    assert torch.equal(scored.advantage, advantage[[0, 2]].flatten())


def test_rollouts_are_padded_on_the_right():
    batch = as_batch([Rollout([5, 6, 7], [-1.0, -2.0, -3.0], "a", "stop"), Rollout([8], [-4.0], None, "length")])
    assert batch.ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch.mask.tolist() == [[True] * 3, [True, False, False]]
    assert batch.logprobs.tolist() == [[-1.0, -2.0, -3.0], [-4.0, 0.0, 0.0]]
