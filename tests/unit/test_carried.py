"""The figures beside FVE: closed forms, and the bound on their cost."""

import numpy as np
import pytest
import torch

from legible.config import CaptureConfig, PretrainConfig
from legible.engines.patching import Patch
from legible.errors import UsageError
from legible.evaluate.carried import kl_recovered, matched_minus_mismatched
from legible.evaluate.sample import Sample
from legible.languages.world import build_tokenizer, story_document
from legible.models.target import Target
from legible.train.lm import new_lm
from legible.vectors import unit


@pytest.fixture(scope="module")
def target() -> Target:
    tokenizer = build_tokenizer()
    return Target(new_lm(PretrainConfig(d_model=32, n_layers=3, n_heads=2, d_ff=48, seed=3), tokenizer), tokenizer, "t")


@pytest.fixture(scope="module")
def sample(target) -> Sample:
    config = CaptureConfig(min_pos=12, max_tokens=256, positions_per_doc=5, dtype="float32")
    return Sample.of_documents(target, [story_document("test", 0, index) for index in range(4)], config, 1, None)


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


def test_the_cosine_with_others_is_the_mean_over_all_rows_of_other_documents(rng):
    vectors, pred = torch.randn(9, 6, generator=rng), torch.randn(9, 6, generator=rng)
    docs = [*"aaabbcccc"]
    cosine = (unit(pred) @ unit(vectors).T).numpy()
    expected = [cosine[i, i] - np.mean([cosine[i, j] for j in range(9) if docs[j] != docs[i]]) for i in range(9)]
    found = matched_minus_mismatched(5 * pred, vectors, docs)
    assert found.value == pytest.approx(np.mean(expected), abs=1e-6)
    assert (found.n, found.documents) == (9, 3)


def test_a_direction_that_all_share_earns_nothing(rng):
    vectors = torch.randn(8, 6, generator=rng) + 3.0
    same = vectors.mean(0).expand(8, -1)
    balanced = matched_minus_mismatched(same, vectors, [*"aabbccdd"])
    assert balanced.value == pytest.approx(0.0, abs=1e-6)
    assert matched_minus_mismatched(vectors, vectors, [*"aabbccdd"]).value > 0.05
    with pytest.raises(UsageError, match="all rows are of one document"):
        matched_minus_mismatched(vectors, vectors, ["a"] * 8)


def test_the_activation_itself_recovers_everything_and_the_mean_nothing(target, sample):
    mean = unit(sample.vectors).mean(0)
    whole = kl_recovered(target, 1, sample, 7 * sample.vectors, mean)
    none = kl_recovered(target, 1, sample, mean.expand(len(sample), -1), mean)
    assert whole.value == pytest.approx(1.0, abs=1e-5)
    assert none.value == pytest.approx(0.0, abs=1e-5)
    assert (whole.n, whole.documents) == (len(sample), 4)


def test_the_ratio_is_of_mean_kls_over_a_sample_of_rows_that_is_counted(target, sample):
    mean = unit(sample.vectors).mean(0)
    pred = sample.vectors + 0.3 * sample.vectors.flip(1)
    found = kl_recovered(target, 1, sample, pred, mean, rows=3, seed=4)
    assert found.n == 3
    assert kl_recovered(target, 1, sample, pred, mean, rows=3, seed=4) == found
    whole = kl_recovered(target, 1, sample, pred, mean)
    patches = [Patch.at(target, 1, row, vector) for row, vector in zip(sample.rows, sample.vectors, strict=True)]
    costs = torch.stack([patch.kl(torch.stack([own, mean])) for patch, own in zip(patches, pred, strict=True)])
    words, constant = costs.detach().double().mean(0).tolist()
    assert whole.value == pytest.approx(1 - words / constant, abs=1e-6)
    assert 0 < whole.value < 1
