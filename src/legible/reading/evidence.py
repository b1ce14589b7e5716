"""Evidence of single claims: agreement, leverage, recurrence, probes and log-probabilities of the explanation shown.

Of several samples that is the one whose vector comes back best. Nothing here knows what is true.

Leverage is the dear part: one forward of the reconstructor for every claim. It is measured where it changes p_true: for
claims that the verbalizer, a probe or the samples give less than one half, the most doubted ones, 0.4 of k samples (but
one at least). A reading with claims then costs at most 1.2 times k plain samples (`benchmarks/trust.py`).
"""

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from legible.config import CaptureConfig
from legible.engines.base import Completion
from legible.languages.base import Claim, ClaimKey, Language, Parsed, Row, parsed_by
from legible.models.reconstructor import Reconstructor
from legible.probes.probes import ProbeSet
from legible.reading.calibration import ClaimEvidence
from legible.reading.checkpoint import Checkpoint
from legible.reading.spans import Places, Span, claim_spans, token_places, tokens_at, without
from legible.vectors import direction_mse

NEAR = 2  # tokens: readings this close to each other in one text are neighbours
BATCH = 16  # explanations in one forward of the reconstructor: on a CPU somewhat faster than 64
DOUBTED = 0.4  # most claims whose leverage is measured, for each sample
DOUBTFUL = 0.5  # the likelihood below which it is
LogProbs = tuple[float | None, float | None]


@dataclass(frozen=True)
class Gathered:
    """One row's explanations, the one that is shown, its claims and the evidence for each."""

    completions: tuple[Completion, ...]
    errors: tuple[float | None, ...]  # direction_mse of each; None without explanation or reconstructor
    best: int  # which of them is shown
    claims: tuple[Claim, ...] = ()
    evidence: tuple[ClaimEvidence, ...] = ()
    unparsed: tuple[str, ...] = ()  # clauses from which no relation could be read

    @property
    def explanation(self) -> str | None:
        """The shown one; None where none came out."""
        return self.completions[self.best].explanation


@dataclass(frozen=True)
class Spot:
    """Where an activation was read: its index in the text's tokens, its warnings, its row where there is one."""

    pos: int
    flags: tuple[str, ...] = ()
    row: Row | None = None


def gather(
    checkpoint: Checkpoint,
    vectors: Float[Tensor, "n d_model"],
    completions: Sequence[Sequence[Completion]],
    spots: Sequence[Spot],
    neighbours: Sequence[Sequence[int]],
    *,
    leverage: Collection[int] | None = None,
) -> list[Gathered]:
    """Choose the shown explanation of every row and measure the evidence for each of its claims.

    Args:
        checkpoint: its reconstructor measures errors and leverage, its language finds claims; either may be absent.
        vectors: raw activations, one a row.
        completions: the samples of every row, with the log-probabilities of their tokens.
        spots: where each row was read.
        neighbours: for every row the indices of the rows whose readings are its neighbours.
        leverage: the rows whose claims' leverage is measured; absent: all.
    """
    drafted = _Drafter(checkpoint, vectors, completions, spots, neighbours)
    drafts = [drafted(row) for row in range(len(completions))]
    return _with_leverage(
        checkpoint.reconstructor, drafts, vectors, range(len(drafts)) if leverage is None else leverage
    )


class _Drafter:
    """Everything but leverage: what all rows need is found once, then each row on its own."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        vectors: Float[Tensor, "n d_model"],
        completions: Sequence[Sequence[Completion]],
        spots: Sequence[Spot],
        neighbours: Sequence[Sequence[int]],
    ) -> None:
        self.language = checkpoint.language
        self.completions, self.spots, self.neighbours = completions, spots, neighbours
        self.parser = _Parser(checkpoint.language)
        self.texts = [[done.explanation for done in group] for group in completions]
        self.errors = reconstruction_errors(checkpoint.reconstructor, self.texts, vectors)
        self.best = [_best(mine, theirs) for mine, theirs in zip(self.texts, self.errors, strict=True)]
        self.shown = [group[index] for group, index in zip(completions, self.best, strict=True)]
        self.keys = [self.parser.keys(shown.explanation) for shown in self.shown]
        self.places = token_places(checkpoint.verbalizer.tokenizer, [shown.ids for shown in self.shown])
        self.norms = vectors.norm(dim=-1).tolist()
        self.probed = _Probed(checkpoint.probes, vectors, spots, checkpoint.language)
        self.early = first_position(checkpoint)

    def __call__(self, row: int) -> Gathered:
        shown, spot, errors = self.shown[row], self.spots[row], self.errors[row]
        parsed = self.parser(shown.explanation)
        claims = parsed.claims
        others = [self.parser.keys(text) for text in self.texts[row]] if len(self.completions[row]) > 1 else []
        near = [self.keys[other] for other in self.neighbours[row]]
        flags = spot.flags if spot.pos >= self.early else tuple(dict.fromkeys((*spot.flags, "early_position")))
        evidence = [
            ClaimEvidence(
                relation=claim.relation,
                value=claim.value,
                unusual=self.language.unusual(claim) if self.language is not None else None,
                agreement=_share(claim.key, others),
                recurrence=_share(claim.key, near),
                probe=self.probed(row, claim),
                logprob=mean,
                logprob_min=least,
                direction_mse=errors[self.best[row]],
                norm=self.norms[row],
                position=spot.pos,
                flags=flags,
                context=_context(self.language, claim, spot.row),
                origin=shown.origin,
            )
            for claim, (mean, least) in zip(claims, _logprobs(self.places[row], shown, claims), strict=True)
        ]
        return Gathered(
            completions=tuple(self.completions[row]),
            errors=tuple(errors),
            best=self.best[row],
            claims=tuple(claims),
            evidence=tuple(evidence),
            unparsed=tuple(parsed.unparsed),
        )


def neighbours_of(texts: Sequence[str], positions: Sequence[int], near: int = NEAR) -> list[list[int]]:
    """For every row the indices of the others that stand at most `near` tokens away in the same text."""
    places = {(text, pos): index for index, (text, pos) in enumerate(zip(texts, positions, strict=True))}
    steps = [step for step in range(-near, near + 1) if step]
    return [
        [places[text, pos + step] for step in steps if (text, pos + step) in places]
        for text, pos in zip(texts, positions, strict=True)
    ]


class _Parser:
    """Claims of explanations, each text parsed once and each claim kept once."""

    def __init__(self, language: Language | None) -> None:
        self.language = language
        self._known: dict[str, Parsed] = {}

    def __call__(self, text: str | None) -> Parsed:
        if text is None:
            return Parsed()
        if text not in self._known:
            found = parsed_by(self.language, text)
            once = list({claim.key: claim for claim in reversed(found.claims)}.values())[::-1]
            self._known[text] = Parsed(once, found.unparsed)
        return self._known[text]

    def keys(self, text: str | None) -> set[ClaimKey]:
        return {claim.key for claim in self(text).claims}


class _Probed:
    """What the probes of a checkpoint say of a claim; every row is judged by one that never saw its document."""

    def __init__(
        self,
        probes: ProbeSet | None,
        vectors: Float[Tensor, "n d"],
        spots: Sequence[Spot],
        language: Language | None,
    ) -> None:
        self._subjects = language.subjects if language is not None else {}
        names = [spot.row.document.doc_id if spot.row is not None else "" for spot in spots]
        shares = probes.probability(vectors.cpu(), names) if probes is not None and len(names) else {}
        self._shares = {kind: share.tolist() for kind, share in shares.items()}
        self._places = {kind: {v: i for i, v in enumerate(probes.classes[kind])} for kind in shares} if probes else {}

    def __call__(self, row: int, claim: Claim) -> float | None:
        """The probability that the claim holds; None where no probe knows its subject, relation and value."""
        place = self._places.get(claim.relation or "", {}).get(claim.value or "")
        if place is None or claim.subject not in (None, self._subjects.get(claim.relation or "", claim.subject)):
            return None
        share = float(self._shares[claim.relation or ""][row][place])
        return share if claim.polarity == "positive" else 1.0 - share


def reconstruction_errors(
    reconstructor: Reconstructor | None, texts: Sequence[Sequence[str | None]], vectors: Float[Tensor, "n d"]
) -> list[list[float | None]]:
    """direction_mse of every text against its row's activation, None where there is none; equal texts are read once."""
    if reconstructor is None:
        return [[None for _ in group] for group in texts]
    unique = list(dict.fromkeys(text for group in texts for text in group if text is not None))
    place = {text: index for index, text in enumerate(unique)}
    pairs = [(row, place[text]) for row, group in enumerate(texts) for text in group if text is not None]
    if not pairs:
        return [[None for _ in group] for group in texts]
    back = reconstructor.reconstruct(unique, batch=BATCH)
    found = direction_mse(back[[which for _, which in pairs]], vectors[[row for row, _ in pairs]].cpu()).tolist()
    values = iter(found)
    return [[next(values) if text is not None else None for text in group] for group in texts]


def _best(texts: Sequence[str | None], errors: Sequence[float | None]) -> int:
    order = [(text is None, error if error is not None else 0.0) for text, error in zip(texts, errors, strict=True)]
    return order.index(min(order))


def _with_leverage(
    reconstructor: Reconstructor | None,
    drafts: Sequence[Gathered],
    vectors: Float[Tensor, "n d"],
    measured: Collection[int],
) -> list[Gathered]:
    """The same with the leverage of the claims that deserve it (see the module), all deletions in one call."""
    parts: list[list[str | None]] = []
    for row, draft in enumerate(drafts):
        asked = row in measured and draft.explanation is not None and reconstructor is not None
        wanted = _doubted(draft) if asked else set()
        parts.append([_deleted(draft, index) if index in wanted else None for index in range(len(draft.claims))])
    found = []
    for draft, gone in zip(drafts, reconstruction_errors(reconstructor, parts, vectors), strict=True):
        whole = draft.errors[draft.best]
        evidence = [
            one if error is None or whole is None else replace(one, leverage=error - whole)
            for one, error in zip(draft.evidence, gone, strict=True)
        ]
        found.append(replace(draft, evidence=tuple(evidence)))
    return found


def _doubted(draft: Gathered) -> set[int]:
    """The claims whose leverage is measured."""
    certain = {index: _certainty(evidence) for index, evidence in enumerate(draft.evidence)}
    doubtful = sorted((index for index in certain if certain[index] < DOUBTFUL), key=certain.__getitem__)
    return set(doubtful[: max(1, int(DOUBTED * len(draft.completions)))])


def _certainty(evidence: ClaimEvidence) -> float:
    """The least that verbalizer, samples or probe give a claim; 1 for an abstention."""
    if evidence.relation is not None and evidence.value is None:
        return 1.0
    written = math.exp(evidence.logprob) if evidence.logprob is not None else None
    return min((p for p in (written, evidence.agreement, evidence.probe) if p is not None), default=1.0)


def _deleted(draft: Gathered, index: int) -> str | None:
    """The shown explanation without one of its claims; None where the claim's words were not found."""
    assert draft.explanation is not None
    text = without(draft.explanation, draft.claims, index)
    return text if text != draft.explanation else None


def _logprobs(places: Places, shown: Completion, claims: Sequence[Claim]) -> list[LogProbs]:
    """For every claim the mean ln p of its value's tokens (of all its tokens where it has none) and the smallest ln p
    of all its tokens; None where its words were not found."""
    if shown.explanation is None:
        return []
    whole = claim_spans(shown.explanation, claims)
    values = [_value(shown.explanation, span, claim.value) for span, claim in zip(whole, claims, strict=True)]
    tokens = tokens_at(places, [*whole, *values], shown.explanation)
    logp = [[shown.logprobs[index] for index in own] for own in tokens]
    return [
        (sum(value) / len(value), min(every)) if value and every else (None, None)
        for every, value in zip(logp[: len(claims)], logp[len(claims) :], strict=True)
    ]


def _value(text: str, span: Span | None, value: str | None) -> Span | None:
    """Where the value stands in its claim's words; all of them where it does not."""
    if span is None or value is None:
        return span
    found = re.compile(rf"(?<!\w){re.escape(value)}(?!\w)").search(text, *span)
    return found.span() if found else span


def _context(language: Language | None, claim: Claim, row: Row | None) -> bool | None:
    return language.in_context(claim, row) if language is not None and row is not None else None


def _share(key: ClaimKey, others: Sequence[set[ClaimKey]]) -> float | None:
    return sum(key in other for other in others) / len(others) if others else None


def first_position(checkpoint: Checkpoint) -> int:
    """The earliest position that the pair was trained on; the contract's default where it does not say."""
    extra = checkpoint.contract.legible
    return CaptureConfig.from_positions(extra.variance.positions if extra and extra.variance else "").min_pos
