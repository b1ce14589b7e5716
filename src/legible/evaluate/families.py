"""The truth of every family of claims by itself, and the worth of its probabilities, on the greedy readings.

All figures are of the family's decided claims, whatever the last 8 tokens give away; those of p_true are of the claims
that have one. Precision at half coverage counts what is decodable of the family's probed kinds (`coverage_of`:
"decodable"); where nothing is known to be, it is the precision of the surest half of the claims ("claims"), which
stands beside it in any case.

*Distinct* claims are those that cannot be made without the activation: shown, at token 32 or later, of a value that
at most half of other documents' tokens hold, and not made by the verbalizer given no activation.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np

from legible.evaluate import claims
from legible.evaluate import trust_metrics as metrics
from legible.evaluate.claims import Decodable, Judged
from legible.evaluate.sample import Sample
from legible.evaluate.truth_claims import DECIDED, ReadClaims, flat, instances
from legible.languages.base import Claim, Fact, Family, Language
from legible.probes.probes import UNDECIDED, ProbeSet
from legible.reading.trusted import TrustedClaim
from legible.stats import Interval, ratio_interval, share_interval

DISTINCT_FROM = 32  # earliest token of a distinct claim
COMMON = 0.5  # base rate up to which a value is one
NO_WRITER = "no text-only writer was trained: legible evaluate CHECKPOINT --full trains one"
Reads = Sequence[Judged]


def family_report(
    trusted: Sequence[Sequence[TrustedClaim]],
    sample: Sample,
    language: Language,
    *,
    no_activation: Reads,
    text_only: Reads | None,
    decodable: Decodable | None,
    probes: ProbeSet | None,
    others: Sequence[Mapping[str, Fact]],
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """The figures of every family that the language has.

    Args:
        trusted: the claims of every row's reading with verdict and p_true.
        sample: the rows.
        no_activation, text_only: claims of the controls on the same rows; None: there is no such writer.
        decodable: per probed kind, whether each row's value is; None where no probes were fitted.
        probes: give the accuracy of the probes on the same rows.
        others: facts of rows of other documents, for base rates; without any, those of the sample itself.
        seed: of the resampling.

    Returns:
        By family `n` (decided claims with p_true), `documents` that these are of, `precision_at_0.8`,
        `precision_at_half_coverage`, `coverage_of`, `precision_of_surest_half`, `ece`, `auroc`, `shown_per_reading`
        (decided claims with a p_true of 0.8 or more), `text_only` and `no_activation` (precision of their claims),
        `precision`, `lift` and `lift_at_0.8` (over no activation), `claims` (decided), `undecided`, `decodable`,
        `kinds` and `reasons` (why what is null is null); of context also `distinct_per_reading_from_32` and
        `distinct_precision_from_32`. Figures are intervals over documents.
    """
    judged, p, silent = flat(trusted, language)
    read = ReadClaims(sample, judged, p, instances(judged, p, decodable))
    probed = _probed(sample, language, probes)
    by_family = {}
    for family in get_args(Family):
        if family not in {language.families.get(kind, "context") for kind in language.kinds}:
            continue
        of_pair = read.of_family(family, language)
        without = _of(no_activation, family)
        written = _of(text_only, family) if text_only is not None else None
        one = _trusted(of_pair, seed) | _beside(of_pair, without, written)
        one["kinds"] = _kinds(of_pair, without, sample, probed)
        if family == "context":
            one |= _distinct(of_pair, without, BaseRates(others))
        one["reasons"] = _reasons(one, of_pair, silent)
        by_family[family] = one
    return by_family


def _trusted(of_pair: ReadClaims, seed: int) -> dict[str, Any]:
    """What p_true is worth."""
    columns = of_pair.columns(context=False)
    by_claims, _ = columns.of_claims.intervals(seed=seed)
    headlines = columns.intervals(seed=seed)[0] if of_pair.instances else by_claims
    half = metrics.HEADLINES[0]
    return {
        "n": len(columns.p),
        "documents": len(np.unique(columns.document)),
        metrics.AT_TRUST: headlines[metrics.AT_TRUST].as_dict(),
        half: headlines[half].as_dict(),
        "coverage_of": "decodable" if of_pair.instances else "claims",
        "precision_of_surest_half": by_claims[half].as_dict(),
        "ece": headlines["ece"].as_dict(),
        "auroc": headlines["auroc"].as_dict(),
        "shown_per_reading": claims.claims_per_reading(
            _shown(of_pair), of_pair.sample.doc_ids, context=False
        ).as_dict(),
    }


def _beside(of_pair: ReadClaims, without: Reads, written: Reads | None) -> dict[str, Any]:
    """The precision of all claims, and that of the controls."""
    docs, shown = of_pair.sample.doc_ids, _shown(of_pair)
    return {
        "text_only": claims.precision(written, docs, context=False).as_dict() if written is not None else None,
        "no_activation": claims.precision(without, docs, context=False).as_dict(),
        "precision": claims.precision(of_pair.judged, docs, context=False).as_dict(),
        "lift": claims.lift(of_pair.judged, without, docs, context=False).as_dict(),
        "lift_at_0.8": claims.lift(shown, without, docs, context=False).as_dict(),
        "claims": sum(item.verdict in DECIDED for item in of_pair.judged),
        "undecided": sum(item.verdict == "unknown" for item in of_pair.judged),
        "decodable": len(of_pair.instances) if of_pair.instances is not None else None,
    }


def _kinds(of_pair: ReadClaims, without: Reads, sample: Sample, probed: Mapping[str, Interval]) -> dict[str, Any]:
    """Of every kind that is claimed its precision, that of no activation, and the probe's accuracy on the same rows."""
    by_kind = {}
    for kind in dict.fromkeys(str(item.claim.relation) for item in of_pair.judged):
        claimed, claimed_without = (
            [one for one in items if one.claim.relation == kind] for items in (of_pair.judged, without)
        )
        by_kind[kind] = {
            "precision": claims.precision(claimed, sample.doc_ids, context=False).as_dict(),
            "no_activation": claims.precision(claimed_without, sample.doc_ids, context=False).as_dict(),
            "lift": claims.lift(claimed, claimed_without, sample.doc_ids, context=False).as_dict(),
            "probe": probed[kind].as_dict() if kind in probed else None,
        }
    return by_kind


def _distinct(of_pair: ReadClaims, without: Reads, rates: "BaseRates") -> dict[str, Any]:
    sample, said = of_pair.sample, {(item.row, item.claim.key) for item in without}
    late = np.array([row.pos >= DISTINCT_FROM for row in sample.rows], dtype=bool)
    kept = [
        item
        for item in _shown(of_pair)
        if late[item.row] and (item.row, item.claim.key) not in said and rates(item.claim) <= COMMON
    ]
    _, counts = claims.tally(kept, len(sample), context=False)
    docs = [name for name, one in zip(sample.doc_ids, late, strict=True) if one]
    each = ratio_interval(counts[late], np.ones(len(docs)), docs)
    right = claims.precision(kept, sample.doc_ids, context=False)
    return {
        f"distinct_per_reading_from_{DISTINCT_FROM}": each.as_dict(),
        f"distinct_precision_from_{DISTINCT_FROM}": right.as_dict(),
    }


class BaseRates:
    """How often a claim would be true of any token that decides its kind, by the facts of some rows."""

    def __init__(self, facts: Sequence[Mapping[str, Fact]]) -> None:
        """Count the values of every kind."""
        self._decided, self._known, self._held = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
        for row in facts:
            for kind, fact in row.items():
                self._decided[kind] += 1
                if fact.status != "open":
                    self._known[kind] += 1
                    self._held.update((kind, value) for value in {*fact.values, *fact.accepted})

    def __call__(self, claim: Claim) -> float:
        """A share in [0, 1] of the rows that decide the claim's kind; 1 where none does and it is unknown."""
        kind = claim.relation or ""
        if not self._decided[kind]:
            return 1.0
        held = self._held[kind, claim.value or ""]
        return (held if claim.polarity == "positive" else self._known[kind] - held) / self._decided[kind]


def _probed(sample: Sample, language: Language, probes: ProbeSet | None) -> dict[str, Interval]:
    """The accuracy of every probe on the sample's rows whose value is known."""
    if probes is None:
        return {}
    accuracy, labels = {}, sample.labels(language)
    for kind, (_, hits) in probes.of_truth(sample.vectors, labels, sample.doc_ids).items():
        known = np.array([value not in (None, UNDECIDED) for value in labels.get(kind, ())], dtype=np.float64)
        if known.any():
            accuracy[kind] = share_interval(hits.double().numpy() * known, known, sample.doc_ids)
    return accuracy


def _reasons(one: Mapping[str, Any], of_pair: ReadClaims, silent: Counter[str]) -> dict[str, str]:
    reasons = {} if one["text_only"] is not None else {"text_only": NO_WRITER}
    if not one["n"]:
        missing = silent.most_common(1)[0][0] if silent and of_pair.judged else "no reading makes a decided claim of it"
        reasons["n"] = missing
    elif of_pair.instances and not one[metrics.HEADLINES[0]]["documents"]:
        reasons[metrics.HEADLINES[0]] = "all claims together cover less than half of the decodable"
    return reasons


def _shown(of_pair: ReadClaims) -> list[Judged]:
    """The decided claims that are shown at 0.8."""
    return [of_pair.judged[n] for n in of_pair.scored(context=False) if (of_pair.p[n] or 0.0) >= metrics.TRUST]


def _of(items: Reads, family: Family) -> list[Judged]:
    return [item for item in items if item.claim.family == family]
