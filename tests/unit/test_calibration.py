"""Calibrators: monotone, bounded, equal after a round through their file, and silent where they may not speak."""

import json
from dataclasses import replace

import numpy as np
import pytest

from legible import languages
from legible.errors import ContractError, UsageError
from legible.languages.world import LANGUAGE as WORLD
from legible.reading.calibration import (
    LEAST,
    MOST,
    Calibrator,
    Calibrators,
    ClaimEvidence,
    FittedOn,
    curved,
    p_true_of,
)
from legible.reading.calibration_fit import Labelled, fit_calibrator

FITTED = FittedOn("world", "calibrate", 0, 60, 900, 3000, 2000, 0.7, samples=5, temperature=1.0, layer=2)


def made(rows: int, seed: int = 0) -> tuple[Labelled, np.ndarray]:
    """Claims whose probability of being true is known: a logistic of agreement and leverage, a step down for moods."""
    rng = np.random.default_rng(seed)
    agreement, leverage = rng.integers(1, 6, rows) / 5, rng.normal(0.05, 0.1, rows)
    mood = rng.random(rows) < 0.4
    p = 1 / (1 + np.exp(-(-2.0 + 4.0 * agreement + 6.0 * leverage - 1.5 * mood)))
    evidence = [
        ClaimEvidence(
            relation="mood" if mood[i] else "place",
            value="shy",
            agreement=float(agreement[i]),
            leverage=float(leverage[i]) if i % 3 else None,
            recurrence=float(rng.random()) if i % 2 else None,
            logprob=float(-rng.exponential()),
            logprob_min=float(-rng.exponential() - 1),
            direction_mse=float(rng.random()),
            norm=float(np.exp(rng.normal())),
            context=bool(i % 4),
        )
        for i in range(rows)
    ]
    return Labelled(evidence, (rng.random(rows) < p).tolist(), [f"doc-{i // 50}" for i in range(rows)]), p


@pytest.fixture(scope="module")
def fitted() -> tuple[Calibrator, np.ndarray, Labelled, np.ndarray]:
    data, p = made(3000)
    found, crossed = fit_calibrator(data, FITTED)
    return found, crossed, data, p


def test_the_curve_never_falls_and_nothing_is_certain(fitted):
    found = fitted[0]
    x, y = np.array(found.curve).T
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) > 0).all()
    p = curved(np.linspace(-50, 50, 1001), found.curve)
    assert (np.diff(p) >= 0).all()
    assert p.min() >= LEAST
    assert p.max() <= MOST


def test_probabilities_are_close_to_the_known_ones_on_new_documents(fitted):
    found, crossed, _, p = fitted
    assert np.abs(crossed - p).mean() < 0.08  # a third of the leverages is hidden, so not 0
    fresh, own = made(3000, seed=1)
    predicted = found.predict(fresh.evidence)
    assert abs(predicted.mean() - np.mean(fresh.true)) < 0.03
    assert np.corrcoef(predicted, own)[0, 1] > 0.9


def test_more_agreement_and_more_leverage_never_lower_the_probability_here(fitted):
    found, _, data, _ = fitted
    each = replace(data.evidence[1], leverage=0.05, agreement=0.2)
    steps = [replace(each, agreement=share) for share in (0.2, 0.4, 0.6, 0.8, 1.0)]
    assert (np.diff(found.predict(steps)) >= 0).all()


def test_few_rows_keep_the_logistic():
    data, _ = made(80)
    found, _ = fit_calibrator(data, FITTED, folds=2)
    assert found.curve == ()
    assert found.predict(data.evidence) == pytest.approx(1 / (1 + np.exp(-found.logits(data.evidence))), abs=LEAST)


def test_a_calibrator_is_the_same_after_its_file(fitted, tmp_path):
    found, _, data, _ = fitted
    pair = Calibrators(found, None)
    pair.save(tmp_path / "calibrator.json")
    again = Calibrators.load(tmp_path / "calibrator.json")
    assert again == pair
    assert (again.single.predict(data.evidence) == found.predict(data.evidence)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: tree.update(format=99), "has format 99"),
        (lambda tree: tree["single"].update(weights=[1.0]), "1 weights do not fit"),
        (lambda tree: tree["single"]["features"].__setitem__(0, "horoscope"), "unknown features horoscope"),
        (lambda tree: tree.pop("sampled"), "is not a calibrator"),
    ],
)
def test_a_damaged_file_is_named(fitted, tmp_path, change, message):
    path = tmp_path / "calibrator.json"
    Calibrators(fitted[0], None).save(path)
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))
    with pytest.raises(ContractError, match=message):
        Calibrators.load(path)


def one(**changes) -> ClaimEvidence:
    return replace(ClaimEvidence("place", "barn", agreement=1.0, norm=1.0, context=True), **changes)


@pytest.mark.parametrize(
    ("evidence", "language", "reason"),
    [
        (one(), languages.get("text"), "of the language world"),
        (one(), None, "of the language world"),
        (one(relation=None, value=None), WORLD, "has not seen claims of this relation"),
        (one(relation="shoes"), WORLD, "has not seen claims of this relation"),
        (one(flags=("ood",)), WORLD, "left the world"),
        (one(flags=("special_token",)), WORLD, "special token"),
        (one(value=None), WORLD, "something is unknown"),
        (one(unusual="denies something"), WORLD, "the claim denies something: the calibrator has not seen such claims"),
        (one(context=None), WORLD, "text behind the activation is not known"),
    ],
)
def test_it_says_why_it_does_not_speak(fitted, evidence, language, reason):
    pair = Calibrators(fitted[0], fitted[0])
    (silent, why), (spoken, nothing) = p_true_of(pair, [evidence, one()], language, samples=5, temperature=1.0)
    assert silent is None
    assert reason in why
    assert (spoken is None, nothing is None) == ((True, False) if language is not WORLD else (False, True))


def test_without_a_calibrator_nothing_has_a_probability():
    assert p_true_of(None, [one()], WORLD, samples=1, temperature=0.0) == [
        (None, "this checkpoint has no calibrator: legible calibrate CHECKPOINT")
    ]


def test_the_sampled_one_speaks_for_enough_samples_at_its_temperature_and_else_the_single_one(fitted):
    single = replace(fitted[0], fitted=replace(FITTED, samples=1))
    sampled = fitted[0]
    pair = Calibrators(single, sampled)
    assert pair.choose(5, 1.0) is sampled
    assert pair.choose(3, 1.0) is sampled
    assert pair.choose(2, 1.0) is single
    assert pair.choose(5, 0.5) is single
    assert pair.choose(1, 0.0) is single
    assert "sampled at 1.5" in pair.choose(5, 1.5)
    assert "several samples only" in Calibrators(None, sampled).choose(1, 0.0)
    assert Calibrators(single, sampled, refusal="other weights").choose(5, 1.0) == "other weights"


def test_too_little_to_fit_on_is_refused():
    data, _ = made(40)
    with pytest.raises(UsageError, match="found 40 claims"):
        fit_calibrator(data, FITTED)
    many, _ = made(400)
    with pytest.raises(UsageError, match="400 true"):
        fit_calibrator(replace(many, true=[True] * 400), FITTED)
