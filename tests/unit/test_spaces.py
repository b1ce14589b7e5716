"""Spaces of the reward: closed forms, and the target's own forward as the oracle of the downstream error."""

import numpy as np
import pytest
import torch

from legible.config import CaptureConfig, PretrainConfig, RLConfig
from legible.data.capture import capture
from legible.errors import UsageError
from legible.languages.world import build_tokenizer, story_document
from legible.models.target import Target
from legible.probes.lookup import TokenLookup
from legible.probes.ridge import TokenColumns
from legible.train.lm import new_lm
from legible.train.terms.contrast import MOST_OTHERS, Contrast
from legible.train.terms.spaces import SMALLEST_LOOKUP, WORST_KL, Direction, Downstream, Residual, Whitened, space_of
from legible.vectors import direction_mse, unit


@pytest.fixture(scope="module")
def target() -> Target:
    tokenizer = build_tokenizer()
    return Target(new_lm(PretrainConfig(d_model=32, n_layers=3, n_heads=2, d_ff=48, seed=3), tokenizer), tokenizer, "t")


@pytest.fixture(scope="module")
def store(target, tmp_path_factory):
    config = CaptureConfig(layers=(1, 2), min_pos=12, max_tokens=256, positions_per_doc=5, dtype="float32")
    documents = [story_document("train", 0, index) for index in range(6)]
    return capture(target, documents, config, tmp_path_factory.mktemp("spaces") / "store")


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


def test_the_plain_space_is_direction_mse(rng):
    vectors, pred = torch.randn(4, 8, generator=rng), torch.randn(3, 8, generator=rng)
    errors = Direction().of([7, 8, 9, 10], vectors)(pred, [2, 0, 2])
    assert torch.equal(errors, direction_mse(pred, vectors[[2, 0, 2]]))


def test_whitened_training_directions_have_no_mean_and_the_same_spread_everywhere(rng):
    vectors = torch.randn(4000, 6, generator=rng) * torch.tensor([9.0, 4.0, 2.0, 1.0, 0.5, 0.2]) + 1.0
    white = Whitened.fit(vectors, shrinkage=1e-9).whiten(vectors)
    torch.testing.assert_close(white.mean(0), torch.zeros(6), atol=1e-3, rtol=0)
    torch.testing.assert_close(white.T @ white / len(white), torch.eye(6), atol=2e-2, rtol=0)


def test_full_shrinkage_only_centres(rng):
    vectors = torch.randn(500, 6, generator=rng) + 1.0
    found = Whitened.fit(vectors, shrinkage=1.0)
    scale = found.matrix[0, 0]
    torch.testing.assert_close(found.matrix, scale * torch.eye(6), atol=1e-4, rtol=0)
    pred = torch.randn(5, 6, generator=rng)
    expected = direction_mse(unit(pred) - found.mean, unit(vectors[:5]) - found.mean)
    torch.testing.assert_close(found.of(range(5), vectors[:5])(pred, range(5)), expected)


def test_whitening_makes_quiet_directions_count(rng):
    vectors = torch.cat([10 * torch.randn(2000, 2, generator=rng), 0.3 * torch.randn(2000, 2, generator=rng)], 1)
    quiet, loud = vectors[:50].clone(), vectors[:50].clone()
    quiet[:, 2:] *= -1  # wrong where little varies
    loud[:, :2] = -loud[:, :2]
    plain, white = Direction().of(range(50), vectors[:50]), Whitened.fit(vectors, 1e-3).of(range(50), vectors[:50])
    shares = [float(errors(quiet, range(50)).mean() / errors(loud, range(50)).mean()) for errors in (plain, white)]
    assert shares[0] < 0.02
    assert shares[1] > 10 * shares[0]


def test_the_whitening_is_fitted_once_and_kept(store, tmp_path):
    first = Whitened.of_store(store, 1, 0, tmp_path / "out" / "whitening.safetensors")
    again = Whitened.of_store(store, 2, 9, tmp_path / "out" / "whitening.safetensors")  # what is there is taken
    assert torch.equal(first.matrix, again.matrix)
    assert torch.equal(first.mean, again.mean)


def test_the_residual_error_is_one_less_the_context_fve_of_the_row(store, rng):
    columns = TokenColumns.of(store.token_ids, store.prev_token_ids, store.pos)
    vectors = store.vectors(range(len(store)), 1)
    lookup = TokenLookup.fit(vectors, columns, store.doc_ids)
    rows = [3, 11, 4]
    pred = torch.randn(2, store.d_model, generator=rng)
    errors = Residual(lookup, store).of(rows, vectors[rows])(pred, [2, 0])
    floor = direction_mse(lookup.predict(columns.take(np.array([4, 3]))), vectors[[4, 3]]).clamp_min(SMALLEST_LOOKUP)
    torch.testing.assert_close(errors, direction_mse(pred, vectors[[4, 3]]) / floor)
    itself = Residual(lookup, store).of(rows, vectors[rows])(lookup.predict(columns.take(np.array(rows))), [0, 1, 2])
    assert (itself <= 1.0 + 1e-5).all()


@pytest.mark.parametrize("layer", [1, 2])
def test_the_downstream_error_is_that_of_the_whole_forward_with_the_layer_patched(target, store, rng, layer):
    rows = [2, 17]
    vectors = store.vectors(rows, layer)
    pred = torch.randn(3, store.d_model, generator=rng)
    index = [1, 0, 1]
    found = Downstream(target, store, layer).of(rows, vectors)(pred, index)

    def whole(row: int, vector: torch.Tensor) -> torch.Tensor:
        where = store.row(row)
        ids = torch.tensor([target.encode(where.document.text).ids[: where.pos + 1]])

        def put(_module, _args, output):
            output = output.clone()
            output[0, -1] = vector
            return output

        handle = target.arch.blocks[layer].register_forward_hook(put)
        logits = target.logits(ids, torch.ones_like(ids))[0, -1]
        handle.remove()
        return logits.log_softmax(-1)

    for value, guess, place in zip(found, pred, index, strict=True):
        right = whole(rows[place], vectors[place])
        other = whole(rows[place], vectors[place].norm() * unit(guess))
        kl = float((right.exp() * (right - other)).sum())
        assert float(value) == pytest.approx(kl / (1 + kl / WORST_KL), abs=1e-5)
        assert 0 < value < WORST_KL


def test_the_right_direction_of_any_length_has_no_downstream_error_and_gradients_reach_the_reconstruction(
    target, store
):
    vectors = store.vectors([5], 1)
    errors = Downstream(target, store, 1).of([5], vectors)
    assert float(errors(3 * vectors, [0])) == pytest.approx(0.0, abs=1e-6)
    pred = (vectors + 0.3 * vectors.flip(1)).requires_grad_(True)
    errors(pred, [0]).sum().backward()
    step = pred.detach() - 0.01 * pred.detach().norm() * pred.grad / pred.grad.norm()
    assert errors(step, [0]) < errors(pred.detach(), [0])


def test_a_store_of_another_tokenizer_is_named(target, store, monkeypatch):
    row = store.row(3)
    monkeypatch.setattr(store, "row", lambda _: row.__class__(row.document, row.pos + 1, 9, 1, row.token_id, 5))
    with pytest.raises(UsageError, match="was read at token id"):
        Downstream(target, store, 1).of([3], store.vectors([3], 1))


def test_a_space_without_what_it_needs_says_so(store):
    for space, needed in (("residual", "token lookup"), ("downstream", "target")):
        with pytest.raises(UsageError, match=f"rl.space is '{space}', which needs the {needed}"):
            space_of(RLConfig(space=space), store, 1)


def test_the_contrast_is_the_mean_distance_to_the_others_less_that_to_the_right_one(store, rng):
    contrast = Contrast(store, 1)
    rows = [1, 8]
    vectors = store.vectors(rows, 1)
    gains, alone = contrast.of(rows, vectors)
    pred = torch.randn(4, store.d_model, generator=rng)
    index = [0, 1, 1, 0]
    for value, guess, place in zip(gains(pred, index), pred, index, strict=True):
        others = [o for o, doc in enumerate(store.doc_ids) if doc == store.doc_ids[rows[place]] and o != rows[place]]
        assert contrast.others(rows[place]) == sorted(others, key=lambda o: (abs(o - rows[place]), o))[:MOST_OTHERS]
        away = direction_mse(guess.expand(len(others), -1), store.vectors(others, 1)).mean()
        assert float(value) == pytest.approx(float(away - direction_mse(guess, vectors[place])), abs=1e-5)
    assert alone == 0


def test_a_row_alone_in_its_document_has_no_contrast_and_is_counted(store, rng, monkeypatch):
    monkeypatch.setattr(store, "doc_ids", ["lonely", *store.doc_ids[1:]])
    gains, alone = Contrast(store, 1).of([0, 7], store.vectors([0, 7], 1))
    assert alone == 1
    found = gains(torch.randn(2, store.d_model, generator=rng), [0, 1])
    assert found[0] == 0
    assert found[1] != 0
