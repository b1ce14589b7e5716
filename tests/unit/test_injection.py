"""Laws of the one injection: closed forms, untouched neighbours, gradients, and errors that name the row."""

import math

import pytest
import torch
from torch import Tensor

from legible.errors import InjectionError
from legible.injection import Injection, add_after, find_marker, replace_at, scale_vector


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_scaled_vectors_keep_their_direction_and_get_the_asked_norm(rng):
    vectors = torch.randn(5, 16, generator=rng)
    for scale, norm in ((3.0, 3.0), ("sqrt_d_model", 4.0)):
        scaled = scale_vector(vectors, scale)
        assert scaled.norm(dim=-1) == pytest.approx([norm] * 5, rel=1e-5)
        assert torch.cosine_similarity(scaled, vectors) == pytest.approx([1.0] * 5, abs=1e-6)


def test_a_raw_scale_changes_nothing(rng):
    vectors = torch.randn(5, 16, generator=rng)
    assert torch.equal(scale_vector(vectors, None), vectors)


def test_a_zero_vector_stays_zero_at_any_scale():
    assert torch.equal(scale_vector(torch.zeros(1, 4), 2.0), torch.zeros(1, 4))


def test_replace_writes_one_position_a_row_and_leaves_its_input_alone(rng):
    embeds, vectors = torch.randn(3, 4, 8, generator=rng), torch.randn(3, 8, generator=rng)
    positions = torch.tensor([0, 3, 1])
    before = embeds.clone()
    out = replace_at(embeds, positions, vectors)
    assert torch.equal(embeds, before)
    for row, pos in enumerate(positions):
        assert torch.equal(out[row, pos], vectors[row])
        others = [t for t in range(4) if t != pos]
        assert torch.equal(out[row, others], embeds[row, others])


def test_add_lengthens_the_stream_by_its_own_norm_along_the_vector(rng):
    hidden, vectors = torch.randn(2, 3, 8, generator=rng), torch.randn(2, 8, generator=rng)
    out = add_after(hidden, torch.tensor([1, 2]), vectors)
    change = out - hidden
    assert change[0, 1].norm() == pytest.approx(hidden[0, 1].norm().item(), rel=1e-5)
    assert torch.cosine_similarity(change[1, 2], vectors[1], dim=0) == pytest.approx(1.0, abs=1e-6)
    assert change.abs().sum(-1).count_nonzero() == 2


def test_add_ignores_the_length_of_the_vector(rng):
    hidden, vectors = torch.randn(2, 3, 8, generator=rng), torch.randn(2, 8, generator=rng)
    at = torch.tensor([0, 0])
    assert torch.allclose(add_after(hidden, at, vectors), add_after(hidden, at, 50 * vectors), atol=1e-6)


@pytest.mark.parametrize("inject", [replace_at, add_after])
def test_half_precision_hidden_states_stay_half_precision(inject, rng):
    hidden = torch.randn(1, 3, 8, generator=rng).to(torch.bfloat16)
    assert inject(hidden, torch.tensor([1]), torch.randn(1, 8, generator=rng)).dtype == torch.bfloat16


@pytest.mark.parametrize("mode", ["replace", "add"])
def test_gradients_through_the_injection_equal_finite_differences(mode, rng):
    hidden, vectors = torch.randn(2, 3, 6, generator=rng), torch.randn(2, 6, generator=rng)
    weight = torch.randn(2, 3, 6, generator=rng)
    at = torch.tensor([2, 0])

    def value(h: Tensor, v: Tensor) -> Tensor:
        out = replace_at(h, at, scale_vector(v, 2.0)) if mode == "replace" else add_after(h, at, v)
        return (weight * out.tanh()).sum()

    tensors = [hidden.requires_grad_(), vectors.requires_grad_()]
    grads = torch.autograd.grad(value(*tensors), tensors)
    step = 1e-2
    for which, grad in enumerate(grads):
        for index in range(0, grad.numel(), 5):
            moved = []
            for sign in (1, -1):
                shifted = [tensor.detach().clone() for tensor in tensors]
                shifted[which].view(-1)[index] += sign * step
                moved.append(value(*shifted).item())
            assert grad.view(-1)[index].item() == pytest.approx((moved[0] - moved[1]) / (2 * step), abs=2e-3)


def test_the_replaced_embedding_gets_no_gradient(rng):
    embeds = torch.randn(1, 3, 4, generator=rng).requires_grad_()
    replace_at(embeds, torch.tensor([1]), torch.ones(1, 4)).sum().backward()
    assert embeds.grad is not None
    assert embeds.grad[0, 1].abs().sum() == 0
    assert embeds.grad[0, 0].abs().sum() > 0


def test_the_marker_is_found_between_its_neighbours():
    ids = torch.tensor([[5, 7, 9, 8, 1], [7, 9, 8, 5, 1]])
    assert find_marker(ids, 9, 7, 8).tolist() == [2, 1]


@pytest.mark.parametrize("times", [0, 2])
def test_a_wrong_count_of_markers_names_the_row(times):
    ids = torch.tensor([[7, 9, 8], [9] * times + [1] * (3 - times)])
    with pytest.raises(InjectionError, match=rf"prompt 1 holds the marker token 9 {times} times, expected 1"):
        find_marker(ids, 9, 7, 8)


@pytest.mark.parametrize(("ids", "around"), [([1, 9, 8], "1 and 8"), ([7, 9, 1], "7 and 1"), ([9, 8, 1], "None and 8")])
def test_wrong_neighbours_are_named(ids, around):
    with pytest.raises(InjectionError, match=rf"prompt 0 has tokens {around} beside the marker, expected 7 and 8"):
        find_marker(torch.tensor([ids]), 9, 7, 8)


def test_a_vector_of_another_model_is_refused():
    with pytest.raises(InjectionError, match=r"\(1, 5\) vectors .* width 4"):
        replace_at(torch.zeros(1, 2, 4), torch.tensor([0]), torch.zeros(1, 5))


@pytest.mark.parametrize("pos", [-1, 2])
def test_a_position_outside_the_prompt_is_refused(pos):
    with pytest.raises(InjectionError, match=rf"prompt 0 has 2 tokens, so there is no position {pos}"):
        add_after(torch.zeros(1, 2, 4), torch.tensor([pos]), torch.zeros(1, 4))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mode": "swap"}, "unknown injection mode 'swap'"),
        ({"scale": "sqrt"}, "unknown injection scale 'sqrt'"),
        ({"scale": 0.0}, "not a positive number"),
        ({"scale": math.nan}, "not a positive number"),
        ({"block": -1}, "blocks count from 0"),
    ],
)
def test_an_impossible_injection_is_refused(fields, message):
    with pytest.raises(InjectionError, match=message):
        Injection(**fields)
