"""The probability that a claim is true, from the evidence for it: a calibrator and its refusals.

A calibrator is a ridge logistic regression on standardised features and their products (Platt, 1999), with an indicator
for each feature that may be missing and an intercept for each kind of claim, and behind it a monotone curve: the pooled
blocks of an isotonic regression joined by straight lines, or nothing but the logistic where rows are few (Zadrozny &
Elkan, 2002).
It is plain numbers in a JSON file; `legible.reading.calibration_fit` fits it.

Where it may not speak it says why: no probability is better than a made-up one.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from legible.engines.base import Origin
from legible.errors import ContractError
from legible.fileio import write_json
from legible.languages.base import Language
from legible.vectors import OUTLIER

Floats = NDArray[np.float64]
Judgement = tuple[float | None, str | None]
"""(p_true, None), or (None, why there is none)."""

FORMAT = 1
LEAST, MOST = 0.001, 0.999  # no finite sample supports more
FARTHEST = 4.0  # standard deviations a feature counts in products
PRODUCT = 0.3  # scale of products: under the same ridge they must earn more than the features themselves
FEWEST_SAMPLES = 3  # below, agreement says too little
_SAME = 1e-6  # temperatures this close are the same


@dataclass(frozen=True)
class ClaimEvidence:
    """What is known of one claim without knowing whether it is true; None where it was not measured."""

    relation: str | None  # None: no language parsed it
    value: str | None = None  # None: an abstention, or free text
    unusual: str | None = None  # what sets it apart from the claims that calibrators are fitted on
    agreement: float | None = None  # share of the sampled explanations that make the same claim, in [0, 1]
    leverage: float | None = None  # rise of direction_mse when the claim's words are deleted
    recurrence: float | None = None  # share of the neighbouring readings (within 2 tokens) that make it too
    probe: float | None = None  # probability that a probe of the activation gives this value, in [0, 1]
    logprob: float | None = None  # mean ln p of the tokens of its value, or of all its tokens where it has none
    logprob_min: float | None = None  # the smallest ln p of all its tokens
    direction_mse: float | None = None  # of the whole explanation
    norm: float | None = None  # length of the activation
    position: int | None = None  # index of its token in the text
    flags: tuple[str, ...] = ()  # early_position, ood, special_token
    context: bool | None = None  # the last 8 tokens do not give the claim away; None where the text is unknown
    origin: Origin = "written"  # how the explanation came about


def _odds(probability: float | None) -> float | None:
    """ln (p / (1 - p)), p held within a thousandth of 0 and 1."""
    if probability is None:
        return None
    p = min(max(probability, LEAST), MOST)
    return math.log(p / (1.0 - p))


def _root(value: float | None) -> float | None:
    """The signed cube root: leverages are mostly tiny and sometimes large."""
    return None if value is None else math.copysign(abs(value) ** (1 / 3), value)


def _log(value: float | None) -> float | None:
    return None if value is None or value <= 0 else math.log(value)


FEATURES: dict[str, Callable[[ClaimEvidence], float | None]] = {
    "agreement": lambda e: e.agreement,
    "leverage": lambda e: e.leverage,
    "leverage_root": lambda e: _root(e.leverage),
    "recurrence": lambda e: e.recurrence,
    "logprob": lambda e: e.logprob,
    "logprob_odds": lambda e: _odds(None if e.logprob is None else math.exp(e.logprob)),
    "logprob_min": lambda e: e.logprob_min,
    "probe_odds": lambda e: _odds(e.probe),
    "direction_mse": lambda e: e.direction_mse,
    "norm": lambda e: _log(e.norm),
    "early_position": lambda e: float("early_position" in e.flags),
    "position": lambda e: _log(None if e.position is None else e.position + 1),
    "context": lambda e: None if e.context is None else float(e.context),
}
"""Every feature by name, a function of the evidence; `norm_outlier` is made of `norm` and the usual one."""


@dataclass(frozen=True)
class FittedOn:
    """What a calibrator was fitted on, and how well it does on claims of documents that it was not fitted on.

    `ece`, `brier_skill` and `auroc` are cross-fitted by document over context claims where there are any.
    """

    language: str
    split: str
    seed: int
    documents: int
    readings: int
    claims: int
    context_claims: int
    precision: float  # share of the claims that are true: the base rate
    samples: int
    temperature: float
    layer: int
    pair: str = ""  # fingerprint of the weights of both roles
    scores: dict[str, float | None] = field(default_factory=dict)

    def covers(self, samples: int, temperature: float) -> bool:
        """Whether readings of so many samples at this temperature are like those it was fitted on."""
        same = abs(temperature - self.temperature) < _SAME
        return same and samples >= max(FEWEST_SAMPLES, (self.samples + 1) // 2)


@dataclass(frozen=True)
class Calibrator:
    """A fitted map from evidence to the probability that the claim is stated or implied."""

    kinds: tuple[str, ...]
    features: tuple[str, ...]
    center: tuple[float, ...]  # of every feature
    scale: tuple[float, ...]
    weights: tuple[float, ...]  # features, their products, their missing-indicators, the norm outlier, kinds
    intercept: float
    usual_norm: float  # ln of the median length of the activations
    curve: tuple[tuple[float, float], ...]  # (logit, probability) knots, both ascending; empty: the logistic
    fitted: FittedOn

    def logits(self, evidence: Sequence[ClaimEvidence]) -> Floats:
        """The regression's output, before the monotone curve."""
        x = design(evidence, self.features, self.kinds, np.array(self.center), np.array(self.scale), self.usual_norm)
        found: Floats = x @ np.array(self.weights) + self.intercept
        return found

    def predict(self, evidence: Sequence[ClaimEvidence]) -> Floats:
        """p_true of every claim, in [0.001, 0.999]; refusals are the caller's (`p_true_of`)."""
        if not evidence:
            return np.zeros(0)
        return curved(self.logits(evidence), self.curve)


@dataclass(frozen=True)
class Calibrators:
    """The calibrators of one checkpoint: of one explanation, and of several sampled ones."""

    single: Calibrator | None
    sampled: Calibrator | None
    refusal: str | None = None  # why neither applies, e.g. fitted on other weights

    def choose(self, samples: int, temperature: float) -> Calibrator | str:
        """The calibrator for readings made this way, or why there is none.

        The sampled one needs its own temperature and at least half its number of samples, 3 at least; otherwise the
        single one speaks, up to the temperature it has seen.
        """
        if self.refusal is not None:
            return self.refusal
        several = self.sampled
        if several is not None and several.fitted.covers(samples, temperature):
            return several
        if self.single is None:
            return "the calibrator was fitted on several samples only: give --samples"
        if temperature > self.single.fitted.temperature + _SAME:
            return (
                f"the calibrator was fitted up to temperature {self.single.fitted.temperature:g}, "
                f"the explanations were sampled at {temperature:g}"
            )
        return self.single

    def save(self, path: Path) -> None:
        """Write both as JSON, atomically."""
        write_json(path, {"format": FORMAT, "single": _plain(self.single), "sampled": _plain(self.sampled)})

    @classmethod
    def load(cls, path: Path) -> "Calibrators":
        """Read both.

        Raises:
            ContractError: the file is missing, damaged or of another format.
        """
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
            if tree["format"] != FORMAT:
                raise ContractError(f"{path} has format {tree['format']}, expected {FORMAT}.\n" + _AGAIN)
            return cls(_loaded(tree["single"]), _loaded(tree["sampled"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, ContractError):
                raise
            raise ContractError(f"{path} is not a calibrator ({error}).\n" + _AGAIN) from None


_NO_CALIBRATOR = "this checkpoint has no calibrator: legible calibrate CHECKPOINT"


def p_true_of(
    pair: Calibrators | None,
    evidence: Sequence[ClaimEvidence],
    language: Language | None,
    *,
    samples: int,
    temperature: float,
) -> list[Judgement]:
    """p_true of every claim, or why it has none.

    Args:
        pair: the checkpoint's calibrators, if it has any.
        evidence: of the claims of any number of readings.
        language: whose claims these are.
        samples, temperature: how the readings were made.
    """
    if pair is None:
        no = "no language decides what is true in free text" if language is None else _NO_CALIBRATOR
        return [(None, no)] * len(evidence)
    chosen = pair.choose(samples, temperature)
    if isinstance(chosen, str):
        return [(None, chosen)] * len(evidence)
    reasons = [_refusal(chosen, each, language) for each in evidence]
    spoken = chosen.predict([each for each, reason in zip(evidence, reasons, strict=True) if reason is None])
    values = iter(spoken.tolist())
    return [(None, reason) if reason is not None else (next(values), None) for reason in reasons]


def design(
    evidence: Sequence[ClaimEvidence],
    features: Sequence[str],
    kinds: Sequence[str],
    center: Floats,
    scale: Floats,
    usual_norm: float,
) -> Floats:
    """Columns of the regression: standardised features (0 where missing), products, missing, norm outlier, kinds."""
    raw = columns(evidence, features)
    missing = np.isnan(raw)
    values = np.where(missing, 0.0, (raw - center) / scale)
    near = np.clip(values, -FARTHEST, FARTHEST)
    first, second = np.triu_indices(len(features))
    products = PRODUCT * near[:, first] * near[:, second]
    length = np.array([_log(each.norm) if each.norm else usual_norm for each in evidence], dtype=np.float64)
    outlier = np.abs(length - usual_norm) > math.log(OUTLIER)
    place = {kind: number for number, kind in enumerate(kinds)}
    of_kind = np.zeros((len(evidence), len(kinds)))
    for row, each in enumerate(evidence):
        if each.relation in place:
            of_kind[row, place[each.relation]] = 1.0
    return np.hstack([values, products, missing, outlier[:, None], of_kind]).astype(np.float64)


def columns(evidence: Sequence[ClaimEvidence], features: Sequence[str]) -> Floats:
    """The features as they are, NaN where missing; [claims, features]."""
    read = [FEATURES[name] for name in features]
    rows = [[math.nan if (value := one(each)) is None else value for one in read] for each in evidence]
    return np.array(rows, dtype=np.float64).reshape(len(evidence), len(features))


def curved(logits: Floats, curve: Sequence[tuple[float, float]]) -> Floats:
    """Probabilities of logits: by straight lines between the knots, or by the logistic where there are none."""
    if curve:
        x, y = np.array(curve).T
        p = np.interp(logits, x, y)
    else:
        p = 1.0 / (1.0 + np.exp(-np.clip(logits, -30.0, 30.0)))
    found: Floats = np.clip(p, LEAST, MOST)
    return found


def _refusal(calibrator: Calibrator, evidence: ClaimEvidence, language: Language | None) -> str | None:
    if evidence.origin == "searched":
        return "the explanation was searched for: the calibrator was fitted on plain and sampled ones"
    if language is None or language.name != calibrator.fitted.language:
        return f"the calibrator was fitted on claims of the language {calibrator.fitted.language}"
    if "special_token" in evidence.flags:
        return "a special token is not part of the text"
    if "ood" in evidence.flags and language.bounded:
        return f"the text has left the {language.name} that the calibrator was fitted on (ood)"
    if evidence.relation is None or evidence.relation not in calibrator.kinds:
        return "the calibrator has not seen claims of this relation"
    if evidence.unusual is not None:
        return f"the claim {evidence.unusual}: the calibrator has not seen such claims"
    if evidence.value is None:
        return "the claim says that something is unknown: there is nothing to be true"
    if evidence.context is None and "context" in calibrator.features:
        return "the text behind the activation is not known"
    return None


_AGAIN = "  The usual cause is a file edited by hand or of another version. Fit it anew: legible calibrate CHECKPOINT"


def _plain(calibrator: Calibrator | None) -> dict[str, Any] | None:
    return None if calibrator is None else asdict(calibrator)


def _loaded(tree: dict[str, Any] | None) -> Calibrator | None:
    if tree is None:
        return None
    lists: dict[str, Any] = {name: tuple(tree[name]) for name in ("kinds", "features", "center", "scale", "weights")}
    curve = tuple((float(x), float(y)) for x, y in tree["curve"])
    others = {name: tree[name] for name in ("intercept", "usual_norm")}
    found = Calibrator(**lists, **others, curve=curve, fitted=FittedOn(**tree["fitted"]))
    if unknown := sorted(set(found.features) - set(FEATURES)):
        raise ValueError(f"unknown features {', '.join(unknown)}")
    count = len(found.features)
    if len(found.weights) != 2 * count + count * (count + 1) // 2 + 1 + len(found.kinds):
        raise ValueError(f"{len(found.weights)} weights do not fit its features and kinds")
    return found
