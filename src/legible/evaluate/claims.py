"""Whether what readings say is true, and whether they say what there is to say.

Precision counts a claim as right if it is stated or implied; open and false ones are wrong; abstentions and claims that
that are undecided do not count. Context claims are those that the last 8 tokens do not give away. Lift is the context
precision minus that of the verbalizer given no activation, judged on the same rows. Recall is the share of decodable
instances (token, kind) that the explanation names rightly; a failed parse or a denial names nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from legible.evaluate.sample import Sample
from legible.languages.base import Claim, Family, Language, Verdict, judge
from legible.stats import Interval, ratio_difference_interval, ratio_interval, share_interval

Counts = NDArray[np.float64]
Decodable = Mapping[str, Bool[Tensor, " n"]]


@dataclass(frozen=True)
class Judged:
    """One claim of one row with its verdict; `context`: the last 8 tokens do not give it away."""

    row: int
    claim: Claim
    verdict: Verdict
    context: bool

    @property
    def names_rightly(self) -> bool:
        """Whether it gives the right value; a true denial does not."""
        return self.verdict == "true" and self.claim.polarity == "positive"


def judge_texts(texts: Sequence[str | None], sample: Sample, language: Language) -> list[Judged]:
    """Every claim of every explanation, judged against the facts of its row."""
    claims = [language.parse(text).claims if text is not None else () for text in texts]
    return judge_claims(claims, sample, language)


def judge_claims(claims: Sequence[Sequence[Claim]], sample: Sample, language: Language) -> list[Judged]:
    """Every claim of every row, judged against the row's facts, in their order."""
    return [
        Judged(index, claim, judge(claim, facts), language.in_context(claim, row))
        for index, (own, row, facts) in enumerate(zip(claims, sample.rows, sample.facts, strict=True))
        for claim in own
    ]


def tally(judged: Sequence[Judged], rows: int, *, context: bool) -> tuple[Counts, Counts]:
    """True claims and decided claims of every row; abstentions and undecided ones left out."""
    true, decided = np.zeros(rows), np.zeros(rows)
    for item in judged:
        if item.verdict in ("true", "false", "open") and (item.context or not context):
            decided[item.row] += 1
            true[item.row] += item.verdict == "true"
    return true, decided


def precision(judged: Sequence[Judged], doc_ids: Sequence[str], *, context: bool) -> Interval:
    """Share of the claims that are true; n counts claims. NaN where there are none."""
    true, decided = tally(judged, len(doc_ids), context=context)
    return share_interval(true, decided, doc_ids)


def lift(judged: Sequence[Judged], floor: Sequence[Judged], doc_ids: Sequence[str], *, context: bool) -> Interval:
    """Precision minus that of other claims on the same rows; n counts the readings' claims."""
    ours, theirs = (tally(items, len(doc_ids), context=context) for items in (judged, floor))
    return replace(ratio_difference_interval(ours, theirs, doc_ids), n=int(ours[1].sum()))


def context_lift(judged: Sequence[Judged], floor: Sequence[Judged], doc_ids: Sequence[str]) -> Interval:
    """The lift of context claims alone."""
    return lift(judged, floor, doc_ids, context=True)


def claims_per_reading(judged: Sequence[Judged], doc_ids: Sequence[str], *, context: bool) -> Interval:
    """Decided claims per row, failed parses counted as rows."""
    _, decided = tally(judged, len(doc_ids), context=context)
    return ratio_interval(decided, np.ones(len(doc_ids)), doc_ids)


def recall(judged: Sequence[Judged], sample: Sample, decodable: Decodable) -> Interval:
    """Share of decodable instances that the explanation of their row names rightly; n counts instances."""
    named, wanted = _named(judged, sample, decodable)
    return share_interval(sum(named.values()), sum(wanted.values()), sample.doc_ids)


def claim_report(
    judged: Sequence[Judged], floor: Sequence[Judged], sample: Sample, language: Language, decodable: Decodable | None
) -> dict[str, Any]:
    """All claim scores with their intervals, of each family by itself, and by kind as plain numbers.

    Args:
        judged: claims of the readings.
        floor: claims of the verbalizer given no activation, on the same rows.
        decodable: per probed kind, whether each row's value is decodable; None where no probes were fitted.
    """
    docs = sample.doc_ids
    abstained = sum(item.verdict == "abstain" for item in judged)
    return {
        "precision": precision(judged, docs, context=False).as_dict(),
        "context_precision": precision(judged, docs, context=True).as_dict(),
        "claims_per_reading": claims_per_reading(judged, docs, context=False).as_dict(),
        "context_claims_per_reading": claims_per_reading(judged, docs, context=True).as_dict(),
        "context_lift": context_lift(judged, floor, docs).as_dict(),
        "no_activation_context_precision": precision(floor, docs, context=True).as_dict(),
        "recall": recall(judged, sample, decodable).as_dict() if decodable is not None else None,
        "abstentions_per_reading": abstained / max(1, len(sample)),
        "families": _by_family(judged, floor, docs),
        "kinds": _by_kind(judged, sample, language, decodable),
    }


def _by_family(judged: Sequence[Judged], floor: Sequence[Judged], docs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Precision of every family that is claimed, each by itself, beside the verbalizer's given no activation."""
    figures = {}
    for family in get_args(Family):
        of_family, of_floor = ([item for item in items if item.claim.family == family] for items in (judged, floor))
        if of_family:
            figures[family] = {
                "precision": precision(of_family, docs, context=False).as_dict(),
                "context_precision": precision(of_family, docs, context=True).as_dict(),
                "no_activation": precision(of_floor, docs, context=False).as_dict(),
                "undecided": sum(item.verdict == "unknown" for item in of_family),
            }
    return figures


def _by_kind(
    judged: Sequence[Judged], sample: Sample, language: Language, decodable: Decodable | None
) -> dict[str, dict[str, float | int | None]]:
    named, wanted = _named(judged, sample, decodable) if decodable is not None else ({}, {})
    report: dict[str, dict[str, float | int | None]] = {}
    for kind in language.kinds:
        of_kind = [item for item in judged if item.claim.relation == kind]
        context = Counter(item.verdict for item in of_kind if item.context)
        whole = Counter(item.verdict for item in of_kind)
        instances = int(wanted[kind].sum()) if kind in wanted else 0
        report[kind] = {
            "claims": _decided(whole),
            "precision": _share(whole),
            "context_claims": _decided(context),
            "context_precision": _share(context),
            "open": whole["open"],
            "abstentions": whole["abstain"],
            "decodable": instances,
            "recall": float(named[kind].sum()) / instances if instances else None,
        }
    return report


def _decided(counts: Counter[Verdict]) -> int:
    return counts["true"] + counts["false"] + counts["open"]


def _share(counts: Counter[Verdict]) -> float | None:
    return counts["true"] / _decided(counts) if _decided(counts) else None


def _named(
    judged: Sequence[Judged], sample: Sample, decodable: Decodable
) -> tuple[dict[str, Counts], dict[str, Counts]]:
    """Per kind, which rows are decodable, and which of these are named rightly."""
    right: dict[str, Counts] = {kind: np.zeros(len(sample)) for kind in decodable}
    for item in judged:
        if item.names_rightly and item.claim.relation in right:
            right[item.claim.relation][item.row] = 1.0
    wanted = {kind: torch.as_tensor(mask).double().numpy() for kind, mask in decodable.items()}
    return {kind: right[kind] * wanted[kind] for kind in wanted}, wanted
