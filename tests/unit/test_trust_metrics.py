"""Calibration, discrimination and coverage: tiny cases by hand, scikit-learn, and laws."""

import warnings

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from legible.evaluate import trust_metrics as m
from legible.stats import ratio_interval, statistic_intervals


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def judgements(p, true, document, covered=(), covered_document=(), documents=None):
    return m.Judgements(
        np.array(p, float), np.array(true, float), np.array(document, dtype=int), np.array(covered, float),
        np.array(covered_document, dtype=int), documents if documents is not None else max(document) + 1,
    )  # fmt: skip


def test_two_bins_by_hand():
    found = m.tally([0.1, 0.3, 0.6, 0.8], [0, 1, 1, 1])
    cut = m.equal_mass_bins(found, 2)
    assert cut.p.tolist() == pytest.approx([0.2, 0.7])
    assert cut.precision.tolist() == [0.5, 1.0]
    assert (cut.low.tolist(), cut.high.tolist(), cut.claims) == ([0.1, 0.6], [0.3, 0.8], 2.0)
    assert m.calibration_error(found, 2) == pytest.approx((0.3 + 0.3) / 2)


def test_a_claim_at_an_edge_is_shared_between_two_bins():
    cut = m.equal_mass_bins(m.tally([0.0, 0.5, 1.0], [0, 1, 1]), 2)
    assert cut.p.tolist() == pytest.approx([0.25 / 1.5, 1.25 / 1.5])
    assert cut.precision.tolist() == pytest.approx([0.5 / 1.5, 1.0])


def test_fifteen_bins_of_distinct_probabilities_are_the_sorted_fifteenths(rng):
    p = rng.random(15 * 40)
    true = (rng.random(len(p)) < p**2).astype(float)
    order = np.argsort(p)
    parts = zip(p[order].reshape(15, 40), true[order].reshape(15, 40), strict=True)
    expected = np.mean([abs(part.mean() - truth.mean()) for part, truth in parts])
    assert m.calibration_error(m.tally(p, true)) == pytest.approx(expected)


def test_ties_are_not_told_apart_by_their_order(rng):
    p = rng.choice([0.2, 0.5, 0.9], 100)
    true = (rng.random(100) < p).astype(float)
    order = np.lexsort((true, p))
    assert m.calibration_error(m.tally(p, true)) == m.calibration_error(m.tally(p[order], true[order]))


@pytest.mark.parametrize("ties", [False, True])
def test_brier_and_auroc_agree_with_scikit_learn(rng, ties):
    p = rng.random(500)
    p = p.round(1) if ties else p
    true = (rng.random(500) < p).astype(float)
    weights = rng.integers(0, 4, 500).astype(float)
    for w in (None, weights):
        found = m.tally(p, true, w)
        assert m.brier(found) == pytest.approx(brier_score_loss(true, p, sample_weight=w))
        assert m.auroc(found) == pytest.approx(roc_auc_score(true, p, sample_weight=w))


def test_the_base_rate_has_no_skill_and_the_truth_has_all_of_it():
    true = np.array([1, 1, 1, 0])
    assert m.brier_skill(m.tally(np.full(4, 0.75), true)) == pytest.approx(0.0)
    assert m.brier_skill(m.tally(true, true)) == 1.0
    assert m.auroc(m.tally(true, true)) == 1.0
    assert m.auroc(m.tally(np.full(4, 0.75), true)) == 0.5


def test_calibrated_claims_score_near_the_floor_and_broken_ones_far_above(rng):
    p = rng.beta(4, 1, 6000)
    true = (rng.random(6000) < p).astype(float)
    good, overconfident = m.tally(p, true), m.tally(p**0.2, true)
    floor = m.calibration_error_if_calibrated(good)
    assert m.calibration_error(good) < 0.02
    assert m.calibration_error(good) == pytest.approx(floor, rel=0.6)
    assert m.calibration_error(overconfident) > 0.1


def test_weights_count_like_copies(rng):
    p, true, times = rng.random(60).round(2), rng.integers(0, 2, 60), rng.integers(0, 4, 60)
    weighted = m.tally(p, true, times)
    copied = m.tally(p.repeat(times), true.repeat(times))
    for score in (m.calibration_error, m.brier, m.brier_skill, m.auroc, m.precision):
        assert score(weighted) == pytest.approx(score(copied))


def test_coverage_counts_only_right_claims_that_are_shown():
    covered = [0.9, 0.6, 0.4, m.NEVER]  # the last instance is named by nobody
    assert m.coverage(covered, 0.0) == 0.75
    assert m.coverage(covered, 0.6) == 0.5
    assert m.coverage(covered, 0.61) == 0.25
    assert m.coverage(covered, 0.95) == 0.0
    assert np.isnan(m.coverage([], 0.0))


def test_half_coverage_is_the_highest_threshold_that_covers_half():
    assert m.threshold_at_coverage([0.9, 0.6, 0.4, m.NEVER]) == 0.6
    assert m.threshold_at_coverage([0.9, 0.9, 0.4, 0.2]) == 0.9
    assert m.threshold_at_coverage([0.9, 0.6, 0.4]) == 0.6
    assert np.isnan(m.threshold_at_coverage([0.9, m.NEVER, m.NEVER]))
    assert m.threshold_at_coverage([0.9, 0.6, 0.4], weights=[0, 1, 1]) == 0.6
    assert np.isnan(m.threshold_at_coverage([]))


def test_precision_at_half_coverage_is_that_of_the_claims_shown_there():
    p, true = [0.95, 0.9, 0.7, 0.6, 0.5, 0.4], [1, 1, 0, 1, 0, 1]
    found = judgements(p, true, [0] * 6, covered=[0.9, 0.6, 0.4, m.NEVER], covered_document=[0] * 4)
    headlines, _ = found.intervals(resamples=10)
    assert headlines["threshold_at_half_coverage"].value == 0.6
    assert headlines["precision_at_half_coverage"].value == 0.75
    assert headlines["precision_at_half_coverage"].n == 4


def test_the_curve_runs_from_all_claims_to_the_surest(rng):
    p = rng.random(1000)
    true = rng.random(1000) < p
    covered = np.where(rng.random(300) < 0.8, rng.random(300), m.NEVER)
    curve = m.trade_off(m.tally(p, true), covered, points=20, marks=[0.4321])
    assert len(curve) <= 22
    assert curve[0] == {
        "threshold": 0.0, "claims": 1000.0, "precision": pytest.approx(true.mean()),
        "coverage": pytest.approx((covered > m.NEVER).mean()),
    }  # fmt: skip
    assert 0.4321 in {point["threshold"] for point in curve}
    for point in curve:
        shown = p >= point["threshold"]
        assert point["claims"] == shown.sum()
        assert point["precision"] == pytest.approx(true[shown].mean())
    for name in ("claims", "coverage"):
        column = [point[name] for point in curve]
        assert column == sorted(column, reverse=True)


def test_the_interval_of_a_ratio_is_the_ratio_interval(rng):
    """The general bootstrap, on a statistic that is a ratio of sums, gives the percentiles of the special one."""
    documents = rng.integers(0, 30, 200)
    hits = (rng.random(200) < 0.7).astype(float)
    sums = np.stack([np.bincount(documents, hits, 30), np.bincount(documents, minlength=30)])
    [found] = statistic_intervals(lambda times: np.array([(sums @ times)[0] / (sums @ times)[1]]), 30, [200])
    expected = ratio_interval(hits, np.ones(200), [f"{document:02}" for document in documents])
    assert found.as_dict() == pytest.approx(expected.as_dict())


def test_resampling_moves_claims_and_instances_of_a_document_together():
    """One good and one bad document: on a resample of one of them every score is that document's own."""
    found = judgements(
        [0.9, 0.8, 0.9, 0.8], [1, 1, 0, 0], [0, 0, 1, 1], covered=[0.9, 0.8], covered_document=[0, 1], documents=2
    )
    assert found.scores(np.array([2.0, 0.0]))[0] == 1.0
    assert found.scores(np.array([0.0, 2.0]))[0] == 0.0
    headlines, bins = found.intervals(resamples=200)
    assert (headlines["precision_at_half_coverage"].low, headlines["precision_at_half_coverage"].high) == (0.0, 1.0)
    assert len(bins) == m.BINS


def test_what_is_undefined_is_nan_without_a_warning():
    nothing = judgements([], [], [], documents=3)
    alike = judgements([0.5, 0.6], [1, 1], [0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        empty, bins = nothing.intervals(resamples=20)
        right, _ = alike.intervals(resamples=20)
    assert all(np.isnan(interval.value) and np.isnan(interval.low) for interval in [*empty.values(), *bins])
    assert np.isnan(right["auroc"].value)
    assert np.isnan(right["brier_skill"].value)
    assert right["ece"].value == pytest.approx(0.45)
    assert m.trade_off(nothing.tally(), []) == []
    assert np.isnan(m.calibration_error_if_calibrated(nothing.tally()))


def test_precision_at_trust_is_of_the_claims_shown_there_and_exact_where_all_are_true():
    found, _ = judgements([0.9, 0.8, 0.79, 0.2], [1, 1, 0, 0], [0, 1, 2, 3], documents=4).intervals(resamples=50)
    at = found[m.AT_TRUST]
    assert (at.value, at.n) == (1.0, 2)
    assert at.low == pytest.approx(0.025**0.5)


def test_always_saying_the_base_rate_errs_by_its_distance_from_the_truth():
    said = judgements([0.9, 0.1, 0.5, 0.7], [1, 1, 1, 0], [0, 1, 2, 3], documents=4).said(0.9).tally()
    assert m.calibration_error(said) == pytest.approx(0.9 - 0.75)
    assert m.brier(said) == pytest.approx(0.75 * 0.01 + 0.25 * 0.81)
    assert m.auroc(said) == 0.5
