"""The claims of a sample's readings as the truth report counts them: verdict, probability, and what they cover."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from legible.evaluate import trust_metrics as metrics
from legible.evaluate.claims import Decodable, Judged
from legible.evaluate.sample import Sample
from legible.languages.base import Fact, Family, Language
from legible.reading.evidence import Gathered
from legible.reading.trusted import TrustedClaim
from legible.stats import Interval, share_interval

DECIDED = ("true", "false", "open")
FEWEST = 10 * metrics.BINS  # claims from which the calibration error of a part of the sample is given


@dataclass(frozen=True)
class Instance:
    """One decodable instance: whether a claim names it rightly, and the highest p_true of one that does."""

    row: int
    kind: str
    named: bool
    covered: float


@dataclass(frozen=True)
class ReadClaims:
    """The claims of all readings of a sample, in order.

    Attributes:
        judged: each with its row, its verdict and whether it is a context claim.
        p: the probability of each; None where there is no estimate.
        instances: what is decodable; None where no probes say so.
    """

    sample: Sample
    judged: list[Judged]
    p: list[float | None]
    instances: list[Instance] | None

    def scored(self, *, context: bool = True) -> list[int]:
        """The numbers of the decided claims that have a probability."""
        return [
            n
            for n, (item, p) in enumerate(zip(self.judged, self.p, strict=True))
            if p is not None and item.verdict in DECIDED and (item.context or not context)
        ]

    def columns(self, *, context: bool = True) -> metrics.Judgements:
        """The scored claims and the decodable instances as columns for the metrics."""
        place = {name: number for number, name in enumerate(dict.fromkeys(self.sample.doc_ids))}
        document = np.array([place[name] for name in self.sample.doc_ids], dtype=np.int64)
        claims, decodable = self.scored(context=context), self.instances or []
        return metrics.Judgements(
            np.array([self.p[n] for n in claims], dtype=np.float64),
            np.array([self._true(n) for n in claims], dtype=np.float64),
            document[[self.judged[n].row for n in claims]] if claims else np.zeros(0, np.int64),
            np.array([one.covered for one in decodable], dtype=np.float64),
            document[[one.row for one in decodable]] if decodable else np.zeros(0, np.int64),
            len(place),
        )

    def of_family(self, family: Family, language: Language) -> "ReadClaims":
        """The claims of one family alone, and what is decodable of its kinds."""
        kept = [n for n in self._claims() if self.judged[n].claim.family == family]
        decodable = None if self.instances is None else [
            one for one in self.instances if language.families.get(one.kind, "context") == family
        ]  # fmt: skip
        return replace(self, judged=[self.judged[n] for n in kept], p=[self.p[n] for n in kept], instances=decodable)

    def by_kind(self, language: Language | None) -> dict[str, dict[str, Any]]:
        """The scores of every kind that is claimed or decodable; free text has one, `(sentences)`."""
        kinds = language.kinds if language is not None else (None,)
        figures = {kind or "(sentences)": self._part([n for n in self._claims() if self._kind(n) == kind], kind=kind)
                 for kind in kinds}  # fmt: skip
        return {kind: part for kind, part in figures.items() if part["all_claims"] or part["decodable"]}

    def by_position(self) -> dict[str, dict[str, Any]]:
        """The scores of the readings by the position of their token, in powers of two."""
        bucket = [_bucket(row.pos) for row in self.sample.rows]
        counts = Counter(bucket)
        return {
            f"{first}-{2 * first - 1 if first else 15}": {
                "readings": counts[first],
                **self._part([n for n in self._claims() if bucket[self.judged[n].row] == first],
                             rows={row for row, place in enumerate(bucket) if place == first}),
            }
            for first in sorted(counts)
        }  # fmt: skip

    def abstention(self, language: Language | None, threshold: float | None) -> dict[str, Any]:
        """How the readings abstain: neither right nor wrong.

        Returns:
            `claims_per_reading` that say "unknown"; `silent_readings` without any claim, failed parses among them;
            `silent_at_half_coverage` without one at that threshold (null without it); `open_left_alone`, the share of
            the facts that the text leaves open on which the reading claims nothing (null where no language knows).
        """
        rows = len(self.sample)
        speaking = {item.row for item in self.judged}
        at = threshold if threshold is not None else np.inf
        shown = {self.judged[n].row for n in self.scored(context=False) if (self.p[n] or 0.0) >= at}
        claimed = {(item.row, item.claim.relation) for item in self.judged if item.verdict in DECIDED}
        kinds = language.probe_kinds if language is not None else ()
        still = [(row, kind) for row, facts in enumerate(self.sample.facts) for kind in kinds if _open(facts, kind)]
        alone = [float(place not in claimed) for place in still]
        left = share_interval(alone, np.ones(len(alone)), [self.sample.doc_ids[row] for row, _ in still])
        return {
            "claims_per_reading": sum(item.verdict == "abstain" for item in self.judged) / max(1, rows),
            "silent_readings": 1.0 - len(speaking) / max(1, rows),
            "silent_at_half_coverage": 1.0 - len(shown) / max(1, rows) if threshold is not None else None,
            "open_left_alone": left.as_dict() if still else None,
        }

    def _claims(self) -> range:
        return range(len(self.judged))

    def _kind(self, claim: int) -> str | None:
        return self.judged[claim].claim.relation

    def _true(self, claim: int) -> bool:
        return self.judged[claim].verdict == "true"

    def _part(self, claims: Sequence[int], *, kind: str | None = None, rows: set[int] | None = None) -> dict[str, Any]:
        """Plain numbers on some of the claims; the instances are those of the kind or rows."""
        decided = [n for n in claims if self.judged[n].verdict in DECIDED]
        context = [n for n in decided if self.judged[n].context]
        scored = [(p, self._true(n)) for n in context if (p := self.p[n]) is not None]
        tallied = metrics.tally([p for p, _ in scored], [true for _, true in scored])
        decodable = [one for one in self.instances or () if one.kind == kind or (rows is not None and one.row in rows)]
        return {
            "claims": len(context),
            "precision": _share([self._true(n) for n in context]),
            "mean_p_true": _share([p for p, _ in scored]),
            "ece": metrics.calibration_error(tallied) if len(scored) >= FEWEST else None,
            "all_claims": len(decided),
            "all_precision": _share([self._true(n) for n in decided]),
            "decodable": len(decodable),
            "recall": _share([one.named for one in decodable]),
        }


def flat(
    trusted: Sequence[Sequence[TrustedClaim]], language: Language | None
) -> tuple[list[Judged], list[float | None], Counter[str]]:
    """The claims of all rows with their probabilities, and why claims have none.

    Without a language it is unknown what the last 8 tokens give away, so every claim counts as a context claim.
    """
    judged, p, reasons = [], [], Counter[str]()
    for row, claims in enumerate(trusted):
        for one in claims:
            judged.append(Judged(row, one.claim, one.verdict, one.context or language is None))
            p.append(one.p_true)
            if one.p_true is None:
                reasons[one.reason or "no reason given"] += 1
    return judged, p, reasons


def unparsed_share(readings: Sequence[Gathered], doc_ids: Sequence[str]) -> Interval:
    """The share of the explanations' words from which no relation could be read; n counts words."""
    words = [len((reading.explanation or "").split()) for reading in readings]
    unparsed = [sum(len(clause.split()) for clause in reading.unparsed) for reading in readings]
    return share_interval(unparsed, words, doc_ids)


def instances(
    judged: Sequence[Judged], p: Sequence[float | None], decodable: Decodable | None
) -> list[Instance] | None:
    """Every decodable instance with the claims that name it rightly; None where nothing says what is decodable.

    Args:
        judged: claims with verdicts by construction.
        p: the probability of each; a claim without one names an instance but covers it at no threshold.
        decodable: per kind, whether each row's value is.
    """
    if decodable is None:
        return None
    best: dict[tuple[int, str | None], float] = {}
    for item, probability in zip(judged, p, strict=True):
        if item.names_rightly:
            key = (item.row, item.claim.relation)
            best[key] = max(best.get(key, metrics.NEVER), metrics.NEVER if probability is None else probability)
    return [
        Instance(row, kind, (row, kind) in best, best.get((row, kind), metrics.NEVER))
        for kind, mask in decodable.items()
        for row in torch.as_tensor(mask).nonzero().flatten().tolist()
    ]


def _open(facts: Mapping[str, Fact], kind: str) -> bool:
    return kind in facts and facts[kind].status == "open"


def _bucket(pos: int) -> int:
    """The largest power of two up to `pos`, from 16 on; 0 below."""
    return 1 << (pos.bit_length() - 1) if pos >= 16 else 0


def _share(values: Sequence[float | bool | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None
