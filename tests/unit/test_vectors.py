import pytest
import torch

from legible.vectors import centered_cosine, direction_mse, fve, fve_token, unit, variance


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_constant_guess_scores_its_closed_form(rng):
    target = torch.randn(256, 8, generator=rng) + 1.0
    mean = unit(target).mean(0)
    m = mean.norm().item()
    assert fve(mean.expand_as(target), target) == pytest.approx((m - 1) / (m + 1), abs=1e-5)


def test_the_centred_cosine_of_corners_of_a_simplex_is_its_closed_form(rng):
    corners = torch.eye(5) * (torch.rand(5, 1, generator=rng) + 0.5)
    cosines = centered_cosine(corners[:, None], corners[None], unit(corners).mean(0))
    expected = torch.full((5, 5), -1 / 4)  # n points around their mean: -1 / (n - 1)
    assert torch.allclose(cosines, expected.fill_diagonal_(1.0), atol=1e-6)


def test_only_direction_counts(rng):
    pred, target = torch.randn(64, 8, generator=rng), torch.randn(64, 8, generator=rng)
    lengths = torch.rand(64, 1, generator=rng) * 9 + 0.1
    assert torch.allclose(direction_mse(pred * lengths, target), direction_mse(pred, target * lengths), atol=1e-5)


def test_direction_mse_is_twice_one_minus_the_cosine(rng):
    pred, target = torch.randn(64, 8, generator=rng), torch.randn(64, 8, generator=rng)
    cosine = torch.nn.functional.cosine_similarity(pred, target)
    assert torch.allclose(direction_mse(pred, target), 2 * (1 - cosine), atol=1e-5)


def test_direction_mse_runs_from_0_over_2_at_right_angles_to_4():
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0])
    assert [direction_mse(x, other).item() for other in (2 * x, y, -x)] == [0.0, 2.0, 4.0]


def test_variance_is_one_minus_the_squared_length_of_the_mean_direction(rng):
    target = torch.randn(128, 8, generator=rng) + 0.5
    assert variance(target) == pytest.approx(1 - unit(target).mean(0).square().sum().item(), abs=1e-5)


def test_a_perfect_prediction_scores_one_and_a_shuffled_one_below_zero(rng):
    target = torch.randn(200, 8, generator=rng)
    assert fve(target * 3, target) == pytest.approx(1.0, abs=1e-6)
    assert fve(target.roll(1, 0), target) < 0


def test_a_given_variance_replaces_the_samples_own(rng):
    pred, target = torch.randn(50, 8, generator=rng), torch.randn(50, 8, generator=rng)
    assert 1 - fve(pred, target, variance_=0.5) == pytest.approx(
        direction_mse(pred, target).mean().item() / 0.5, abs=1e-5
    )
    assert fve_token(0.25, 0.5) == 0.5


def test_half_precision_is_scored_in_float32(rng):
    target = torch.randn(64, 8, generator=rng)
    assert direction_mse(target.bfloat16(), target).dtype == torch.float32


def test_one_row_has_no_baseline():
    with pytest.raises(ValueError, match="at least 2 rows, got 1"):
        fve(torch.ones(1, 4), torch.ones(1, 4))


def test_a_zero_vector_stays_zero():
    assert unit(torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]
