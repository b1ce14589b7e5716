import math

import numpy as np
import pytest

from legible.errors import UsageError
from legible.stats import (
    Interval,
    exact,
    fold_of,
    held_out_documents,
    is_headline,
    ratio_difference_interval,
    ratio_interval,
    share_interval,
)


def test_the_value_is_the_ratio_of_the_sums():
    found = ratio_interval([1, 0, 3], [2, 1, 1], ["a", "a", "b"], offset=1.0, scale=-1.0)
    assert found.value == pytest.approx(1 - 4 / 4)
    assert (found.n, found.documents) == (3, 2)


def test_equal_documents_leave_no_doubt():
    found = ratio_interval([1.0, 3.0] * 20, [2.0, 6.0] * 20, [str(i // 2) for i in range(40)])
    assert found.low == pytest.approx(found.value) == pytest.approx(found.high)


def test_rows_of_one_document_do_not_count_as_independent():
    rng = np.random.default_rng(0)
    hits = np.repeat(rng.integers(0, 2, 40), 25).astype(float)
    as_documents = ratio_interval(hits, np.ones(1000), [str(i // 25) for i in range(1000)])
    as_rows = ratio_interval(hits, np.ones(1000), [str(i) for i in range(1000)])
    assert as_documents.high - as_documents.low > 3 * (as_rows.high - as_rows.low)


def test_the_interval_covers_the_truth_about_19_times_in_20():
    covered = 0
    for trial in range(200):
        rng = np.random.default_rng(trial)
        hits = (rng.random(200) < 0.3).astype(float)
        found = ratio_interval(hits, np.ones(200), [str(i) for i in range(200)], resamples=300, seed=trial)
        covered += found.low <= 0.3 <= found.high
    assert 180 <= covered <= 200


def test_the_same_seed_gives_the_same_interval():
    rng = np.random.default_rng(1)
    values, docs = rng.random(100), [str(i // 4) for i in range(100)]
    assert ratio_interval(values, np.ones(100), docs, seed=3) == ratio_interval(values, np.ones(100), docs, seed=3)
    assert ratio_interval(values, np.ones(100), docs, seed=3) != ratio_interval(values, np.ones(100), docs, seed=4)


@pytest.mark.parametrize(("top", "bottom"), [([], []), ([0.0, 0.0], [0.0, 0.0])])
def test_nothing_to_divide_by_is_nan_not_an_error(top, bottom):
    assert math.isnan(ratio_interval(top, bottom, ["a"] * len(top)).value)
    assert math.isnan(ratio_difference_interval((top, bottom), (top, bottom), ["a"] * len(top)).low)


def test_the_difference_of_a_ratio_to_itself_is_exactly_zero():
    rng = np.random.default_rng(2)
    pair = (rng.random(60), rng.random(60) + 1)
    found = ratio_difference_interval(pair, pair, [str(i // 3) for i in range(60)])
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_pairing_narrows_a_difference_that_documents_share():
    rng = np.random.default_rng(3)
    docs = [str(i // 5) for i in range(500)]
    shared = np.repeat(rng.random(100), 5)
    ones = np.ones(500)
    noise = rng.random(500) * 0.1
    paired = ratio_difference_interval((shared + noise, ones), (shared, ones), docs)
    single = ratio_interval(shared, ones, docs)
    assert paired.high - paired.low < (single.high - single.low) / 4
    assert paired.low < noise.mean() < paired.high


def test_a_document_stays_in_its_fold_and_folds_are_about_equal():
    folds = [fold_of(f"doc-{i}", 3, seed=0) for i in range(3000)]
    assert folds == [fold_of(f"doc-{i}", 3, seed=0) for i in range(3000)]
    assert min(np.bincount(folds)) > 900
    assert folds != [fold_of(f"doc-{i}", 3, seed=1) for i in range(3000)]


def test_held_out_rows_are_whole_documents():
    docs = [f"d{i // 7}" for i in range(700)]
    held = held_out_documents(docs, share=0.2, seed=0)
    outside = {doc for doc, out in zip(docs, held, strict=True) if out}
    assert len(outside) == 20
    assert not outside & {doc for doc, out in zip(docs, held, strict=True) if not out}


def test_one_document_cannot_be_held_out():
    with pytest.raises(UsageError, match="found 1 document"):
        held_out_documents(["a", "a"], share=0.2, seed=0)


@pytest.mark.parametrize("n", [1, 4, 30, 1000])
def test_a_share_of_all_or_none_has_the_interval_of_clopper_and_pearson(n):
    from scipy.stats import binomtest

    docs = [str(i // 3) for i in range(n)]
    for hits in (0, n):
        found = share_interval([float(hits > 0)] * n, np.ones(n), docs)
        theirs = binomtest(hits, n).proportion_ci(0.95, method="exact")
        assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
        assert found.n == n


def test_any_other_share_has_the_interval_of_its_documents_and_counts_its_cases():
    hits, cases, docs = [1, 0, 3], [2, 1, 4], ["a", "a", "b"]
    found, plain = share_interval(hits, cases, docs), ratio_interval(hits, cases, docs)
    assert (found.value, found.low, found.high) == (plain.value, plain.low, plain.high)
    assert found.n == 7
    assert math.isnan(share_interval([], [], []).low)
    assert share_interval([0.0], [0.0], ["a"]).n == 0


def test_a_share_over_chance_is_exact_at_its_own_ends():
    over = {"offset": -0.25, "scale": 1.25}
    found = exact(Interval(1.0, 1.0, 1.0, 4, 2), **over)
    assert found.low == pytest.approx(-0.25 + 1.25 * 0.025 ** (1 / 4))
    assert exact(Interval(0.5, 0.5, 0.5, 4, 2), **over) == Interval(0.5, 0.5, 0.5, 4, 2)


def test_a_figure_of_few_cases_is_no_headline():
    assert not is_headline({"n": 29})
    assert is_headline(Interval(0.5, 0.4, 0.6, 30, 2).as_dict())


def test_an_interval_is_five_json_numbers():
    assert Interval(0.5, 0.4, 0.6, 10, 2).as_dict() == {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10, "documents": 2}
