"""Laws of the preference losses: the reference point, gradients, signs, and what each must not depend on."""

import math

import pytest
import torch

from legible.config import PreferConfig
from legible.train.preference.losses import (
    USUAL_BETA,
    PairLogprobs,
    alphadpo,
    dpo,
    ipo,
    kto,
    kto_reference_point,
    orpo,
    preference_loss,
    simpo,
)

NAMES = tuple(USUAL_BETA)
NOTHING = torch.zeros((), dtype=torch.float64)


def pairs(n: int = 6, *, shift: float = 1.0, seed: int = 0) -> PairLogprobs:
    """Random completions of 5 to 40 tokens at 0.1 to 2 nats a token; the policy is off the reference by `shift`."""
    rng = torch.Generator().manual_seed(seed)
    draw = lambda: torch.rand(n, generator=rng, dtype=torch.float64)
    tokens = [torch.randint(5, 41, (n,), generator=rng).double() for _ in range(2)]
    policy = [-(0.1 + 1.9 * draw()) * count for count in tokens]
    reference = [logp + shift * (draw() - 0.5) for logp in policy]
    return PairLogprobs(policy[0], policy[1], reference[0], reference[1], tokens[0], tokens[1])


def replaced(found: PairLogprobs, chosen: torch.Tensor, rejected: torch.Tensor) -> PairLogprobs:
    return PairLogprobs(
        chosen,
        rejected,
        found.reference_chosen,
        found.reference_rejected,
        found.chosen_tokens,
        found.rejected_tokens,
    )


def gradients(name: str, found: PairLogprobs, **options: float) -> tuple[torch.Tensor, torch.Tensor]:
    chosen, rejected = (part.clone().requires_grad_(True) for part in (found.chosen, found.rejected))
    loss = preference_loss(PreferConfig(loss=name, **options))(replaced(found, chosen, rejected), NOTHING)
    return torch.autograd.grad(loss.sum(), (chosen, rejected))


@pytest.mark.parametrize("beta", [0.05, 0.1, 2.0])
def test_at_the_reference_every_loss_has_its_known_value(beta):
    at = pairs(shift=0.0)
    same = torch.ones_like(at.chosen)
    torch.testing.assert_close(dpo(at, beta), math.log(2) * same)
    torch.testing.assert_close(ipo(at, beta), 1 / (4 * beta**2) * same)
    for weight in (1.0, 1.33):
        torch.testing.assert_close(kto(at, beta, NOTHING, desirable=weight, undesirable=weight), weight / 2 * same)
    torch.testing.assert_close(alphadpo(at, beta, 0.5, 0.3), simpo(at, beta, 0.5))


def test_equal_means_leave_the_losses_without_reference_their_margin_alone():
    at = pairs()
    even = replaced(at, -0.7 * at.chosen_tokens, -0.7 * at.rejected_tokens)
    same = torch.ones_like(at.chosen)
    torch.testing.assert_close(simpo(even, 2.0, 0.5), math.log(1 + math.exp(0.5)) * same)
    torch.testing.assert_close(orpo(even, 0.1), (0.7 + 0.1 * math.log(2)) * same)


def test_sft_is_the_nats_a_token_of_the_chosen_alone():
    tokens = torch.tensor([10.0, 4.0])
    found = PairLogprobs(tokens * -0.5, tokens * -0.1, tokens, tokens, tokens, tokens)
    loss = preference_loss(PreferConfig(loss="sft"))
    torch.testing.assert_close(loss(found, NOTHING), torch.tensor([0.5, 0.5]))
    other = replaced(found, found.chosen, found.rejected * 7)
    torch.testing.assert_close(loss(other, NOTHING), loss(found, NOTHING))


def test_orpo_is_the_odds_ratio_of_mean_token_probabilities():
    tokens = torch.tensor([10.0], dtype=torch.float64)
    likely, unlikely = 0.8, 0.3
    found = PairLogprobs(tokens * math.log(likely), tokens * math.log(unlikely), tokens, tokens, tokens, tokens)
    ratio = (likely / (1 - likely)) / (unlikely / (1 - unlikely))
    wanted = -math.log(likely) - 0.25 * math.log(ratio / (1 + ratio))
    assert orpo(found, 0.25).item() == pytest.approx(wanted)


@pytest.mark.parametrize("seed", [0, 1])
def test_alphadpo_without_alpha_is_simpo_and_its_margins_average_to_gamma(seed):
    found = pairs(seed=seed)
    torch.testing.assert_close(alphadpo(found, 2.5, 1.0, 0.0), simpo(found, 2.5, 1.0))
    reward = 2.5 * (found.chosen_mean - found.rejected_mean)
    margins = reward + alphadpo(found, 2.5, 1.0, 0.4).expm1().log()  # from -ln sigma(reward - margin)
    assert margins.mean().item() == pytest.approx(1.0)
    assert margins.std(correction=0).item() == pytest.approx(0.4)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "alphadpo"])
def test_gradients_are_those_of_finite_differences(name):
    found = pairs()
    loss = preference_loss(PreferConfig(loss=name))
    run = lambda chosen, rejected: loss(replaced(found, chosen, rejected), NOTHING + 0.3)
    inputs = tuple(part.clone().requires_grad_(True) for part in (found.chosen, found.rejected))
    assert torch.autograd.gradcheck(run, inputs, eps=1e-6, atol=1e-6)


def test_no_gradient_flows_through_the_margin_of_alphadpo():
    found = pairs()
    reward = 2.5 * (found.chosen_mean - found.rejected_mean)
    margins = reward + alphadpo(found, 2.5, 1.0, 0.4).expm1().log()
    chosen, rejected = (part.clone().requires_grad_(True) for part in (found.chosen, found.rejected))
    free = replaced(found, chosen, rejected)
    fixed = -torch.nn.functional.logsigmoid(2.5 * (free.chosen_mean - free.rejected_mean) - margins)
    wanted = torch.autograd.grad(fixed.sum(), (chosen, rejected))
    for ours, theirs in zip(gradients("alphadpo", found, alpha=0.4), wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_down_makes_the_chosen_likelier_and_the_rejected_less(name):
    chosen, rejected = gradients(name, pairs(), beta=0.1 if name == "ipo" else USUAL_BETA[name])
    assert (chosen < 0).all()
    assert (rejected > 0).all()


def test_ipo_pulls_back_a_margin_that_is_too_wide():
    at = pairs(shift=0.0)
    wide = replaced(at, at.chosen + 20.0, at.rejected)
    chosen, rejected = gradients("ipo", wide, beta=0.1)  # wanted: 5 nats
    assert (chosen > 0).all()
    assert (rejected < 0).all()


def test_dpo_weighs_pairs_by_how_wrongly_they_are_ranked():
    found = pairs(n=20, shift=30.0)
    chosen, rejected = gradients("dpo", found)
    torch.testing.assert_close(chosen, -0.1 * torch.sigmoid(-0.1 * found.margin))
    torch.testing.assert_close(rejected, -chosen)


def test_losses_with_a_reference_see_ratios_only_and_those_without_see_no_reference():
    found, other = pairs(), pairs(seed=3)
    moved = PairLogprobs(
        found.chosen - 3,
        found.rejected - 3,
        found.reference_chosen - 3,
        found.reference_rejected - 3,
        found.chosen_tokens,
        found.rejected_tokens,
    )
    z0 = NOTHING + 0.2
    for loss in (lambda p: dpo(p, 0.1), lambda p: ipo(p, 0.1), lambda p: kto(p, 0.1, z0)):
        torch.testing.assert_close(loss(found), loss(moved))
    swapped = PairLogprobs(
        found.chosen,
        found.rejected,
        other.reference_chosen,
        other.reference_rejected,
        found.chosen_tokens,
        found.rejected_tokens,
    )
    for loss in (lambda p: orpo(p, 0.1), lambda p: simpo(p, 2.0, 1.0)):
        torch.testing.assert_close(loss(found), loss(swapped))


def test_kto_counts_its_two_sides_apart_and_its_reference_point_is_never_below_nothing():
    found = pairs()
    both = kto(found, 0.1, NOTHING)
    alone = kto(found, 0.1, NOTHING, undesirable=0.0), kto(found, 0.1, NOTHING, desirable=0.0)
    torch.testing.assert_close(both, alone[0] + alone[1])
    ratios = torch.tensor([0.5, -2.0, 1.0], requires_grad=True)
    assert kto_reference_point(ratios).item() == 0.0
    assert kto_reference_point(-ratios).item() == pytest.approx(0.5 / 3)
    assert not kto_reference_point(-ratios).requires_grad


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_of_a_batch_is_that_of_its_pairs_unless_it_scores_them_together(name):
    found = pairs()
    loss = preference_loss(PreferConfig(loss=name))
    alone = [
        loss(PairLogprobs(*(getattr(found, field)[i : i + 1] for field in PairLogprobs.__dataclass_fields__)), NOTHING)
        for i in range(len(found.chosen))
    ]
    same = torch.allclose(loss(found, NOTHING), torch.cat(alone))
    assert same == (name != "alphadpo")
